//! One attempt: from a flag to a confirmed session and a removed flag.
//!
//! The order is the promise: look the session up, create it only if it is absent, hash the files, register them, read
//! back what Alyx holds, check that the folder has not changed meanwhile, and only then remove the flag.

mod by_name;
mod checks;
mod hold;
pub(crate) mod late;
pub(crate) mod listing;
mod plan;
mod second_look;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::client::RegistrationClient;
use crate::client::options::FlaggedOptions;
use crate::error::Error;
use crate::files::send::RemoteScope;
use crate::files::upload::{Owner, Upload};
use crate::flag::{FlagContent, FlagFile, HeldFlag, Removal};
use crate::flagged::checks::{MIN_WAIT, check_flag_matches, judge_gap};
use crate::flagged::listing::{DatasetList, Listing, names_and_original};
use crate::flagged::second_look::SecondLook;
use crate::hashing::disk_steps::DiskSteps;
use crate::listing::completeness::{HashedFiles, Unregistered};
use crate::listing::discover::FoundFiles;
use crate::listing::gap::{Gap, Untyped};
use crate::listing::left_out::{LeftOut, LeftOutReason};
use crate::listing::snapshot::SessionSnapshot;
use crate::listing::summary::LeftOutSummary;
use crate::listing::trail::Trail;
use crate::metadata::known::KnownSession;
use crate::session::details::SessionDetails;
use crate::session::register::SessionSources;
use alf::SessionPath;
use alyx_client::SessionRecord;

pub use crate::flagged::plan::Planned;

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
    /// Its files by name.
    pub trail: Arc<Trail>,
    /// What it lacks; `None` with [`OnLeftOut::Ignore`](crate::OnLeftOut::Ignore).
    pub gap: Option<Gap>,
    /// Kinds of files that no dataset type takes; none with [`OnLeftOut::Ignore`](crate::OnLeftOut::Ignore).
    pub untyped: Vec<Untyped>,
    /// Datasets that cannot be registered, one line each; only with [`OnRefused::Finish`](crate::OnRefused::Finish).
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
        let turn = self.context().begin_turn().await;
        if !listed.files.is_empty() {
            self.check_repository(known.as_ref()).await?;
        }
        let none = SessionDetails::default();
        let defaults = self.defaults_of(session, &options.defaults);
        let sources = SessionSources { details: &none, defaults: &defaults, known: known.as_ref() };
        let handle = self.get_or_create_session(session, &sources, extra, &turn).await?;
        drop(turn);
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
        let trail = Arc::new(Trail::of(sent.uploads.iter().map(Upload::trail), &last.left_out));
        // The last look at the folder may take long, and needs none of it.
        drop(sent);
        let removal = match held {
            Some(held) => self.remove_flag(held, &last, look).await?,
            None => Removal::AlreadyGone,
        };
        let mut snapshot = last.snapshot;
        unregistered_files.into_iter().for_each(|(path, size)| snapshot.add_unregistered(&path, size));
        add_excluded(&mut snapshot, session, &last.left_out, general, &progress.steps).await;
        Ok(Registered {
            session: session.clone(),
            eid: handle.eid,
            created: handle.created.is_some(),
            n_files,
            n_unchanged,
            moved,
            bytes,
            left_out: LeftOutSummary::of(&last.left_out),
            trail,
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
}

/// Adds what a sidecar excludes, which is not late: later looks know the configuration only.
async fn add_excluded(
    snapshot: &mut SessionSnapshot,
    session: &SessionPath,
    left_out: &[LeftOut],
    general: &FlaggedOptions,
    steps: &Arc<DiskSteps>,
) {
    for path in excluded_besides(left_out, general) {
        let at = session.folder().join(path);
        let step = steps.begin("looking at", &at);
        let size = tokio::fs::metadata(&at).await.map_or(0, |found| found.len());
        drop(step);
        snapshot.add_dataset(path, size);
        snapshot.add_unregistered(path, size);
    }
}

/// The files that other patterns than those of the configuration exclude. Pure.
fn excluded_besides<'a>(left_out: &'a [LeftOut], general: &FlaggedOptions) -> Vec<&'a str> {
    let excluded = left_out.iter().filter(|file| file.reason == LeftOutReason::Excluded);
    let paths = excluded.filter_map(|file| file.path.to_str());
    paths.filter(|path| !general.exclude.iter().any(|pattern| pattern.matches(path))).collect()
}
