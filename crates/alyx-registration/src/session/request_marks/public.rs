//! Marks in a folder in which every user can create files, such as `/dev/shm`: a new file for each attempt, which all
//! users can read.
//!
//! Nothing there is trusted but to wait a little: a hostile user can write any mark, and lock any file that he can
//! read. So a mark of another program delays a request for no longer than [`LONGEST`], and never prevents it.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};

use crate::session::request_marks::sent::Sent;

/// How many marks of one request are read. If there are more, the request waits for the whole time.
pub(super) const MAX_MARKS: usize = 64;
/// The longest that a mark of another user delays a request: the largest `timeouts.request`. With less, a session would
/// be created twice next to a program that waits that long for its answer. A hostile user can delay a session by as
/// much, and no more.
pub(super) const LONGEST: Duration = Duration::from_secs(3600);

/// Whether every user can create files in a folder, and remove only his own.
pub(super) fn is_public_folder(folder: &Path) -> bool {
    let me = rustix::process::geteuid().as_raw();
    std::fs::symlink_metadata(folder)
        .is_ok_and(|m| m.is_dir() && m.mode() & 0o1002 == 0o1002 && [0, me].contains(&m.uid()))
}

/// A locked file of this attempt.
#[derive(Debug)]
pub(super) struct PublicMark {
    path: PathBuf,
    file: File,
    /// Files of programs that are gone.
    left_behind: Vec<PathBuf>,
}

/// What another mark of a request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OtherMark {
    /// Its program lives.
    pub(super) is_held: bool,
    /// How long the request of a program that is gone may still take to arrive.
    pub(super) remaining: Duration,
    /// How long that program waits for the answer.
    pub(super) at_most: Duration,
    /// It is of this user.
    pub(super) is_mine: bool,
}

impl PublicMark {
    /// Creates a mark, locked before the others can see it.
    pub(super) fn create(folder: &Path, name: &str, at_most: Duration) -> io::Result<Self> {
        let id = uuid::Uuid::new_v4();
        let hidden = folder.join(format!("alyx-registrar-new-{id}"));
        let path = folder.join(format!("alyx-registrar-{name}-{id}"));
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&hidden)?;
        let publish = || {
            file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            write(&file, &Sent::now(at_most))?;
            std::fs::rename(&hidden, &path)
        };
        publish().inspect_err(|_| drop(std::fs::remove_file(&hidden)))?;
        Ok(Self { path, file, left_behind: Vec::new() })
    }

    /// Looks at the other marks of the same request.
    pub(super) fn others(&mut self, name: &str) -> Vec<OtherMark> {
        let prefix = format!("alyx-registrar-{name}-");
        let entries = self.path.parent().and_then(|folder| std::fs::read_dir(folder).ok());
        let names = entries.into_iter().flatten().filter_map(Result::ok);
        let same = names.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
        // Links and folders are no marks: a program would drown in them before it saw the mark that counts.
        let files = same.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
        let mut others = Vec::new();
        for path in files.map(|entry| entry.path()).filter(|path| *path != self.path) {
            // Removed since, or no mark.
            let Ok(other) = read(&path) else { continue };
            if others.len() == MAX_MARKS {
                // One that is not read may be held.
                let (is_held, is_mine) = (true, false);
                others.push(OtherMark { is_held, remaining: LONGEST, at_most: LONGEST, is_mine });
                break;
            }
            others.push(other);
            if !other.is_held {
                self.left_behind.push(path);
            }
        }
        others
    }

    /// The request is about to be sent.
    pub(super) fn write(&self, sent: &Sent) -> io::Result<()> {
        write(&self.file, sent)?;
        self.file.sync_all()
    }

    /// Releases it. `is_over`: its request cannot arrive any more, and neither can those of earlier programs if
    /// `are_all_over`.
    pub(super) fn release(&self, is_over: bool, are_all_over: bool) {
        if is_over {
            let _ = std::fs::remove_file(&self.path);
        }
        // Those of other users stay: the folder is sticky.
        self.left_behind.iter().filter(|_| are_all_over).for_each(|path| drop(std::fs::remove_file(path)));
        let _ = flock(&self.file, FlockOperation::Unlock);
    }

    /// As if the process were killed.
    #[cfg(test)]
    pub(super) fn kill(self) {
        flock(&self.file, FlockOperation::Unlock).unwrap();
    }
}

/// Written over, so that a program that is killed meanwhile leaves a mark that says something.
fn write(file: &File, sent: &Sent) -> io::Result<()> {
    let text = sent.to_text();
    file.write_all_at(text.as_bytes(), 0)?;
    file.set_len(text.len() as u64)
}

/// What a mark says. Never follows a link, and never blocks.
fn read(path: &Path) -> io::Result<OtherMark> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let is_mine = metadata.uid() == rustix::process::geteuid().as_raw();
    let is_held = flock(&file, FlockOperation::NonBlockingLockShared).is_err();
    let mut text = String::new();
    let sent = file.take(1024).read_to_string(&mut text).ok().and_then(|_| Sent::parse(&text));
    let (remaining, at_most) =
        sent.map(|sent| (sent.remaining(&metadata), sent.at_most())).unwrap_or_default();
    Ok(OtherMark { is_held, remaining, at_most, is_mine })
}
