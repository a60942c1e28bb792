//! Existence: corrects the file records that say that a registered file does not exist in its repository.
//!
//! Alyx sets `exists` only on a new file record, and on one of a file whose content has changed. A session that was
//! registered without a repository, and again with one, would keep its old file records.

use serde_json::Value;

use crate::client::RegistrationClient;
use crate::client::options::RegisterFilesOptions;
use crate::error::Error;
use crate::files::upload::{Owner, Upload};
use alf::DatasetPath;
use alyx_client::{FileRecord, RegisteredFileRecord};

/// The file records in the answer to a post that say that the file does not exist in the named repository, or in one of
/// the lab's `servers`, which only Alyx knows. Pure.
pub(crate) fn absent_copies<'a>(
    record: &RegisteredFileRecord,
    owner: &Owner,
    dataset: &DatasetPath,
    options: &'a RegisterFilesOptions,
    servers: impl Iterator<Item = &'a str> + Clone,
) -> Vec<String> {
    if !options.exists {
        return Vec::new();
    }
    let path = owner.repository_path(dataset);
    let copies = record.file_records();
    let is_there = |copy: &&FileRecord| {
        let mut repositories = servers.clone().chain(options.repository.as_deref());
        !copy.exists && repositories.any(|name| copy.is_at(name, &path))
    };
    copies.iter().filter(is_there).filter_map(|copy| copy.id().map(str::to_owned)).collect()
}

impl RegistrationClient {
    /// Sets `exists` of these file records, each with the index of its file. Never resets it: other software may have copied
    /// the file.
    ///
    /// # Errors
    /// Those of any request.
    pub(crate) async fn correct_existence(
        &self,
        uploads: &mut [Upload],
        absent: &[(usize, String)],
    ) -> Result<(), Error> {
        for (index, id) in absent {
            // Files are in the order of their indices.
            let place = uploads.binary_search_by_key(index, |upload| upload.file.index);
            let Some(upload) = place.ok().and_then(|place| uploads.get_mut(place)) else { continue };
            self.alyx().update_file_record(id, true).await?;
            let copies = upload.record_mut().and_then(|record| record.other.get_mut("file_records"));
            for copy in copies.and_then(Value::as_array_mut).into_iter().flatten() {
                if copy.get("id").and_then(Value::as_str) == Some(id) {
                    copy["exists"] = true.into();
                }
            }
        }
        Ok(())
    }
}
