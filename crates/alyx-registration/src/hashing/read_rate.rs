//! The read rate: how many bytes a second the threads of all data roots may read together, and their pauses.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::client::options::ReadingOptions;
use crate::hashing::pressure;
use crate::hashing::yielding::{PAUSE, YieldCause, Yielding};

/// What was not read in this time may be read later at once.
const BURST: Duration = Duration::from_millis(100);
/// How long a pause waits for the steps that have begun.
const PATIENCE: Duration = Duration::from_millis(100);

/// A limit to the bytes that are read each second. Without one, nothing waits.
#[derive(Debug, Default)]
pub(crate) struct ReadRate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    limiter: Limiter,
    /// In bytes a second.
    max_rate: Option<u64>,
    yielding: Option<Yielding>,
    /// The steps that have begun and not ended.
    steps: usize,
    is_paused: bool,
    /// Changes of the options.
    changes: u64,
}

#[derive(Debug, Default)]
struct Limiter {
    /// In bytes a second.
    limit: Option<u64>,
    /// When everything that was read would have been read at the limit.
    paid: Option<Instant>,
}

impl Limiter {
    /// When the next piece may be read, after one of this length. Pure.
    fn next(&mut self, bytes: u64, now: Instant) -> Option<Instant> {
        let limit = self.limit?;
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let begins = self.paid.map_or(earliest, |paid| paid.max(earliest));
        let paid = begins + Duration::from_secs_f64(bytes as f64 / limit.max(1) as f64);
        self.paid = Some(paid);
        (paid > now).then_some(paid)
    }
}

impl State {
    /// Sets the lower of the two limits.
    fn limit(&mut self) {
        let yielding = self.yielding.as_ref().and_then(Yielding::limit);
        self.limiter.limit = self.max_rate.into_iter().chain(yielding).min();
    }
}

/// How fast files are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadingState {
    /// The most bytes to read each second, as the options say.
    pub max_rate: Option<u64>,
    /// How reading yields to other programs, if it does.
    pub yields: Option<YieldState>,
    /// For how long it has yielded so far.
    pub yielded: Duration,
}

/// How reading yields to other programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct YieldState {
    /// The most bytes to read each second.
    pub rate: u64,
    /// What other programs need.
    pub cause: YieldCause,
}

/// A step of reading or hashing. Dropping it ends it.
#[must_use]
pub(crate) struct WorkStep<'a>(&'a ReadRate);

impl Drop for WorkStep<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.steps -= 1;
        if state.is_paused && state.steps == 0 {
            self.0.changed.notify_all();
        }
    }
}

impl ReadRate {
    /// Changes the limits. Readers that wait go on.
    pub(crate) fn set(&self, options: &ReadingOptions) {
        let mut state = self.state();
        state.max_rate = options.max_rate;
        state.yielding = options.yields.then(|| {
            let mut yielding = state.yielding.take().unwrap_or_else(|| Yielding::new(options.min_rate));
            yielding.set_min_rate(options.min_rate);
            yielding
        });
        state.limit();
        state.limiter.paid = None;
        state.changes += 1;
        self.changed.notify_all();
    }

    /// How reading yields now.
    pub(crate) fn yields(&self) -> Option<YieldState> {
        let (rate, cause) = self.state().yielding.as_ref()?.shown(Instant::now())?;
        Some(YieldState { rate, cause })
    }

    /// For how long reading has yielded.
    pub(crate) fn yielded(&self) -> Duration {
        self.state().yielding.as_ref().map(Yielding::yielded).unwrap_or_default()
    }

    /// Begins a step of reading or hashing, after a pause if there is one. Blocks.
    pub(crate) fn begin(&self) -> WorkStep<'_> {
        let mut state = self.state();
        loop {
            if state.is_paused {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else if state.yielding.as_mut().is_some_and(|yielding| yielding.begin(Instant::now())) {
                state = self.look(state);
            } else {
                state.steps += 1;
                return WorkStep(self);
            }
        }
    }

