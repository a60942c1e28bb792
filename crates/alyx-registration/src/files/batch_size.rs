//! Batch size: how many files go in one request, learned from requests that were cut off. Pure.
//!
//! A web server gives a request so many seconds (gunicorn 30, by default) and a slow Alyx may need a second for each
//! file: then a batch of 100 is cut off however often it is sent. So the next attempt sends half as many, and what
//! goes through lets the number grow again.

/// So many full batches in a row go through before a larger one is tried: one that is cut off costs its session the
/// whole attempt.
const GROWS_AFTER: usize = 20;

/// The size of the next batch. At least 1, at most what is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchSize {
    most: usize,
    now: usize,
    /// Full batches in a row that went through.
    in_a_row: usize,
}

impl BatchSize {
    /// Begins with what is configured.
    pub(crate) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self { most, now: most, in_a_row: 0 }
    }

    /// How many files the next request holds.
    pub(crate) fn now(self) -> usize {
        self.now
    }

    /// A request with so many files was sent, and its answer did not come. Only one of the present size or less says
    /// something: larger ones were on their way when the size was halved.
    pub(crate) fn cut_off(&mut self, files: usize) {
        if files <= self.now {
            (self.now, self.in_a_row) = ((files / 2).max(1), 0);
        }
    }

    /// A request with so many files was answered. Only a full one says that more may go through.
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

    /// How many requests a session takes whose server cuts off what holds more than `bearable` files.
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
        panic!("no end with {size:?}")
    }

    #[test]
    fn a_batch_that_is_always_cut_off_shrinks_until_it_goes_through() {
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
    fn it_grows_again_with_what_goes_through_and_never_beyond_what_is_configured() {
        let mut size = BatchSize::new(100);
        size.cut_off(100);
        size.cut_off(50);
        for expected in [25, 50, 100, 100] {
            assert_eq!(size.now(), expected);
            for _ in 0..GROWS_AFTER {
                assert_eq!(size.now(), expected);
                size.answered(size.now());
                // The last batch of a session is not full and says nothing.
                size.answered(3);
            }
        }
    }

    #[test]
    fn requests_that_were_on_their_way_together_halve_it_once() {
        let mut size = BatchSize::new(100);
        size.cut_off(100);
        size.cut_off(100);
        assert_eq!(size.now(), 50);
        // A small one that is cut off says the more.
        size.cut_off(8);
        assert_eq!(size.now(), 4);
        assert_eq!(BatchSize::new(0).now(), 1);
    }
}
