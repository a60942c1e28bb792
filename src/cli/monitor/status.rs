//! `status`: which sessions wait, run, or need attention, from the running daemon or from disk.

#![expect(clippy::disallowed_methods, reason = "reads the clock, works on the disk")]

use std::fmt::Write as _;
use std::path::Path;

use jiff::Timestamp;

use crate::cli::args::StatusArgs;
use crate::cli::exit::Exit;
use crate::cli::monitor::history::outcome_line;
use crate::cli::monitor::names::{SharedNames, folder_of};
use crate::cli::monitor::state::{State, blocking, without_socket};
use crate::cli::monitor::status_from_disk::status_from_disk;
use crate::cli::output::{Failure, say};
use crate::config::{DEFAULT_PATH, unit_of};
use crate::daemon::messages::{Answer, Request};
use crate::daemon::outside::control::ask;
use crate::daemon::status::sentence::{Sentence, sentences};
use crate::daemon::status::{LAST_OUTCOMES, SessionState, SessionStatus, Status};
use crate::humanize::elapsed;
use crate::ledger::{Access, HistoryFilter, Ledger, OutcomeRow};
use alyx_client::text::session_page;

/// Sessions of each kind that are shown; `--json` shows all.
const MAX_SHOWN: usize = 20;

/// Shows the status.
pub(crate) async fn status(args: &StatusArgs) -> Exit {
    match status_with(args).await {
        Ok(exit) => exit,
        Err(failure) => failure.end("status", args.json),
    }
}

async fn status_with(args: &StatusArgs) -> Result<Exit, Failure> {
    let state = State::find(&args.state)?;
    let (folder, config, zone) = (state.folder.clone(), state.config.clone(), state.zone());
    let start = start_command(args.state.config.as_deref());
    let (status, last) = blocking(move || {
        let ledger = Ledger::open_existing(&folder, Access::Read);
        let last = ledger.as_ref().ok().and_then(Option::as_ref).map(|ledger| {
            ledger.history(&HistoryFilter { limit: LAST_OUTCOMES, ..HistoryFilter::default() })
        });
        let status = match ask(&folder, &Request::Status)? {
            Some(Answer::Status(status)) => *status,
            Some(Answer::Refused(reason)) => return Err(reason),
            Some(Answer::Done(_)) => {
                return Err("the daemon sent an unexpected answer (different version?)".into());
            }
            None => {
                let (ledger, unreadable_ledger) = match ledger {
                    Ok(ledger) => (ledger, None),
                    Err(problem) => (None, Some(problem)),
                };
                let status = status_from_disk(ledger.as_ref(), config.as_ref(), Timestamp::now());
                Status { unreachable: without_socket(&folder), unreadable_ledger, ..status }
            }
        };
        Ok((status, last.unwrap_or_default()))
    })
    .await?;
    if args.json {
        say!("{}", status.document(&last));
    } else {
        say!("{}", text(&status, &last, Timestamp::now(), &zone, &start).trim_end_matches('\n'));
    }
    Ok(exit_code(&status))
}

/// The exit code. Pure.
fn exit_code(status: &Status) -> Exit {
    let Some(daemon) = &status.daemon else { return Exit::Unavailable };
    match daemon.login_refused_since {
        Some(_) => Exit::Refused,
        None if status.is_well() => Exit::Success,
        None => Exit::Incomplete,
    }
}

/// The command that starts the daemon of a configuration; `None` for the default one.
fn start_command(config: Option<&Path>) -> String {
    let absolute = config.map_or_else(|| Ok(DEFAULT_PATH.into()), std::path::absolute);
    match (config, absolute.ok().and_then(|path| unit_of(&path))) {
        (_, Some(unit)) => format!("sudo systemctl start {unit}"),
        (Some(config), None) => format!("alyx-registrar run --config {}", config.display()),
        (None, None) => "alyx-registrar run".to_owned(),
    }
}

