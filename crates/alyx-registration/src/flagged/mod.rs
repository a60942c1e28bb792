//! One attempt: from a flag to a confirmed session and a removed flag.
//!
//! The order is the promise: look the session up, create it only if it is absent, hash the files, register them, read
//! back what Alyx holds, check that the folder has not changed meanwhile, and only then remove the flag.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

pub(crate) mod late;
mod second_look;

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::Access;

use crate::client::RegistrationClient;
use crate::client::options::{FlaggedOptions, OnLeftOut, OnRefused};
use crate::error::Error;
use crate::files::check_protected::ProtectedStatus;
use crate::files::send::RemoteScope;
use crate::files::upload::{FileToRegister, Owner};
use crate::flag::{FlagContent, FlagError, FlagFile, HeldFlag, Removal, lock};
use crate::flagged::second_look::SecondLook;
use crate::listing::completeness::{self, HashedFiles, Unregistered};
use crate::listing::discover::{FoundFile, FoundFiles, SeenEntry, Visitor, refuse_twin};
use crate::listing::gap::{Gap, Untyped};
use crate::listing::left_out::{LeftOut, LeftOutReason};
use crate::listing::snapshot::SessionSnapshot;
use crate::listing::summary::LeftOutSummary;
use crate::metadata::known::{KnownSession, flag_sidecar, with_sources};
use crate::metadata::options::OnMissing;
use crate::metadata::sources::{Beside, MetadataSources};
use crate::session::details::SessionDetails;
use crate::session::names;
use crate::session::register::SessionSources;
use alf::{DatasetPath, SessionPath};
use alyx_client::text::some_of;
use alyx_client::{self, SessionRecord, SessionRequest};

/// How long a session in which something has changed waits at least.
const MIN_WAIT: Duration = Duration::from_secs(1);

/// A session that is registered and confirmed.
#[derive(Debug, Clone)]
pub struct Registered {
    /// The session.
    pub session: SessionPath,
    /// Its UUID on Alyx.
    pub eid: String,
    /// Whether this attempt created it.
    pub created: bool,
    /// Number of datasets registered and confirmed.
    pub n_files: usize,
    /// How many of them were up to date on Alyx and not posted.
    pub n_unchanged: usize,
    /// Changed files of protected datasets that were moved into a revision folder: from where, to where.
    pub moved: Vec<(PathBuf, PathBuf)>,
    /// Size of the datasets in bytes.
    pub bytes: u64,
    /// The other files of the folder.
    pub left_out: LeftOutSummary,
    /// What it lacks; `None` with [`OnLeftOut::Ignore`].
    pub gap: Option<Gap>,
    /// Kinds of files that no dataset type takes; none with [`OnLeftOut::Ignore`].
    pub untyped: Vec<Untyped>,
    /// Datasets that cannot be registered, one line each; only with [`OnRefused::Finish`].
    pub refused: Vec<String>,
    /// Entries of the flag that match no dataset of the session.
    pub unmatched: Vec<String>,
    /// What is known of the session; `None` if no metadata is read.
    pub known: Option<KnownSession>,
    /// What happened to the flag.
    pub flag: Removal,
    /// What later looks for late files compare the session with.
    pub snapshot: SessionSnapshot,
    /// The session's record, if a request has returned it.
    pub record: Option<SessionRecord>,
}

/// What would be registered.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The session.
    pub session: SessionPath,
    /// The session's UUID if it is on Alyx.
    pub eid: Option<String>,
    /// Its datasets.
    pub files: Vec<FoundFile>,
    /// The other files of the folder.
    pub left_out: Vec<LeftOut>,
    /// What is known of the session; `None` if no metadata is read.
    pub known: Option<KnownSession>,
    /// What would be sent for the session itself. Empty if nothing.
    pub request: SessionRequest,
    /// What it would lack.
    pub gap: Option<Gap>,
    /// Changed files of protected datasets that would be moved into a revision folder: from where, to where.
    pub moved: Vec<(PathBuf, PathBuf)>,
}

impl From<FlagError> for Error {
    fn from(error: FlagError) -> Self {
        let text = error.to_string();
        let path = match error {
            FlagError::Io { doing: "remove", path, source } => {
                return Self::FlagStays { path, reason: source.to_string() };
            }
            FlagError::Elsewhere { path, holder } => return Self::RegisteredElsewhere { path, holder },
            FlagError::Gone { path } => return Self::Vanished { path },
            FlagError::NotAFile { path, .. }
            | FlagError::Private { path }
            | FlagError::TooLong { path, .. }
            | FlagError::NotUtf8 { path, .. }
            | FlagError::NotPutBack { path, .. }
            | FlagError::Io { path, .. } => path,
        };
        Self::Flag { path, reason: text }
    }
}

