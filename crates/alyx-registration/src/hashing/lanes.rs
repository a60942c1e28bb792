//! The lanes: MD5 of many files at once, checked against the `md-5` crate while they work.
//!
//! Test data at the start, the first file, and one in a thousand are hashed by both. If the two differ, this process uses `md-5` alone from then
//! on, also for the files that were under way.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};

use md5::{Digest, Md5};
use md5_lanes::{Kernel, Md5State};

use crate::hashing::md5_sum::Md5Sum;

/// One file in this many is hashed by both.
const CHECKED: u64 = 1000;

/// The lanes of this process, which all schedulers share.
static SHARED: LazyLock<Arc<Lanes>> = LazyLock::new(|| Arc::new(Lanes::new(Md5State::new()).tested()));

/// MD5 of many files at once.
#[derive(Debug)]
pub(crate) struct Lanes {
    kernel: Kernel,
    /// What a file begins with.
    first: Md5State,
    begun: AtomicU64,
    /// Set when the lanes and `md-5` have differed.
    difference: OnceLock<Difference>,
}

/// The lanes and `md-5` gave different results.
#[derive(Debug, thiserror::Error)]
#[error(
    "two ways to compute the MD5 of {file:?} gave different results ({kernel}); from now on only the slower one is used, which \
     is proven; MD5 sums since the start of the program may be wrong: test the memory and the processor of this computer, \
     register the latest sessions again, and report this"
)]
pub(crate) struct Difference {
    file: PathBuf,
    kernel: Kernel,
}

/// The MD5 of a file of which some pieces have come. Without either part there is nothing to compute.
#[derive(Debug)]
pub(crate) struct Hasher {
    lanes: Option<Md5State>,
    referee: Option<Md5>,
}

impl Lanes {
    /// The lanes of this process.
    pub(crate) fn shared() -> Arc<Self> {
        Arc::clone(&SHARED)
    }

    /// Lanes in which each file begins with this state.
    pub(crate) fn new(first: Md5State) -> Self {
        Self { kernel: Kernel::best(), first, begun: AtomicU64::new(0), difference: OnceLock::new() }
    }

    /// The same lanes after a test, or switched off by it. While the first file is read, others that are shorter get their sums
    /// unchecked; so instructions that this processor does not execute as they should are to be found before.
    fn tested(self) -> Self {
        let pieces: Vec<Vec<u8>> = (0..2 * self.count()).map(|n| vec![n as u8; n * 61]).collect();
        let hasher = |_: &_| Hasher { lanes: Some(self.first.clone()), referee: Some(Md5::new()) };
        let mut hashers: Vec<Hasher> = pieces.iter().map(hasher).collect();
        self.update(hashers.iter_mut().zip(pieces.iter().map(Vec::as_slice)));
        for hasher in hashers {
            self.finish(hasher, Path::new("test data"));
        }
        self
    }

    /// How many files fit side by side.
    pub(crate) fn count(&self) -> usize {
        self.kernel.lanes()
    }

    /// Why the lanes are not in use, and what to do.
    pub(crate) fn difference(&self) -> Option<&Difference> {
        self.difference.get()
    }

    /// A file without any bytes.
    pub(crate) fn hasher(&self) -> Hasher {
        if self.difference.get().is_some() {
            return Hasher { lanes: None, referee: Some(Md5::new()) };
        }
        let is_checked = self.begun.fetch_add(1, Ordering::Relaxed).is_multiple_of(CHECKED);
        Hasher { lanes: Some(self.first.clone()), referee: is_checked.then(Md5::new) }
    }

    /// Adds to each file its piece.
    pub(crate) fn update<'a>(&self, pieces: impl Iterator<Item = (&'a mut Hasher, &'a [u8])>) {
        let mut in_lanes: Vec<(&mut Md5State, &[u8])> = Vec::with_capacity(self.count());
        for (hasher, piece) in pieces {
            if let Some(referee) = &mut hasher.referee {
                referee.update(piece);
            }
            in_lanes.extend(hasher.lanes.as_mut().map(|state| (state, piece)));
        }
        match in_lanes.as_mut_slice() {
            [(state, piece)] => state.update(piece),
            many => self.kernel.update(many),
        }
    }

    /// The MD5 of a file. `None`: the lanes cannot be trusted, and the file must be read again.
    pub(crate) fn finish(&self, hasher: Hasher, path: &Path) -> Option<Md5Sum> {
        let referee = hasher.referee.map(Md5Sum::of);
        let Some(sum) = hasher.lanes.map(|state| Md5Sum::from(state.finish())) else { return referee };
        if referee.is_some_and(|referee| referee != sum) {
            self.switch_off(path);
        }
        self.difference.get().is_none().then_some(sum)
    }

    fn switch_off(&self, path: &Path) {
        if self.difference.set(Difference { file: path.to_owned(), kernel: self.kernel }).is_ok()
            && let Some(difference) = self.difference()
        {
            tracing::error!("{difference}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(lanes: &Lanes, files: &[&[u8]]) -> Vec<Option<Md5Sum>> {
        let mut hashers: Vec<Hasher> = files.iter().map(|_| lanes.hasher()).collect();
        lanes.update(hashers.iter_mut().zip(files.iter().copied()));
        hashers.into_iter().map(|hasher| lanes.finish(hasher, Path::new("/x"))).collect()
    }

    fn md5(text: &[u8]) -> Option<Md5Sum> {
        Some(Md5Sum::of(Md5::new_with_prefix(text)))
    }

    /// Lanes that compute something else.
    fn wrong() -> Lanes {
        let mut first = Md5State::new();
        first.update(b"-");
        Lanes::new(first)
    }

    #[test]
    fn the_first_file_and_one_in_a_thousand_is_hashed_by_both() {
        let lanes = Lanes::new(Md5State::new());
        let is_checked = |_: &u64| lanes.hasher().referee.is_some();
        assert_eq!((0..2001).filter(is_checked).collect::<Vec<_>>(), [0, 1000, 2000]);
    }

    #[test]
    fn lanes_that_differ_from_the_referee_are_switched_off_for_all_files() {
        let lanes = wrong();
        let (checked, under_way) = (lanes.hasher(), lanes.hasher());
        assert_eq!(lanes.finish(checked, Path::new("/first")), None);
        assert!(lanes.difference().unwrap().to_string().contains("/first"));
        assert_eq!(lanes.finish(under_way, Path::new("/second")), None, "what was under way is read again");
        assert_eq!(sums(&lanes, &[b"a", b"b"]), [md5(b"a"), md5(b"b")]);
    }

    #[test]
    fn a_test_before_the_first_file_switches_off_lanes_that_always_compute_something_else() {
        let lanes = wrong().tested();
        assert!(lanes.difference().is_some());
        assert_eq!(sums(&lanes, &[b"a", b"b"]), [md5(b"a"), md5(b"b")]);
        assert!(Lanes::new(Md5State::new()).tested().difference().is_none());
    }

    #[test]
    fn without_a_difference_the_lanes_stay_on() {
        let lanes = Lanes::new(Md5State::new());
        assert_eq!(sums(&lanes, &[b"", b"abc", &[7; 1000]]), [md5(b""), md5(b"abc"), md5(&[7; 1000])]);
        assert!(lanes.difference().is_none());
    }
}
