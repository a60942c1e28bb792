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
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    use crate::session::request_marks::public::MAX_MARKS;

    const AT_MOST: Duration = Duration::from_secs(30);

    fn claim(marks: &RequestMarks) -> Result<RequestMark, Elsewhere> {
        claim_since(marks, Instant::now())
    }

    /// A claim that was first made then.
    fn claim_since(marks: &RequestMarks, since: Instant) -> Result<RequestMark, Elsewhere> {
        claim_for(marks, AT_MOST, since)
    }

    fn claim_for(marks: &RequestMarks, at_most: Duration, since: Instant) -> Result<RequestMark, Elsewhere> {
        let places = marks.0.as_ref().unwrap();
        places.first_claims().forget("a session");
        places.first_claims().since("a session", since);
        places.claim("a session", at_most, Instant::now())
    }

    fn own(state: Option<PathBuf>, own: Vec<PathBuf>) -> RequestMarks {
        RequestMarks::new(MarkFolders { state, own, public: Vec::new() })
    }

    /// As a process that is killed: the kernel releases its locks, and nothing else happens.
    fn kill(mut mark: RequestMark) {
        for file in std::mem::take(&mut mark.files) {
            flock(&file.file, FlockOperation::Unlock).unwrap();
        }
        std::mem::take(&mut mark.public).into_iter().for_each(PublicMark::kill);
    }

    /// A folder as `/dev/shm`.
    fn public() -> (tempfile::TempDir, RequestMarks) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
        let public = vec![folder.path().to_owned()];
        (folder, RequestMarks::new(MarkFolders { public, ..MarkFolders::default() }))
    }

    async fn sending(mark: RequestMark) -> RequestMark {
        mark.sending().await.unwrap()
    }

    #[tokio::test]
    async fn a_request_without_an_answer_holds_the_next_program_up_for_as_long_as_it_may_take() {
        let (state, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let [both, other] =
            [Some(state.path().to_owned()), None].map(|state| own(state, vec![run.path().join("registrar")]));
        let mark = sending(claim(&both).unwrap()).await;
        assert!(claim(&other).is_err());
        kill(mark);
        for marks in [&both, &other] {
            let left = claim(marks).unwrap().remaining();
            assert!(left > AT_MOST / 2 && left <= AT_MOST, "{left:?}");
        }
        // Only in the state folder: the shared one did not survive a restart of the computer.
        std::fs::remove_dir_all(run.path().join("registrar")).unwrap();
        let mut mark = claim(&both).unwrap();
        assert!(!mark.remaining().is_zero());
        mark.answered();
        drop(mark);
        assert!(claim(&both).unwrap().remaining().is_zero());
    }

    #[tokio::test]
    async fn a_request_whose_client_gave_up_is_marked_until_it_is_answered() {
        let run = tempfile::tempdir().unwrap();
        let marks = own(None, vec![run.path().to_owned()]);
        drop(claim(&marks).unwrap());
        assert!(claim(&marks).unwrap().remaining().is_zero(), "nothing was sent");
        drop(sending(claim(&marks).unwrap()).await);
        assert!(!claim(&marks).unwrap().remaining().is_zero());
        let mut mark = sending(claim(&marks).unwrap()).await;
        mark.answered();
        drop(mark);
        assert_eq!(std::fs::read_dir(run.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_mark_that_says_nothing_holds_the_next_program_up() {
        let run = tempfile::tempdir().unwrap();
        let marks = own(None, vec![run.path().to_owned()]);
        for text in ["", "nonsense", "a b c\n", "x 1 2"] {
            std::fs::write(run.path().join(name("a session")), text).unwrap();
            assert!(!claim(&marks).unwrap().remaining().is_zero(), "{text:?}");
        }
    }

    #[test]
    fn where_nothing_can_be_marked_the_time_since_the_start_counts() {
        let run = tempfile::tempdir().unwrap();
        std::fs::set_permissions(run.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let shared = vec![run.path().to_owned(), run.path().join("none/none")];
        assert!(!claim(&own(None, shared)).unwrap().remaining().is_zero());
        let nothing = RequestMark::default();
        assert!(nothing.remaining().is_zero());
    }

    #[test]
    fn an_answer_that_may_come_from_a_proxy_resolves_nothing() {
        let busy = |status| {
            let (what, body) = (String::new(), String::new());
            alyx_client::Error::Busy { what, status, retry_after: None, body }
        };
        assert!(maybe_done(&busy(504)));
        assert!(!maybe_done(&busy(429)));
        let lost = |maybe_done| {
            let (url, reason) = (String::new(), String::new());
            alyx_client::Error::Unreachable { url, reason, maybe_done, connected: true }
        };
        assert!(maybe_done(&lost(true)));
        assert!(!maybe_done(&lost(false)));
    }

    #[tokio::test]
    async fn a_mark_for_all_users_holds_a_request_up_and_never_prevents_it() {
        let (_folder, marks) = public();
        let long_ago = Instant::now() - AT_MOST;
        let mark = sending(claim(&marks).unwrap()).await;
        assert!(claim(&marks).is_err());
        assert!(claim_since(&marks, long_ago).unwrap().remaining().is_zero());
        kill(mark);
        let mut next = claim(&marks).unwrap();
        assert!(next.remaining() > AT_MOST / 2);
        let half = claim_since(&marks, Instant::now() - AT_MOST / 2);
        assert!(half.is_err());
        next.answered();
        drop(next);
        assert!(claim(&marks).unwrap().remaining().is_zero());
    }

    #[tokio::test]
    async fn a_program_that_waits_longer_for_an_answer_is_waited_for_as_long_by_programs_of_other_users() {
        let (_folder, marks) = public();
        let (short, long) = (AT_MOST / 10, AT_MOST);
        let mark = sending(claim_for(&marks, long, Instant::now()).unwrap()).await;
        let late = || Instant::now() - 2 * short;
        let elsewhere = claim_for(&marks, short, late()).unwrap_err();
        let later = Elsewhere { waited: long, ..elsewhere };
        assert!(!later.recheck_in().is_zero(), "the mark no longer counts before its caller gives up");
        kill(mark);
        let left = claim_for(&marks, short, late()).unwrap().remaining();
        assert!(left > long / 2, "{left:?}");
        assert!(claim_for(&marks, short, Instant::now() - long).unwrap().remaining().is_zero());
    }

    #[tokio::test]
    async fn a_mark_that_is_kept_locked_for_ever_delays_all_attempts_together_for_an_hour_at_most() {
        let (folder, marks) = public();
        let path = folder.path().join(format!("alyx-registrar-{}-lie", name("a session")));
        std::fs::write(&path, format!("x {} {}\n", u64::MAX, u64::MAX)).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        flock(&file, FlockOperation::LockExclusive).unwrap();
        let (places, start) = (marks.0.as_ref().unwrap(), Instant::now());
        let claim_after = |seconds| places.claim("a session", AT_MOST, start + Duration::from_secs(seconds));
        for seconds in [0, 1, 31, 600, 3000, 3599] {
            let left = claim_after(seconds).unwrap_err().left();
            assert_eq!(left, LONGEST + AT_MOST - Duration::from_secs(seconds));
        }
        assert!(claim_after(3600).unwrap().remaining().is_zero());
        // It was created. The next one of the same name waits anew.
        marks.forget("a session");
        assert!(claim_after(3601).is_err());
    }

    #[test]
    fn a_place_is_given_back_after_the_time_of_a_request_and_a_minute_at_most() {
        let second = Duration::from_secs(1);
        let gives_back = |waited: u32, at_least: u32, request: u32| {
            let (waited, at_least) = (waited * second, at_least * second);
            HeldUp { waited, at_least, at_most: LONGEST }.gives_place_back(request * second)
        };
        for (waited, at_least, request, expected) in [
            (0, 0, 30, false),
            (29, 0, 30, false),
            (31, 0, 30, true),
            (59, 0, 3600, false),
            (61, 0, 3600, true),
            // What was left behind takes that long at least.
            (0, 30, 30, false),
            (0, 31, 30, true),
            (0, 3600, 3600, true),
        ] {
            assert_eq!(gives_back(waited, at_least, request), expected, "{waited} {at_least} {request}");
        }
    }

    #[test]
    fn only_a_session_that_others_hold_up_gives_its_place_back() {
        let (folder, marks) = public();
        let by_turns = marks.clone().by_turns();
        let keeps = |marks: &RequestMarks, claim: &Result<RequestMark, Elsewhere>| {
            marks.keep_place(claim, || "creating a session".to_owned(), AT_MOST).is_ok()
        };
        let long_ago = Instant::now() - 2 * AT_MOST;
        let held = claim_for(&marks, LONGEST, Instant::now()).unwrap();
        let waits = claim_since(&marks, long_ago);
        assert!(waits.is_err() && !keeps(&by_turns, &waits));
        assert!(keeps(&marks, &waits), "a command waits");
        assert!(keeps(&by_turns, &claim(&marks)), "not yet");
        kill(held);
        // A request of this user, whose program was killed, is waited for in place.
        let waits = claim(&marks);
        assert!(!waits.as_ref().unwrap().remaining().is_zero() && keeps(&by_turns, &waits));
        drop(waits);
        // One of another user may be a lie.
        let path = folder.path().join(format!("alyx-registrar-{}-theirs", name("a session")));
        std::fs::write(&path, format!("x {} {}\n", u64::MAX, u64::MAX)).unwrap();
        if std::os::unix::fs::chown(&path, Some(65534), None).is_ok() {
            let waits = claim(&marks);
            assert!(!waits.as_ref().unwrap().remaining().is_zero() && !keeps(&by_turns, &waits));
        }
    }

    #[tokio::test]
    async fn a_mark_is_seen_among_any_number_of_other_things() {
        let (folder, marks) = public();
        let at = |end: &str| folder.path().join(format!("alyx-registrar-{}-{end}", name("a session")));
        for n in 0..2 * MAX_MARKS {
            std::os::unix::fs::symlink("/nowhere", at(&format!("{n}-link"))).unwrap();
            std::fs::create_dir(at(&format!("{n}-folder"))).unwrap();
        }
        assert!(claim(&marks).unwrap().remaining().is_zero());
        let mark = claim(&marks).unwrap();
        assert!(claim(&marks).is_err());
        drop(mark);
        // More files than are read.
        (0..=MAX_MARKS).for_each(|n| std::fs::write(at(&format!("{n}-file")), "nonsense").unwrap());
        assert!(claim(&marks).is_err());
        assert!(claim_since(&marks, Instant::now() - LONGEST).is_ok(), "delayed, and not prevented");
    }

    #[tokio::test]
    async fn an_answered_request_leaves_nothing_for_all_users() {
        let (folder, marks) = public();
        kill(sending(claim(&marks).unwrap()).await);
        drop(claim(&marks).unwrap());
        let left = || std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left(), 1, "it may still arrive");
        let mut mark = claim(&marks).unwrap();
        mark.answered();
        drop(mark);
        assert_eq!(left(), 0);
    }

    /// A mark that was left long ago, by a program that is gone.
    fn leave(path: &std::path::Path, text: &str, hours: u64) {
        std::fs::write(path, text).unwrap();
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(hours * 3600);
        std::fs::File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
    }

    #[test]
    fn the_marks_of_programs_that_are_gone_are_removed_when_their_requests_can_no_longer_arrive() {
        let (state, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (shm, _) = public();
        let over = "another-boot 0 0\n";
        let on_its_way = Sent::now(Duration::from_secs(1_000_000)).to_text();
        let folders = [(state.path(), "sending-"), (run.path(), "sending-"), (shm.path(), "alyx-registrar-")];
        for (folder, prefix) in folders {
            leave(&folder.join(format!("{prefix}over")), over, 1);
            leave(&folder.join(format!("{prefix}silent")), "", 25);
            leave(&folder.join(format!("{prefix}silent-today")), "", 23);
            leave(&folder.join(format!("{prefix}unknown-today")), " 0 0\n", 23);
            leave(&folder.join(format!("{prefix}on-its-way")), &on_its_way, 1);
            leave(&folder.join(format!("{prefix}held")), over, 1);
            leave(&folder.join(format!("{prefix}young")), over, 0);
            leave(&folder.join("something else"), over, 1);
        }
        let held = folders.map(|(folder, prefix)| {
            let file = std::fs::File::open(folder.join(format!("{prefix}held"))).unwrap();
            flock(&file, FlockOperation::LockExclusive).unwrap();
            file
        });
        let marks = RequestMarks::new(MarkFolders {
            state: Some(state.path().to_owned()),
            own: vec![run.path().to_owned()],
            public: vec![shm.path().to_owned()],
        });
        drop(claim(&marks).unwrap());
        for (folder, prefix) in folders {
            let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
            let mut left: Vec<String> =
                entries.map(|name| name.into_string().unwrap().replace(prefix, "")).collect();
            left.sort();
            assert_eq!(
                left,
                ["held", "on-its-way", "silent-today", "something else", "unknown-today", "young"],
                "{prefix}"
            );
        }
        drop(held);
    }

    #[test]
    fn stale_marks_are_looked_for_once_a_minute() {
        let (shm, marks) = public();
        let (places, start) = (marks.0.as_ref().unwrap(), Instant::now());
        let path = shm.path().join("alyx-registrar-stale");
        let is_left_after = |seconds| {
            leave(&path, "another-boot 0 0\n", 1);
            drop(places.claim("a session", AT_MOST, start + Duration::from_secs(seconds)).unwrap());
            path.exists()
        };
        assert_eq!(
            [0, 1, 59, 60, 61, 119, 120].map(is_left_after),
            [false, true, true, false, true, true, false]
        );
    }

    #[test]
    fn what_a_container_with_its_own_boot_id_left_behind_is_waited_for_and_what_it_holds_is_not_stale() {
        let (shm, run) = (public(), tempfile::tempdir().unwrap());
        let folders = MarkFolders {
            state: None,
            own: vec![run.path().to_owned()],
            public: vec![shm.0.path().to_owned()],
        };
        let marks = RequestMarks::new(folders);
        let paths = [
            run.path().join(name("a session")),
            shm.0.path().join(format!("alyx-registrar-{}-theirs", name("a session"))),
        ];
        for path in &paths {
            // Sent just now.
            std::fs::write(path, format!("another-boot 0 {}\n", AT_MOST.as_millis())).unwrap();
            let left = claim(&marks).unwrap().remaining();
            assert!(left > AT_MOST / 2 && left <= AT_MOST, "{path:?}: {left:?}");
            let held = std::fs::File::open(path).unwrap();
            flock(&held, FlockOperation::LockExclusive).unwrap();
            leave(path, "another-boot 0 0\n", 48);
            marks.0.as_ref().unwrap().swept.lock().unwrap().take();
            assert!(claim(&marks).is_err() && path.exists(), "{path:?}");
            drop(held);
            assert!(claim(&marks).unwrap().remaining().is_zero(), "{path:?}");
        }
    }

    #[test]
    fn a_claim_that_sent_nothing_and_waits_for_others_holds_no_later_one_up() {
        let (shm, run) = (public(), tempfile::tempdir().unwrap());
        let (own, public) = (vec![run.path().to_owned()], vec![shm.0.path().to_owned()]);
        let marks = RequestMarks::new(MarkFolders { state: None, own, public });
        let theirs = shm.0.path().join(format!("alyx-registrar-{}-theirs", name("a session")));
        std::fs::write(&theirs, Sent::now(AT_MOST).to_text()).unwrap();
        assert!(!claim(&marks).unwrap().remaining().is_zero());
        std::fs::remove_file(&theirs).unwrap();
        assert!(claim(&marks).unwrap().remaining().is_zero());
    }

    #[test]
    fn what_a_hostile_user_puts_into_the_folder_for_all_users_is_not_followed_and_does_not_hang() {
        let (folder, marks) = public();
        let at = |end: &str| folder.path().join(format!("alyx-registrar-{}-{end}", name("a session")));
        let elsewhere = tempfile::tempdir().unwrap();
        let target = elsewhere.path().join("target");
        std::fs::write(&target, Sent::now(AT_MOST).to_text()).unwrap();
        std::os::unix::fs::symlink(&target, at("link")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o644),
            0,
        )
        .unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        std::fs::write(at("nonsense"), [0xff; 5000]).unwrap();
        assert!(claim(&marks).unwrap().remaining().is_zero());
        // The future, and for ever.
        std::fs::write(at("lie"), format!("x {} {}\n", u64::MAX, u64::MAX)).unwrap();
        let left = claim(&marks).unwrap().remaining();
        assert!(left > AT_MOST && left <= LONGEST, "{left:?}");
        assert!(claim_since(&marks, Instant::now() - LONGEST).unwrap().remaining().is_zero());
        assert!(target.exists());
    }

    #[test]
    fn a_folder_that_is_not_sticky_or_a_link_is_not_for_all_users() {
        let (folder, _) = public();
        assert!(is_public_folder(folder.path()));
        let elsewhere = tempfile::tempdir().unwrap();
        let link = elsewhere.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        assert!(!is_public_folder(&link));
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(!is_public_folder(folder.path()));
    }
}