impl RegistrationClient {
    /// Registers the session of a flag and removes the flag when Alyx has confirmed everything. `session` is the path
    /// of the flag's [folder](FlagFile::session_folder).
    ///
    /// The flag is locked meanwhile, where the file system has locks: other programs and computers do not begin with
    /// its session.
    ///
    /// Dropping the future at any point is safe: the next run finds what is on Alyx by then and completes it.
    ///
    /// # Errors
    /// Any [`Error`]; the flag is still there then.
    pub async fn register_flagged(
        &self,
        flag: FlagFile,
        session: &SessionPath,
        options: &FlaggedOptions,
    ) -> Result<Registered, Error> {
        let options = &*options.for_folder(session.folder());
        let (flag, held, content) = self.hold_flag(flag).await?;
        self.register_content(Some((&flag, held)), session, &content, options).await
    }

    /// Registers [late files](crate::Gap::LateFiles) of a session that is on Alyx, as a flag that lists them would, and
    /// writes nothing to its folder. A flag that the session has is locked meanwhile, as for a command.
    ///
    /// # Errors
    /// Those of [`register_flagged`](Self::register_flagged); [`Error::Invalid`] if Alyx no longer has the session.
    pub async fn register_late(
        &self,
        session: &SessionPath,
        late: &Gap,
        options: &FlaggedOptions,
    ) -> Result<Registered, Error> {
        let options = &*options.for_folder(session.folder());
        let _held = self.hold_flags(session).await?;
        if self.find_session(session, session.lab()).await?.is_none() {
            return Err(Error::Invalid(format!(
                "session {session} is no longer on Alyx; flag it again to create it"
            )));
        }
        // Over the whole session: a copy of a file that is not late yet holds up the others.
        let everything = FlagContent::Everything;
        let (found, ()) = self.list_flagged(None, session, &everything, options, ()).await?;
        self.check_quiet(session, &found, options)?;
        let paths: Vec<_> = late.files().into_iter().map(Path::to_string_lossy).collect();
        let content = FlagContent::parse_list(paths.join("\n").as_bytes());
        let content = content.map_err(|error| Error::Internal(format!("late files: {error}")))?;
        self.register_content(None, session, &content, options).await
    }

