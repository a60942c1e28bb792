//! `follow`: looks once for copies in other repositories, and tells Alyx of those that are complete.

mod report;
pub(super) mod scope;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::cli::args::FollowArgs;
use crate::cli::exit::Exit;
use crate::cli::follow::report::Tally;
use crate::cli::follow::scope::{Work, everything, named};
use crate::cli::output::{Failure, exit_of, progress};
use crate::cli::remembered::Remembered;
use crate::cli::service::wiring;
use crate::config::Config;
use crate::daemon::outside::signals;
use crate::json::error_report::ErrorReport;
use crate::ledger::Access;
use alyx_client::NextStep;
use alyx_registration::{CopyKind, Error, FollowMode, FollowRules, FollowedSession, RegistrationClient};

/// How often the copies of a session are looked at that are still written: the first look at a network drive does not show
/// whether something changes.
const MAX_LOOKS: u32 = 3;
/// The least number of sessions that are looked at at the same time.
const MIN_AT_ONCE: usize = 4;

/// Looks for copies.
pub(crate) async fn follow(args: &FollowArgs) -> Exit {
    match follow_with(args).await {
        Ok(exit) => exit,
        Err(failure) => failure.end("follow", args.json),
    }
}

async fn follow_with(args: &FollowArgs) -> Result<Exit, Failure> {
    let config = wiring::configuration(&args.scope.config())?;
    let rules = rules(&config)?;
    let client = wiring::client(&config, wiring::credentials(&config)?)?;
    let client = client.in_context(Remembered::open(&config, Access::Change).context());
    let shutdown = CancellationToken::new();
    signals::listen(shutdown.clone()).map_err(|error| Failure::no_signals(&error))?;
    wiring::check_login(&client).await?;
    let mut run = Run { args, config: &config, client, rules, tally: Tally::default() };
    let ended = tokio::select! {
        biased;
        () = shutdown.cancelled() => return Err(Failure::interrupted().logged()),
        ended = run.all() => ended?,
    };
    let (exit, errors) = match ended {
        Ok(()) => (run.tally.exit(), Vec::new()),
        Err(error) => (exit_of(&error), vec![ErrorReport::from(&error)]),
    };
    report::totals(&run.tally, errors, args.json);
    Ok(exit)
}

/// How copies are looked for. The daemon may leave that to this command.
fn rules(config: &Config) -> Result<FollowRules, Failure> {
    let mode = match config.follow {
        FollowMode::Off => FollowMode::Md5,
        mode => mode,
    };
    let config = Config { follow: mode, ..config.clone() };
    wiring::follow(&config).ok_or_else(|| {
        Failure::new(
            Exit::Config,
            "there is no repository in which copies could be looked for; name it and its folder in repositories",
        )
    })
}

/// A run of the command.
struct Run<'a> {
    args: &'a FollowArgs,
    config: &'a Config,
    client: RegistrationClient,
    rules: FollowRules,
    tally: Tally,
}

impl Run<'_> {
    /// Looks at all sessions.
    ///
    /// # Errors
    /// An outage, or a refused login: the other sessions would fail too. The outer one: the arguments name nothing.
    async fn all(&mut self) -> Result<Result<(), Error>, Failure> {
        let found = match self.args.scope.targets.is_empty() {
            true => everything(&self.client, &self.rules).await,
            false => Ok(named(self.args, self.config, &self.client).await?),
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        for report in found.failures {
            self.tally.not_compared();
            report::failure(report, self.args.json);
        }
        for ((session, repository), n) in &found.absent {
            self.tally.add(CopyKind::Absent, *n);
            report::absent(session, repository, *n, self.args.json);
        }
        (0..found.sessions_without_copies).for_each(|_| self.tally.session());
        let done = AtomicU64::new(0);
        let n = found.work.len() as u64;
        let work = self.work(found.work, &done);
        Ok(progress::counted("looking for copies", "sessions", (&done, n), work).await)
    }

    async fn work(&mut self, work: Vec<Work>, done: &AtomicU64) -> Result<(), Error> {
        let Self { args, config, client, rules, tally } = self;
        let at_once = config.workers.max(MIN_AT_ONCE);
        let (client, rules) = (&*client, &*rules);
        let looks = futures_util::stream::iter(work).map(|work| async move {
            let followed = look(client, &work, rules).await;
            (work, followed)
        });
        let mut looks = std::pin::pin!(looks.buffered(at_once));
        while let Some((Work { session, .. }, followed)) = looks.next().await {
            done.fetch_add(1, Ordering::Relaxed);
            tally.session();
            match followed {
                Ok(followed) => {
                    CopyKind::ALL.iter().for_each(|kind| tally.add(*kind, followed.count(*kind) as u64));
                    report::session(&session, &followed.copies, args.json);
                }
                Err(error) => {
                    tally.not_compared();
                    report::not_compared(&session, &error, args.json);
                    if error.is_outage() || error.next_step() == NextStep::NeedsCredentials {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Looks at the copies of a session, again while they may soon be complete.
async fn look(
    client: &RegistrationClient,
    work: &Work,
    rules: &FollowRules,
) -> Result<FollowedSession, Error> {
    let eid = match work {
        Work { eid: Some(eid), .. } => eid.clone(),
        Work { dataset: Some(dataset), .. } => match client.session_of_dataset(dataset).await? {
            Some(eid) => eid,
            None => return Ok(FollowedSession::default()),
        },
        _ => return Ok(FollowedSession::default()),
    };
    let mut earlier = FollowedSession::default();
    let longest = rules.quiet.settle.max(rules.quiet.settle_remote) + Duration::from_secs(5);
    for look in 1.. {
        let followed = client.follow_session(&eid, rules).await?;
        // What an earlier look has confirmed is not among them any more.
        let copies = earlier.copies.into_iter().filter(|copy| copy.kind == CopyKind::Confirmed);
        let copies = copies.chain(followed.copies).collect();
        earlier = FollowedSession { copies, wait: followed.wait };
        match followed.wait {
            Some(wait) if look < MAX_LOOKS => tokio::time::sleep(wait.min(longest)).await,
            _ => break,
        }
    }
    Ok(earlier)
}
