//! What a mark is about: one copy, in one repository, of one session. Pure.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::verify::finding::{Finding, FindingKind};
use crate::verify::sessions::SessionPair;
use alf::SessionPath;

/// What the file record of a copy can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// The file is not there: `exists: false`.
    Missing,
    /// The content is not what Alyx holds: `mismatch_hash` in the record's `json`.
    BadCopy,
}

impl Mark {
    /// The mark that fits a finding, if there is one.
    pub const fn of(kind: FindingKind) -> Option<Self> {
        match kind {
            FindingKind::Missing => Some(Self::Missing),
            FindingKind::Rotten | FindingKind::Changed | FindingKind::Differs => Some(Self::BadCopy),
            FindingKind::UnknownToAlyx
            | FindingKind::SizeDiffers
            | FindingKind::PathDiffers
            | FindingKind::NoHash
            | FindingKind::ExistsFalse
            | FindingKind::TwiceOnAlyx
            | FindingKind::SessionWithoutDatasets
            | FindingKind::FolderWithoutSession
            | FindingKind::SessionWithoutFolder
            | FindingKind::Unreadable => None,
        }
    }

    /// Its name in JSON and in the ledger.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::BadCopy => "bad_copy",
        }
    }

    /// What is set in the file record.
    pub const fn change(self) -> &'static str {
        match self {
            Self::Missing => "exists: false",
            Self::BadCopy => "json.mismatch_hash: true",
        }
    }
}

/// A copy that may be marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkTarget {
    /// What its record would say.
    pub mark: Mark,
    /// The session on Alyx.
    pub eid: String,
    /// `subject/date/number`.
    pub session: String,
    /// The session's folder.
    pub folder: PathBuf,
    /// The file, relative to the session.
    pub path: String,
    /// The repository whose copy it is.
    pub repository: String,
}

/// A copy that is not marked, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotMarked {
    /// `subject/date/number`.
    pub session: String,
    /// The file, relative to the session.
    pub path: String,
    /// The repository, if it has a name.
    pub repository: Option<String>,
    /// Why, with the next step.
    pub why: String,
}

impl MarkTarget {
    /// Its path in the repository.
    pub(crate) fn repository_path(&self) -> String {
        let session = SessionPath::parse(&self.folder).map(|session| session.relative());
        format!("{}/{}", session.as_deref().unwrap_or(&self.session), self.path)
    }

    /// The same copy, which is not marked.
    pub fn not_marked(&self, why: impl Into<String>) -> NotMarked {
        NotMarked {
            session: self.session.clone(),
            path: self.path.clone(),
            repository: Some(self.repository.clone()),
            why: why.into(),
        }
    }
}

/// The copies that findings of a session are about. `folders`: those of the session, each with its repository. What is
/// ambiguous is not marked.
pub(crate) fn targets(
    pair: &SessionPair,
    findings: &[Finding],
    folders: &[(SessionPath, Option<String>)],
) -> Vec<Result<MarkTarget, NotMarked>> {
    let of = |finding: &Finding| {
        let (mark, path) = (Mark::of(finding.kind)?, finding.path.clone()?);
        let target = target(pair, mark, path.clone(), finding.repository.clone(), folders);
        Some(target.map_err(|why| NotMarked {
            session: pair.name.clone(),
            path,
            repository: finding.repository.clone(),
            why: why.to_owned(),
        }))
    };
    findings.iter().filter_map(of).collect()
}

/// One of them; as the error, why it is ambiguous.
fn target(
    pair: &SessionPair,
    mark: Mark,
    path: String,
    repository: Option<String>,
    folders: &[(SessionPath, Option<String>)],
) -> Result<MarkTarget, &'static str> {
    let [eid] = pair.eids.as_slice() else {
        return Err("Alyx has several sessions of this name; delete one of them first");
    };
    let Some(repository) = repository else {
        return Err(
            "its repository is not named, so that no record speaks of this disk; set datasets.repository",
        );
    };
    let mut own = folders.iter().filter(|(_, of)| of.as_ref() == Some(&repository));
    let (Some((folder, _)), None) = (own.next(), own.next()) else {
        return Err("its session has several folders in this repository, or none; leave one of them");
    };
    let (eid, session, folder) = (eid.clone(), pair.name.clone(), folder.folder().to_owned());
    Ok(MarkTarget { mark, eid, session, folder, path, repository })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn only_what_is_certainly_missing_in_one_folder_of_one_session_is_a_target() {
        let folder = |path: &str| SessionPath::parse(Path::new(path)).unwrap();
        let (a, b) = (folder("/a/KS014/2024-05-01/001"), folder("/b/KS014/2024-05-01/001"));
        let finding = |kind, repository: Option<&str>| Finding {
            repository: repository.map(str::to_owned),
            ..Finding::of_file(kind, "alf/x.npy")
        };
        let missing = finding(FindingKind::Missing, Some("rig"));
        let of = |eids: &[&str], finding: &Finding, folders: &[(&SessionPath, &str)]| {
            let eids = eids.iter().map(|eid| (*eid).to_owned()).collect();
            let pair = SessionPair { name: "KS014/2024-05-01/001".into(), eids, folders: vec![] };
            let folders: Vec<_> =
                folders.iter().map(|(folder, name)| ((*folder).clone(), Some((*name).to_owned()))).collect();
            targets(&pair, std::slice::from_ref(finding), &folders).pop()
        };
        let target = of(&["e"], &missing, &[(&a, "rig")]).unwrap().unwrap();
        assert_eq!((target.mark, target.eid.as_str()), (Mark::Missing, "e"));
        assert_eq!(target.repository_path(), "KS014/2024-05-01/001/alf/x.npy");
        // The other folder is in another repository.
        let target = of(&["e"], &missing, &[(&a, "server"), (&b, "rig")]).unwrap().unwrap();
        assert_eq!(target.folder, b.folder());
        for (eids, folders) in
            [(&["e", "f"][..], &[(&a, "rig")][..]), (&["e"], &[(&a, "rig"), (&b, "rig")]), (&["e"], &[])]
        {
            assert!(of(eids, &missing, folders).unwrap().is_err(), "{eids:?} {folders:?}");
        }
        assert!(of(&["e"], &finding(FindingKind::Missing, None), &[(&a, "rig")]).unwrap().is_err());
        for kind in FindingKind::ALL.into_iter().filter(|kind| *kind != FindingKind::Missing) {
            let target = of(&["e"], &finding(kind, Some("rig")), &[(&a, "rig")]);
            let mark = target.map(|target| target.unwrap().mark);
            assert_eq!(mark, kind.needs_reading().then_some(Mark::BadCopy), "{kind}");
        }
    }
}
