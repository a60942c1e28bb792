//! The posting order: Alyx makes the revision that it receives last the default. Pure.

use std::collections::HashMap;

use crate::files::upload::Upload;
use alf::DatasetPath;
use alyx_client::DatasetRecord;

/// The files of one session to post, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PostingOrder<T> {
    /// Files with a later revision that is the default on Alyx and stays so, even if it is posted again and refused.
    pub(crate) superseded: Vec<T>,
    /// The other files, posted after those, the latest revision of each dataset last.
    pub(crate) current: Vec<T>,
}

impl<T: AsRef<DatasetPath>> PostingOrder<T> {
    /// Orders the files in `to_post`. `remote`: the datasets on Alyx.
    pub(crate) fn of(to_post: Vec<T>, remote: &[DatasetRecord]) -> Self {
        let mut latest_default: HashMap<(&str, &str), &str> = HashMap::new();
        for record in remote.iter().filter(|record| record.default_dataset != Some(false)) {
            let key = (record.collection.as_deref().unwrap_or_default(), record.name.as_str());
            let latest = latest_default.entry(key).or_default();
            *latest = record.revision.as_deref().unwrap_or_default().max(latest);
        }
        let is_superseded = |file: &T| {
            let path = file.as_ref();
            latest_default.get(&dataset(path)).is_some_and(|default| *default > revision(path))
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

/// The original counts as the earliest revision.
fn revision(path: &DatasetPath) -> &str {
    path.revision().unwrap_or_default()
}

/// Marks files if another revision of their dataset is among the files.
pub(crate) fn find_siblings(uploads: &mut [Upload]) {
    let mut counts: HashMap<(String, String), usize> = HashMap::new();
    let key = |upload: &Upload| {
        let (collection, name) = dataset(&upload.file.dataset);
        (collection.to_owned(), name.to_owned())
    };
    for upload in uploads.iter() {
        *counts.entry(key(upload)).or_default() += 1;
    }
    for upload in uploads {
        upload.has_other_revision = counts.get(&key(upload)).is_some_and(|n| *n > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::upload::FileToRegister;
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
        let order = PostingOrder::of(to_post.iter().map(|i| At(*i, &paths[*i])).collect(), remote);
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
        let upload = |(index, dataset): (usize, DatasetPath)| {
            let path = dataset.as_str().into();
            Upload::new(FileToRegister { index, path, dataset, version: None }, sum.clone())
        };
        let mut uploads: Vec<Upload> = paths.into_iter().enumerate().map(upload).collect();
        find_siblings(&mut uploads);
        let has: Vec<bool> = uploads.iter().map(|upload| upload.has_other_revision).collect();
        assert_eq!(has, [true, true, false, false]);
    }
}
