//! Marks of requests that must not be sent twice: a file for each on this computer, from before Alyx is asked whether
//! the record exists until the request that makes it is answered.
//!
//! Alyx carries out a request whose client is gone. If a program is killed while it creates a session, the request may
//! still arrive, and the next program finds nothing, and creates a second one. The mark that was left behind tells it to
//! wait. While the program lives, its lock on the mark keeps the others away.

#![expect(clippy::disallowed_methods, reason = "reads the clock, works on the disk")]

mod first_claims;
mod own;
mod public;
mod sent;
mod stale;

use std::fmt::Write as _;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use rustix::fs::{FlockOperation, flock};

use crate::error::Error;
use crate::listing::file_system::is_private_folder;
use crate::session::request_marks::first_claims::FirstClaims;
use crate::session::request_marks::own::MarkFile;
use crate::session::request_marks::public::{LONGEST, PublicMark, is_public_folder};
use crate::session::request_marks::sent::Sent;
use crate::session::request_marks::stale::remove_stale;

/// How often Alyx is asked again while a request may still be on its way.
pub(crate) const RECHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How often a mark that another program holds is tried.
const ELSEWHERE_INTERVAL: Duration = Duration::from_millis(500);
/// After that, less often: each time Alyx is asked. A session gives its place back then.
const OFTEN_FOR: Duration = Duration::from_secs(60);

/// How often stale marks are looked for: a folder for all users may hold much else.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Where the marks are. The default marks nothing.
#[derive(Debug, Clone, Default)]
pub struct RequestMarks(Option<Places>);

/// The folders that hold marks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MarkFolders {
    /// The state folder, if there is one.
    pub state: Option<PathBuf>,
    /// For the programs of this user: the first is used that this user alone can write to. It is created if it is
    /// missing.
    pub own: Vec<PathBuf>,
    /// For the programs of all users: each is used in which every user can create files, and remove only his own.
    pub public: Vec<PathBuf>,
}

#[derive(Debug, Clone)]
struct Places {
    folders: MarkFolders,
    started: Instant,
    unanswered: Arc<AtomicUsize>,
    first_claims: Arc<Mutex<FirstClaims>>,
    /// When stale marks were looked for last.
    swept: Arc<Mutex<Option<Instant>>>,
    /// Whether a session that waits for another program gives its place back.
    by_turns: bool,
}

/// Another program on this computer is sending the same request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Elsewhere {
    /// How long the request has waited since it was first claimed.
    waited: Duration,
    /// How long it waits, from then on.
    longest: Duration,
}

impl Elsewhere {
    /// When to try again; zero: no more. Pure.
    pub(crate) fn recheck_in(self) -> Duration {
        match self.waited {
            waited if waited > self.longest => Duration::ZERO,
            waited if waited < OFTEN_FOR => ELSEWHERE_INTERVAL,
            _ => RECHECK_INTERVAL,
        }
    }

    /// How long the request waits from now on.
    pub(crate) fn left(self) -> Duration {
        self.longest.saturating_sub(self.waited)
    }

    fn held_up(self) -> HeldUp {
        HeldUp { waited: self.waited, at_least: Duration::ZERO, at_most: self.left() }
    }
}

/// How long a request has waited for programs of others, and how long it goes on waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct HeldUp {
    waited: Duration,
    at_least: Duration,
    at_most: Duration,
}

impl HeldUp {
    /// Whether its session gives its place back. `request`: how long a request may take. Pure.
    fn gives_place_back(self, request: Duration) -> bool {
        // A request of a program that was killed just now is waited for in place.
        let patience = request.min(OFTEN_FOR) + ELSEWHERE_INTERVAL;
        self.waited + self.at_least > patience
    }
}

impl RequestMarks {
    /// Marks in these folders, as far as they can be used.
    pub fn new(folders: MarkFolders) -> Self {
        Self(Some(Places {
            folders,
            started: Instant::now(),
            unanswered: Arc::default(),
            first_claims: Arc::default(),
            swept: Arc::default(),
            by_turns: false,
        }))
    }

    /// The same marks for sessions that share a few places: one that waits for another program gives its place back after
    /// a minute, with [`Error::SentElsewhere`], and goes on waiting when it is tried again. Without this, the verb waits.
    #[must_use]
    pub fn by_turns(self) -> Self {
        Self(self.0.map(|places| Places { by_turns: true, ..places }))
    }

