//! Batch size: the number of files in a request, adapted when requests time out. Pure.
//!
//! A web server limits the time of a request (gunicorn: 30 s by default), and a slow Alyx may need a second for each
//! file: a batch of 100 then times out however often it is sent. So the next attempt sends half as many, and successful
//! requests let the number grow again.

/// Successful full batches in a row before a larger one is tried: a batch that times out costs its session the whole
/// attempt.
const GROWS_AFTER: usize = 20;

/// The size of the next batch. At least 1, at most what is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchSize {
    most: usize,
    now: usize,
    /// Successful full batches in a row.
    in_a_row: usize,
}

impl BatchSize {
    /// Starts at the configured maximum.
    pub(crate) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self { most, now: most, in_a_row: 0 }
    }

    /// How many files the next request holds.
    pub(crate) fn now(self) -> usize {
        self.now
    }

    /// A request with this number of files was not answered. Larger ones than the present size are ignored: they were
    /// on their way when the size was halved.
    pub(crate) fn cut_off(&mut self, files: usize) {
        if files <= self.now {
            (self.now, self.in_a_row) = ((files / 2).max(1), 0);
        }
    }

    /// A request with this number of files was answered. Only full ones count.
    pub(crate) fn answered(&mut self, files: usize) {
        if files >= self.now {
            self.in_a_row += 1;
        }
        if self.in_a_row >= GROWS_AFTER {
            (self.now, self.in_a_row) = (self.now.saturating_mul(2).min(self.most), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The requests that a session needs if the server times out with more than `bearable` files.
    fn requests(size: &mut BatchSize, mut files: usize, bearable: usize) -> usize {
        for request in 1..1000 {
            let batch = size.now().min(files);
            if batch > bearable {
                size.cut_off(batch);
                continue;
            }
            size.answered(batch);
            files -= batch;
            if files == 0 {
                return request;
            }
        }
        panic!("no success with {size:?}")
    }

    #[test]
    fn a_batch_that_times_out_shrinks_until_it_succeeds() {
        let mut size = BatchSize::new(100);
        for expected in [50, 25, 12, 6, 3, 1, 1] {
            size.cut_off(size.now());
            assert_eq!(size.now(), expected);
        }
        for bearable in [1_usize, 2, 7, 30, 99] {
            let at_worst = 400_usize.div_ceil(bearable.div_ceil(2));
            assert!(
                requests(&mut BatchSize::new(100), 400, bearable) <= at_worst + at_worst / GROWS_AFTER + 8
            );
        }
    }

    #[test]
    fn it_grows_again_after_successful_requests_up_to_the_configured_maximum() {
        let mut size = BatchSize::new(100);
        size.cut_off(100);
        size.cut_off(50);
        for expected in [25, 50, 100, 100] {
            assert_eq!(size.now(), expected);
            for _ in 0..GROWS_AFTER {
                assert_eq!(size.now(), expected);
                size.answered(size.now());
                // The last batch of a session is not full and does not count.
                size.answered(3);
            }
        }
    }

    #[test]
    fn concurrent_requests_that_time_out_halve_it_once() {
        let mut size = BatchSize::new(100);
        size.cut_off(100);
        size.cut_off(100);
        assert_eq!(size.now(), 50);
        // A smaller one that times out halves it further.
        size.cut_off(8);
        assert_eq!(size.now(), 4);
        assert_eq!(BatchSize::new(0).now(), 1);
    }
}
