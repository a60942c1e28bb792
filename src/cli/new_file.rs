//! A new file of a command, such as a list for other programs: beside the data roots, never in place of another file, and
//! there only when it is complete and on disk.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::fs::{File, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::cli::exit::Exit;
use crate::cli::output::Failure;

/// A file that is being written.
pub(super) struct NewFile {
    path: PathBuf,
    writer: BufWriter<NamedTempFile>,
}

impl NewFile {
    /// Begins a file. `roots`: the data roots. Blocks.
    ///
    /// # Errors
    /// It exists, is below a data root, or its folder cannot be written.
    pub(super) fn create<'a>(
        path: &Path,
        roots: impl IntoIterator<Item = &'a Path>,
        mode: u32,
    ) -> Result<Self, Failure> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let (Some(folder), Some(_)) = (path.parent(), path.file_name()) else {
            return Err(Failure::new(Exit::Usage, format!("{path:?} is no name of a file; name a new file")));
        };
        let folder = match std::fs::canonicalize(folder) {
            Ok(folder) => folder,
            Err(error) => return Err(unusable(&path, &error)),
        };
        let is_above = |root: &&Path| {
            folder.starts_with(root) || std::fs::canonicalize(root).is_ok_and(|root| folder.starts_with(root))
        };
        if let Some(root) = roots.into_iter().find(is_above) {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "{path:?} is below the data root {root:?}, where this program writes no lists; name a file in another folder"
                ),
            ));
        }
        if std::fs::symlink_metadata(&path).is_ok() {
            return Err(Failure::new(
                Exit::Usage,
                format!("{path:?} exists and is not overwritten; name a new file, or delete it"),
            ));
        }
        let new = tempfile::Builder::new()
            .prefix(".alyx-registrar.")
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(&folder);
        let new = new.map_err(|error| unusable(&path, &error))?;
        Ok(Self { path, writer: BufWriter::new(new) })
    }

    /// Writes the end to the disk, and gives the file its name. Blocks.
    pub(super) fn finish(self) -> Result<PathBuf, Failure> {
        let Self { path, writer } = self;
        let ended = || {
            let new = writer.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            new.as_file().sync_all()?;
            new.persist_noclobber(&path)?;
            // Its name, too.
            path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        };
        ended().map_err(|error| unusable(&path, &error))?;
        Ok(path)
    }

    /// Why it cannot be written.
    pub(super) fn failure(&self, error: &std::io::Error) -> Failure {
        unusable(&self.path, error)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.writer.flush()
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::Io,
        format!(
            "the file {path:?} cannot be written ({error}); name a file in a folder that exists and that this user may write"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_only_when_it_is_complete_and_never_in_a_data_root_or_in_place_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        std::fs::create_dir_all(root.join("lists")).unwrap();
        std::os::unix::fs::symlink(root.join("lists"), folder.path().join("link")).unwrap();
        let create = |path: &str| NewFile::create(&folder.path().join(path), [root.as_path()], 0o644);
        for refused in ["data/x", "data/lists/x", "link/x", "nowhere/x"] {
            assert!(create(refused).is_err(), "{refused}");
        }
        let mut new = create("list").unwrap();
        new.write_all(b"a").unwrap();
        assert!(!folder.path().join("list").exists());
        let late = create("list").unwrap();
        let path = new.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"a");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        // Another program was faster.
        assert!(late.finish().is_err() && create("list").is_err());
        drop(create("other").unwrap());
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.count(), 3, "data, link, list");
    }
}
