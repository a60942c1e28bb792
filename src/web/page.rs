//! The status page: one sentence on how it goes, then what needs a person, runs and waits, and what has been. Pure.
//!
//! Names of folders and texts of servers may hold anything. `maud` escapes everything that is put into the page, and
//! [`shown`] takes away what turns the direction of text.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{DOCTYPE, Markup, html};

use super::days::Day;
use super::news::Past;
use super::plot;
use crate::alf::printable;
use crate::daemon::status::{ProgressStatus, SessionState, SessionStatus, Status};
use crate::ledger::OutcomeRow;
use crate::words::{ago, bytes, length, until};

/// So many sessions of each kind are shown; the others are counted.
const MOST_SHOWN: usize = 50;
/// A text of a server is cut after so many letters.
const LONGEST_TEXT: usize = 600;
/// Without JavaScript the page is loaded anew this often, in seconds.
const RELOAD: &str = "30";

/// What is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    /// The name of this computer.
    pub(super) host: &'a str,
    /// The moment.
    pub(super) now: Timestamp,
    /// The zone of the times.
    pub(super) zone: &'a TimeZone,
    /// `None`: the service does not answer.
    pub(super) status: Option<&'a Status>,
    /// What is wrong with the daemon itself.
    pub(super) illness: Option<&'a str>,
    /// What has been.
    pub(super) past: &'a Past,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    Waiting,
    Bad,
}

impl Mood {
    fn class(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Waiting => "waits",
            Self::Bad => "bad",
        }
    }

    /// For those who do not see the colour.
    fn sign(self) -> &'static str {
        match self {
            Self::Well => "✓",
            Self::Waiting => "…",
            Self::Bad => "!",
        }
    }
}

/// Text of unknown origin: no control characters, nothing that turns its direction, and not without end.
fn shown(text: &str) -> String {
    let mut cut: String = text.chars().take(LONGEST_TEXT).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    printable(&cut)
}

/// The whole page.
pub(super) fn page(view: &View<'_>) -> String {
    let (mood, sentences) = verdict(view);
    let headline = sentences.first().map(String::as_str).unwrap_or_default();
    let time = view.now.to_zoned(view.zone.clone()).strftime("%H:%M:%S %Z").to_string();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (mood.sign()) " " (shown(headline.trim_end_matches('.'))) " – " (shown(view.host)) }
                link rel="icon" href="icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="style.css";
                script src="refresh.js" defer {}
                noscript { meta http-equiv="refresh" content=(RELOAD); }
            }
            body {
                header {
                    h1 { "alyx-registrar" span { " on " (shown(view.host)) } }
                    p #fresh role="status" { "as of " (time) }
                }
                main {
                    section #summary class=(mood.class()) aria-label="How it goes" {
                        p.sign aria-hidden="true" { (mood.sign()) }
                        div {
                            @for sentence in &sentences { p { (shown(sentence)) } }
                        }
                    }
                    (counts(view))
                    @for kind in KINDS { (sessions(view, kind)) }
                    (days(&view.past.days))
                    (outcomes(view))
                }
                footer { (footer(view)) }
            }
        }
    };
    page.into_string()
}

