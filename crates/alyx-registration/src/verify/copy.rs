//! A copy: a file of a session on this disk whose content can be compared with Alyx. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::hashing::md5_sum::Md5Sum;
use crate::verify::disk::{DiskFiles, Presence};
use crate::verify::finding::{Finding, FindingKind};
use crate::verify::held::{HeldDataset, Place};

/// A file here, and what Alyx holds of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldCopy {
    /// The file.
    pub file: PathBuf,
    /// Relative to the session.
    pub path: String,
    /// In bytes, on disk.
    pub size: u64,
    /// The MD5 on Alyx; several if Alyx holds several datasets with this path.
    pub md5s: Vec<Md5Sum>,
    /// The repository that it is in, if that has a name.
    pub repository: Option<String>,
}

impl HeldCopy {
    /// The files of a session folder that exist here according to Alyx and have the size that Alyx holds. Also the findings of
    /// those whose hash is no MD5.
    pub(crate) fn in_folder(
        folder: &Path,
        held: &[HeldDataset],
        disk: &DiskFiles,
        repository: Option<&str>,
    ) -> (Vec<Self>, Vec<Finding>) {
        let (mut copies, mut unhashed) = (BTreeMap::<&str, Self>::new(), Vec::new());
        for dataset in held.iter().filter(|dataset| dataset.place == Place::Here) {
            let path = dataset.path.as_str();
            let size = match (disk.datasets.get(path), disk.looked_up.get(path)) {
                (Some(size), _) | (None, Some(Presence::File(size))) => *size,
                _ => continue,
            };
            if dataset.size.is_some_and(|held| held != size) {
                continue;
            }
            let Some(md5) = dataset.md5 else {
                if dataset.has_hash {
                    let finding = Finding::of_file(FindingKind::NoHash, path).within(repository);
                    unhashed.push(finding.expected("the hash is no MD5".into()));
                }
                continue;
            };
            let copy = copies.entry(path).or_insert_with(|| Self {
                file: folder.join(path),
                path: path.to_owned(),
                size,
                md5s: Vec::new(),
                repository: repository.map(str::to_owned),
            });
            copy.md5s.push(md5);
        }
        (copies.into_values().collect(), unhashed)
    }

    /// Whether a content is what Alyx holds.
    pub fn is_content(&self, md5: Option<Md5Sum>) -> bool {
        md5.is_some_and(|md5| self.md5s.contains(&md5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(path: &str, size: Option<u64>, hash: &str, place: Place) -> HeldDataset {
        HeldDataset {
            id: String::new(),
            path: path.into(),
            size,
            has_hash: !hash.is_empty(),
            md5: Md5Sum::parse(hash),
            place,
            other_path: None,
        }
    }

    #[test]
    fn what_is_here_with_the_size_and_an_md5_of_alyx_is_read() {
        let md5 = "0cc175b9c0f1b6a831c399e269772661";
        let disk = DiskFiles {
            datasets: ["a", "b", "d", "e", "f", "g"].map(|path| (path.to_owned(), 1)).into(),
            looked_up: [("c".to_owned(), Presence::File(1)), ("x".to_owned(), Presence::Absent)].into(),
            ..DiskFiles::default()
        };
        let all = [
            held("a", Some(1), md5, Place::Here),
            held("a", Some(1), "900150983cd24fb0d6963f7d28e17f72", Place::Here),
            held("b", None, md5, Place::Here),
            held("c", Some(1), md5, Place::Here),
            held("d", Some(2), md5, Place::Here),
            held("e", Some(1), md5, Place::Elsewhere),
            held("f", Some(1), "", Place::Here),
            held("g", Some(1), "sha256", Place::Here),
            held("x", Some(1), md5, Place::Here),
        ];
        let (copies, unhashed) = HeldCopy::in_folder(Path::new("/s"), &all, &disk, Some("rig"));
        let shown: Vec<(&str, usize)> = copies.iter().map(|c| (c.path.as_str(), c.md5s.len())).collect();
        assert_eq!(shown, [("a", 2), ("b", 1), ("c", 1)]);
        assert_eq!(copies[0].file, Path::new("/s/a"));
        assert!(matches!(&unhashed[..], [one] if one.path.as_deref() == Some("g")), "{unhashed:?}");
    }
}
