//! The worker: runs one job once, and returns how it ended.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::daemon::queue::Job;
use crate::daemon::queue::folder_locks::FolderLocks;
use crate::daemon::tree::root::{FolderIdentity, FolderStamp};
use alf::SessionPath;
use alyx_client::text::printable;
use alyx_registration::flag::FlagFile;
use alyx_registration::flagged::Registered;
use alyx_registration::{Error, FlaggedOptions, Progress, RegistrationClient};

/// Delay before the first progress line; doubles after each.
const FIRST_PROGRESS: Duration = Duration::from_secs(30);
/// The longest delay between progress lines.
const MAX_PROGRESS_WAIT: Duration = Duration::from_secs(3600);

/// The result of one run of a job.
#[derive(Debug)]
pub struct Attempt {
    /// The flag.
    pub flag: PathBuf,
    /// `subject/date/number` if the flag is in a session folder, the folder otherwise.
    pub session: String,
    /// Number of this attempt, counted from 1.
    pub attempt: u32,
    /// How long it took.
    pub took: Duration,
    /// The session folder at the end of a failed run, if it could be seen.
    pub folder: Option<FolderStamp>,
    /// How the run ended.
    pub result: AttemptResult,
}

/// How a run ended.
#[derive(Debug)]
pub enum AttemptResult {
    /// The session and its datasets are confirmed.
    Registered(Box<Registered>),
    /// The flag no longer existed when the run started.
    Gone,
    /// The daemon is stopping.
    Stopped,
    /// The session is larger than the place in which it ran allows. Nothing was done.
    TooLarge,
    /// The run failed; the flag still exists.
    Failed(Error),
}

/// The name of a session in logs.
pub fn session_name(folder: &Path) -> String {
    SessionPath::parse(folder).map_or_else(|_| printable(&folder.to_string_lossy()), |s| s.to_string())
}

/// Runs a job once. A panic counts as a failure of this job alone. A session of `at_most` bytes or more is not registered.
pub async fn run(
    client: RegistrationClient,
    job: Job,
    options: FlaggedOptions,
    folders: Arc<FolderLocks>,
    at_most: Option<u64>,
    shutdown: CancellationToken,
) -> Attempt {
    let started = Instant::now();
    let flag = job.flag.path.clone();
    let session = job.session_name();
    let progress = Arc::clone(&client.context().progress);
    let work = async {
        let mut once = std::pin::pin!(once(&client, &job, &options, &folders));
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = log_progress(&session, &progress) => {}
            () = is_too_large(&progress, at_most) => return AttemptResult::TooLarge,
            result = &mut once => return result,
        }
        // A session whose flag is removed has an outcome, and is looked at once more.
        if progress.is_ending.load(Ordering::Relaxed) { once.await } else { AttemptResult::Stopped }
    };
    let result = AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        AttemptResult::Failed(Error::Internal(text))
    });
    let folder = match &result {
        AttemptResult::Failed(_) => {
            let folder = job.flag.session_folder().to_owned();
            tokio::select! {
                () = shutdown.cancelled() => None,
                stamp = blocking(&progress, &folder, FolderStamp::load) => stamp.ok().flatten(),
            }
        }
        _ => None,
    };
    Attempt { flag, session, attempt: job.attempt, took: started.elapsed(), folder, result }
}

/// Returns once the session turns out to have `at_most` bytes or more.
async fn is_too_large(progress: &Progress, at_most: Option<u64>) {
    match at_most {
        Some(at_most) if progress.listed().await >= at_most => {}
        _ => std::future::pending().await,
    }
}

/// Looks at a path on a thread of its own: on a dead share that may hang.
async fn blocking<T: Send + 'static>(
    progress: &Progress,
    path: &Path,
    look: impl FnOnce(&Path) -> T + Send + 'static,
) -> Result<T, Error> {
    let (steps, path) = (Arc::clone(&progress.steps), path.to_owned());
    let look = move || {
        let _step = steps.begin("looking at", &path);
        look(&path)
    };
    tokio::task::spawn_blocking(look).await.map_err(|e| Error::Internal(format!("looking at a flag: {e}")))
}

async fn once(
    client: &RegistrationClient,
    job: &Job,
    options: &FlaggedOptions,
    folders: &FolderLocks,
) -> AttemptResult {
    // The folder may have another path in another root; an unreadable folder fails below.
    let progress = &client.context().progress;
    let _inside = match blocking(progress, job.flag.session_folder(), FolderIdentity::load).await {
        Ok(Ok(identity)) => Some(folders.lock(identity).await),
        Ok(Err(_)) | Err(_) => None,
    };
    // Loaded again: the stamp that removal compares must not be older than the run.
    let flag = match blocking(progress, &job.flag.path, |path| FlagFile::load(path)).await {
        Ok(Ok(Some(flag))) => flag,
        Ok(Ok(None)) => return AttemptResult::Gone,
        Ok(Err(error)) => return AttemptResult::Failed(error.into()),
        Err(error) => return AttemptResult::Failed(error),
    };
    let session = match &job.session {
        Ok(session) => session,
        Err(error) => return AttemptResult::Failed(error.clone().into()),
    };
    match client.register_flagged(flag, session, options).await {
        Ok(registered) => AttemptResult::Registered(Box::new(registered)),
        // Another program registered the session first.
        Err(Error::Vanished { path }) if path == job.flag.path => AttemptResult::Gone,
        Err(error) => AttemptResult::Failed(error),
    }
}

/// Never returns; logs the progress of a long run from time to time.
async fn log_progress(session: &str, progress: &Progress) {
    let (mut last, mut wait) = (0, FIRST_PROGRESS);
    loop {
        tokio::time::sleep(wait).await;
        wait = (2 * wait).min(MAX_PROGRESS_WAIT);
        let bytes = progress.bytes_done.load(Ordering::Relaxed);
        if bytes != last {
            let files = progress.files_done.load(Ordering::Relaxed);
            let of = progress.files.load(Ordering::Relaxed);
            tracing::info!(session, files, of, bytes, "reading files");
            last = bytes;
        }
    }
}
