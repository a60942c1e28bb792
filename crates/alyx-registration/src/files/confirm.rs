//! Read-back: compares what Alyx shows afterwards with what was sent.

use std::collections::BTreeMap;

use crate::client::RegistrationClient;
use crate::client::options::RegisterFilesOptions;
use crate::error::Error;
use crate::files::comparison::PathIndex;
use crate::files::send::{RemoteScope, Sent};
use crate::files::upload::{Owner, Upload, UploadState};
use alyx_client::{DatasetRecord, FileRecord};

/// Compares what was sent with what Alyx shows, record by record.
struct ReadBack<'a> {
    uploads: &'a [Upload],
    by_path: PathIndex,
    owner: &'a Owner,
    options: &'a RegisterFilesOptions,
    /// How many records each upload has.
    records: Vec<u32>,
    /// By the place of the upload, so that they are reported in order.
    differences: BTreeMap<usize, String>,
}

impl<'a> ReadBack<'a> {
    fn of(uploads: &'a [Upload], owner: &'a Owner, options: &'a RegisterFilesOptions) -> Self {
        let by_path = PathIndex::of(uploads, |upload| upload.file.dataset.as_str());
        let (records, differences) = (vec![0; uploads.len()], BTreeMap::new());
        Self { uploads, by_path, owner, options, records, differences }
    }

    /// Takes a record that Alyx shows in.
    fn add(&mut self, record: &DatasetRecord) {
        let path = record.relative_path();
        for place in self.by_path.at(&path, self.uploads, |upload| upload.file.dataset.as_str()) {
            let place = *place as usize;
            let Some(upload) = self.uploads.get(place).filter(|upload| upload.is_registered()) else {
                continue;
            };
            if let Some(records) = self.records.get_mut(place) {
                *records += 1;
            }
            if let Some(why) = self.difference(upload, record) {
                self.differences.insert(place, format!("{path}: {why}"));
            }
        }
    }

    fn difference(&self, upload: &Upload, record: &DatasetRecord) -> Option<String> {
        let Upload { file, sum, state, .. } = upload;
        if record.file_size != Some(sum.size) {
            Some("another size".to_owned())
        } else if sum.md5.is_some_and(|md5| record.hash.as_deref() != Some(md5.to_string().as_str())) {
            Some("another MD5".to_owned())
        } else if matches!(state, UploadState::Posted(_)) {
            let place = self.owner.repository_path(&file.dataset);
            misplaced(record, &place, !upload.remote.same_content, self.options)
        } else {
            None
        }
    }

    fn finish(mut self) -> Vec<String> {
        for (place, (upload, records)) in self.uploads.iter().zip(&self.records).enumerate() {
            let path = upload.file.dataset.as_str();
            match records {
                1 => {}
                _ if !upload.is_registered() => {}
                0 => drop(self.differences.insert(place, format!("{path}: not there"))),
                several => drop(self.differences.insert(place, format!("{path}: {several} records"))),
            }
        }
        self.differences.into_values().collect()
    }
}

/// What is wrong with the file record of a posted file in the named repository, or in those of the lab's servers. `has_changed`: the content is not what
/// Alyx had before, so that no other software can have copied it yet. Pure.
fn misplaced(
    record: &DatasetRecord,
    path: &str,
    has_changed: bool,
    options: &RegisterFilesOptions,
) -> Option<String> {
    let on_servers = options.server_only && options.exists;
    // Only servers have an address.
    let is_missing = |copy: &&FileRecord| copy.data_url.is_some() && copy.has_path(path) && !copy.exists;
    if let Some(copy) = record.file_records.iter().filter(|_| on_servers).find(is_missing) {
        let repository = copy.data_repository.as_deref().unwrap_or("a server");
        return Some(format!("its file record in {repository} says exists: false"));
    }
    let repository = options.repository.as_deref()?;
    let copies: Vec<&FileRecord> =
        record.file_records.iter().filter(|copy| copy.is_at(repository, path)).collect();
    let exists = copies.iter().any(|copy| copy.exists);
    if copies.is_empty() {
        Some(format!("no file record in {repository}"))
    } else if options.exists && !exists {
        Some(format!("its file record in {repository} says exists: false"))
    } else if !options.exists && exists && has_changed {
        Some(format!("its file record in {repository} says exists: true"))
    } else {
        None
    }
}

