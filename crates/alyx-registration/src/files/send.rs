//! Sending: the files of one session to Alyx, batch by batch, each only if it has to be.

use jiff::civil::Date;

use crate::client::RegistrationClient;
use crate::error::Error;
use crate::files::bisect::BatchBisector;
use crate::files::posting_order::{PostingOrder, has_other_revision, latest_last};
use crate::files::protected::{Move, ProtectedPolicy, plan, planned_move, revise};
use crate::files::register::RegisterFilesOptions;
use crate::files::remote_diff::{DatasetDiff, RemoteDatasets};
use crate::files::upload::{FileToRegister, Owner};
use crate::hashing::checksum::{Checksum, Reading, checksums};
use crate::session::register::SessionHandle;
use alf::RevisionPlan;
use alyx_client::{self, DatasetRecord, ProtectedFile, RegisterFileRequest, RegisteredFileRecord};

/// Of what the datasets on Alyx are looked up.
#[derive(Debug, Clone)]
pub(crate) enum RemoteScope {
    /// Of nothing: the session was created just now.
    Nothing,
    /// Of a session, by its eid.
    Session(String),
    /// Of another member, by its UUID.
    Member(String),
}

impl RemoteScope {
    pub(crate) fn of(handle: &SessionHandle) -> Self {
        if handle.created { Self::Nothing } else { Self::Session(handle.eid.clone()) }
    }
}

/// What came of sending files.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// The files as they lie now, in order.
    pub(crate) files: Vec<FileToRegister>,
    /// Their checksums.
    pub(crate) sums: Vec<Checksum>,
    /// Their records; a gap for a refused file.
    pub(crate) records: Vec<Option<RegisteredFileRecord>>,
    /// Changed files of protected datasets that were left where they are, with their revisions.
    pub(crate) refused: Vec<ProtectedFile>,
    /// Files that Alyx does not accept, each with the reason in one line.
    pub(crate) not_accepted: Vec<String>,
    pub(crate) moved: Vec<Move>,
    /// How many files Alyx held already.
    pub(crate) n_unchanged: usize,
    /// How many files were posted.
    pub(crate) n_posted: usize,
    /// Files of which Alyx holds a later revision.
    superseded: Vec<usize>,
    /// Files that have moved, and are posted when the other revisions of their dataset are: they are the latest.
    moved_last: Vec<usize>,
    /// What Alyx held before anything was posted.
    pub(crate) held: Vec<DatasetRecord>,
}

/// What to do with the files of a request that was refused because of protected datasets.
enum Verdict {
    /// Post it, where it lies (now).
    Post,
    /// Alyx has it, protected and unchanged.
    Same(Box<RegisteredFileRecord>),
    /// Leave it.
    Refuse,
    /// Move it, then post it.
    Move,
}

impl RegistrationClient {
    /// Of what the datasets of a owner are looked up; `None`: there is no such session on Alyx.
    pub(crate) async fn held(&self, owner: &Owner) -> Result<Option<RemoteScope>, Error> {
        match owner {
            Owner::Session(session) => {
                let found = self.find_session(session, session.lab()).await?;
                Ok(found.map(|summary| RemoteScope::Session(summary.eid().to_owned())))
            }
            Owner::Object { relation, .. } => Ok(Some(RemoteScope::Member(relation.object_id.clone()))),
        }
    }

    async fn remote(&self, held: &RemoteScope) -> Result<Vec<DatasetRecord>, Error> {
        Ok(match held {
            RemoteScope::Nothing => Vec::new(),
            RemoteScope::Session(eid) => self.alyx().datasets_of_session(eid).await?,
            RemoteScope::Member(id) => self.alyx().datasets_of_object(id).await?,
        })
    }