/// How it goes, in a few sentences; the first says the most.
fn verdict(view: &View<'_>) -> (Mood, Vec<String>) {
    let mut sentences = Vec::new();
    if let Some(illness) = view.illness {
        sentences.push(format!("The daemon is stuck: {illness}. Look at its log, then restart it."));
    }
    let daemon = view.status.and_then(|status| status.daemon.as_ref());
    if let Some(since) = daemon.and_then(|daemon| daemon.login_refused_since) {
        let since = ago(since, view.now);
        sentences.push(format!(
            "Alyx has refused the login for {since}: correct the password or token. All sessions wait; nothing is lost."
        ));
    }
    let people = count(view, SessionState::NeedsPerson);
    if people > 0 {
        sentences.push(format!("{} a person.", needs(people)));
    }
    match view.status.map_or(0, |status| status.sessions.iter().filter(|s| s.old).count()) {
        0 => {}
        1 => sentences.push("One flag has waited for longer than watch.warn_after.".to_owned()),
        n => sentences.push(format!("{n} flags have waited for longer than watch.warn_after.")),
    }
    let bad = !sentences.is_empty();
    if let Some(since) = daemon.and_then(|daemon| daemon.away_since) {
        let since = ago(since, view.now);
        sentences.push(format!("Alyx has not answered for {since}. All sessions wait; nothing is lost."));
        let sessions = view.status.map(|status| status.sessions.as_slice()).unwrap_or_default();
        let put_off =
            sessions.iter().find(|session| session.state == SessionState::Waiting && session.error.is_some());
        sentences.extend(put_off.and_then(|session| session.error.clone()));
    }
    if let Some(trouble) = daemon.and_then(|daemon| daemon.ledger.as_ref()).or(view.past.trouble.as_ref()) {
        sentences.push(format!("Nothing is remembered: {trouble}."));
    }
    let mood = match (bad, sentences.is_empty()) {
        (true, _) => Mood::Bad,
        (false, false) => Mood::Waiting,
        (false, true) => Mood::Well,
    };
    if sentences.is_empty() {
        let busy = view.status.map_or(0, |status| status.sessions.len());
        sentences.push(match busy {
            0 => "All is well: no session waits.".to_owned(),
            1 => "All is well: one session is on its way.".to_owned(),
            n => format!("All is well: {n} sessions are on their way."),
        });
    }
    (mood, sentences)
}

fn needs(count: usize) -> String {
    if count == 1 { "1 session needs".to_owned() } else { format!("{count} sessions need") }
}

fn count(view: &View<'_>, state: SessionState) -> usize {
    view.status.map_or(0, |status| status.sessions.iter().filter(|s| s.state == state).count())
}

/// The numbers at the top.
fn counts(view: &View<'_>) -> Markup {
    let oldest = view.status.and_then(|status| status.sessions.iter().map(SessionStatus::known_at).min());
    html! {
        section #counts aria-label="Sessions by what they are doing" hidden[view.status.is_none()] {
            dl {
                @for kind in KINDS {
                    @let number = count(view, kind.state);
                    div class=[(number > 0 && kind.state == SessionState::NeedsPerson).then_some("bad")] {
                        dt { (kind.state.text()) } dd { (number) }
                    }
                }
                div { dt { "oldest flag" } dd { (oldest.map_or_else(|| "–".to_owned(), |since| ago(since, view.now))) } }
            }
        }
    }
}

/// A list of sessions that do the same.
#[derive(Debug, Clone, Copy)]
struct Kind {
    state: SessionState,
    id: &'static str,
    title: &'static str,
}

const KINDS: [Kind; 4] = [
    Kind { state: SessionState::NeedsPerson, id: "person", title: "Needs a person" },
    Kind { state: SessionState::Running, id: "running", title: "Running" },
    Kind { state: SessionState::Retrying, id: "retrying", title: "Tried again" },
    Kind { state: SessionState::Waiting, id: "waiting", title: "Waiting" },
];

fn sessions(view: &View<'_>, kind: Kind) -> Markup {
    let all = view.status.map(|status| status.sessions.as_slice()).unwrap_or_default();
    let sessions: Vec<&SessionStatus> = all.iter().filter(|session| session.state == kind.state).collect();
    let more = sessions.len().saturating_sub(MOST_SHOWN);
    html! {
        section id=(kind.id) hidden[sessions.is_empty()] aria-labelledby=(format!("{}-title", kind.id)) {
            h2 id=(format!("{}-title", kind.id)) { (kind.title) span.count { (sessions.len()) } }
            ul.sessions {
                @for session in sessions.iter().take(MOST_SHOWN) { li { (self::session(view, session)) } }
            }
            @if more > 0 { p.more { "and " (more) " more; " code { "alyx-registrar status --json" } " shows all" } }
        }
    }
}

fn session(view: &View<'_>, session: &SessionStatus) -> Markup {
    html! {
        h3 title=(shown(&session.flag)) { bdi { (shown(&session.session)) } }
        @if let Some(progress) = &session.progress {
            (self::progress(progress, &session.session))
        } @else {
            p.about { (about(view, session)) }
        }
        @if session.state != SessionState::Running && !waits_for_alyx(view, session) {
            @if let Some(error) = &session.error { p.error { bdi { (shown(error)) } } }
            @if let Some(step) = &session.next_step { p.step { b { "What to do: " } bdi { (shown(&step.replace('`', ""))) } } }
        }
    }
}

