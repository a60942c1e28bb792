//! Read-back: compares what Alyx shows afterwards with what was sent.

use crate::client::RegistrationClient;
use crate::error::Error;
use crate::files::remote_diff::RemoteDatasets;
use crate::files::send::{RemoteScope, Sent};
use crate::files::upload::Upload;
use alyx_client::DatasetRecord;

/// The differences between what was sent and what Alyx shows. Pure.
fn differences(uploads: &[&Upload], shown: &[DatasetRecord]) -> Vec<String> {
    let remote = RemoteDatasets::of(shown);
    let mut differences = Vec::new();
    for Upload { file, sum, .. } in uploads {
        let path = file.dataset.as_str();
        match remote.at(path) {
            [] => differences.push(format!("{path}: not there")),
            [one] => {
                if one.file_size != Some(sum.size) {
                    differences.push(format!("{path}: another size"));
                } else if sum.md5.is_some() && one.hash != sum.md5 {
                    differences.push(format!("{path}: another MD5"));
                }
            }
            several => differences.push(format!("{path}: {} records", several.len())),
        }
    }
    differences
}

impl RegistrationClient {
    /// Reads the datasets of a session, or of another record, back and compares path, size and MD5 with what was sent, for the files that Alyx
    /// accepted.
    ///
    /// # Errors
    /// [`Error::NotConfirmed`] with the differences.
    pub(crate) async fn confirm(&self, scope: &RemoteScope, sent: &Sent) -> Result<(), Error> {
        let uploads: Vec<&Upload> = sent.registered().collect();
        if uploads.is_empty() {
            return Ok(());
        }
        let differences = match sent.has_posted() {
            // Nothing was posted since Alyx was asked.
            false => differences(&uploads, &sent.remote),
            true => differences(&uploads, &self.remote_datasets(scope).await?),
        };
        if differences.is_empty() { Ok(()) } else { Err(Error::NotConfirmed(differences)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::upload::FileToRegister;
    use crate::{Checksum, FileStamp};
    use alf::DatasetPath;
    use serde_json::json;
    use std::path::Path;

    fn sent() -> Upload {
        let dataset = DatasetPath::parse(Path::new("alf/spikes.times.npy")).unwrap();
        let file = FileToRegister { index: 0, path: "/x".into(), dataset, version: None };
        let stamp = FileStamp::of(&std::fs::metadata("/").unwrap());
        Upload::new(file, Checksum { md5: Some("ab".into()), size: 3, stamp })
    }

    fn shown(size: u64, hash: Option<&str>) -> DatasetRecord {
        serde_json::from_value(json!({"name": "spikes.times.npy", "collection": "alf", "revision": "", "file_size": size, "hash": hash}))
            .unwrap()
    }

    #[test]
    fn what_was_sent_and_is_shown_is_confirmed() {
        let sent = sent();
        assert!(differences(&[&sent], &[shown(3, Some("ab"))]).is_empty());
    }

    #[test]
    fn a_missing_a_changed_and_a_duplicate_dataset_are_reported() {
        let sent = sent();
        assert_eq!(differences(&[&sent], &[]), ["alf/spikes.times.npy: not there"]);
        assert_eq!(differences(&[&sent], &[shown(4, Some("ab"))]), ["alf/spikes.times.npy: another size"]);
        assert_eq!(differences(&[&sent], &[shown(3, Some("cd"))]), ["alf/spikes.times.npy: another MD5"]);
        let twice = [shown(3, Some("ab")), shown(3, Some("ab"))];
        assert_eq!(differences(&[&sent], &twice), ["alf/spikes.times.npy: 2 records"]);
    }
}
