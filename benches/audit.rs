//! An audit of many sessions: time, memory and requests, with the limit of requests lifted, beside the same comparison in
//! Python. Then a verification, which reads the files, beside Python's `hashlib`.
//!
//! The program runs as its own process; the sandbox, in memory, is inside this one, so that its time is a part of the total.
//! If `ONE_PYTHON` names a Python with ONE-api, `one.alyx.rest` asks for the datasets of each session and `os.stat` looks at
//! each file, once.
#![allow(clippy::disallowed_macros, clippy::disallowed_methods, reason = "a separate program, which prints")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use alyx_client::{Client, ClientOptions, Credentials, SessionRequest};
use alyx_registration::{RegisterFilesOptions, RegistrationClient, RegistrationOptions};
use alyx_sandbox::{Sandbox, SandboxOptions};
use clap::Parser;
use common::registrar::Settings;
use common::{Child, Error, Required, Table, rig, with_unit};
use futures_util::StreamExt;
use serde_json::Value;

/// Compares sessions as `audit` or `verify` does, without a second look: prints the sessions, datasets and differences.
const PYTHON: &str = "
import hashlib, os, sys
from one.api import ONE
url, root, command, subjects = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
def differs(path, dataset):
    if command == 'audit':
        return os.stat(path).st_size != dataset['file_size']
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'md5').hexdigest() != dataset['hash']
one = ONE(base_url=url, username='test_user', password='TapetesBloc18', silent=True, cache_rest=None)
sessions = datasets = differ = 0
for subject in subjects:
    for session in one.alyx.rest('sessions', 'list', subject=subject, no_cache=True):
        sessions += 1
        eid = session['url'][-36:]
        for dataset in one.alyx.rest('datasets', 'list', session=eid, no_cache=True):
            datasets += 1
            for copy in dataset['file_records']:
                if copy['data_repository'] == 'cortexlab_local' and copy['exists']:
                    try:
                        differ += differs(os.path.join(root, copy['relative_path']), dataset)
                    except FileNotFoundError:
                        differ += 1
print(sessions, datasets, differ)
";

/// An audit of many sessions, beside the same comparison in Python
#[derive(Parser)]
struct Options {
    /// Sessions
    #[arg(long, default_value_t = 12_000)]
    sessions: usize,
    /// Datasets of each session
    #[arg(long, default_value_t = 36)]
    datasets: usize,
    /// Sessions for Python
    #[arg(long, default_value_t = 200)]
    python_sessions: usize,
    /// Sessions to verify
    #[arg(long, default_value_t = 50)]
    verify_sessions: usize,
    /// Bytes of each of their files
    #[arg(long, default_value_t = 1_000_000)]
    file_bytes: usize,
    /// A Python with ONE-api
    #[arg(long, env = "ONE_PYTHON")]
    python: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let options: Options = common::options(|| Options {
        sessions: 3,
        datasets: 4,
        python_sessions: 0,
        verify_sessions: 2,
        file_bytes: 1000,
        python: None,
    });
    let mut table = Table::begin(&format!(
        "An audit of {} sessions with {} datasets each, as fast as the sandbox answers",
        options.sessions, options.datasets
    ));
    let (seconds, memory, requests) = run(&Run::audit(options.sessions, options.datasets), None).await?;
    table.limit("time", seconds, "s", Required::AtMost(120.0));
    table.limit("peak memory", memory, "MB", Required::AtMost(100.0));
    table.limit("requests per session", requests / options.sessions as f64, "", Required::AtMost(1.1));
    match options.python.as_deref().filter(|_| options.python_sessions > 0) {
        None => println!("ONE_PYTHON names no Python with ONE-api: the comparison is left out\n"),
        Some(python) => {
            let n = options.python_sessions;
            let audit = Run::audit(n, options.datasets);
            let (ours, ..) = run(&audit, None).await?;
            let (theirs, ..) = run(&audit, Some(python)).await?;
            let shown = |seconds: f64| with_unit(1e3 * seconds / n as f64, "ms");
            let what = format!("per session, of {n}, start included");
            table.ratio(what, shown(ours), shown(theirs), Some(theirs / ours), None);
        }
    }
    table.print();
    let mut table = Table::begin(&format!(
        "A verification of {} sessions with {} files of {} bytes each",
        options.verify_sessions, options.datasets, options.file_bytes
    ));
    let (sessions, datasets) = (options.verify_sessions, options.datasets);
    let verify = Run { command: "verify", sessions, datasets, file_bytes: options.file_bytes };
    let (ours, memory, _) = run(&verify, None).await?;
    table.limit("peak memory", memory, "MB", Required::AtMost(150.0));
    if let Some(python) = options.python.as_deref().filter(|_| options.python_sessions > 0) {
        let (theirs, ..) = run(&verify, Some(python)).await?;
        let bytes = (sessions * datasets * options.file_bytes) as f64;
        let shown = |seconds: f64| with_unit(bytes / seconds / 1e6, "MB/s");
        table.ratio("speed, start included", shown(ours), shown(theirs), Some(theirs / ours), None);
    }
    table.print();
    Ok(())
}

