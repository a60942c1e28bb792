//! A session path: the folder of one session, and the parts of its name.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use jiff::civil::Date;

use crate::characters::{is_label, is_word};
use crate::revision::is_loose_date;

/// The folder of one session, parsed whole: `[…/<lab>/Subjects/]<subject>/<YYYY-MM-DD>/<number>`.
///
/// Invariants: the date is a real day; the number is 1 to 3 digits; subject (and lab, if there is one) hold only
/// the characters that ONE and Alyx accept (`one.alf.spec`: subject `[\w.-]+`, lab `\w+`). Names are matched whole:
/// Python's client files `my mouse/2024-01-01/001` under the animal `mouse`; this type refuses it.
///
/// ```
/// use alf::SessionPath;
/// use std::path::Path;
///
/// let session = SessionPath::parse(Path::new("/data/cortexlab/Subjects/KS014/2024-05-01/001")).unwrap();
/// assert_eq!(session.lab(), Some("cortexlab"));
/// assert_eq!(session.subject(), "KS014");
/// assert_eq!(session.number(), 1);
/// assert_eq!(session.relative(), "KS014/2024-05-01/001");
///
/// for refused in ["my mouse/2024-01-01/001", "KS014/2024-02-30/001", "KS014/2024-01-01/0001", "KS014/2024-01-01"] {
///     assert!(SessionPath::parse(Path::new(refused)).is_err(), "{refused}");
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionPath {
    folder: PathBuf,
    lab: Option<String>,
    subject: String,
    date: Date,
    number: u16,
}

/// Why a folder is not the folder of a session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionPathError {
    /// Fewer than three components, or `..` among the last ones.
    #[error("{0:?} is not <subject>/<YYYY-MM-DD>/<number>")]
    TooShort(PathBuf),
    /// A component is not UTF-8.
    #[error("{0:?} has a name that is not valid UTF-8: rename it")]
    NotUtf8(PathBuf),
    /// The second to last component is not a day that exists.
    #[error("{folder:?}: the date folder {name:?} is {}", date_fault(.name))]
    Date {
        /// The folder as given.
        folder: PathBuf,
        /// The component in question.
        name: String,
    },
    /// The last component is a day: the path lacks the session number.
    #[error("{0:?} is a date folder; name the folder of a session in it (1 to 3 digits, such as 001)")]
    Day(PathBuf),
    /// The last component is not 1 to 3 digits.
    #[error("{folder:?}: {name:?} is not a session number (1 to 3 digits, such as 001)")]
    Number {
        /// The folder as given.
        folder: PathBuf,
        /// The component in question.
        name: String,
    },
    /// The subject holds characters that Alyx cannot store in a path.
    #[error(
        "{folder:?}: {name:?} is not a subject name (letters, digits, '_', '-' and '.'): rename the folder"
    )]
    Subject {
        /// The folder as given.
        folder: PathBuf,
        /// The component in question.
        name: String,
    },
    /// There is a `<lab>/Subjects` above the subject, but the lab holds characters other than `\w`.
    #[error("{folder:?}: {name:?} is not a lab name (letters, digits and '_'): rename the folder")]
    Lab {
        /// The folder as given.
        folder: PathBuf,
        /// The component in question.
        name: String,
    },
}

/// Parses `YYYY-MM-DD`; `None` unless it is a day that exists, written exactly so.
///
/// ```
/// use alf::session_path::parse_date_folder;
/// assert!(parse_date_folder("2024-02-29").is_some());
/// assert!(parse_date_folder("2023-02-29").is_none());
/// assert!(parse_date_folder("2024-2-29").is_none());
/// ```
pub fn parse_date_folder(name: &str) -> Option<Date> {
    let b = name.as_bytes();
    let shaped = b.len() == 10
        && b.iter().enumerate().all(|(i, c)| if i == 4 || i == 7 { *c == b'-' } else { c.is_ascii_digit() });
    if !shaped {
        return None;
    }
    let year: i16 = name[..4].parse().ok()?;
    // jiff accepts year 0; Python and Alyx do not.
    if year == 0 {
        return None;
    }
    Date::new(year, name[5..7].parse().ok()?, name[8..].parse().ok()?).ok()
}

