//! The status page: the overall state in a sentence, then what needs attention, runs and waits, and the history. Pure.
//!
//! Folder names and server messages may contain anything. `maud` escapes everything in the page, and [`shown`] removes
//! characters that change the direction of text.

mod gaps;
mod history;
mod sessions;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{DOCTYPE, Markup, html};

use crate::daemon::status::sentence::{Sentence, sentences};
use crate::daemon::status::{SessionState, SessionStatus, Status};
use crate::humanize::elapsed;
use crate::web::page::gaps::{created_twice, gaps};
use crate::web::page::history::{days, outcomes};
use crate::web::page::sessions::{KINDS, sessions};
use crate::web::snapshot::History;
use alyx_client::text::{printable, session_page};

/// The length in characters at which a server message is cut.
const MAX_TEXT: usize = 600;
/// The maximum number of obstacles shown; the others are counted.
const MAX_OBSTACLES: usize = 20;
/// Seconds between reloads of the page without JavaScript.
const RELOAD: &str = "30";

/// The input of the page.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    /// The name of this computer.
    pub(super) host: &'a str,
    /// The current time.
    pub(super) now: Timestamp,
    /// The time zone for display.
    pub(super) zone: &'a TimeZone,
    /// `None`: the daemon does not answer.
    pub(super) status: Option<&'a Status>,
    /// The problem of the daemon itself.
    pub(super) fault: Option<&'a str>,
    /// The recent past.
    pub(super) history: &'a History,
}

/// The state of the daemon at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Well,
    Waiting,
    Bad,
}

impl Health {
    fn class(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Waiting => "waits",
            Self::Bad => "bad",
        }
    }

    /// For readers who do not see the colour.
    fn sign(self) -> &'static str {
        match self {
            Self::Well => "✓",
            Self::Waiting => "…",
            Self::Bad => "!",
        }
    }
}

/// Text of unknown origin, without control and direction characters, and cut to a maximum length.
fn shown(text: &str) -> String {
    let mut cut: String = text.chars().take(MAX_TEXT).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    printable(&cut)
}

/// The name of a session, with a link to it on Alyx.
fn on_alyx(view: &View<'_>, eid: Option<&str>, session: &str) -> Markup {
    let daemon = view.status.and_then(|status| status.daemon.as_ref());
    let name = html! { bdi { (shown(session)) } };
    match (daemon, eid.filter(|eid| !eid.is_empty())) {
        (Some(daemon), Some(eid)) => html! { a href=(shown(&session_page(&daemon.alyx, eid))) { (name) } },
        _ => name,
    }
}

/// The whole page.
pub(super) fn page(view: &View<'_>) -> String {
    let (health, sentences) = health_of(view);
    let headline = sentences.first().map(String::as_str).unwrap_or_default();
    let headline = headline.split_once(". What to do").map_or(headline, |(what, _)| what);
    let time = view.now.to_zoned(view.zone.clone()).strftime("%H:%M:%S %Z").to_string();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (health.sign()) " " (shown(headline.trim_end_matches('.'))) " – " (shown(view.host)) }
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
                    section #summary class=(health.class()) aria-label="Summary" {
                        p.sign aria-hidden="true" { (health.sign()) }
                        div {
                            @for sentence in &sentences { p { (shown(sentence)) } }
                        }
                    }
                    (counts(view))
                    (obstacles(view))
                    @for kind in KINDS { (sessions(view, kind)) }
                    (created_twice(view))
                    (gaps(view))
                    (days(&view.history.days))
                    (outcomes(view))
                }
                footer { (footer(view)) }
            }
        }
    };
    page.into_string()
}

