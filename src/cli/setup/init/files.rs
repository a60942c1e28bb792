//! The files that `init` writes: atomically, and over an existing file only with `--force`.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, fchown};
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use crate::cli::setup::init::InitError;
use crate::cli::setup::passwd::UnixUser;
use crate::config::SAMPLE;

/// A file to write.
pub(super) struct NewFile<'a> {
    pub(super) path: &'a Path,
    pub(super) mode: u32,
    /// The owner; `None` for the current user.
    pub(super) owner: Option<&'a UnixUser>,
    /// Whether to replace an existing file.
    pub(super) replace: bool,
}

/// Whether a file exists that a user has written: not the sample or the empty file of a package.
pub(super) fn is_user_file(path: &Path) -> bool {
    match std::fs::read(path) {
        Ok(content) => !content.trim_ascii().is_empty() && content != SAMPLE.as_bytes(),
        Err(_) => path.symlink_metadata().is_ok(),
    }
}

/// Fails if the file cannot be written. Called before the questions, so that no answers are lost.
pub(super) fn refuse_existing(path: &Path, replace: bool) -> Result<(), InitError> {
    if !replace && is_user_file(path) {
        return Err(InitError::Exists(path.to_owned()));
    }
    let nearest = path.ancestors().skip(1).find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    rustix::fs::access(nearest, rustix::fs::Access::WRITE_OK)
        .map_err(|error| InitError::Unwritable { path: path.to_owned(), source: error.into() })
}

impl NewFile<'_> {
    /// Writes a temporary file and renames it, so that a reader never sees a partial file.
    pub(super) fn write(&self, content: &[u8]) -> Result<(), InitError> {
        self.try_to(content).map_err(|error| match error.kind() {
            // The same error kind also occurs if the folder is a file.
            std::io::ErrorKind::AlreadyExists if self.path.symlink_metadata().is_ok() => {
                InitError::Exists(self.path.to_owned())
            }
            _ => InitError::Unwritable { path: self.path.to_owned(), source: error },
        })
    }

    fn try_to(&self, content: &[u8]) -> std::io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
        let mut file = tempfile::Builder::new().prefix(".alyx-registrar-").tempfile_in(folder)?;
        // Temporary files have mode 600, so other users cannot read the content before the final mode is set.
        file.write_all(content)?;
        if let Some(owner) = self.owner {
            fchown(file.as_file(), Some(owner.uid), Some(owner.gid))?;
        }
        file.as_file().set_permissions(std::fs::Permissions::from_mode(self.mode))?;
        file.as_file().sync_all()?;
        if self.replace || (self.path.exists() && !is_user_file(self.path)) {
            file.persist(self.path)?;
        } else {
            file.persist_noclobber(self.path)?;
        }
        std::fs::File::open(folder)?.sync_all()
    }
}

/// Writes a password file that only its owner can read.
pub(super) fn write_password(
    path: &Path,
    password: &SecretString,
    owner: Option<&UnixUser>,
    replace: bool,
) -> Result<(), InitError> {
    NewFile { path, mode: 0o600, owner, replace }.write(password.expose_secret().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_with_its_mode_and_replaces_another_only_if_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/password");
        let file = |replace| NewFile { path: &path, mode: 0o600, owner: None, replace };
        assert!(refuse_existing(&path, false).is_ok());
        assert!(file(false).write(b"one").is_ok());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(refuse_existing(&path, false).is_err() && refuse_existing(&path, true).is_ok());
        assert!(file(false).write(b"two").is_err_and(|error| matches!(error, InitError::Exists(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert!(file(true).write(b"two").is_ok());
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        // A package's sample or empty file may be replaced.
        for shipped in [SAMPLE, "", "\n"] {
            std::fs::write(&path, shipped).unwrap();
            assert!(
                refuse_existing(&path, false).is_ok() && file(false).write(b"three").is_ok(),
                "{shipped:?}"
            );
        }
        let left: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
