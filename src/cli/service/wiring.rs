//! The composition root: turns the configuration into the options of every layer.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use md5::{Digest, Md5};

use crate::cli::args::ConfigArgs;
use crate::cli::exit::Exit;
use crate::cli::logging;
use crate::cli::logging::LogOptions;
use crate::cli::output::Failure;
use crate::config::{
    Config, ConfigErrors, CredentialSource as ConfiguredSource, Environment, Overrides, WatchMode,
};
use crate::daemon;
use crate::daemon::outside::clean_stop::CleanStop;
use crate::daemon::run_loop::credentials::CredentialSource;
use crate::daemon::tree::layout;
use crate::daemon::tree::lock::{LockError, LockFolders};
use crate::daemon::tree::root_locks::{Held, RootLocks};
use crate::daemon::watch;
use crate::humanize::length;
use crate::json::error_report::ErrorReport;
use alyx_client::{self, Credentials, NextStep};
use alyx_registration::{
    AcceptedGaps, DataFolders, Error, FlaggedOptions, FollowMode, FollowRules, FollowedRepository,
    InFlightCreations, LateOptions, LookPlan, MetadataOptions, NotLoadable, PrivatePaths,
    RegisterFilesOptions, RegistrationClient, RegistrationOptions, RootMetadata, Versions,
};

/// Where the configuration comes from.
#[derive(Debug)]
pub(crate) struct Origin {
    file: PathBuf,
    overrides: Overrides,
    environment: Environment,
}

impl Origin {
    /// From the arguments, relative to this folder.
    pub(crate) fn of(args: &ConfigArgs, working_folder: &Path) -> Self {
        Self {
            file: args.config_path().to_owned(),
            overrides: args.overrides(working_folder),
            environment: Environment::from_process(),
        }
    }

    /// Reads the configuration. Blocks.
    pub(crate) fn load(&self) -> Result<Config, ConfigErrors> {
        Config::load_with(&self.file, &self.overrides, &self.environment)
    }
}

/// Reads the configuration, and starts logging with its settings.
pub(crate) fn configuration(args: &ConfigArgs) -> Result<Config, Failure> {
    configuration_and_origin(args).map(|(config, _)| config)
}

/// As [`configuration`], with the origin, from which a reload reads it again.
pub(crate) fn configuration_and_origin(args: &ConfigArgs) -> Result<(Config, Origin), Failure> {
    let here = std::env::current_dir()
        .map_err(|error| Failure::new(Exit::Io, format!("the working folder cannot be found: {error}")))?;
    let origin = Origin::of(args, &here);
    let config = origin.load().map_err(|errors| Failure::of_config(&errors))?;
    start_log(&config)?;
    Ok((config, origin))
}

/// Starts logging with the configured level and format, and logs the configuration's warnings.
pub(crate) fn start_log(config: &Config) -> Result<(), Failure> {
    logging::init(&LogOptions { level: config.log.level, format: config.log.format })
        .map_err(|error| Failure::new(Exit::Config, error))?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    Ok(())
}

/// Reads the password or token.
pub(crate) fn credentials(config: &Config) -> Result<Credentials, Failure> {
    match config.alyx.credentials.load(config.alyx.username.as_deref()) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                tracing::warn!("{warning}");
            }
            Ok(loaded.credentials)
        }
        Err(error) => Err(Failure::new(Exit::Refused, error).log()),
    }
}

/// The registration client of a configuration. Sends nothing; stores its token in the state folder.
pub(crate) fn client(config: &Config, credentials: Credentials) -> Result<RegistrationClient, Failure> {
    observed_client(config, credentials, None)
}

/// As [`client`], with an observer of every request.
pub(crate) fn observed_client(
    config: &Config,
    credentials: Credentials,
    observer: Option<Arc<dyn alyx_client::Observer>>,
) -> Result<RegistrationClient, Failure> {
    client_with(config, credentials, token_folder(&config.state_dir), observer)
}

/// As [`client`], but writes nothing to disk.
pub(crate) fn read_only_client(
    config: &Config,
    credentials: Credentials,
) -> Result<RegistrationClient, Failure> {
    client_with(config, credentials, None, None)
}

