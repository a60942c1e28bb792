//! The world of the tests: a rig with sessions on a real disk, and an Alyx.
//!
//! The Alyx is the embedded sandbox, or a real one where `ALYX_TEST_URL`, `ALYX_TEST_USER` and
//! `ALYX_TEST_PASSWORD` are set. It must know the subjects KS014 and SWC_001 (lab cortexlab) and ZM_1085 (lab
//! mainenlab), and the repositories of those labs.
pub mod chance;
pub mod fault_proxy;
pub mod namespace;
pub mod notify_socket;
pub mod program;
pub mod secrets;
pub mod terminal;
pub mod tls;
pub mod verbs;
pub mod watcher_rig;

use std::path::{Path, PathBuf};
use std::time::Duration;

use alyx_client::{self, Client, ClientOptions, Credentials, DatasetRecord, SessionSearch, SessionSummary};
use alyx_registration::flag::FlagFile;
use alyx_registration::flagged::Registered;
use alyx_registration::{Error, FlaggedOptions, RegistrationClient, RegistrationOptions};
use alyx_sandbox::{RunningSandbox, Sandbox, SandboxHandle, SandboxOptions};
use secrecy::SecretString;
use tempfile::TempDir;

/// Nothing in a test takes this long; it only keeps a failed test from hanging.
pub const AT_MOST: Duration = Duration::from_secs(60);