    /// Registers what `content` lists, and removes the flag if there is one.
    async fn register_content(
        &self,
        flag: Option<(&FlagFile, HeldFlag)>,
        session: &SessionPath,
        content: &FlagContent,
        options: &FlaggedOptions,
    ) -> Result<Registered, Error> {
        let (flag, held) = flag.unzip();
        let general = options;
        let listing = self.list_and_describe(flag, session, content, options, DatasetList::default()).await?;
        let Listing { found, visitor: listed, known, options } = listing;
        let options = &*options;
        if flag.is_some() {
            self.check_quiet(session, &found, options)?;
        }
        // After the files are quiet: a file that is being written is no broken one.
        self.check_known(known.as_ref(), options)?;
        for file in &found.left_out {
            tracing::debug!(session = %session, file = ?file.path, "left out: {}", file.reason);
        }
        if let Some(flag) = flag.filter(|_| listed.files.is_empty()) {
            check_flag_matches(flag, content, &found)?;
        }
        let progress = &self.context().progress;
        progress.set_listed(listed.bytes);
        // A caller that does not want a session of this size drops this future here.
        tokio::task::yield_now().await;
        let extra = if listed.files.is_empty() { Vec::new() } else { options.files.names() };
        let mut at_alyx = self.context().enter_alyx().await;
        if !listed.files.is_empty() {
            self.check_repository(known.as_ref()).await?;
        }
        let none = SessionDetails::default();
        let defaults = self.defaults_of(session, &options.defaults);
        let sources = SessionSources { details: &none, defaults: &defaults, known: known.as_ref() };
        let handle = self.get_or_create_session(session, &sources, extra, &mut at_alyx).await?;
        drop(at_alyx);
        let _ = progress.eid.set(handle.eid.clone());

        let mut hashed = HashedFiles::default();
        let owner = Owner::Session(session.clone());
        hashed.uploads.reserve_exact(listed.files.len());
        let add = |file, sum| hashed.add(file, sum);
        self.hash_each(&owner, listed.files.into_iter(), &options.files, add).await?;
        let HashedFiles { uploads, unreadable, unread } = hashed;
        let turn = self.context().begin_turn().await;
        self.check_created_once(session, &handle, true).await?;
        let sent =
            self.send_files(&owner, &RemoteScope::of(&handle), uploads, &options.files, false, &turn).await?;
        self.confirm(&owner, &RemoteScope::Session(handle.eid.clone()), &sent, &options.files).await?;
        let n_files = sent.registered().count();
        if handle.created.is_some_and(|at| at.elapsed() >= self.options().look_again_after) {
            self.check_created_once(session, &handle, n_files == 0).await?;
        }
        drop(turn);
        if let Some(known) = &known {
            self.record_measurements(known, &handle.eid).await?;
        }
        let bytes = sent.registered().map(|upload| upload.sum.size).sum();
        let wait = options.quiet.settle.max(MIN_WAIT);
        let mut second = SecondLook::of(sent, unread);
        let mut last = FoundFiles::default();
        if options.register_files {
            (last, second) = self.visit_flagged(flag, session, content, options, second).await?;
        }
        let sent = second.finish(&owner, &found, &last, wait)?;
        self.check_sidecars(known.as_ref(), flag, wait).await?;
        let look = async || {
            self.check_sidecars(known.as_ref(), flag, wait).await?;
            match options.register_files {
                true => Ok(self.visit_flagged(flag, session, content, options, ()).await?.0),
                false => Ok(FoundFiles::default()),
            }
        };
        // What came during the run and cannot be registered is judged as if it had been there from the start.
        let unregistered =
            Unregistered::of(unreadable, &last.left_out, sent.not_accepted(), sent.protected());
        let refused = unregistered.accept(n_files, options.on_refused)?;
        let gap = match self.find_gap(&last, !sent.uploads.is_empty(), options).await? {
            Some(gap) => judge_gap(gap, &sent.at_alyx(), options)?,
            None => None,
        };
        let untyped = self.find_untyped(&last, options).await?;
        let entries = content
            .without_match(sent.uploads.iter().flat_map(|u| names_and_original(u.file.dataset.as_str())));
        let unmatched = entries.into_iter().map(str::to_owned).collect();
        let unregistered_files: Vec<(String, u64)> = sent
            .uploads
            .iter()
            .filter(|upload| !upload.is_registered())
            .map(|upload| (upload.file.dataset.as_str().to_owned(), upload.sum.size))
            .collect();
        let (n_unchanged, moved) = (sent.n_unchanged(), sent.moved(&owner));
        // The last look at the folder may take long, and needs none of it.
        drop(sent);
        let removal = match held {
            Some(held) => self.remove_flag(held, &last, look).await?,
            None => Removal::AlreadyGone,
        };
        let mut snapshot = last.snapshot;
        unregistered_files.into_iter().for_each(|(path, size)| snapshot.add_unregistered(&path, size));
        // What the sidecar excludes is not late: later looks know the configuration only.
        for path in excluded_besides(&last.left_out, general) {
            let size = tokio::fs::metadata(session.folder().join(path)).await.map_or(0, |found| found.len());
            snapshot.add_dataset(path, size);
            snapshot.add_unregistered(path, size);
        }
        Ok(Registered {
            session: session.clone(),
            eid: handle.eid,
            created: handle.created.is_some(),
            n_files,
            n_unchanged,
            moved,
            bytes,
            left_out: LeftOutSummary::of(&last.left_out),
            gap,
            untyped,
            refused,
            unmatched,
            known,
            flag: removal,
            snapshot,
            record: handle.record,
        })
    }