/// What is wrong with the name of a date folder, and what to rename it to. Pure.
///
/// ```
/// use alf::session_path::date_fault;
/// assert_eq!(date_fault("2024-5-2"), "not written as YYYY-MM-DD: rename the folder to 2024-05-02");
/// assert_eq!(date_fault("2024-02-30"), "not a date that exists (YYYY-MM-DD): rename the folder to the right day");
/// assert_eq!(date_fault("03-05-2024"), "not written as YYYY-MM-DD: rename the folder to 2024-05-03 or 2024-03-05");
/// assert_eq!(date_fault("notes"), "not a date (YYYY-MM-DD)");
/// ```
pub fn date_fault(name: &str) -> String {
    let meant = dates_meant(name);
    let is_date_like = name.chars().filter(char::is_ascii_digit).count() >= 5;
    match meant.as_slice() {
        [] if is_date_like => {
            "not a date that exists (YYYY-MM-DD): rename the folder to the right day".to_owned()
        }
        [] => "not a date (YYYY-MM-DD)".to_owned(),
        days => {
            let days: Vec<String> = days.iter().map(ToString::to_string).collect();
            format!("not written as YYYY-MM-DD: rename the folder to {}", days.join(" or "))
        }
    }
}

/// The days that a name, written in another way than `YYYY-MM-DD`, may mean. Day and month are in either order.
fn dates_meant(name: &str) -> Vec<Date> {
    const MONTHS: [&str; 12] =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let month = |word: &str| {
        let short = word.get(..3)?.to_ascii_lowercase();
        MONTHS.iter().position(|known| *known == short).map(|i| format!("{:02}", i + 1))
    };
    // Numbers and words, one after the other.
    let mut parts: Vec<String> = Vec::new();
    let mut last = None;
    for c in name.chars() {
        let kind = if c.is_ascii_digit() {
            Some(0)
        } else if c.is_ascii_alphabetic() {
            Some(1)
        } else {
            None
        };
        match (kind, parts.last_mut()) {
            (Some(_), Some(part)) if kind == last => part.push(c),
            (Some(_), _) => parts.push(c.to_string()),
            (None, _) => {}
        }
        last = kind;
    }
    // Of a word, only the name of a month counts: then it is clear which part is the month.
    let is_number = |part: &String| part.starts_with(|c: char| c.is_ascii_digit());
    parts.retain(|part| is_number(part) || month(part).is_some());
    let word = parts.iter().position(|part| !is_number(part));
    let parts: Vec<String> = parts.into_iter().map(|part| month(&part).unwrap_or(part)).collect();
    let first = parts.first().map(String::as_str).unwrap_or_default();
    let groups: Vec<&str> = match (first.len(), first.is_ascii()) {
        (8 | 14, true) => vec![&first[..4], &first[4..6], &first[6..8]],
        (6, true) => vec![&first[..2], &first[2..4], &first[4..6]],
        _ => parts.iter().map(String::as_str).take(3).collect(),
    };
    let [a, b, c] = groups.as_slice() else { return Vec::new() };
    let orders: &[[&str; 3]] = match (a.len(), c.len()) {
        (4, _) => &[[a, b, c]],
        (_, 4) => &[[c, b, a], [c, a, b]],
        _ => &[[a, b, c], [c, b, a]],
    };
    // 02052024 is no year 205.
    let mut orders = orders.to_vec();
    if first.len() == 8 {
        orders.extend([[&first[4..], &first[2..4], &first[..2]], [&first[4..], &first[..2], &first[2..4]]]);
    }
    if let Some(month) = word.and_then(|at| groups.get(at)) {
        orders.retain(|[_, other, _]| std::ptr::eq(*other, *month));
    }
    let mut days: Vec<Date> = Vec::new();
    for [year, month, day] in orders {
        let year = if year.len() == 2 { format!("20{year}") } else { year.to_owned() };
        let day = parse_date_folder(&format!("{year}-{month:0>2}-{day:0>2}"));
        days.extend(day.filter(|day| (1900..2100).contains(&day.year()) && !days.contains(day)));
    }
    days
}

