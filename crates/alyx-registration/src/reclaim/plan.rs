//! The decision whether the files of a session may be deleted here: what is known of each dataset and its copies. Pure.

use std::collections::BTreeSet;
use std::path::PathBuf;

/// What has to be so before files may be deleted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReclaimNeeds {
    /// In how many other repositories each file must have a copy that was read.
    pub copies: usize,
}

/// What is known of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SessionState {
    /// How many sessions Alyx has of this subject, day and number.
    pub(crate) sessions: usize,
    /// Whether it has a flag.
    pub(crate) is_flagged: bool,
    /// Whether its day is too recent.
    pub(crate) is_recent: bool,
    /// Its datasets, as far as they have a file here.
    pub(crate) datasets: Vec<DatasetState>,
}

/// What is known of a dataset that has a file here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DatasetState {
    /// Relative to the session.
    pub(crate) path: String,
    pub(crate) is_protected: bool,
    pub(crate) has_hash: bool,
    pub(crate) source: SourceState,
    pub(crate) copies: Vec<CopyState>,
}

/// What the disk says of the file here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum SourceState {
    /// It is what Alyx holds.
    Agrees {
        path: PathBuf,
        size: u64,
    },
    /// It has another size or MD5: it changed since it was registered.
    Changed,
    /// It is a link: what it leads to would stay.
    Link,
    /// It has not been compared.
    #[default]
    Unread,
    Unreadable(String),
}

/// A copy in another repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CopyState {
    /// It was read recently, and its MD5 is the one on Alyx.
    Verified { repository: String, device: u64 },
    /// It does not count, for this reason.
    NotCounted(String),
}

/// Why the files of a session stay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeptReason {
    /// Alyx does not have it.
    #[error("the session is not on Alyx")]
    NotOnAlyx,
    /// Alyx has several.
    #[error("Alyx has {0} sessions of this subject, day and number")]
    Ambiguous(usize),
    /// It will be registered.
    #[error("it has a flag")]
    Flagged,
    /// It is not old enough.
    #[error("its day is more recent than --older-than")]
    Recent,
    /// It has several folders here.
    #[error("it has {0} folders here")]
    SeveralFolders(usize),
    /// No dataset of it has a file here.
    #[error("none of its datasets has a file here")]
    NothingHere,
    /// A dataset is protected on Alyx.
    #[error("{0} is protected on Alyx")]
    Protected(String),
    /// Alyx holds no MD5.
    #[error("Alyx holds no MD5 of {0}")]
    NoHash(String),
    /// The file here is not what was registered.
    #[error("{0} was changed since it was registered")]
    Changed(String),
    /// The file here is a link.
    #[error("{0} is a link")]
    Link(String),
    /// The file here cannot be read.
    #[error("{path} cannot be read: {reason}")]
    Unreadable {
        /// Relative to the session.
        path: String,
        /// Why.
        reason: String,
    },
    /// There are not enough copies.
    #[error("{path} has {found} of {needed} verified copies{}", because(.why))]
    TooFewCopies {
        /// Relative to the session.
        path: String,
        /// Copies that count.
        found: usize,
        /// Copies that are needed.
        needed: usize,
        /// Why others do not count.
        why: Vec<String>,
    },
}

fn because(why: &[String]) -> String {
    if why.is_empty() { String::new() } else { format!(": {}", why.join("; ")) }
}

impl KeptReason {
    /// Its name in JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NotOnAlyx => "not_on_alyx",
            Self::Ambiguous(_) => "ambiguous",
            Self::Flagged => "flagged",
            Self::Recent => "recent",
            Self::SeveralFolders(_) => "several_folders",
            Self::NothingHere => "nothing_here",
            Self::Protected(_) => "protected",
            Self::NoHash(_) => "no_hash",
            Self::Changed(_) => "changed",
            Self::Link(_) => "link",
            Self::Unreadable { .. } => "unreadable",
            Self::TooFewCopies { .. } => "too_few_copies",
        }
    }
}

/// The files that may be deleted, with their sizes.
pub(crate) type Freed = Vec<(PathBuf, u64)>;

/// Decides about a session: all of its files, or none.
///
/// What costs nothing to know is asked first: until it is known, [`SourceState::Unread`] and copies that were not looked at keep
/// a session.
pub(crate) fn plan(session: &SessionState, needs: ReclaimNeeds) -> Result<Freed, KeptReason> {
    if let Some(reason) = session.kept() {
        return Err(reason);
    }
    let mut freed = Vec::new();
    for dataset in &session.datasets {
        freed.push(dataset.plan(needs)?);
    }
    Ok(freed)
}

impl SessionState {
    /// Why its files stay, whatever they and their copies are.
    pub(crate) fn kept(&self) -> Option<KeptReason> {
        Some(match self {
            Self { is_flagged: true, .. } => KeptReason::Flagged,
            Self { is_recent: true, .. } => KeptReason::Recent,
            Self { sessions: 0, .. } => KeptReason::NotOnAlyx,
            Self { sessions: 2.., .. } => KeptReason::Ambiguous(self.sessions),
            Self { datasets, .. } if datasets.is_empty() => KeptReason::NothingHere,
            Self { datasets, .. } => return datasets.iter().find_map(DatasetState::kept),
        })
    }
}

