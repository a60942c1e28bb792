//! `demo`: registers example sessions with the real daemon, a real configuration file and the built-in Alyx.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

mod example;

use std::collections::HashMap;
use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cli::args::DemoArgs;
use crate::cli::exit::Exit;
use crate::cli::logging;
use crate::cli::logging::LogOptions;
use crate::cli::output::{report_error, say};
use crate::cli::practice::demo::example::{ExampleSession, SESSIONS, UNKNOWN};
use crate::cli::service::wiring;
use crate::config::{Config, Environment, LogFormat, LogLevel, Overrides};
use crate::daemon;
use crate::daemon::run_loop::worker::AttemptResult;
use crate::daemon::{DaemonIo, Report};
use crate::humanize;
use alyx_client::SessionSearch;
use alyx_registration::RegistrationClient;
use alyx_sandbox::{Sandbox, SandboxOptions};

/// Time-out of the demo.
const AT_MOST: Duration = Duration::from_secs(60);

/// The last outcome of a session.
struct Shown {
    took: Duration,
    outcome: String,
}

/// Runs the demo.
pub(crate) async fn demo(args: &DemoArgs) -> Exit {
    let folder = match tempfile::Builder::new().prefix("alyx-registrar-demo-").tempdir() {
        Ok(folder) => folder,
        Err(error) => {
            report_error(format_args!("no temporary folder can be created: {error}"));
            return Exit::Io;
        }
    };
    let exit = tokio::select! {
        shown = show(folder.path(), args.keep) => match shown {
            Ok(exit) => exit,
            Err(error) => {
                report_error(format_args!("the demo failed: {error:#}"));
                Exit::Incomplete
            }
        },
        _ = tokio::signal::ctrl_c() => Exit::Interrupted,
    };
    if args.keep {
        say!("The example is kept in {}", folder.keep().display());
    }
    exit
}

async fn show(folder: &Path, keep: bool) -> anyhow::Result<Exit> {
    let level = LogOptions { level: LogLevel::Error, format: LogFormat::Text };
    logging::init(&level).map_err(anyhow::Error::msg)?;
    let root = folder.join("data");
    say!("An example rig with {} finished sessions: {}", SESSIONS.len(), root.display());
    for session in &SESSIONS {
        session.write(&root)?;
    }
    let sandbox = Sandbox::start(SandboxOptions::default()).await?;
    say!("A built-in Alyx for practice: {}", sandbox.url());
    let config = configuration(folder, &root, sandbox.url())?;
    say!("The daemon watches, configured by {}\n", folder.join("config.yaml").display());

    let credentials = wiring::credentials(&config).map_err(|_| anyhow::anyhow!("no credentials"))?;
    let client = wiring::client(&config, credentials).map_err(|_| anyhow::anyhow!("no client"))?;
    let shutdown = CancellationToken::new();
    let (reports_in, mut reports) = mpsc::unbounded_channel();
    let io = DaemonIo { reports: Some(reports_in), ..DaemonIo::default() };
    let service = tokio::spawn(daemon::run(client.clone(), wiring::daemon(&config), io, shutdown.clone()));
    let outcomes = tokio::time::timeout(AT_MOST, outcomes(&root, &mut reports)).await;
    shutdown.cancel();
    service.await?;
    let outcomes =
        outcomes.map_err(|_| anyhow::anyhow!("not every session had an outcome within {AT_MOST:?}"))??;
    let complete = table(&client, &root, &outcomes).await?;
    sandbox.stop().await;
    if !complete {
        say!("\nThe demo failed: please report it with everything above.");
        return Ok(Exit::Incomplete);
    }
    say!(
        "\nDemo passed: {} sessions registered and their flags removed, 1 needs attention. {}",
        SESSIONS.len() - 1,
        if keep { "" } else { "The example is deleted now; --keep keeps it." }
    );
    // As it was typed: an installed program is found by its name, one that was just built by its path.
    let program = std::env::args().next().unwrap_or_else(|| env!("CARGO_PKG_NAME").to_owned());
    say!("Next: {program} run --sandbox --data-root COPY_OF_YOUR_DATA");
    Ok(Exit::Success)
}

