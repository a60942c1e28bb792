//! The sessions of a subject: those on Alyx, and the folders that they have here. Pure.

use std::collections::{BTreeMap, BTreeSet};

use alf::SessionPath;
use alyx_client::SessionSummary;

/// A session, or what looks like several: records on Alyx and folders of the same subject, day and number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPair {
    /// `subject/date/number`.
    pub name: String,
    /// Its records on Alyx; usually one.
    pub eids: Vec<String>,
    /// Its folders; usually one.
    pub folders: Vec<SessionPath>,
}

impl SessionPair {
    /// Pairs the sessions of one subject with its folders, by day, number and, if both sides have one, lab. The result
    /// is sorted by day and number.
    ///
    /// ```
    /// use alf::SessionPath;
    /// use alyx_registration::SessionPair;
    ///
    /// let folder = SessionPath::parse(std::path::Path::new("/data/KS014/2024-05-01/001")).unwrap();
    /// let [pair] = SessionPair::of_subject("KS014", &[folder], &[]).try_into().unwrap();
    /// assert!(pair.eids.is_empty() && pair.folders.len() == 1);
    /// ```
    pub fn of_subject(subject: &str, folders: &[SessionPath], known: &[SessionSummary]) -> Vec<Self> {
        let mut days: BTreeMap<(String, i64), Day<'_>> = BTreeMap::new();
        for folder in folders.iter().filter(|folder| folder.subject() == subject) {
            let day = days.entry((folder.date().to_string(), i64::from(folder.number()))).or_default();
            day.folders.push(folder);
        }
        // A server that ignores case, or a filter, returns those of other subjects.
        for session in known.iter().filter(|session| session.subject == subject) {
            if let Some(number) = session.number {
                days.entry((session.date().to_owned(), number)).or_default().sessions.push(session);
            }
        }
        let pairs = days.into_iter().flat_map(|((date, number), day)| {
            let name = format!("{subject}/{date}/{number:03}");
            day.pairs().into_iter().map(move |(eids, folders)| Self { name: name.clone(), eids, folders })
        });
        pairs.collect()
    }
}

/// The sessions and folders of one day and number.
#[derive(Default)]
struct Day<'a> {
    sessions: Vec<&'a SessionSummary>,
    folders: Vec<&'a SessionPath>,
}

impl Day<'_> {
    /// The eids and folders of each session. Folders that match the same records belong together.
    fn pairs(self) -> Vec<(Vec<String>, Vec<SessionPath>)> {
        let mut groups: BTreeMap<(BTreeSet<&str>, Option<&str>), Vec<SessionPath>> = BTreeMap::new();
        for folder in &self.folders {
            let is_of = |session: &&&SessionSummary| {
                let (own, other) = (folder.lab(), session.lab.as_deref());
                own.is_none() || other.is_none() || own == other
            };
            let eids: BTreeSet<&str> =
                self.sessions.iter().filter(is_of).map(|session| session.eid()).collect();
            // Without a record, folders of different labs are different sessions.
            let lab = folder.lab().filter(|_| eids.is_empty());
            groups.entry((eids, lab)).or_default().push((*folder).clone());
        }
        let claimed: BTreeSet<&str> = groups.keys().flat_map(|(eids, _)| eids.iter().copied()).collect();
        let alone = self.sessions.iter().map(|session| session.eid()).filter(|eid| !claimed.contains(eid));
        let alone: Vec<(Vec<String>, Vec<SessionPath>)> =
            alone.map(|eid| (vec![eid.to_owned()], Vec::new())).collect();
        let with_folders = groups.into_iter().map(|((eids, _), mut folders)| {
            folders.sort_by(|a, b| a.folder().cmp(b.folder()));
            (eids.into_iter().map(str::to_owned).collect(), folders)
        });
        with_folders.chain(alone).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::Path;

    /// `eids | folders` of each pair.
    fn pairs(folders: &[&str], known: &[(&str, i64, Option<&str>)]) -> Vec<String> {
        let folder = |path: &&str| SessionPath::parse(Path::new(path)).unwrap();
        let folders: Vec<SessionPath> = folders.iter().map(folder).collect();
        let session = |(eid, number, lab): &(&str, i64, Option<&str>)| {
            let record = json!({"id": eid, "subject": "A", "start_time": "2024-05-01T10:00:00", "number": number,
                "lab": lab});
            serde_json::from_value(record).unwrap()
        };
        let known: Vec<SessionSummary> = known.iter().map(session).collect();
        let pairs = SessionPair::of_subject("A", &folders, &known).into_iter();
        let shown = |pair: SessionPair| {
            let folders: Vec<String> =
                pair.folders.iter().map(|f| f.folder().display().to_string()).collect();
            format!("{} {} | {}", pair.name, pair.eids.join(" "), folders.join(" "))
        };
        pairs.map(shown).collect()
    }

    #[test]
    fn folders_and_sessions_meet_by_day_number_and_lab() {
        for (folders, known, expected) in [
            (
                &["A/2024-05-01/001"][..],
                &[("x", 1, None)][..],
                &["A/2024-05-01/001 x | A/2024-05-01/001"][..],
            ),
            (&["A/2024-05-01/1"], &[], &["A/2024-05-01/001  | A/2024-05-01/1"]),
            (&[], &[("x", 2, None)], &["A/2024-05-01/002 x | "]),
            // The same number twice on Alyx, and twice on disk.
            (
                &["A/2024-05-01/1"],
                &[("x", 1, None), ("y", 1, None)],
                &["A/2024-05-01/001 x y | A/2024-05-01/1"],
            ),
            (
                &["/b/A/2024-05-01/001", "/a/A/2024-05-01/001"],
                &[("x", 1, None)],
                &["A/2024-05-01/001 x | /a/A/2024-05-01/001 /b/A/2024-05-01/001"],
            ),
            // Two labs.
            (
                &["/l/Subjects/A/2024-05-01/001", "/m/Subjects/A/2024-05-01/001"],
                &[("x", 1, Some("l")), ("y", 1, Some("m"))],
                &[
                    "A/2024-05-01/001 x | /l/Subjects/A/2024-05-01/001",
                    "A/2024-05-01/001 y | /m/Subjects/A/2024-05-01/001",
                ],
            ),
            (
                &["/l/Subjects/A/2024-05-01/001"],
                &[("y", 1, Some("m"))],
                &["A/2024-05-01/001  | /l/Subjects/A/2024-05-01/001", "A/2024-05-01/001 y | "],
            ),
        ] {
            assert_eq!(pairs(folders, known), expected);
        }
    }
}
