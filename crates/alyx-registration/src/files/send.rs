//! Sending the files of one session to Alyx, batch by batch, each only if necessary.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use jiff::civil::Date;

use crate::client::RegistrationClient;
use crate::client::context::AlyxTurn;
use crate::client::options::{ProtectedPolicy, RegisterFilesOptions};
use crate::error::Error;
use crate::files::bisect::BatchBisector;
use crate::files::comparison::{Comparison, RemoteDatasets};
use crate::files::existence::absent_copies;
use crate::files::posting_order::{PostingOrder, find_siblings, latest_last};
use crate::files::protected::{Move, plan, planned_move, revise};
use crate::files::remote_diff::{DatasetDiff, RemoteState};
use crate::files::upload::{FileToRegister, Owner, Upload, UploadState};
use crate::hashing::checksum::checksums;
use crate::hashing::disk_steps::DiskSteps;
use crate::session::handle::SessionHandle;
use alf::RevisionPlan;
use alyx_client::{self, DatasetRecord, ProtectedFile, RegisterFileRequest};

/// Which existing datasets to compare with.
#[derive(Debug, Clone)]
pub(crate) enum RemoteScope {
    /// None: the session has just been created.
    Nothing,
    /// Those of a session, by its eid.
    Session(String),
    /// Those of another record, by its UUID.
    Object(String),
}

impl RemoteScope {
    pub(crate) fn of(handle: &SessionHandle) -> Self {
        if handle.created.is_some() { Self::Nothing } else { Self::Session(handle.eid.clone()) }
    }
}

/// The result of sending files.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// The files as they are now, in order, each with its state.
    pub(crate) uploads: Vec<Upload>,
    /// The paths of the other datasets that were on Alyx before anything was posted.
    pub(crate) elsewhere: HashSet<String>,
}

impl Sent {
    /// The files whose record is on Alyx.
    pub(crate) fn registered(&self) -> impl Iterator<Item = &Upload> {
        self.uploads.iter().filter(|upload| upload.is_registered())
    }

    /// How many files were up to date on Alyx.
    pub(crate) fn n_unchanged(&self) -> usize {
        self.uploads.iter().filter(|upload| matches!(upload.state, UploadState::Unchanged(_))).count()
    }

    /// Whether anything was posted.
    pub(crate) fn has_posted(&self) -> bool {
        self.uploads.iter().any(Upload::is_posted)
    }

    /// The paths of the datasets that were on Alyx before.
    pub(crate) fn at_alyx(&self) -> HashSet<String> {
        let known = self.uploads.iter().filter(|upload| upload.remote.records > 0);
        let paths = known.map(|upload| upload.file.dataset.as_str().to_owned());
        paths.chain(self.elsewhere.iter().cloned()).collect()
    }

    /// Changed files of protected datasets that were not moved, with their revisions.
    pub(crate) fn protected(&self) -> Vec<ProtectedFile> {
        let protected = self.uploads.iter().filter_map(|upload| match &upload.state {
            UploadState::Protected(file) => Some(ProtectedFile::clone(file)),
            _ => None,
        });
        protected.collect()
    }

    /// Files that Alyx does not accept, one line each, with the reason.
    pub(crate) fn not_accepted(&self) -> Vec<String> {
        let refused = self.uploads.iter().filter_map(|upload| match &upload.state {
            UploadState::NotAccepted(reason) => Some(format!("{}: {reason}", upload.file.dataset.as_str())),
            _ => None,
        });
        refused.collect()
    }

    /// The files that were moved into a revision folder.
    pub(crate) fn moved(&self, owner: &Owner) -> Vec<Move> {
        let moved = |upload: &Upload| {
            let from = upload.moved_from.as_deref()?;
            Some((owner.path_of(from), owner.path_of(&upload.file.dataset)))
        };
        self.uploads.iter().filter_map(moved).collect()
    }
}

