//! Bisection: a batch that Alyx refuses is halved until the refused files are found. Pure.

/// After this number of files refused individually for the same reason, and none accepted, the cause is the whole
/// batch, such as its repository. Testing every file would be one useless request each.
const SAME_REFUSALS: usize = 4;

/// The parts of one batch that are still to be posted, and the files that were refused individually.
#[derive(Debug)]
pub(crate) struct BatchBisector<T> {
    /// Parts of the batch, the next one last, each with whether Alyx checks for protected datasets.
    parts: Vec<(Vec<T>, bool)>,
    accepted: usize,
    /// Each file with the reason.
    refused: Vec<(T, String)>,
}

impl<T> BatchBisector<T> {
    pub(crate) fn new(batch: Vec<T>) -> Self {
        Self { parts: vec![(batch, true)], accepted: 0, refused: Vec::new() }
    }

    /// The part to post next, and whether Alyx checks for protected datasets.
    pub(crate) fn next(&mut self) -> Option<(Vec<T>, bool)> {
        self.parts.pop().filter(|(part, _)| !part.is_empty())
    }

    pub(crate) fn accepted(&mut self, part: &[T]) {
        self.accepted += part.len();
    }

    /// Posts this part next, without the check: its protected datasets have been handled.
    pub(crate) fn past_protection(&mut self, part: Vec<T>) {
        if !part.is_empty() {
            self.parts.push((part, false));
        }
    }

    /// Handles a refused part. `false`: the cause is the whole batch, and nothing more should be posted.
    pub(crate) fn refused(&mut self, mut part: Vec<T>, check: bool, reason: &str) -> bool {
        let second = part.split_off(part.len() / 2);
        if part.is_empty() {
            self.refused.extend(second.into_iter().map(|alone| (alone, reason.to_owned())));
            let same = self.refused.iter().all(|(_, other)| other == reason);
            return !(self.accepted == 0 && self.refused.len() >= SAME_REFUSALS && same);
        }
        self.parts.push((second, check));
        self.parts.push((part, check));
        true
    }

    /// The files that cannot be registered, each with the reason.
    pub(crate) fn into_refused(self) -> Vec<(T, String)> {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Posts a batch to a server that refuses some files. Returns the accepted and refused files, and the number of
    /// requests.
    fn post(n: usize, bad: &[usize]) -> (Vec<usize>, Vec<usize>, usize) {
        let mut bisector = BatchBisector::new((0..n).collect());
        let (mut accepted, mut asked) = (Vec::new(), 0);
        while let Some((part, check)) = bisector.next() {
            asked += 1;
            match part.iter().find(|file| bad.contains(file)) {
                None => {
                    bisector.accepted(&part);
                    accepted.extend(part);
                }
                Some(file) => {
                    let reason = format!("no type for {file}");
                    assert!(bisector.refused(part, check, &reason));
                }
            }
        }
        (accepted, bisector.into_refused().into_iter().map(|(file, _)| file).collect(), asked)
    }

    #[test]
    fn one_bad_file_of_a_hundred_costs_a_few_requests_and_the_others_are_accepted() {
        let (accepted, refused, asked) = post(100, &[57]);
        assert_eq!((accepted.len(), refused), (99, vec![57]));
        assert!(asked <= 15, "{asked}");
    }

    #[test]
    fn a_cause_common_to_all_files_is_not_tested_for_each() {
        let mut bisector = BatchBisector::new((0..100).collect::<Vec<usize>>());
        let mut asked = 0;
        while let Some((part, check)) = bisector.next() {
            asked += 1;
            if !bisector.refused(part, check, "no such repository") {
                break;
            }
        }
        assert!(asked <= 16, "{asked}");
    }

    #[test]
    fn an_empty_batch_is_not_posted() {
        assert_eq!(BatchBisector::<usize>::new(Vec::new()).next(), None);
    }

    proptest! {
        #[test]
        fn every_file_is_accepted_or_refused_alone_and_in_order(
            n in 0usize..60, bad in proptest::collection::vec(0usize..60, 0..6)
        ) {
            let (accepted, refused, _) = post(n, &bad);
            let mut expected: Vec<usize> = bad.into_iter().filter(|file| *file < n).collect();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(&refused, &expected);
            let good: Vec<usize> = (0..n).filter(|file| !expected.contains(file)).collect();
            prop_assert_eq!(accepted, good);
        }
    }
}