    /// What [`register_flagged`](Self::register_flagged) would do. Changes nothing, neither on Alyx nor on disk.
    ///
    /// # Errors
    /// Those of [`register_flagged`](Self::register_flagged) that can be foreseen.
    pub async fn plan_flagged(
        &self,
        flag: &FlagFile,
        session: &SessionPath,
        options: &FlaggedOptions,
    ) -> Result<Planned, Error> {
        let options = &*options.for_folder(session.folder());
        let content = self.flag_content(flag)?;
        let listing = self.list_and_describe(Some(flag), session, &content, options, Vec::new()).await?;
        let Listing { found, visitor: files, known, options } = listing;
        let options = &*options;
        self.check_day(session, known.as_ref())?;
        let found = FoundFiles { files, ..found };
        let extra = if found.files.is_empty() { Vec::new() } else { options.files.names() };
        self.check_quiet(session, &found, options)?;
        self.check_known(known.as_ref(), options)?;
        match found.files.is_empty() {
            true => check_flag_matches(flag, &content, &found)?,
            false => self.check_repository(known.as_ref()).await?,
        }
        let none = SessionDetails::default();
        let defaults = self.defaults_of(session, &options.defaults);
        let sources = SessionSources { details: &none, defaults: &defaults, known: known.as_ref() };
        let (eid, request) = self.plan_flagged_session(session, &sources, extra).await?;
        let unreadable = unreadable(&found.files);
        let readable = found.files.len() - unreadable.len();
        let unregistered = Unregistered::of(unreadable, &found.left_out, Vec::new(), Vec::new());
        unregistered.accept(readable, options.on_refused)?;
        let scope = eid.clone().map_or(RemoteScope::Nothing, RemoteScope::Session);
        let gap = match self.find_gap(&found, !found.files.is_empty(), options).await? {
            Some(gap) => judge_gap(gap, &self.remote_paths(&scope).await?, options)?,
            None => None,
        };
        check_removable(session)?;
        let mut planned = Planned {
            session: session.clone(),
            eid,
            files: found.files,
            left_out: found.left_out,
            known,
            request,
            gap,
            moved: Vec::new(),
        };
        if planned.eid.is_some() && readable > 0 {
            planned.moved = self.plan_flagged_moves(&planned, options).await?;
        }
        Ok(planned)
    }

    /// What a session lacks, by its folder.
    async fn find_gap(
        &self,
        found: &FoundFiles,
        has_datasets: bool,
        options: &FlaggedOptions,
    ) -> Result<Option<Gap>, Error> {
        if !options.register_files || options.on_left_out == OnLeftOut::Ignore {
            return Ok(None);
        }
        Ok(Gap::of(&found.left_out, has_datasets, self.dataset_types().await?.as_ref()))
    }

    /// Refuses a session whose files still arrive, if they are to be registered.
    fn check_quiet(
        &self,
        session: &SessionPath,
        found: &FoundFiles,
        options: &FlaggedOptions,
    ) -> Result<(), Error> {
        if !options.register_files {
            return Ok(());
        }
        let now = (Instant::now(), SystemTime::now());
        self.context().looks.judge(session.folder(), &found.activity, &options.quiet, found.is_remote, now)
    }

    /// The kinds of files that no dataset type takes.
    async fn find_untyped(
        &self,
        found: &FoundFiles,
        options: &FlaggedOptions,
    ) -> Result<Vec<Untyped>, Error> {
        match options.on_left_out {
            OnLeftOut::Ignore => Ok(Vec::new()),
            _ if found.left_out.is_empty() => Ok(Vec::new()),
            OnLeftOut::Warn | OnLeftOut::KeepFlag => {
                Ok(Untyped::of(&found.left_out, self.dataset_types().await?.as_ref()))
            }
        }
    }

    /// The moves of a run, or why it would refuse. The files are hashed only if one of them is protected: for a session
    /// without protected datasets this costs one request.
    async fn plan_flagged_moves(
        &self,
        planned: &Planned,
        options: &FlaggedOptions,
    ) -> Result<Vec<(PathBuf, PathBuf)>, Error> {
        let paths: Vec<PathBuf> = planned.files.iter().map(|file| file.path.clone()).collect();
        let (statuses, _) = self.check_protected_files(&paths, &options.files).await?;
        if !statuses.iter().any(ProtectedStatus::is_protected) {
            return Ok(Vec::new());
        }
        match self.plan_files(&paths, &options.files).await {
            Err(Error::Alyx(alyx_client::Error::Protected { .. }))
                if options.on_refused == OnRefused::Finish =>
            {
                Ok(Vec::new())
            }
            planned => planned.map(|planned| planned.moved),
        }
    }

