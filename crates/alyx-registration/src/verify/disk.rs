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
    /// Its datasets, with their sizes.
    pub(crate) datasets: BTreeMap<String, u64>,
    /// Copies of the same dataset in another folder of the session, whose size differs.
    pub(crate) copies: Vec<(String, u64)>,
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
        self.folders += other.folders;
        for (path, size) in other.datasets {
            match self.datasets.get(&path) {
                Some(own) if *own != size => self.copies.push((path, size)),
                Some(_) => {}
                None => drop(self.datasets.insert(path, size)),
            }
        }
        self.copies.extend(other.copies);
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