impl RegistrationClient {
    /// Reads the datasets of a session, or of another record, back and compares path, size, MD5 and the file record in
    /// the named repository with what was sent, for the files that Alyx accepted.
    ///
    /// # Errors
    /// [`Error::NotConfirmed`] with the differences.
    pub(crate) async fn confirm(
        &self,
        owner: &Owner,
        scope: &RemoteScope,
        sent: &Sent,
        options: &RegisterFilesOptions,
    ) -> Result<(), Error> {
        // What is unchanged was compared when it was read, and nothing was posted since.
        if !sent.has_posted() {
            return Ok(());
        }
        let mut read_back = ReadBack::of(&sent.uploads, owner, options);
        self.for_each_remote(scope, |record| read_back.add(&record)).await?;
        let differences = read_back.finish();
        if differences.is_empty() { Ok(()) } else { Err(Error::NotConfirmed(differences)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::comparison::Comparison;
    use crate::files::upload::FileToRegister;
    use crate::{Checksum, FileStamp, Md5Sum};
    use alf::{DatasetPath, SessionPath};
    use serde_json::{Value, json};
    use std::path::Path;

    const AB: &str = "abababababababababababababababab";

    fn sent() -> Upload {
        let dataset = DatasetPath::parse(Path::new("alf/spikes.times.npy")).unwrap();
        let file = FileToRegister { index: 0, dataset };
        let stamp = FileStamp::of(&std::fs::metadata("/").unwrap());
        let mut upload = Upload::new(file, Checksum { md5: Md5Sum::parse(AB), size: 3, stamp });
        upload.state = UploadState::Posted(None);
        upload
    }

    fn shown(size: u64, hash: &str, file_records: Value) -> DatasetRecord {
        serde_json::from_value(json!({
            "name": "spikes.times.npy", "collection": "alf", "revision": "", "file_size": size, "hash": hash,
            "file_records": file_records,
        }))
        .unwrap()
    }

    fn differ(
        before: &[DatasetRecord],
        shown: &[DatasetRecord],
        repository: Option<&str>,
        exists: bool,
    ) -> Vec<String> {
        let owner = Owner::Session(SessionPath::parse(Path::new("/data/KS014/2024-05-01/1")).unwrap());
        let repository = repository.map(str::to_owned);
        let options = RegisterFilesOptions { repository, exists, ..RegisterFilesOptions::default() };
        let mut uploads = [sent()];
        let mut comparison = Comparison::of(&mut uploads, &owner, &options, false);
        before.iter().for_each(|record| comparison.add(record.clone()));
        comparison.finish();
        let mut read_back = ReadBack::of(&uploads, &owner, &options);
        shown.iter().for_each(|record| read_back.add(record));
        read_back.finish()
    }

    #[test]
    fn what_was_sent_and_is_shown_is_confirmed() {
        assert!(differ(&[], &[shown(3, AB, json!([]))], None, true).is_empty());
    }

    #[test]
    fn a_missing_a_changed_and_a_duplicate_dataset_are_reported() {
        let differ = |shown: &[DatasetRecord]| differ(&[], shown, None, true);
        let shown = |size, hash| shown(size, hash, json!([]));
        assert_eq!(differ(&[]), ["alf/spikes.times.npy: not there"]);
        assert_eq!(differ(&[shown(4, AB)]), ["alf/spikes.times.npy: another size"]);
        assert_eq!(differ(&[shown(3, "cd")]), ["alf/spikes.times.npy: another MD5"]);
        assert_eq!(differ(&[shown(3, AB), shown(3, AB)]), ["alf/spikes.times.npy: 2 records"]);
    }

    #[test]
    fn the_file_record_in_the_named_repository_must_say_what_was_sent() {
        let copy = |repository: &str, path: &str, exists: bool| {
            let path = format!("KS014/2024-05-01/{path}/alf/spikes.times.npy");
            let copy = json!({"data_repository": repository, "relative_path": path, "exists": exists});
            [shown(3, AB, json!([copy]))]
        };
        let fails = |shown: &[DatasetRecord], exists| differ(&[], shown, Some("server"), exists).pop();
        let says = |what: &str| Some(format!("alf/spikes.times.npy: {what}"));
        assert_eq!(fails(&copy("server", "1", true), true), None);
        assert_eq!(fails(&copy("server", "1", false), false), None);
        let (no_record, wrong_path) = (copy("elsewhere", "1", true), copy("server", "001", true));
        assert_eq!(fails(&no_record, true), says("no file record in server"));
        assert_eq!(fails(&no_record, false), says("no file record in server"));
        assert_eq!(fails(&wrong_path, true), says("no file record in server"));
        let record = "its file record in server says exists:";
        assert_eq!(fails(&copy("server", "1", false), true), says(&format!("{record} false")));
        let copied = copy("server", "1", true);
        assert_eq!(fails(&copied, false), says(&format!("{record} true")));
        // Other software has copied this content since it was first registered.
        assert!(differ(&copied, &copied, Some("server"), false).is_empty());
    }
}