    /// What [`send_files`](Self::send_files) would do: the requests that it would send first, and the moves that it
    /// would make before the next ones. Nothing is changed.
    ///
    /// # Errors
    /// [`alyx_client::Error::Protected`] with [`ProtectedPolicy::Refuse`], and those of asking.
    pub(crate) async fn plan_sending(
        &self,
        owner: &Owner,
        held: &RemoteScope,
        files: &[FileToRegister],
        sums: &[Checksum],
        options: &RegisterFilesOptions,
    ) -> Result<(Vec<RegisterFileRequest>, Vec<Move>), Error> {
        let username = self.alyx().username().await?;
        let before = self.remote(held).await?;
        let remote = RemoteDatasets::of(&before);
        let is_new = |(_, (file, sum)): &(usize, (&FileToRegister, &Checksum))| {
            options.force || !matches!(remote.diff(file, sum, options), DatasetDiff::UpToDate(_))
        };
        let to_post = files.iter().zip(sums).enumerate().filter(is_new).map(|(index, _)| index).collect();
        let order = PostingOrder::of(files, to_post, &before);
        let no_default = RegisterFilesOptions { default: false, ..options.clone() };
        let size = self.batch_size(|size| size.now());
        let (mut requests, mut moves) = (Vec::new(), Vec::new());
        if !matches!(held, RemoteScope::Nothing) {
            let to_post = [order.superseded.as_slice(), &order.current].concat();
            let known = Sent { files: files.to_vec(), sums: sums.to_vec(), held: before, ..Sent::default() };
            for batch in to_post.chunks(size) {
                moves.extend(self.plan_moves(owner, batch, &known, options).await?);
            }
        }
        for (indices, options) in [(order.superseded, &no_default), (order.current, options)] {
            for batch in indices.chunks(size) {
                let kept = batch.iter().filter_map(|i| Some((files.get(*i)?.clone(), sums.get(*i)?.clone())));
                let (files, sums): (Vec<FileToRegister>, Vec<Checksum>) = kept.unzip();
                requests.push(owner.request(&files, &sums, options, username));
            }
        }
        Ok((requests, moves))
    }

    /// The moves that a batch would lead to.
    async fn plan_moves(
        &self,
        owner: &Owner,
        batch: &[usize],
        known: &Sent,
        options: &RegisterFilesOptions,
    ) -> Result<Vec<Move>, Error> {
        let files: Vec<FileToRegister> = batch.iter().filter_map(|i| known.files.get(*i)).cloned().collect();
        let question = owner.question(&files, self.alyx().username().await?);
        let details = self.alyx().check_protected(&question).await?;
        let today = jiff::Timestamp::now().to_zoned(self.options().zone.clone()).date();
        let (mut moves, mut refused) = (Vec::new(), Vec::new());
        for (index, protection) in batch.iter().copied().zip(&details) {
            let Some(file) = known.files.get(index) else { continue };
            match self.verdict(index, protection, known, today, options).await? {
                Verdict::Post | Verdict::Same(_) => {}
                Verdict::Refuse => {
                    refused
                        .push(ProtectedFile { file: file.dataset.as_str().to_owned(), ..protection.clone() });
                }
                Verdict::Move => moves.extend(planned_move(owner.folder(), file, protection, today)?),
            }
        }
        match refused.is_empty() {
            true => Ok(moves),
            false => Err(alyx_client::Error::Protected { details: refused.clone(), files: refused }.into()),
        }
    }

    /// Sends files of one session, batch by batch, except those that Alyx holds already.
    pub(crate) async fn send_files(
        &self,
        owner: &Owner,
        held: &RemoteScope,
        files: Vec<FileToRegister>,
        sums: Vec<Checksum>,
        options: &RegisterFilesOptions,
    ) -> Result<Sent, Error> {
        let mut sent = Sent { records: vec![None; files.len()], files, sums, ..Sent::default() };
        sent.held = self.remote(held).await?;
        let mut to_post = Vec::new();
        let remote = RemoteDatasets::of(&sent.held);
        for (index, (file, sum)) in sent.files.iter().zip(&sent.sums).enumerate() {
            match remote.diff(file, sum, options) {
                DatasetDiff::UpToDate(record) if !options.force => {
                    put(&mut sent.records, index, record.as_registered());
                    sent.n_unchanged += 1;
                }
                DatasetDiff::UpToDate(_) | DatasetDiff::MetadataOnly(_) | DatasetDiff::Changed => {
                    to_post.push(index)
                }
            }
        }
        let order = PostingOrder::of(&sent.files, to_post, &sent.held);
        sent.superseded.clone_from(&order.superseded);
        let no_default = RegisterFilesOptions { default: false, ..options.clone() };
        self.post_all(owner, &order.superseded, &mut sent, &no_default).await?;
        self.post_all(owner, &order.current, &mut sent, options).await?;
        let mut moved = std::mem::take(&mut sent.moved_last);
        latest_last(&sent.files, &mut moved);
        self.post_all(owner, &moved, &mut sent, options).await?;
        let files = &sent.files;
        sent.moved.sort_by_key(|(_, to)| files.iter().position(|file| file.path == *to));
        Ok(sent)
    }

