//! The comparison: what Alyx holds of the files of a run, taken in record by record. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::client::options::RegisterFilesOptions;
use crate::files::upload::{Owner, Upload};
use alyx_client::{DatasetRecord, FileRecord};

/// What Alyx held beside the files of this run, and of all of them together.
#[derive(Debug, Default)]
pub(crate) struct RemoteDatasets {
    /// The latest revision that is the default, by collection and file name. The original is not listed.
    pub(crate) latest_default: HashMap<(String, String), String>,
    /// The repositories that are servers: only they have an address, which the answer to a post does not contain.
    pub(crate) servers: BTreeSet<String>,
    /// The paths of datasets that are none of the files.
    pub(crate) elsewhere: HashSet<String>,
    /// File records that say that an unchanged file does not exist where it should: index of the file, and id.
    pub(crate) absent: Vec<(usize, String)>,
}

/// The files of a run by their path on Alyx, and what Alyx holds of them.
pub(crate) struct Comparison<'a> {
    uploads: &'a mut [Upload],
    by_path: PathIndex,
    owner: &'a Owner,
    options: &'a RegisterFilesOptions,
    /// Whether records are kept for the caller.
    keep: bool,
    remote: RemoteDatasets,
}

impl<'a> Comparison<'a> {
    pub(crate) fn of(
        uploads: &'a mut [Upload],
        owner: &'a Owner,
        options: &'a RegisterFilesOptions,
        keep: bool,
    ) -> Self {
        let by_path = PathIndex::of(uploads, |upload| upload.file.dataset.as_str());
        Self { uploads, by_path, owner, options, keep, remote: RemoteDatasets::default() }
    }

    /// Takes a record of Alyx in.
    pub(crate) fn add(&mut self, record: DatasetRecord) {
        let path = record.relative_path();
        let remote = &mut self.remote;
        if let Some(revision) = record.revision.as_deref().filter(|revision| !revision.is_empty())
            && record.default_dataset != Some(false)
        {
            let key = (record.collection.clone().unwrap_or_default(), record.name.clone());
            let latest = remote.latest_default.entry(key).or_default();
            if revision > latest.as_str() {
                revision.clone_into(latest);
            }
        }
        if self.options.server_only {
            let servers = record.file_records.iter().filter(|copy| copy.data_url.is_some());
            for name in servers.filter_map(|copy| copy.data_repository.as_deref()) {
                if !remote.servers.contains(name) {
                    remote.servers.insert(name.to_owned());
                }
            }
        }
        let places = self.by_path.at(&path, &*self.uploads, |upload| upload.file.dataset.as_str());
        let Some((last, others)) = places.split_last() else {
            remote.elsewhere.insert(path);
            return;
        };
        let mut take = |place: usize, record: DatasetRecord| {
            let Some(upload) = self.uploads.get_mut(place) else { return };
            if self.options.exists {
                let path = self.owner.repository_path(&upload.file.dataset);
                let wrong = |copy: &&FileRecord| !copy.exists && must_exist(copy, &path, self.options);
                let ids = record.file_records.iter().filter(wrong).filter_map(FileRecord::id);
                remote.absent.extend(ids.map(|id| (upload.file.index, id.to_owned())));
            }
            let file = (self.options.versions.of(upload.file.index), &upload.sum);
            upload.remote.add(record, file, self.options, self.keep);
        };
        others.iter().for_each(|place| take(*place as usize, record.clone()));
        take(*last as usize, record);
    }

    pub(crate) fn finish(self) -> RemoteDatasets {
        self.remote
    }
}

/// Whether a copy shown by Alyx is in a repository that the options name, by name or as a server.
fn must_exist(copy: &FileRecord, path: &str, options: &RegisterFilesOptions) -> bool {
    let is_named =
        copy.data_repository.as_deref().is_some_and(|name| options.repository.as_deref() == Some(name));
    (is_named || (options.server_only && copy.data_url.is_some())) && copy.has_path(path)
}

/// Finds items by a text that they have, with four bytes for each.
#[derive(Debug)]
pub(crate) struct PathIndex(Vec<u32>);

impl PathIndex {
    pub(crate) fn of<T>(items: &[T], path: impl Fn(&T) -> &str) -> Self {
        let mut places: Vec<u32> = (0..).take(items.len()).collect();
        places.sort_by(|a, b| Self::path(items, *a, &path).cmp(Self::path(items, *b, &path)));
        Self(places)
    }

    /// The places of the items with this path.
    pub(crate) fn at<T>(&self, path: &str, items: &[T], of: impl Fn(&T) -> &str) -> &[u32] {
        let start = self.0.partition_point(|place| Self::path(items, *place, &of) < path);
        let rest = self.0.get(start..).unwrap_or_default();
        let n = rest.iter().take_while(|place| Self::path(items, **place, &of) == path).count();
        rest.get(..n).unwrap_or_default()
    }

    fn path<'a, T>(items: &'a [T], place: u32, path: &impl Fn(&'a T) -> &'a str) -> &'a str {
        items.get(place as usize).map_or("", path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::remote_diff::DatasetDiff;
    use crate::files::upload::FileToRegister;
    use crate::{Checksum, FileStamp, Md5Sum};
    use alf::{DatasetPath, SessionPath};
    use serde_json::json;
    use std::path::Path;

    const AB: &str = "abababababababababababababababab";

    fn upload(index: usize, path: &str) -> Upload {
        let dataset = DatasetPath::parse(Path::new(path)).unwrap();
        let file = FileToRegister { index, dataset };
        let stamp = FileStamp::of(&std::fs::metadata("/").unwrap());
        Upload::new(file, Checksum { md5: Md5Sum::parse(AB), size: 3, stamp })
    }

    #[test]
    fn a_record_is_compared_with_the_files_of_its_path_and_with_no_other() {
        let owner = Owner::Session(SessionPath::parse(Path::new("/data/KS014/2024-05-01/1")).unwrap());
        let options = RegisterFilesOptions::default();
        let paths = ["x.y.npy", "alf/x.y.npy", "alf/#a#/x.y.npy", "alf/x.y.npy"];
        let mut uploads: Vec<Upload> = paths.iter().enumerate().map(|(i, path)| upload(i, path)).collect();
        let mut comparison = Comparison::of(&mut uploads, &owner, &options, false);
        for (collection, revision) in [("alf", ""), ("alf/probe00", ""), ("raw", "a")] {
            let record = json!({"name": "x.y.npy", "collection": collection, "revision": revision,
                "file_size": 3, "hash": AB, "file_records": [{"data_repository": "server"}]});
            comparison.add(serde_json::from_value(record).unwrap());
        }
        let remote = comparison.finish();
        let diffs: Vec<DatasetDiff> = uploads.iter().map(|upload| upload.remote.diff()).collect();
        let (changed, same) = (DatasetDiff::Changed, DatasetDiff::UpToDate);
        assert_eq!(diffs, [changed, same, changed, same], "a list may name a file twice");
        let elsewhere = ["alf/probe00/x.y.npy", "raw/#a#/x.y.npy"].map(str::to_owned);
        assert_eq!(remote.elsewhere, HashSet::from(elsewhere));
        assert_eq!(remote.latest_default.len(), 1, "an original is never a later revision");
    }
}
