//! The plot: sessions and data per day as an SVG, with axes, and a title for each bar. Pure.

use maud::{Markup, html};

use crate::humanize;
use crate::web::days::Day;

/// The size of the drawing, which the page scales to the available width.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 236.0;
/// Room for the numbers on the left, and the end of the bars on the right.
const LEFT: f64 = 60.0;
const RIGHT: f64 = 476.0;
/// The height of the bars of each half.
const BARS: f64 = 72.0;
/// The tops of the two halves.
const SESSIONS_TOP: f64 = 22.0;
const BYTES_TOP: f64 = 136.0;
/// Every seventh bar has a date below it, counted from today.
const DATE_EVERY: usize = 7;

/// One half of the plot.
struct Half<'a> {
    top: f64,
    class: &'static str,
    title: &'static str,
    value: fn(&Day) -> u64,
    shown: &'a dyn Fn(u64) -> String,
}

/// The plot of these days.
pub(super) fn plot(days: &[Day]) -> Markup {
    let halves = [
        Half {
            top: SESSIONS_TOP,
            class: "sessions",
            title: "Sessions a day",
            value: |day| day.sessions,
            shown: &|n| n.to_string(),
        },
        Half {
            top: BYTES_TOP,
            class: "bytes",
            title: "Data a day",
            value: |day| day.bytes,
            shown: &|n| humanize::bytes(n).replace(".0 ", " "),
        },
    ];
    let step = (RIGHT - LEFT) / days.len().max(1) as f64;
    let x = |index: usize| LEFT + step * index as f64;
    html! {
        svg.plot viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-labelledby="plot-title" {
            title id="plot-title" { (summary(days)) }
            @for half in &halves { (self::half(half, days, step)) }
            @for (index, day) in days.iter().enumerate() {
                @if (days.len() - 1 - index).is_multiple_of(DATE_EVERY) {
                    @let bottom = BYTES_TOP + BARS;
                    line.tick x1=(px(x(index) + step / 2.0)) x2=(px(x(index) + step / 2.0)) y1=(px(bottom)) y2=(px(bottom + 4.0)) {}
                    text.date x=(px(x(index) + step / 2.0)) y=(px(bottom + 18.0))
                        text-anchor=(if index + 1 == days.len() { "end" } else { "middle" }) {
                        (day.date.strftime("%-d %b").to_string())
                    }
                }
            }
            // In front of everything, at full height, so that even the smallest bar can be pointed at.
            @for (index, day) in days.iter().enumerate() {
                rect.day x=(px(x(index))) y=(px(SESSIONS_TOP)) width=(px(step)) height=(px(BYTES_TOP + BARS - SESSIONS_TOP)) {
                    title { (day_text(day)) }
                }
            }
        }
    }
}

fn half(half: &Half<'_>, days: &[Day], step: f64) -> Markup {
    let most = days.iter().map(half.value).max().unwrap_or_default();
    let ticks = ticks(most);
    let highest = ticks.last().copied().unwrap_or(1).max(1);
    let y = |value: u64| half.top + BARS * (1.0 - value as f64 / highest as f64);
    html! {
        text.half x=(px(LEFT)) y=(px(half.top - 9.0)) { (half.title) }
        @for tick in &ticks {
            line.grid x1=(px(LEFT)) x2=(px(RIGHT)) y1=(px(y(*tick))) y2=(px(y(*tick))) {}
            text.number x=(px(LEFT - 5.0)) y=(px(y(*tick) + 3.5)) text-anchor="end" { ((half.shown)(*tick)) }
        }
        @for (index, day) in days.iter().enumerate() {
            @let value = (half.value)(day);
            @if value > 0 {
                // At least a line, so that little differs from nothing.
                @let height = (half.top + BARS - y(value)).max(1.5);
                rect class=(half.class) x=(px(LEFT + step * index as f64 + step * 0.15)) y=(px(half.top + BARS - height))
                    width=(px(step * 0.7)) height=(px(height)) {}
            }
        }
    }
}

/// A coordinate in the drawing.
fn px(value: f64) -> String {
    format!("{value:.1}")
}

/// A day in words.
pub(super) fn day_text(day: &Day) -> String {
    let (sessions, data) = (humanize::count(day.sessions, "session"), humanize::bytes(day.bytes));
    format!("{}: {sessions}, {data}", day.date.strftime("%A %-d %B %Y"))
}

fn summary(days: &[Day]) -> String {
    let sessions = days.iter().fold(0, |sum: u64, day| sum.saturating_add(day.sessions));
    let bytes = days.iter().fold(0, |sum: u64, day| sum.saturating_add(day.bytes));
    format!(
        "Sessions and data registered on each of the last {} days: {sessions} sessions, {} in all",
        days.len(),
        humanize::bytes(bytes)
    )
}

/// The numbers on an axis from 0: round, two to five of them, the last at least `most`.
fn ticks(most: u64) -> Vec<u64> {
    let mut scale = 1u64;
    loop {
        for times in [1, 2, 5] {
            let step = scale.saturating_mul(times);
            let count = most.div_ceil(step).max(1);
            if count <= 4 || step == u64::MAX {
                return (0..=count).map(|n| n.saturating_mul(step)).collect();
            }
        }
        scale = scale.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::days::DAYS;

    fn days(value: impl Fn(usize) -> (u64, u64)) -> Vec<Day> {
        let first = jiff::civil::date(2024, 2, 20);
        let day = |n: usize| {
            let (sessions, bytes) = value(n);
            Day { date: first + jiff::Span::new().days(n as i64), sessions, bytes }
        };
        (0..DAYS).map(day).collect()
    }

    #[test]
    fn the_numbers_on_the_axes_are_round_and_few() {
        assert_eq!(ticks(0), [0, 1]);
        assert_eq!(ticks(1), [0, 1]);
        assert_eq!(ticks(3), [0, 1, 2, 3]);
        assert_eq!(ticks(7), [0, 2, 4, 6, 8]);
        assert_eq!(ticks(120_000_000_000), [0, 50_000_000_000, 100_000_000_000, 150_000_000_000]);
        assert_eq!(ticks(u64::MAX).last(), Some(&u64::MAX));
    }

    #[test]
    fn every_day_has_a_title_and_every_week_a_date() {
        let plot = plot(&days(|n| if n == 29 { (1, 2_500_000_000) } else { (0, 0) })).into_string();
        assert_eq!(plot.matches("<rect class=\"day\"").count(), DAYS);
        assert!(plot.contains("<title>Wednesday 20 March 2024: 1 session, 2.5 GB</title>"), "{plot}");
        assert!(plot.contains("<title>Tuesday 20 February 2024: 0 sessions, 0 B</title>"), "{plot}");
        let dates = ["21 Feb", "28 Feb", "6 Mar", "13 Mar", "20 Mar"];
        assert!(dates.iter().all(|date| plot.contains(&format!(">{date}</text>"))), "{plot}");
        assert!(plot.contains("1 sessions, 2.5 GB in all"));
    }

    #[test]
    fn extreme_values_are_drawn_inside_the_frame() {
        for value in [0, 1, u64::MAX] {
            let plot = plot(&days(|_| (value, value))).into_string();
            assert!(!plot.contains("NaN") && !plot.contains("inf") && !plot.contains("\"-"), "{plot}");
        }
        assert!(plot(&[]).into_string().contains("<svg"));
    }
}
