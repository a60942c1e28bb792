//! Compares this crate with ONE-api 3.6.1 on several thousand cases.
//!
//! `tests/python/alf_answers.py` records Python's answers. Every deliberate difference has a name and a reason here; a
//! case that differs without one fails, and so does a named difference that no case shows.

#![allow(clippy::disallowed_macros, clippy::disallowed_methods, reason = "tests print")]

use std::collections::BTreeMap;
use std::path::Path;

use crate::dataset_path::DatasetPathError;
use crate::dataset_type::NoDatasetType;
use crate::revision::{next_revision, plan};
use crate::{
    DatasetName, DatasetPath, DatasetType, DatasetTypes, FilePattern, RevisionPlan, SessionPath, SessionTime,
};
use jiff::tz::{TimeZone, offset};
use serde::Deserialize;

type Parts = [Option<String>; 6];
/// Collection and revision.
type Folders = [Option<String>; 2];
/// Lab, subject, date, number.
type Session = [Option<String>; 4];
/// Folder, its parts, the session of a file below it, and the parts of that.
type SessionCase = (String, Option<Session>, Option<String>, Option<Session>);
/// File, its existing revisions and whether each is protected, and the path that ONE registers.
type ProtectedCase = (String, Vec<(String, bool)>, Option<String>);

#[derive(Deserialize)]
struct Answers {
    one: String,
    types: Vec<(String, String)>,
    extensions: Vec<String>,
    today: String,
    names: Vec<(String, Option<Parts>)>,
    paths: Vec<(String, Option<Folders>, Option<Folders>)>,
    sessions: Vec<SessionCase>,
    typed: Vec<(String, u8, Vec<usize>)>,
    patterns: Vec<(String, String, u8)>,
    times: Vec<(String, Option<String>, Option<String>)>,
    next: Vec<(String, Vec<String>, char, String)>,
    protected: Vec<ProtectedCase>,
}

fn answers() -> Answers {
    let answers: Answers = serde_json::from_str(include_str!("../tests/fixtures/one-3.6.1.json")).unwrap();
    assert_eq!(answers.one, "3.6.1");
    answers
}

/// Counts the cases that agree, and those of each deliberate difference.
struct Tally {
    differences: BTreeMap<&'static str, usize>,
    unexplained: Vec<String>,
    agreed: usize,
}

