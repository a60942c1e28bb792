//! The MD5 sums that Alyx holds of a session, as other programs compare them with any copy of the repository. Pure.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use crate::hashing::md5_sum::Md5Sum;
use crate::verify::held::Here;
use alyx_client::{DatasetRecord, FileRecord};

/// A file of a repository, and what Alyx holds of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldSum {
    /// Relative to the root of the repository.
    pub path: String,
    /// Its MD5.
    pub md5: Md5Sum,
    /// Its size, if Alyx holds that.
    pub size: Option<u64>,
}

/// The sums of a session's datasets that exist here according to Alyx.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldSums {
    /// By path; `None`: two datasets have this path, and their contents differ.
    by_path: BTreeMap<String, Option<HeldSum>>,
    /// Datasets that have no MD5 on Alyx, or no usable path.
    without: u64,
}

impl HeldSums {
    /// Adds a dataset that exists here. `session`: the folder of the session, as it is sent to Alyx.
    pub(crate) fn add(&mut self, record: &DatasetRecord, here: &Here, session: &str) {
        let own = record.file_records.iter().filter(|copy| copy.exists && here.is_here(copy));
        let path_of = |copy: &FileRecord| Some(copy.other.get("relative_path")?.as_str()?.to_owned());
        let path = own.filter_map(path_of).next();
        let path = path.unwrap_or_else(|| format!("{session}/{}", record.relative_path()));
        let md5 = record.hash.as_deref().and_then(|hash| Md5Sum::parse(&hash.to_ascii_lowercase()));
        let is_inside = Path::new(&path).components().all(|part| matches!(part, Component::Normal(_)));
        let Some(md5) = md5.filter(|_| is_inside && !path.is_empty()) else {
            self.without += 1;
            return;
        };
        let sum = HeldSum { path: path.clone(), md5, size: record.file_size };
        let known = self.by_path.entry(path).or_insert_with(|| Some(sum.clone()));
        if known.as_ref().is_some_and(|known| *known != sum) {
            *known = None;
        }
    }

    /// The sums, by path.
    pub fn sums(&self) -> impl Iterator<Item = &HeldSum> {
        self.by_path.values().flatten()
    }

    /// How many datasets are not among them: those without an MD5, and those of which Alyx holds two.
    pub fn without(&self) -> u64 {
        self.without + self.by_path.values().filter(|sum| sum.is_none()).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::placement::Placement;
    use serde_json::{Value, json};

    const A: &str = "0cc175b9c0f1b6a831c399e269772661";
    const ABC: &str = "900150983cd24fb0d6963f7d28e17f72";

    fn record(name: &str, hash: Value, relative: Option<&str>) -> DatasetRecord {
        let mut copy = json!({"id": "1", "data_repository": "rig", "exists": true});
        if let Some(relative) = relative {
            copy["relative_path"] = json!(relative);
        }
        let record = json!({"name": name, "collection": "alf", "hash": hash, "file_size": 3,
            "file_records": [copy]});
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn a_sum_has_the_path_of_its_file_record_and_what_is_ambiguous_has_none() {
        let rig = Placement { repository: Some("rig".into()), server_only: false, exists: true };
        let here = Here::of([&rig]);
        let mut sums = HeldSums::default();
        for (name, hash, relative) in [
            ("b.npy", json!(ABC.to_uppercase()), Some("KS014/2024-05-01/1/alf/b.npy")),
            ("a.npy", json!(A), None),
            // Twice the same, and twice another.
            ("a.npy", json!(A), None),
            ("c.npy", json!(A), None),
            ("c.npy", json!(ABC), None),
            ("d.npy", Value::Null, None),
            ("e.npy", json!("sha1"), None),
            ("f.npy", json!(A), Some("../../etc/passwd")),
        ] {
            sums.add(&record(name, hash, relative), &here, "KS014/2024-05-01/001");
        }
        let lines: Vec<String> = sums.sums().map(|sum| format!("{} {}", sum.md5, sum.path)).collect();
        let expected =
            [format!("{A} KS014/2024-05-01/001/alf/a.npy"), format!("{ABC} KS014/2024-05-01/1/alf/b.npy")];
        assert_eq!(lines, expected);
        assert_eq!(sums.without(), 4);
    }
}
