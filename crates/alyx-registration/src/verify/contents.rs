//! Reads the content of copies from the disk, a second time where the first one is not what Alyx holds.

use std::path::{Path, PathBuf};

use futures_util::StreamExt;

use crate::client::RegistrationClient;
use crate::error::Error;
use crate::hashing::checksum::{Checksum, HashContext, with_checksums};
use crate::hashing::reader::forget_pages;
use crate::verify::audit::AuditRules;
use crate::verify::copy::HeldCopy;

impl RegistrationClient {
    /// Reads files of one session, never from what is known of them. What is not as Alyx holds it, or cannot be read, is
    /// read a second time, from the disk instead of the page cache. Each file has its own result.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if the disk does not answer; what is wrong with a single file is its result.
    pub async fn read_copies(
        &self,
        session: &Path,
        copies: Vec<HeldCopy>,
        rules: &AuditRules<'_>,
    ) -> Result<Vec<(HeldCopy, Result<Checksum, Error>)>, Error> {
        let context = HashContext { cache: None, ..self.hash_context(session, None) };
        let read = self.read_once(session, copies, &context, rules).await?;
        let is_doubtful = |copy: &HeldCopy, read: &Result<Checksum, Error>| match read {
            Ok(read) => !copy.is_content(read.md5),
            Err(error) => !matches!(error, Error::StillChanging { .. }),
        };
        let (doubtful, mut all): (Vec<_>, Vec<_>) =
            read.into_iter().partition(|(copy, read)| is_doubtful(copy, read));
        if doubtful.is_empty() {
            return Ok(all);
        }
        let doubtful: Vec<HeldCopy> = doubtful.into_iter().map(|(copy, _)| copy).collect();
        let files: Vec<PathBuf> = doubtful.iter().map(|copy| copy.file.clone()).collect();
        let (data, step) = (context.data.clone(), self.context().progress.steps.begin("reading", session));
        let forget = move |step: &crate::hashing::disk_steps::DiskStep| {
            for file in files {
                step.touch();
                // What cannot be opened is reported when it is read.
                if let Ok((file, _)) = data.open(&file) {
                    forget_pages(&file);
                }
            }
            Ok(())
        };
        rules.disk(self).blocking(session, step, forget).await?;
        for (copy, read) in self.read_once(session, doubtful, &context, rules).await? {
            if !is_doubtful(&copy, &read) && read.is_ok() {
                tracing::warn!(
                    file = ?copy.file,
                    "the file {:?} was read differently twice: from memory it was not what Alyx holds, from the disk it is; \
                     check the memory and the disk's cable (memtest86+, smartctl)",
                    copy.file
                );
            }
            all.push((copy, read));
        }
        Ok(all)
    }

    async fn read_once(
        &self,
        session: &Path,
        copies: Vec<HeldCopy>,
        context: &HashContext,
        rules: &AuditRules<'_>,
    ) -> Result<Vec<(HeldCopy, Result<Checksum, Error>)>, Error> {
        let read = async {
            let read = with_checksums(copies.into_iter(), |copy: &HeldCopy| copy.file.clone(), context);
            Ok(read.collect::<Vec<_>>().await)
        };
        rules.disk(self).answered(session, read).await
    }
}
