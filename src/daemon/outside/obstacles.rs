//! Obstacles: what keeps flags from being seen or removed, by root. Pure.
//!
//! An unmounted disk, an unreadable folder, a flag in the wrong folder: no session in the queue shows them, and status
//! is not "ok" while they last.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;

use crate::daemon::status::ObstacleStatus;

/// The obstacles of all roots, and when each was first seen.
#[derive(Debug, Default)]
pub(crate) struct Obstacles(BTreeMap<PathBuf, BTreeMap<String, Timestamp>>);

impl Obstacles {
    /// Sets the current obstacles of a root.
    pub(crate) fn set_root(&mut self, root: PathBuf, obstacles: Vec<String>, now: Timestamp) {
        let earlier = self.0.remove(&root).unwrap_or_default();
        let since = |text: &String| earlier.get(text).copied().unwrap_or(now);
        let present: BTreeMap<_, _> =
            obstacles.into_iter().map(|text| (text.clone(), since(&text))).collect();
        if !present.is_empty() {
            self.0.insert(root, present);
        }
    }

    /// The watched roots have changed: obstacles are collected again.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// For display.
    pub(crate) fn status(&self) -> Vec<ObstacleStatus> {
        let of_root = |(root, obstacles): (&PathBuf, &BTreeMap<String, Timestamp>)| {
            let root = root.to_string_lossy().into_owned();
            let one = |(text, since): (&String, &Timestamp)| ObstacleStatus {
                root: root.clone(),
                since: Some(*since),
                text: text.clone(),
            };
            obstacles.iter().map(one).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of_root).collect()
    }

    /// The number of obstacles.
    pub(crate) fn count(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_obstacle_keeps_its_start_time_while_it_lasts() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut obstacles = Obstacles::default();
        let mut see = |root: &str, texts: &[&str], second| {
            obstacles.set_root(root.into(), texts.iter().map(ToString::to_string).collect(), at(second));
            let row = |o: ObstacleStatus| (o.root, o.text, o.since.unwrap().as_second());
            (obstacles.count(), obstacles.status().into_iter().map(row).collect::<Vec<_>>())
        };
        let one = |root: &str, text: &str, since: i64| (root.to_owned(), text.to_owned(), since);
        assert_eq!(see("/a", &["missing"], 1), (1, vec![one("/a", "missing", 1)]));
        let both = vec![one("/a", "missing", 1), one("/b", "empty", 2)];
        assert_eq!(see("/b", &["empty"], 2), (2, both));
        let three = vec![one("/a", "missing", 1), one("/a", "unreadable", 3), one("/b", "empty", 2)];
        assert_eq!(see("/a", &["unreadable", "missing"], 3), (3, three));
        assert_eq!(see("/a", &[], 4), (1, vec![one("/b", "empty", 2)]));
        assert_eq!(see("/b", &["empty"], 5), (1, vec![one("/b", "empty", 2)]));
    }
}
