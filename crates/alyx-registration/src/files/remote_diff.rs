//! DatasetDiff: how a file on disk stands to what Alyx already holds of it. Pure.

use std::collections::HashMap;

use crate::files::upload::{FileToRegister, Upload};
use crate::hashing::checksum::Checksum;
use crate::options::RegisterFilesOptions;
use alyx_client::{DatasetRecord, qc_number};

/// How a file stands to what Alyx holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum DatasetDiff<'a> {
    /// Not there, or there with other content. It is posted.
    Changed,
    /// There with the same content, but posting it would change something that the caller asked for.
    MetadataOnly(&'a DatasetRecord),
    /// All as it would be after posting it.
    UpToDate(&'a DatasetRecord),
}

/// The datasets that Alyx holds, by their path.
#[derive(Debug, Default)]
pub(crate) struct RemoteDatasets<'a> {
    by_path: HashMap<String, Vec<&'a DatasetRecord>>,
}

impl<'a> RemoteDatasets<'a> {
    pub(crate) fn of(records: &'a [DatasetRecord]) -> Self {
        let mut by_path: HashMap<String, Vec<&DatasetRecord>> = HashMap::new();
        for record in records {
            by_path.entry(record.relative_path()).or_default().push(record);
        }
        Self { by_path }
    }

    /// The records at a path: none, one, or (something is wrong on Alyx) several.
    pub(crate) fn at(&self, path: &str) -> &[&'a DatasetRecord] {
        self.by_path.get(path).map_or(&[], Vec::as_slice)
    }

    /// How a file stands.
    pub(crate) fn diff(&self, upload: &Upload, options: &RegisterFilesOptions) -> DatasetDiff<'a> {
        let Upload { file, sum, .. } = upload;
        match self.at(file.dataset.as_str()) {
            [one] if same_content(one, sum) => {
                if is_complete(one, file, options) {
                    DatasetDiff::UpToDate(one)
                } else {
                    DatasetDiff::MetadataOnly(one)
                }
            }
            _ => DatasetDiff::Changed,
        }
    }

    /// The record of a file of the same size of which Alyx knows the MD5 and we do not.
    pub(crate) fn undecided(&self, upload: &Upload) -> bool {
        let Upload { file, sum, .. } = upload;
        let [one] = self.at(file.dataset.as_str()) else { return false };
        sum.md5.is_none() && hash(one).is_some() && one.file_size == Some(sum.size)
    }
}

fn hash(record: &DatasetRecord) -> Option<&str> {
    record.hash.as_deref().filter(|hash| !hash.is_empty())
}

/// Whether the content on disk is the one that Alyx knows. Where neither side has an MD5, the size must do.
fn same_content(record: &DatasetRecord, sum: &Checksum) -> bool {
    record.file_size == Some(sum.size) && hash(record) == sum.md5.as_deref()
}

/// Whether posting the file would leave the record as it is, in everything that the caller asked for.
///
/// What the caller left open does not count: to post a file resets its QC outcome, and `default: true` would take
/// the place of a newer revision, just because a flag was touched. `labs` is the one thing that cannot be told
/// from a record: which repositories a lab has is not in it.
fn is_complete(record: &DatasetRecord, file: &FileToRegister, options: &RegisterFilesOptions) -> bool {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let version = file.version.is_none() || text(&file.version) == text(&record.version);
    let user = options.created_by.is_none() || options.created_by == record.created_by;
    let default = options.default || record.default_dataset != Some(true);
    let qc =
        options.qc.as_deref().is_none_or(|qc| qc_number(qc).is_some() && qc_number(qc) == record.qc_number());
    version && user && default && qc && options.labs.is_none() && has_file_records(record, options)
}

