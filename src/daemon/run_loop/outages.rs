//! What makes all sessions wait, and what wakes them: a server that is away, a refused login, names that appear.

use std::collections::HashSet;
use std::time::Duration;

use crate::daemon::queue::outage::Verdict;
use crate::daemon::run_loop::credentials::{CredentialCheck, CredentialSource};
use crate::daemon::run_loop::{Completed, LoginRefused, Moment, Service, TaskResult, cause_prefix};
use alyx_client::{self, NextStep};
use alyx_registration::{Error, MissingName};

/// So many names are on_request for in one round, one request each.
const NAMES_A_ROUND: usize = 50;

impl Service {
    /// Asks Alyx, and looks at the secret, when that is due.
    pub(crate) fn ask_what_is_due(&mut self, now: Moment) {
        if self.probe_at.is_some_and(|at| at <= now.instant) {
            self.probe_at = None;
            let alyx = self.client.alyx().clone();
            self.ask(async move { TaskResult::Probed(alyx.ping().await) });
        }
        if let Some(refused) = &mut self.login_refused
            && refused.look_at.is_some_and(|at| at <= now.instant)
        {
            let in_any_case = refused.try_at <= now.instant;
            refused.look_at = None;
            if in_any_case {
                refused.try_at = now.instant + self.options.permanent;
            }
            self.look_at_credentials(in_any_case);
        }
        if self.names_at.is_some_and(|at| at <= now.instant) {
            self.names_at = None;
            self.ask_for_names(now);
        }
    }

