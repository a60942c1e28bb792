//! Marks of requests that must not be sent twice: a file for each on this computer, from before Alyx is asked whether
//! the record exists until the request that makes it is answered.
//!
//! Alyx carries out a request whose client is gone. If a program is killed while it creates a session, the request may
//! still arrive, and the next program finds nothing, and creates a second one. The mark that was left behind tells it to
//! wait. While the program lives, its lock on the mark keeps the others away.

#![expect(clippy::disallowed_methods, reason = "reads the clock, works on the disk")]

use std::fmt::Write as _;
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use crate::error::Error;
use crate::listing::file_system::is_private_folder;

/// How much later than its first attempt the client may send a request, which Alyx was too busy to accept.
const LATEST_REPEAT: Duration = Duration::from_secs(300);
/// How often a file that another process removes at the moment of locking is opened again.
const MAX_REMOVED: usize = 10;
/// How often Alyx is asked again while a request may still be on its way.
pub(crate) const RECHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How often a mark that another program holds is tried.
pub(crate) const ELSEWHERE_INTERVAL: Duration = Duration::from_millis(500);

/// Where the marks are. The default marks nothing.
#[derive(Debug, Clone, Default)]
pub struct RequestMarks(Option<Places>);

#[derive(Debug, Clone)]
struct Places {
    state: Option<PathBuf>,
    shared: Vec<PathBuf>,
    started: Instant,
    unanswered: Arc<AtomicUsize>,
}

/// Another program on this computer is sending the same request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Elsewhere;

impl RequestMarks {
    /// Marks in the state folder, if there is one, and in the first of the shared folders that this user alone can
    /// write to, which is created if it is missing.
    pub fn new(state: Option<PathBuf>, shared: Vec<PathBuf>) -> Self {
        Self(Some(Places { state, shared, started: Instant::now(), unanswered: Arc::default() }))
    }

    /// Whether every request that was marked and sent by this process is answered.
    pub fn are_all_answered(&self) -> bool {
        self.0.as_ref().is_none_or(|places| places.unanswered.load(Ordering::Relaxed) == 0)
    }

    /// Marks a request, unless another program holds its mark. Does not block.
    ///
    /// `request` names what is made, and on which server; `at_most`: how long the request may take.
    pub(crate) async fn claim(
        &self,
        request: String,
        at_most: Duration,
    ) -> Result<Result<RequestMark, Elsewhere>, Error> {
        let Some(places) = self.0.clone() else { return Ok(Ok(RequestMark::default())) };
        let claim = move || places.claim(&request, at_most);
        tokio::task::spawn_blocking(claim)
            .await
            .map_err(|e| Error::Internal(format!("marking a request: {e}")))
    }
}

