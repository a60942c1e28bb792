//! What the disk says of a session. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// What the disk says of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Presence {
    /// A file of this size.
    File(u64),
    /// Its name is in no folder: `ENOENT`, and nothing else.
    Absent,
    /// The disk does not say, or says something else.
    Unreadable(String),
}

/// The folders of a session, listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DiskFiles {
    /// How many folders the session has here.
    pub(crate) folders: usize,
    /// The first of them.
    pub(crate) folder: String,
    /// Whether a dataset was changed a short time ago.
    pub(crate) is_recent: bool,
    /// Its datasets, with their sizes.
    pub(crate) datasets: BTreeMap<String, u64>,
    /// Copies of the same dataset in other folders of the session whose sizes differ: folder and size.
    pub(crate) copies: BTreeMap<String, Vec<(String, u64)>>,
    /// Files that are no datasets by their names or folders.
    pub(crate) others: BTreeSet<String>,
    /// What was looked up by its path, because it is none of the datasets.
    pub(crate) looked_up: BTreeMap<String, Presence>,
    /// What could not be listed, and why. The empty path is a session folder.
    pub(crate) unreadable: Vec<(String, String)>,
}

impl DiskFiles {
    /// Adds another folder of the same session.
    pub(crate) fn join(&mut self, other: Self) {
        if self.folders == 0 {
            self.folder.clone_from(&other.folder);
        }
        self.folders += other.folders;
        self.is_recent |= other.is_recent;
        for (path, size) in other.datasets {
            match self.datasets.get(&path) {
                Some(own) if *own != size => {
                    self.copies.entry(path).or_default().push((other.folder.clone(), size));
                }
                Some(_) => {}
                None => drop(self.datasets.insert(path, size)),
            }
        }
        self.others.extend(other.others);
        for (path, presence) in other.looked_up {
            self.look_up(path, presence);
        }
        self.unreadable.extend(other.unreadable);
    }

    /// Adds what one folder says of a path. It is absent only if it is so in all of them.
    pub(crate) fn look_up(&mut self, path: String, presence: Presence) {
        match (self.looked_up.get(&path), &presence) {
            (None | Some(Presence::Absent), _) | (Some(Presence::Unreadable(_)), Presence::File(_)) => {
                self.looked_up.insert(path, presence);
            }
            _ => {}
        }
    }

    /// The sizes of a dataset in the folders of its session, if they differ.
    pub(crate) fn differing_copies(&self, path: &str) -> Option<String> {
        let (copies, size) = (self.copies.get(path)?, self.datasets.get(path)?);
        let all = std::iter::once((&self.folder, size)).chain(copies.iter().map(|(at, size)| (at, size)));
        let all: Vec<String> = all.map(|(folder, size)| format!("{size} bytes in {folder}")).collect();
        Some(all.join(", "))
    }

    /// Whether a path, or a folder above it, could not be listed.
    pub(crate) fn is_hidden(&self, path: &str) -> bool {
        self.unreadable.iter().any(|(unreadable, _)| {
            let below = path.strip_prefix(unreadable.as_str());
            below.is_some_and(|rest| unreadable.is_empty() || rest.is_empty() || rest.starts_with('/'))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_absent_only_if_no_folder_of_its_session_has_it() {
        let (unreadable, mut disk) = (Presence::Unreadable("EIO".into()), DiskFiles::default());
        for (first, second, expected) in [
            (Presence::Absent, Presence::Absent, Presence::Absent),
            (Presence::Absent, Presence::File(3), Presence::File(3)),
            (Presence::File(3), Presence::Absent, Presence::File(3)),
            (Presence::Absent, unreadable.clone(), unreadable.clone()),
            (unreadable.clone(), Presence::Absent, unreadable.clone()),
            (unreadable, Presence::File(3), Presence::File(3)),
        ] {
            disk.looked_up.clear();
            disk.look_up("x".into(), first);
            disk.look_up("x".into(), second);
            assert_eq!(disk.looked_up["x"], expected);
        }
    }

    #[test]
    fn what_lies_in_a_folder_that_cannot_be_listed_is_hidden() {
        let disk = DiskFiles { unreadable: vec![("alf".into(), "EIO".into())], ..DiskFiles::default() };
        assert!(disk.is_hidden("alf") && disk.is_hidden("alf/x.npy") && !disk.is_hidden("alfa/x.npy"));
        let disk = DiskFiles { unreadable: vec![(String::new(), "EIO".into())], ..DiskFiles::default() };
        assert!(disk.is_hidden("raw/x.npy"));
    }
}
