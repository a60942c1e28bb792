//! Files and folders that do not answer, named while a scan waits for them.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Instant;

use crate::cli::scan::scan_roots::{HANGS_AFTER, LOOK_EVERY, SLOW_AFTER};
use alyx_registration::{DiskSteps, OpenStep};

/// Never returns; logs each file and folder that does not answer.
pub(super) async fn name_hangs(steps: &DiskSteps) {
    let mut named = Named::default();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let (slow, hanging) = named.look(steps, Instant::now());
        for step in slow {
            let seconds = SLOW_AFTER.as_secs();
            tracing::info!(
                "waiting for the disk: {} {:?} has not ended for {seconds} s",
                step.doing,
                step.path
            );
        }
        for step in hanging {
            tracing::warn!("{step}");
        }
    }
}

/// The files and folders that were logged.
#[derive(Default)]
struct Named {
    slow: HashSet<PathBuf>,
    hanging: HashSet<PathBuf>,
}

impl Named {
    /// What is to be logged now, each path once as slow and once as hanging.
    fn look(&mut self, steps: &DiskSteps, now: Instant) -> (Vec<OpenStep>, Vec<OpenStep>) {
        let hanging: Vec<OpenStep> = steps.without_progress(HANGS_AFTER, now);
        let slow = steps.without_progress(SLOW_AFTER, now).into_iter();
        let slow = slow.filter(|step| !hanging.contains(step) && self.slow.insert(step.path.clone()));
        let slow = slow.collect();
        (slow, hanging.into_iter().filter(|step| self.hanging.insert(step.path.clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_does_not_answer_is_named_once_as_slow_and_once_as_hanging() {
        let steps = Arc::new(DiskSteps::default());
        let _listing = steps.begin("listing", Path::new("/share/x"));
        let (mut named, began) = (Named::default(), Instant::now());
        let mut look = |seconds| {
            let (slow, hanging) = named.look(&steps, began + Duration::from_secs(seconds));
            (slow.len(), hanging.len())
        };
        assert_eq!([1, 6, 7, 61, 62].map(&mut look), [(0, 0), (1, 0), (0, 0), (0, 1), (0, 0)]);
    }
}
