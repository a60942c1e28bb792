//! The time from the closing of a flag to the session on Alyx, beyond the settle time.
//!
//! The program runs as a separate process with its watches set; the sandbox in this process records the moment at which
//! it has answered `POST /sessions`. Sessions come one after another, as on a rig.
#![allow(clippy::disallowed_macros, clippy::disallowed_methods, reason = "a separate program, which prints")]

mod common;

use std::time::{Duration, Instant};

use alyx_sandbox::{Sandbox, SandboxOptions};
use clap::Parser;
use common::registrar::{Registrar, Settings};
use common::{Error, Required, Table, median, rig};

/// From the flag to the session on Alyx, beyond the settle time
#[derive(Parser)]
struct Options {
    /// Sessions, one after another
    #[arg(long, default_value_t = 50)]
    sessions: usize,
    /// The settle time, in ms
    #[arg(long, default_value_t = 200)]
    settle: u64,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let options: Options = common::options(|| Options { sessions: 2, settle: 10 });
    let (folder, sandbox) = (tempfile::tempdir()?, Sandbox::start(SandboxOptions::default()).await?);
    let root = folder.path().join("data");
    std::fs::create_dir(&root)?;
    let settle = format!("{} ms", options.settle);
    let settings =
        Settings { root: &root, folder: folder.path(), url: sandbox.url(), settle: &settle, more: "" };
    let registrar = Registrar::run(&settings.write()?)?;
    let at_most = Duration::from_secs(30);
    registrar.wait_for("data root scanned", at_most)?;

    let (mut visible, mut removed) = (Vec::new(), Vec::new());
    // The first session includes the login and the lookup of names.
    for number in 0..=options.sessions {
        let session = rig::session(&root, number);
        rig::write_files(&session, number)?;
        sandbox.control().clear_requests();
        rig::flag(&session)?;
        let closed = Instant::now();
        let created =
            sandbox.control().wait_for(|request| request.method == "POST" && request.path == "/sessions");
        tokio::time::timeout(at_most, created).await?;
        let on_alyx = closed.elapsed();
        let gone = || !session.join("create_me.flag").exists();
        if !tokio::task::block_in_place(|| common::wait_until(at_most, gone)) {
            return Err("the flag was not removed".into());
        }
        if number > 0 {
            let beyond = |time: Duration| (time.as_secs_f64() * 1e3) - options.settle as f64;
            visible.push(beyond(on_alyx));
            removed.push(beyond(closed.elapsed()));
        }
    }
    visible.sort_by(f64::total_cmp);
    let slow = visible.get(visible.len() * 9 / 10).copied().unwrap_or(f64::NAN);

    let mut table = Table::begin(&format!(
        "From the closing of a flag, beyond the settle time of {settle}; {} sessions of {} files of 1 kB",
        options.sessions,
        rig::FILES.len()
    ));
    table.limit("session on Alyx, median", median(&visible), "ms", Required::AtMost(50.0));
    table.note("session on Alyx, 90th percentile", common::with_unit(slow, "ms"));
    table.note("files registered and flag removed, median", common::with_unit(median(&removed), "ms"));
    table.print();
    drop(registrar);
    sandbox.stop().await;
    Ok(())
}