    /// Whether every request that was marked and sent by this process is answered.
    pub fn are_all_answered(&self) -> bool {
        self.0.as_ref().is_none_or(|places| places.unanswered.load(Ordering::Relaxed) == 0)
    }

    /// Marks a request, unless another program holds its mark. Does not block.
    ///
    /// `request` names what is made. Its server is no part of the name: it has many addresses. `at_most`: how long the
    /// request may take.
    pub(crate) async fn claim(
        &self,
        request: String,
        at_most: Duration,
    ) -> Result<Result<RequestMark, Elsewhere>, Error> {
        let Some(places) = self.0.clone() else { return Ok(Ok(RequestMark::default())) };
        let claim = move || places.claim(&request, at_most, Instant::now());
        tokio::task::spawn_blocking(claim)
            .await
            .map_err(|e| Error::Internal(format!("marking a request: {e}")))
    }

    /// The caller goes on waiting for other programs, unless others wait for its place. `doing`: what the request does;
    /// `at_most`: how long it may take.
    ///
    /// # Errors
    /// [`Error::SentElsewhere`]: the session is to be tried again.
    pub(crate) fn keep_place(
        &self,
        claim: &Result<RequestMark, Elsewhere>,
        doing: impl FnOnce() -> String,
        at_most: Duration,
    ) -> Result<(), Error> {
        let held_up = match claim {
            Ok(mark) => mark.held_up(),
            Err(elsewhere) => Some(elsewhere.held_up()),
        };
        match held_up.filter(|held_up| held_up.gives_place_back(at_most)) {
            Some(held_up) if self.0.as_ref().is_some_and(|places| places.by_turns) => {
                Err(Error::SentElsewhere { doing: doing(), left: held_up.at_most })
            }
            _ => Ok(()),
        }
    }

    /// The request waits no longer: if it is claimed again, it is a new one.
    pub(crate) fn forget(&self, request: &str) {
        if let Some(places) = &self.0 {
            places.first_claims().forget(request);
        }
    }
}

impl Places {
    fn first_claims(&self) -> MutexGuard<'_, FirstClaims> {
        self.first_claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether stale marks are looked for now.
    fn sweeps(&self, now: Instant) -> bool {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = swept.is_none_or(|last| now.saturating_duration_since(last) >= SWEEP_INTERVAL);
        if is_due {
            *swept = Some(now);
        }
        is_due
    }

    fn claim(&self, request: &str, at_most: Duration, now: Instant) -> Result<RequestMark, Elsewhere> {
        let usable = |folder: &&PathBuf| {
            let _ = DirBuilder::new().mode(0o700).create(folder);
            is_private_folder(folder)
        };
        let own = self.folders.own.iter().find(usable);
        let state = self.folders.state.iter().filter(|folder| is_private_folder(folder));
        let public: Vec<&PathBuf> =
            self.folders.public.iter().filter(|folder| is_public_folder(folder)).collect();
        if self.sweeps(now) {
            state.clone().chain(own).for_each(|folder| remove_stale(folder, "sending-"));
            public.iter().for_each(|folder| remove_stale(folder, "alyx-registrar-"));
        }
        let since = self.first_claims().since(request, now);
        let waited = now.saturating_duration_since(since);
        let mut mark = RequestMark::default();
        mark.at_most = at_most;
        mark.unanswered = Arc::clone(&self.unanswered);
        mark.waited = waited;
        let name = name(request);
        for folder in state.chain(own) {
            match MarkFile::lock(&folder.join(&name)) {
                Ok(Some(file)) => {
                    let left_behind = || file.remaining().unwrap_or(at_most);
                    let until = (!file.is_new).then(|| now + left_behind());
                    mark.earlier = mark.earlier.max(until);
                    mark.files.push(file);
                }
                Ok(None) => return Err(Elsewhere { waited, longest: 2 * at_most }),
                Err(error) => tracing::debug!("no mark in {}: {error}", folder.display()),
            }
        }
        for folder in public {
            match PublicMark::create(folder, &name, at_most) {
                Ok(file) => mark.public.push(file),
                Err(error) => tracing::debug!("no mark in {}: {error}", folder.display()),
            }
        }
        // After all are created: of two programs at least one sees the other.
        let others: Vec<_> = mark.public.iter_mut().flat_map(|file| file.others(&name)).collect();
        let mut held = None;
        for other in others {
            // Its program may wait longer for an answer than this one.
            let longest = at_most.max(other.at_most.min(LONGEST));
            let deadline = since + longest;
            if other.is_held && now < deadline {
                // When the time is over it no longer counts, so that the caller never gives up because of it.
                held = held.max(Some(longest + at_most));
            }
            let until = now + other.remaining;
            let until = (now < until.min(deadline)).then(|| deadline.min(until));
            mark.earlier = mark.earlier.max(until);
            if !other.is_mine {
                mark.of_others = mark.of_others.max(until);
            }
        }
        if let Some(longest) = held {
            return Err(Elsewhere { waited, longest });
        }
        if mark.files.is_empty() && mark.public.is_empty() {
            // Any earlier program may have left a request.
            mark.earlier = Some(self.started + at_most);
        }
        Ok(mark)
    }
}

