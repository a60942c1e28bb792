//! `scan --orphans`: lists the session folders without a flag that are not on Alyx. Read-only.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::cli::args::ScanArgs;
use crate::cli::exit::Exit;
use crate::cli::output::progress;
use crate::cli::output::{Failure, say};
use crate::cli::scan::scan_roots::{ScannedRoots, scan_roots};
use crate::cli::service::wiring;
use crate::daemon::outside::signals;
use crate::humanize;
use crate::json::document::Document;
use crate::json::error_report::ErrorReport;
use crate::json::path_text::PathText;
use alf::SessionPath;
use alf::session_path::SessionPathError;
use alyx_client::NextStep;
use alyx_client::text::printable;
use alyx_registration::{Error, RegistrationClient, SubjectFolders};

/// The result in numbers.
#[derive(Debug, Default, Clone, Copy)]
struct Found {
    folders: usize,
    subjects: usize,
    /// Folders that are not on Alyx.
    orphans: usize,
    /// Folders whose names are not valid for a session.
    misnamed: usize,
    /// Folders that could not be compared, because Alyx did not answer.
    not_compared: usize,
    /// Roots, folders and subjects that could not be read.
    missed: usize,
}

/// Why the comparison stopped before the last subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CutOff {
    Refused,
    Away,
}

/// Lists the orphans.
pub(crate) async fn orphans(args: &ScanArgs) -> Exit {
    match orphans_with(args).await {
        Ok(exit) => exit,
        Err(failure) => failure.end("scan", args.json),
    }
}

async fn orphans_with(args: &ScanArgs) -> Result<Exit, Failure> {
    let config = wiring::configuration(&args.config)?;
    let client = wiring::read_only_client(&config, wiring::credentials(&config)?)?;
    let shutdown = CancellationToken::new();
    signals::listen(shutdown.clone()).map_err(|error| Failure::no_signals(&error))?;
    wiring::check_login(&client).await?;
    let ScannedRoots { unflagged, missed, .. } = scan_roots(&config, &Default::default(), &shutdown).await;
    if args.json && !missed.is_empty() {
        say!("{}", Document::failed("scan", missed.clone()).line());
    }
    let mut found = Found { folders: unflagged.len(), missed: missed.len(), ..Found::default() };
    let (subjects, misnamed) = sort(unflagged);
    (found.subjects, found.misnamed) = (subjects.len(), misnamed.len());
    found.not_compared = found.folders - found.misnamed;
    for (folder, why) in misnamed {
        tell(args.json, None, &folder, Some(why));
    }
    let (count, asked) = (subjects.len() as u64, AtomicU64::new(0));
    let asking = ask(&client, subjects, config.workers, args.json, &asked, &mut found);
    let cut_off = tokio::select! {
        biased;
        () = shutdown.cancelled() => return Err(Failure::interrupted().logged()),
        cut_off = progress::counted("asking Alyx", "subjects", (&asked, count), asking) => cut_off,
    };
    if !args.json {
        say!("{}", found.text());
    }
    Ok(exit_code(&found, cut_off))
}

/// The folders by subject, and those whose names are not valid for a session, with the reason. Pure.
fn sort(mut folders: Vec<PathBuf>) -> (Vec<SubjectFolders>, Vec<(PathBuf, SessionPathError)>) {
    let (mut sessions, mut misnamed) = (Vec::new(), Vec::new());
    folders.sort();
    for folder in folders {
        match SessionPath::parse(&folder) {
            Ok(session) => sessions.push(session),
            Err(why) => misnamed.push((folder, why)),
        }
    }
    (SubjectFolders::of(sessions), misnamed)
}

