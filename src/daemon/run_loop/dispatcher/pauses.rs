//! Pauses: what makes all sessions wait, and what ends it: an outage, a refused login, names that Alyx does not know.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::daemon::clock::Moment;
use crate::daemon::log_throttle::LogThrottle;
use crate::daemon::queue::outage::{Outage, OutageChange};
use crate::daemon::run_loop::credentials::CredentialCheck;
use crate::daemon::run_loop::dispatcher::config::Config;
use alyx_client::backoff::Backoff;
use alyx_registration::Error;

/// A refused login.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoginRefused {
    pub(crate) since: Timestamp,
    /// When to check the file of the secret; `None` while a check is running.
    pub(crate) check_at: Option<Instant>,
    /// When to try the login in any case.
    pub(crate) try_at: Instant,
}

/// What makes all sessions wait.
#[derive(Debug)]
pub(crate) struct Pauses {
    pub(crate) outage: Outage,
    pub(crate) away_since: Option<Timestamp>,
    /// The end of an outage is logged only if its start was.
    outage_logged: bool,
    /// When to probe the server.
    pub(crate) probe_at: Option<Instant>,
    pub(crate) login_refused: Option<LoginRefused>,
    /// When to query Alyx for missing names.
    pub(crate) names_at: Option<Instant>,
}

impl Pauses {
    /// No pauses.
    pub(crate) fn new() -> Self {
        Self {
            outage: no_outage(),
            away_since: None,
            outage_logged: false,
            probe_at: None,
            login_refused: None,
            names_at: None,
        }
    }

    /// Whether sessions wait for Alyx or for the login.
    pub(crate) fn is_active(&self) -> bool {
        self.outage.is_active() || self.login_refused.is_some()
    }

