//! The configuration in use.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::daemon::options::Options;
use alf::SessionPath;
use alyx_client::NextStep;
use alyx_registration::RegistrationClient;

/// The configuration in use, and its generation.
#[derive(Debug)]
pub(crate) struct Config {
    /// Used here for its address and counters; only the shell sends requests with it.
    pub(crate) client: RegistrationClient,
    pub(crate) options: Options,
    /// Number of the configuration. The result of a task from an earlier generation is not trusted.
    pub(crate) generation: u64,
    /// When an invalid configuration was last found on disk.
    pub(crate) refused_since: Option<Timestamp>,
    /// A random number from 0 to 1, for back-off.
    pub(crate) random: fn() -> f64,
}

impl Config {
    pub(crate) fn new(client: RegistrationClient, options: Options, random: fn() -> f64) -> Self {
        Self { client, options, generation: 0, refused_since: None, random }
    }

    /// Replaces the configuration, and returns the earlier options. The ledger stays.
    pub(crate) fn replace(&mut self, client: RegistrationClient, mut options: Options) -> Options {
        self.generation += 1;
        self.refused_since = None;
        options.ledger = self.options.ledger.take();
        self.client = client;
        std::mem::replace(&mut self.options, options)
    }

    /// Whether the current configuration watches a flag: its data root and its name.
    pub(crate) fn is_watched(&self, flag: &Path) -> bool {
        let Options { roots, watch, .. } = &self.options;
        watch.flags.iter().any(|name| flag.ends_with(name))
            && roots.iter().any(|root| flag.starts_with(root.absolute_path()))
    }

    /// The session of a flag that is left alone, because of its subject.
    pub(crate) fn skipped(&self, flag: &Path) -> Option<String> {
        let session = SessionPath::parse(flag.parent()?).ok()?;
        let is_skipped = self.options.skip_subjects.iter().any(|subject| subject == session.subject());
        is_skipped.then(|| session.to_string())
    }

    /// The data root of a flag or a session.
    pub(crate) fn root_of(&self, path: &Path) -> Option<&Path> {
        self.options.roots.iter().map(|root| root.path.as_path()).find(|root| path.starts_with(root))
    }

    /// The wait before the next attempt.
    pub(crate) fn retry_delay(&self, attempt: u32) -> Duration {
        self.options.retry.delay(attempt, (self.random)())
    }

    /// The server's `Retry-After`, at most the longest wait of the configuration: a server or proxy that asks for a
    /// year is not trusted. Use this for every wait that a server asks for.
    pub(crate) fn retry_after(&self, step: NextStep) -> Option<Duration> {
        match step {
            NextStep::TryAgain { after } => after.map(|after| after.min(self.options.retry.max())),
            _ => None,
        }
    }
}
