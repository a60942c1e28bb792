//! The whole job, from flags on disk to sessions with their files on Alyx, compared with the Python client.
//!
//! The program runs as a separate process, so that its memory can be measured; the Alyx is the sandbox in this process,
//! in memory, and counts the requests. If `ONE_PYTHON` names a Python with ONE-api, the Python client registers its own
//! sessions in the same run.
#![allow(clippy::disallowed_macros, clippy::disallowed_methods, reason = "a separate program, which prints")]

mod common;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use alyx_sandbox::{RequestSeen, Sandbox, SandboxOptions};
use clap::Parser;
use common::python_client::create_sessions;
use common::registrar::{Registrar, Settings};
use common::{Error, Required, SELF, Series, Table, processor_seconds, rig, shown};

/// Flagged sessions of 10 files of 1 kB: time, requests and memory
#[derive(Parser)]
struct Options {
    /// Flagged sessions
    #[arg(long, default_value_t = 200)]
    sessions: usize,
    /// Rounds; each measures every client once
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Rounds of the Python client, which takes a few seconds per session
    #[arg(long, default_value_t = 2)]
    python_rounds: usize,
    /// Sessions for the Python client
    #[arg(long, default_value_t = 10)]
    python_sessions: usize,
    /// A Python with ONE-api
    #[arg(long, env = "ONE_PYTHON")]
    python: Option<PathBuf>,
    /// Sessions at once
    #[arg(long, default_value_t = 2)]
    workers: usize,
}

/// The figures of one client.
#[derive(Default)]
struct Figures {
    seconds: Series,
    processor: Series,
    sandbox_processor: Series,
    per_session: Series,
    requests: Series,
    requests_once: Series,
    memory: Series,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let quick =
        || Options { sessions: 4, rounds: 1, python_rounds: 1, python_sessions: 2, python: None, workers: 2 };
    let options: Options = common::options(quick);
    let mut table = Table::begin(&format!(
        "{} flagged sessions of {} files of 1 kB on the sandbox, {} workers, {} rounds",
        options.sessions,
        rig::FILES.len(),
        options.workers,
        options.rounds
    ));
    let (mut ours, mut unread, mut python) = (Figures::default(), Figures::default(), Figures::default());
    let mut last = Vec::new();
    for round in 0..options.rounds {
        last = run_ours(&options, "", &mut ours).await?;
        run_ours(&options, "metadata: {readers: []}\n", &mut unread).await?;
        if let Some(interpreter) = options.python.as_ref().filter(|_| round < options.python_rounds) {
            run_python(interpreter, options.python_sessions, &mut python).await?;
        }
    }
    if options.python.is_none() {
        println!("ONE_PYTHON names no Python with ONE-api: the comparison is left out\n");
    }
    report(&options, &ours, &unread, &python, &mut table)?;
    table.print();
    println!("The requests of the last round:");
    for (request, times) in kinds(&last) {
        println!("{times:>7}  {request}");
    }
    Ok(())
}

fn report(
    options: &Options,
    ours: &Figures,
    unread: &Figures,
    python: &Figures,
    table: &mut Table,
) -> Result<(), Error> {
    let median = |series: &Series| series.median().ok_or("nothing was measured");
    let all =
        format!("all {} sessions, from the start of the program to the last flag removed", options.sessions);
    table.limit(all, median(&ours.seconds)?, "s", Required::AtMost(3.0));
    let once = median(&ours.requests_once)?;
    let later = median(&ours.requests)? - once / options.sessions as f64;
    table.limit("requests per session, once names are known", later, "", Required::AtMost(5.0));
    table.note("  requests for the login and the names, in all", once);
    table.limit("peak resident memory", median(&ours.memory)?, "MB", Required::AtMost(40.0));
    table.note("  CPU time of the program", shown(&ours.processor, "s"));
    table.note("  CPU time of the sandbox", shown(&ours.sandbox_processor, "s"));
    let mut compare = |what: String, ours: &Series, python: &Series, unit: &str| {
        table.ratio(what, shown(ours, unit), shown(python, unit), python.ratio_to(ours), None);
    };
    let readers = "with metadata.readers: [], for sessions without metadata";
    compare(format!("time, beside that {readers}"), &ours.seconds, &unread.seconds, "s");
    compare(format!("CPU time, beside that {readers}"), &ours.processor, &unread.processor, "s");
    let of = format!("(Python client: {} sessions)", options.python_sessions);
    compare(format!("time per session {of}"), &ours.per_session, &python.per_session, "ms");
    compare("requests per session".to_owned(), &ours.requests, &python.requests, "");
    compare("peak resident memory".to_owned(), &ours.memory, &python.memory, "MB");
    Ok(())
}

