//! Reload: reads the configuration again while the daemon runs (SIGHUP, `systemctl reload`).

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::cli::logging;
use crate::cli::service::verification::verification;
use crate::cli::service::wiring;
use crate::cli::service::wiring::Origin;
use crate::config::{Config, DataRoot};
use crate::daemon;
use crate::daemon::outside::signals::SignalRequest;
use crate::daemon::tree::lock::StateLock;
use crate::daemon::tree::root_locks::{Held, RootLocks};
use crate::daemon::{Change, Command};
use alyx_registration::RegistrationClient;

/// How long reading the configuration may take before a warning.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often the lock files are looked for on disk: they may be deleted with the state folder, and would keep no other
/// registrar away.
const CHECK_LOCKS_EVERY: Duration = Duration::from_secs(1);

/// The configuration in use, with the objects made from it.
#[derive(Debug)]
pub(crate) struct ActiveConfig {
    /// `None` without a file that can be read again.
    pub(crate) origin: Option<Origin>,
    pub(crate) config: Config,
    pub(crate) client: RegistrationClient,
    pub(crate) locks: Arc<RootLocks>,
    /// The locks of earlier configurations. A session keeps the locks of the configuration under which it began.
    pub(crate) earlier_locks: Vec<Weak<RootLocks>>,
    /// The lock on the state folder.
    pub(crate) state: Arc<StateLock>,
}

/// Turns signals into commands for the daemon, until the daemon ends.
pub(crate) async fn send_commands(
    mut active: ActiveConfig,
    mut asked: mpsc::UnboundedReceiver<SignalRequest>,
    commands: mpsc::UnboundedSender<Command>,
) {
    let mut check = tokio::time::interval(CHECK_LOCKS_EVERY);
    let mut is_contested = false;
    loop {
        let what = tokio::select! {
            what = asked.recv() => what,
            _ = check.tick() => {
                is_contested = active.restore_locks(is_contested).await;
                continue;
            }
        };
        let Some(what) = what else { return };
        let mut wanted = what == SignalRequest::Reload;
        if !wanted {
            rescan(&commands);
        }
        while wanted {
            tracing::info!("reading the configuration again on SIGHUP");
            let _ = commands.send(Command::Reloading);
            let read;
            (read, wanted) = read_again(active, &mut asked, &commands).await;
            let change;
            (active, change) = match read {
                Ok(read) => read,
                Err(error) => {
                    tracing::error!("the configuration cannot be read again: {error}; restart the daemon");
                    let _ = commands.send(Command::Refused);
                    return;
                }
            };
            let _ = commands.send(match change {
                Ok(change) => Command::Change(Box::new(change)),
                Err(reasons) => {
                    for reason in reasons {
                        tracing::error!("{reason}");
                    }
                    tracing::error!(
                        "the new configuration is not used; the current configuration stays in use"
                    );
                    Command::Refused
                }
            });
        }
    }
}

fn rescan(commands: &mpsc::UnboundedSender<Command>) {
    tracing::info!("scanning all data roots on SIGUSR1");
    let _ = commands.send(Command::Rescan);
}

type Read = (ActiveConfig, Result<Change, Vec<String>>);

/// Reads the configuration once. Its file may be on a drive that does not respond, so further signals are handled in the
/// meantime. Returns true if another reload was requested.
async fn read_again(
    mut active: ActiveConfig,
    asked: &mut mpsc::UnboundedReceiver<SignalRequest>,
    commands: &mpsc::UnboundedSender<Command>,
) -> (Result<Read, tokio::task::JoinError>, bool) {
    let mut reading = tokio::task::spawn_blocking(move || {
        let change = active.reload();
        (active, change)
    });
    let patience = tokio::time::sleep(PATIENCE);
    tokio::pin!(patience);
    let (mut once_more, mut warned) = (false, false);
    loop {
        tokio::select! {
            read = &mut reading => return (read, once_more),
            Some(what) = asked.recv() => match what {
                SignalRequest::Rescan => rescan(commands),
                SignalRequest::Reload => once_more = true,
            },
            () = &mut patience, if !warned => {
                warned = true;
                tracing::warn!(
                    "reading the configuration or password file hangs, perhaps on an unreachable network drive; the \
                     current configuration stays in use"
                );
            }
        }
    }
}

impl ActiveConfig {
    /// Reads the configuration again.
    ///
    /// # Errors
    /// The reasons why it cannot be used. Nothing has changed in that case.
    fn reload(&mut self) -> Result<Change, Vec<String>> {
        let Some(origin) = &self.origin else {
            return Err(vec!["this daemon runs without a configuration file".to_owned()]);
        };
        let config = origin.load();
        let mut config =
            config.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        self.keep_what_cannot_change(&mut config).map_err(|why| vec![why])?;
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }

