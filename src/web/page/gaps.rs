//! The sessions that were registered with gaps, on the page. Pure.

use maud::{Markup, html};

use crate::humanize::elapsed;
use crate::web::page::{View, on_alyx, shown};

/// The maximum number of sessions shown; the others are counted.
const MAX_SHOWN: usize = 50;

pub(super) fn gaps(view: &View<'_>) -> Markup {
    let all = view.status.map(|status| status.gaps.as_slice()).unwrap_or_default();
    let more = all.len().saturating_sub(MAX_SHOWN);
    html! {
        section #gaps hidden[all.is_empty()] aria-labelledby="gaps-title" {
            h2 #gaps-title { "Registered with gaps" span.count { (all.len()) } }
            ul.sessions {
                @for gap in all.iter().take(MAX_SHOWN) {
                    li {
                        h3 title=(shown(&gap.folder)) { (on_alyx(view, Some(&gap.eid), &gap.session)) }
                        p.about { "registered " (elapsed(gap.at, view.now)) " ago" }
                        p.error { bdi { (shown(&gap.text)) } }
                        p.step { b { "To end this: " } code { (shown(&gap.acknowledge())) } }
                    }
                }
            }
            @if more > 0 { p.more { "and " (more) " more; " code { "alyx-registrar status --json" } " shows all" } }
        }
    }
}