/// The status as text. `start` is the command that starts the daemon. Pure.
fn text(
    status: &Status,
    last: &[OutcomeRow],
    now: Timestamp,
    zone: &jiff::tz::TimeZone,
    start: &str,
) -> String {
    let mut out = String::new();
    let alyx = status.alyx();
    let waiting =
        status.sessions.iter().map(|session| (&session.session, folder_of(Path::new(&session.flag))));
    let gaps = status.created_twice.iter().chain(&status.gaps);
    let gaps = gaps.map(|gap| (&gap.session, Path::new(&gap.folder)));
    let ended = last.iter().map(|row| (&row.session, folder_of(&row.flag)));
    let all = waiting.chain(gaps).chain(ended);
    let names = SharedNames::of(all.map(|(name, folder)| (name.as_str(), folder)));
    // Writing to a String cannot fail.
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    match &status.daemon {
        Some(daemon) => {
            line(format!(
                "The daemon has been running for {} (process {}, version {}) and registers on {}.",
                elapsed(daemon.since, now),
                daemon.pid,
                daemon.version,
                daemon.alyx
            ));
            daemon.read_limit().into_iter().for_each(&mut line);
        }
        None => line(match &status.unreachable {
            Some(text) => format!("{text}."),
            None => format!("The daemon is not running. To start it: {start}"),
        }),
    }
    // Obstacles, gaps, and sessions that need attention, are listed below.
    let of_lists = |sentence: &Sentence| {
        use Sentence::{CreatedTwice, Gaps, NeedAttention, Obstacles};
        matches!(sentence, Obstacles(_) | NeedAttention(_) | Gaps(_) | CreatedTwice(_))
    };
    for sentence in sentences(status).into_iter().filter(|sentence| !of_lists(sentence)) {
        line(sentence.text("", now));
    }
    if !status.obstacles.is_empty() {
        line(format!("\nproblems on disk ({})", status.obstacles.len()));
        for obstacle in status.obstacles.iter().take(MAX_SHOWN) {
            let since = obstacle.since.map(|since| format!("for {}: ", elapsed(since, now)));
            line(format!("  {}{}", since.unwrap_or_default(), obstacle.text));
        }
        if status.obstacles.len() > MAX_SHOWN {
            line(format!("  and {} more; --json shows all", status.obstacles.len() - MAX_SHOWN));
        }
    }
    for state in
        [SessionState::NeedsAttention, SessionState::Running, SessionState::Retrying, SessionState::Waiting]
    {
        let of_state: Vec<&SessionStatus> = status.sessions.iter().filter(|s| s.state == state).collect();
        if of_state.is_empty() {
            continue;
        }
        line(format!("\n{} ({})", state.text(), of_state.len()));
        for session in of_state.iter().take(MAX_SHOWN) {
            let about = match &session.progress {
                Some(progress) => progress.text(now),
                None => session.about(now).join(", "),
            };
            let name = names.text(&session.session, folder_of(Path::new(&session.flag)));
            line(format!("  {name}  {about}"));
            if let Some(error) = &session.error {
                line(format!("      {error}"));
            }
            if let Some(next_step) = session.advice() {
                line(format!("      What to do: {next_step}."));
            }
            if let Some(command) = session.retry() {
                line(format!("      To try at once: {command}"));
            }
        }
        if of_state.len() > MAX_SHOWN {
            line(format!("  and {} more; --json shows all", of_state.len() - MAX_SHOWN));
        }
    }
    for (title, found) in [("created twice", &status.created_twice), ("registered with gaps", &status.gaps)] {
        if found.is_empty() {
            continue;
        }
        line(format!("\n{title} ({})", found.len()));
        for session in found.iter().take(MAX_SHOWN) {
            let name = names.text(&session.session, Path::new(&session.folder));
            line(format!("  {name}  {} ago", elapsed(session.at, now)));
            line(format!("      {}", session.text));
            if let Some(alyx) = alyx.filter(|_| !session.eid.is_empty()) {
                line(format!("      On Alyx: {}", session_page(alyx, &session.eid)));
            }
            line(format!("      To end this: {}", session.acknowledge()));
        }
        if found.len() > MAX_SHOWN {
            line(format!("  and {} more; --json shows all", found.len() - MAX_SHOWN));
        }
    }
    if status.sessions.is_empty() {
        line("\nNo sessions are waiting.".to_owned());
    }
    if !last.is_empty() {
        line("\nlast outcomes".to_owned());
        for row in last {
            line(format!("  {}", outcome_line(row, &names, zone, alyx)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::status::examples::{at, daemon, session};
    use crate::daemon::status::{DaemonStatus, ObstacleStatus};
    use alyx_registration::{YieldCause, YieldState};

    #[test]
    fn an_obstacle_on_disk_needs_attention() {
        let text = "the data root \"/data\" is missing".to_owned();
        let obstacle = ObstacleStatus { root: "/data".into(), since: Some(at(0)), text };
        let status = Status { daemon: Some(daemon()), obstacles: vec![obstacle; 21], ..Status::default() };
        let text = super::text(&status, &[], at(3600), &jiff::tz::TimeZone::UTC, "sudo systemctl start x");
        for wanted in ["problems on disk (21)", "  for 1 h 0 min: the data root", "and 1 more"] {
            assert!(text.contains(wanted), "{wanted}:\n{text}");
        }
        assert_eq!(exit_code(&status), Exit::Incomplete);
    }

    #[test]
    fn a_limit_to_what_is_read_is_shown() {
        let limited = DaemonStatus { max_read_rate: Some(100_000_000), ..daemon() };
        let status = Status { daemon: Some(limited), ..Status::default() };
        let text = text(&status, &[], at(3600), &jiff::tz::TimeZone::UTC, "sudo systemctl start x");
        assert!(
            text.contains("\nAt most 100.0 MB of files are read each second (reading.max_rate).\n"),
            "{text}"
        );
        let yielding = |rate, max| DaemonStatus {
            max_read_rate: max,
            yielding: Some(YieldState { rate, cause: YieldCause::Disk }),
            ..daemon()
        };
        let because = "At most 20.0 MB of files are read each second, because other programs wait for the disk \
                       (reading.yield).";
        assert_eq!(yielding(20_000_000, None).read_limit().as_deref(), Some(because));
        assert_eq!(yielding(20_000_000, Some(100_000_000)).read_limit().as_deref(), Some(because));
        let lower = yielding(200_000_000, Some(100_000_000)).read_limit().unwrap();
        assert!(lower.contains("(reading.max_rate)"), "{lower}");
    }

    #[test]
    fn each_session_is_shown_with_age_error_and_advice() {
        let sessions = [SessionState::NeedsAttention, SessionState::Running].map(session).to_vec();
        let status = Status { daemon: Some(daemon()), sessions, ..Status::default() };
        let text = text(&status, &[], at(3600), &jiff::tz::TimeZone::UTC, "sudo systemctl start x");
        for wanted in [
            "running for 1 h 0 min (process 7",
            "needs attention (1)",
            "for 1 h 0 min, 3 failures, next attempt in 1 h 1 min",
            "Alyx does not know subject \"KS014\"",
            "What to do: create it on Alyx.\n      To try at once: alyx-registrar retry KS014/2024-05-01/001\n",
            "12 of 300 files read, 5.0 MB of 200.0 GB",
        ] {
            assert!(text.contains(wanted), "{wanted:?} is not in:\n{text}");
        }
        assert_eq!(text.matches("To try at once").count(), 1, "{text}");
    }

    #[test]
    fn nobody_is_told_to_do_what_the_message_says() {
        let next_step = Some(alyx_registration::advice::FOLLOW_MESSAGE.to_owned());
        let sessions = vec![SessionStatus { next_step, ..session(SessionState::NeedsAttention) }];
        let status = Status { daemon: Some(daemon()), sessions, ..Status::default() };
        let text = text(&status, &[], at(3600), &jiff::tz::TimeZone::UTC, "sudo systemctl start x");
        assert!(text.contains("Alyx does not know subject") && !text.contains("What to do"), "{text}");
    }

    #[test]
    fn an_old_flag_is_shown_with_its_age_and_before_the_younger_ones() {
        let waiting = session(SessionState::Waiting);
        let stale = SessionStatus {
            stale: true,
            since: at(90),
            flagged_at: Some(at(-3 * 86_400)),
            ..waiting.clone()
        };
        let mut sessions = vec![waiting, stale];
        sessions.sort_by(SessionStatus::in_order);
        assert!(sessions[0].stale);
        let text = text(
            &Status { daemon: None, sessions, ..Status::default() },
            &[],
            at(3600),
            &jiff::tz::TimeZone::UTC,
            "sudo systemctl start x",
        );
        for wanted in ["One flag has waited for longer than watch.warn_after.", "flagged 3 d 1 h ago"] {
            assert!(text.contains(wanted), "{wanted:?} is not in:\n{text}");
        }
        assert_eq!(text.matches("flagged ").count(), 1, "{text}");
    }

    #[test]
    fn the_exit_code_tells_attention_login_and_no_daemon_apart() {
        let of = |daemon, sessions| exit_code(&Status { daemon, sessions, ..Status::default() });
        assert_eq!(of(None, Vec::new()), Exit::Unavailable);
        assert_eq!(of(Some(daemon()), vec![session(SessionState::Retrying)]), Exit::Success);
        assert_eq!(of(Some(daemon()), vec![session(SessionState::NeedsAttention)]), Exit::Incomplete);
        let stale = SessionStatus { stale: true, ..session(SessionState::Waiting) };
        assert_eq!(of(Some(daemon()), vec![stale]), Exit::Incomplete);
        let refused = DaemonStatus { login_refused_since: Some(at(0)), ..daemon() };
        assert_eq!(of(Some(refused), Vec::new()), Exit::Refused);
    }

    #[test]
    fn of_a_thousand_sessions_the_first_are_shown_and_the_rest_counted() {
        let status = Status {
            daemon: None,
            sessions: vec![session(SessionState::Waiting); 1000],
            ..Status::default()
        };
        let text = text(&status, &[], at(0), &jiff::tz::TimeZone::UTC, "sudo systemctl start x");
        assert!(text.contains("waiting (1000)") && text.contains("and 980 more"), "{text}");
        assert!(text.contains("not running. To start it: sudo systemctl start x"), "{text}");
    }
}