/// Asks Alyx for each subject's sessions, and prints the folders that are not on Alyx.
async fn ask(
    client: &RegistrationClient,
    subjects: Vec<SubjectFolders>,
    workers: usize,
    as_json: bool,
    asked: &AtomicU64,
    found: &mut Found,
) -> Option<CutOff> {
    let mut answers = futures_util::stream::iter(subjects)
        .map(|folders| async move { (client.find_orphans(&folders).await, folders) })
        .buffered(workers.max(1));
    while let Some((answer, folders)) = answers.next().await {
        asked.fetch_add(1, Ordering::Relaxed);
        match answer {
            Ok(orphans) => {
                found.not_compared -= folders.sessions().len();
                found.orphans += orphans.len();
                for session in orphans {
                    tell(as_json, Some(&session), session.folder(), None);
                }
            }
            Err(error) => {
                found.missed += 1;
                let (subject, sessions) = (folders.subject(), folders.sessions().len());
                tracing::error!("the {sessions} sessions of {subject} cannot be compared: {error}");
                if as_json {
                    let document = Document::failed("scan", vec![ErrorReport::from(&error)]).line();
                    progress::above(|| say!("{document}"));
                }
                // The other subjects would fail too, each after its own time-out.
                if error.is_outage() {
                    return Some(CutOff::Away);
                }
                if error.next_step() == NextStep::NeedsCredentials {
                    return Some(CutOff::Refused);
                }
            }
        }
    }
    None
}

fn tell(as_json: bool, session: Option<&SessionPath>, folder: &Path, why: Option<SessionPathError>) {
    progress::above(|| {
        if as_json {
            say!("{}", document(session, folder, why));
        } else if let Some(session) = session {
            say!("orphan    {session}  {}", printable(&folder.to_string_lossy()));
        } else {
            say!("misnamed  {}", why.map(|why| why.to_string()).unwrap_or_default());
        }
    });
}

/// The fields of `scan --orphans`, for one folder.
#[derive(Serialize)]
struct OrphanJson {
    session: Option<String>,
    folder: PathText,
    error: Option<ErrorReport>,
}

fn document(session: Option<&SessionPath>, folder: &Path, why: Option<SessionPathError>) -> String {
    let outcome = if session.is_some() { "orphan" } else { "misnamed" };
    let error = why.map(|why| ErrorReport::from(&Error::from(why)).at(folder));
    let errors = error.clone().into_iter().collect();
    let fields = OrphanJson { session: session.map(ToString::to_string), folder: folder.into(), error };
    Document::new("scan", outcome, fields, errors).line()
}

impl Found {
    fn text(&self) -> String {
        let Self { folders, subjects, orphans, misnamed, not_compared, missed } = self;
        let mut text = format!(
            "{orphans} of {folders} session folders without a flag are not on Alyx ({})",
            humanize::count(*subjects as u64, "subject")
        );
        if *misnamed > 0 {
            text += &format!("; {misnamed} cannot be, because their names are not valid for a session");
        }
        if *not_compared > 0 {
            text += &format!("; {not_compared} could not be compared, see above");
        }
        if *missed > 0 {
            text += &format!("; {}, see above", humanize::count(*missed as u64, "other problem"));
        }
        if *orphans > 0 {
            text += ". To register one: touch create_me.flag in its folder";
        }
        text
    }
}

/// The exit code. Pure.
fn exit_code(found: &Found, cut_off: Option<CutOff>) -> Exit {
    match cut_off {
        Some(CutOff::Refused) => Exit::Refused,
        Some(CutOff::Away) => Exit::Unavailable,
        None if found.orphans + found.misnamed + found.missed > 0 => Exit::Incomplete,
        None => Exit::Success,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_whether_all_folders_are_on_alyx() {
        let none = Found { folders: 7, subjects: 2, ..Found::default() };
        assert_eq!(exit_code(&none, None), Exit::Success);
        for some in [Found { orphans: 1, ..none }, Found { misnamed: 1, ..none }, Found { missed: 1, ..none }]
        {
            assert_eq!(exit_code(&some, None), Exit::Incomplete, "{some:?}");
        }
        assert_eq!(exit_code(&none, Some(CutOff::Away)), Exit::Unavailable);
        assert_eq!(exit_code(&none, Some(CutOff::Refused)), Exit::Refused);
    }
}