/// One round of the program with these settings; returns its requests.
async fn run_ours(
    options: &Options,
    settings: &str,
    figures: &mut Figures,
) -> Result<Vec<RequestSeen>, Error> {
    let (folder, sandbox) = (tempfile::tempdir()?, Sandbox::start(SandboxOptions::default()).await?);
    let root = folder.path().join("data");
    rig::flagged_root(&root, options.sessions)?;
    let more = format!("workers: {}\n{settings}", options.workers);
    let settings =
        Settings { root: &root, folder: folder.path(), url: sandbox.url(), settle: "0 s", more: &more };
    let config = settings.write()?;

    let sessions = options.sessions;
    // The sandbox runs on this runtime, so waiting must not block it.
    let run = tokio::task::spawn_blocking(move || run_to_the_end(&config, sessions)).await??;

    let left = (0..sessions).filter(|n| rig::session(&root, *n).join("create_me.flag").exists()).count();
    let datasets = sandbox.control().datasets().len();
    if left > 0 || datasets != sessions * rig::FILES.len() {
        return Err(format!("{left} flags are left, {datasets} datasets were registered").into());
    }
    let requests = sandbox.control().count_requests();
    let seen = sandbox.control().requests();
    let of_a_session = ["/sessions", "/register-file", "/datasets"];
    let asked_once =
        seen.iter().filter(|request| !of_a_session.iter().any(|path| request.path.starts_with(path))).count();
    figures.seconds.0.push(run.took);
    figures.processor.0.push(run.processor);
    figures.sandbox_processor.0.push(run.sandbox_processor);
    figures.per_session.0.push(run.took * 1e3 / sessions as f64);
    figures.requests.0.push(requests as f64 / sessions as f64);
    figures.requests_once.0.push(asked_once as f64);
    figures.memory.0.push(run.memory);
    sandbox.stop().await;
    Ok(seen)
}

/// Runs the program from its start to the removal of the last flag.
struct Run {
    took: f64,
    processor: f64,
    sandbox_processor: f64,
    memory: f64,
}

fn run_to_the_end(config: &Path, sessions: usize) -> Result<Run, Error> {
    let (began, before) = (Instant::now(), processor_seconds(Path::new(SELF))?);
    let registrar = Registrar::run(config)?;
    for _ in 0..sessions {
        // This line is logged after the flag's removal.
        registrar.wait_for("registered", Duration::from_secs(60))?;
    }
    Ok(Run {
        took: began.elapsed().as_secs_f64(),
        processor: processor_seconds(&registrar.child.proc())?,
        sandbox_processor: processor_seconds(Path::new(SELF))? - before,
        memory: registrar.child.peak_memory().ok_or("no VmHWM")?,
    })
}

async fn run_python(python: &Path, sessions: usize, figures: &mut Figures) -> Result<(), Error> {
    let (folder, sandbox) = (tempfile::tempdir()?, Sandbox::start(SandboxOptions::default()).await?);
    let root = folder.path().join("data");
    rig::flagged_root(&root, sessions)?;
    let (python, url, home) = (python.to_owned(), sandbox.url().to_owned(), folder.path().to_owned());
    let run = move || create_sessions(&python, &url, &root, &home);
    let measured = tokio::task::spawn_blocking(run).await??;
    let datasets = sandbox.control().datasets().len();
    if datasets != sessions * rig::FILES.len() {
        return Err(format!("the Python client registered {datasets} datasets").into());
    }
    figures.seconds.0.push(measured.seconds);
    figures.per_session.0.push(measured.seconds * 1e3 / sessions as f64);
    figures.requests.0.push(sandbox.control().count_requests() as f64 / sessions as f64);
    figures.memory.0.push(measured.memory);
    sandbox.stop().await;
    Ok(())
}

/// The number of requests of each kind, most frequent first.
fn kinds(requests: &[RequestSeen]) -> Vec<(String, usize)> {
    let mut counted: Vec<(String, usize)> = Vec::new();
    for request in requests {
        let endpoint = request.path.split('/').nth(1).unwrap_or_default();
        let (one, query) = (request.path.matches('/').count() > 1, !request.query.is_empty());
        let kind = match (one, query) {
            (true, _) => format!("{} /{endpoint}/<one>", request.method),
            (false, true) => format!("{} /{endpoint}?…", request.method),
            (false, false) => format!("{} /{endpoint}", request.method),
        };
        match counted.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, times)) => *times += 1,
            None => counted.push((kind, 1)),
        }
    }
    counted.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
    counted
}
