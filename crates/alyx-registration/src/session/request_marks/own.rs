//! Marks in a folder that this user alone can write to: one file for each request, whose lock is trusted.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use crate::session::request_marks::sent::Sent;

/// How often a file that another process removes at the moment of locking is opened again.
const MAX_REMOVED: usize = 10;

/// A locked file that marks a request.
#[derive(Debug)]
pub(super) struct MarkFile {
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// Whether no earlier program has left it behind.
    pub(super) is_new: bool,
}

impl MarkFile {
    /// Opens the file, or creates it. `None`: another program holds it.
    pub(super) fn lock(path: &Path) -> io::Result<Option<Self>> {
        let mut options = File::options();
        options.read(true).write(true).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        for _ in 0..MAX_REMOVED {
            let (file, is_new) = match options.create_new(true).open(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    match options.create_new(false).open(path) {
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        opened => (opened?, false),
                    }
                }
                opened => (opened?, true),
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
            // Its holder may have removed it between opening and locking.
            if std::fs::symlink_metadata(path).ok().map(identity) == file.metadata().ok().map(identity) {
                // Root marks in the folder of the service user, who must be able to open it.
                let owner = path.parent().and_then(|folder| std::fs::metadata(folder).ok());
                if let Some(owner) = owner.filter(|_| is_new) {
                    let _ = rustix::fs::fchown(&file, Some(rustix::fs::Uid::from_raw(owner.uid())), None);
                }
                return Ok(Some(Self { path: path.to_owned(), file, is_new }));
            }
        }
        Ok(None)
    }

    /// How long the request of the program that left it behind may still take to arrive. `None`: it does not say.
    pub(super) fn remaining(&self) -> Option<Duration> {
        let mut text = String::new();
        (&self.file).take(1024).read_to_string(&mut text).ok()?;
        Some(Sent::parse(&text)?.remaining(&self.file.metadata().ok()?))
    }

    pub(super) fn write(&mut self, sent: &Sent) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(sent.to_text().as_bytes())?;
        self.file.sync_all()?;
        if self.is_new { File::open(self.path.parent().unwrap_or(&self.path))?.sync_all() } else { Ok(()) }
    }
}
