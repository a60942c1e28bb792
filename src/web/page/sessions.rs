//! The sessions on the page: what needs attention, runs and waits. Pure.

use jiff::Timestamp;
use maud::{Markup, html};

use crate::daemon::status::{ProgressStatus, SessionState, SessionStatus};
use crate::web::page::{View, shown};

/// The maximum number of sessions shown per state; the others are counted.
const MAX_SHOWN: usize = 50;

/// The list of sessions in one state.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) state: SessionState,
    id: &'static str,
    title: &'static str,
}

pub(super) const KINDS: [Kind; 4] = [
    Kind { state: SessionState::NeedsAttention, id: "attention", title: "Needs attention" },
    Kind { state: SessionState::Running, id: "running", title: "Running" },
    Kind { state: SessionState::Retrying, id: "retrying", title: "Retrying" },
    Kind { state: SessionState::Waiting, id: "waiting", title: "Waiting" },
];

pub(super) fn sessions(view: &View<'_>, kind: Kind) -> Markup {
    let all = view.status.map(|status| status.sessions.as_slice()).unwrap_or_default();
    let sessions: Vec<&SessionStatus> = all.iter().filter(|session| session.state == kind.state).collect();
    let more = sessions.len().saturating_sub(MAX_SHOWN);
    html! {
        section id=(kind.id) hidden[sessions.is_empty()] aria-labelledby=(format!("{}-title", kind.id)) {
            h2 id=(format!("{}-title", kind.id)) { (kind.title) span.count { (sessions.len()) } }
            ul.sessions {
                @for session in sessions.iter().take(MAX_SHOWN) { li { (self::session(view, session)) } }
            }
            @if more > 0 { p.more { "and " (more) " more; " code { "alyx-registrar status --json" } " shows all" } }
        }
    }
}

fn session(view: &View<'_>, session: &SessionStatus) -> Markup {
    html! {
        h3 title=(shown(&session.flag)) { bdi { (shown(&session.session)) } }
        @if let Some(progress) = &session.progress {
            (self::progress(progress, &session.session, view.now))
        } @else {
            p.about { (about(view, session)) }
        }
        @if session.state != SessionState::Running && !waits_for_alyx(view, session) {
            @if let Some(error) = &session.error { p.error { bdi { (shown(error)) } } }
            @if let Some(step) = session.advice() { p.step { b { "What to do: " } bdi { (shown(&step.replace('`', ""))) } } }
            @if let Some(command) = session.retry() { p.step { b { "To try at once: " } code { (shown(&command)) } } }
        }
    }
}

/// Whether a session waits only for Alyx. The reason is shown once, at the top.
fn waits_for_alyx(view: &View<'_>, session: &SessionStatus) -> bool {
    let daemon = view.status.and_then(|status| status.daemon.as_ref());
    let all_wait =
        daemon.is_some_and(|daemon| daemon.away_since.is_some() || daemon.login_refused_since.is_some());
    all_wait && session.state == SessionState::Waiting && session.next.is_none_or(|next| next <= view.now)
}

fn about(view: &View<'_>, session: &SessionStatus) -> String {
    if !waits_for_alyx(view, session) {
        return session.about(view.now).join(" · ");
    }
    let mut about = SessionStatus { next: None, ..session.clone() }.about(view.now);
    about.push("waits for Alyx".to_owned());
    about.join(" · ")
}

fn progress(progress: &ProgressStatus, session: &str, now: Timestamp) -> Markup {
    let (done, of) = if progress.bytes > 0 {
        (progress.bytes_done.min(progress.bytes), progress.bytes)
    } else {
        (progress.files_done.min(progress.files), progress.files)
    };
    html! {
        @if of > 0 { progress value=(done) max=(of) aria-label=(format!("Files of {} read", shown(session))) {} }
        p.about { (progress.text(now)) }
    }
}