/// Waits until something is so that nobody tells.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + AT_MOST;
    while !is_so() {
        assert!(std::time::Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A client for requests of the tests themselves.
pub fn http() -> reqwest::Client {
    alyx_client::use_ring();
    reqwest::Client::new()
}

/// An Alyx to test against.
pub struct Alyx {
    pub url: String,
    pub user: String,
    pub password: String,
    sandbox: Option<RunningSandbox>,
}

impl Alyx {
    /// The sandbox, or the real one that the environment names.
    pub async fn start() -> Self {
        match std::env::var("ALYX_TEST_URL") {
            Ok(url) => {
                let get = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
                Self { url, user: get("ALYX_TEST_USER"), password: get("ALYX_TEST_PASSWORD"), sandbox: None }
            }
            Err(_) => Self::sandbox().await,
        }
    }

    /// The sandbox, for tests that make it misbehave.
    pub async fn sandbox() -> Self {
        let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
        Self {
            url: sandbox.url().to_owned(),
            user: "test_user".to_owned(),
            password: secrets::PASSWORD.to_owned(),
            sandbox: Some(sandbox),
        }
    }

    /// The strings of the sandbox.
    pub fn control(&self) -> &SandboxHandle {
        self.sandbox.as_ref().expect("a test that needs the sandbox").control()
    }

    pub fn credentials(&self) -> Credentials {
        Credentials::Password {
            username: self.user.clone(),
            password: SecretString::from(self.password.clone()),
        }
    }

    /// Options of a client that is quick to give up.
    pub fn options(&self) -> ClientOptions {
        let mut options = ClientOptions::new(&self.url, self.credentials());
        options.retry.backoff.initial = Duration::from_millis(10);
        options.retry.backoff.max = Duration::from_millis(20);
        options
    }

    pub fn alyx(&self) -> Client {
        Client::new(self.options()).unwrap()
    }

    pub fn client(&self) -> RegistrationClient {
        RegistrationClient::new(self.alyx(), RegistrationOptions::default())
    }

    /// The sessions of a folder that this Alyx holds.
    pub async fn sessions(&self, session: &Session) -> Vec<SessionSummary> {
        let path = alf::SessionPath::parse(&session.folder).unwrap();
        let search = SessionSearch { subject: path.subject(), date: path.date(), number: path.number() };
        self.alyx().sessions(&search).await.unwrap()
    }

    /// The one session of a folder.
    pub async fn the_session(&self, session: &Session) -> alyx_client::SessionRecord {
        let found = self.sessions(session).await;
        assert_eq!(found.len(), 1, "{found:?}");
        self.alyx().session(found[0].eid()).await.unwrap()
    }

    /// The datasets of the one session of a folder, sorted by path.
    pub async fn datasets(&self, session: &Session) -> Vec<DatasetRecord> {
        let record = self.the_session(session).await;
        let mut datasets = self.alyx().datasets_of_session(record.eid()).await.unwrap();
        datasets.sort_by_key(DatasetRecord::relative_path);
        datasets
    }

    /// Their paths.
    pub async fn dataset_paths(&self, session: &Session) -> Vec<String> {
        self.datasets(session).await.iter().map(DatasetRecord::relative_path).collect()
    }
}

/// A data root on disk.
pub struct Rig {
    folder: TempDir,
}

impl Drop for Rig {
    /// No log, ledger, state or file of a session holds a secret, whatever the test was about.
    fn drop(&mut self) {
        secrets::none_below(self.folder.path());
    }
}

/// A session folder of a rig.
#[derive(Clone)]
pub struct Session {
    pub folder: PathBuf,
}

impl Rig {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// The data root; a folder beside it is free for other files.
    pub fn root(&self) -> PathBuf {
        let root = self.folder.path().join("data");
        std::fs::create_dir_all(&root).unwrap();
        root
    }

    /// A file beside the data root.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new session of a subject, on a day that no other test uses: a real Alyx keeps what earlier tests made.
    pub fn session(&self, lab: &str, subject: &str) -> Session {
        let random = uuid::Uuid::new_v4().as_u128();
        let (year, month, day) = (1970 + random % 40, 1 + (random >> 16) % 12, 1 + (random >> 32) % 28);
        let number = 1 + (random >> 48) % 999;
        self.session_at(&format!("{lab}/Subjects/{subject}/{year}-{month:02}-{day:02}/{number:03}"))
    }

    /// A session in a given place below the root.
    pub fn session_at(&self, path: &str) -> Session {
        let folder = self.root().join(path);
        std::fs::create_dir_all(&folder).unwrap();
        Session { folder }
    }
}

impl Session {
    /// Writes a file.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    /// Drops the flag.
    pub fn flag(&self) -> PathBuf {
        self.flag_with("")
    }

    /// Drops a flag with content.
    pub fn flag_with(&self, content: &str) -> PathBuf {
        let path = self.folder.join("create_me.flag");
        std::fs::write(&path, content).unwrap();
        path
    }

    pub fn is_flagged(&self) -> bool {
        self.folder.join("create_me.flag").exists()
    }

    pub fn path(&self) -> alf::SessionPath {
        alf::SessionPath::parse(&self.folder).unwrap()
    }

    pub fn name(&self) -> String {
        self.path().to_string()
    }

    /// The date as the path says it.
    pub fn date(&self) -> String {
        self.folder.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned()
    }

    /// Runs the arrow on the session's flag, once.
    pub async fn register(
        &self,
        client: &RegistrationClient,
        options: &FlaggedOptions,
    ) -> Result<Registered, Error> {
        let flag = FlagFile::load(self.folder.join("create_me.flag")).unwrap().expect("a flag");
        let session = alf::SessionPath::parse(&self.folder)?;
        client.register_flagged(flag, &session, options).await
    }
}

/// Files are registered, and need not have been quiet.
pub fn with_files() -> FlaggedOptions {
    FlaggedOptions { register_files: true, ..Default::default() }
}

/// MD5 as the `md5sum` of every system gives it, from another implementation than the one under test would be
/// better; these are facts.
pub const MD5_OF_EMPTY: &str = "d41d8cd98f00b204e9800998ecf8427e";
pub const MD5_OF_A: &str = "0cc175b9c0f1b6a831c399e269772661";
pub const MD5_OF_ABC: &str = "900150983cd24fb0d6963f7d28e17f72";

/// Everything below a folder with its size and time of change, to see that nothing was written.
pub fn snapshot(folder: &Path) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
    let mut entries: Vec<_> = walkdir::WalkDir::new(folder)
        .into_iter()
        .map(|entry| {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            (entry.into_path(), metadata.len(), metadata.modified().unwrap())
        })
        .collect();
    entries.sort();
    entries
}
