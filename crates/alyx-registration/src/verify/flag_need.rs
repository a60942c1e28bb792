//! Which flag would end the findings of a session. Pure.

use std::collections::{BTreeSet, HashSet};

use crate::flag::FlagContent;
use crate::verify::finding::{Finding, FindingKind, Seen};

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
    /// The flag that ends what it can of these findings. It never registers a file again of which Alyx may hold a right
    /// record: what Alyx holds is the reference. `files`: all of the session, on disk and on Alyx.
    ///
    /// ```
    /// use alyx_registration::{Finding, FindingKind, FlagNeed};
    ///
    /// let finding = |kind, path: Option<&str>| Finding {
    ///     kind, path: path.map(str::to_owned), repository: None, expected: None, found: None,
    /// };
    /// let orphan = [finding(FindingKind::FolderWithoutSession, None)];
    /// assert_eq!(FlagNeed::of(&orphan, []), FlagNeed::Everything);
    /// let missing = [finding(FindingKind::Missing, Some("alf/spikes.times.npy"))];
    /// assert_eq!(FlagNeed::of(&missing, ["alf/spikes.times.npy"]), FlagNeed::Nothing);
    /// ```
    pub fn of<'a>(findings: &[Finding], files: impl IntoIterator<Item = &'a str>) -> Self {
        let has = |kind: FindingKind| findings.iter().any(|f| f.kind == kind && f.path.is_none());
        // Of two copies that differ, a person has to choose.
        let differs =
            |f: &Finding| f.kind == FindingKind::SizeDiffers && f.expected == Some("no dataset".into());
        if findings.iter().any(differs) {
            return Self::Nothing;
        }
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
        // A file that Alyx does not know, or whose size it confirms. A file whose record does not say that it exists here
        // may be a damaged copy.
        let is_added = |f: &&Finding| match f.kind {
            FindingKind::UnknownToAlyx => true,
            FindingKind::NoHash => f.expected.is_none(),
            _ => false,
        };
        let paths = |is_wanted: bool| {
            let of = findings.iter().filter(move |finding| is_added(finding) == is_wanted);
            of.filter_map(|finding| finding.path.as_deref())
        };
        let doubtful: HashSet<&str> = paths(false).collect();
        // As the line is read.
        let is_itself = |path: &str| {
            let read = FlagContent::parse(path.as_bytes());
            read.is_ok_and(|content| content.selecting(path).contains(&path))
        };
        let wanted = paths(true).filter(|path| !doubtful.contains(path) && is_itself(path));
        let mut wanted: BTreeSet<&str> = wanted.collect();
        let lines: Vec<&str> = wanted.iter().copied().collect();
        let Ok(content) = FlagContent::parse_list(lines.join("\n").as_bytes()) else { return Self::Nothing };
        // A name without a folder selects files of other folders, too.
        for file in files {
            for line in content.selecting(file).into_iter().filter(|line| *line != file) {
                wanted.remove(line);
            }
        }
        let files: Vec<String> = wanted.into_iter().map(str::to_owned).collect();
        if files.is_empty() { Self::Nothing } else { Self::Files(files) }
    }

    /// What both need: of what a person has agreed to, what is still needed.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Everything, Self::Everything) => Self::Everything,
            (Self::Files(own), Self::Files(other)) => {
                let other: HashSet<&String> = other.iter().collect();
                let both: Vec<String> = own.iter().filter(|file| other.contains(file)).cloned().collect();
                if both.is_empty() { Self::Nothing } else { Self::Files(both) }
            }
            _ => Self::Nothing,
        }
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

    fn need(findings: &[(FindingKind, Option<&str>)], files: &[&str]) -> FlagNeed {
        let findings: Vec<Finding> = findings.iter().map(|(kind, path)| finding(*kind, *path)).collect();
        let found = findings.iter().filter_map(|finding| finding.path.as_deref());
        FlagNeed::of(&findings, found.chain(files.iter().copied()))
    }

    fn listed(files: &[&str]) -> FlagNeed {
        FlagNeed::Files(files.iter().map(|file| (*file).to_owned()).collect())
    }

    #[test]
    fn a_flag_lists_what_registering_adds_and_never_what_it_would_overwrite() {
        use FindingKind::{ExistsFalse, NoHash, PathDiffers, SizeDiffers, TwiceOnAlyx, UnknownToAlyx};
        let (a, b) = (Some("alf/a.times.npy"), Some("alf/b.times.npy"));
        assert_eq!(need(&[(UnknownToAlyx, a), (NoHash, b)], &[]), listed(&[a.unwrap(), b.unwrap()]));
        // A damaged copy may have the same size.
        assert_eq!(need(&[(UnknownToAlyx, a), (ExistsFalse, b)], &[]), listed(&[a.unwrap()]));
        assert_eq!(need(&[(NoHash, b), (ExistsFalse, b)], &[]), FlagNeed::Nothing);
        assert_eq!(need(&[(UnknownToAlyx, a), (SizeDiffers, b)], &[]), listed(&[a.unwrap()]));
        assert_eq!(need(&[(NoHash, a), (SizeDiffers, a)], &[]), FlagNeed::Nothing);
        assert_eq!(need(&[(UnknownToAlyx, a), (TwiceOnAlyx, None)], &[]), FlagNeed::Nothing);
        assert_eq!(need(&[(UnknownToAlyx, a), (PathDiffers, None)], &[]), FlagNeed::Nothing);
        let no_size = finding(NoHash, a).expected("no size".into());
        assert_eq!(FlagNeed::of(&[no_size], [a.unwrap()]), FlagNeed::Nothing);
    }

    #[test]
    fn a_name_that_selects_another_file_is_not_written() {
        let unknown = |path| (FindingKind::UnknownToAlyx, Some(path));
        let bare = unknown("a.times.npy");
        // A file about which nothing is found, too.
        assert_eq!(need(&[bare], &["alf/_x_a.times.npy"]), FlagNeed::Nothing);
        assert_eq!(need(&[bare], &["alf/b.times.npy"]), listed(&["a.times.npy"]));
        let both = [bare, unknown("alf/a.times.npy")];
        assert_eq!(need(&both, &[]), listed(&["alf/a.times.npy"]));
    }

    #[test]
    fn only_what_is_agreed_and_still_needed_is_put() {
        let (a, ab) = (listed(&["a/a"]), listed(&["a/a", "a/b"]));
        assert_eq!((ab.and(&a), a.and(&ab)), (a.clone(), a.clone()));
        assert_eq!(a.and(&listed(&["a/b"])), FlagNeed::Nothing);
        assert_eq!(a.and(&FlagNeed::Everything), FlagNeed::Nothing);
        assert_eq!(FlagNeed::Everything.and(&FlagNeed::Everything), FlagNeed::Everything);
    }

    #[test]
    fn many_findings_take_no_time() {
        let paths: Vec<String> = (0..20_000).map(|n| format!("alf/spikes.times.part{n:05}.npy")).collect();
        let found: Vec<_> =
            paths.iter().map(|path| (FindingKind::UnknownToAlyx, Some(path.as_str()))).collect();
        let FlagNeed::Files(files) = need(&found, &[]) else { panic!("no files") };
        assert_eq!(files.len(), paths.len());
    }
}