/// Whether a session waits for nothing else: why is told once, at the top.
fn waits_for_alyx(view: &View<'_>, session: &SessionStatus) -> bool {
    let daemon = view.status.and_then(|status| status.daemon.as_ref());
    let all_wait =
        daemon.is_some_and(|daemon| daemon.away_since.is_some() || daemon.login_refused_since.is_some());
    all_wait && session.state == SessionState::Waiting && session.next.is_none_or(|next| next <= view.now)
}

fn about(view: &View<'_>, session: &SessionStatus) -> String {
    let now = view.now;
    let mut told = format!("for {}", ago(session.since, now));
    if let Some(put) = session.put.filter(|_| session.old) {
        told += &format!(" · flag put {} ago", ago(put, now));
    }
    if session.failures > 0 {
        let s = if session.failures == 1 { "" } else { "s" };
        told += &format!(" · {} failure{s}", session.failures);
    }
    if waits_for_alyx(view, session) {
        told += " · waits for Alyx";
    } else if let Some(next) = session.next {
        let word = if session.failures > 0 { "next attempt" } else { "begins" };
        told += &format!(" · {word} {}", until(next, now));
    }
    told
}

fn progress(progress: &ProgressStatus, session: &str) -> Markup {
    let (done, of) = if progress.bytes > 0 {
        (progress.bytes_done.min(progress.bytes), progress.bytes)
    } else {
        (progress.files_done.min(progress.files), progress.files)
    };
    let told = if progress.files == 0 {
        "looking at it".to_owned()
    } else if progress.files_done >= progress.files {
        let s = if progress.files == 1 { "" } else { "s" };
        format!("{} file{s} read, {}; Alyx is being told", progress.files, bytes(progress.bytes_done))
    } else {
        format!(
            "{} of {} files read, {} of {}",
            progress.files_done,
            progress.files,
            bytes(progress.bytes_done),
            bytes(progress.bytes)
        )
    };
    html! {
        @if of > 0 { progress value=(done) max=(of) aria-label=(format!("Files of {} read", shown(session))) {} }
        p.about { (told) }
    }
}

fn days(days: &[Day]) -> Markup {
    let none = days.iter().all(|day| day.sessions == 0);
    html! {
        section #days aria-labelledby="days-title" hidden[days.is_empty()] {
            h2 #days-title { "The last " (days.len()) " days" }
            (plot::plot(days))
            @if none { p.more { "Nothing has been registered in this time." } }
            @if !none {
                details #days-in-words {
                    summary #days-in-words-title { "The same in words" }
                    ul { @for day in days.iter().rev().filter(|day| day.sessions > 0) { li { (plot::told(day)) } } }
                }
            }
        }
    }
}

fn outcomes(view: &View<'_>) -> Markup {
    let last = &view.past.last;
    html! {
        section #outcomes aria-labelledby="outcomes-title" {
            h2 #outcomes-title { "Last outcomes" @if !last.is_empty() { span.count { (last.len()) } } }
            @if last.is_empty() { p.more { "Nothing is remembered yet." } }
            ol.outcomes { @for row in last { li class=(class(&row.outcome)) { (outcome(view, row)) } } }
        }
    }
}

fn class(outcome: &str) -> &'static str {
    match outcome {
        "registered" => "well",
        "needs_person" => "bad",
        _ => "waits",
    }
}

fn outcome(view: &View<'_>, row: &OutcomeRow) -> Markup {
    let at = row.at.to_zoned(view.zone.clone());
    let sign = match class(&row.outcome) {
        "well" => Mood::Well.sign(),
        "bad" => Mood::Bad.sign(),
        _ => Mood::Waiting.sign(),
    };
    let word = match row.outcome.as_str() {
        "needs_person" => "needs a person",
        "retry" => "tried again",
        other => other,
    };
    html! {
        time datetime=(row.at.to_string()) title=(at.strftime("%A %-d %B %Y %H:%M:%S %Z").to_string()) {
            (at.strftime("%-d %b %H:%M").to_string())
        }
        span.word { span aria-hidden="true" { (sign) } " " (shown(word)) }
        span.name title=(shown(&row.flag.to_string_lossy())) { bdi { (shown(&row.session)) } }
        span.about { bdi { (shown(&result(row))) } }
    }
}

