//! Yielding: how fast files are read while other programs need the disk or the processors. Pure.
//!
//! Linux counts for how long some program waited for the disk or a processor (pressure stall information, PSI), and this
//! program counts like any other. So only what is counted in short pauses, in which it neither reads nor hashes, says that
//! others wait. There is no pause while no program waits at all. Where the kernel does not count, only the time of the own reads
//! tells: the disk is busy if they take several times as long as at best.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Between two looks at the pressure while nothing is limited, and while others wait.
const INTERVAL: Duration = Duration::from_secs(1);
const INTERVAL_LIMITED: Duration = Duration::from_millis(300);
/// The same after a pause for which a read did not return: it may hang, and the data roots of other disks must not wait for it
/// each second.
const INTERVAL_HANGING: Duration = Duration::from_secs(5);
/// From the start of reading to the first look.
const FIRST: Duration = Duration::from_millis(100);
/// How long no thread worked or waited, for reading to start anew.
const IDLE: Duration = Duration::from_secs(1);
/// How long after the last work the limit is shown: a thread may wait for so long.
const SHOWN: Duration = Duration::from_secs(3);
/// How long a pause lasts.
pub(crate) const PAUSE: Duration = Duration::from_millis(40);
/// Which share of a time others wait, for less to be read, and for more.
const PRESSURE: f64 = 0.15;
const CALM: f64 = 0.05;
/// How many times longer reads take than at best, for less to be read, and for more.
const SLOW: f64 = 4.0;
const FAST: f64 = 2.0;
/// While others wait, each look divides the limit by this number; while none does, each look multiplies it by the next.
const DECREASE: u64 = 4;
const INCREASE: f64 = 1.25;
/// No disk and no processor is faster: the end of the limit.
const UNLIMITED: u64 = 4_000_000_000;

/// For how long some program has waited since the start of the system; `None` where that is not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pressure {
    pub(crate) disk: Option<Duration>,
    pub(crate) processor: Option<Duration>,
    /// What this program has read from disks instead of memory, in bytes.
    pub(crate) from_disk: Option<u64>,
}

/// The pressure at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) pressure: Pressure,
}

impl Sample {
    /// The shares of the time since an earlier sample in which some program waited for the disk, and for a processor.
    fn shares_since(&self, earlier: &Self) -> Option<[f64; 2]> {
        let span = self.at.saturating_duration_since(earlier.at).as_secs_f64().max(1e-6);
        let share = |now: Option<Duration>, then: Option<Duration>| {
            Some((now?.saturating_sub(then?).as_secs_f64() / span).min(1.0))
        };
        let (now, then) = (&self.pressure, &earlier.pressure);
        let shares = [share(now.disk, then.disk), share(now.processor, then.processor)];
        // Some kernels count one of them only.
        shares.iter().any(Option::is_some).then(|| shares.map(Option::unwrap_or_default))
    }
}

/// What other programs need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum YieldCause {
    /// They wait for the disk.
    Disk,
    /// They wait for a processor.
    Processor,
    /// Reads take much longer than at best.
    SlowReads,
}

/// The limit by which reading yields.
#[derive(Debug)]
pub(crate) struct Yielding {
    /// Limits are not lower, in bytes a second.
    min_rate: u64,
    /// In bytes a second.
    limit: Option<u64>,
    cause: YieldCause,
    /// The latest shares of pauses in which others waited for the disk and for a processor, smoothed.
    shares: [f64; 2],
    /// At the latest look.
    last: Option<Sample>,
    due: Option<Instant>,
    /// When there was work last.
    active: Option<Instant>,
    /// What was read since the latest look, and whether from a disk.
    bytes: u64,
    is_from_disk: bool,
    rate: u64,
    slowdown: Option<f64>,
    /// For how long there was a limit.
    yielded: Duration,
}

impl Yielding {
    pub(crate) fn new(min_rate: u64) -> Self {
        Self {
            min_rate,
            limit: None,
            cause: YieldCause::Disk,
            shares: [0.0; 2],
            last: None,
            due: None,
            active: None,
            bytes: 0,
            is_from_disk: true,
            rate: 0,
            slowdown: None,
            yielded: Duration::ZERO,
        }
    }

    pub(crate) fn set_min_rate(&mut self, min_rate: u64) {
        self.min_rate = min_rate;
        self.limit = self.limit.map(|limit| limit.max(min_rate));
    }

    /// The limit, in bytes a second.
    pub(crate) fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// The limit and its cause, while files are being read.
    pub(crate) fn shown(&self, now: Instant) -> Option<(u64, YieldCause)> {
        let is_active = self.active.is_some_and(|active| now.saturating_duration_since(active) < SHOWN);
        self.limit.filter(|_| is_active).map(|limit| (limit, self.cause))
    }

