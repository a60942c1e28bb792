//! The files that `init` writes: whole or not at all, and never over what is there unless that is wanted.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, fchown};
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use crate::cli::init::Refusal;
use crate::cli::passwd::UnixUser;
use crate::config::SAMPLE;

/// A file that is to be written.
pub(super) struct NewFile<'a> {
    pub(super) path: &'a Path,
    pub(super) mode: u32,
    /// Its owner; `None`: the user who runs this.
    pub(super) owner: Option<&'a UnixUser>,
    /// Whether a file that is there is replaced.
    pub(super) replace: bool,
}

/// Whether there is something at this path that somebody has made: not the sample or the empty file that a package
/// puts there.
pub(super) fn is_taken(path: &Path) -> bool {
    match std::fs::read(path) {
        Ok(content) => !content.trim_ascii().is_empty() && content != SAMPLE.as_bytes(),
        Err(_) => path.symlink_metadata().is_ok(),
    }
}

/// Checked before the questions, so that no answers are lost.
pub(super) fn refuse_taken(path: &Path, replace: bool) -> Result<(), Refusal> {
    if !replace && is_taken(path) {
        return Err(Refusal::Taken(path.to_owned()));
    }
    let nearest = path.ancestors().skip(1).find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    rustix::fs::access(nearest, rustix::fs::Access::WRITE_OK)
        .map_err(|error| Refusal::Unwritable { path: path.to_owned(), source: error.into() })
}

impl NewFile<'_> {
    /// Written under a temporary name and renamed, so that no reader sees half a file.
    pub(super) fn write(&self, content: &[u8]) -> Result<(), Refusal> {
        self.try_to(content).map_err(|error| match error.kind() {
            // The folder may be a file, too.
            std::io::ErrorKind::AlreadyExists if self.path.symlink_metadata().is_ok() => {
                Refusal::Taken(self.path.to_owned())
            }
            _ => Refusal::Unwritable { path: self.path.to_owned(), source: error },
        })
    }

    fn try_to(&self, content: &[u8]) -> std::io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
        let mut file = tempfile::Builder::new().prefix(".alyx-registrar-").tempfile_in(folder)?;
        // No other user can open it until it has its final mode.
        file.write_all(content)?;
        if let Some(owner) = self.owner {
            fchown(file.as_file(), Some(owner.uid), Some(owner.gid))?;
        }
        file.as_file().set_permissions(std::fs::Permissions::from_mode(self.mode))?;
        file.as_file().sync_all()?;
        if self.replace || (self.path.exists() && !is_taken(self.path)) {
            file.persist(self.path)?;
        } else {
            file.persist_noclobber(self.path)?;
        }
        std::fs::File::open(folder)?.sync_all()
    }
}

/// Writes a password for its owner's eyes only.
pub(super) fn write_password(
    path: &Path,
    password: &SecretString,
    owner: Option<&UnixUser>,
    replace: bool,
) -> Result<(), Refusal> {
    NewFile { path, mode: 0o600, owner, replace }.write(password.expose_secret().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_with_its_mode_and_never_over_another_by_chance() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/password");
        let file = |replace| NewFile { path: &path, mode: 0o600, owner: None, replace };
        assert!(refuse_taken(&path, false).is_ok());
        assert!(file(false).write(b"one").is_ok());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(refuse_taken(&path, false).is_err() && refuse_taken(&path, true).is_ok());
        assert!(file(false).write(b"two").is_err_and(|refusal| matches!(refusal, Refusal::Taken(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert!(file(true).write(b"two").is_ok());
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        // What a package puts there may be replaced.
        for shipped in [SAMPLE, "", "\n"] {
            std::fs::write(&path, shipped).unwrap();
            assert!(refuse_taken(&path, false).is_ok() && file(false).write(b"three").is_ok(), "{shipped:?}");
        }
        let left: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