fn client_with(
    config: &Config,
    credentials: Credentials,
    token_folder: Option<PathBuf>,
    observer: Option<Arc<dyn alyx_client::Observer>>,
) -> Result<RegistrationClient, Failure> {
    registration_client(config, credentials, token_folder, observer).map_err(|error| {
        let report = ErrorReport::from(&Error::from(error));
        Failure::reported(Exit::Config, report).log()
    })
}

/// Checks that Alyx answers and accepts the login. Without this, a scan without flags would hide a wrong configuration.
pub(crate) async fn check_login(client: &RegistrationClient) -> Result<(), Failure> {
    client.alyx().ping().await.map_err(|error| {
        let exit = match error.next_step() {
            NextStep::NeedsCredentials => Exit::Refused,
            NextStep::TryAgain { .. } => Exit::Unavailable,
            NextStep::NeedsAttention => Exit::Incomplete,
        };
        Failure::reported(exit, ErrorReport::from(&Error::from(error))).log()
    })
}

/// The registration client of a configuration. Sends and logs nothing.
pub(crate) fn registration_client(
    config: &Config,
    credentials: Credentials,
    token_folder: Option<PathBuf>,
    observer: Option<Arc<dyn alyx_client::Observer>>,
) -> Result<RegistrationClient, alyx_client::Error> {
    let alyx = alyx_client::Client::new(client_options(config, credentials, token_folder, observer))?;
    Ok(RegistrationClient::new(alyx, registration_options(config)))
}

/// The options of the REST client.
pub(crate) fn client_options(
    config: &Config,
    credentials: Credentials,
    token_folder: Option<PathBuf>,
    observer: Option<Arc<dyn alyx_client::Observer>>,
) -> alyx_client::ClientOptions {
    alyx_client::ClientOptions {
        url: config.alyx.url.to_string(),
        credentials,
        ca_file: config.alyx.ca_file.clone(),
        timeouts: alyx_client::Timeouts {
            connect: config.alyx.connect_timeout,
            request: config.alyx.request_timeout,
        },
        retry: alyx_client::RetryPolicy::default(),
        max_requests_per_minute: Some(config.alyx.max_requests_per_minute),
        token_folder,
        login_advice: match config.alyx.credentials {
            ConfiguredSource::OneSettings { .. } => alyx_client::LOG_IN_WITH_ONE,
            _ => "correct the password or token that the configuration names",
        },
        observer,
    }
}

/// The options of the registration client.
pub(crate) fn registration_options(config: &Config) -> RegistrationOptions {
    RegistrationOptions {
        batch_size: config.datasets.batch_size,
        hash_threads: config.hash_threads,
        reading: config.reading,
        zone: config.timezone.clone().unwrap_or_else(TimeZone::system),
        earliest: config.earliest,
        flags: config.flags.clone(),
        data: Arc::new(data_folders(config)),
        metadata: metadata(config),
        ..RegistrationOptions::default()
    }
}

/// The options of metadata, with those of the data roots.
pub(crate) fn metadata(config: &Config) -> MetadataOptions {
    let root = |root: &crate::config::DataRoot| RootMetadata {
        path: root.path.clone(),
        defaults: root.session.clone(),
        earliest: root.earliest,
        all_devices: root.all_devices,
    };
    MetadataOptions {
        roots: config.data_roots.iter().map(root).collect(),
        defaults: config.session.clone(),
        ..config.metadata.clone()
    }
}

/// Where files are opened as data.
pub(crate) fn data_folders(config: &Config) -> DataFolders {
    DataFolders {
        roots: config.data_roots.iter().map(|root| root.path.clone()).collect(),
        allow: config.links_allow.clone(),
        private: private_paths(config.own_files()),
    }
}

/// Paths that are never opened as data: the given ones, and the usual places of secrets.
pub(crate) fn private_paths(own: Vec<PathBuf>) -> PrivatePaths {
    let usual_folder = Path::new(crate::config::DEFAULT_PATH).parent().map(Path::to_owned);
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let one_settings = std::env::var_os("HOME").map(|home| Path::new(&home).join(".one"));
    own.into_iter().chain(usual_folder).chain(credentials).chain(one_settings).collect()
}

