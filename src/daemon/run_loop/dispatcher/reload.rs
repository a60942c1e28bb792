//! Commands, above all a new configuration: running sessions end as they began; everything else uses the new one.

use std::path::{Path, PathBuf};

use crate::daemon::clock::Moment;
use crate::daemon::log_throttle::LogThrottle;
use crate::daemon::messages::{Change, Command};
use crate::daemon::outside::ledger_writer::LedgerEntry;
use crate::daemon::run_loop::dispatcher::events::{Effect, Notification};
use crate::daemon::run_loop::dispatcher::reporting::REPORT_AGAIN;
use crate::daemon::run_loop::dispatcher::{CONFIGURATION, Dispatcher, root_paths};
use crate::daemon::run_loop::loadability::Loadability;

impl Dispatcher {
    pub(super) fn on_command(&mut self, command: Command, now: Moment) {
        match command {
            Command::Rescan => self.effects.push(Effect::Rescan),
            Command::Reloading => {
                if self.reporting.has_started() {
                    self.effects.push(Effect::Notify(Notification::Reloading));
                }
            }
            Command::Refused => {
                self.config.refused_since = Some(now.wall);
                self.notify_reloaded();
            }
            Command::Change(change) => {
                self.change(*change, now);
                self.notify_reloaded();
            }
        }
    }

    fn change(&mut self, change: Change, now: Moment) {
        let Change { client, options, what } = change;
        let same_server = self.config.client.alyx().url() == client.alyx().url();
        let earlier = self.config.replace(client, options);
        self.verify_anew();
        self.effects.push(Effect::Reconfigure { earlier_workers: earlier.workers });

        self.pauses.start_over(same_server, &mut self.reporting.throttle, now.instant);
        self.check_for_credentials(now);
        self.flags.stale_flags.set_after(self.config.options.warn_after);
        self.flags.stale_at = Some(now.instant);
        if self.config.options.configuration != earlier.configuration {
            // The new configuration most likely fixes the causes: everything is tried again, and logged again.
            self.reporting.throttle = LogThrottle::new(REPORT_AGAIN);
            self.flags.queue.retry_now(now.instant);
            for row in self.flags.restored.values_mut() {
                row.next = now.wall;
            }
            let configuration = self.config.options.configuration.clone();
            self.write(LedgerEntry::Fact(CONFIGURATION, configuration));
        }
        if self.config.options.configuration != earlier.configuration
            || self.config.options.roots != earlier.roots
        {
            self.loadability = Loadability::of(&self.config.options);
        }
        if self.config.options.roots != earlier.roots
            || self.config.options.watch != earlier.watch
            || self.config.options.skip_subjects != earlier.skip_subjects
        {
            self.flags.queue.set_roots(root_paths(&self.config.options));
            self.remove_what_is_not_watched();
            let roots = &self.config.options.roots;
            self.looks.retain(|root, _| roots.iter().any(|watched| watched.path == root));
            let known = self.flags.queue.jobs().map(|job| job.path.to_owned()).collect();
            self.effects.push(Effect::Rewatch(known));
            self.reporting.obstacles.clear();
            self.reporting.roots_changed(&self.config.options.roots);
        }
        if self.config.options.follow != earlier.follow {
            self.set_follows(now);
        }
        tracing::info!(changed = what, "the new configuration is in effect");
    }

    /// Removes the flags below no data root, and those of subjects that are skipped.
    fn remove_what_is_not_watched(&mut self) {
        let jobs = self.flags.queue.jobs().map(|job| job.path);
        let is_gone = |flag: &&Path| !self.config.is_watched(flag) || self.config.skipped(flag).is_some();
        let gone: Vec<PathBuf> = jobs.filter(is_gone).map(Path::to_owned).collect();
        for flag in gone {
            self.remove_flag(&flag);
        }
    }
}