impl DatasetState {
    /// Why it stays, whatever its file and its copies are.
    fn kept(&self) -> Option<KeptReason> {
        let path = || self.path.clone();
        match self {
            Self { is_protected: true, .. } => Some(KeptReason::Protected(path())),
            Self { has_hash: false, .. } => Some(KeptReason::NoHash(path())),
            Self { source: SourceState::Changed, .. } => Some(KeptReason::Changed(path())),
            Self { source: SourceState::Link, .. } => Some(KeptReason::Link(path())),
            Self { source: SourceState::Unreadable(reason), .. } => {
                Some(KeptReason::Unreadable { path: path(), reason: reason.clone() })
            }
            Self { source: SourceState::Agrees { .. } | SourceState::Unread, .. } => None,
        }
    }

    /// Whether its copies are enough. Two on one disk are one: they are lost together.
    pub(crate) fn has_enough(&self, needs: ReclaimNeeds) -> Result<(), KeptReason> {
        let (mut repositories, mut devices, mut why) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        for copy in &self.copies {
            match copy {
                CopyState::Verified { repository, device } => {
                    repositories.insert(repository);
                    devices.insert(device);
                }
                CopyState::NotCounted(reason) => why.push(reason.clone()),
            }
        }
        let found = repositories.len().min(devices.len());
        // Without any, everything would be deleted.
        let needed = needs.copies.max(1);
        if found >= needed {
            return Ok(());
        }
        Err(KeptReason::TooFewCopies { path: self.path.clone(), found, needed, why })
    }

    fn plan(&self, needs: ReclaimNeeds) -> Result<(PathBuf, u64), KeptReason> {
        if let Some(reason) = self.kept() {
            return Err(reason);
        }
        self.has_enough(needs)?;
        match &self.source {
            SourceState::Agrees { path, size } => Ok((path.clone(), *size)),
            _ => Err(KeptReason::Unreadable { path: self.path.clone(), reason: "not compared".to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(repository: &str, device: u64) -> CopyState {
        CopyState::Verified { repository: repository.into(), device }
    }

    fn dataset(path: &str, copies: &[CopyState]) -> DatasetState {
        DatasetState {
            path: path.into(),
            is_protected: false,
            has_hash: true,
            source: SourceState::Agrees { path: format!("/data/{path}").into(), size: 3 },
            copies: copies.to_vec(),
        }
    }

    fn session(datasets: &[DatasetState]) -> SessionState {
        SessionState { sessions: 1, is_flagged: false, is_recent: false, datasets: datasets.to_vec() }
    }

    /// The files that may be deleted, or the name of the reason.
    fn said(session: &SessionState, copies: usize) -> String {
        match plan(session, ReclaimNeeds { copies }) {
            Ok(freed) => freed.iter().map(|(path, _)| path.to_str().unwrap()).collect::<Vec<_>>().join(" "),
            Err(reason) => reason.name().to_owned(),
        }
    }

    #[test]
    fn the_files_of_a_session_may_go_only_if_every_one_has_enough_verified_copies() {
        let (one, two) = (verified("a", 1), verified("b", 2));
        let not = CopyState::NotCounted("personal".into());
        for (case, copies, needed, expected) in [
            ("one of one", vec![one.clone()], 1, "/data/x /data/y"),
            ("one of two", vec![one.clone()], 2, "too_few_copies"),
            ("two of two", vec![one.clone(), two.clone()], 2, "/data/x /data/y"),
            ("two in one repository", vec![one.clone(), verified("a", 2)], 2, "too_few_copies"),
            ("two repositories on one disk", vec![one.clone(), verified("b", 1)], 2, "too_few_copies"),
            ("one that does not count", vec![not.clone()], 1, "too_few_copies"),
            ("and one that does", vec![not, two], 1, "/data/x /data/y"),
            ("none", vec![], 1, "too_few_copies"),
            ("none is asked for", vec![], 0, "too_few_copies"),
        ] {
            let session = session(&[dataset("x", &copies), dataset("y", &copies)]);
            assert_eq!(said(&session, needed), expected, "{case}");
        }
        let session = session(&[dataset("x", std::slice::from_ref(&one)), dataset("y", &[])]);
        assert_eq!(said(&session, 1), "too_few_copies", "all or nothing");
    }

    #[test]
    fn every_reason_keeps_a_session_whose_copies_are_complete() {
        let complete = session(&[dataset("x", &[verified("a", 1)])]);
        assert_eq!(said(&complete, 1), "/data/x");
        let with = |change: &dyn Fn(&mut SessionState)| {
            let mut session = complete.clone();
            change(&mut session);
            said(&session, 1)
        };
        let of_file = |change: &dyn Fn(&mut DatasetState)| with(&|session| change(&mut session.datasets[0]));
        assert_eq!(with(&|session| session.is_flagged = true), "flagged");
        assert_eq!(with(&|session| session.is_recent = true), "recent");
        assert_eq!(with(&|session| session.sessions = 0), "not_on_alyx");
        assert_eq!(with(&|session| session.sessions = 2), "ambiguous");
        assert_eq!(with(&|session| session.datasets.clear()), "nothing_here");
        assert_eq!(of_file(&|dataset| dataset.is_protected = true), "protected");
        assert_eq!(of_file(&|dataset| dataset.has_hash = false), "no_hash");
        for (source, expected) in [
            (SourceState::Changed, "changed"),
            (SourceState::Link, "link"),
            (SourceState::Unread, "unreadable"),
            (SourceState::Unreadable("EIO".into()), "unreadable"),
        ] {
            assert_eq!(of_file(&|dataset| dataset.source = source.clone()), expected);
        }
    }
}