    /// Locks the flags of a session that is registered by name: a daemon, here or on another computer, does not begin with
    /// it. A flag that cannot be used locks nothing.
    pub(crate) async fn hold_flags(&self, session: &SessionPath) -> Result<Vec<HeldFlag>, Error> {
        let mut held = Vec::new();
        for name in &self.options().flags {
            let path = session.folder().join(name);
            let load = tokio::task::spawn_blocking(move || FlagFile::load(path));
            let Ok(Ok(Some(flag))) = load.await else { continue };
            match self.hold_flag(flag).await {
                Ok((_, flag, _)) => held.push(flag),
                Err(error @ Error::RegisteredElsewhere { .. }) => return Err(error),
                Err(error) => tracing::debug!("a flag is not locked: {error}"),
            }
        }
        Ok(held)
    }

    /// Locks a flag for this run and reads it, unless it is a hard link to a private file.
    async fn hold_flag(&self, flag: FlagFile) -> Result<(FlagFile, HeldFlag, FlagContent), Error> {
        let data = Arc::clone(&self.options().data);
        let steps = Arc::clone(&self.context().progress.steps);
        let is_list_only = !self.options().metadata.sidecars;
        let hold = move || {
            let _step = steps.begin("opening", &flag.path);
            let is_private = |file: &File, metadata: &_| data.private.find_open(file, metadata).is_some();
            let held = flag.clone().hold_with(is_private, lock)?;
            let content = held.content()?.without_sidecar(is_list_only);
            Ok((flag, held, content))
        };
        // A network file system may take its time.
        tokio::task::spawn_blocking(hold)
            .await
            .map_err(|e| Error::Internal(format!("locking a flag: {e}")))?
            .map_err(|e: FlagError| e.into())
    }

    /// The content of a flag, unless it is a hard link to a private file.
    fn flag_content(&self, flag: &FlagFile) -> Result<FlagContent, FlagError> {
        let private = &self.options().data.private;
        let content = flag.content_unless(|file, metadata| private.find_open(file, metadata).is_some())?;
        Ok(content.without_sidecar(!self.options().metadata.sidecars))
    }