    /// When the next query is due.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let check = self.login_refused.and_then(|refused| refused.check_at);
        [self.probe_at, check, self.names_at].into_iter().flatten().min()
    }

    /// Whether a probe is due. If so, it counts as sent.
    pub(crate) fn take_probe(&mut self, now: Instant) -> bool {
        self.probe_at.take_if(|at| *at <= now).is_some()
    }

    /// Whether a check of the credentials is due, and whether to try the login in any case. If due, it counts as sent.
    pub(crate) fn take_check(&mut self, permanent: Duration, now: Instant) -> Option<bool> {
        let refused = self.login_refused.as_mut()?;
        refused.check_at.take_if(|at| *at <= now)?;
        let force = refused.try_at <= now;
        if force {
            refused.try_at = now + permanent;
        }
        Some(force)
    }

    /// Whether a query for missing names is due. If so, it counts as sent.
    pub(crate) fn take_names(&mut self, now: Instant) -> bool {
        self.names_at.take_if(|at| *at <= now).is_some()
    }

    /// Plans a query for missing names.
    pub(crate) fn plan_names(&mut self, every: Duration, now: Instant) {
        self.names_at.get_or_insert(now + every);
    }

    /// Sends pending probes and login checks at once: a flag was touched, or `retry` was requested.
    pub(crate) fn query_at_once(&mut self, now: Instant) {
        if self.probe_at.is_some() {
            self.probe_at = Some(now);
        }
        if let Some(refused) = &mut self.login_refused {
            refused.try_at = now;
            if refused.check_at.is_some() {
                refused.check_at = Some(now);
            }
        }
    }

    /// A session failed in a way that may concern the whole server. Returns whether the failure was logged for all
    /// sessions.
    pub(crate) fn session_failed(
        &mut self,
        error: &Error,
        config: &Config,
        throttle: &mut LogThrottle,
        now: Moment,
    ) -> bool {
        let certain = matches!(error, Error::Alyx(error) if error.concerns_all());
        let after = config.retry_after(error.next_step());
        if certain && !self.outage.is_active() {
            self.begin_outage(error, after, (config.random)(), throttle, now);
            return true;
        }
        match self.outage.failed(now.instant, certain, after, (config.random)()) {
            OutageChange::NotYet => false,
            // Suspicious answers to one session must not make the others wait.
            OutageChange::Suspected => {
                self.probe_at.get_or_insert(now.instant);
                false
            }
            // A probe is running or planned.
            OutageChange::Begins(_) | OutageChange::Continues(_) => true,
        }
    }

    /// Starts an outage: Alyx is certainly down.
    fn begin_outage(
        &mut self,
        error: &Error,
        after: Option<Duration>,
        random: f64,
        throttle: &mut LogThrottle,
        now: Moment,
    ) {
        let OutageChange::Begins(at) = self.outage.failed(now.instant, true, after, random) else {
            return;
        };
        // A server that comes and goes is logged once an hour.
        self.outage_logged = throttle.should_log("away", now.instant);
        if self.outage_logged {
            tracing::warn!("Alyx does not answer: {error}. All sessions wait; nothing is lost");
        } else {
            tracing::debug!("Alyx does not answer: {error}");
        }
        self.away_since = Some(now.wall);
        self.probe_at = Some(at);
    }

    /// Handles the result of a probe.
    pub(crate) fn on_probe(
        &mut self,
        answer: Result<(), alyx_client::Error>,
        config: &Config,
        throttle: &mut LogThrottle,
        now: Moment,
    ) {
        match answer {
            Err(error) if error.is_outage() => {
                tracing::debug!("Alyx still does not answer: {error}");
                let after = config.retry_after(error.next_step());
                let random = (config.random)();
                if !self.outage.is_active() {
                    self.begin_outage(&error.into(), after, random, throttle, now);
                } else if let OutageChange::Continues(at) =
                    self.outage.failed(now.instant, true, after, random)
                {
                    self.probe_at = Some(at);
                }
            }
            // Any answer of Alyx ends the outage; the next session handles a refused login.
            _ => self.answered(now),
        }
    }

    /// Alyx has answered.
    pub(crate) fn answered(&mut self, now: Moment) {
        if let Some(length) = self.outage.answered(now.instant) {
            let length = Duration::from_secs(length.as_secs());
            if self.outage_logged {
                tracing::info!(?length, "Alyx is back");
            } else {
                tracing::debug!(?length, "Alyx is back");
            }
            self.probe_at = None;
            self.away_since = None;
        }
    }

    /// The login is refused: all sessions wait.
    pub(crate) fn refuse_login(
        &mut self,
        error: &Error,
        config: &Config,
        throttle: &mut LogThrottle,
        now: Moment,
    ) {
        self.answered(now);
        if self.login_refused.is_some() {
            return;
        }
        if throttle.should_log("login", now.instant) {
            let is_watched = config.options.credentials.as_ref().is_some_and(|source| source.is_watched());
            let again =
                if is_watched { "it is read again as soon as it changes" } else { "then restart the daemon" };
            tracing::error!(
                "nothing can be registered: {error}; {again}. All sessions wait; nothing is lost"
            );
        }
        let try_at = now.instant + config.options.permanent;
        // The secret may have changed since it was read.
        self.login_refused = Some(LoginRefused { since: now.wall, check_at: Some(now.instant), try_at });
    }

    /// Handles the result of a check of the credentials. The next one is due after `every`.
    pub(crate) fn on_credentials_checked(
        &mut self,
        every: Duration,
        check: CredentialCheck,
        throttle: &mut LogThrottle,
        now: Moment,
    ) {
        let Some(refused) = &mut self.login_refused else { return };
        refused.check_at = Some((now.instant + every).min(refused.try_at).max(now.instant));
        match check {
            CredentialCheck::Same => {}
            CredentialCheck::Refused(reason) => {
                if throttle.should_log(&format!("login\n{reason}"), now.instant) {
                    tracing::error!("still nothing can be registered: {reason}");
                }
            }
            CredentialCheck::Accepted => {
                tracing::info!("the login is accepted again; all sessions continue");
                throttle.reset("login");
                self.login_refused = None;
            }
        }
    }

    /// The configuration has changed: what made all sessions wait is queried again.
    pub(crate) fn start_over(&mut self, same_server: bool, throttle: &mut LogThrottle, now: Instant) {
        if !same_server {
            *self = Self { names_at: self.names_at, ..Self::new() };
            throttle.reset("away");
        } else if self.outage.is_active() {
            self.probe_at = Some(now);
        }
        self.login_refused = None;
        throttle.reset("login");
    }
}

/// No outage, with the back-off of its probes.
fn no_outage() -> Outage {
    const PROBES: Backoff = Backoff::constant(Duration::from_secs(2), 2.0, Duration::from_secs(60));
    Outage::new(PROBES)
}