/// What came of an attempt.
fn result(row: &OutcomeRow) -> String {
    let took = match jiff::SignedDuration::try_from(row.took) {
        Ok(took) if took.as_secs() >= 60 => length(took),
        _ => format!("{:.1} s", row.took.as_secs_f64()),
    };
    let mut told = if row.outcome == "registered" {
        let s = if row.n_files == 1 { "" } else { "s" };
        format!("{} dataset{s}, {}, {took}", row.n_files, bytes(row.bytes))
    } else {
        format!("attempt {}", row.attempt)
    };
    if !row.left_out.is_empty() {
        told += &format!("; left out: {}", row.left_out);
    }
    if let Some(error) = &row.error {
        told += &format!(": {error}");
    }
    told
}

fn footer(view: &View<'_>) -> Markup {
    let daemon = view.status.and_then(|status| status.daemon.as_ref());
    html! {
        @if let Some(daemon) = daemon {
            p {
                "Version " (daemon.version) ", running for " (ago(daemon.since, view.now)) ". Registers on "
                bdi { (shown(&daemon.alyx)) } "."
            }
        }
        p { a href="status.json" { "status.json" } " · " a href="metrics" { "metrics" } " · " a href="healthz" { "healthz" } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::status::DaemonStatus;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn daemon() -> DaemonStatus {
        DaemonStatus {
            pid: 7,
            version: "0.1.0".into(),
            since: at(0),
            alyx: "https://alyx.example.org".into(),
            away_since: None,
            login_refused_since: None,
            ledger: None,
            stuck: None,
        }
    }

    fn session(state: SessionState) -> SessionStatus {
        let failed = matches!(state, SessionState::NeedsPerson | SessionState::Retrying);
        let progress =
            ProgressStatus { files: 300, files_done: 12, bytes: 200_000_000_000, bytes_done: 5_000_000 };
        SessionStatus {
            session: "KS014/2024-05-01/001".into(),
            flag: "/data/KS014/2024-05-01/001/create_me.flag".into(),
            state,
            since: at(0),
            failures: if failed { 3 } else { 0 },
            next: (state != SessionState::Running).then(|| at(7260)),
            error: failed.then(|| "Alyx does not know subject \"KS014\"".into()),
            next_step: failed.then(|| "create it on Alyx".into()),
            progress: (state == SessionState::Running).then_some(progress),
            put: Some(at(0)),
            old: false,
        }
    }

    fn outcome(word: &str) -> OutcomeRow {
        OutcomeRow {
            at: at(0),
            session: "KS014/2024-05-01/001".into(),
            subject: None,
            date: None,
            flag: "/data/KS014/2024-05-01/001/create_me.flag".into(),
            attempt: 2,
            outcome: word.into(),
            eid: None,
            n_files: 12,
            bytes: 1_500_000_000,
            took: std::time::Duration::from_millis(1500),
            left_out: String::new(),
            error: (word != "registered").then(|| "no answer".into()),
            next_step: None,
            next: None,
        }
    }

    fn html(status: Option<&Status>, illness: Option<&str>, past: &Past) -> String {
        page(&View { host: "rig-3", now: at(3600), zone: &TimeZone::UTC, status, illness, past })
    }

    #[test]
    fn a_person_reads_what_needs_him_what_runs_and_what_has_been() {
        let sessions = [SessionState::NeedsPerson, SessionState::Running].map(session).to_vec();
        let status = Status { daemon: Some(daemon()), sessions };
        let past = Past { last: vec![outcome("registered"), outcome("retry")], ..Past::default() };
        let page = html(Some(&status), None, &past);
        for wanted in [
            "<title>! 1 session needs a person – rig-3</title>",
            "<p class=\"about\">for 1 h 0 min · 3 failures · next attempt in 1 h 1 min</p>",
            "Alyx does not know subject &quot;KS014&quot;",
            "<b>What to do: </b><bdi>create it on Alyx</bdi>",
            "<progress value=\"5000000\" max=\"200000000000\"",
            "12 of 300 files read, 5.0 MB of 200.0 GB",
            "12 datasets, 1.5 GB, 1.5 s",
            "attempt 2: no answer",
            "Version 0.1.0, running for 1 h 0 min.",
        ] {
            assert!(page.contains(wanted), "{wanted:?} is not in:\n{page}");
        }
    }

    #[test]
    fn names_and_errors_cannot_bring_anything_into_the_page() {
        const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>\u{202e}\u{0}&amp;";
        let mut bad = session(SessionState::NeedsPerson);
        (bad.session, bad.flag) = (HOSTILE.into(), HOSTILE.into());
        (bad.error, bad.next_step) = (Some(HOSTILE.into()), Some(HOSTILE.into()));
        let mut running = session(SessionState::Running);
        (running.session, running.flag) = (HOSTILE.into(), HOSTILE.into());
        let mut row = outcome("retry");
        (row.session, row.flag, row.outcome) = (HOSTILE.into(), HOSTILE.into(), HOSTILE.into());
        (row.error, row.left_out) = (Some(HOSTILE.into()), HOSTILE.into());
        let daemon = DaemonStatus { alyx: HOSTILE.into(), ledger: Some(HOSTILE.into()), ..daemon() };
        let status = Status { daemon: Some(daemon), sessions: vec![bad, running] };
        let past = Past { last: vec![row], trouble: Some(HOSTILE.into()), ..Past::default() };
        let view = View {
            host: HOSTILE,
            now: at(0),
            zone: &TimeZone::UTC,
            status: Some(&status),
            illness: Some(HOSTILE),
            past: &past,
        };
        let page = page(&view);
        assert_eq!(page.matches("<script").count(), 1, "{page}");
        assert!(!page.contains("<img") && !page.contains('\u{202e}') && !page.contains('\u{0}'), "{page}");
        // Every attribute is in quotes, so that a quote in a name must be none.
        assert!(page.contains("title=\"&quot;&gt;") && page.contains("&amp;amp;"), "{page}");
        assert!(!page.contains("\"><script>"), "{page}");
    }

    #[test]
    fn when_all_is_well_it_says_so_and_shows_no_empty_lists() {
        let status = Status { daemon: Some(daemon()), sessions: Vec::new() };
        let page = html(Some(&status), None, &Past::default());
        assert!(page.contains("All is well: no session waits.") && page.contains("class=\"well\""), "{page}");
        assert!(page.contains("<section id=\"person\" hidden"), "{page}");
    }

    #[test]
    fn an_alyx_that_is_away_is_no_fault_and_a_daemon_that_does_not_answer_is() {
        let away = DaemonStatus { away_since: Some(at(0)), ..daemon() };
        let status = Status { daemon: Some(away), sessions: vec![session(SessionState::Retrying)] };
        let page = html(Some(&status), None, &Past::default());
        assert!(
            page.contains("<section id=\"summary\" class=\"waits\"") && page.contains("for 1 h 0 min. All")
        );
        let mut due = session(SessionState::Waiting);
        (due.next, due.error, due.next_step) =
            (Some(at(0)), Some("no answer from x".into()), Some("`y`".into()));
        let status = Status { sessions: vec![due; 9], ..status };
        let page = html(Some(&status), None, &Past::default());
        assert!(page.matches("for 1 h 0 min · waits for Alyx<").count() == 9, "{page}");
        assert!(page.matches("no answer from x").count() == 1, "{page}");
        let page = html(None, Some("it does not answer"), &Past::default());
        assert!(page.contains("<section id=\"summary\" class=\"bad\""), "{page}");
        assert!(page.contains("The daemon is stuck: it does not answer."), "{page}");
    }

    #[test]
    fn a_flag_that_waits_too_long_is_told() {
        let old = SessionStatus { old: true, put: Some(at(-3 * 86_400)), ..session(SessionState::Waiting) };
        let status = Status { daemon: Some(daemon()), sessions: vec![old] };
        let page = html(Some(&status), None, &Past::default());
        assert!(
            page.contains("One flag has waited for longer") && page.contains("flag put 3 d 1 h ago"),
            "{page}"
        );
    }

    #[test]
    fn ten_thousand_sessions_are_counted_and_not_all_shown() {
        let sessions = vec![session(SessionState::Waiting); 10_000];
        let status = Status { daemon: Some(daemon()), sessions };
        let page = html(Some(&status), None, &Past::default());
        assert!(page.contains("and 9950 more") && page.len() < 100_000, "{}", page.len());
        let mut long = session(SessionState::NeedsPerson);
        long.error = Some("x".repeat(1_000_000));
        let status = Status { daemon: Some(daemon()), sessions: vec![long] };
        assert!(html(Some(&status), None, &Past::default()).len() < 20_000);
    }
}
