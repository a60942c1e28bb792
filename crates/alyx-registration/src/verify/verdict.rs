//! The verdict on a file whose content is not what Alyx holds. Pure.

use crate::hashing::checksum::Checksum;
use crate::hashing::md5_sum::Md5Sum;
use crate::hashing::stamp::FileStamp;
use crate::verify::copy::HeldCopy;
use crate::verify::finding::{Finding, FindingKind, Seen};

/// An earlier reading of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EarlierRead {
    /// The file when it was read.
    pub stamp: FileStamp,
    /// Its content.
    pub md5: Md5Sum,
}

/// What differs between a copy and Alyx, and why as far as that is known; `None`: nothing does.
///
/// Only earlier readings that agree with Alyx say something: the file was as registered then. If its times are still the
/// same, no program has written to it; otherwise one has.
pub fn verdict(copy: &HeldCopy, read: &Checksum, earlier: &[EarlierRead]) -> Option<Finding> {
    if copy.is_content(read.md5) {
        return None;
    }
    let mut agreed = earlier.iter().filter(|earlier| copy.is_content(Some(earlier.md5))).peekable();
    let kind = match (agreed.peek().is_some(), agreed.any(|e| e.stamp.has_same_content(&read.stamp))) {
        (_, true) => FindingKind::Rotten,
        (true, false) => FindingKind::Changed,
        (false, false) => FindingKind::Differs,
    };
    let mut finding = Finding::of_file(kind, &copy.path).within(copy.repository.as_deref());
    finding.expected = copy.md5s.first().map(|md5| Seen::Text(md5.to_string()));
    finding.found = read.md5.map(|md5| Seen::Text(md5.to_string()));
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_an_earlier_reading_tell_an_edit_from_rot() {
        let (good, bad) = (Md5Sum::from([1; 16]), Md5Sum::from([2; 16]));
        let stamp = FileStamp { device: 1, inode: 2, size: 3, modified: (4, 0), changed: (5, 0) };
        let moved = FileStamp { modified: (9, 0), changed: (9, 0), ..stamp };
        // Its times were set back after a program had written to it.
        let set_back = FileStamp { changed: (9, 0), ..stamp };
        // A network drive that numbers its files anew.
        let renumbered = FileStamp { device: 7, inode: 8, ..stamp };
        let copy = HeldCopy {
            file: "/s/a".into(),
            path: "a".into(),
            size: 3,
            md5s: vec![good],
            repository: Some("rig".into()),
        };
        let read = |md5, stamp| Checksum { md5: Some(md5), size: 3, stamp };
        let of = |earlier: &[EarlierRead], now: FileStamp| verdict(&copy, &read(bad, now), earlier).unwrap();
        let (agreed, other) = (EarlierRead { stamp, md5: good }, EarlierRead { stamp, md5: bad });
        for (earlier, now, expected) in [
            (&[][..], stamp, FindingKind::Differs),
            (&[agreed], stamp, FindingKind::Rotten),
            (&[agreed], renumbered, FindingKind::Rotten),
            (&[agreed], moved, FindingKind::Changed),
            (&[agreed], set_back, FindingKind::Changed),
            // What never agreed says nothing.
            (&[other], stamp, FindingKind::Differs),
            (&[other, EarlierRead { stamp: moved, md5: good }], stamp, FindingKind::Changed),
        ] {
            assert_eq!(of(earlier, now).kind, expected, "{earlier:?} {now:?}");
        }
        let finding = of(&[agreed], stamp);
        assert_eq!(finding.expected, Some(Seen::Text(good.to_string())));
        assert_eq!(
            (finding.found, finding.repository.as_deref()),
            (Some(Seen::Text(bad.to_string())), Some("rig"))
        );
        assert_eq!(verdict(&copy, &read(good, moved), &[agreed]), None);
    }
}
