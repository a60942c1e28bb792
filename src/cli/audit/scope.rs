//! The scope of an audit: which sessions are compared. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::civil::Date;

use alf::SessionPath;
use alyx_registration::SessionPair;

/// What an argument names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Target {
    /// A session on Alyx, and its subject.
    Eid { eid: String, subject: String },
    /// A session by its path, be there a folder or not.
    Session(SessionPath),
    /// A folder that holds sessions.
    Folder(PathBuf),
    /// A subject.
    Subject(String),
}

/// The sessions of one subject that are compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::cli) struct SubjectScope {
    /// All its folders: a session is paired with each of them, whether it is compared or not.
    pub(in crate::cli) folders: Vec<SessionPath>,
    everything: bool,
    /// Whether sessions without a folder are compared.
    without_folder: bool,
    below: BTreeSet<PathBuf>,
    names: BTreeSet<String>,
    eids: BTreeSet<String>,
}

impl SubjectScope {
    /// Whether an argument names this session alone.
    pub(in crate::cli) fn names(&self, pair: &SessionPair) -> bool {
        self.names.contains(&pair.name) || pair.eids.iter().any(|eid| self.eids.contains(eid))
    }
}

/// The subjects to ask for, each with its sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::cli) struct Scope {
    pub(in crate::cli) subjects: BTreeMap<String, SubjectScope>,
    since: Option<String>,
}

impl Scope {
    /// The scope of these targets; without one, everything. `folders`: all session folders of the data roots.
    pub(in crate::cli) fn of(targets: &[Target], folders: Vec<SessionPath>, since: Option<Date>) -> Self {
        let mut all: BTreeMap<String, SubjectScope> = BTreeMap::new();
        for folder in folders {
            all.entry(folder.subject().to_owned()).or_default().folders.push(folder);
        }
        let since = since.map(|since| since.to_string());
        if targets.is_empty() {
            all.values_mut().for_each(|subject| subject.everything = true);
            return Self { subjects: all, since };
        }
        let mut chosen = BTreeSet::new();
        for target in targets {
            match target {
                Target::Eid { eid, subject } => {
                    all.entry(subject.clone()).or_default().eids.insert(eid.clone());
                    chosen.insert(subject.clone());
                }
                Target::Session(session) => {
                    let subject = session.subject().to_owned();
                    all.entry(subject.clone()).or_default().names.insert(session.to_string());
                    chosen.insert(subject);
                }
                Target::Subject(subject) => {
                    all.entry(subject.clone()).or_default().everything = true;
                    chosen.insert(subject.clone());
                }
                Target::Folder(folder) => {
                    for (name, subject) in &mut all {
                        let inside =
                            subject.folders.iter().filter(|session| session.folder().starts_with(folder));
                        // The whole subject, not only one of its days.
                        let is_above = |session: &SessionPath| {
                            session.folder().ancestors().nth(2).is_some_and(|of| of.starts_with(folder))
                        };
                        let mut inside = inside.peekable();
                        if inside.peek().is_some() {
                            chosen.insert(name.clone());
                            subject.below.insert(folder.clone());
                            subject.without_folder |= inside.all(is_above);
                        }
                    }
                }
            }
        }
        all.retain(|subject, _| chosen.contains(subject));
        Self { subjects: all, since }
    }

    /// Whether a session is compared.
    pub(in crate::cli) fn takes(&self, subject: &SubjectScope, pair: &SessionPair) -> bool {
        let date = pair.name.rsplit('/').nth(1).unwrap_or_default();
        if self.since.as_deref().is_some_and(|since| date < since) {
            return false;
        }
        let is_below =
            |folder: &SessionPath| subject.below.iter().any(|below| folder.folder().starts_with(below));
        subject.everything
            || subject.names(pair)
            || pair.folders.iter().any(is_below)
            || pair.folders.is_empty() && subject.without_folder
    }