/// The state folder, if tokens can be stored there; creates it if missing. Otherwise each start logs in.
pub(crate) fn token_folder(state: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o750).create(state);
    let usable = made.and_then(|()| Ok(rustix::fs::access(state, rustix::fs::Access::WRITE_OK)?));
    match usable {
        Ok(()) => Some(state.to_owned()),
        Err(error) => {
            tracing::debug!(folder = ?state, %error, "no token is kept");
            None
        }
    }
}

/// The options for registering flagged sessions.
pub(crate) fn flagged(config: &Config) -> FlaggedOptions {
    let datasets = &config.datasets;
    FlaggedOptions {
        accepted_gaps: AcceptedGaps::default(),
        roots: config.data_roots.iter().map(|root| root.datasets.clone()).collect(),
        register_files: datasets.register,
        defaults: config.session.clone(),
        files: RegisterFilesOptions {
            versions: Versions::of_list(datasets.versions.clone()),
            default: datasets.default_revision,
            server_only: datasets.server_only,
            repository: datasets.repository.clone(),
            exists: datasets.exists,
            max_md5_size: datasets.max_md5_size,
            protected: datasets.protected,
            ..RegisterFilesOptions::default()
        },
        mounts: config.repositories.clone(),
        exclude: datasets.exclude.clone(),
        on_refused: datasets.on_refused,
        on_left_out: datasets.on_left_out,
        quiet: config.watch.quiet.clone(),
    }
}

/// Why ONE does not load what this configuration registers, as far as it can be said without Alyx.
pub(crate) fn not_loadable(config: &Config) -> Vec<NotLoadable> {
    let roots = config.data_roots.iter().map(|root| root.path.as_path());
    NotLoadable::of_placements(&flagged(config).placements(roots))
}

/// The options of the daemon.
pub(crate) fn daemon(config: &Config) -> daemon::Options {
    let root = |root: &crate::config::DataRoot| watch::RootOptions {
        path: root.path.clone(),
        mode: match root.watch {
            WatchMode::Auto => watch::WatchMode::Auto,
            WatchMode::Native => watch::WatchMode::Native,
            WatchMode::Poll => watch::WatchMode::Poll,
        },
        require_marker: root.require_marker.clone(),
    };
    daemon::Options {
        roots: config.data_roots.iter().map(root).collect(),
        watch: watch::WatchOptions {
            flags: config.flags.clone(),
            rescan_interval: config.watch.rescan_interval,
            poll_interval: config.watch.poll_interval,
            max_depth: layout::DEFAULT_MAX_DEPTH,
        },
        retry: config.retry.backoff,
        permanent: config.retry.permanent,
        workers: config.workers,
        flagged: flagged(config),
        skip_subjects: config.skip_subjects.clone(),
        late: LateOptions {
            plan: LookPlan::within(config.watch.late_files),
            rate: config.watch.late_rate,
            on_late: config.datasets.late,
            exclude: config.datasets.late_exclude.clone(),
        },
        follow: follow(config),
        configuration: fingerprint(config),
        warn_after: config.watch.warn_after,
        ..daemon::Options::default()
    }
}

/// For how long the disk of a repository may make no progress.
const REPOSITORY_HANGS_AFTER: Duration = Duration::from_secs(60);

/// How copies in other repositories are looked for; `None`: not at all.
pub(crate) fn follow(config: &Config) -> Option<FollowRules> {
    let roots: Vec<PathBuf> = config.data_roots.iter().map(|root| root.path.clone()).collect();
    let repositories = FollowedRepository::of(&flagged(config), &roots);
    (config.follow != FollowMode::Off && !repositories.is_empty()).then(|| FollowRules {
        mode: config.follow,
        repositories,
        quiet: config.watch.quiet.clone(),
        hangs_after: REPOSITORY_HANGS_AFTER,
    })
}

