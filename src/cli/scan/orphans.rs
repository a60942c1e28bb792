//! `scan --orphans`: lists the session folders without a flag that are not on Alyx. Read-only.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::cli::args::ScanArgs;
use crate::cli::exit::Exit;
use crate::cli::output::say;
use crate::cli::progress;
use crate::cli::scan::scan_roots::{ScannedRoots, scan_roots};
use crate::cli::service::wiring;
use crate::daemon::outside::signals;
use crate::humanize;
use alf::SessionPath;
use alyx_client::NextStep;
use alyx_client::text::printable;
use alyx_registration::{RegistrationClient, SubjectFolders};

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
        Ok(exit) | Err(exit) => exit,
    }
}

async fn orphans_with(args: &ScanArgs) -> Result<Exit, Exit> {
    let config = wiring::configuration(&args.config)?;
    let client = wiring::read_only_client(&config, wiring::credentials(&config)?)?;
    let shutdown = CancellationToken::new();
    signals::listen(shutdown.clone()).map_err(|error| {
        tracing::error!("signals cannot be received: {error}");
        Exit::Io
    })?;
    wiring::check_login(&client).await?;
    let ScannedRoots { unflagged, missed, .. } = scan_roots(&config, &shutdown).await;
    let mut found = Found { folders: unflagged.len(), missed, ..Found::default() };
    let (subjects, misnamed) = sort(unflagged);
    (found.subjects, found.misnamed) = (subjects.len(), misnamed.len());
    found.not_compared = found.folders - found.misnamed;
    for (folder, why) in misnamed {
        tell(args.json, None, &folder, Some(&why));
    }
    let (count, asked) = (subjects.len() as u64, AtomicU64::new(0));
    let asking = ask(&client, subjects, config.workers, args.json, &asked, &mut found);
    let cut_off = tokio::select! {
        biased;
        () = shutdown.cancelled() => return Ok(Exit::Interrupted),
        cut_off = progress::counted("asking Alyx", "subjects", (&asked, count), asking) => cut_off,
    };
    if !args.json {
        say!("{}", found.text());
    }
    Ok(exit_code(&found, cut_off))
}

/// The folders by subject, and those whose names are not valid for a session, with the reason. Pure.
fn sort(mut folders: Vec<PathBuf>) -> (Vec<SubjectFolders>, Vec<(PathBuf, String)>) {
    let (mut sessions, mut misnamed) = (Vec::new(), Vec::new());
    folders.sort();
    for folder in folders {
        match SessionPath::parse(&folder) {
            Ok(session) => sessions.push(session),
            Err(why) => misnamed.push((folder, why.to_string())),
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

fn tell(as_json: bool, session: Option<&SessionPath>, folder: &Path, why: Option<&str>) {
    progress::above(|| {
        if as_json {
            say!("{}", to_json(session, folder, why));
        } else if let Some(session) = session {
            say!("orphan    {session}  {}", printable(&folder.to_string_lossy()));
        } else {
            say!("misnamed  {}", why.unwrap_or_default());
        }
    });
}

fn to_json(session: Option<&SessionPath>, folder: &Path, why: Option<&str>) -> Value {
    json!({
        "outcome": if session.is_some() { "orphan" } else { "misnamed" },
        "session": session.map(ToString::to_string),
        "folder": folder.to_string_lossy(),
        "error": why,
    })
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
