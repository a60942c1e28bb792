//! What Alyx holds of a dataset, as far as the disk can be compared with it. Pure.

use std::collections::BTreeSet;

use crate::hashing::md5_sum::Md5Sum;
use crate::repository::placement::Placement;
use alyx_client::{DatasetRecord, FileRecord};

/// Which file records speak of this computer's files, as registering decides it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Here {
    /// The repositories that are named.
    names: BTreeSet<String>,
    /// Whether those that are servers count.
    servers: bool,
}

impl Here {
    /// One placement for each folder of a session, or for each data root.
    pub(crate) fn of<'a>(placements: impl IntoIterator<Item = &'a Placement>) -> Self {
        let mut here = Self::default();
        for placement in placements {
            here.names.extend(placement.repository.clone());
            here.servers |= placement.repository.is_none() && placement.server_only;
        }
        here
    }

    /// Whether no file record can say that a file exists here.
    pub(crate) fn is_nowhere(&self) -> bool {
        self.names.is_empty() && !self.servers
    }

    /// The repository, if it is one that has a name.
    pub(crate) fn name(&self) -> Option<&str> {
        self.names.first().filter(|_| self.names.len() == 1 && !self.servers).map(String::as_str)
    }

    fn is_here(&self, copy: &FileRecord) -> bool {
        let is_named = copy.data_repository.as_ref().is_some_and(|name| self.names.contains(name));
        is_named || self.servers && copy.data_url.is_some()
    }

    /// Where the file of a dataset is.
    ///
    /// Without a repository, Alyx stores each record with `exists: false`. Where no repository holds the file either, the
    /// folder that it was registered from must.
    fn place(&self, copies: &[FileRecord]) -> Place {
        if self.is_nowhere() {
            let exists = |copy: &&FileRecord| copy.exists;
            let is_local = |copy: &FileRecord| copy.data_url.is_none();
            let mut existing = copies.iter().filter(exists).peekable();
            let is_nowhere_else = existing.peek().is_none();
            return if is_nowhere_else || existing.any(is_local) { Place::Here } else { Place::Elsewhere };
        }
        let mut own = copies.iter().filter(|copy| self.is_here(copy)).peekable();
        match (own.peek().is_some(), own.any(|copy| copy.exists)) {
            (_, true) => Place::Here,
            (true, false) => Place::SaidAbsent,
            (false, false) => Place::Elsewhere,
        }
    }
}

/// Where the file of a dataset is, by its file records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In this repository.
    Here,
    /// The record of this repository says that it does not exist.
    SaidAbsent,
    /// This repository has no record of it.
    Elsewhere,
}

/// A dataset on Alyx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeldDataset {
    pub(crate) id: String,
    /// Relative to the session.
    pub(crate) path: String,
    pub(crate) size: Option<u64>,
    pub(crate) has_hash: bool,
    /// The hash, if it is an MD5.
    pub(crate) md5: Option<Md5Sum>,
    pub(crate) place: Place,
    /// Its path in this repository, if that is none of the session's folders.
    pub(crate) other_path: Option<String>,
}

impl HeldDataset {
    /// `folders`: the session's folders, as they are sent to Alyx.
    pub(crate) fn of(record: &DatasetRecord, here: &Here, folders: &[String]) -> Self {
        let path = record.relative_path();
        let place = here.place(&record.file_records);
        let own = record.file_records.iter().filter(|copy| copy.exists && here.is_here(copy));
        let mut paths = own.filter_map(|copy| copy.other.get("relative_path")?.as_str()).peekable();
        let is_usual = |own: &str| folders.iter().any(|folder| own == format!("{folder}/{path}"));
        let other_path = paths.peek().map(|first| (*first).to_owned());
        let other_path = other_path.filter(|_| !folders.is_empty() && !paths.any(is_usual));
        Self {
            id: record.id().to_owned(),
            size: record.file_size,
            has_hash: record.hash.as_ref().is_some_and(|hash| !hash.is_empty()),
            md5: record.hash.as_deref().and_then(|hash| Md5Sum::parse(&hash.to_ascii_lowercase())),
            place,
            other_path,
            path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn here(repository: Option<&str>, server_only: bool) -> Here {
        Here::of(&[Placement { repository: repository.map(str::to_owned), server_only, exists: true }])
    }

    fn held(copies: Value, here: &Here) -> HeldDataset {
        let record = json!({"url": "http://x/datasets/1-2", "name": "spikes.times.npy", "collection": "alf",
            "file_size": 3, "hash": "ab", "file_records": copies});
        let folders = ["KS014/2024-05-01/001".to_owned()];
        HeldDataset::of(&serde_json::from_value(record).unwrap(), here, &folders)
    }

    fn copy(repository: &str, exists: bool, is_server: bool) -> Value {
        let url = is_server.then_some("http://data/x");
        json!({"data_repository": repository, "exists": exists, "data_url": url,
            "relative_path": "KS014/2024-05-01/001/alf/spikes.times.npy"})
    }

    #[test]
    fn only_the_records_of_this_repository_say_where_a_file_is() {
        let (rig, server) = (copy("rig", true, false), copy("server", true, true));
        let (no_rig, no_server) = (copy("rig", false, false), copy("server", false, true));
        let (named, servers) = (here(Some("rig"), false), here(None, true));
        let nowhere = here(None, false);
        for (here, copies, expected) in [
            (&named, json!([rig, no_server]), Place::Here),
            (&named, json!([no_rig, server]), Place::SaidAbsent),
            (&named, json!([server]), Place::Elsewhere),
            (&named, json!([]), Place::Elsewhere),
            (&servers, json!([no_rig, server]), Place::Here),
            (&servers, json!([rig, no_server]), Place::SaidAbsent),
            (&servers, json!([rig]), Place::Elsewhere),
            (&nowhere, json!([no_rig, no_server]), Place::Here),
            (&nowhere, json!([rig, server]), Place::Here),
            (&nowhere, json!([no_rig, server]), Place::Elsewhere),
        ] {
            assert_eq!(held(copies.clone(), here).place, expected, "{here:?} {copies}");
        }
        assert_eq!((named.name(), servers.name(), nowhere.name()), (Some("rig"), None, None));
    }

    #[test]
    fn a_record_of_another_folder_is_noticed() {
        let mut other = copy("rig", true, false);
        other["relative_path"] = json!("KS014/2024-05-01/1/alf/spikes.times.npy");
        let rig = here(Some("rig"), false);
        let path = held(json!([other]), &rig).other_path;
        assert_eq!(path.as_deref(), Some("KS014/2024-05-01/1/alf/spikes.times.npy"));
        assert_eq!(held(json!([copy("rig", true, false)]), &rig).other_path, None);
        // An older server does not send the path.
        assert_eq!(held(json!([{"data_repository": "rig", "exists": true}]), &rig).other_path, None);
    }
}
