//! The order in which files are posted: Alyx makes the revision that it receives last the default. Pure.

use std::collections::HashMap;

use crate::files::upload::FileToRegister;
use alf::DatasetPath;
use alyx_client::DatasetRecord;

/// The files of one session that are to be posted, in order, by their index.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PostingOrder {
    /// A later revision of these is the default on Alyx, and stays it: also where it is posted and refused.
    pub(crate) superseded: Vec<usize>,
    /// Posted after those, the latest revision of each dataset last.
    pub(crate) current: Vec<usize>,
}

impl PostingOrder {
    /// The order of the files in `to_post`. `held`: what Alyx holds already.
    pub(crate) fn of(files: &[FileToRegister], to_post: Vec<usize>, held: &[DatasetRecord]) -> Self {
        let mut latest_default: HashMap<(&str, &str), &str> = HashMap::new();
        for record in held.iter().filter(|record| record.default_dataset != Some(false)) {
            let key = (record.collection.as_deref().unwrap_or_default(), record.name.as_str());
            let latest = latest_default.entry(key).or_default();
            *latest = record.revision.as_deref().unwrap_or_default().max(latest);
        }
        let is_superseded = |index: &usize| {
            files.get(*index).is_some_and(|file| {
                latest_default
                    .get(&dataset(&file.dataset))
                    .is_some_and(|default| *default > revision(&file.dataset))
            })
        };
        let (superseded, mut current): (Vec<usize>, Vec<usize>) =
            to_post.into_iter().partition(is_superseded);
        latest_last(files, &mut current);
        Self { superseded, current }
    }
}

/// Sorts by revision; files of one revision keep their order.
pub(crate) fn latest_last(files: &[FileToRegister], indices: &mut [usize]) {
    indices.sort_by_key(|index| files.get(*index).map_or("", |file| revision(&file.dataset)));
}

/// What all revisions of a dataset have in common: collection and file name.
fn dataset(path: &DatasetPath) -> (&str, &str) {
    (path.collection().unwrap_or_default(), path.file_name())
}

/// The original counts as the earliest revision.
fn revision(path: &DatasetPath) -> &str {
    path.revision().unwrap_or_default()
}

/// Whether another revision of the file's dataset is among the files.
pub(crate) fn has_other_revision(files: &[FileToRegister], index: usize) -> bool {
    let Some(file) = files.get(index) else { return false };
    let same = |other: &&FileToRegister| dataset(&other.dataset) == dataset(&file.dataset);
    files.iter().filter(same).nth(1).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn files(paths: &[&str]) -> Vec<FileToRegister> {
        let file = |(index, path): (usize, &&str)| {
            let dataset = DatasetPath::parse(Path::new(path)).unwrap();
            FileToRegister { index, path: path.into(), dataset, version: None }
        };
        paths.iter().enumerate().map(file).collect()
    }

    fn held(collection: &str, revision: &str, name: &str) -> DatasetRecord {
        let record = serde_json::json!({"collection": collection, "revision": revision, "name": name});
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn the_latest_revision_of_each_dataset_goes_last_and_other_files_keep_their_order() {
        let files = files(&["#b#/x.y.npy", "z.y.npy", "#2024-06-01#/x.y.npy", "x.y.npy", "a.y.npy"]);
        let order = PostingOrder::of(&files, (0..5).collect(), &[]);
        assert_eq!(order, PostingOrder { superseded: vec![], current: vec![1, 3, 4, 2, 0] });
    }

    #[test]
    fn a_revision_older_than_the_default_on_alyx_is_superseded_also_where_that_one_is_posted_too() {
        let files = files(&["alf/x.y.npy", "alf/#2#/x.y.npy", "x.y.npy", "alf/z.y.npy"]);
        let held = [held("alf", "2", "x.y.npy"), held("alf", "", "z.y.npy")];
        let order = |to_post| PostingOrder::of(&files, to_post, &held);
        assert_eq!(order(vec![0, 2, 3]), PostingOrder { superseded: vec![0], current: vec![2, 3] });
        // Alyx may refuse the later one.
        assert_eq!(order(vec![1, 0]), PostingOrder { superseded: vec![0], current: vec![1] });
    }

    #[test]
    fn a_later_revision_that_is_not_the_default_supersedes_nothing() {
        let files = files(&["alf/x.y.npy"]);
        let later = DatasetRecord { default_dataset: Some(false), ..held("alf", "2", "x.y.npy") };
        let order = PostingOrder::of(&files, vec![0], &[held("alf", "", "x.y.npy"), later]);
        assert_eq!(order, PostingOrder { superseded: vec![], current: vec![0] });
    }

    #[test]
    fn only_the_same_file_name_in_the_same_collection_is_another_revision() {
        let files = files(&["alf/x.y.npy", "alf/#2#/x.y.npy", "x.y.npy", "#2#/z.y.npy"]);
        assert_eq!([0, 1, 2, 3].map(|index| has_other_revision(&files, index)), [true, true, false, false]);
    }
}