/// A digest of the settings that affect whether a session can be registered.
fn fingerprint(config: &Config) -> String {
    let text = format!(
        "{} {:?} {:?} {} {:?} {:?} {:?} {:?} {}",
        config.alyx.url,
        config.alyx.username,
        config.session,
        config.earliest,
        metadata(config),
        config.datasets,
        config.repositories,
        config.timezone,
        env!("CARGO_PKG_VERSION")
    );
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads the password or token for the daemon. A missing or invalid file is not an error, because the daemon waits for it;
/// a missing variable is one, because only a restart can set it.
pub(crate) fn credentials_or_absent(
    config: &Config,
    source: &CredentialSource,
) -> Result<Credentials, Failure> {
    match config.alyx.credentials.load(config.alyx.username.as_deref()) {
        Err(error) if source.is_watched() => {
            Ok(Credentials::Absent { username: config.alyx.username.clone(), reason: error.to_string() })
        }
        _ => credentials(config),
    }
}

/// The source of the secret, from which the daemon reads it again. Created before the first read.
pub(crate) fn credential_source(config: &Config) -> CredentialSource {
    // systemd copies credentials when the service starts, so these files never change.
    let copies = Environment::from_process().credentials_directory;
    let may_change = |path: &PathBuf| copies.as_ref().is_none_or(|folder| !path.starts_with(folder));
    let file = match &config.alyx.credentials {
        ConfiguredSource::PasswordFile(path) | ConfiguredSource::TokenFile(path) => {
            Some(path.clone()).filter(may_change)
        }
        // The file of this database only: the folder changes whenever ONE writes anything.
        ConfiguredSource::OneSettings { folder, url } => {
            Some(folder.join(format!(".{}", alyx_client::one_key(url))))
        }
        ConfiguredSource::PasswordEnv(_)
        | ConfiguredSource::TokenEnv(_)
        | ConfiguredSource::NotLoaded(_)
        | ConfiguredSource::DefaultEnv => None,
    };
    let (source, username) = (config.alyx.credentials.clone(), config.alyx.username.clone());
    let load = move || match source.load(username.as_deref()) {
        Ok(loaded) => Ok(loaded.credentials),
        Err(error) => Err(error.to_string()),
    };
    CredentialSource::new(file, Arc::new(load))
}

/// The creations of a process that began at `started`. Without a mark of a clean stop they wait.
pub(crate) fn creations(
    mark: Option<&CleanStop>,
    started: Instant,
    config: &Config,
) -> Arc<InFlightCreations> {
    if mark.is_none_or(CleanStop::was_clean) {
        return Arc::default();
    }
    tracing::info!(
        "this is the first start, or the last run was not stopped cleanly: no new session is created for {} \
         (alyx.timeouts.request), because a request of the last run may still reach Alyx and create it",
        length(jiff::SignedDuration::try_from(config.alyx.request_timeout).unwrap_or_default())
    );
    Arc::new(InFlightCreations::after_unclean_stop(started))
}

/// Where the locks are.
pub(crate) fn lock_folders(config: &Config) -> LockFolders {
    LockFolders::of(Some(&config.state_dir))
}

/// Locks the state folder against other daemons.
pub(crate) fn lock_state(config: &Config) -> Result<daemon::tree::lock::StateLock, Failure> {
    // Created first: the real path of a missing folder is not known.
    let _ = std::fs::create_dir_all(&config.state_dir);
    daemon::tree::lock::StateLock::acquire(&config.state_dir, &lock_folders(config))
        .map_err(|error| Failure::new(Exit::Io, error).log())
}

/// How long the disk of a data root may take to answer. Later it is locked later.
const ROOTS_ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Locks the data roots whose disks answer against other registrars. `held`: what this process has locked. Blocks.
pub(crate) fn lock_roots(config: &Config, held: &Held) -> Result<RootLocks, LockError> {
    let roots = || config.data_roots.iter().map(|root| -> &Path { &root.path });
    let locks = RootLocks::acquire(roots(), held, &lock_folders(config), ROOTS_ANSWER_WITHIN)?;
    for root in roots().filter(|root| !locks.is_locked(root)) {
        tracing::warn!(
            "the data root {root:?} does not answer; it is watched as soon as it answers, and the other data roots are watched \
             now. Check the disk or network drive"
        );
    }
    Ok(locks)
}

/// As [`lock_roots`], for the start of a program.
pub(crate) fn lock(config: &Config) -> Result<Arc<RootLocks>, Failure> {
    let locks = lock_roots(config, &Held::default());
    locks.map(Arc::new).map_err(|error| Failure::new(Exit::Io, error).log())
}
