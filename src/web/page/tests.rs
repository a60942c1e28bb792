use crate::daemon::status::examples::{at, daemon, session};
use crate::daemon::status::{DaemonStatus, NotLoadableStatus, ObstacleStatus};
use crate::ledger::OutcomeRow;
use crate::web::page::*;

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
        files: Vec::new(),
        error: (word != "registered").then(|| "no answer".into()),
        described: None,
        kind: None,
        next_step: None,
        next: None,
        by: None,
        trail: Default::default(),
    }
}

fn html(status: Option<&Status>, fault: Option<&str>, history: &History) -> String {
    page(&View { host: "rig-3", now: at(3600), zone: &TimeZone::UTC, status, fault, history })
}

#[test]
fn obstacles_on_disk_make_the_page_report_a_problem() {
    let text = "the data root \"/data\" is missing; mount the disk".to_owned();
    let obstacle = ObstacleStatus { root: "/data".into(), since: Some(at(0)), text };
    let status = Status { daemon: Some(daemon()), obstacles: vec![obstacle; 30], ..Status::default() };
    let page = html(Some(&status), None, &History::default());
    for wanted in [
        "<title>! 30 problems on disk keep flags from being found or removed – rig-3</title>",
        "the data root &quot;/data&quot; is missing; mount the disk",
        "<p class=\"about\">for 1 h 0 min</p>",
        "and 10 more",
    ] {
        assert!(page.contains(wanted), "{wanted}:\n{page}");
    }
    assert!(!page.contains("All is well"), "{page}");
}

