//! Obstacles: what keeps flags from being seen or removed, root by root. Pure.
//!
//! A disk that is not mounted, a folder that may not be read, a flag in the wrong folder: no session of the queue
//! tells of them, and nothing is well as long as they last.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;

use crate::daemon::status::ObstacleStatus;

/// The obstacles of all roots, by root and text, and since when each is known.
#[derive(Debug, Default)]
pub(crate) struct Obstacles(BTreeMap<PathBuf, BTreeMap<String, Timestamp>>);

impl Obstacles {
    /// What is in the way in a root now.
    pub(crate) fn seen(&mut self, root: PathBuf, obstacles: Vec<String>, now: Timestamp) {
        let earlier = self.0.remove(&root).unwrap_or_default();
        let since = |text: &String| earlier.get(text).copied().unwrap_or(now);
        let present: BTreeMap<_, _> =
            obstacles.into_iter().map(|text| (text.clone(), since(&text))).collect();
        if !present.is_empty() {
            self.0.insert(root, present);
        }
    }

    /// Other roots are watched: what is in the way there is told anew.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }

    /// For people.
    pub(crate) fn status(&self) -> Vec<ObstacleStatus> {
        let of_root = |(root, obstacles): (&PathBuf, &BTreeMap<String, Timestamp>)| {
            let root = root.to_string_lossy().into_owned();
            let one = |(text, since): (&String, &Timestamp)| ObstacleStatus {
                root: root.clone(),
                since: *since,
                text: text.clone(),
            };
            obstacles.iter().map(one).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of_root).collect()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_obstacle_keeps_its_time_as_long_as_it_lasts() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut obstacles = Obstacles::default();
        let mut see = |root: &str, texts: &[&str], second| {
            obstacles.seen(root.into(), texts.iter().map(ToString::to_string).collect(), at(second));
            let told = |o: ObstacleStatus| (o.root, o.text, o.since.as_second());
            (obstacles.count(), obstacles.status().into_iter().map(told).collect::<Vec<_>>())
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