impl Tally {
    /// The named differences, each with its reason.
    fn of<const N: usize>(differences: [(&'static str, &str); N]) -> Self {
        let differences = differences.map(|(name, _reason)| (name, 0)).into();
        Self { differences, unexplained: Vec::new(), agreed: 0 }
    }

    fn agree(&mut self) {
        self.agreed += 1;
    }

    /// Counts a case that differs; `name` is the deliberate difference, or `None` for an unintended one.
    fn differ(&mut self, name: Option<&str>, case: &dyn std::fmt::Debug) {
        match name.and_then(|name| self.differences.get_mut(name)) {
            Some(count) => *count += 1,
            None => self.unexplained.push(format!("{name:?} {case:?}")),
        }
    }

    /// Asserts that no case differs without a reason, every difference still occurs, and no case was skipped.
    fn finish(self, total: usize, agreed_at_least: usize) {
        let Self { differences, unexplained, agreed } = self;
        println!("{agreed} of {total} agree; {differences:?}");
        assert!(unexplained.is_empty(), "{} differ from ONE:\n{}", unexplained.len(), unexplained.join("\n"));
        for (name, count) in &differences {
            assert!(*count > 0, "no case shows the difference {name:?} any more");
        }
        assert_eq!(agreed + differences.values().sum::<usize>(), total);
        assert!(agreed >= agreed_at_least, "only {agreed} of {total} agree");
    }
}

fn owned(part: Option<&str>) -> Option<String> {
    part.map(str::to_owned)
}

#[test]
fn dataset_names_are_read_as_one_reads_them() {
    let mut tally =
        Tally::of([("line break", "Python's $ lets a line break at the end through; no tool expects one")]);
    let cases = answers().names;
    for (name, theirs) in &cases {
        let ours = DatasetName::parse(name).ok().map(|n| {
            let (object, attribute) = (Some(n.object()), Some(n.attribute()));
            [n.namespace(), object, attribute, n.timescale(), n.extra(), Some(n.extension())].map(owned)
        });
        if ours == *theirs {
            tally.agree();
        } else {
            let line_break = ours.is_none() && name.ends_with('\n');
            tally.differ(line_break.then_some("line break"), &(name, ours, theirs));
        }
    }
    let valid = cases.iter().filter(|(_, theirs)| theirs.is_some()).count();
    assert!(valid > 800 && cases.len() - valid > 800, "{valid} of {} names are valid", cases.len());
    tally.finish(cases.len(), 2400);
}

#[test]
fn a_dataset_path_that_is_accepted_is_stored_by_alyx_as_it_is() {
    let mut tally = Tally::of([
        ("lost", "Alyx answers 201 and stores another path, so this crate refuses it"),
        (
            "file name",
            "Alyx stores the dataset, then refuses its file record (`\\`, `:`); no tool expects control characters",
        ),
        ("two dots", "ONE treats `..` as a folder of the collection"),
        ("too long", "the field in the database ends at 255 characters"),
    ]);
    let cases = answers().paths;
    for (path, stored, alone) in &cases {
        let tidy: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        match DatasetPath::parse(Path::new(path)) {
            Ok(ours) => {
                let folders = [ours.collection(), ours.revision()].map(owned);
                assert_eq!(
                    (Some(&folders), ours.as_str()),
                    (stored.as_ref(), tidy.join("/").as_str()),
                    "{path:?}"
                );
                if ours.name().is_some() && ours.as_str() == path {
                    assert_eq!(Some(&folders), alone.as_ref(), "{path:?}");
                }
                tally.agree();
            }
            Err(error) => {
                let Some([collection, revision]) = stored else {
                    tally.agree();
                    continue;
                };
                let revision = revision.as_ref().map(|revision| format!("#{revision}#"));
                let file = tidy.last().map(|file| (*file).to_owned());
                let rebuilt: Vec<String> =
                    [collection.clone(), revision, file].into_iter().flatten().collect();
                let reason = match error {
                    _ if rebuilt.join("/") != tidy.join("/") => Some("lost"),
                    DatasetPathError::FileName { .. } => Some("file name"),
                    DatasetPathError::ParentFolder(_) => Some("two dots"),
                    DatasetPathError::TooLong(_) => Some("too long"),
                    _ => None,
                };
                tally.differ(reason, &(path, error, stored));
            }
        }
    }
    tally.finish(cases.len(), 500);
}

const CUT: (&str, &str) =
    ("cut", "ONE matches part of a name: it files `my mouse` under `mouse`, `0001` under `000`");
const FIRST: (&str, &str) =
    ("first", "ONE takes the first session of a path, which is not the folder in question");
const NO_DAY: (&str, &str) = ("no such day", "ONE's expression knows digits, not the calendar");
const DIGITS: (&str, &str) =
    ("digits", "Python accepts the digits of every script, Alyx only those of ASCII");

/// Why ONE finds a session in a folder in which this crate finds none, or a different one.
fn session_difference(folder: &str, theirs: &Session, refused: bool) -> Option<&'static str> {
    let [lab, subject, date, number] = theirs;
    let lab = lab.as_ref().map(|lab| format!("{lab}/Subjects"));
    let parts: Vec<&str> = [&lab, subject, date, number].into_iter().flatten().map(String::as_str).collect();
    let found = format!("/{}/", parts.join("/"));
    let within = format!("/{}/", folder.trim_matches('/'));
    if !within.contains(&found) {
        Some("cut")
    } else if !within.ends_with(&found) {
        Some("first")
    } else if !format!("{date:?}{number:?}").is_ascii() {
        refused.then_some("digits")
    } else {
        refused.then_some("no such day")
    }
}

fn session_parts(session: &SessionPath) -> Session {
    let number = session.folder().file_name().unwrap().to_str();
    let date = session.date().to_string();
    [session.lab(), Some(session.subject()), Some(&date), number].map(owned)
}

#[test]
fn a_session_folder_is_read_as_one_reads_it_or_refused() {
    let mut tally = Tally::of([CUT, FIRST, NO_DAY, DIGITS]);
    let cases = answers().sessions;
    for (folder, theirs, _, _) in &cases {
        let ours = SessionPath::parse(Path::new(folder)).ok();
        let parts = ours.as_ref().map(session_parts);
        match theirs {
            _ if parts == *theirs => tally.agree(),
            None => panic!("ours alone: {folder:?} {ours:?}"),
            Some(found) => {
                tally.differ(session_difference(folder, found, ours.is_none()), &(folder, &parts, theirs));
            }
        }
    }
    tally.finish(cases.len(), 600);
}

#[test]
fn a_file_belongs_to_the_session_that_one_finds() {
    let mut tally = Tally::of([CUT, DIGITS]);
    let cases = answers().sessions;
    let mut found_by_both = 0;
    for (folder, _, session, theirs) in &cases {
        let file = Path::new(folder).join("alf/spikes.times.npy");
        match (SessionPath::containing(&file), session, theirs) {
            (Ok((ours, relative)), Some(session), Some(_))
                if session_parts(&ours) == *theirs.as_ref().unwrap() =>
            {
                assert_eq!((ours.folder(), ours.folder().join(&relative)), (Path::new(session), file));
                found_by_both += 1;
                tally.agree();
            }
            // ONE finds a session folder and then fails to parse its name.
            (Err(_), None, _) | (Err(_), Some(_), None) => tally.agree(),
            (ours, Some(session), Some(theirs)) => {
                tally.differ(session_difference(session, theirs, ours.is_err()), &(folder, ours, theirs));
            }
            (ours, session, theirs) => panic!("{folder:?}: {ours:?} {session:?} {theirs:?}"),
        }
    }
    assert!(found_by_both > 300, "{found_by_both}");
    tally.finish(cases.len(), 600);
}

#[test]
fn a_file_has_the_dataset_type_that_one_finds() {
    let mut tally = Tally::of([(
        "no extension",
        "two of Alyx's data formats have an empty extension, so that ONE accepts every file without an extension",
    )]);
    let answers = answers();
    let types: Vec<DatasetType> = answers
        .types
        .into_iter()
        .map(|(name, filename_pattern)| DatasetType { name, filename_pattern })
        .collect();
    let ours = DatasetTypes::new(types.clone(), answers.extensions);
    assert_eq!(ours.problems(), [] as [String; 0]);
    let mut outcomes = [0; 4];
    for (name, known, matching) in &answers.typed {
        let expected: Vec<&DatasetType> = matching.iter().map(|i| &types[*i]).collect();
        assert_eq!(ours.matching(name), expected, "{name:?}");
        let found = ours.find(name);
        match (&found, *known == 1, expected.as_slice()) {
            (Err(NoDatasetType::UnknownExtension(_)), false, _) => outcomes[0] += 1,
            (Err(NoDatasetType::None), true, []) => outcomes[1] += 1,
            (Ok(found), true, [one]) if found == one => outcomes[2] += 1,
            (Err(NoDatasetType::Several(found)), true, several) => {
                assert_eq!(found, &several.iter().map(|kind| kind.name.clone()).collect::<Vec<_>>());
                outcomes[3] += 1;
            }
            (Err(NoDatasetType::UnknownExtension(suffix)), true, _) if suffix.is_empty() => {
                tally.differ(Some("no extension"), name);
                continue;
            }
            _ => tally.differ(None, &(name, found, known, expected)),
        }
        tally.agree();
    }
    assert!(outcomes.iter().all(|count| *count > 10), "{outcomes:?}");
    tally.finish(answers.typed.len(), 1000);
}

#[test]
fn file_patterns_match_as_python_matches() {
    let mut tally = Tally::of([(
        "sudden negation",
        "Python drops a range that runs backwards, and reads a `!` that then comes first as a negation",
    )]);
    // As in `[z-a!x]`.
    let negates_suddenly = |pattern: &str| {
        let set: Vec<char> =
            pattern.split_once('[').map(|(_, set)| set.to_lowercase().chars().collect()).unwrap_or_default();
        matches!(set.as_slice(), [first, '-', last, '!', ..] if first > last)
    };
    let cases = answers().patterns;
    for (pattern, name, theirs) in &cases {
        let ours = FilePattern::parse(pattern).unwrap().matches(name);
        if ours == (*theirs == 1) {
            tally.agree();
        } else {
            tally.differ(negates_suddenly(pattern).then_some("sudden negation"), &(pattern, name, theirs));
        }
    }
    let matched = cases.iter().filter(|(_, _, theirs)| *theirs == 1).count();
    assert!(matched > 200, "{matched}");
    tally.finish(cases.len(), 1490);
}

/// Whether a decimal point is not between six digits of a time and at least one more digit.
fn odd_fraction(text: &str) -> bool {
    let Some((head, fraction)) = text.split_once(['.', ',']) else {
        return false;
    };
    let time = head.split(['T', 't', ' ']).nth(1).unwrap_or_default();
    let digits = time.bytes().filter(u8::is_ascii_digit).count();
    digits != 6 || time.contains(['+', '-']) || !fraction.starts_with(|c: char| c.is_ascii_digit())
}

#[test]
fn times_are_read_as_python_reads_them_and_written_without_an_offset() {
    let mut tally = Tally::of([
        (
            "offset",
            "ONE sends the offset, and Alyx converts to UTC, perhaps on another day; here the time becomes local",
        ),
        ("week", "week dates are not in use in labs"),
        ("separator", "Python accepts any character between date and time; this crate T or a space"),
        ("space", "Python accepts a space before the offset"),
        (
            "fraction",
            "Python reads the fraction of an hour or a minute as that of a second, and accepts an empty one",
        ),
        (
            "end of time",
            "jiff's instants end a day before the year 9999 does, so offsets on that day are refused",
        ),
    ]);
    let zone = TimeZone::fixed(offset(-5));
    let cases = answers().times;
    for (text, theirs, local) in &cases {
        let ours = SessionTime::parse(text, &zone).ok().map(|time| time.to_iso());
        if ours == *theirs {
            tally.agree();
            continue;
        }
        let between = text.chars().find(|c| !c.is_ascii_digit() && *c != '-');
        let reason = match &ours {
            Some(_) => (ours == *local).then_some("offset"),
            None if local.is_none() => Some("offset"),
            None if text.contains('W') => Some("week"),
            None if !matches!(between, Some('T' | 't' | ' ')) => Some("separator"),
            None if [" +", " -"].iter().any(|space| text.contains(space)) => Some("space"),
            None if odd_fraction(text) => Some("fraction"),
            None => (text.starts_with("9999-12-31") && theirs != local).then_some("end of time"),
        };
        tally.differ(reason, &(text, ours, theirs, local));
    }
    tally.finish(cases.len(), 600);
}

#[test]
fn the_next_revision_is_that_of_one() {
    let mut tally =
        Tally::of([("beyond z", "after z ONE continues with { and |, after Z with [, after 9 with :")]);
    let cases = answers().next;
    for (revision, reserved, alpha, theirs) in &cases {
        let reserved: Vec<&str> = reserved.iter().map(String::as_str).collect();
        let ours = next_revision(revision, &reserved, *alpha).unwrap();
        if ours == *theirs {
            tally.agree();
        } else {
            let last = theirs.chars().next_back().unwrap();
            let beyond = reserved.iter().any(|r| !r.ends_with(|c: char| c.is_ascii_alphanumeric()))
                || !last.is_ascii_alphanumeric();
            tally.differ(beyond.then_some("beyond z"), &(revision, reserved, alpha, ours, theirs));
        }
    }
    tally.finish(cases.len(), 90);
}

#[test]
fn a_protected_file_goes_where_one_puts_it() {
    let mut tally = Tally::of([
        ("beyond z", "after z ONE continues with {"),
        ("still protected", "ONE moves the file into a revision that is protected too, and Alyx refuses it"),
    ]);
    let answers = answers();
    let today = answers.today.parse().unwrap();
    let mut moved = 0;
    for (file, revisions, theirs) in &answers.protected {
        let path = DatasetPath::parse(Path::new(file)).unwrap();
        let target = match plan(&path, revisions, today).unwrap() {
            RevisionPlan::Keep => path,
            RevisionPlan::MoveTo(revision) => path.with_revision(&revision).unwrap(),
        };
        moved += usize::from(target.as_str() != file);
        let theirs = theirs.as_deref().unwrap();
        if target.as_str() == theirs {
            tally.agree();
            continue;
        }
        let their_revision = theirs.split('#').nth(1).unwrap_or_default();
        let reason = if their_revision.ends_with('{') {
            Some("beyond z")
        } else {
            revisions.contains(&(their_revision.to_owned(), true)).then_some("still protected")
        };
        tally.differ(reason, &(file, revisions, target, theirs));
    }
    assert!(moved > 100, "{moved}");
    tally.finish(answers.protected.len(), 330);
}
