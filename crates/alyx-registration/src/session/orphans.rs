//! Orphans: session folders that Alyx does not know. One request for each subject, regardless of its number of
//! sessions.

use std::collections::BTreeMap;

use jiff::civil::Date;

use crate::client::RegistrationClient;
use crate::error::Error;
use crate::verify::sessions::SessionPair;
use alf::SessionPath;
use alyx_client::SessionSummary;

/// The session folders of one subject, at least one, and the first and last day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectFolders {
    subject: String,
    first: Date,
    last: Date,
    sessions: Vec<SessionPath>,
}

impl SubjectFolders {
    /// Groups folders by subject, sorted by path. Pure.
    ///
    /// ```
    /// use alf::SessionPath;
    /// use alyx_registration::SubjectFolders;
    ///
    /// let session = |path: &str| SessionPath::parse(std::path::Path::new(path)).unwrap();
    /// let paths = ["KS014/2024-05-02/001", "KS014/2024-05-01/001", "ZM_1085/2024-05-01/001"];
    /// let subjects = SubjectFolders::of(paths.map(session));
    /// assert_eq!(subjects.iter().map(SubjectFolders::subject).collect::<Vec<_>>(), ["KS014", "ZM_1085"]);
    /// ```
    pub fn of(sessions: impl IntoIterator<Item = SessionPath>) -> Vec<Self> {
        let mut subjects: BTreeMap<String, Self> = BTreeMap::new();
        for session in sessions {
            let date = session.date();
            let folders = subjects.entry(session.subject().to_owned()).or_insert_with(|| Self {
                subject: session.subject().to_owned(),
                first: date,
                last: date,
                sessions: Vec::new(),
            });
            folders.first = folders.first.min(date);
            folders.last = folders.last.max(date);
            folders.sessions.push(session);
        }
        let sorted = |mut folders: Self| {
            folders.sessions.sort_by(|a, b| a.folder().cmp(b.folder()));
            folders
        };
        subjects.into_values().map(sorted).collect()
    }

    /// The subject.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Its session folders.
    pub fn sessions(&self) -> &[SessionPath] {
        &self.sessions
    }

    /// The folders that are none of these sessions. Pure.
    fn without(&self, known: &[SessionSummary]) -> Vec<SessionPath> {
        let pairs = SessionPair::of_subject(&self.subject, &self.sessions, known);
        let orphans = pairs.into_iter().filter(|pair| pair.eids.is_empty());
        let mut orphans: Vec<SessionPath> = orphans.flat_map(|pair| pair.folders).collect();
        orphans.sort_by(|a, b| a.folder().cmp(b.folder()));
        orphans
    }
}

impl RegistrationClient {
    /// The session folders of a subject that Alyx does not know. One request, for all sessions of the subject in those
    /// days; changes nothing.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn find_orphans(&self, folders: &SubjectFolders) -> Result<Vec<SessionPath>, Error> {
        let known = self.alyx().sessions_between(&folders.subject, folders.first, folders.last).await?;
        Ok(folders.without(&known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::Path;

    fn folders(paths: &[&str]) -> SubjectFolders {
        let session = |path: &&str| SessionPath::parse(Path::new(path)).unwrap();
        let [one] = SubjectFolders::of(paths.iter().map(session)).try_into().unwrap();
        one
    }

    fn known(subject: &str, time: &str, number: Option<i64>, lab: Option<&str>) -> SessionSummary {
        let record = json!({"id": "x", "subject": subject, "start_time": time, "number": number, "lab": lab});
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn the_days_span_all_folders_of_a_subject() {
        let folders = folders(&["A/2024-05-03/001", "A/2024-05-01/002", "A/2024-05-02/001"]);
        assert_eq!((folders.first.day(), folders.last.day()), (1, 3));
        let paths: Vec<_> = folders.sessions().iter().map(SessionPath::relative).collect();
        assert_eq!(paths, ["A/2024-05-01/002", "A/2024-05-02/001", "A/2024-05-03/001"]);
    }

    #[test]
    fn a_folder_is_known_by_subject_day_number_and_lab_if_both_have_one() {
        let folders = folders(&["l/Subjects/A/2024-05-01/001"]);
        let is_orphan = |session: SessionSummary| !folders.without(&[session]).is_empty();
        let time = "2024-05-01T14:30:00";
        assert!(!is_orphan(known("A", time, Some(1), Some("l"))));
        assert!(!is_orphan(known("A", time, Some(1), None)));
        assert!(is_orphan(known("A", time, Some(1), Some("m"))));
        assert!(is_orphan(known("A", time, Some(2), Some("l"))));
        assert!(is_orphan(known("A", time, None, Some("l"))));
        assert!(is_orphan(known("A", "2024-05-02T00:00:00", Some(1), Some("l"))));
        // A server without this filter returns all sessions, and one that ignores case returns those of similar names.
        assert!(is_orphan(known("B", time, Some(1), Some("l"))));
        assert!(is_orphan(known("a", time, Some(1), Some("l"))));
    }

    #[test]
    fn two_sessions_of_one_day_and_number_are_told_apart_by_lab() {
        let folders = folders(&["l/Subjects/A/2024-05-01/001", "m/Subjects/A/2024-05-01/001"]);
        let of = |lab| known("A", "2024-05-01T00:00:00", Some(1), Some(lab));
        assert_eq!(folders.without(&[of("l")]).len(), 1);
        assert!(folders.without(&[of("l"), of("m")]).is_empty());
    }
}