/// What sending needs besides the files.
struct SendContext<'a> {
    owner: &'a Owner,
    servers: &'a BTreeSet<String>,
    options: &'a RegisterFilesOptions,
    /// Whether the server failed at these files before: then the one that it fails at is searched for.
    isolate: bool,
    /// Whether Alyx has accepted a file.
    accepted: AtomicBool,
    /// The same, for files with a later revision that is the default on Alyx.
    no_default: RegisterFilesOptions,
    today: Date,
    turn: &'a AlyxTurn<'a>,
    /// Whether the records of the files are kept for the caller.
    keep: bool,
    /// File records that say that a posted file does not exist where it should: index of the file, and id.
    absent: Mutex<Vec<(usize, String)>>,
}

/// What to do with the files of a request that was refused because of protected datasets.
enum ProtectedAction {
    /// Post it from its present path.
    Post,
    /// It is on Alyx, protected and unchanged.
    Same,
    /// Leave it where it is and report it.
    Refuse,
    /// Move it, then post it.
    Move,
}

impl RegistrationClient {
    /// Which datasets to compare the files of an owner with. `None`: there is no such session on Alyx.
    pub(crate) async fn remote_scope(&self, owner: &Owner) -> Result<Option<RemoteScope>, Error> {
        match owner {
            Owner::Session(session) => {
                let found = self.find_session(session, session.lab()).await?;
                Ok(found.map(|summary| RemoteScope::Session(summary.eid().to_owned())))
            }
            Owner::Object { relation, .. } => Ok(Some(RemoteScope::Object(relation.object_id.clone()))),
        }
    }

    /// Hands on the datasets on Alyx now, as they are read.
    pub(crate) async fn for_each_remote(
        &self,
        scope: &RemoteScope,
        take: impl FnMut(DatasetRecord),
    ) -> Result<(), Error> {
        match scope {
            RemoteScope::Nothing => {}
            RemoteScope::Session(eid) => self.alyx().for_each_dataset_of_session(eid, take).await?,
            RemoteScope::Object(id) => self.alyx().for_each_dataset_of_object(id, take).await?,
        }
        Ok(())
    }

    /// The paths of the datasets on Alyx now.
    pub(crate) async fn remote_paths(&self, scope: &RemoteScope) -> Result<HashSet<String>, Error> {
        let mut paths = HashSet::new();
        self.for_each_remote(scope, |record| paths.extend([record.relative_path()])).await?;
        Ok(paths)
    }

    /// Compares files with the datasets on Alyx.
    async fn compare(
        &self,
        owner: &Owner,
        scope: &RemoteScope,
        uploads: &mut [Upload],
        options: &RegisterFilesOptions,
        keep: bool,
    ) -> Result<RemoteDatasets, Error> {
        let mut comparison = Comparison::of(uploads, owner, options, keep);
        self.for_each_remote(scope, |record| comparison.add(record)).await?;
        Ok(comparison.finish())
    }

