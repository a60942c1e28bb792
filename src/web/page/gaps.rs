//! The sessions that were registered with gaps, or created twice, on the page. Pure.

use maud::{Markup, html};

use crate::daemon::status::GapStatus;
use crate::humanize::elapsed;
use crate::web::page::{View, on_alyx, shown};

/// The maximum number of sessions shown; the others are counted.
const MAX_SHOWN: usize = 50;

pub(super) fn gaps(view: &View<'_>) -> Markup {
    let all = view.status.map(|status| status.gaps.as_slice()).unwrap_or_default();
    list(view, "gaps", "Registered with gaps", "registered", all)
}

pub(super) fn created_twice(view: &View<'_>) -> Markup {
    let all = view.status.map(|status| status.created_twice.as_slice()).unwrap_or_default();
    list(view, "created-twice", "Created twice", "created", all)
}

fn list(view: &View<'_>, id: &str, title: &str, done: &str, all: &[GapStatus]) -> Markup {
    let more = all.len().saturating_sub(MAX_SHOWN);
    let title_id = format!("{id}-title");
    html! {
        section id=(id) hidden[all.is_empty()] aria-labelledby=(title_id) {
            h2 id=(title_id) { (title) span.count { (all.len()) } }
            ul.sessions {
                @for session in all.iter().take(MAX_SHOWN) {
                    li {
                        h3 title=(shown(&session.folder)) { (on_alyx(view, Some(&session.eid), &session.session)) }
                        p.about { (done) " " (elapsed(session.at, view.now)) " ago" }
                        p.error { bdi { (shown(&session.text)) } }
                        p.step { b { "To end this: " } code { (shown(&session.acknowledge())) } }
                    }
                }
            }
            @if more > 0 { p.more { "and " (more) " more; " code { "alyx-registrar status --json" } " shows all" } }
        }
    }
}