    /// For how long there was a limit.
    pub(crate) fn yielded(&self) -> Duration {
        self.yielded
    }

    /// A step of work begins: whether it is time to look at the pressure.
    pub(crate) fn begin(&mut self, now: Instant) -> bool {
        let was_idle = self.active.is_none_or(|active| now.saturating_duration_since(active) >= IDLE);
        self.active = Some(now);
        if was_idle {
            self.last = None;
            self.due = None;
        }
        self.due.is_none_or(|due| now >= due)
    }

    /// A thread has waited because of a limit.
    pub(crate) fn waited(&mut self, now: Instant) {
        self.active = Some(now);
    }

    /// A piece was read. `slowdown`: how many times longer reads take than at best.
    pub(crate) fn read(&mut self, bytes: u64, slowdown: Option<f64>, now: Instant) {
        self.active = Some(now);
        self.bytes += bytes;
        self.slowdown = slowdown.or(self.slowdown);
    }

    /// Looks at the pressure; whether a pause must show who waits, and [`after_pause`](Self::after_pause) follows.
    pub(crate) fn look(&mut self, now: Sample) -> bool {
        let Some(last) = self.last.replace(now) else {
            self.bytes = 0;
            self.due = Some(now.at + FIRST);
            return false;
        };
        let span = now.at.saturating_duration_since(last.at);
        self.yielded += self.limit.map_or(Duration::ZERO, |_| span);
        self.rate = (self.bytes as f64 / span.as_secs_f64().max(1e-6)) as u64;
        let from_disk = now.pressure.from_disk.zip(last.pressure.from_disk);
        // What is in memory is read without any harm to the disk.
        self.is_from_disk = from_disk.is_none_or(|(now, then)| now.saturating_sub(then) >= self.bytes / 16);
        self.bytes = 0;
        match now.shares_since(&last).map(|shares| self.counted(shares)) {
            Some(shares) if shares.iter().any(|share| *share >= CALM) => true,
            shares => {
                self.judge(shares, now.at);
                false
            }
        }
    }

    /// A pause has ended. `None`: it could not begin, because a read did not return.
    pub(crate) fn after_pause(&mut self, pause: Option<(Sample, Sample)>, now: Sample) {
        let has_paused = pause.is_some();
        let shares = pause.and_then(|(before, after)| after.shares_since(&before));
        if let (Some(_), Some(last)) = (self.limit, self.last.replace(now)) {
            self.yielded += now.at.saturating_duration_since(last.at);
        }
        self.judge(shares.map(|shares| self.counted(shares)), now.at);
        if !has_paused {
            self.due = Some(now.at + INTERVAL_HANGING);
        }
    }

    fn counted(&self, [disk, processor]: [f64; 2]) -> [f64; 2] {
        [if self.is_from_disk { disk } else { 0.0 }, processor]
    }

    fn judge(&mut self, shares: Option<[f64; 2]>, now: Instant) {
        let slowdown = self.slowdown.take();
        let cause = match shares {
            Some(shares) => {
                for (smooth, share) in self.shares.iter_mut().zip(shares) {
                    *smooth = (*smooth + share) / 2.0;
                }
                let [disk, processor] = self.shares;
                match () {
                    () if disk >= PRESSURE => Some(YieldCause::Disk),
                    () if processor >= PRESSURE => Some(YieldCause::Processor),
                    () => None,
                }
            }
            None => slowdown.filter(|slowdown| *slowdown >= SLOW).map(|_| YieldCause::SlowReads),
        };
        let is_calm = match shares {
            Some(_) => self.shares.iter().all(|share| *share < CALM),
            None => slowdown.is_none_or(|slowdown| slowdown < FAST),
        };
        if let Some(cause) = cause {
            let rate = self.limit.unwrap_or(u64::MAX).min(self.rate);
            self.limit = Some((rate / DECREASE).max(self.min_rate));
            self.cause = cause;
        } else if is_calm {
            let more = self.limit.map(|limit| (limit as f64 * INCREASE) as u64 + 1);
            self.limit = more.filter(|more| *more < UNLIMITED);
        }
        self.due = Some(now + if self.limit.is_some() { INTERVAL_LIMITED } else { INTERVAL });
    }
}

/// Shorter pieces than this say more about the disk's search than about others, in bytes.
const LONG: usize = 512 << 10;

/// How long reads from one disk take.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    /// Of the latest long pieces, in seconds a byte.
    recent: Vec<f64>,
    /// The best median.
    best: Option<f64>,
}

impl Latency {
    /// How many pieces make a median.
    const COUNT: usize = 9;

