//! The scope of `follow`: which sessions are looked at.

use std::collections::{BTreeMap, BTreeSet};

use tokio_util::sync::CancellationToken;

use crate::cli::args::FollowArgs;
use crate::cli::audit::scope::Scope;
use crate::cli::audit::targets::targets;
use crate::cli::output::Failure;
use crate::cli::scan::scan_roots::scan_roots;
use crate::config::Config;
use crate::json::error_report::{CommandKind, ErrorReport};
use alf::SessionPath;
use alyx_registration::{Error, FollowRules, RegistrationClient, SessionPair};

/// A session to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Work {
    /// `subject/date/number`.
    pub(super) session: String,
    /// Its UUID on Alyx, if it is known.
    pub(super) eid: Option<String>,
    /// One of its datasets, from which Alyx knows it.
    pub(super) dataset: Option<String>,
}

/// What is to be looked at, and what is known already.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) work: Vec<Work>,
    /// By session and repository: how many copies are not there, of sessions of which nothing is.
    pub(super) absent: BTreeMap<(String, String), u64>,
    pub(super) sessions_without_copies: u64,
    /// Repositories that could not be looked at.
    pub(super) failures: Vec<ErrorReport>,
}

/// Everything of which Alyx says that it does not exist in one of the repositories: a request for each 1000 files.
///
/// # Errors
/// Those of the requests.
pub(super) async fn everything(client: &RegistrationClient, rules: &FollowRules) -> Result<Found, Error> {
    let (mut found, mut arrived) = (Found::default(), BTreeMap::new());
    for repository in &rules.repositories {
        let name = &repository.mount.repository;
        let mut page = Some(0);
        while let Some(offset) = page {
            let files = client.absent_files(repository, offset, rules.hangs_after).await?;
            if let Some(why) = files.unavailable {
                let path = &repository.mount.path;
                let report = ErrorReport::command(
                    CommandKind::Disk,
                    format!(
                        "copies cannot be looked for in {name}: {}: {why}; mount its disk",
                        path.display()
                    ),
                );
                found.failures.push(report.at(path));
                break;
            }
            arrived.extend(files.arrived);
            for (session, n) in files.absent {
                *found.absent.entry((session, name.clone())).or_default() += n;
            }
            page = files.next;
        }
    }
    // Those are counted file by file.
    found.absent.retain(|(session, _), _| !arrived.contains_key(session));
    let without: BTreeSet<&String> = found.absent.keys().map(|(session, _)| session).collect();
    found.sessions_without_copies = without.len() as u64;
    found.work = arrived
        .into_iter()
        .map(|(session, dataset)| Work { session, eid: None, dataset: Some(dataset) })
        .collect();
    Ok(found)
}

/// The sessions that these words name, with their folders; without one, all that have a folder.
pub(in crate::cli) async fn sessions(
    words: &[String],
    config: &Config,
    client: &RegistrationClient,
) -> Result<Vec<SessionPair>, Failure> {
    let scanned = scan_roots(config, &Default::default(), &CancellationToken::new()).await;
    let flagged = scanned.flags.iter().map(|flag| flag.session_folder().to_owned());
    let all = scanned.unflagged.into_iter().chain(flagged).chain(scanned.with_bad_flag);
    let mut folders: Vec<SessionPath> = all.filter_map(|folder| SessionPath::parse(&folder).ok()).collect();
    // Of two flags in one session, both are listed.
    folders.sort_by(|a, b| a.folder().cmp(b.folder()));
    folders.dedup_by(|a, b| a.folder() == b.folder());
    let targets = targets(words, config, client, &folders).await?;
    let scope = Scope::of(&targets, folders, None);
    let mut found = Vec::new();
    for (subject, of_subject) in &scope.subjects {
        let pairs = client.sessions_to_audit(subject, &of_subject.folders).await?;
        found.extend(pairs.into_iter().filter(|pair| scope.takes(of_subject, pair)));
    }
    Ok(found)
}

/// The sessions on Alyx that the arguments name.
pub(super) async fn named(
    args: &FollowArgs,
    config: &Config,
    client: &RegistrationClient,
) -> Result<Found, Failure> {
    let mut found = Found::default();
    for pair in sessions(&args.scope.targets, config, client).await? {
        let work = |eid: &String| Work { session: pair.name.clone(), eid: Some(eid.clone()), dataset: None };
        found.work.extend(pair.eids.iter().map(work));
    }
    Ok(found)
}
