//! The disks of one root: whether one of them was unmounted since its folders got their watches.
//!
//! A disk that is unmounted takes all watches on it with it. When it is mounted again it is the same disk with the
//! same folders, so nothing that can be looked at tells of it. The kernel tells whoever watches a folder of the disk,
//! but `notify` keeps that to itself; so one folder of each disk is watched here for nothing else.

use std::collections::HashSet;
use std::mem::MaybeUninit;
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::inotify;
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags};

/// What the kernel tells of some disks. Where it tells nothing, none was ever unmounted.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    source: Option<OwnedFd>,
    /// Devices of which a folder is watched.
    known: HashSet<u64>,
}

impl Mounts {
    /// Watches no disk yet.
    pub(crate) fn open() -> Self {
        let source = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok();
        Self { source, known: HashSet::new() }
    }

    /// Sees to it that the disk of this folder is watched.
    pub(crate) fn meet(&mut self, folder: &Path, device: u64) {
        if let Some(source) = &self.source
            && self.known.insert(device)
        {
            // An unmounting is told whatever was asked for, and something has to be.
            let _ = inotify::add_watch(source, folder, WatchFlags::DELETE_SELF | WatchFlags::ONLYDIR);
        }
    }

    /// Whether one was unmounted since this was asked last.
    pub(crate) fn was_unmounted(&mut self) -> bool {
        let Some(source) = &self.source else { return false };
        let mut buffer = [MaybeUninit::uninit(); 1024];
        let mut told = Reader::new(source, &mut buffer);
        let mut unmounted = false;
        // Until there is nothing more to be read.
        while let Ok(event) = told.next() {
            unmounted |= event.events().contains(ReadFlags::UNMOUNT);
        }
        unmounted
    }
}
