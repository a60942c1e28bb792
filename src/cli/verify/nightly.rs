//! The verification that the daemon runs: what is due, until it is stopped.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cli::audit::report::{Output, Report};
use crate::cli::audit::selection::{Selection, Words};
use crate::cli::scan::scan_roots::scan_roots;
use crate::cli::verify::limits::Limits;
use crate::cli::verify::memory::Memory;
use crate::cli::verify::tally::Tally;
use crate::cli::verify::{DueOnly, Verification};
use crate::config::Config;
use crate::daemon::tree::root_locks::RootLocks;
use crate::daemon::verification::{VerifyEnded, VerifyTask, VerifyWork};

/// What is verified, by a configuration.
#[derive(Debug)]
pub(crate) struct Nightly {
    pub(crate) config: Config,
    pub(crate) locks: Arc<RootLocks>,
}

impl VerifyWork for Nightly {
    fn run(&self, task: VerifyTask) -> Pin<Box<dyn Future<Output = VerifyEnded> + Send>> {
        let (config, locks) = (self.config.clone(), Arc::clone(&self.locks));
        Box::pin(async move { pass(&config, &locks, task).await })
    }
}

async fn pass(config: &Config, locks: &Arc<RootLocks>, task: VerifyTask) -> VerifyEnded {
    let VerifyTask { client, ledger, since, stop } = task;
    let scanned = scan_roots(config, locks, &stop).await;
    let report = Report { command: "verify", output: Output::Log };
    let words = Words { targets: &[], since: None, resumed: false };
    let mut ended = VerifyEnded::default();
    if stop.is_cancelled() {
        ended.totals = totals(ledger).await;
        return ended;
    }
    match Selection::begin(&words, config, client, scanned, report).await {
        Ok(selection) => {
            let due_only = Some(DueOnly { stop });
            let memory = Memory(Some(Arc::clone(&ledger)));
            let (limits, tally) = (Limits::default(), Mutex::new(Tally::default()));
            let verification =
                Verification { selection, memory, since: Some(since), limits, marks: None, tally, due_only };
            let result = verification.run().await;
            let tally = verification.tally.into_inner().unwrap_or_else(PoisonError::into_inner);
            ended.bytes = tally.bytes;
            ended.is_complete = tally.stopped.is_none() && result.is_ok();
            ended.error = result.err();
        }
        Err(failure) => drop(failure.log()),
    }
    ended.totals = totals(ledger).await;
    ended
}

async fn totals(ledger: Arc<crate::ledger::Ledger>) -> crate::ledger::VerifiedTotals {
    tokio::task::spawn_blocking(move || ledger.verified_totals()).await.unwrap_or_default()
}
