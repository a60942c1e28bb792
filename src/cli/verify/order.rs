//! The order of a verification: what was verified longest ago comes first. Pure.

use std::collections::HashMap;
use std::path::PathBuf;

use jiff::Timestamp;

use alyx_registration::SessionPair;

/// Sorts sessions: first those that were never read completely, then by the file that was verified longest ago; last those
/// without a folder, of which nothing is read.
pub(super) fn sort(pairs: &mut [SessionPair], verified: &HashMap<PathBuf, Timestamp>) {
    pairs.sort_by_key(|pair| {
        let oldest = pair.folders.iter().map(|folder| verified.get(folder.folder()).copied()).min();
        (pair.folders.is_empty(), oldest)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use alf::SessionPath;
    use std::path::Path;

    #[test]
    fn never_verified_comes_first_and_then_the_oldest() {
        let folder = |day: u32| format!("/d/A/2024-05-{day:02}/001");
        let path = |day: u32| SessionPath::parse(Path::new(&folder(day))).unwrap();
        let pair = |days: &[u32]| SessionPair {
            name: format!("{days:?}"),
            eids: Vec::new(),
            folders: days.iter().map(|day| path(*day)).collect(),
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        let verified = [(1, 30), (2, 10), (3, 20)].map(|(day, s)| (PathBuf::from(folder(day)), at(s))).into();
        let mut pairs = [pair(&[]), pair(&[1]), pair(&[2]), pair(&[3]), pair(&[4]), pair(&[1, 5])];
        sort(&mut pairs, &verified);
        let names: Vec<&str> = pairs.iter().map(|pair| pair.name.as_str()).collect();
        assert_eq!(names, ["[4]", "[1, 5]", "[2]", "[3]", "[1]", "[]"]);
    }
}