        let source = wiring::credential_source(&config);
        let active = self.client.alyx().credentials();
        let credentials = match config.alyx.credentials.load(config.alyx.username.as_deref()) {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    tracing::warn!("{warning}");
                }
                loaded.credentials
            }
            // The source is the same: the daemon reads it again anyway when Alyx refuses the login.
            Err(error) if config.alyx.credentials == self.config.alyx.credentials => {
                tracing::warn!("{error}; the current credentials stay in use");
                active.clone()
            }
            Err(error) => return Err(vec![error.to_string()]),
        };
        let locks = wiring::lock_roots(&config, &self.held()).map_err(|error| vec![error.to_string()])?;
        let mut what = differences(&self.config, &config);
        if !active.is_same(&credentials) {
            what.push("password or token");
        }
        let (token_folder, observer) =
            (wiring::token_folder(&config.state_dir), self.client.alyx().observer());
        let alyx = wiring::client_options(&config, credentials, token_folder, observer);
        let alyx = alyx_client::Client::replacing(alyx, self.client.alyx());
        let alyx = alyx.map_err(|error| vec![error.to_string()])?;

        // Nothing below can fail, so the configuration is never half applied.
        let registration = wiring::registration_options(&config);
        self.client = RegistrationClient::in_place_of(alyx, registration, &self.client);
        self.earlier_locks.retain(|locks| locks.strong_count() > 0);
        self.earlier_locks.push(Arc::downgrade(&self.locks));
        self.locks = Arc::new(locks);
        logging::set_level(config.log.level);
        let options = daemon::Options {
            credentials: Some(source),
            verify: verification(&config, &self.locks),
            locks: Arc::clone(&self.locks),
            ..wiring::daemon(&config)
        };
        self.config = config;
        let what = if what.is_empty() { "nothing".to_owned() } else { what.join(", ") };
        Ok(Change { client: self.client.clone(), options, what })
    }

    /// Creates the lock files that were deleted. Returns whether another registrar was faster, which is logged once.
    async fn restore_locks(&self, was_contested: bool) -> bool {
        let (held, state) = (self.held(), Arc::clone(&self.state));
        let restored = tokio::task::spawn_blocking(move || state.restore().and_then(|()| held.restore()));
        let Ok(Err(holder)) = restored.await else { return false };
        if !was_contested {
            tracing::error!(
                "the lock files were deleted, and another alyx-registrar ({holder}) has locked {:?} since; stop one of the two",
                holder.at
            );
        }
        true
    }

    /// The locks that this process holds, which must not count as another registrar's.
    fn held(&self) -> Held {
        let mut held = self.locks.held();
        self.earlier_locks.iter().filter_map(Weak::upgrade).for_each(|locks| held.add(locks.held()));
        held
    }

    /// Keeps the old value of keys that only a restart can change, with a warning. Fails if the new configuration is
    /// invalid with those values.
    fn keep_what_cannot_change(&self, config: &mut Config) -> Result<(), String> {
        let later = |key| {
            tracing::warn!(
                "{key} has changed: the new value takes effect at the next start (systemctl restart)"
            );
        };
        if config.state_dir != self.config.state_dir {
            later("state_dir");
            config.state_dir.clone_from(&self.config.state_dir);
        }
        if config.log.format != self.config.log.format {
            later("log.format");
            config.log.format = self.config.log.format;
        }
        if config.http != self.config.http {
            later("http");
            config.http.clone_from(&self.config.http);
        }
        if config.alerts != self.config.alerts {
            later("alerts");
            config.alerts.clone_from(&self.config.alerts);
        }
        if config.keep_history != self.config.keep_history {
            later("history");
            config.keep_history = self.config.keep_history;
        }
        let state = &config.state_dir;
        match config.data_roots.iter().find(|root| state.starts_with(&root.path)) {
            Some(DataRoot { path, .. }) => Err(format!(
                "the new data root {path:?} holds the state folder {state:?} in use; stop the daemon first"
            )),
            None => Ok(()),
        }
    }
}

/// The sections that differ.
fn differences(old: &Config, new: &Config) -> Vec<&'static str> {
    // Destructured, so that a new section does not compile until it is listed here or in
    // [`ActiveConfig::keep_what_cannot_change`].
    let Config {
        // The path of the configuration itself.
        file: _,
        data_roots,
        flags,
        alyx,
        session,
        earliest,
        metadata,
        skip_subjects,
        datasets,
        repositories,
        follow,
        links_allow,
        watch,
        retry,
        workers,
        hash_threads,
        reading,
        verify,
        state_dir: _,
        keep_history: _,
        timezone,
        log,
        http: _,
        alerts: _,
        warnings: _,
    } = old;
    let sections = [
        ("data_roots", *data_roots != new.data_roots),
        ("flags", *flags != new.flags),
        ("alyx", *alyx != new.alyx),
        ("session", *session != new.session || *earliest != new.earliest),
        ("metadata", *metadata != new.metadata || *skip_subjects != new.skip_subjects),
        ("datasets", *datasets != new.datasets),
        ("repositories", *repositories != new.repositories),
        ("follow", *follow != new.follow),
        ("links", *links_allow != new.links_allow),
        ("watch", *watch != new.watch),
        ("retry", *retry != new.retry),
        ("workers", *workers != new.workers),
        ("hash_threads", *hash_threads != new.hash_threads),
        ("reading", *reading != new.reading),
        ("verify", *verify != new.verify),
        ("timezone", *timezone != new.timezone),
        ("log", *log != new.log),
    ];
    sections.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