/// What is compared, and how.
struct Run {
    /// `audit` or `verify`.
    command: &'static str,
    sessions: usize,
    datasets: usize,
    file_bytes: usize,
}

impl Run {
    /// An audit, to which the content of files makes no difference.
    fn audit(sessions: usize, datasets: usize) -> Self {
        Self { command: "audit", sessions, datasets, file_bytes: 0 }
    }
}

/// Registers sessions, and audits or verifies them, or lets Python compare them. Seconds, MB and requests.
async fn run(run: &Run, python: Option<&Path>) -> Result<(f64, f64, f64), Error> {
    let Run { command: name, sessions, datasets, .. } = *run;
    let (folder, sandbox) = (tempfile::tempdir()?, Sandbox::start(SandboxOptions::default()).await?);
    let root = folder.path().join("data");
    register(&root, sandbox.url(), run).await?;
    let more = "datasets: {repository: cortexlab_local}\n";
    let settings = Settings { root: &root, folder: folder.path(), url: sandbox.url(), settle: "1 s", more };
    let config = settings.write()?;
    sandbox.control().clear_requests();
    let mut command = match python {
        None => {
            let mut command = Command::new(env!("CARGO_BIN_EXE_alyx-registrar"));
            command.args([name, "--json", "--config"]).arg(config).env("ALYX_PASSWORD", "TapetesBloc18");
            command
        }
        Some(python) => {
            let mut command = Command::new(python);
            command.args(["-c", PYTHON, sandbox.url()]).arg(root.join("cortexlab/Subjects"));
            command.args([name, "KS014", "SWC_001"]).env("HOME", folder.path());
            command
        }
    };
    let began = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let (mut child, mut peak) = (Child(child), 0.0);
    let mut out = child.0.stdout.take().ok_or("no output")?;
    let reading = std::thread::spawn(move || std::io::read_to_string(&mut out));
    while child.0.try_wait()?.is_none() {
        peak = child.peak_memory().unwrap_or(peak).max(peak);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    let text = reading.join().map_err(|_| "the output could not be read")??;
    let (n_sessions, n_datasets, differences) = match python {
        None => {
            let totals: Value = serde_json::from_str(text.lines().last().unwrap_or_default())?;
            let of = |name: &str| totals[name].as_u64().unwrap_or_default() as usize;
            match name {
                "audit" => (of("sessions"), of("datasets"), of("datasets") - of("ok")),
                _ => (of("sessions"), of("files"), of("files") - of("equal")),
            }
        }
        Some(_) => {
            let last = text.lines().last().unwrap_or_default();
            let numbers: Vec<usize> = last.split(' ').filter_map(|word| word.parse().ok()).collect();
            let [sessions, datasets, differences] = numbers.try_into().map_err(|_| text)?;
            (sessions, datasets, differences)
        }
    };
    if (n_sessions, n_datasets, differences) != (sessions, sessions * datasets, 0) {
        return Err(format!("{n_sessions} sessions, {n_datasets} datasets, {differences} differences").into());
    }
    let requests = sandbox.control().count_requests() as f64;
    sandbox.stop().await;
    Ok((seconds, peak, requests))
}

/// Creates sessions with datasets on disk and on the sandbox, several at a time.
async fn register(root: &Path, url: &str, run: &Run) -> Result<(), Error> {
    let Run { sessions, datasets, file_bytes, .. } = *run;
    let password = "TapetesBloc18".to_owned().into();
    let credentials = Credentials::Password { username: "test_user".into(), password };
    let options = ClientOptions { max_requests_per_minute: None, ..ClientOptions::new(url, credentials) };
    let client = RegistrationClient::new(Client::new(options)?, RegistrationOptions::default());
    let one = async |number: usize| -> Result<(), Error> {
        let session = rig::session(root, number);
        let alf = session.join("alf");
        std::fs::create_dir_all(&alf)?;
        let paths: Vec<PathBuf> =
            (0..datasets).map(|n| alf.join(format!("spikes.times.part{n:04}.npy"))).collect();
        for path in &paths {
            std::fs::write(path, vec![b'x'; file_bytes])?;
        }
        let path = alf::SessionPath::parse(&session)?;
        let request = SessionRequest {
            subject: Some(path.subject().to_owned()),
            number: Some(path.number()),
            start_time: Some(format!("{}T10:00:00", path.date())),
            ..SessionRequest::default()
        };
        client.alyx().create_session(&request).await?;
        let options = RegisterFilesOptions {
            repository: Some("cortexlab_local".to_owned()),
            max_md5_size: None,
            ..RegisterFilesOptions::default()
        };
        client.register_files(&paths, &options).await?;
        Ok(())
    };
    let mut all = futures_util::stream::iter((0..sessions).map(one)).buffer_unordered(4);
    while let Some(done) = all.next().await {
        done?;
    }
    Ok(())
}