/// Writes a configuration and loads it as the daemon does.
fn configuration(folder: &Path, root: &Path, url: &str) -> anyhow::Result<Config> {
    let password = folder.join("password");
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&password)?;
    writeln!(file, "{}", crate::cli::practice::sandbox::PASSWORD)?;
    let state = folder.join("state");
    std::fs::create_dir(&state)?;
    let path = folder.join("config.yaml");
    // A JSON string is YAML, so the name of the temporary folder may hold any character.
    let quoted = |path: &Path| serde_json::Value::from(path.to_string_lossy()).to_string();
    std::fs::write(
        &path,
        format!(
            "data_roots:\n  - {}\nalyx:\n  url: {url}\n  username: {}\n  password_file: {}\nstate_dir: {}\n\
             watch:\n  settle: 200 ms\n",
            quoted(root),
            crate::cli::practice::sandbox::USER,
            quoted(&password),
            quoted(&state),
        ),
    )?;
    Config::load_with(&path, &Overrides::default(), &Environment::default())
        .map_err(|e| anyhow::anyhow!("{e}"))
}

/// Creates the flags when the daemon is ready, and prints each outcome.
async fn outcomes(
    root: &Path,
    reports: &mut mpsc::UnboundedReceiver<Report>,
) -> io::Result<HashMap<PathBuf, Shown>> {
    let mut shown = HashMap::new();
    while let Some(report) = reports.recv().await {
        match report {
            Report::Scanned(_) if shown.is_empty() => {
                for session in &SESSIONS {
                    tokio::fs::write(session.flag(root), "").await?;
                }
                say!("{} flags created; the outcome of each:", SESSIONS.len());
            }
            Report::Scanned(_) => {}
            Report::Attempt { attempt, .. } => {
                let outcome = match &attempt.result {
                    AttemptResult::Registered(done) if done.left_out.is_empty() => "registered".to_owned(),
                    AttemptResult::Registered(done) => format!("registered; left out: {}", done.left_out),
                    // Still settling: the daemon tries again.
                    AttemptResult::Failed(error) if error.wait_to_settle().is_some() => {
                        say!("  {:<24} waits: {error}", attempt.session);
                        continue;
                    }
                    AttemptResult::Failed(error) => error.to_string(),
                    AttemptResult::Gone | AttemptResult::Stopped | AttemptResult::TooLarge => continue,
                };
                say!("  {:<24} {outcome}", attempt.session);
                shown.insert(attempt.flag, Shown { took: attempt.took, outcome });
                if shown.len() == SESSIONS.len() {
                    break;
                }
            }
        }
    }
    Ok(shown)
}

/// Prints what Alyx holds, and which sessions still wait. Returns whether the demo passed.
async fn table(
    client: &RegistrationClient,
    root: &Path,
    outcomes: &HashMap<PathBuf, Shown>,
) -> anyhow::Result<bool> {
    say!("\nRead back from Alyx:");
    say!(
        "{:<24} {:<36} {:>8} {:>9} {:>7}  {:<15}  example",
        "session",
        "eid",
        "datasets",
        "bytes",
        "took",
        "outcome"
    );
    let mut waiting: Vec<&ExampleSession> = Vec::new();
    let mut complete = true;
    for session in &SESSIONS {
        let path = alf::SessionPath::parse(&root.join(session.folder))?;
        let search = SessionSearch { subject: path.subject(), date: path.date(), number: path.number() };
        let flag = session.flag(root);
        let waits = tokio::fs::try_exists(&flag).await?;
        let shown = outcomes.get(&flag);
        let took = shown.map_or(String::new(), |s| format!("{:.2} s", s.took.as_secs_f64()));
        let found = client.alyx().sessions(&search).await?;
        complete &= match found.as_slice() {
            [] => waits && path.subject() == UNKNOWN,
            [_] => !waits,
            _ => false,
        };
        let (eid, datasets) = match found.first() {
            Some(one) => (one.eid(), client.alyx().datasets_of_session(one.eid()).await?),
            None => ("-", Vec::new()),
        };
        let bytes: u64 = datasets.iter().filter_map(|d| d.file_size).sum();
        let outcome = if waits { "needs attention" } else { "registered" };
        say!(
            "{:<24} {eid:<36} {:>8} {:>9} {took:>7}  {outcome:<15}  {}",
            session.name(),
            datasets.len(),
            humanize::bytes(bytes),
            session.about,
        );
        if waits {
            waiting.push(session);
        }
    }
    for session in waiting {
        let flag = session.flag(root);
        say!("\nFlag kept: {}", flag.display());
        if let Some(shown) = outcomes.get(&flag) {
            say!("Reason: {}.", shown.outcome);
            say!(
                "On a real rig nothing is lost: the daemon tries again later, and immediately when the flag is touched."
            );
        }
    }
    Ok(complete)
}
