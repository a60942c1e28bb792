//! A session that was registered by name, with all its files, as one that was flagged.

use std::collections::HashSet;
use std::sync::Arc;

use crate::client::RegistrationClient;
use crate::client::options::FlaggedOptions;
use crate::client::record_outcome::RecordOutcome;
use crate::error::Error;
use crate::files::register::{RegisteredFile, RegisteredFiles};
use crate::files::send::RemoteScope;
use crate::flag::Removal;
use crate::flagged::{Registered, add_excluded};
use crate::listing::discover::FoundFiles;
use crate::listing::summary::LeftOutSummary;
use crate::listing::trail::Trail;
use crate::session::register::RegisteredSession;
use alf::SessionPath;

impl RegistrationClient {
    /// What [`register_session`](Self::register_session) has done with all files of a session, as
    /// [`register_flagged`](Self::register_flagged) returns it: with what the session lacks. `found`: what
    /// [`find_files_with`](Self::find_files_with) found with these options.
    ///
    /// # Errors
    /// Those of the requests.
    pub async fn registered_by_name(
        &self,
        session: &SessionPath,
        registered: &RegisteredSession,
        files: &RegisteredFiles,
        mut found: FoundFiles,
        options: &FlaggedOptions,
    ) -> Result<Registered, Error> {
        let options = &*options.for_folder(session.folder());
        let eid = registered.record.eid().to_owned();
        let mut gap = self.find_gap(&found, !found.files.is_empty(), options).await?;
        if let Some(lacking) = gap.take() {
            let at_alyx = self.remote_paths(&RemoteScope::Session(eid.clone())).await?;
            gap = lacking.without_datasets_at_alyx(&at_alyx);
        }
        let untyped = self.find_untyped(&found, options).await?;
        let is_registered: HashSet<_> =
            files.records.iter().flatten().map(|file| file.record.relative_path()).collect();
        let (mut n_files, mut bytes) = (0, 0);
        for file in &found.files {
            if is_registered.contains(file.dataset.as_str()) {
                n_files += 1;
                bytes += file.size;
            } else {
                found.snapshot.add_unregistered(file.dataset.as_str(), file.size);
            }
        }
        let steps = &self.context().progress.steps;
        add_excluded(&mut found.snapshot, session, &found.left_out, options, steps).await;
        Ok(Registered {
            session: session.clone(),
            eid,
            created: registered.outcome == RecordOutcome::Created,
            n_files,
            n_unchanged: files.n_unchanged,
            moved: files.moved.clone(),
            bytes,
            left_out: LeftOutSummary::of(&found.left_out),
            trail: Arc::new(Trail::of(
                files.records.iter().flatten().map(RegisteredFile::trail),
                &found.left_out,
            )),
            gap,
            untyped,
            refused: Vec::new(),
            unmatched: Vec::new(),
            known: None,
            flag: Removal::AlreadyGone,
            snapshot: found.snapshot,
            record: Some(registered.record.clone()),
        })
    }
}
