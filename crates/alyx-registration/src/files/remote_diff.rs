//! The remote diff: compares a local file with its record on Alyx. Pure.

use crate::client::options::RegisterFilesOptions;
use crate::hashing::checksum::Checksum;
use alyx_client::{DatasetRecord, qc_number};

/// How a file differs from its record on Alyx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatasetDiff {
    /// There is no record, or one of other content. The file is posted.
    Changed,
    /// The content is the same, but posting the file would change something that the caller asked for.
    MetadataOnly,
    /// Posting the file would change nothing.
    UpToDate,
}

/// What Alyx held of a file before this run: the outcome of the comparison, as a session may have 100,000 files.
#[derive(Debug, Clone, Default)]
pub(crate) struct RemoteState {
    /// How many records: none, one, or, by mistake, several.
    pub(crate) records: u32,
    /// Whether one of them has this content.
    pub(crate) same_content: bool,
    /// Whether posting the file would change nothing that the caller asked for.
    is_complete: bool,
    /// Whether only the MD5 can decide: the sizes are the same, and only Alyx has an MD5.
    pub(crate) undecided: bool,
    /// The record, where a caller needs it.
    pub(crate) record: Option<Box<DatasetRecord>>,
}

impl RemoteState {
    /// Compares the file, of which version and content are given, with one of its records.
    pub(crate) fn add(
        &mut self,
        record: DatasetRecord,
        (version, sum): (Option<&str>, &Checksum),
        options: &RegisterFilesOptions,
        keep: bool,
    ) {
        let is_first = self.records == 0;
        self.records += 1;
        self.same_content |= same_content(&record, sum);
        self.is_complete = is_complete(&record, version, options);
        self.undecided =
            is_first && sum.md5.is_none() && hash(&record).is_some() && record.file_size == Some(sum.size);
        self.record = (is_first && (keep || self.undecided)).then(|| Box::new(record));
    }

    pub(crate) fn diff(&self) -> DatasetDiff {
        match (self.records, self.same_content, self.is_complete) {
            (1, true, true) => DatasetDiff::UpToDate,
            (1, true, false) => DatasetDiff::MetadataOnly,
            _ => DatasetDiff::Changed,
        }
    }
}

fn hash(record: &DatasetRecord) -> Option<&str> {
    record.hash.as_deref().filter(|hash| !hash.is_empty())
}

/// Whether the content on disk is the one on Alyx. If neither side has an MD5, the size decides.
pub(crate) fn same_content(record: &DatasetRecord, sum: &Checksum) -> bool {
    record.file_size == Some(sum.size) && hash(record) == sum.md5.map(|md5| md5.to_string()).as_deref()
}

