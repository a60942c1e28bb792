//! Existence: corrects the file records that say that a registered file does not exist in its repository.
//!
//! Alyx sets `exists` only on a new file record, and on one of a file whose content has changed. A session that was
//! registered without a repository, and again with one, would keep its old file records.

use std::collections::HashSet;

use serde_json::Value;

use crate::client::RegistrationClient;
use crate::client::options::RegisterFilesOptions;
use crate::error::Error;
use crate::files::upload::{Owner, Upload, UploadState};
use alyx_client::{DatasetRecord, FileRecord};

impl RegistrationClient {
    /// Sets `exists` of the file records in the named repository, and in those of the lab's servers if
    /// [`server_only`](RegisterFilesOptions::server_only) asks for them. Never resets it: other software may have copied
    /// the file. `remote`: what Alyx showed before.
    ///
    /// # Errors
    /// Those of any request.
    pub(crate) async fn correct_existence(
        &self,
        owner: &Owner,
        uploads: &mut [Upload],
        remote: &[DatasetRecord],
        options: &RegisterFilesOptions,
    ) -> Result<(), Error> {
        if !options.exists {
            return Ok(());
        }
        // Only servers have an address, which the answer to a post does not contain.
        let copies = remote.iter().filter(|_| options.server_only).flat_map(|record| &record.file_records);
        let servers = copies.filter(|copy| copy.data_url.is_some());
        let named = options.repository.as_deref();
        let repositories: HashSet<&str> =
            servers.filter_map(|copy| copy.data_repository.as_deref()).chain(named).collect();
        for upload in uploads {
            let path = owner.repository_path(&upload.file.dataset);
            let (UploadState::Posted(record) | UploadState::Unchanged(record)) = &mut upload.state else {
                continue;
            };
            let mut copies = record.file_records();
            let is_there = |copy: &FileRecord| repositories.iter().any(|name| copy.is_at(name, &path));
            for copy in copies.iter_mut().filter(|copy| is_there(copy) && !copy.exists) {
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