/// Parses the name of a session folder: 1 to 3 ASCII digits.
///
/// ```
/// use alf::session_path::parse_number_folder;
/// assert_eq!(parse_number_folder("001"), Some(1));
/// assert_eq!(parse_number_folder("12"), Some(12));
/// assert_eq!(parse_number_folder("0001"), None);
/// ```
pub fn parse_number_folder(name: &str) -> Option<u16> {
    let digits = (1..=3).contains(&name.len()) && name.bytes().all(|c| c.is_ascii_digit());
    if digits { name.parse().ok() } else { None }
}

impl SessionPath {
    /// Parses the last components of a folder's path. Does not touch the disk.
    ///
    /// # Errors
    /// [`SessionPathError`] says which component is wrong.
    pub fn parse(folder: &Path) -> Result<Self, SessionPathError> {
        let names: Vec<&std::ffi::OsStr> = folder
            .components()
            .filter_map(|c| match c {
                Component::Normal(name) => Some(Some(name)),
                Component::ParentDir => Some(None),
                _ => None,
            })
            // `..` hides which folder is meant: only what comes after the last one counts.
            .fold(Vec::new(), |mut names, c| {
                match c {
                    Some(name) => names.push(name),
                    None => names.clear(),
                }
                names
            });
        let [above @ .., subject, date, number] = names.as_slice() else {
            return Err(SessionPathError::TooShort(folder.to_owned()));
        };
        let text = |name: &std::ffi::OsStr| {
            name.to_str().map(str::to_owned).ok_or_else(|| SessionPathError::NotUtf8(folder.to_owned()))
        };
        let (subject, date, number) = (text(subject)?, text(date)?, text(number)?);
        let Some(parsed_date) = parse_date_folder(&date) else {
            if parse_date_folder(&number).is_some() {
                return Err(SessionPathError::Day(folder.to_owned()));
            }
            return Err(SessionPathError::Date { folder: folder.to_owned(), name: date });
        };
        let Some(parsed_number) = parse_number_folder(&number) else {
            return Err(SessionPathError::Number { folder: folder.to_owned(), name: number });
        };
        if !is_label(&subject) {
            return Err(SessionPathError::Subject { folder: folder.to_owned(), name: subject });
        }
        let lab = match above {
            [.., lab, subjects] if *subjects == "Subjects" => {
                let lab = text(lab)?;
                if lab.is_empty() || !lab.chars().all(is_word) {
                    return Err(SessionPathError::Lab { folder: folder.to_owned(), name: lab });
                }
                Some(lab)
            }
            _ => None,
        };
        Ok(Self { folder: folder.to_owned(), lab, subject, date: parsed_date, number: parsed_number })
    }

    /// The session that holds a file or folder, and the path of that file relative to the session.
    ///
    /// As in `ALFPath.session_path`, the first `<date>/<number>` from the left decides: folders below it are its
    /// collection, even if they look like a session. That folder is parsed whole or refused: a session further down
    /// never takes its place, because that would file the data under another animal.
    ///
    /// # Errors
    /// The error of [`SessionPath::parse`] for that folder; [`SessionPathError::TooShort`] without a `<date>/<number>`.
    ///
    /// ```
    /// use alf::SessionPath;
    /// use std::path::Path;
    ///
    /// let (session, file) =
    ///     SessionPath::containing(Path::new("/data/KS014/2024-05-01/001/alf/spikes.times.npy")).unwrap();
    /// assert_eq!(session.folder(), Path::new("/data/KS014/2024-05-01/001"));
    /// assert_eq!(file, Path::new("alf/spikes.times.npy"));
    ///
    /// let cut = "/data/my mouse/2024-05-01/001/2024-05-02/002/spikes.times.npy";
    /// assert!(SessionPath::containing(Path::new(cut)).is_err());
    /// ```
    pub fn containing(file: &Path) -> Result<(Self, PathBuf), SessionPathError> {
        let outermost = file.ancestors().skip(1).filter(|folder| looks_like_session(folder)).last();
        let Some(folder) = outermost else {
            return Err(SessionPathError::TooShort(file.to_owned()));
        };
        let session = Self::parse(folder)?;
        let relative = file.strip_prefix(folder).unwrap_or(file).to_owned();
        Ok((session, relative))
    }

