//! A new configuration for the running service. What runs ends as it began; everything else goes by the new one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::daemon::log_throttle::LogThrottle;
use crate::daemon::messages::{Change, Command};
use crate::daemon::options::Options;
use crate::daemon::outside::ledger_writer::LedgerEntry;
use crate::daemon::run_loop::persistence::CONFIGURATION;
use crate::daemon::run_loop::watcher_handle::WatcherHandle;
use crate::daemon::run_loop::{Moment, Service, TELL_AGAIN};
use alyx_registration::flagged::FlaggedOptions;

impl Service {
    pub(crate) fn on_command(&mut self, order: Command, watching: &mut WatcherHandle, now: Moment) {
        self.mark_status_dirty();
        match order {
            Command::Rescan => watching.rescan(),
            Command::Reloading => self.tell_reloading(),
            Command::Refused => {
                self.refused_since = Some(now.wall);
                self.tell_reloaded();
            }
            Command::Change(change) => {
                self.refused_since = None;
                self.change(*change, watching, now);
                self.tell_reloaded();
            }
        }
    }

    fn change(&mut self, change: Change, watching: &mut WatcherHandle, now: Moment) {
        let Change { client, mut options, what } = change;
        self.generation += 1;
        options.ledger = self.options.ledger.take();
        let earlier = std::mem::replace(&mut self.options, options);
        let same_server = self.client.alyx().url() == client.alyx().url();
        self.client = client;
        self.set_workers(earlier.workers);
        let known = self.flagged.files.known.take();
        self.flagged = flagged(&self.options, &self.at_alyx);
        if self.flagged.files.known.is_none() {
            self.flagged.files.known = known;
        }

        self.ask_anew(same_server, now);
        self.old_flags.set_after(self.options.warn_after);
        self.old_at = Some(now.instant);
        if self.options.configuration != earlier.configuration {
            // Most likely somebody has mended what was wrong, and wants to see whether it helped.
            self.log_throttle = LogThrottle::new(TELL_AGAIN);
            self.queue.retry_now(now.instant);
            for row in self.restored.values_mut() {
                row.next = now.wall;
            }
            self.write_down(LedgerEntry::Fact(CONFIGURATION, self.options.configuration.clone()));
        }
        if self.options.roots != earlier.roots || self.options.watch != earlier.watch {
            self.remove_what_is_not_watched();
            let known = self.queue.jobs().map(|job| job.path.to_owned()).collect();
            watching.exchange(known, &self.options);
            self.obstacles.forget();
            self.roots_changed();
        }
        tracing::info!(changed = what, "the new configuration counts from now on");
    }

    /// What made all sessions wait is on_credentials_checked at with the new client.
    fn ask_anew(&mut self, same_server: bool, now: Moment) {
        if !same_server {
            self.outage = crate::daemon::run_loop::no_outage();
            (self.away_since, self.away_told, self.probe_at) = (None, false, None);
            self.log_throttle.is_over("away");
        } else if self.outage.is_on() {
            self.probe_at = Some(now.instant);
        }
        self.login_refused = None;
        self.log_throttle.is_over("login");
        self.look_for_credentials(now);
    }

    /// So many sessions are busy at Alyx at once as the options say now. Of fewer, those that are busy end first.
    fn set_workers(&mut self, earlier: usize) {
        let (earlier, now) = (earlier.max(1), self.options.workers.max(1));
        self.at_alyx.add_permits(now.saturating_sub(earlier));
        let fewer = u32::try_from(earlier.saturating_sub(now)).unwrap_or(u32::MAX);
        if fewer > 0 {
            let at_alyx = Arc::clone(&self.at_alyx);
            // Not among the tasks that are waited for at the end.
            tokio::spawn(async move {
                if let Ok(permits) = at_alyx.acquire_many_owned(fewer).await {
                    permits.forget();
                }
            });
        }
    }

    /// Whether a flag lies in a data root, and has a name, of the present configuration.
    pub(crate) fn is_watched(&self, flag: &Path) -> bool {
        let Options { roots, watch, .. } = &self.options;
        watch.flags.iter().any(|name| flag.ends_with(name))
            && roots.iter().any(|root| flag.starts_with(root.whole_path()))
    }

    fn remove_what_is_not_watched(&mut self) {
        let jobs = self.queue.jobs().map(|job| job.path);
        let gone: Vec<PathBuf> = jobs.filter(|flag| !self.is_watched(flag)).map(Path::to_owned).collect();
        for flag in gone {
            self.remove_flag(&flag);
        }
    }
}

/// How sessions are registered, with what the daemon adds.
pub(crate) fn flagged(options: &Options, at_alyx: &Arc<Semaphore>) -> FlaggedOptions {
    FlaggedOptions { settle: options.settle, at_alyx: Some(Arc::clone(at_alyx)), ..options.flagged.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn fewer_workers_are_reached_as_sessions_end_and_more_at_once() {
        let mut service = Service::example();
        let at_alyx = Arc::clone(&service.at_alyx);
        let mut set = async |workers| {
            let earlier = std::mem::replace(&mut service.options.workers, workers);
            service.set_workers(earlier);
            // Whoever takes permits away is in the row now.
            tokio::task::yield_now().await;
        };
        let busy =
            [at_alyx.clone().try_acquire_owned().unwrap(), at_alyx.clone().try_acquire_owned().unwrap()];
        set(1).await;
        drop(busy);
        tokio::task::yield_now().await;
        assert_eq!(at_alyx.available_permits(), 1);
        set(5).await;
        assert_eq!(at_alyx.available_permits(), 5);
        set(2).await;
        assert_eq!(at_alyx.available_permits(), 2);
    }
}
