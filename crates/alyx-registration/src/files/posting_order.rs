//! The posting order: Alyx makes the revision that it receives last the default. Pure.

use std::collections::{HashMap, HashSet};

use crate::files::upload::Upload;
use alf::DatasetPath;

/// The files of one session to post, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PostingOrder<T> {
    /// Files with a later revision that is the default on Alyx and stays so, even if it is posted again and refused.
    pub(crate) superseded: Vec<T>,
    /// The other files, posted after those, the latest revision of each dataset last.
    pub(crate) current: Vec<T>,
}

impl<T: AsRef<DatasetPath>> PostingOrder<T> {
    /// Orders the files in `to_post`. `latest_default`: the latest revision that is the default on Alyx, by collection and
    /// file name.
    pub(crate) fn of(to_post: Vec<T>, latest_default: &HashMap<(String, String), String>) -> Self {
        let is_superseded = |file: &T| {
            let path = file.as_ref();
            !latest_default.is_empty()
                && latest_default.get(&key(path)).is_some_and(|default| default.as_str() > revision(path))
        };
        let (superseded, mut current): (Vec<T>, Vec<T>) = to_post.into_iter().partition(is_superseded);
        latest_last(&mut current);
        Self { superseded, current }
    }
}

/// Sorts by revision; files of one revision keep their order.
pub(crate) fn latest_last<T: AsRef<DatasetPath>>(files: &mut [T]) {
    files.sort_by(|a, b| revision(a.as_ref()).cmp(revision(b.as_ref())));
}

/// What is common to all revisions of a dataset: collection and file name.
fn dataset(path: &DatasetPath) -> (&str, &str) {
    (path.collection().unwrap_or_default(), path.file_name())
}

fn key(path: &DatasetPath) -> (String, String) {
    let (collection, name) = dataset(path);
    (collection.to_owned(), name.to_owned())
}

/// The original counts as the earliest revision.
fn revision(path: &DatasetPath) -> &str {
    path.revision().unwrap_or_default()
}

/// Marks files if another revision of their dataset is among the files.
pub(crate) fn find_siblings(uploads: &mut [Upload]) {
    // Only a dataset with a revision among the files can have another one there.
    let revised: HashSet<(String, String)> = uploads
        .iter()
        .filter(|upload| upload.file.dataset.revision().is_some())
        .map(|upload| key(&upload.file.dataset))
        .collect();
    let mut counts: HashMap<(String, String), usize> = HashMap::new();
    for upload in uploads.iter().filter(|_| !revised.is_empty()) {
        let key = key(&upload.file.dataset);
        if revised.contains(&key) {
            *counts.entry(key).or_default() += 1;
        }
    }
    for upload in uploads {
        upload.has_other_revision =
            !counts.is_empty() && counts.get(&key(&upload.file.dataset)).is_some_and(|n| *n > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::options::RegisterFilesOptions;
    use crate::files::comparison::Comparison;
    use crate::files::upload::{FileToRegister, Owner};
    use alf::SessionPath;
    use alyx_client::DatasetRecord;
    use std::path::Path;

    fn paths(paths: &[&str]) -> Vec<DatasetPath> {
        paths.iter().map(|path| DatasetPath::parse(Path::new(path)).unwrap()).collect()
    }

    /// A path with its index.
    #[derive(Debug, PartialEq, Eq)]
    struct At<'a>(usize, &'a DatasetPath);

    impl AsRef<DatasetPath> for At<'_> {
        fn as_ref(&self) -> &DatasetPath {
            self.1
        }
    }

    fn order(paths: &[DatasetPath], to_post: Vec<usize>, remote: &[DatasetRecord]) -> PostingOrder<usize> {
        let owner = Owner::Session(SessionPath::parse(Path::new("/data/KS014/2024-05-01/1")).unwrap());
        let options = RegisterFilesOptions::default();
        let mut comparison = Comparison::of(&mut [], &owner, &options, false);
        remote.iter().for_each(|record| comparison.add(record.clone()));
        let to_post = to_post.iter().map(|i| At(*i, &paths[*i])).collect();
        let order = PostingOrder::of(to_post, &comparison.finish().latest_default);
        let indices = |files: Vec<At>| files.into_iter().map(|At(index, _)| index).collect();
        PostingOrder { superseded: indices(order.superseded), current: indices(order.current) }
    }

    fn remote(collection: &str, revision: &str, name: &str) -> DatasetRecord {
        let record = serde_json::json!({"collection": collection, "revision": revision, "name": name});
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn the_latest_revision_of_each_dataset_is_last_and_other_files_keep_their_order() {
        let paths = paths(&["#b#/x.y.npy", "z.y.npy", "#2024-06-01#/x.y.npy", "x.y.npy", "a.y.npy"]);
        let order = order(&paths, (0..5).collect(), &[]);
        assert_eq!(order, PostingOrder { superseded: vec![], current: vec![1, 3, 4, 2, 0] });
    }

    #[test]
    fn a_revision_older_than_the_default_on_alyx_is_superseded_even_if_both_are_posted() {
        let paths = paths(&["alf/x.y.npy", "alf/#2#/x.y.npy", "x.y.npy", "alf/z.y.npy"]);
        let remote = [remote("alf", "2", "x.y.npy"), remote("alf", "", "z.y.npy")];
        let of = |to_post| order(&paths, to_post, &remote);
        assert_eq!(of(vec![0, 2, 3]), PostingOrder { superseded: vec![0], current: vec![2, 3] });
        // Alyx may refuse the later one.
        assert_eq!(of(vec![1, 0]), PostingOrder { superseded: vec![0], current: vec![1] });
    }

    #[test]
    fn a_later_revision_that_is_not_the_default_supersedes_nothing() {
        let paths = paths(&["alf/x.y.npy"]);
        let later = DatasetRecord { default_dataset: Some(false), ..remote("alf", "2", "x.y.npy") };
        let order = order(&paths, vec![0], &[remote("alf", "", "x.y.npy"), later]);
        assert_eq!(order, PostingOrder { superseded: vec![], current: vec![0] });
    }

    #[test]
    fn only_the_same_file_name_in_the_same_collection_is_another_revision() {
        let paths = paths(&["alf/x.y.npy", "alf/#2#/x.y.npy", "x.y.npy", "#2#/z.y.npy"]);
        let stamp = crate::FileStamp::of(&std::fs::metadata("/").unwrap());
        let sum = crate::Checksum { md5: None, size: 3, stamp };
        let upload =
            |(index, dataset): (usize, DatasetPath)| Upload::new(FileToRegister { index, dataset }, sum);
        let mut uploads: Vec<Upload> = paths.into_iter().enumerate().map(upload).collect();
        find_siblings(&mut uploads);
        let has: Vec<bool> = uploads.iter().map(|upload| upload.has_other_revision).collect();
        assert_eq!(has, [true, true, false, false]);
    }
}
