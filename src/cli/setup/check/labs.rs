//! The labs of a data root: from its folders, or else the subjects in it, whose labs Alyx knows.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::path::{Path, PathBuf};

/// How many subjects are looked up to find their labs.
const MAX_SUBJECTS: usize = 20;

/// What the folders of a data root say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::cli::setup) struct RootFolders {
    /// Labs, each with its folder: the root is `<lab>/Subjects`, `<lab>`, or holds such folders.
    pub(in crate::cli::setup) labs: Vec<(String, PathBuf)>,
    /// Folders that may be subjects, if there are no labs.
    pub(in crate::cli::setup) subjects: Vec<String>,
}

impl RootFolders {
    /// Looks at the root and at its folders. Blocks.
    pub(in crate::cli::setup) fn load(root: &Path) -> Self {
        let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
        let of_root = if root.ends_with("Subjects") { root.parent() } else { Some(root) };
        let is_lab = |folder: &Path| folder.join("Subjects").is_dir();
        if let Some(lab) = of_root.filter(|lab| is_lab(lab)) {
            return Self { labs: Vec::from_iter(name(lab).zip(Some(lab.to_owned()))), subjects: Vec::new() };
        }
        let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
        let mut folders: Vec<PathBuf> =
            entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        folders.sort();
        let labs: Vec<_> = folders
            .iter()
            .filter(|folder| is_lab(folder))
            .filter_map(|lab| name(lab).zip(Some(lab.clone())))
            .collect();
        let subjects = match labs.is_empty() {
            true => folders.iter().filter_map(|folder| name(folder)).take(MAX_SUBJECTS).collect(),
            false => Vec::new(),
        };
        Self { labs, subjects }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_labs_of_a_root_are_in_its_path_or_in_its_folders() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        let make = |path: &str| std::fs::create_dir_all(root.join(path)).unwrap();
        make("cortexlab/Subjects/KS014/2024-05-01/001");
        let lab = |name: &str| (name.to_owned(), root.join(name));
        for at in ["", "cortexlab", "cortexlab/Subjects"] {
            let found = RootFolders::load(&root.join(at));
            assert_eq!(found, RootFolders { labs: vec![lab("cortexlab")], subjects: Vec::new() }, "{at}");
        }
        make("mainenlab/Subjects");
        assert_eq!(RootFolders::load(&root).labs, [lab("cortexlab"), lab("mainenlab")]);
        let subjects = RootFolders::load(&root.join("cortexlab/Subjects/KS014"));
        assert_eq!(subjects, RootFolders { labs: Vec::new(), subjects: vec!["2024-05-01".into()] });
        assert_eq!(RootFolders::load(&root.join("none")), RootFolders::default());
    }
}