    fn send_context<'a>(
        &self,
        owner: &'a Owner,
        servers: &'a BTreeSet<String>,
        options: &'a RegisterFilesOptions,
        keep: bool,
        turn: &'a AlyxTurn<'a>,
    ) -> SendContext<'a> {
        let no_default = RegisterFilesOptions { default: false, ..options.clone() };
        let today = jiff::Timestamp::now().to_zoned(self.options().zone.clone()).date();
        let isolate = self.context().server_errors.contains(owner.folder());
        let (accepted, absent) = (AtomicBool::new(false), Mutex::default());
        SendContext { owner, servers, options, isolate, accepted, no_default, today, keep, absent, turn }
    }

    /// What [`send_files`](Self::send_files) would do: its first requests, and the moves before the next ones. Changes
    /// nothing.
    ///
    /// # Errors
    /// [`alyx_client::Error::Protected`] with [`ProtectedPolicy::Refuse`], and those of the requests.
    pub(crate) async fn plan_sending(
        &self,
        owner: &Owner,
        scope: &RemoteScope,
        mut uploads: Vec<Upload>,
        options: &RegisterFilesOptions,
    ) -> Result<(Vec<RegisterFileRequest>, Vec<Move>), Error> {
        let username = self.alyx().username().await?;
        let remote = self.compare(owner, scope, &mut uploads, options, false).await?;
        let turn = self.context().begin_turn().await;
        let context = self.send_context(owner, &remote.servers, options, false, &turn);
        let is_new = |upload: &&Upload| options.force || upload.remote.diff() != DatasetDiff::UpToDate;
        let order = PostingOrder::of(uploads.iter().filter(is_new).collect(), &remote.latest_default);
        let size = self.batch_size(|size| size.now());
        let (mut requests, mut moves) = (Vec::new(), Vec::new());
        if !matches!(scope, RemoteScope::Nothing) {
            let to_post = [order.superseded.as_slice(), &order.current].concat();
            for batch in to_post.chunks(size) {
                moves.extend(self.plan_moves(batch, &context).await?);
            }
        }
        for (uploads, options) in [(order.superseded, &context.no_default), (order.current, options)] {
            let batches = uploads.chunks(size);
            requests.extend(batches.map(|batch| owner.request(batch, options, username)));
        }
        Ok((requests, moves))
    }

    /// The moves that a batch would lead to.
    async fn plan_moves(&self, batch: &[&Upload], context: &SendContext<'_>) -> Result<Vec<Move>, Error> {
        let files: Vec<&FileToRegister> = batch.iter().map(|upload| &upload.file).collect();
        let request = context.owner.protection_request(&files, self.alyx().username().await?);
        let details = self.alyx().check_protected(&request).await?;
        let (mut moves, mut refused) = (Vec::new(), Vec::new());
        for (upload, protection) in batch.iter().copied().zip(&details) {
            match self.protected_action(upload, protection, context).await? {
                ProtectedAction::Post | ProtectedAction::Same => {}
                ProtectedAction::Refuse => refused.push(upload.protected(protection)),
                ProtectedAction::Move => {
                    let (folder, today) = (context.owner.folder().to_owned(), context.today);
                    let (dataset, protection) = (upload.file.dataset.clone(), protection.clone());
                    let planned = move || planned_move(&folder, &dataset, &protection, today);
                    let planned = context.turn.outside(tokio::task::spawn_blocking(planned)).await;
                    moves.extend(planned.map_err(|e| Error::Internal(format!("planning a move: {e}")))??);
                }
            }
        }
        match refused.is_empty() {
            true => Ok(moves),
            false => Err(alyx_client::Error::Protected { details: refused.clone(), files: refused }.into()),
        }
    }

    /// Sends files of one session, batch by batch, except those that are up to date on Alyx. `keep`: the caller wants the
    /// records.
    pub(crate) async fn send_files(
        &self,
        owner: &Owner,
        scope: &RemoteScope,
        uploads: Vec<Upload>,
        options: &RegisterFilesOptions,
        keep: bool,
        turn: &AlyxTurn<'_>,
    ) -> Result<Sent, Error> {
        let sent = self.send_new_files(owner, scope, uploads, options, keep, turn).await;
        let failed = matches!(&sent, Err(Error::Alyx(alyx_client::Error::Server { .. })));
        self.context().server_errors.remember(owner.folder(), failed);
        sent
    }

    async fn send_new_files(
        &self,
        owner: &Owner,
        scope: &RemoteScope,
        mut uploads: Vec<Upload>,
        options: &RegisterFilesOptions,
        keep: bool,
        turn: &AlyxTurn<'_>,
    ) -> Result<Sent, Error> {
        let mut remote = self.compare(owner, scope, &mut uploads, options, keep).await?;
        let context = self.send_context(owner, &remote.servers, options, keep, turn);
        find_siblings(&mut uploads);
        let mut to_post = Vec::new();
        for upload in &mut uploads {
            match upload.remote.diff() {
                DatasetDiff::UpToDate if !options.force => upload.state = unchanged(&upload.remote),
                DatasetDiff::UpToDate | DatasetDiff::MetadataOnly | DatasetDiff::Changed => {
                    to_post.push(upload);
                }
            }
        }
        let PostingOrder { mut superseded, current } = PostingOrder::of(to_post, &remote.latest_default);
        superseded.iter_mut().for_each(|upload| upload.has_other_revision = true);
        // Moved files are the latest revision of their dataset: they are posted after its other revisions.
        let mut moved = self.post_all(superseded, &context, &context.no_default).await?;
        moved.extend(self.post_all(current, &context, options).await?);
        latest_last(&mut moved);
        self.post_all(moved, &context, options).await?;
        // What was posted has new file records.
        remote.absent.retain(|(index, _)| {
            let place = uploads.binary_search_by_key(index, |upload| upload.file.index);
            let upload = place.ok().and_then(|place| uploads.get(place));
            upload.is_some_and(|upload| matches!(upload.state, UploadState::Unchanged(_)))
        });
        let posted = context.absent.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.correct_existence(&mut uploads, &[remote.absent, posted].concat()).await?;
        Ok(Sent { uploads, elsewhere: remote.elsewhere })
    }

    /// Posts files in this order, batch by batch. Returns those that were moved and must be posted last.
    async fn post_all<'a>(
        &self,
        mut rest: Vec<&'a mut Upload>,
        context: &SendContext<'_>,
        options: &RegisterFilesOptions,
    ) -> Result<Vec<&'a mut Upload>, Error> {
        let mut moved_last = Vec::new();
        while !rest.is_empty() {
            let later = rest.split_off(self.batch_size(|size| size.now()).min(rest.len()));
            moved_last.extend(self.post_batch(rest, context, options).await?);
            rest = later;
        }
        Ok(moved_last)
    }

    /// Posts one batch; bisects it to find the files that Alyx does not accept.
    async fn post_batch<'a>(
        &self,
        batch: Vec<&'a mut Upload>,
        context: &SendContext<'_>,
        options: &RegisterFilesOptions,
    ) -> Result<Vec<&'a mut Upload>, Error> {
        let mut moved_last = Vec::new();
        let mut bisector = BatchBisector::new(batch);
        let mut server_error = None;
        while let Some((mut part, check)) = bisector.next() {
            match self.post(&mut part, context, options, check).await {
                Ok(()) => {
                    context.accepted.store(true, Ordering::Relaxed);
                    bisector.accepted(&part);
                }
                Err(Error::Alyx(alyx_client::Error::Protected { details, files })) => {
                    if !check || details.len() != part.len() {
                        return Err(alyx_client::Error::Protected { details, files }.into());
                    }
                    let (rest, moved) = self.resolve_protected(part, &details, context).await?;
                    moved_last.extend(moved);
                    bisector.past_protection(rest);
                }
                Err(Error::Alyx(alyx_client::Error::Refused { what, status, detail })) => {
                    if !bisector.refused(part, check, &detail) {
                        return Err(alyx_client::Error::Refused { what, status, detail }.into());
                    }
                }
                Err(Error::Alyx(error @ alyx_client::Error::Server { .. })) if context.isolate => {
                    if !bisector.refused(part, check, &error.to_string()) {
                        return Err(error.into());
                    }
                    server_error = Some(error);
                }
                Err(other) => return Err(other),
            }
        }
        // Only where the others are accepted is it the file, and not the server.
        if let Some(error) = server_error.filter(|_| !context.accepted.load(Ordering::Relaxed)) {
            return Err(error.into());
        }
        for (upload, reason) in bisector.into_refused() {
            upload.state = UploadState::NotAccepted(reason);
        }
        Ok(moved_last)
    }

    /// Posts some of the files and keeps their records.
    async fn post(
        &self,
        batch: &mut [&mut Upload],
        context: &SendContext<'_>,
        options: &RegisterFilesOptions,
        check_protected: bool,
    ) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let uploads: Vec<&Upload> = batch.iter().map(|upload| &**upload).collect();
        let request = context.owner.request(&uploads, options, self.alyx().username().await?);
        let request = RegisterFileRequest { check_protected, ..request };
        let answer = self.alyx().register_files(&request).await;
        match &answer {
            Ok(_) => self.batch_size(|size| size.answered(batch.len())),
            Err(error) if error.was_cut_off() => self.batch_size(|size| size.cut_off(batch.len())),
            Err(_) => {}
        }
        for (upload, record) in batch.iter_mut().zip(answer?) {
            let servers = context.servers.iter().map(String::as_str);
            let absent =
                absent_copies(&record, context.owner, &upload.file.dataset, context.options, servers);
            let absent = absent.into_iter().map(|id| (upload.file.index, id));
            context.absent.lock().unwrap_or_else(PoisonError::into_inner).extend(absent);
            upload.state = UploadState::Posted(context.keep.then(|| Box::new(record)));
        }
        Ok(())
    }

    /// Decides about each file of a batch that was refused because of protected datasets.
    ///
    /// Returns the files to post next, and those to post last. All moves come before the second request: if the run is
    /// interrupted in between, the next one finds the moved files in their revision folders as new datasets.
    async fn resolve_protected<'a>(
        &self,
        batch: Vec<&'a mut Upload>,
        details: &[ProtectedFile],
        context: &SendContext<'_>,
    ) -> Result<(Vec<&'a mut Upload>, Vec<&'a mut Upload>), Error> {
        let (mut to_post, mut moved_last) = (Vec::new(), Vec::new());
        for (upload, protection) in batch.into_iter().zip(details) {
            match self.protected_action(upload, protection, context).await? {
                ProtectedAction::Post => to_post.push(upload),
                ProtectedAction::Same => upload.state = unchanged(&upload.remote),
                ProtectedAction::Refuse => {
                    upload.state = UploadState::Protected(Box::new(upload.protected(protection)));
                }
                ProtectedAction::Move => {
                    let steps = Arc::clone(&self.context().progress.steps);
                    context.turn.outside(move_to_revision(upload, protection, context, steps)).await?;
                    if upload.has_other_revision { &mut moved_last } else { &mut to_post }.push(upload);
                }
            }
        }
        Ok((to_post, moved_last))
    }

    async fn protected_action(
        &self,
        upload: &Upload,
        protection: &ProtectedFile,
        context: &SendContext<'_>,
    ) -> Result<ProtectedAction, Error> {
        let (file, options) = (&upload.file, context.options);
        let mut diff = upload.remote.diff();
        if let (true, Some(record)) = (upload.remote.undecided, &upload.remote.record) {
            // Above the size limit for an MD5. Hashing it now avoids a new revision of an unchanged file.
            let path = context.owner.path_of(&file.dataset);
            let hash_context = self.hash_context(&path, None);
            let read = context.turn.outside(checksums(vec![path], &hash_context)).await;
            for sum in read {
                let mut remote = RemoteState::default();
                let file = (options.versions.of(file.index), &sum?);
                remote.add(DatasetRecord::clone(record), file, options, false);
                diff = remote.diff();
            }
        }
        if matches!(diff, DatasetDiff::UpToDate | DatasetDiff::MetadataOnly) {
            let own = file.dataset.revision().unwrap_or_default();
            let is_protected = protection.revisions.iter().any(|(name, protected)| *protected && name == own);
            // Alyx refuses any change of a protected record.
            return Ok(if is_protected { ProtectedAction::Same } else { ProtectedAction::Post });
        }
        Ok(match (plan(&file.dataset, &protection.revisions, context.today)?, options.protected) {
            (RevisionPlan::Keep, _) => ProtectedAction::Post,
            (RevisionPlan::MoveTo(_), ProtectedPolicy::Refuse) => ProtectedAction::Refuse,
            (RevisionPlan::MoveTo(_), ProtectedPolicy::Revise) => ProtectedAction::Move,
        })
    }
}

/// The state of a file that is not posted because of its record.
fn unchanged(remote: &RemoteState) -> UploadState {
    UploadState::Unchanged(remote.record.as_ref().map(|record| Box::new(record.as_registered())))
}

/// Moves one file into its revision folder.
async fn move_to_revision(
    upload: &mut Upload,
    protection: &ProtectedFile,
    context: &SendContext<'_>,
    steps: Arc<DiskSteps>,
) -> Result<(), Error> {
    let (folder, today) = (context.owner.folder().to_owned(), context.today);
    let (file, sum, protection) = (upload.file.dataset.clone(), upload.sum, protection.clone());
    let moving = tokio::task::spawn_blocking(move || {
        let _step = steps.begin("moving", &folder.join(&file));
        revise(&folder, &file, &sum, &protection, today)
    });
    let moved = moving.await.map_err(|e| Error::Internal(format!("moving a file: {e}")))??;
    if let Some((file, sum)) = moved {
        let before = std::mem::replace(&mut upload.file.dataset, file);
        upload.sum = sum;
        upload.remote = RemoteState::default();
        upload.moved_from = Some(Box::new(before));
    }
    Ok(())
}