    /// Runs a question on a task of its own.
    fn ask(&mut self, question: impl Future<Output = TaskResult> + Send + 'static) {
        self.asking += 1;
        let (generation, news, shutdown) = (self.generation, self.news.clone(), self.shutdown.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                answer = question => drop(news.send(Completed { generation, news: answer })),
            }
        });
    }

    /// How long the server asks to wait (`Retry-After`), at most the longest wait of the configuration: a server or
    /// proxy that asks for a year is not believed. Every wait that a server asks for comes through here.
    pub(crate) fn asked_to_wait(&self, step: NextStep) -> Option<Duration> {
        match step {
            NextStep::TryAgain { after } => after.map(|after| after.min(self.options.retry.max)),
            _ => None,
        }
    }

    /// Tries at once what all sessions wait for, a server that is away or a login that is refused: somebody has touched
    /// a flag, or typed `retry`.
    pub(crate) fn ask_at_once(&mut self, now: Moment) {
        if self.probe_at.is_some() {
            self.probe_at = Some(now.instant);
        }
        if let Some(refused) = &mut self.login_refused {
            refused.try_at = now.instant;
            if refused.look_at.is_some() {
                refused.look_at = Some(now.instant);
            }
        }
    }

    /// The server may be away. Returns whether that has been told for all sessions.
    pub(crate) fn away(&mut self, error: &Error, now: Moment) -> bool {
        let certain = matches!(error, Error::Alyx(error) if error.concerns_all());
        let after = self.asked_to_wait(error.next_step());
        if certain && !self.outage.is_on() {
            self.begins(error, after, now);
            return true;
        }
        match self.outage.failed(now.instant, certain, after, alyx_client::random()) {
            Verdict::NotYet => return false,
            // Strange answers to one session must not make the others wait.
            Verdict::Suspected => {
                self.probe_at.get_or_insert(now.instant);
                return false;
            }
            // A probe is under way or planned.
            Verdict::Begins(_) | Verdict::GoesOn(_) => {}
        }
        true
    }

    /// Alyx is away, beyond doubt.
    fn begins(&mut self, error: &Error, after: Option<Duration>, now: Moment) {
        let Verdict::Begins(at) = self.outage.failed(now.instant, true, after, alyx_client::random()) else {
            return;
        };
        // A server that comes and goes is told once an hour.
        self.away_told = self.log_throttle.is_new("away", now.instant);
        if self.away_told {
            tracing::warn!("Alyx is away: {error}. All sessions wait; nothing is lost");
        } else {
            tracing::debug!("Alyx is away: {error}");
        }
        self.away_since = Some(now.wall);
        self.probe_at = Some(at);
    }

    /// The server was on_request whether it is back.
    pub(crate) fn on_probe(&mut self, answer: Result<(), alyx_client::Error>, now: Moment) {
        match answer {
            Err(error) if error.is_outage() => {
                tracing::debug!("Alyx is still away: {error}");
                let after = self.asked_to_wait(error.next_step());
                if self.outage.is_on() {
                    if let Verdict::GoesOn(at) =
                        self.outage.failed(now.instant, true, after, alyx_client::random())
                    {
                        self.probe_at = Some(at);
                    }
                } else {
                    self.begins(&error.into(), after, now);
                }
            }
            // Any answer of Alyx itself will do; what it says about the login, the next session meets.
            _ => self.answered(now),
        }
    }

    /// Alyx has answered.
    pub(crate) fn answered(&mut self, now: Moment) {
        if let Some(length) = self.outage.answered(now.instant) {
            let length = Duration::from_secs(length.as_secs());
            if self.away_told {
                tracing::info!(?length, "Alyx is back");
            } else {
                tracing::debug!(?length, "Alyx is back");
            }
            self.probe_at = None;
            self.away_since = None;
        }
    }

    /// Without a password or token there is no reason to try.
    pub(crate) fn look_for_credentials(&mut self, now: Moment) {
        if let Some(error) = self.client.alyx().lacks_credentials() {
            self.login_refused(&error.into(), now);
        }
    }

    /// The login is refused: everything waits.
    pub(crate) fn login_refused(&mut self, error: &Error, now: Moment) {
        self.answered(now);
        if self.login_refused.is_some() {
            return;
        }
        if self.log_throttle.is_new("login", now.instant) {
            let again = if self.options.credentials.as_ref().is_some_and(CredentialSource::is_watched) {
                "it is read again as soon as it changes"
            } else {
                "then restart the daemon"
            };
            tracing::error!(
                "nothing can be registered: {error}; {again}. All sessions wait; nothing is lost"
            );
        }
        let try_at = now.instant + self.options.permanent;
        // It may have changed since it was read.
        self.login_refused = Some(LoginRefused { since: now.wall, look_at: Some(now.instant), try_at });
    }

    /// Looks whether the secret has changed, or tries the login in any case.
    pub(crate) fn look_at_credentials(&mut self, in_any_case: bool) {
        let alyx = self.client.alyx().clone();
        // Without a source the same credentials are tried once more.
        let source = self.options.credentials.clone();
        self.ask(async move {
            match source {
                Some(source) => {
                    let (source, look) = source.look(alyx, in_any_case).await;
                    TaskResult::Looked(Box::new(source), look)
                }
                None => {
                    let nothing = CredentialSource::new(None, std::sync::Arc::new(|| Err(String::new())));
                    let look = if !in_any_case {
                        CredentialCheck::Same
                    } else {
                        match alyx.ping().await {
                            Err(error) if error.next_step() == NextStep::NeedsCredentials => {
                                CredentialCheck::Refused(error.to_string())
                            }
                            _ => CredentialCheck::Accepted,
                        }
                    };
                    TaskResult::Looked(Box::new(nothing), look)
                }
            }
        });
    }

    pub(crate) fn on_credentials_checked(
        &mut self,
        source: CredentialSource,
        look: CredentialCheck,
        now: Moment,
    ) {
        let every = source.look_every;
        if let Some(kept) = &mut self.options.credentials {
            *kept = source;
        }
        let Some(refused) = &mut self.login_refused else { return };
        refused.look_at = Some((now.instant + every).min(refused.try_at).max(now.instant));
        match look {
            CredentialCheck::Same => {}
            CredentialCheck::Refused(reason) => {
                if self.log_throttle.is_new(&format!("login\n{reason}"), now.instant) {
                    tracing::error!("still nothing can be registered: {reason}");
                }
            }
            CredentialCheck::Accepted => {
                tracing::info!("the login is not refused any more; all sessions go on");
                self.log_throttle.is_over("login");
                self.login_refused = None;
            }
        }
    }

    /// Names are missing: Alyx is on_request for them now and then.
    pub(crate) fn plan_names(&mut self, missing: &[MissingName], now: Moment) {
        if !missing.is_empty() && self.names_at.is_none() {
            self.names_at = Some(now.instant + self.options.look_for_names);
        }
    }

    fn ask_for_names(&mut self, now: Moment) {
        let mut wanted: HashSet<MissingName> = HashSet::new();
        for job in self.queue.jobs().filter(|job| !job.is_running()) {
            wanted.extend(job.data.missing.iter().cloned());
        }
        if wanted.is_empty() {
            return;
        }
        self.names_at = Some(now.instant + self.options.look_for_names);
        if self.outage.is_on() || self.login_refused.is_some() {
            return;
        }
        // A set has no order, so that in the long run each has its turn.
        let wanted: Vec<MissingName> = wanted.into_iter().take(NAMES_A_ROUND).collect();
        let alyx = self.client.alyx().clone();
        self.ask(async move {
            let mut known = Vec::new();
            for missing in wanted {
                match alyx.find_member(missing.endpoint, &missing.name).await {
                    Ok(Some(_)) => known.push(missing),
                    Ok(None) => {}
                    // The next session or the next round meets it again.
                    Err(error) => {
                        tracing::debug!("asking for missing names: {error}");
                        break;
                    }
                }
            }
            TaskResult::Known(known)
        });
    }

    /// Sessions that lacked nothing but these run now.
    pub(crate) fn names_known(&mut self, names: &[MissingName], now: Moment) {
        let mut complete = Vec::new();
        for (path, state) in self.queue.all_data_mut().filter(|(_, state)| !state.missing.is_empty()) {
            state.missing.retain(|missing| !names.contains(missing));
            if state.missing.is_empty() {
                complete.push(path.to_owned());
            }
        }
        for path in complete {
            let known = format!("{}known", cause_prefix(&path));
            // Where Alyx and the registration do not agree, this comes every few minutes.
            if self.queue.make_due_now(&path, now.instant) && self.log_throttle.is_new(&known, now.instant) {
                let session = self.queue.job(&path).map(|job| job.session_name());
                tracing::info!(session, "Alyx knows now what was missing: the session runs");
            }
        }
    }
}