    /// How many sessions have a folder and are compared: those without are known only when Alyx has answered.
    pub(in crate::cli) fn sessions(&self) -> usize {
        let of = |subject: &SubjectScope| {
            let single = |folder: &SessionPath| SessionPair {
                name: folder.to_string(),
                // Which eid it has is not known yet.
                eids: subject.eids.iter().cloned().collect(),
                folders: vec![folder.clone()],
            };
            subject.folders.iter().filter(|folder| self.takes(subject, &single(folder))).count()
        };
        self.subjects.values().map(of).sum()
    }
}

/// Whether a word names a folder or a session, not a subject.
pub(in crate::cli) fn is_path(word: &str) -> bool {
    word.contains('/')
        || matches!(Path::new(word).components().next(), Some(first) if first.as_os_str() == "." || first.as_os_str() == "..")
}

/// One session to compare.
#[derive(Clone)]
pub(in crate::cli) struct Task {
    pub(in crate::cli) subject: String,
    pub(in crate::cli) pair: SessionPair,
    /// Whether the next one has another name: an audit is resumed between names only.
    pub(in crate::cli) is_last_of_name: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(path: &str) -> SessionPath {
        SessionPath::parse(Path::new(path)).unwrap()
    }

    /// The names of the sessions that are compared; `X/2024-05-09/001` has no folder.
    fn compared(targets: &[Target], since: Option<&str>) -> Vec<String> {
        let paths =
            ["/a/X/2024-05-01/001", "/a/X/2024-05-02/001", "/b/X/2024-05-03/001", "/b/Y/2024-05-01/001"];
        let folders: Vec<SessionPath> = paths.iter().map(|path| session(path)).collect();
        let scope = Scope::of(targets, folders.clone(), since.map(|date| date.parse().unwrap()));
        let pair = |folder: &SessionPath| SessionPair {
            name: folder.to_string(),
            eids: vec![format!("eid-{folder}")],
            folders: vec![folder.clone()],
        };
        let mut pairs: Vec<SessionPair> = folders.iter().map(pair).collect();
        pairs.push(SessionPair {
            name: "X/2024-05-09/001".into(),
            eids: vec!["alone".into()],
            folders: vec![],
        });
        let taken = pairs.into_iter().filter(|pair| {
            let subject = scope.subjects.get(pair.name.split('/').next().unwrap());
            subject.is_some_and(|subject| scope.takes(subject, pair))
        });
        taken.map(|pair| pair.name).collect()
    }

    #[test]
    fn each_argument_chooses_its_sessions() {
        let [x1, x2, x3, x9] = ["01", "02", "03", "09"].map(|day| format!("X/2024-05-{day}/001"));
        let y1 = "Y/2024-05-01/001".to_owned();
        let (x1, x2, x3, x9, y1) = (&*x1, &*x2, &*x3, &*x9, &*y1);
        let folder = |path: &str| Target::Folder(path.into());
        let eid = Target::Eid { eid: "alone".into(), subject: "X".into() };
        for (target, since, expected) in [
            (None, None, &[x1, x2, x3, y1, x9][..]),
            (None, Some("2024-05-03"), &[x3, x9]),
            (Some(Target::Subject("X".into())), None, &[x1, x2, x3, x9]),
            (Some(Target::Subject("Z".into())), None, &[]),
            (Some(folder("/b")), None, &[x3, y1, x9]),
            (Some(folder("/a/X")), None, &[x1, x2, x9]),
            (Some(folder("/a/X/2024-05-02")), None, &[x2]),
            (Some(Target::Session(session("X/2024-05-09/001"))), None, &[x9]),
            (Some(Target::Session(session("/a/X/2024-05-01/001"))), None, &[x1]),
            (Some(eid), None, &[x9]),
        ] {
            let targets: Vec<Target> = target.into_iter().collect();
            assert_eq!(compared(&targets, since), expected, "{targets:?} {since:?}");
        }
    }

    #[test]
    fn a_word_with_a_slash_or_a_dot_is_a_path() {
        for (word, expected) in
            [("KS014", false), ("ks.014", false), (".", true), ("..", true), ("a/b", true)]
        {
            assert_eq!(is_path(word), expected, "{word}");
        }
    }
}