/// The health in a few sentences, the most important first.
fn health_of(view: &View<'_>) -> (Health, Vec<String>) {
    let mut found: Vec<Sentence<'_>> = view.status.map(sentences).unwrap_or_default();
    // Only the page can detect a daemon that does not answer, or a ledger that it cannot read.
    found.retain(|sentence| !matches!(sentence, Sentence::Stuck(_)));
    if let Some(fault) = view.fault {
        found.insert(0, Sentence::Stuck(fault));
    }
    if !found.iter().any(|sentence| matches!(sentence, Sentence::NoLedger(_))) {
        found.extend(view.history.problem.as_deref().map(Sentence::NoLedger));
    }
    let notes =
        found.extract_if(.., |sentence| matches!(sentence, Sentence::NotLoadable(why) if why.is_intended()));
    let notes: Vec<String> = notes.map(|note| note.text("", view.now)).collect();
    let health = match found.as_slice() {
        [] => Health::Well,
        some if some.iter().any(|sentence| sentence.needs_attention()) => Health::Bad,
        _ => Health::Waiting,
    };
    let mut sentences = Vec::new();
    for sentence in found {
        sentences.push(sentence.text("", view.now));
        if matches!(sentence, Sentence::Away(_)) {
            let sessions = view.status.map(|status| status.sessions.as_slice()).unwrap_or_default();
            let put_off = sessions.iter().find(|s| s.state == SessionState::Waiting && s.error.is_some());
            sentences.extend(put_off.and_then(|session| session.error.clone()));
        }
    }
    if sentences.is_empty() {
        let busy = view.status.map_or(0, |status| status.sessions.len());
        sentences.push(match busy {
            0 => "All is well: no sessions are waiting.".to_owned(),
            1 => "All is well: 1 session is in progress.".to_owned(),
            n => format!("All is well: {n} sessions are in progress."),
        });
    }
    sentences.extend(notes);
    (health, sentences)
}

fn count(view: &View<'_>, state: SessionState) -> usize {
    view.status.map_or(0, |status| status.sessions.iter().filter(|s| s.state == state).count())
}

/// The numbers at the top.
fn counts(view: &View<'_>) -> Markup {
    let oldest = view.status.and_then(|status| status.sessions.iter().map(SessionStatus::known_at).min());
    html! {
        section #counts aria-label="Sessions by state" hidden[view.status.is_none()] {
            dl {
                @for kind in KINDS {
                    @let number = count(view, kind.state);
                    div class=[(number > 0 && kind.state == SessionState::NeedsAttention).then_some("bad")] {
                        dt { (kind.state.text()) } dd { (number) }
                    }
                }
                div { dt { "oldest flag" } dd { (oldest.map_or_else(|| "–".to_owned(), |since| elapsed(since, view.now))) } }
            }
        }
    }
}

/// What keeps flags from being seen or removed.
fn obstacles(view: &View<'_>) -> Markup {
    let all = view.status.map(|status| status.obstacles.as_slice()).unwrap_or_default();
    let more = all.len().saturating_sub(MAX_OBSTACLES);
    html! {
        section #obstacles hidden[all.is_empty()] aria-labelledby="obstacles-title" {
            h2 #obstacles-title { "Problems on disk" span.count { (all.len()) } }
            ul.sessions {
                @for obstacle in all.iter().take(MAX_OBSTACLES) {
                    li {
                        h3 { bdi { (shown(&obstacle.root)) } }
                        @if let Some(since) = obstacle.since { p.about { "for " (elapsed(since, view.now)) } }
                        p.error { bdi { (shown(&obstacle.text)) } }
                    }
                }
            }
            @if more > 0 { p.more { "and " (more) " more; " code { "alyx-registrar status --json" } " shows all" } }
        }
    }
}

fn footer(view: &View<'_>) -> Markup {
    let daemon = view.status.and_then(|status| status.daemon.as_ref());
    html! {
        @if let Some(daemon) = daemon {
            p {
                "Version " (daemon.version) ", running for " (elapsed(daemon.since, view.now)) ". Registers on "
                bdi { (shown(&daemon.alyx)) } "."
                @if let Some(limit) = daemon.read_limit() { " " (limit) }
            }
        }
        p { a href="status.json" { "status.json" } " · " a href="metrics" { "metrics" } " · " a href="healthz" { "healthz" } }
    }
}

#[cfg(test)]
mod tests;
