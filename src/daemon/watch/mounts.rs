//! Unmount detection: whether a disk of the root was unmounted after its folders got their watches.
//!
//! Unmounting a disk drops all watches on it. After a remount the disk and its folders look the same as before, so no
//! check of the disk reveals it. The kernel sends an unmount event to each watch, but `notify` hides it; so one folder
//! of each disk is watched here for this event alone.

use std::collections::HashSet;
use std::mem::MaybeUninit;
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::inotify;
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags};

/// Unmount events of the disks of one root. Without inotify, no unmount is ever detected.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    source: Option<OwnedFd>,
    /// Devices on which a folder is watched.
    known: HashSet<u64>,
}

impl Mounts {
    /// Opens inotify; no disk is watched yet.
    pub(crate) fn open() -> Self {
        let source = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok();
        Self { source, known: HashSet::new() }
    }

    /// Watches the disk of this folder.
    pub(crate) fn watch_device(&mut self, folder: &Path, device: u64) {
        if let Some(source) = &self.source
            && self.known.insert(device)
        {
            // Unmount events arrive whatever the mask is, but an empty mask is invalid.
            let _ = inotify::add_watch(source, folder, WatchFlags::DELETE_SELF | WatchFlags::ONLYDIR);
        }
    }

    /// Whether a disk was unmounted since the last call.
    pub(crate) fn was_unmounted(&mut self) -> bool {
        let Some(source) = &self.source else { return false };
        let mut buffer = [MaybeUninit::uninit(); 1024];
        let mut events = Reader::new(source, &mut buffer);
        let mut unmounted = false;
        // Drains the queue.
        while let Ok(event) = events.next() {
            unmounted |= event.events().contains(ReadFlags::UNMOUNT);
        }
        unmounted
    }
}
