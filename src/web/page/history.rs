//! The history on the page: the last days and the last outcomes. Pure.

use maud::{Markup, html};

use crate::humanize::{bytes, count, length};
use crate::ledger::OutcomeRow;
use crate::web::days::Day;
use crate::web::page::{Health, View, on_alyx, shown};
use crate::web::plot;

pub(super) fn days(days: &[Day]) -> Markup {
    let none = days.iter().all(|day| day.sessions == 0);
    html! {
        section #days aria-labelledby="days-title" hidden[days.is_empty()] {
            h2 #days-title { "The last " (days.len()) " days" }
            (plot::plot(days))
            @if none { p.more { "Nothing has been registered in this time." } }
            @if !none {
                details #days-in-words {
                    summary #days-in-words-title { "The same as text" }
                    ul { @for day in days.iter().rev().filter(|day| day.sessions > 0) { li { (plot::day_text(day)) } } }
                }
            }
        }
    }
}

pub(super) fn outcomes(view: &View<'_>) -> Markup {
    let last = &view.history.last;
    html! {
        section #outcomes aria-labelledby="outcomes-title" {
            h2 #outcomes-title { "Last outcomes" @if !last.is_empty() { span.count { (last.len()) } } }
            @if last.is_empty() { p.more { "No outcomes yet." } }
            ol.outcomes { @for row in last { li class=(class(&row.outcome)) { (outcome(view, row)) } } }
        }
    }
}

fn class(outcome: &str) -> &'static str {
    match outcome {
        "registered" => "well",
        "needs_attention" => "bad",
        _ => "waits",
    }
}

fn outcome(view: &View<'_>, row: &OutcomeRow) -> Markup {
    let at = row.at.to_zoned(view.zone.clone());
    let sign = match class(&row.outcome) {
        "well" => Health::Well.sign(),
        "bad" => Health::Bad.sign(),
        _ => Health::Waiting.sign(),
    };
    let word = match row.outcome.as_str() {
        "needs_attention" => "needs attention",
        "gaps" => "registered with gaps",
        "retry" => "tried again",
        other => other,
    };
    html! {
        time datetime=(row.at.to_string()) title=(at.strftime("%A %-d %B %Y %H:%M:%S %Z").to_string()) {
            (at.strftime("%-d %b %H:%M").to_string())
        }
        span.word { span aria-hidden="true" { (sign) } " " (shown(word)) }
        span.name title=(shown(&row.flag.to_string_lossy())) { (on_alyx(view, row.eid.as_deref(), &row.session)) }
        span.about { bdi { (shown(&result(row))) } }
        @if !row.files.is_empty() {
            details id=(format!("left-out-{}", row.at.as_nanosecond())) {
                summary { "Files left out" }
                ul { @for file in &row.files { li { bdi { (shown(&file.path)) } ": " bdi { (shown(&file.reason)) } } } }
            }
        }
    }
}

/// The result of an attempt.
fn result(row: &OutcomeRow) -> String {
    let took = match jiff::SignedDuration::try_from(row.took) {
        Ok(took) if took.as_secs() >= 60 => length(took),
        _ => format!("{:.1} s", row.took.as_secs_f64()),
    };
    let mut text = if row.is_registered() {
        format!("{}, {}, {took}", count(row.n_files, "dataset"), bytes(row.bytes))
    } else {
        format!("attempt {}", row.attempt)
    };
    if !row.left_out.is_empty() {
        text += &format!("; left out: {}", row.left_out);
    }
    if let Some(error) = &row.error {
        text += &format!(": {error}");
    }
    text
}
