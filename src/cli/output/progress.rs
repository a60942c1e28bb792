//! Progress of long work: a bar on a terminal, otherwise a log line every few seconds.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::io;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::humanize;
use alyx_registration::Progress;

/// How often the bar is updated.
const BAR_EVERY: Duration = Duration::from_millis(200);
/// How often a line is logged.
const LINE_EVERY: Duration = Duration::from_secs(3);

/// The bar on the terminal. There is one terminal, hence one bar.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// The progress of reading files.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct State {
    files: u64,
    files_done: u64,
    bytes: u64,
    bytes_done: u64,
    took: Duration,
}

impl State {
    fn of(progress: &Progress, since: Instant) -> Self {
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            files: read(&progress.files),
            files_done: read(&progress.files_done),
            bytes: read(&progress.bytes),
            bytes_done: read(&progress.bytes_done),
            took: since.elapsed(),
        }
    }

    /// Bytes per second so far; `None` before the first byte.
    fn rate(&self) -> Option<f64> {
        let seconds = self.took.as_secs_f64();
        (self.bytes_done > 0 && seconds > 0.0).then(|| self.bytes_done as f64 / seconds)
    }

    /// The time left; `None` if the total is unknown.
    fn left(&self) -> Option<Duration> {
        let bytes = self.bytes.checked_sub(self.bytes_done).filter(|_| self.bytes > 0)?;
        Duration::try_from_secs_f64(bytes as f64 / self.rate()?).ok()
    }

    /// The progress as text.
    fn text(&self) -> String {
        let mut text =
            format!("{} of {} files, {}", self.files_done, self.files, humanize::bytes(self.bytes_done));
        if self.bytes >= self.bytes_done && self.bytes > 0 {
            text += &format!(" of {}", humanize::bytes(self.bytes));
        }
        if let Some(rate) = self.rate() {
            text += &format!(", {}/s", humanize::bytes(rate as u64));
        }
        if let Some(left) = self.left() {
            text += &format!(", {} left", clock(left));
        }
        text
    }
}

/// A duration in clock format: `0:07`, `12:30`, `3:00:00`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// Runs work that reads files, and shows its progress.
pub(in crate::cli) async fn shown<T>(progress: &Progress, work: impl Future<Output = T>) -> T {
    let since = Instant::now();
    let mut last = State::default();
    let look = || {
        let state = State::of(progress, since);
        // Nothing to show before the first file and after the last.
        if state.files_done < state.files {
            tell(&state);
        } else if last.files_done < last.files {
            with_bar(|bar| bar.set_draw_target(ProgressDrawTarget::hidden()));
        }
        last = state;
    };
    looking(look, work).await
}

/// Runs work of a known number of steps, and shows its progress: "asking Alyx: 3 of 10 subjects".
pub(in crate::cli) async fn counted<T>(
    doing: &str,
    things: &str,
    (done, count): (&AtomicU64, u64),
    work: impl Future<Output = T>,
) -> T {
    let look = || {
        let done = done.load(Ordering::Relaxed);
        let text = format!("{doing}: {done} of {count} {things}");
        if !draw(&text, done, count) {
            tracing::info!(done, count, "{text}");
        }
    };
    looking(look, work).await
}

/// Runs work, and shows what `text` says of it, with its position and its end.
pub(in crate::cli) async fn told<T>(
    text: impl Fn() -> (String, u64, u64),
    work: impl Future<Output = T>,
) -> T {
    let look = || {
        let (text, done, count) = text();
        if !draw(&text, done, count) {
            tracing::info!(done, count, "{text}");
        }
    };
    looking(look, work).await
}

/// The progress of a verification, whose bytes are not known before: the time left is that of the sessions. Pure.
pub(in crate::cli) fn verifying(done: u64, count: u64, read: u64, took: Duration) -> String {
    let mut text = format!("verifying: {done} of {count} sessions, {}", humanize::bytes(read));
    let state = State { bytes: count, bytes_done: done, took, ..State::default() };
    if let Some(rate) = (State { bytes_done: read, ..state }).rate() {
        text += &format!(", {}/s", humanize::bytes(rate as u64));
    }
    if let Some(left) = state.left() {
        text += &format!(", about {} left", clock(left));
    }
    text
}

/// Runs the work, and calls `look` at intervals.
async fn looking<T>(mut look: impl FnMut(), work: impl Future<Output = T>) -> T {
    let _bar = Bar::on(io::stderr().is_terminal());
    let mut ticks = tokio::time::interval(if io::stderr().is_terminal() { BAR_EVERY } else { LINE_EVERY });
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    ticks.reset();
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = ticks.tick() => look(),
        }
    }
}

/// Updates the bar, or logs a line.
fn tell(state: &State) {
    if !draw(&state.text(), state.bytes_done, state.bytes.max(state.bytes_done)) {
        tracing::info!(
            files_done = state.files_done,
            files = state.files,
            bytes_done = state.bytes_done,
            "reading: {}",
            state.text()
        );
    }
}

/// Updates the bar. False without a bar.
fn draw(text: &str, position: u64, length: u64) -> bool {
    with_bar(|bar| {
        if bar.is_hidden() {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        bar.set_length(length);
        bar.set_message(text.to_owned());
        bar.set_position(position);
    })
}

/// Calls a function with the bar. False without a bar.
fn with_bar(what: impl FnOnce(&ProgressBar)) -> bool {
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).clone();
    bar.as_ref().map(what).is_some()
}

/// Removes the bar from the terminal when dropped.
struct Bar;

impl Bar {
    fn on(terminal: bool) -> Option<Self> {
        if !terminal {
            return None;
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {msg}") {
            bar.set_style(style);
        }
        *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar);
        Some(Self)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
    }
}

/// Runs a function that writes to the terminal, above the bar.
pub(in crate::cli) fn above<T>(write: impl FnOnce() -> T) -> T {
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Standard error for the log; lines appear above the bar.
pub(in crate::cli) struct LogOutput;

impl Write for LogOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        above(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verification_says_how_much_was_read_and_how_long_it_will_take() {
        let text = verifying(10, 40, 4_000_000_000, Duration::from_secs(10));
        assert_eq!(text, "verifying: 10 of 40 sessions, 4.0 GB, 400.0 MB/s, about 0:30 left");
        assert_eq!(verifying(0, 40, 0, Duration::from_secs(1)), "verifying: 0 of 40 sessions, 0 B");
    }

    fn state(files: [u64; 2], bytes: [u64; 2], seconds: u64) -> String {
        let ([files_done, files], [bytes_done, bytes]) = (files, bytes);
        State { files, files_done, bytes, bytes_done, took: Duration::from_secs(seconds) }.text()
    }

    #[test]
    fn files_bytes_rate_and_time_left_are_shown() {
        let text = state([3, 10], [1_500_000_000, 6_000_000_000], 10);
        assert_eq!(text, "3 of 10 files, 1.5 GB of 6.0 GB, 150.0 MB/s, 0:30 left");
    }

    #[test]
    fn unknown_values_are_not_shown() {
        assert_eq!(state([0, 2], [0, 0], 0), "0 of 2 files, 0 B");
        assert_eq!(state([1, 2], [500, 0], 1), "1 of 2 files, 500 B, 500 B/s");
        assert_eq!(state([1, 2], [0, 3000], 1), "1 of 2 files, 0 B of 3.0 kB");
    }

    #[test]
    fn times_are_shown_as_clocks_do() {
        let shown = [0, 7, 750, 10_800, 400_000].map(|s| clock(Duration::from_secs(s)));
        assert_eq!(shown, ["0:00", "0:07", "12:30", "3:00:00", "111:06:40"]);
    }
}
