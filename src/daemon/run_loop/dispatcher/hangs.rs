//! Hangs: the data roots whose disks do not answer. What hangs costs its own data root; it is reported, and ends when the
//! disk answers again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::daemon::clock::Moment;
use crate::daemon::status::ObstacleStatus;
use alyx_registration::{DiskSteps, OpenStep};

/// The data roots whose disks do not answer.
#[derive(Debug)]
pub(crate) struct Hangs {
    steps: Arc<DiskSteps>,
    /// By data root, the call that has hung for longest.
    hanging: BTreeMap<PathBuf, OpenStep>,
    /// When the next call may have hung for too long.
    next: Option<Instant>,
}

impl Hangs {
    pub(crate) fn new() -> Self {
        Self { steps: Arc::default(), hanging: BTreeMap::new(), next: None }
    }

    /// The calls to the file system of all tasks.
    pub(crate) fn steps(&self) -> Arc<DiskSteps> {
        Arc::clone(&self.steps)
    }

    pub(crate) fn next_wake(&self) -> Option<Instant> {
        self.next
    }

    /// Looks at the calls that have not returned, and logs the data roots in which one begins or ceases to hang: without
    /// progress for `patience`. Returns whether there are any.
    pub(crate) fn check(
        &mut self,
        root_of: impl Fn(&Path) -> PathBuf,
        patience: Duration,
        now: Instant,
    ) -> bool {
        let open = self.steps.without_progress(Duration::ZERO, now);
        let (hanging, others): (Vec<OpenStep>, Vec<OpenStep>) =
            open.into_iter().partition(|step| now.saturating_duration_since(step.since) >= patience);
        self.next = others.first().map(|step| step.since + patience);
        let mut by_root: BTreeMap<PathBuf, OpenStep> = BTreeMap::new();
        for step in hanging {
            by_root.entry(root_of(&step.path)).or_insert(step);
        }
        let earlier = std::mem::replace(&mut self.hanging, by_root);
        let mut changed = false;
        for (root, step) in self.hanging.iter().filter(|(root, _)| !earlier.contains_key(*root)) {
            changed = true;
            tracing::warn!(root = %root.display(), "{step}");
        }
        for root in earlier.keys().filter(|root| !self.hanging.contains_key(*root)) {
            changed = true;
            tracing::info!(root = %root.display(), "the disk of this data root answers again");
        }
        changed
    }

    /// For display.
    pub(crate) fn status(&self, now: Moment) -> Vec<ObstacleStatus> {
        let one = |(root, step): (&PathBuf, &OpenStep)| ObstacleStatus {
            root: root.to_string_lossy().into_owned(),
            since: Some(now.wall - now.instant.saturating_duration_since(step.since)),
            text: step.to_string(),
        };
        self.hanging.iter().map(one).collect()
    }
}