    /// Adds a piece. Returns how many times longer the latest ones took than the best ones, if that has become known.
    pub(crate) fn add(&mut self, bytes: usize, took: Duration) -> Option<f64> {
        // What comes faster than 1 GB/s is taken for the page cache: it says nothing about the disk.
        if bytes < LONG || took.as_nanos() < bytes as u128 {
            return None;
        }
        self.recent.push(took.as_secs_f64() / bytes as f64);
        if self.recent.len() < Self::COUNT {
            return None;
        }
        self.recent.sort_by(f64::total_cmp);
        let median = self.recent.get(Self::COUNT / 2).copied();
        self.recent.clear();
        let best = median?.min(self.best.unwrap_or(f64::INFINITY));
        self.best = Some(best);
        Some(median? / best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: u64 = 20_000_000;

    /// A machine whose other programs wait for the disk and the processors for these shares of the time.
    struct World {
        yielding: Yielding,
        now: Instant,
        pressure: Pressure,
        others: [f64; 2],
        /// What this program adds while it works.
        own: [f64; 2],
        /// From the disk, in bytes a second, when nothing limits it.
        speed: u64,
        is_cached: bool,
        has_psi: bool,
        slowdown: Option<f64>,
        paused: Duration,
    }

    impl World {
        fn new() -> Self {
            Self {
                yielding: Yielding::new(MIN),
                now: Instant::now(),
                pressure: Pressure::default(),
                others: [0.0; 2],
                own: [0.9, 0.0],
                speed: 400_000_000,
                is_cached: false,
                has_psi: true,
                slowdown: None,
                paused: Duration::ZERO,
            }
        }

        fn sample(&self) -> Sample {
            let from_disk = self.pressure.from_disk;
            let pressure = match self.has_psi {
                true => self.pressure,
                false => Pressure { from_disk, ..Pressure::default() },
            };
            Sample { at: self.now, pressure }
        }

        fn pass(&mut self, time: Duration, is_working: bool) {
            self.now += time;
            let both = |at: usize| match is_working {
                true => self.others[at].max(self.own[at]),
                false => self.others[at],
            };
            let more = |total: Option<Duration>, share| Some(total.unwrap_or_default() + time.mul_f64(share));
            self.pressure.disk = more(self.pressure.disk, both(0));
            self.pressure.processor = more(self.pressure.processor, both(1));
        }

        /// Reads for this time, in pieces of 1 MiB.
        fn read(&mut self, time: Duration) {
            let until = self.now + time;
            while self.now < until {
                if self.yielding.begin(self.now) && self.yielding.look(self.sample()) {
                    let before = self.sample();
                    self.pass(PAUSE, false);
                    self.paused += PAUSE;
                    self.yielding.after_pause(Some((before, self.sample())), self.sample());
                }
                let rate = self.yielding.limit().unwrap_or(u64::MAX).min(self.speed);
                let reading = (1 << 20) as f64 / self.speed as f64;
                self.pass(Duration::from_secs_f64(reading), true);
                let read = if self.is_cached { 0 } else { 1 << 20 };
                self.pressure.from_disk = Some(self.pressure.from_disk.unwrap_or_default() + read);
                self.yielding.read(1 << 20, self.slowdown, self.now);
                self.pass(Duration::from_secs_f64((1 << 20) as f64 / rate as f64 - reading), false);
                self.yielding.waited(self.now);
            }
        }

        fn limit(&self) -> Option<u64> {
            self.yielding.limit()
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_own_stalls_are_no_evidence_and_the_pauses_that_show_this_cost_less_than_a_twentieth() {
        let mut world = World::new();
        world.own = [1.0, 1.0];
        world.read(60 * SECOND);
        assert_eq!(world.limit(), None);
        assert!(world.paused > SECOND && world.paused < 3 * SECOND, "{:?}", world.paused);
    }

    #[test]
    fn while_no_program_waits_there_is_no_pause() {
        let mut world = World::new();
        world.own = [0.0; 2];
        world.read(60 * SECOND);
        assert_eq!((world.limit(), world.paused), (None, Duration::ZERO));
    }

    #[test]
    fn a_small_session_is_read_without_a_pause() {
        let mut world = World::new();
        world.others = [1.0; 2];
        for _ in 0..10 {
            world.read(FIRST / 2);
            world.pass(2 * SECOND, false);
        }
        assert_eq!(world.paused, Duration::ZERO);
    }

    #[test]
    fn while_others_wait_the_rate_falls_within_two_seconds_to_the_least_and_not_below() {
        let cases = [([0.3, 0.0], YieldCause::Disk), ([0.0, 0.3], YieldCause::Processor)];
        for (others, cause) in cases.into_iter().chain([([1.0, 1.0], YieldCause::Disk)]) {
            let mut world = World::new();
            world.others = others;
            world.read(2 * SECOND);
            assert_eq!(world.yielding.shown(world.now), Some((MIN, cause)), "{others:?}");
            world.read(60 * SECOND);
            assert_eq!(world.limit(), Some(MIN));
            assert!(world.yielding.yielded() > 59 * SECOND, "{:?}", world.yielding.yielded());
        }
    }

    #[test]
    fn when_others_stop_to_wait_the_rate_rises_gradually_until_there_is_no_limit() {
        let mut world = World::new();
        world.others = [0.5, 0.0];
        world.read(5 * SECOND);
        world.others = [0.0; 2];
        let mut limits = Vec::new();
        while let Some(limit) = world.limit() {
            limits.push(limit);
            world.read(SECOND);
        }
        assert!(limits.is_sorted() && (5..15).contains(&limits.len()), "{limits:?}");
        assert!(limits.windows(2).all(|pair| pair[1] < pair[0] * 3), "{limits:?}");
    }

    #[test]
    fn a_short_wait_of_others_changes_nothing() {
        let mut world = World::new();
        world.read(10 * SECOND);
        world.others = [0.2, 0.1];
        world.read(SECOND);
        world.others = [0.0; 2];
        world.read(SECOND);
        assert_eq!(world.limit(), None);
    }

    #[test]
    fn what_is_read_from_memory_does_not_yield_to_those_who_wait_for_the_disk() {
        let mut world = World::new();
        (world.is_cached, world.others) = (true, [1.0, 0.0]);
        world.read(10 * SECOND);
        assert_eq!((world.limit(), world.paused), (None, Duration::ZERO));
        world.others = [1.0, 1.0];
        world.read(10 * SECOND);
        assert_eq!(world.yielding.shown(world.now), Some((MIN, YieldCause::Processor)));
    }

    #[test]
    fn without_psi_the_time_of_the_own_reads_decides_and_there_is_no_pause() {
        let mut world = World::new();
        (world.has_psi, world.others) = (false, [1.0; 2]);
        for (slowdown, is_limited) in [(1.0, false), (3.0, false), (5.0, true), (3.0, true), (1.5, false)] {
            world.slowdown = Some(slowdown);
            world.read(20 * SECOND);
            assert_eq!(world.limit().is_some(), is_limited, "{slowdown}");
        }
        assert_eq!(world.paused, Duration::ZERO);
    }

    #[test]
    fn a_pause_that_could_not_begin_leaves_the_time_of_the_reads_as_evidence() {
        for (slowdown, limit) in [(None, None), (Some(9.0), Some(MIN))] {
            let mut world = World::new();
            world.pass(SECOND, true);
            world.yielding.look(world.sample());
            world.pass(SECOND, true);
            world.yielding.read(1, slowdown, world.now);
            assert!(world.yielding.look(world.sample()));
            world.yielding.after_pause(None, world.sample());
            assert_eq!(world.limit(), limit);
            let mut is_due = |after| {
                world.yielding.waited(world.now + after);
                world.yielding.begin(world.now + after)
            };
            assert!(!is_due(4 * SECOND) && is_due(INTERVAL_HANGING));
        }
    }

    #[test]
    fn nothing_is_shown_while_nothing_is_read() {
        let mut world = World::new();
        world.others = [1.0, 0.0];
        world.read(5 * SECOND);
        assert!(world.yielding.shown(world.now).is_some());
        assert_eq!(world.yielding.shown(world.now + SHOWN), None);
    }

    #[test]
    fn a_thread_that_waits_for_longer_than_a_second_for_its_next_piece_still_looks_whether_it_may_read_more()
    {
        let mut world = World::new();
        world.yielding.set_min_rate(500_000);
        world.others = [1.0, 0.0];
        world.read(10 * SECOND);
        assert_eq!(world.limit(), Some(500_000));
        world.others = [0.0; 2];
        world.read(120 * SECOND);
        assert_eq!(world.limit(), None);
    }

    #[test]
    fn a_least_rate_that_was_raised_holds_at_once() {
        let mut world = World::new();
        world.others = [1.0, 0.0];
        world.read(5 * SECOND);
        world.yielding.set_min_rate(2 * MIN);
        assert_eq!(world.limit(), Some(2 * MIN));
    }

    #[test]
    fn reads_are_compared_with_the_best_ones_of_the_disk_and_the_page_cache_is_none() {
        let mut latency = Latency::default();
        let mut nine = |bytes: usize, ms: u64| {
            (0..9).filter_map(|_| latency.add(bytes, Duration::from_millis(ms))).last()
        };
        let cases = [
            // From the page cache.
            (1 << 20, 1, None),
            (1 << 20, 20, Some(1.0)),
            (1 << 20, 10, Some(1.0)),
            (1 << 20, 50, Some(5.0)),
            // Small files are no measure.
            (100_000, 50, None),
            (1 << 20, 0, None),
            (1 << 20, 10, Some(1.0)),
        ];
        for (bytes, ms, slowdown) in cases {
            assert_eq!(nine(bytes, ms), slowdown, "{bytes} bytes in {ms} ms");
        }
    }
}