impl Places {
    fn claim(&self, request: &str, at_most: Duration) -> Result<RequestMark, Elsewhere> {
        let usable = |folder: &&PathBuf| {
            let _ = DirBuilder::new().mode(0o700).create(folder);
            is_private_folder(folder)
        };
        let shared = self.shared.iter().find(usable);
        let mut mark = RequestMark::default();
        mark.at_most = at_most;
        mark.unanswered = Arc::clone(&self.unanswered);
        for folder in self.state.iter().filter(|folder| is_private_folder(folder)).chain(shared) {
            match MarkFile::lock(&folder.join(name(request))) {
                Ok(Some(file)) => {
                    let left_behind = || file.read().map_or(at_most, |sent| sent.remaining());
                    let until = (!file.is_new).then(|| Instant::now() + left_behind());
                    mark.earlier = mark.earlier.max(until);
                    mark.files.push(file);
                }
                Ok(None) => return Err(Elsewhere),
                Err(error) => tracing::debug!("no mark in {}: {error}", folder.display()),
            }
        }
        if mark.files.is_empty() {
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
    at_most: Duration,
    /// Until when a request that an earlier program left behind may arrive.
    earlier: Option<Instant>,
    is_unanswered: bool,
    /// How many requests of this process are not answered.
    unanswered: Arc<AtomicUsize>,
}

impl RequestMark {
    /// How long an earlier request may still take to arrive.
    pub(crate) fn remaining(&self) -> Duration {
        self.earlier.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    /// The request is about to be sent. On disk on return, if that is possible.
    pub(crate) async fn sending(mut self) -> Result<Self, Error> {
        if !std::mem::replace(&mut self.is_unanswered, true) {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
        }
        let write = move || {
            let sent = Sent { boot: boot_id(), at: since_boot(), at_most: self.at_most };
            for file in &mut self.files {
                if let Err(error) = file.write(&sent) {
                    // Without content it holds the next program up for the whole time.
                    tracing::debug!("the mark {} cannot be written: {error}", file.path.display());
                }
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
        for file in &self.files {
            if !self.is_unanswered && self.remaining().is_zero() {
                let _ = std::fs::remove_file(&file.path);
            }
            // A process that another thread is just starting holds a copy.
            let _ = flock(&file.file, FlockOperation::Unlock);
        }
    }
}

/// A locked file that marks a request.
#[derive(Debug)]
struct MarkFile {
    path: PathBuf,
    file: File,
    /// Whether no earlier program has left it behind.
    is_new: bool,
}

impl MarkFile {
    /// Opens the file, or creates it. `None`: another program holds it.
    fn lock(path: &Path) -> io::Result<Option<Self>> {
        let mut options = File::options();
        options.read(true).write(true).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        for _ in 0..MAX_REMOVED {
            let (file, is_new) = match options.create_new(true).open(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    match options.create_new(false).open(path) {
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        opened => (opened?, false),
                    }
                }
                opened => (opened?, true),
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
            // Its holder may have removed it between opening and locking.
            if std::fs::symlink_metadata(path).ok().map(identity) == file.metadata().ok().map(identity) {
                // Root marks in the folder of the service user, who must be able to open it.
                let owner = path.parent().and_then(|folder| std::fs::metadata(folder).ok());
                if let Some(owner) = owner.filter(|_| is_new) {
                    let _ = rustix::fs::fchown(&file, Some(rustix::fs::Uid::from_raw(owner.uid())), None);
                }
                return Ok(Some(Self { path: path.to_owned(), file, is_new }));
            }
        }
        Ok(None)
    }

    fn read(&self) -> Option<Sent> {
        let mut text = String::new();
        (&self.file).take(1024).read_to_string(&mut text).ok()?;
        Sent::parse(&text)
    }

    fn write(&mut self, sent: &Sent) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(sent.to_text().as_bytes())?;
        self.file.sync_all()?;
        if self.is_new { File::open(self.path.parent().unwrap_or(&self.path))?.sync_all() } else { Ok(()) }
    }
}

/// What a mark says: when its request was sent, by a clock that cannot be set.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sent {
    /// The kernel's id of the time since the last boot.
    boot: String,
    /// Since that boot.
    at: Duration,
    /// How long the request may take.
    at_most: Duration,
}

impl Sent {
    fn to_text(&self) -> String {
        format!("{} {} {}\n", self.boot, self.at.as_millis(), self.at_most.as_millis())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.strip_suffix('\n')?.split(' ');
        let boot = words.next()?.to_owned();
        let mut time = || Some(Duration::from_millis(words.next()?.parse().ok()?));
        Some(Self { boot, at: time()?, at_most: time()? })
    }

    fn remaining(&self) -> Duration {
        self.remaining_at(&boot_id(), since_boot())
    }

    /// How long it may still take to arrive; its program is gone. Pure.
    fn remaining_at(&self, boot: &str, now: Duration) -> Duration {
        // The computer was up longer than that since, or else it takes that long from now.
        let sent = if self.boot == boot { self.at + LATEST_REPEAT } else { Duration::ZERO };
        (sent + self.at_most).saturating_sub(now).min(self.at_most)
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

fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.try_into().unwrap_or_default(), time.tv_nsec.try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const AT_MOST: Duration = Duration::from_secs(30);

    fn claim(marks: &RequestMarks) -> Result<RequestMark, Elsewhere> {
        marks.0.as_ref().unwrap().claim("a session", AT_MOST)
    }

    /// As a process that is killed: the kernel releases its locks, and nothing else happens.
    fn kill(mut mark: RequestMark) {
        for file in std::mem::take(&mut mark.files) {
            flock(&file.file, FlockOperation::Unlock).unwrap();
        }
    }

    async fn sending(mark: RequestMark) -> RequestMark {
        mark.sending().await.unwrap()
    }

    #[tokio::test]
    async fn a_request_without_an_answer_holds_the_next_program_up_for_as_long_as_it_may_take() {
        let (state, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let [both, other] = [Some(state.path().to_owned()), None]
            .map(|state| RequestMarks::new(state, vec![run.path().join("registrar")]));
        let mark = sending(claim(&both).unwrap()).await;
        assert_eq!(claim(&other).unwrap_err(), Elsewhere);
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
        let marks = RequestMarks::new(None, vec![run.path().to_owned()]);
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
        let marks = RequestMarks::new(None, vec![run.path().to_owned()]);
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
        assert!(!claim(&RequestMarks::new(None, shared)).unwrap().remaining().is_zero());
        let nothing = RequestMark::default();
        assert!(nothing.remaining().is_zero());
    }

    #[test]
    fn how_long_a_request_may_take_needs_no_clock_that_can_be_set() {
        let second = Duration::from_secs(1);
        let sent = Sent { boot: "a".into(), at: 1000 * second, at_most: AT_MOST };
        assert_eq!(Sent::parse(&sent.to_text()), Some(sent.clone()));
        // It may have been sent again, just before its program was killed.
        assert_eq!(sent.remaining_at("a", 1001 * second), AT_MOST);
        assert_eq!(sent.remaining_at("a", 1320 * second), 10 * second);
        assert_eq!(sent.remaining_at("a", 2000 * second), Duration::ZERO);
        // Sent before the computer was started.
        assert_eq!(sent.remaining_at("b", 20 * second), 10 * second);
        assert_eq!(sent.remaining_at("b", 2000 * second), Duration::ZERO);
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
}