/// The name of a mark's file.
fn name(request: &str) -> String {
    let mut name = "sending-".to_owned();
    for byte in Md5::digest(request) {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// A mark that this process holds. Dropping it releases it, and removes it unless a request may still arrive.
#[derive(Debug, Default)]
pub(crate) struct RequestMark {
    files: Vec<MarkFile>,
    public: Vec<PublicMark>,
    at_most: Duration,
    /// Until when a request that an earlier program left behind may arrive.
    earlier: Option<Instant>,
    /// Until when one of another user may.
    of_others: Option<Instant>,
    /// How long the request had waited when it was claimed.
    waited: Duration,
    is_unanswered: bool,
    /// How many requests of this process are not answered.
    unanswered: Arc<AtomicUsize>,
}

impl RequestMark {
    /// How long an earlier request may still take to arrive.
    pub(crate) fn remaining(&self) -> Duration {
        self.earlier.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    /// That a request of another user may still arrive.
    fn held_up(&self) -> Option<HeldUp> {
        let now = Instant::now();
        let left = self.of_others.map(|until| until.saturating_duration_since(now));
        let left = left.filter(|left| !left.is_zero())?;
        Some(HeldUp { waited: self.waited, at_least: left, at_most: left })
    }

    /// The request is about to be sent. On disk on return, if that is possible.
    pub(crate) async fn sending(mut self) -> Result<Self, Error> {
        if !std::mem::replace(&mut self.is_unanswered, true) {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
        }
        let write = move || {
            let sent = Sent::now(self.at_most);
            for file in &mut self.files {
                if let Err(error) = file.write(&sent) {
                    // Without content it holds the next program up for the whole time.
                    tracing::debug!("the mark {} cannot be written: {error}", file.path.display());
                }
            }
            for error in self.public.iter().filter_map(|file| file.write(&sent).err()) {
                tracing::debug!("a mark for other users cannot be written: {error}");
            }
            self
        };
        tokio::task::spawn_blocking(write)
            .await
            .map_err(|e| Error::Internal(format!("marking a request: {e}")))
    }

    /// No request is on its way any more.
    pub(crate) fn answered(&mut self) {
        self.earlier = None;
        if std::mem::take(&mut self.is_unanswered) {
            self.unanswered.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for RequestMark {
    fn drop(&mut self) {
        let are_all_over = !self.is_unanswered && self.remaining().is_zero();
        self.public.iter().for_each(|file| file.release(!self.is_unanswered, are_all_over));
        for file in &self.files {
            // A new one that says nothing would hold the next claim up for the whole time.
            if are_all_over || (file.is_new && !self.is_unanswered) {
                let _ = std::fs::remove_file(&file.path);
            }
            // A process that another thread is just starting holds a copy.
            let _ = flock(&file.file, FlockOperation::Unlock);
        }
    }
}

/// Whether a request may have been carried out although it failed. A proxy may answer 502 or 504 after the server
/// behind it has done the work.
pub(crate) fn maybe_done(error: &alyx_client::Error) -> bool {
    match error {
        alyx_client::Error::Unreachable { maybe_done, .. } => *maybe_done,
        alyx_client::Error::Busy { status, .. } => *status != 429,
        alyx_client::Error::Server { .. } | alyx_client::Error::NotAlyx { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