    /// Posts files in this order, batch by batch.
    async fn post_all(
        &self,
        owner: &Owner,
        mut rest: &[usize],
        sent: &mut Sent,
        options: &RegisterFilesOptions,
    ) -> Result<(), Error> {
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(self.batch_size(|size| size.now()).min(rest.len()));
            self.post_batch(owner, batch, sent, options).await?;
            rest = later;
        }
        Ok(())
    }

    /// Posts one batch, as often as it takes to find the files that Alyx does not accept.
    async fn post_batch(
        &self,
        owner: &Owner,
        batch: &[usize],
        sent: &mut Sent,
        options: &RegisterFilesOptions,
    ) -> Result<(), Error> {
        let mut bisector = BatchBisector::new(batch);
        while let Some((part, check)) = bisector.next() {
            match self.post(owner, &part, sent, options, check).await {
                Ok(()) => bisector.accepted(&part),
                Err(Error::Alyx(alyx_client::Error::Protected { details, files })) => {
                    if !check || details.len() != part.len() {
                        return Err(alyx_client::Error::Protected { details, files }.into());
                    }
                    let rest = self.around_protected(owner, &part, &details, sent, options).await?;
                    bisector.past_protection(rest);
                }
                Err(Error::Alyx(alyx_client::Error::Refused { what, status, detail })) => {
                    if !bisector.refused(&part, check, &detail) {
                        return Err(alyx_client::Error::Refused { what, status, detail }.into());
                    }
                }
                Err(other) => return Err(other),
            }
        }
        for (index, reason) in bisector.into_refused() {
            if let Some(file) = sent.files.get(index) {
                sent.not_accepted.push(format!("{}: {reason}", file.dataset.as_str()));
            }
        }
        Ok(())
    }

    /// Posts some of the files and puts down their records.
    async fn post(
        &self,
        owner: &Owner,
        batch: &[usize],
        sent: &mut Sent,
        options: &RegisterFilesOptions,
        check_protected: bool,
    ) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let files: Vec<FileToRegister> = batch.iter().filter_map(|i| sent.files.get(*i)).cloned().collect();
        let sums: Vec<Checksum> = batch.iter().filter_map(|i| sent.sums.get(*i)).cloned().collect();
        let username = self.alyx().username().await?;
        let request = owner.request(&files, &sums, options, username);
        let request = RegisterFileRequest { check_protected, ..request };
        let answer = self.alyx().register_files(&request).await;
        match &answer {
            Ok(_) => self.batch_size(|size| size.answered(batch.len())),
            Err(error) if error.was_cut_off() => self.batch_size(|size| size.cut_off(batch.len())),
            Err(_) => {}
        }
        for (index, record) in batch.iter().zip(answer?) {
            put(&mut sent.records, *index, record);
            sent.n_posted += 1;
        }
        Ok(())
    }

    /// After a refusal: what has not changed is left, what has changed moves or is refused, the rest is posted.
    ///
    /// Returns what is to be posted. All moves come before the second request. Cut off in between, the moved files lie in their revision folders,
    /// where the next run finds them as new datasets.
    async fn around_protected(
        &self,
        owner: &Owner,
        batch: &[usize],
        details: &[ProtectedFile],
        sent: &mut Sent,
        options: &RegisterFilesOptions,
    ) -> Result<Vec<usize>, Error> {
        let today = jiff::Timestamp::now().to_zoned(self.options().zone.clone()).date();
        let mut to_post = Vec::new();
        for (index, protection) in batch.iter().copied().zip(details) {
            match self.verdict(index, protection, sent, today, options).await? {
                Verdict::Post => to_post.push(index),
                Verdict::Same(record) => {
                    put(&mut sent.records, index, *record);
                    sent.n_unchanged += 1;
                }
                Verdict::Refuse => {
                    let file =
                        sent.files.get(index).map(|f| f.dataset.as_str().to_owned()).unwrap_or_default();
                    sent.refused.push(ProtectedFile { file, ..protection.clone() });
                }
                Verdict::Move => {
                    let is_one_of_several =
                        sent.superseded.contains(&index) || has_other_revision(&sent.files, index);
                    self.move_away(owner, index, protection, sent, today).await?;
                    if is_one_of_several { &mut sent.moved_last } else { &mut to_post }.push(index);
                }
            }
        }
        Ok(to_post)
    }

    async fn verdict(
        &self,
        index: usize,
        protection: &ProtectedFile,
        sent: &Sent,
        today: Date,
        options: &RegisterFilesOptions,
    ) -> Result<Verdict, Error> {
        let (Some(file), Some(sum)) = (sent.files.get(index), sent.sums.get(index)) else {
            return Err(Error::Internal("a file went missing between two requests".into()));
        };
        let remote = RemoteDatasets::of(&sent.held);
        let mut sum = sum.clone();
        if remote.undecided(file, &sum) {
            // Larger than the limit for an MD5. To read it now is better than a revision of an unchanged file.
            let how = Reading { max_md5_size: None, ..self.reading(options) };
            let read = checksums(vec![file.path.clone()], &how).await;
            sum = read.into_iter().collect::<Result<Vec<_>, _>>()?.pop().unwrap_or(sum);
        }
        if let DatasetDiff::UpToDate(record) | DatasetDiff::MetadataOnly(record) =
            remote.diff(file, &sum, options)
        {
            let own = file.dataset.revision().unwrap_or_default();
            let is_protected = protection.revisions.iter().any(|(name, protected)| *protected && name == own);
            // A protected record cannot be changed anyway.
            return Ok(if is_protected {
                Verdict::Same(Box::new(record.as_registered()))
            } else {
                Verdict::Post
            });
        }
        Ok(match (plan(&file.dataset, &protection.revisions, today)?, options.protected) {
            (RevisionPlan::Keep, _) => Verdict::Post,
            (RevisionPlan::MoveTo(_), ProtectedPolicy::Refuse) => Verdict::Refuse,
            (RevisionPlan::MoveTo(_), ProtectedPolicy::Revise) => Verdict::Move,
        })
    }

    /// Moves one file into its revision folder.
    async fn move_away(
        &self,
        owner: &Owner,
        index: usize,
        protection: &ProtectedFile,
        sent: &mut Sent,
        today: Date,
    ) -> Result<(), Error> {
        let (Some(file), Some(sum)) = (sent.files.get(index).cloned(), sent.sums.get(index).cloned()) else {
            return Err(Error::Internal("a file went missing between two requests".into()));
        };
        let (folder, from, protection) = (owner.folder().to_owned(), file.path.clone(), protection.clone());
        let moving = tokio::task::spawn_blocking(move || revise(&folder, &file, &sum, &protection, today));
        let moved = moving.await.map_err(|e| Error::Internal(format!("moving a file: {e}")))??;
        if let Some((file, sum)) = moved {
            sent.moved.push((from, file.path.clone()));
            put_at(&mut sent.files, index, file);
            put_at(&mut sent.sums, index, sum);
        }
        Ok(())
    }
}

fn put_at<T>(list: &mut [T], index: usize, value: T) {
    if let Some(place) = list.get_mut(index) {
        *place = value;
    }
}

fn put(records: &mut [Option<RegisteredFileRecord>], index: usize, record: RegisteredFileRecord) {
    put_at(records, index, Some(record));
}