    /// Lists a flagged session and reads what is known of it. One walk serves both.
    ///
    /// # Errors
    /// Those of its folder; [`Error::StillChanging`] if a file changed before its metadata were read.
    async fn list_and_describe<'a, V: Visitor + Send + 'static>(
        &self,
        flag: Option<&FlagFile>,
        session: &SessionPath,
        content: &FlagContent,
        options: &'a FlaggedOptions,
        visitor: V,
    ) -> Result<Listing<'a, V>, Error> {
        let sidecar = match (flag, content) {
            (Some(flag), FlagContent::Sidecar(bytes)) => Some(flag_sidecar(&flag.path, bytes)),
            _ => None,
        };
        let beside = Beside { flag: sidecar, defaults: options.defaults.clone(), ..Beside::default() };
        let sources = self.metadata_sources(session, beside).await?;
        let applied = sources.as_ref().map(|sources| Cow::Owned(sources.applied_to(options)));
        let options = applied.unwrap_or(Cow::Borrowed(options));
        // Late files add nothing to what is known of a session, but go where its sidecar says.
        let described = Described { visitor, sources: sources.filter(|_| flag.is_some()) };
        let (found, Described { visitor, sources }) =
            self.list_flagged(flag, session, content, &options, described).await?;
        let Some(sources) = sources else { return Ok(Listing { found, visitor, known: None, options }) };
        let wait = options.quiet.settle.max(MIN_WAIT);
        let known = self.read_sources(session, sources, options.register_files, wait).await?;
        Ok(Listing { found, visitor, known: Some(known), options })
    }

    /// Lists a flagged session that has no twin; its datasets, if they are to be registered, go to a visitor.
    async fn list_flagged<V: Visitor + Send + 'static>(
        &self,
        flag: Option<&FlagFile>,
        session: &SessionPath,
        content: &FlagContent,
        options: &FlaggedOptions,
        visitor: V,
    ) -> Result<(FoundFiles, V), Error> {
        let (twin, steps) = (session.clone(), Arc::clone(&self.context().progress.steps));
        let refuse_twin = move || {
            let _step = steps.begin("listing", twin.folder().parent().unwrap_or(twin.folder()));
            refuse_twin(&twin)
        };
        tokio::task::spawn_blocking(refuse_twin)
            .await
            .map_err(|e| Error::Internal(format!("checking for a twin: {e}")))??;
        if !options.register_files {
            return Ok((FoundFiles::default(), visitor));
        }
        self.visit_flagged(flag, session, content, options, visitor).await
    }

    /// Lists a flagged session; its datasets go to a visitor.
    async fn visit_flagged<V: Visitor + Send + 'static>(
        &self,
        flag: Option<&FlagFile>,
        session: &SessionPath,
        content: &FlagContent,
        options: &FlaggedOptions,
        visitor: V,
    ) -> Result<(FoundFiles, V), Error> {
        let (exclude, copy_signs) = (exclusion(content, options), &options.quiet.copy_signs);
        let (mut found, visitor) = self.visit_datasets(session, flag, copy_signs, exclude, visitor).await?;
        // That the flag itself is left out need not be reported.
        found.left_out.retain(|file| flag.is_none_or(|flag| session.folder().join(&file.path) != flag.path));
        Ok((found, visitor))
    }

    /// As [`find_files`](Self::find_files), but without the files that these options exclude.
    ///
    /// # Errors
    /// As [`find_files`](Self::find_files).
    pub async fn find_files_with(
        &self,
        folder: &Path,
        options: &FlaggedOptions,
    ) -> Result<FoundFiles, Error> {
        let session = SessionPath::parse(folder)?;
        let exclude = exclusion(&FlagContent::Everything, &options.for_folder(folder));
        let found = self.find_datasets(&session, None, &[].into(), exclude).await;
        found.map_err(|error| error.or_no_folder(folder))
    }

    /// Refuses what is wrong in the files that describe a session, and waits for files that it lacks.
    fn check_known(&self, known: Option<&KnownSession>, options: &FlaggedOptions) -> Result<(), Error> {
        let Some(known) = known else { return Ok(()) };
        let on_missing = self.options().metadata.on_missing;
        known.check(on_missing, options.quiet.settle)?;
        let missing = known.missing();
        if on_missing == OnMissing::Finish && !missing.is_empty() {
            let text = some_of(&missing, "; ");
            if self.context().remarks.is_new(format!("{} {text}", known.session)) {
                tracing::warn!(session = %known.session, "registered although files are missing: {text}");
            }
        }
        Ok(())
    }

    /// The eid of a session that is on Alyx, `None` if it is absent and can be created, and what would be sent.
    async fn plan_flagged_session(
        &self,
        session: &SessionPath,
        sources: &SessionSources<'_>,
        extra: Vec<(alyx_client::Endpoint, String)>,
    ) -> Result<(Option<String>, SessionRequest), Error> {
        self.creation_of(session, sources).await?;
        self.check_measurements(sources.known).await?;
        let found = self.find_session(session, session.lab()).await?;
        let eid = found.map(|summary| summary.eid().to_owned());
        let request = match (&eid, sources.known.filter(|known| known.adds_values())) {
            (Some(eid), Some(known)) => {
                self.plan_fill(session, eid, known, &SessionRequest::default()).await?.additions()
            }
            (Some(_), None) => SessionRequest::default(),
            (None, _) => self.whole_creation(session, sources).await?,
        };
        let asked = self.check_names([names::mentioned(&request), extra].concat()).await;
        asked.map_err(|error| with_sources(sources.known, error))?;
        Ok((eid, request))
    }
}

/// What a session lacks in spite of its datasets that Alyx had before: they are elsewhere, not missing. Pure.
///
/// # Errors
/// [`Error::Gaps`] with [`OnLeftOut::KeepFlag`], unless the gap was acknowledged.
fn judge_gap(gap: Gap, at_alyx: &HashSet<String>, options: &FlaggedOptions) -> Result<Option<Gap>, Error> {
    match gap.without_datasets_at_alyx(at_alyx) {
        Some(gap) if options.on_left_out == OnLeftOut::KeepFlag && !options.accepted_gaps.accept(&gap) => {
            Err(Error::Gaps(gap))
        }
        gap => Ok(gap),
    }
}

/// The files that other patterns than those of the configuration exclude. Pure.
fn excluded_besides<'a>(left_out: &'a [LeftOut], general: &FlaggedOptions) -> Vec<&'a str> {
    let excluded = left_out.iter().filter(|file| file.reason == LeftOutReason::Excluded);
    let paths = excluded.filter_map(|file| file.path.to_str());
    paths.filter(|path| !general.exclude.iter().any(|pattern| pattern.matches(path))).collect()
}

