//! The token store: the token of the last login, in a file that only its owner can read.
//!
//! It saves a login at each start. A file that cannot be read is ignored.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::fs::{File, OpenOptions};
use std::io;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::login::credentials::TokenState;

/// The largest file that is read, in bytes.
const MAX_FILE_SIZE: u64 = 64 * 1024;

/// The file that stores the token of one user of one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenStore {
    file: PathBuf,
    url: String,
    username: String,
}

/// The content of the file. It repeats address and user because two addresses can share one file name.
#[derive(Serialize, Deserialize)]
struct StoredToken {
    url: String,
    username: String,
    token: String,
}

impl TokenStore {
    pub(crate) fn new(folder: &Path, url: &str, username: &str) -> Self {
        let plain = |text: &str| -> String {
            text.chars()
                .map(|c| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '_' })
                .collect()
        };
        let address = url.split_once("://").map_or(url, |(_, rest)| rest);
        // Far below the 255 bytes of a file name.
        let name: String =
            format!("token-{}-{}", plain(address), plain(username)).chars().take(200).collect();
        Self { file: folder.join(name), url: url.to_owned(), username: username.to_owned() }
    }

    /// The stored token; `None` if there is none, or the file is damaged or of another user.
    pub(crate) fn load(&self) -> Option<SecretString> {
        match self.read() {
            Ok(token) => Some(token),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                // Only the kind is logged: a parser's message may quote a part of the token.
                tracing::debug!(file = ?self.file, reason = %error.kind(), "the stored token is not used");
                None
            }
        }
    }

    fn read(&self) -> io::Result<SecretString> {
        let file = OpenOptions::new().read(true).custom_flags(FLAGS).open(&self.file)?;
        let metadata = file.metadata()?;
        // Another user's file may hold another user's token.
        if !metadata.is_file() || metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut text = String::new();
        file.take(MAX_FILE_SIZE).read_to_string(&mut text)?;
        let kept: StoredToken = serde_json::from_str(&text).map_err(|_| io::ErrorKind::InvalidData)?;
        let is_mine = kept.url == self.url && kept.username == self.username;
        let token = SecretString::from(kept.token);
        if !is_mine || token.expose_secret().is_empty() || TokenState::header(&token).is_none() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(token)
    }

    /// The file.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Stores a token. Writes a temporary file and renames it, so that a reader never sees a partial file.
    pub(crate) fn save(&self, token: &SecretString) -> io::Result<()> {
        let kept = StoredToken {
            url: self.url.clone(),
            username: self.username.clone(),
            token: token.expose_secret().to_owned(),
        };
        let text = serde_json::to_vec(&kept)?;
        let temporary = self.file.with_file_name(format!(".token-{}", uuid::Uuid::new_v4()));
        let written = new_private_file(&temporary)
            .and_then(|mut file| {
                file.write_all(&text)?;
                file.sync_all()
            })
            .and_then(|()| std::fs::rename(&temporary, &self.file));
        if written.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        written
    }
}

/// Does not follow a symbolic link, and does not block on a named pipe.
const FLAGS: i32 = (OFlags::NOFOLLOW.bits() | OFlags::NONBLOCK.bits()).cast_signed();

fn new_private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn store(folder: &Path, user: &str) -> TokenStore {
        TokenStore::new(folder, "https://alyx.example.org/a", user)
    }

    fn loaded(store: &TokenStore) -> Option<String> {
        store.load().map(|token| token.expose_secret().to_owned())
    }

    #[test]
    fn a_token_is_stored_for_its_user_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let mine = store(folder.path(), "me");
        assert_eq!(loaded(&mine), None);
        mine.save(&"0123".into()).unwrap();
        mine.save(&"4567".into()).unwrap();
        assert_eq!(loaded(&mine).as_deref(), Some("4567"));
        assert_eq!(loaded(&store(folder.path(), "you")), None);
        let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap()).collect();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn an_address_with_the_same_file_name_does_not_get_the_token() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (
            TokenStore::new(folder.path(), "https://x/a", "u"),
            TokenStore::new(folder.path(), "https://x_a", "u"),
        );
        assert_eq!(a.file, b.file);
        a.save(&"0123".into()).unwrap();
        assert_eq!((loaded(&a).as_deref(), loaded(&b)), (Some("0123"), None));
    }

    #[test]
    fn a_damaged_file_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), "me");
        store.save(&"0123".into()).unwrap();
        let whole = std::fs::read(&store.file).unwrap();
        for content in [&b""[..], &whole[..whole.len() / 2], b"{}", b"\xff\xfe", b"[1]", b"{\"url\": 1}"] {
            std::fs::write(&store.file, content).unwrap();
            assert_eq!(loaded(&store), None);
        }
        std::fs::remove_file(&store.file).unwrap();
        std::os::unix::fs::symlink("/dev/null", &store.file).unwrap();
        assert_eq!(loaded(&store), None);
        store.save(&"89".into()).unwrap();
        assert_eq!(loaded(&store).as_deref(), Some("89"));
    }

    #[test]
    fn a_token_that_no_web_server_would_take_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), "me");
        for token in ["0".repeat(4097), "0\n1".to_owned()] {
            store.save(&token.into()).unwrap();
            assert_eq!(loaded(&store), None);
        }
        store.save(&"0".repeat(4096).into()).unwrap();
        assert!(loaded(&store).is_some());
    }

    #[test]
    fn a_missing_folder_is_an_error_of_saving_only() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder.path().join("none"), "me");
        assert!(store.save(&"0123".into()).is_err());
        assert_eq!(loaded(&store), None);
    }
}
