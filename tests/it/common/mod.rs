//! The environment of the tests: a rig with sessions on a real disk, and an Alyx.
//!
//! The Alyx is the embedded sandbox, or a real one if `ALYX_TEST_URL`, `ALYX_TEST_USER` and `ALYX_TEST_PASSWORD` are
//! set. It must know the subjects KS014 and SWC_001 (lab cortexlab) and ZM_1085 (lab mainenlab), and the repositories
//! of those labs.
pub mod fault_proxy;
pub mod locking_fs;
pub mod namespace;
pub mod network;
pub mod notify_socket;
pub mod program;
pub mod rng;
pub mod secrets;
pub mod terminal;
pub mod tls;
pub mod verbs;
pub mod watcher_rig;

use std::path::{Path, PathBuf};
use std::time::Duration;

use alyx_client::backoff::Backoff;
use alyx_client::{self, Client, ClientOptions, Credentials, DatasetRecord, SessionSearch, SessionSummary};
use alyx_registration::flag::FlagFile;
use alyx_registration::flagged::Registered;
use alyx_registration::{Error, FlaggedOptions, QuietRules, RegistrationClient, RegistrationOptions};
use alyx_sandbox::{Fault, FaultRule, Gate, RunningSandbox, Sandbox, SandboxHandle, SandboxOptions, Seed};
use secrecy::SecretString;
use serde_json::Value;
use tempfile::TempDir;

/// No test takes this long; it only keeps a failed test from hanging.
pub const AT_MOST: Duration = Duration::from_secs(180);

/// Polls a condition for which there is no event.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + AT_MOST;
    while !is_so() {
        assert!(std::time::Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Holds the next request like this until the gate is opened.
pub fn hold(alyx: &Alyx, method: &str, path: &str) -> Gate {
    let gate = Gate::default();
    let (method, path_prefix) = (Some(method.to_owned()), path.to_owned());
    alyx.control().add_fault(FaultRule { method, path_prefix, times: 1, fault: Fault::Hold(gate.clone()) });
    gate
}

/// A client for the tests' own requests.
pub fn http() -> reqwest::Client {
    alyx_client::install_crypto_provider();
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
    /// The sandbox, or the real Alyx named in the environment.
    pub async fn start() -> Self {
        match std::env::var("ALYX_TEST_URL") {
            Ok(url) => {
                let get = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
                Self { url, user: get("ALYX_TEST_USER"), password: get("ALYX_TEST_PASSWORD"), sandbox: None }
            }
            Err(_) => Self::sandbox().await,
        }
    }

    /// The sandbox, for tests that inject faults.
    pub async fn sandbox() -> Self {
        Self::seeded(Seed::default()).await
    }

    /// A sandbox with other first records; its first user logs in.
    pub async fn seeded(seed: Seed) -> Self {
        let user = seed.users[0].username.clone();
        let sandbox = Sandbox::start(SandboxOptions { seed, ..SandboxOptions::default() }).await.unwrap();
        Self {
            url: sandbox.url().to_owned(),
            user,
            password: secrets::PASSWORD.to_owned(),
            sandbox: Some(sandbox),
        }
    }

    /// The control handle of the sandbox.
    pub fn control(&self) -> &SandboxHandle {
        self.sandbox.as_ref().expect("a test that needs the sandbox").control()
    }

    pub fn credentials(&self) -> Credentials {
        Credentials::Password {
            username: self.user.clone(),
            password: SecretString::from(self.password.clone()),
        }
    }

    /// Options of a client that gives up quickly.
    pub fn options(&self) -> ClientOptions {
        let mut options = ClientOptions::new(&self.url, self.credentials());
        options.retry.backoff =
            Backoff::try_new(Duration::from_millis(10), 3.0, Duration::from_millis(20)).unwrap();
        options
    }

    pub fn alyx(&self) -> Client {
        Client::new(self.options()).unwrap()
    }

    pub fn client(&self) -> RegistrationClient {
        RegistrationClient::new(self.alyx(), RegistrationOptions::default())
    }

    /// As [`client`](Self::client), for a lost answer: a request that may still arrive is waited for as long as it may take.
    pub fn impatient_client(&self) -> RegistrationClient {
        let mut options = self.options();
        options.timeouts.request = Duration::from_secs(2);
        RegistrationClient::new(Client::new(options).unwrap(), RegistrationOptions::default())
    }

    /// A request for which the client has no method.
    pub async fn rest(&self, method: &str, path: &str, body: Value) -> Value {
        let login = [("username", &self.user), ("password", &self.password)];
        let answer = http().post(format!("{}/auth-token", self.url)).form(&login).send().await.unwrap();
        let token: Value = answer.json().await.unwrap();
        let token = format!("Token {}", token["token"].as_str().unwrap());
        let request = http().request(method.parse().unwrap(), format!("{}{path}", self.url));
        let answer = request.header("Authorization", token).json(&body).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{method} {path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The sessions of a folder on this Alyx.
    pub async fn sessions(&self, session: &Session) -> Vec<SessionSummary> {
        let path = alf::SessionPath::parse(&session.folder).unwrap();
        let search = SessionSearch { subject: path.subject(), date: path.date(), number: path.number() };
        self.alyx().sessions(&search).await.unwrap()
    }

    /// The only session of a folder.
    pub async fn the_session(&self, session: &Session) -> alyx_client::SessionRecord {
        let found = self.sessions(session).await;
        assert_eq!(found.len(), 1, "{found:?}");
        self.alyx().session(found[0].eid()).await.unwrap()
    }

    /// The datasets of the only session of a folder, sorted by path.
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
    /// Checks after every test that no log, ledger, state or session file contains a secret.
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

    /// The data root; files beside it are free to use.
    pub fn root(&self) -> PathBuf {
        let root = self.folder.path().join("data");
        std::fs::create_dir_all(&root).unwrap();
        root
    }

    /// A file beside the data root.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new session of a subject, on a day that no other test uses: a real Alyx keeps the records of earlier tests.
    pub fn session(&self, lab: &str, subject: &str) -> Session {
        let random = uuid::Uuid::new_v4().as_u128();
        let (year, month, day) = (2001 + random % 20, 1 + (random >> 16) % 12, 1 + (random >> 32) % 28);
        let number = 1 + (random >> 48) % 999;
        self.session_at(&format!("{lab}/Subjects/{subject}/{year}-{month:02}-{day:02}/{number:03}"))
    }

    /// A session at a given path below the root.
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

    /// Creates the flag.
    pub fn flag(&self) -> PathBuf {
        self.flag_with("")
    }

    /// Creates a flag with content.
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

    /// The date as in the path.
    pub fn date(&self) -> String {
        self.folder.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned()
    }

    /// Registers the flagged session once.
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

/// Waits for nothing but a copy in progress: what a test writes is complete.
pub fn at_once() -> QuietRules {
    let none = Duration::ZERO;
    QuietRules { settle: none, settle_remote: none, empty_grace: none, ..QuietRules::default() }
}

/// Options that register files, without a settle time.
pub fn with_files() -> FlaggedOptions {
    FlaggedOptions { register_files: true, quiet: at_once(), ..Default::default() }
}

/// Known MD5 values, as `md5sum` prints them.
pub const MD5_OF_EMPTY: &str = "d41d8cd98f00b204e9800998ecf8427e";
pub const MD5_OF_A: &str = "0cc175b9c0f1b6a831c399e269772661";
pub const MD5_OF_ABC: &str = "900150983cd24fb0d6963f7d28e17f72";

/// Everything below a folder with size and time of change, to verify that nothing was written.
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