    /// The folder as it was given.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The lab, if the path names it (`<lab>/Subjects/…`).
    pub fn lab(&self) -> Option<&str> {
        self.lab.as_deref()
    }

    /// The subject's nickname.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The day of the session.
    pub fn date(&self) -> Date {
        self.date
    }

    /// The session's number of that day.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `subject/YYYY-MM-DD/N` with the number's folder as it is on disk (`1`, `01` or `001`): the `path` of a
    /// `POST /register-file`. Alyx keeps it in the file records as it is sent, so it must name the folder that exists
    /// (as ONE's `register_files` does). For a name of the session, use [`Display`](fmt::Display).
    pub fn relative(&self) -> String {
        let number = self.folder.file_name().unwrap_or_default().to_string_lossy();
        format!("{}/{}/{number}", self.subject, self.date)
    }
}

/// Whether a path ends with what ONE recognises as `<date>/<number>`, which includes names that it cannot parse.
fn looks_like_session(folder: &Path) -> bool {
    let mut names = folder.components().rev().map(|c| match c {
        Component::Normal(name) => name.to_str().unwrap_or_default(),
        _ => "",
    });
    let (Some(number), Some(date)) = (names.next(), names.next()) else {
        return false;
    };
    !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit()) && is_loose_date(date)
}

