//! Which flag would end the findings of a session. Pure.

use crate::flag::FlagContent;
use crate::verify::finding::{Finding, FindingKind, Seen};

/// What registering a file adds to Alyx.
const ADDED: [FindingKind; 3] = [FindingKind::UnknownToAlyx, FindingKind::ExistsFalse, FindingKind::NoHash];

/// The flag that a session needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlagNeed {
    /// None: registering would not end its findings, or would overwrite what Alyx holds.
    Nothing,
    /// An empty one: every dataset.
    Everything,
    /// One that lists these files.
    Files(Vec<String>),
}

impl FlagNeed {
    /// The flag that ends what it can of these findings. A file whose size differs from its dataset is never registered
    /// again by it: what Alyx holds is the reference.
    ///
    /// ```
    /// use alyx_registration::{Finding, FindingKind, FlagNeed};
    ///
    /// let finding = |kind, path: Option<&str>| Finding {
    ///     kind, path: path.map(str::to_owned), repository: None, expected: None, found: None,
    /// };
    /// let orphan = [finding(FindingKind::FolderWithoutSession, None)];
    /// assert_eq!(FlagNeed::of(&orphan), FlagNeed::Everything);
    /// let missing = [finding(FindingKind::Missing, Some("alf/spikes.times.npy"))];
    /// assert_eq!(FlagNeed::of(&missing), FlagNeed::Nothing);
    /// ```
    pub fn of(findings: &[Finding]) -> Self {
        let has = |kind: FindingKind| findings.iter().any(|f| f.kind == kind && f.path.is_none());
        // Registering refuses these, or would register in another folder.
        if [FindingKind::TwiceOnAlyx, FindingKind::Unreadable, FindingKind::PathDiffers].into_iter().any(has)
        {
            return Self::Nothing;
        }
        let is_empty = |f: &Finding| f.found == Some(Seen::from("no dataset"));
        let without = findings.iter().find(|f| f.kind == FindingKind::SessionWithoutDatasets);
        if has(FindingKind::FolderWithoutSession) || without.is_some_and(|f| !is_empty(f)) {
            return Self::Everything;
        }
        let paths = |is_added: bool| {
            let of = findings.iter().filter(move |finding| ADDED.contains(&finding.kind) == is_added);
            of.filter_map(|finding| finding.path.as_deref())
        };
        let differing: Vec<&str> = paths(false).collect();
        let mut files: Vec<String> = Vec::new();
        for path in paths(true) {
            // A name without a folder selects files of other folders, too.
            let selects_others = |content: &FlagContent| differing.iter().any(|path| content.selects(path));
            let content = FlagContent::parse_list(path.as_bytes());
            let is_safe = content.is_ok_and(|content| !selects_others(&content));
            if is_safe && !files.iter().any(|file| file == path) {
                files.push(path.to_owned());
            }
        }
        if files.is_empty() { Self::Nothing } else { Self::Files(files) }
    }

    /// The content of the flag; `None`: no flag.
    pub fn content(&self) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Everything => Some(String::new()),
            Self::Files(files) => Some(files.iter().map(|file| format!("{file}\n")).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(kind: FindingKind, path: Option<&str>) -> Finding {
        Finding { path: path.map(str::to_owned), ..Finding::of_session(kind) }
    }

    #[test]
    fn a_flag_lists_what_registering_adds_and_never_what_it_would_overwrite() {
        use FindingKind::{ExistsFalse, NoHash, PathDiffers, SizeDiffers, TwiceOnAlyx, UnknownToAlyx};
        let files = |files: &[&str]| FlagNeed::Files(files.iter().map(|file| (*file).to_owned()).collect());
        let need = |findings: &[(FindingKind, Option<&str>)]| {
            FlagNeed::of(&findings.iter().map(|(kind, path)| finding(*kind, *path)).collect::<Vec<_>>())
        };
        let (a, b) = (Some("alf/a.times.npy"), Some("alf/b.times.npy"));
        assert_eq!(need(&[(UnknownToAlyx, a), (ExistsFalse, b)]), files(&[a.unwrap(), b.unwrap()]));
        assert_eq!(need(&[(UnknownToAlyx, a), (SizeDiffers, b)]), files(&[a.unwrap()]));
        assert_eq!(need(&[(NoHash, a), (SizeDiffers, a)]), FlagNeed::Nothing);
        assert_eq!(need(&[(UnknownToAlyx, a), (TwiceOnAlyx, None)]), FlagNeed::Nothing);
        assert_eq!(need(&[(UnknownToAlyx, a), (PathDiffers, None)]), FlagNeed::Nothing);
        // The bare name would select the file of the same name in the folder.
        assert_eq!(need(&[(UnknownToAlyx, Some("a.times.npy")), (SizeDiffers, a)]), FlagNeed::Nothing);
    }
}