/// Refuses a flag that selects none of the files of a session, probably because of a typing error: the session would be
/// registered without files, and the flag removed.
fn check_flag_matches(flag: &FlagFile, content: &FlagContent, found: &FoundFiles) -> Result<(), Error> {
    let has_others = found.left_out.iter().any(|file| file.reason == LeftOutReason::NotInFlag);
    match content {
        FlagContent::Only(list) if has_others => Err(Error::Flag {
            path: flag.path.clone(),
            reason: format!(
                "none of the lines of {:?} ({}) names a dataset of the session; write relative paths or parts of file names \
                 (no wildcards), or empty the flag to register everything",
                flag.path,
                some_of(list.entries(), ", ")
            ),
        }),
        _ => Ok(()),
    }
}

/// The files that a run could not read, according to their permissions, one line each.
fn unreadable(files: &[FoundFile]) -> Vec<String> {
    let refused = files.iter().filter_map(|file| {
        let error = rustix::fs::access(&file.path, Access::READ_OK).err()?;
        Some(completeness::unreadable(&file.dataset, std::io::Error::from(error).to_string()))
    });
    refused.collect()
}

/// Whether a run could remove the flag, according to the permissions of its folder.
fn check_removable(session: &SessionPath) -> Result<(), Error> {
    match rustix::fs::access(session.folder(), Access::WRITE_OK | Access::EXEC_OK) {
        Err(error) => Err(Error::Invalid(format!(
            "the flag in {:?} could not be removed ({}); allow the user who runs this to write in that folder",
            session.folder(),
            std::io::Error::from(error)
        ))),
        Ok(()) => Ok(()),
    }
}

/// The reason to leave out a file, by its path relative to the session; `None`: it is registered.
pub(crate) fn exclusion(
    content: &FlagContent,
    options: &FlaggedOptions,
) -> impl Fn(&str) -> Option<LeftOutReason> + Send + 'static {
    let (content, exclude) = (content.clone(), options.exclude.clone());
    move |relative| {
        if exclude.iter().any(|pattern| pattern.matches(relative)) {
            return Some(LeftOutReason::Excluded);
        }
        let selected = names_and_original(relative).iter().any(|name| content.selects(name));
        (!selected).then_some(LeftOutReason::NotInFlag)
    }
}

/// A file's path, and its path before it was moved into a revision folder: a flag that lists a file also means its
/// revisions. Otherwise a run after one that was interrupted after the move would not find the file.
fn names_and_original(relative: &str) -> Vec<String> {
    let mut names = vec![relative.to_owned()];
    let path = DatasetPath::parse(Path::new(relative)).ok();
    if let Some(path) = path.filter(|p| p.revision().is_some()) {
        let folder = path.collection().map(|c| format!("{c}/")).unwrap_or_default();
        names.push(format!("{folder}{}", path.file_name()));
    }
    names
}

/// The datasets of a session, as far as they matter before they are read.
#[derive(Debug, Default)]
struct DatasetList {
    files: Vec<FileToRegister>,
    bytes: u64,
}

impl Visitor for DatasetList {
    fn dataset(&mut self, found: FoundFile) {
        self.files.push(FileToRegister { index: self.files.len(), dataset: found.dataset });
        self.bytes += found.size;
    }
}

/// A flagged session before anything is sent.
struct Listing<'a, V> {
    found: FoundFiles,
    visitor: V,
    /// What is known of it; `None` if no metadata is read.
    known: Option<KnownSession>,
    /// With what its sidecars say of its files.
    options: Cow<'a, FlaggedOptions>,
}

/// Hands on the datasets of a session, and what else lies in it to the sources of its metadata.
struct Described<V> {
    visitor: V,
    sources: Option<MetadataSources>,
}

impl<V: Visitor> Visitor for Described<V> {
    fn dataset(&mut self, found: FoundFile) {
        self.visitor.dataset(found);
    }

    fn entry(&mut self, path: &Path, entry: SeenEntry<'_>) {
        if let Some(sources) = &mut self.sources {
            sources.see(path, entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_that_lists_a_file_means_its_revisions_too() {
        let content = FlagContent::parse(b"alf/spikes.times.npy").unwrap();
        let exclude = exclusion(&content, &FlaggedOptions::default());
        assert_eq!(exclude("alf/spikes.times.npy"), None);
        assert_eq!(exclude("alf/#2024-05-01#/spikes.times.npy"), None);
        assert_eq!(exclude("raw/#2024-05-01#/spikes.times.npy"), Some(LeftOutReason::NotInFlag));
    }
}
