//! The snapshot of a session: what later looks for late files compare it with. It knows names, sizes and times, and no
//! contents. Pure.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::hashing::stamp::FileStamp;

/// What a session held when it was registered, or last looked at.
///
/// It is small, because thousands are remembered: two numbers for each folder, and the files that Alyx does not have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSnapshot {
    /// By path relative to the session; that of the session itself is empty.
    folders: BTreeMap<String, FolderDigest>,
    /// The datasets that were there and are not on Alyx, such as those that the flag did not list, with their sizes.
    unregistered: BTreeMap<String, u64>,
}

/// One folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FolderDigest {
    /// Of its times, which move when an entry is made, renamed or removed in it.
    pub(crate) times: u64,
    /// Of the names and sizes of the datasets in it, in any order.
    pub(crate) datasets: u64,
}

impl FolderDigest {
    /// A folder in which no datasets were seen so far.
    pub(crate) fn of(stamp: &FileStamp) -> Self {
        Self { times: digest((stamp.modified, stamp.changed)), datasets: 0 }
    }

    /// Adds a dataset by its path relative to the session.
    pub(crate) fn add(&mut self, dataset: &str, size: u64) {
        self.datasets = self.datasets.wrapping_add(digest((dataset, size)));
    }
}

fn digest(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The folder of a path relative to the session; empty for the session itself.
fn folder_of(relative: &str) -> &str {
    relative.rsplit_once('/').map_or("", |(folder, _)| folder)
}

impl SessionSnapshot {
    /// Adds a folder. One whose name is not UTF-8 is skipped: no dataset can be below it.
    pub(crate) fn add_folder(&mut self, relative: &Path, stamp: &FileStamp) {
        if let Some(relative) = relative.to_str() {
            self.folders.insert(relative.to_owned(), FolderDigest::of(stamp));
        }
    }

    /// Adds a dataset, after its folder.
    pub(crate) fn add_dataset(&mut self, relative: &str, size: u64) {
        if let Some(folder) = self.folders.get_mut(folder_of(relative)) {
            folder.add(relative, size);
        }
    }

    /// A dataset of this size is there, and is not registered.
    pub(crate) fn add_unregistered(&mut self, relative: &str, size: u64) {
        self.unregistered.insert(relative.to_owned(), size);
    }

    /// The snapshot that a look begins with: no folders, and the same unregistered datasets.
    pub(crate) fn without_folders(&self) -> Self {
        Self { folders: BTreeMap::new(), unregistered: self.unregistered.clone() }
    }

    pub(crate) fn set_folder(&mut self, relative: &str, folder: FolderDigest) {
        self.folders.insert(relative.to_owned(), folder);
    }

    pub(crate) fn folder(&self, relative: &str) -> Option<FolderDigest> {
        self.folders.get(relative).copied()
    }

    pub(crate) fn folders(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.folders.keys().map(String::as_str)
    }

    /// Whether a dataset of this size was there and was not registered.
    pub(crate) fn is_unregistered(&self, relative: &str, size: u64) -> bool {
        self.unregistered.get(relative) == Some(&size)
    }

    /// The next look lists the folder of this file, whatever its times: a late file is late until Alyx holds it.
    pub(crate) fn list_again(&mut self, relative: &str) {
        self.folders.insert(folder_of(relative).to_owned(), FolderDigest::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_differs_by_its_times_and_by_the_names_and_sizes_in_it_in_any_order() {
        let stamp =
            |second| FileStamp { device: 1, inode: 1, size: 0, modified: (second, 0), changed: (0, 0) };
        let folder = |second, files: &[(&str, u64)]| {
            let mut folder = FolderDigest::of(&stamp(second));
            files.iter().for_each(|(name, size)| folder.add(name, *size));
            folder
        };
        let one = folder(1, &[("alf/a", 1), ("alf/b", 2)]);
        assert_eq!(one, folder(1, &[("alf/b", 2), ("alf/a", 1)]));
        assert_ne!(one, folder(2, &[("alf/a", 1), ("alf/b", 2)]));
        assert_ne!(one, folder(1, &[("alf/a", 1)]));
        assert_ne!(one, folder(1, &[("alf/a", 1), ("alf/b", 3)]));
        assert_ne!(one, folder(1, &[("alf/a", 2), ("alf/b", 1)]));
    }
}