    /// Looks at the pressure, in a pause if necessary.
    fn look<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let sample = pressure::sample();
        if state.yielding.as_mut().is_some_and(|yielding| yielding.look(sample)) {
            state.is_paused = true;
            state = self.wait_while(state, PATIENCE, |state| state.steps > 0);
            let mut pause = None;
            if state.steps == 0 {
                let before = pressure::sample();
                state = self.wait_while(state, PAUSE, |_| true);
                pause = Some((before, pressure::sample()));
            }
            if let Some(yielding) = &mut state.yielding {
                yielding.after_pause(pause, pressure::sample());
            }
            state.is_paused = false;
            self.changed.notify_all();
        }
        state.limit();
        state
    }

    /// Waits for at most this time while something is so, and the options do not change.
    fn wait_while<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        at_most: Duration,
        is_so: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let changes = state.changes;
        let goes_on = |state: &mut State| state.changes == changes && is_so(state);
        self.changed.wait_timeout_while(state, at_most, goes_on).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits after a piece was read until the next one may be. `slowdown`: how many times longer than at best reads take.
    /// Blocks.
    pub(crate) fn wait(&self, bytes: u64, slowdown: Option<f64>) {
        let mut state = self.state();
        let now = Instant::now();
        if let Some(yielding) = &mut state.yielding {
            yielding.read(bytes, slowdown, now);
        }
        if let Some(until) = state.limiter.next(bytes, now) {
            state = self.wait_while(state, until.saturating_duration_since(now), |_| true);
            if let Some(yielding) = &mut state.yielding {
                yielding.waited(Instant::now());
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hashing::yielding::{Pressure, Sample};

    fn at_most(rate: u64) -> ReadingOptions {
        ReadingOptions { max_rate: Some(rate), yields: false, ..ReadingOptions::default() }
    }

    #[test]
    fn pieces_are_spread_over_the_time_that_the_limit_allows_but_for_a_short_burst() {
        let mut limiter = Limiter { limit: Some(1000), paid: None };
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        assert_eq!(limiter.next(100, start), None);
        assert_eq!(limiter.next(100, start), Some(after(100)));
        // Of another thread, at the same time.
        assert_eq!(limiter.next(50, start), Some(after(150)));
        assert_eq!(limiter.next(100, after(150)), Some(after(250)));
        // A long pause allows no more than a short one.
        assert_eq!(limiter.next(300, after(100_000)), Some(after(100_200)));
        assert_eq!(Limiter::default().next(1 << 40, start), None);
    }

    #[test]
    fn readers_that_wait_go_on_when_the_limit_changes() {
        let rate = ReadRate::default();
        rate.set(&at_most(1));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| rate.wait(1 << 40, None));
            while rate.state().limiter.paid.is_none() {
                std::thread::yield_now();
            }
            rate.set(&ReadingOptions { max_rate: None, ..at_most(1) });
            waiting.join().unwrap();
        });
        rate.wait(1 << 40, None);
    }

    #[test]
    fn the_lower_of_the_two_limits_holds() {
        let rate = ReadRate::default();
        rate.set(&ReadingOptions { max_rate: Some(100_000_000), ..ReadingOptions::default() });
        let mut state = rate.state();
        let second = |n: u32| {
            let disk = Some(Duration::from_secs(n.into()));
            let at = Instant::now() + Duration::from_secs(n.into());
            Sample { at, pressure: Pressure { disk, ..Pressure::default() } }
        };
        let yielding = state.yielding.as_mut().unwrap();
        yielding.look(second(0));
        assert!(yielding.look(second(1)));
        yielding.after_pause(Some((second(1), second(2))), second(2));
        state.limit();
        assert_eq!(state.limiter.limit, Some(ReadingOptions::default().min_rate));
        drop(state);
        rate.set(&at_most(7));
        assert_eq!(rate.state().limiter.limit, Some(7));
    }

    #[test]
    fn steps_begin_after_a_pause() {
        let rate = ReadRate::default();
        std::thread::scope(|scope| {
            rate.state().is_paused = true;
            let step = scope.spawn(|| drop(rate.begin()));
            assert_eq!(rate.state().steps, 0);
            rate.state().is_paused = false;
            rate.changed.notify_all();
            step.join().unwrap();
        });
        assert_eq!(rate.state().steps, 0);
    }
}
