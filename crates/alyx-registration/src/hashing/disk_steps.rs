//! Disk steps: calls to the file system that have not returned yet, so that one that hangs can be named.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The calls to the file system that have not returned yet. On a dead network drive they may never return.
#[derive(Debug, Default)]
pub struct DiskSteps(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    begun: u64,
    open: BTreeMap<u64, OpenStep>,
}

/// A call that has not returned yet. In words: that it hangs, the same for as long as it does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the disk does not answer: {doing} {path:?} hangs; the sessions of its data root wait, all others continue; check the \
     disk or network drive"
)]
pub struct OpenStep {
    /// What it does: `reading`, `listing` …
    pub doing: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// When it began, or last made progress.
    pub since: Instant,
}

/// A step in progress. Dropping it ends it.
#[derive(Debug)]
pub struct DiskStep {
    steps: Arc<DiskSteps>,
    number: u64,
}

impl DiskSteps {
    /// Begins a step.
    pub fn begin(self: &Arc<Self>, doing: &'static str, path: &Path) -> DiskStep {
        let mut state = self.state();
        state.begun += 1;
        let number = state.begun;
        state.open.insert(number, OpenStep { doing, path: path.to_owned(), since: Instant::now() });
        DiskStep { steps: Arc::clone(self), number }
    }

    /// The steps without progress for this long, the oldest first.
    pub fn without_progress(&self, patience: Duration, now: Instant) -> Vec<OpenStep> {
        let state = self.state();
        let hangs = |step: &&OpenStep| now.saturating_duration_since(step.since) >= patience;
        let mut steps: Vec<OpenStep> = state.open.values().filter(hangs).cloned().collect();
        steps.sort_by(|a, b| a.since.cmp(&b.since).then_with(|| a.path.cmp(&b.path)));
        steps
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiskStep {
    /// The step makes progress.
    pub fn touch(&self) {
        if let Some(step) = self.steps.state().open.get_mut(&self.number) {
            step.since = Instant::now();
        }
    }
}

impl Drop for DiskStep {
    fn drop(&mut self) {
        self.steps.state().open.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_hangs_until_it_makes_progress_or_ends() {
        let steps = Arc::new(DiskSteps::default());
        let minute = Duration::from_secs(60);
        let reading = steps.begin("reading", Path::new("/a/x"));
        let listing = steps.begin("listing", Path::new("/b"));
        let later = Instant::now() + minute;
        assert!(steps.without_progress(minute, later - minute).is_empty());
        let hanging = steps.without_progress(minute, later);
        assert_eq!(hanging.iter().map(|step| step.doing).collect::<Vec<_>>(), ["reading", "listing"]);
        assert_eq!(hanging[0].path, Path::new("/a/x"));
        while Instant::now() < later - minute + Duration::from_millis(1) {}
        listing.touch();
        drop(reading);
        assert!(steps.without_progress(minute, later).is_empty());
        assert_eq!(steps.without_progress(minute, later + minute).len(), 1);
    }
}
