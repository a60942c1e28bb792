//! Existence: corrects the file records that say that a registered file does not exist in its repository.
//!
//! Alyx sets `exists` only on a new file record, and on one of a file whose content has changed. A session that was
//! registered without a repository, and again with one, would keep its old file records.

use serde_json::Value;

use crate::client::RegistrationClient;
use crate::client::options::RegisterFilesOptions;
use crate::error::Error;
use crate::files::upload::{Owner, Upload, UploadState};

impl RegistrationClient {
    /// Sets `exists` of the file records in the named repository. Never resets it: other software may have copied the
    /// file.
    ///
    /// # Errors
    /// Those of any request.
    pub(crate) async fn correct_existence(
        &self,
        owner: &Owner,
        uploads: &mut [Upload],
        options: &RegisterFilesOptions,
    ) -> Result<(), Error> {
        let Some(repository) = options.repository.as_deref().filter(|_| options.exists) else {
            return Ok(());
        };
        for upload in uploads {
            let path = owner.repository_path(&upload.file.dataset);
            let (UploadState::Posted(record) | UploadState::Unchanged(record)) = &mut upload.state else {
                continue;
            };
            let mut copies = record.file_records();
            for copy in copies.iter_mut().filter(|copy| copy.is_at(repository, &path) && !copy.exists) {
                if let Some(id) = copy.id() {
                    self.alyx().update_file_record(id, true).await?;
                    copy.exists = true;
                }
            }
            if let Ok(copies) = serde_json::to_value(copies) {
                record.other.entry("file_records").and_modify(|shown: &mut Value| *shown = copies);
            }
        }
        Ok(())
    }
}
