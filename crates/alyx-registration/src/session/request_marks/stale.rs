//! Stale marks: a program that made them is gone, and its request can no longer arrive. The same
//! request may never be made again, so each program removes the stale marks of its user.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};

use crate::session::request_marks::sent::{LATEST_REPEAT, Sent, age};

/// How many marks are looked at.
const MAX_MARKS: usize = 64;
/// When a mark is stale that does not say when its request was sent.
const SILENT: Duration = Duration::from_secs(24 * 3600);

/// Removes the stale marks of this user whose names begin with a prefix.
pub(super) fn remove_stale(folder: &Path, prefix: &str) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let marks = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    // Those that are younger are never stale, and may just be being made.
    let old = marks.map(|entry| entry.path()).filter(|path| {
        let metadata = std::fs::symlink_metadata(path);
        metadata.is_ok_and(|metadata| is_mine(&metadata) && age(&metadata) > LATEST_REPEAT)
    });
    for path in old.take(MAX_MARKS) {
        if let Err(error) = remove_if_stale(&path) {
            tracing::debug!("the mark {} is not removed: {error}", path.display());
        }
    }
}

fn is_mine(metadata: &std::fs::Metadata) -> bool {
    metadata.is_file() && metadata.uid() == rustix::process::geteuid().as_raw()
}

fn remove_if_stale(path: &Path) -> io::Result<()> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut file = File::options().read(true).custom_flags(flags).open(path)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        // Its program lives.
        return Ok(());
    }
    let (metadata, at_path) = (file.metadata()?, std::fs::symlink_metadata(path)?);
    // Another program may have replaced it between opening and locking.
    if (metadata.dev(), metadata.ino()) == (at_path.dev(), at_path.ino()) && is_mine(&metadata) {
        let mut text = String::new();
        let said = (&mut file).take(1024).read_to_string(&mut text).ok().and_then(|_| Sent::parse(&text));
        let is_stale = match said.filter(Sent::is_known) {
            Some(sent) => sent.remaining(&metadata).is_zero(),
            None => age(&metadata) > SILENT,
        };
        if is_stale {
            std::fs::remove_file(path)?;
        }
    }
    // A process that another thread is just starting holds a copy.
    Ok(flock(&file, FlockOperation::Unlock)?)
}