/// Whether the file records are those that the options ask for.
fn has_file_records(record: &DatasetRecord, options: &RegisterFilesOptions) -> bool {
    let records = &record.file_records;
    let in_repository = options.repository.as_deref().is_none_or(|name| {
        let mut there = records.iter().filter(|r| r.data_repository.as_deref() == Some(name));
        there.any(|r| r.exists || !options.exists)
    });
    // Which repositories are servers is not in the record, except that only servers give an address.
    let on_servers = !(options.server_only && options.exists)
        || (records.iter().any(|r| r.exists) && records.iter().all(|r| r.exists || r.data_url.is_none()));
    !records.is_empty() && in_repository && on_servers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FileStamp;
    use alf::DatasetPath;
    use serde_json::{Value, json};
    use std::path::Path;

    fn record(changes: Value) -> DatasetRecord {
        let mut record = json!({
            "name": "spikes.times.npy", "collection": "alf", "revision": "", "file_size": 3, "hash": "ab",
            "created_by": "me", "version": "1.0", "default_dataset": true, "qc": "PASS",
            "file_records": [
                {"data_repository": "lab_local", "exists": false, "data_url": null},
                {"data_repository": "server", "exists": false, "data_url": "https://x"},
            ],
        });
        record.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(record).unwrap()
    }

    fn file(version: Option<&str>) -> FileToRegister {
        let dataset = DatasetPath::parse(Path::new("alf/spikes.times.npy")).unwrap();
        FileToRegister { index: 0, path: "/x".into(), dataset, version: version.map(str::to_owned) }
    }

    fn sum(size: u64, md5: Option<&str>) -> Checksum {
        let stamp = FileStamp::of(&std::fs::metadata("/").unwrap());
        Checksum { md5: md5.map(str::to_owned), size, stamp }
    }

    fn told(
        record: DatasetRecord,
        sum: &Checksum,
        options: &RegisterFilesOptions,
        version: Option<&str>,
    ) -> &'static str {
        match RemoteDatasets::of(&[record]).diff(&Upload::new(file(version), sum.clone()), options) {
            DatasetDiff::Changed => "differs",
            DatasetDiff::MetadataOnly(_) => "incomplete",
            DatasetDiff::UpToDate(_) => "same",
        }
    }

    #[test]
    fn the_content_is_the_same_only_where_size_and_md5_are() {
        let options = RegisterFilesOptions::default();
        let stands = |changes: Value, size, md5| told(record(changes), &sum(size, md5), &options, None);
        assert_eq!(stands(json!({}), 3, Some("ab")), "same");
        assert_eq!(stands(json!({}), 4, Some("ab")), "differs");
        assert_eq!(stands(json!({}), 3, Some("cd")), "differs");
        assert_eq!(stands(json!({"file_size": null}), 3, Some("ab")), "differs");
        // Without an MD5 on our side the size decides only where Alyx has none either.
        assert_eq!(stands(json!({}), 3, None), "differs");
        assert_eq!(stands(json!({"hash": ""}), 3, None), "same");
        assert_eq!(stands(json!({"hash": null}), 3, None), "same");
        assert_eq!(stands(json!({"hash": ""}), 3, Some("ab")), "differs");
        assert_eq!(stands(json!({"collection": "alf/probe00"}), 3, Some("ab")), "differs");
        assert_eq!(stands(json!({"revision": "a"}), 3, Some("ab")), "differs");
    }

    #[test]
    fn two_records_of_one_file_are_no_reason_to_skip_it() {
        let two = [record(json!({})), record(json!({}))];
        let upload = Upload::new(file(None), sum(3, Some("ab")));
        let diff = RemoteDatasets::of(&two).diff(&upload, &RegisterFilesOptions::default());
        assert!(matches!(diff, DatasetDiff::Changed));
    }

    #[test]
    fn what_the_caller_asks_for_must_be_so_already() {
        let base = RegisterFilesOptions::default;
        let stands = |changes: Value, options: RegisterFilesOptions, version| {
            told(record(changes), &sum(3, Some("ab")), &options, version)
        };
        assert_eq!(stands(json!({}), base(), Some("1.0")), "same");
        assert_eq!(stands(json!({}), base(), Some("1.1")), "incomplete");
        let by = |user: &str| RegisterFilesOptions { created_by: Some(user.into()), ..base() };
        assert_eq!(stands(json!({}), by("me"), None), "same");
        assert_eq!(stands(json!({}), by("you"), None), "incomplete");
        let qc = |qc: &str| RegisterFilesOptions { qc: Some(qc.into()), ..base() };
        assert_eq!(stands(json!({}), qc("PASS"), None), "same");
        assert_eq!(stands(json!({"qc": 10}), qc("10"), None), "same");
        assert_eq!(stands(json!({}), qc("FAIL"), None), "incomplete");
        assert_eq!(stands(json!({}), qc("FINE"), None), "incomplete");
        let no_default = RegisterFilesOptions { default: false, ..base() };
        assert_eq!(stands(json!({}), no_default.clone(), None), "incomplete");
        assert_eq!(stands(json!({"default_dataset": false}), no_default, None), "same");
        let labs = RegisterFilesOptions { labs: Some("cortexlab".into()), ..base() };
        assert_eq!(stands(json!({}), labs, None), "incomplete");
    }

    #[test]
    fn a_newer_default_revision_is_left_in_its_place() {
        let options = RegisterFilesOptions::default();
        assert_eq!(
            told(record(json!({"default_dataset": false})), &sum(3, Some("ab")), &options, None),
            "same"
        );
    }

    #[test]
    fn file_records_must_be_there_and_say_what_is_asked() {
        let of = |repository: Option<&str>, exists, server_only| RegisterFilesOptions {
            repository: repository.map(str::to_owned),
            exists,
            server_only,
            ..Default::default()
        };
        let stands = |changes: Value, options| told(record(changes), &sum(3, Some("ab")), &options, None);
        assert_eq!(stands(json!({}), of(Some("server"), true, false)), "incomplete");
        assert_eq!(stands(json!({}), of(Some("server"), false, false)), "same");
        assert_eq!(stands(json!({}), of(Some("elsewhere"), false, false)), "incomplete");
        assert_eq!(stands(json!({}), of(None, true, true)), "incomplete");
        assert_eq!(stands(json!({"file_records": []}), of(None, true, false)), "incomplete");
        let there = json!({"file_records": [
            {"data_repository": "lab_local", "exists": false, "data_url": null},
            {"data_repository": "server", "exists": true, "data_url": "https://x"},
        ]});
        assert_eq!(stands(there.clone(), of(Some("server"), true, false)), "same");
        assert_eq!(stands(there.clone(), of(Some("lab_local"), true, false)), "incomplete");
        assert_eq!(stands(there, of(None, true, true)), "same");
    }

    #[test]
    fn a_file_without_md5_is_undecided_where_alyx_has_one() {
        let records = [record(json!({}))];
        let remote = RemoteDatasets::of(&records);
        let undecided = |sum: Checksum| remote.undecided(&Upload::new(file(None), sum));
        assert!(undecided(sum(3, None)));
        assert!(!undecided(sum(4, None)));
        assert!(!undecided(sum(3, Some("ab"))));
    }
}