/// `subject/YYYY-MM-DD/NNN`: the name of the session in logs, the same for a folder `1` and a folder `001`.
impl fmt::Display for SessionPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{:03}", self.subject, self.date, self.number)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use proptest::prelude::*;

    use super::*;

    fn parse(path: &str) -> Result<SessionPath, SessionPathError> {
        SessionPath::parse(Path::new(path))
    }

    #[test]
    fn nothing_is_cut_out_of_a_longer_name() {
        assert!(matches!(parse("my mouse/2024-05-01/001"), Err(SessionPathError::Subject { .. })));
        assert!(matches!(parse("mouse#1/2024-05-01/001"), Err(SessionPathError::Subject { .. })));
        assert!(matches!(parse("m/2024-05-01/0001"), Err(SessionPathError::Number { .. })));
        assert!(matches!(parse("m/2024-05-01/001a"), Err(SessionPathError::Number { .. })));
        assert!(matches!(parse("m/2024-05-01b/001"), Err(SessionPathError::Date { .. })));
        assert!(matches!(parse("m/2024-02-30/001"), Err(SessionPathError::Date { .. })));
        assert!(matches!(parse("/d/m/2024-05-01"), Err(SessionPathError::Day(_))));
        assert!(matches!(parse("my lab/Subjects/m/2024-05-01/001"), Err(SessionPathError::Lab { .. })));
        assert!(matches!(parse("2024-05-01/001"), Err(SessionPathError::TooShort(_))));
    }

    #[test]
    fn a_date_that_is_written_in_another_way_is_recognised() {
        for (name, days) in [
            ("2024-5-2", &["2024-05-02"][..]),
            ("2024-05-2", &["2024-05-02"]),
            ("20240502", &["2024-05-02"]),
            ("2024_05_02", &["2024-05-02"]),
            ("2024.05.02", &["2024-05-02"]),
            ("2024 05 02", &["2024-05-02"]),
            ("2024-05-02b", &["2024-05-02"]),
            ("20240502_113000", &["2024-05-02"]),
            ("2024-05-02_11-30-00", &["2024-05-02"]),
            ("02-05-2024", &["2024-05-02", "2024-02-05"]),
            ("22.05.2024", &["2024-05-22"]),
            ("5-22-2024", &["2024-05-22"]),
            ("22052024", &["2024-05-22"]),
            ("240522", &["2024-05-22", "2022-05-24"]),
            ("24-05-22", &["2024-05-22", "2022-05-24"]),
            ("2024-May-02", &["2024-05-02"]),
            ("2May2024", &["2024-05-02"]),
            ("02 May 2024", &["2024-05-02"]),
            ("2024-02-30", &[]),
            ("2024-13-40", &[]),
            ("notes", &[]),
            ("", &[]),
            ("2024", &[]),
            ("2024-05", &[]),
            ("é5-é", &[]),
        ] {
            let found: Vec<String> = dates_meant(name).iter().map(ToString::to_string).collect();
            assert_eq!(found, days, "{name}");
        }
    }

    #[test]
    fn the_lab_is_the_folder_above_subjects() {
        assert_eq!(parse("/d/lab_1/Subjects/m.1-a/2024-05-01/1").unwrap().lab(), Some("lab_1"));
        assert_eq!(parse("/d/Subjects/m/2024-05-01/1").unwrap().lab(), Some("d"));
        assert_eq!(parse("Subjects/m/2024-05-01/1").unwrap().lab(), None);
        assert_eq!(parse("/Subjects/m/2024-05-01/1").unwrap().lab(), None);
        assert_eq!(parse("/lab/subjects/m/2024-05-01/1").unwrap().lab(), None);
    }

    #[test]
    fn the_name_pads_the_number_and_the_path_keeps_it_as_it_is_on_disk() {
        for (folder, relative) in
            [("1", "m/2024-05-01/1"), ("01", "m/2024-05-01/01"), ("001", "m/2024-05-01/001")]
        {
            let session = parse(&format!("/d/m/2024-05-01/{folder}")).unwrap();
            assert_eq!(session.relative(), relative);
            assert_eq!(session.folder(), Path::new("/d/m/2024-05-01").join(folder));
            assert_eq!(session.to_string(), "m/2024-05-01/001");
        }
    }

    #[test]
    fn components_before_two_dots_are_ignored() {
        assert!(matches!(parse("m/../2024-05-01/001"), Err(SessionPathError::TooShort(_))));
        assert_eq!(parse("/lab/Subjects/../m/2024-05-01/001").unwrap().lab(), None);
    }

    #[test]
    fn a_file_belongs_to_the_outermost_session() {
        let (session, file) =
            SessionPath::containing(Path::new("m/2024-05-01/001/2024-05-02/002/a.b.c")).unwrap();
        assert_eq!(
            (session.relative().as_str(), file.as_path()),
            ("m/2024-05-01/001", Path::new("2024-05-02/002/a.b.c"))
        );
    }

    #[test]
    fn a_session_that_one_would_cut_is_not_replaced_by_one_further_down() {
        for path in ["my mouse/2024-05-01/001", "m/2024-05-01/0001", "m/2024-5-1/001"] {
            let file = format!("{path}/2024-05-02/002/a.b.c");
            assert!(SessionPath::containing(Path::new(&file)).is_err(), "{file}");
        }
    }

    #[test]
    fn a_file_outside_any_session_has_none() {
        for file in ["", "/", "a.b.c", "/data/m/2024-05-01/a.b.c", "m/2024-05-01/001"] {
            let error = SessionPath::containing(Path::new(file)).unwrap_err();
            assert!(matches!(error, SessionPathError::TooShort(_)), "{file}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let path = Path::new(OsStr::from_bytes(&bytes));
            let _ = SessionPath::parse(path);
            let _ = SessionPath::containing(path);
            date_fault(&path.to_string_lossy());
        }

        #[test]
        fn a_session_is_read_back_from_its_own_name(subject in "[a-zé0-9_-][a-zé0-9_.-]{0,8}", number in 0u16..1000, day in 1i8..29) {
            let relative = format!("{subject}/2024-02-{day:02}/{number:03}");
            let session = parse(&format!("/data/lab/Subjects/{relative}")).unwrap();
            prop_assert_eq!(session.relative(), relative);
            prop_assert_eq!((session.lab(), session.subject(), session.number()), (Some("lab"), subject.as_str(), number));
        }
    }
}
