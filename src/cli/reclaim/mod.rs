//! `reclaim`: lists the files here that have enough verified copies elsewhere. Deletes nothing.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

mod report;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use jiff::civil::Date;
use tokio_util::sync::CancellationToken;

use crate::cli::args::ReclaimArgs;
use crate::cli::audit::selection::HANGS_AFTER;
use crate::cli::exit::Exit;
use crate::cli::follow::scope::sessions;
use crate::cli::output::{Failure, exit_of, progress};
use crate::cli::reclaim::report::{Form, Tally};
use crate::cli::remembered::Remembered;
use crate::cli::service::wiring;
use crate::config::Config;
use crate::daemon::outside::signals;
use crate::json::error_report::{CommandKind, ErrorReport};
use crate::ledger::Access;
use alyx_client::{NextStep, RepositoryRecord};
use alyx_registration::{
    Error, FlaggedOptions, FollowedRepository, ReadCopies, ReclaimNeeds, ReclaimRules, RegistrationClient,
    SessionPair,
};

/// Lists files.
pub(crate) async fn reclaim(args: &ReclaimArgs) -> Exit {
    match reclaim_with(args).await {
        Ok(exit) => exit,
        Err(failure) => failure.end("reclaim", args.json),
    }
}

async fn reclaim_with(args: &ReclaimArgs) -> Result<Exit, Failure> {
    let config = wiring::configuration(&args.scope.config())?;
    let flagged = wiring::flagged(&config);
    let roots: Vec<PathBuf> = config.data_roots.iter().map(|root| root.path.clone()).collect();
    let repositories = FollowedRepository::of(&flagged, &roots);
    if repositories.iter().all(|repository| repository.is_own) {
        return Err(Failure::new(
            Exit::Config,
            "there is no other repository in which copies could be; name it and its folder in repositories",
        ));
    }
    let client = wiring::read_only_client(&config, wiring::credentials(&config)?)?;
    let remembered = Remembered::open(&config, Access::Change);
    let client = client.in_context(remembered.context());
    let memory = remembered.ledger().map(|ledger| -> Arc<dyn ReadCopies> { ledger });
    let shutdown = CancellationToken::new();
    signals::listen(shutdown.clone()).map_err(|error| Failure::no_signals(&error))?;
    wiring::check_login(&client).await?;
    let form = match args {
        ReclaimArgs { json: true, .. } => Form::Json,
        ReclaimArgs { null: true, .. } => Form::Null,
        _ => Form::Lines,
    };
    let mut run =
        Run { args, config: &config, client, flagged, repositories, form, memory, tally: Tally::default() };
    let ended = tokio::select! {
        biased;
        () = shutdown.cancelled() => return Err(Failure::interrupted().logged()),
        ended = run.all() => ended?,
    };
    let (exit, errors) = match ended {
        Ok(()) => (run.tally.exit(), Vec::new()),
        Err(error) => (exit_of(&error), vec![ErrorReport::from(&error)]),
    };
    report::totals(&run.tally, errors, form);
    Ok(exit)
}

/// A run of the command.
struct Run<'a> {
    args: &'a ReclaimArgs,
    config: &'a Config,
    client: RegistrationClient,
    flagged: FlaggedOptions,
    repositories: Vec<FollowedRepository>,
    form: Form,
    memory: Option<Arc<dyn ReadCopies>>,
    tally: Tally,
}

impl Run<'_> {
    /// Looks at all sessions.
    ///
    /// # Errors
    /// An outage, or a refused login. The outer one: the arguments name nothing.
    async fn all(&mut self) -> Result<Result<(), Error>, Failure> {
        let servers = self.client.alyx().repositories().await?;
        let servers = servers.into_iter().filter(RepositoryRecord::is_server).map(|record| record.name);
        let servers: BTreeSet<String> = servers.collect();
        let pairs = sessions(&self.args.scope.targets, self.config, &self.client).await?;
        let pairs: Vec<SessionPair> = pairs.into_iter().filter(|pair| !pair.folders.is_empty()).collect();
        let done = AtomicU64::new(0);
        let n = pairs.len() as u64;
        let work = self.work(pairs, &servers, &done);
        Ok(progress::counted("comparing", "sessions", (&done, n), work).await)
    }

    async fn work(
        &mut self,
        pairs: Vec<SessionPair>,
        servers: &BTreeSet<String>,
        done: &AtomicU64,
    ) -> Result<(), Error> {
        let Self { args, client, flagged, repositories, form, memory, tally, .. } = self;
        let Some(until) = before(jiff::Zoned::now().date(), args.older_than) else { return Ok(()) };
        let rules = ReclaimRules {
            flagged,
            repositories,
            servers,
            needs: ReclaimNeeds { copies: args.copies.into() },
            until,
            verified_within: args.verified_within,
            memory: memory.clone(),
            hangs_after: HANGS_AFTER,
        };
        // One after the other: each reads its files with all threads.
        let mut pairs = futures_util::stream::iter(pairs);
        while let Some(pair) = pairs.next().await {
            done.fetch_add(1, Ordering::Relaxed);
            match client.reclaimable(&pair, &rules).await {
                Ok(Ok(files)) => {
                    match files.iter().find(|(path, _)| *form == Form::Lines && has_line_break(path)) {
                        Some((path, _)) => {
                            tally.not_compared();
                            let report = ErrorReport::command(
                                CommandKind::Disk,
                                format!(
                                    "the name {path:?} has a line break, so its session is not listed; use -0"
                                ),
                            );
                            report::failure(report.at(path), *form);
                        }
                        None => {
                            tally.free(&files);
                            report::free(&pair.name, &files, *form);
                        }
                    }
                }
                Ok(Err(reason)) => {
                    tally.kept(&reason);
                    report::kept(&pair.name, &reason, *form);
                }
                Err(error) => {
                    tally.not_compared();
                    report::not_compared(&pair.name, &error, *form);
                    if error.is_outage() || error.next_step() == NextStep::NeedsCredentials {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }
}

fn has_line_break(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().contains(&b'\n')
}

/// The day that lies a time before today. Pure.
fn before(today: Date, time: Duration) -> Option<Date> {
    let days = i64::try_from(time.as_secs().div_ceil(86_400)).ok()?;
    today.checked_sub(jiff::Span::new().try_days(days).ok()?).ok()
}