/// Whether posting the file would change nothing that the caller asked for.
///
/// What the caller did not ask for does not count: posting a file resets its QC outcome, and `default: true` would
/// displace a newer revision, just because a flag was touched. Only `labs` cannot be compared: a record does not
/// contain the repositories of a lab.
fn is_complete(record: &DatasetRecord, version: Option<&str>, options: &RegisterFilesOptions) -> bool {
    let version = version.is_none_or(|version| version == record.version.as_deref().unwrap_or_default());
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
    // A record does not say which repositories are servers, but only servers have an address.
    let on_servers = !(options.server_only && options.exists)
        || (records.iter().any(|r| r.exists) && records.iter().all(|r| r.exists || r.data_url.is_none()));
    !records.is_empty() && in_repository && on_servers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FileStamp;
    use serde_json::{Value, json};

    const AB: &str = "abababababababababababababababab";
    const CD: &str = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";

    fn record(changes: Value) -> DatasetRecord {
        let mut record = json!({
            "name": "spikes.times.npy", "collection": "alf", "revision": "", "file_size": 3, "hash": AB,
            "created_by": "me", "version": "1.0", "default_dataset": true, "qc": "PASS",
            "file_records": [
                {"data_repository": "lab_local", "exists": false, "data_url": null},
                {"data_repository": "server", "exists": false, "data_url": "https://x"},
            ],
        });
        record.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(record).unwrap()
    }

    fn sum(size: u64, md5: Option<&str>) -> Checksum {
        let stamp = FileStamp::of(&std::fs::metadata("/").unwrap());
        Checksum { md5: md5.and_then(crate::Md5Sum::parse), size, stamp }
    }

    /// What a comparison with these records finds.
    fn compared(
        records: Vec<DatasetRecord>,
        file: (Option<&str>, &Checksum),
        options: &RegisterFilesOptions,
    ) -> RemoteState {
        let mut state = RemoteState::default();
        records.into_iter().for_each(|record| state.add(record, file, options, false));
        state
    }

    fn diff_of(
        record: DatasetRecord,
        sum: &Checksum,
        options: &RegisterFilesOptions,
        version: Option<&str>,
    ) -> &'static str {
        match compared(vec![record], (version, sum), options).diff() {
            DatasetDiff::Changed => "differs",
            DatasetDiff::MetadataOnly => "incomplete",
            DatasetDiff::UpToDate => "same",
        }
    }

    #[test]
    fn the_content_is_the_same_only_if_size_and_md5_are() {
        let options = RegisterFilesOptions::default();
        let diff = |changes: Value, size, md5| diff_of(record(changes), &sum(size, md5), &options, None);
        assert_eq!(diff(json!({}), 3, Some(AB)), "same");
        assert_eq!(diff(json!({}), 4, Some(AB)), "differs");
        assert_eq!(diff(json!({}), 3, Some(CD)), "differs");
        assert_eq!(diff(json!({"file_size": null}), 3, Some(AB)), "differs");
        // Without a local MD5 the size decides only if Alyx has none either.
        assert_eq!(diff(json!({}), 3, None), "differs");
        assert_eq!(diff(json!({"hash": ""}), 3, None), "same");
        assert_eq!(diff(json!({"hash": null}), 3, None), "same");
        assert_eq!(diff(json!({"hash": ""}), 3, Some(AB)), "differs");
    }

    #[test]
    fn a_file_with_two_records_is_not_skipped() {
        let two = vec![record(json!({})), record(json!({}))];
        let file = (None, &sum(3, Some(AB)));
        assert_eq!(compared(two, file, &RegisterFilesOptions::default()).diff(), DatasetDiff::Changed);
    }

    #[test]
    fn a_record_is_up_to_date_only_in_everything_that_the_caller_asks_for() {
        let base = RegisterFilesOptions::default;
        let diff = |changes: Value, options: RegisterFilesOptions, version| {
            diff_of(record(changes), &sum(3, Some(AB)), &options, version)
        };
        assert_eq!(diff(json!({}), base(), Some("1.0")), "same");
        assert_eq!(diff(json!({}), base(), Some("1.1")), "incomplete");
        let by = |user: &str| RegisterFilesOptions { created_by: Some(user.into()), ..base() };
        assert_eq!(diff(json!({}), by("me"), None), "same");
        assert_eq!(diff(json!({}), by("you"), None), "incomplete");
        let qc = |qc: &str| RegisterFilesOptions { qc: Some(qc.into()), ..base() };
        assert_eq!(diff(json!({}), qc("PASS"), None), "same");
        assert_eq!(diff(json!({"qc": 10}), qc("10"), None), "same");
        assert_eq!(diff(json!({}), qc("FAIL"), None), "incomplete");
        assert_eq!(diff(json!({}), qc("FINE"), None), "incomplete");
        let no_default = RegisterFilesOptions { default: false, ..base() };
        assert_eq!(diff(json!({}), no_default.clone(), None), "incomplete");
        assert_eq!(diff(json!({"default_dataset": false}), no_default, None), "same");
        let labs = RegisterFilesOptions { labs: Some("cortexlab".into()), ..base() };
        assert_eq!(diff(json!({}), labs, None), "incomplete");
    }

    #[test]
    fn a_newer_default_revision_is_not_displaced() {
        let options = RegisterFilesOptions::default();
        assert_eq!(
            diff_of(record(json!({"default_dataset": false})), &sum(3, Some(AB)), &options, None),
            "same"
        );
    }

    #[test]
    fn file_records_must_exist_and_agree_with_the_options() {
        let of = |repository: Option<&str>, exists, server_only| RegisterFilesOptions {
            repository: repository.map(str::to_owned),
            exists,
            server_only,
            ..Default::default()
        };
        let diff = |changes: Value, options| diff_of(record(changes), &sum(3, Some(AB)), &options, None);
        assert_eq!(diff(json!({}), of(Some("server"), true, false)), "incomplete");
        assert_eq!(diff(json!({}), of(Some("server"), false, false)), "same");
        assert_eq!(diff(json!({}), of(Some("elsewhere"), false, false)), "incomplete");
        assert_eq!(diff(json!({}), of(None, true, true)), "incomplete");
        assert_eq!(diff(json!({"file_records": []}), of(None, true, false)), "incomplete");
        let there = json!({"file_records": [
            {"data_repository": "lab_local", "exists": false, "data_url": null},
            {"data_repository": "server", "exists": true, "data_url": "https://x"},
        ]});
        assert_eq!(diff(there.clone(), of(Some("server"), true, false)), "same");
        assert_eq!(diff(there.clone(), of(Some("lab_local"), true, false)), "incomplete");
        assert_eq!(diff(there, of(None, true, true)), "same");
    }

    #[test]
    fn a_file_without_md5_is_undecided_if_alyx_has_one() {
        let undecided = |sum: Checksum| {
            let options = RegisterFilesOptions::default();
            compared(vec![record(json!({}))], (None, &sum), &options).undecided
        };
        assert!(undecided(sum(3, None)));
        assert!(!undecided(sum(4, None)));
        assert!(!undecided(sum(3, Some(AB))));
    }
}