#[test]
fn the_page_shows_what_needs_attention_what_runs_and_the_history() {
    let sessions = [SessionState::NeedsAttention, SessionState::Running].map(session).to_vec();
    let status = Status { daemon: Some(daemon()), sessions, ..Status::default() };
    let history = History { last: vec![outcome("registered"), outcome("retry")], ..History::default() };
    let page = html(Some(&status), None, &history);
    for wanted in [
        "<title>! 1 session needs attention – rig-3</title>",
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
fn names_and_errors_cannot_inject_anything_into_the_page() {
    const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>\u{202e}\u{0}&amp;";
    let mut bad = session(SessionState::NeedsAttention);
    (bad.session, bad.flag) = (HOSTILE.into(), HOSTILE.into());
    (bad.error, bad.next_step) = (Some(HOSTILE.into()), Some(HOSTILE.into()));
    let mut running = session(SessionState::Running);
    (running.session, running.flag) = (HOSTILE.into(), HOSTILE.into());
    let mut row = outcome("retry");
    (row.session, row.flag, row.outcome) = (HOSTILE.into(), HOSTILE.into(), HOSTILE.into());
    (row.error, row.left_out, row.eid) = (Some(HOSTILE.into()), HOSTILE.into(), Some(HOSTILE.into()));
    let daemon = DaemonStatus { alyx: HOSTILE.into(), ledger: Some(HOSTILE.into()), ..daemon() };
    let status = Status { daemon: Some(daemon), sessions: vec![bad, running], ..Status::default() };
    let history = History { last: vec![row], problem: Some(HOSTILE.into()), ..History::default() };
    let view = View {
        host: HOSTILE,
        now: at(0),
        zone: &TimeZone::UTC,
        status: Some(&status),
        fault: Some(HOSTILE),
        history: &history,
    };
    let page = page(&view);
    assert_eq!(page.matches("<script").count(), 1, "{page}");
    assert!(!page.contains("<img") && !page.contains('\u{202e}') && !page.contains('\u{0}'), "{page}");
    // Every attribute is quoted, so that a quote in a name must be escaped.
    assert!(page.contains("title=\"&quot;&gt;") && page.contains("&amp;amp;"), "{page}");
    assert!(!page.contains("\"><script>"), "{page}");
}

#[test]
fn when_all_is_well_the_page_says_so_and_shows_no_empty_lists() {
    let status = Status { daemon: Some(daemon()), sessions: Vec::new(), ..Status::default() };
    let page = html(Some(&status), None, &History::default());
    assert!(
        page.contains("All is well: no sessions are waiting.") && page.contains("class=\"well\""),
        "{page}"
    );
    assert!(page.contains("<section id=\"attention\" hidden"), "{page}");
}

#[test]
fn an_outage_is_not_a_fault_but_a_daemon_that_does_not_answer_is() {
    let away = DaemonStatus { away_since: Some(at(0)), ..daemon() };
    let status =
        Status { daemon: Some(away), sessions: vec![session(SessionState::Retrying)], ..Status::default() };
    let page = html(Some(&status), None, &History::default());
    assert!(page.contains("<section id=\"summary\" class=\"waits\"") && page.contains("for 1 h 0 min. All"));
    let mut due = session(SessionState::Waiting);
    (due.next, due.error, due.next_step) = (Some(at(0)), Some("no answer from x".into()), Some("`y`".into()));
    let status = Status { sessions: vec![due; 9], ..status };
    let page = html(Some(&status), None, &History::default());
    assert!(page.matches("for 1 h 0 min · waits for Alyx<").count() == 9, "{page}");
    assert!(page.matches("no answer from x").count() == 1, "{page}");
    let page = html(None, Some("it does not answer"), &History::default());
    assert!(page.contains("<section id=\"summary\" class=\"bad\""), "{page}");
    assert!(page.contains("The daemon is stuck: it does not answer."), "{page}");
}

#[test]
fn a_stale_flag_is_shown() {
    let stale =
        SessionStatus { stale: true, flagged_at: Some(at(-3 * 86_400)), ..session(SessionState::Waiting) };
    let status = Status { daemon: Some(daemon()), sessions: vec![stale], ..Status::default() };
    let page = html(Some(&status), None, &History::default());
    assert!(
        page.contains("One flag has waited for longer") && page.contains("flagged 3 d 1 h ago"),
        "{page}"
    );
}

#[test]
fn ten_thousand_sessions_are_counted_but_not_all_shown() {
    let sessions = vec![session(SessionState::Waiting); 10_000];
    let status = Status { daemon: Some(daemon()), sessions, ..Status::default() };
    let page = html(Some(&status), None, &History::default());
    assert!(page.contains("and 9950 more") && page.len() < 100_000, "{}", page.len());
    let mut long = session(SessionState::NeedsAttention);
    long.error = Some("x".repeat(1_000_000));
    let status = Status { daemon: Some(daemon()), sessions: vec![long], ..Status::default() };
    assert!(html(Some(&status), None, &History::default()).len() < 20_000);
}

#[test]
fn a_session_links_to_its_page_on_alyx() {
    let status = Status { daemon: Some(daemon()), ..Status::default() };
    let row = OutcomeRow { eid: Some("e-1".into()), ..outcome("registered") };
    let history = History { last: vec![row, outcome("retry")], ..History::default() };
    let page = html(Some(&status), None, &history);
    let link = "<a href=\"https://alyx.example.org/admin/actions/session/e-1/change\">";
    assert_eq!(page.matches("/admin/").count(), 1);
    assert!(page.contains(link), "{page}");
    assert!(!html(None, None, &history).contains("/admin/"));
}

#[test]
fn what_one_cannot_load_is_not_well_unless_it_is_copied_later() {
    let not_loadable = |reason: &str| NotLoadableStatus {
        reason: reason.into(),
        text: "the repository has no address".into(),
        what_to_do: "set it".into(),
    };
    let of = |reason: &str| {
        let status =
            Status { daemon: Some(daemon()), not_loadable: vec![not_loadable(reason)], ..Status::default() };
        (status.is_well(), html(Some(&status), None, &History::default()))
    };
    let (is_well, page) = of("no_address");
    assert!(!is_well && page.contains("class=\"waits\"") && !page.contains("All is well"), "{page}");
    assert!(page.contains("<title>… The repository has no address – rig-3</title>"), "{page}");
    let (is_well, page) = of("until_copied");
    assert!(is_well && page.contains("class=\"well\"") && page.contains("All is well"), "{page}");
    assert!(page.contains("The repository has no address. What to do: set it."), "{page}");
}
