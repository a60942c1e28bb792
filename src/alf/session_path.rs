//! A session path: the folder of one session, and what its name says.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use jiff::civil::Date;

/// The folder of one session, parsed whole: `[…/<lab>/Subjects/]<subject>/<YYYY-MM-DD>/<number>`.
///
/// Invariants: the date is a real day; the number is 1 to 3 digits; subject (and lab, if there is one) hold only
/// the characters that ONE and Alyx accept (`one.alf.spec`: subject `[\w.-]+`, lab `\w+`). Nothing is cut out of
/// a longer name: Python's client files `my mouse/2024-01-01/001` under the animal `mouse`; here it is refused.
///
/// ```
/// use alyx_registrar::alf::SessionPath;
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
    #[error("{folder:?}: {name:?} is not a date that exists (YYYY-MM-DD)")]
    Date {
        /// The folder as given.
        folder: PathBuf,
        /// The component in question.
        name: String,
    },
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
    /// There is a `<lab>/Subjects` above the subject, but the lab holds other characters than `\w`.
    #[error("{folder:?}: {name:?} is not a lab name (letters, digits and '_'): rename the folder")]
    Lab {
        /// The folder as given.
        folder: PathBuf,
        /// The component in question.
        name: String,
    },
}

/// `\w` of Python's `re` on str: letters and digits of any script, and the underscore.
pub(crate) fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Parses `YYYY-MM-DD`; `None` unless it is a day that exists, written exactly so.
///
/// ```
/// use alyx_registrar::alf::session_path::parse_date_folder;
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
    // Year 0 exists for jiff and for no one else.
    if year == 0 {
        return None;
    }
    Date::new(year, name[5..7].parse().ok()?, name[8..].parse().ok()?).ok()
}

/// Parses the name of a session folder: 1 to 3 ASCII digits.
///
/// ```
/// use alyx_registrar::alf::session_path::parse_number_folder;
/// assert_eq!(parse_number_folder("001"), Some(1));
/// assert_eq!(parse_number_folder("12"), Some(12));
/// assert_eq!(parse_number_folder("0001"), None);
/// ```
pub fn parse_number_folder(name: &str) -> Option<u16> {
    let digits = (1..=3).contains(&name.len()) && name.bytes().all(|c| c.is_ascii_digit());
    if digits { name.parse().ok() } else { None }
}

impl SessionPath {
    /// Reads a session from the last components of a folder's path. The disk is not touched.
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
            return Err(SessionPathError::Date { folder: folder.to_owned(), name: date });
        };
        let Some(parsed_number) = parse_number_folder(&number) else {
            return Err(SessionPathError::Number { folder: folder.to_owned(), name: number });
        };
        if !subject.chars().all(|c| is_word(c) || c == '.' || c == '-') {
            return Err(SessionPathError::Subject { folder: folder.to_owned(), name: subject });
        }
        let lab = match above {
            [.., lab, subjects] if *subjects == "Subjects" => {
                let lab = text(lab)?;
                if !lab.chars().all(is_word) {
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
    /// The innermost folder that is a session path counts, as in `ALFPath.session_path`.
    ///
    /// # Errors
    /// The error of the file's own folder where no folder above it is a session.
    pub fn containing(file: &Path) -> Result<(Self, PathBuf), SessionPathError> {
        let mut first = None;
        for folder in file.ancestors().skip(1) {
            match Self::parse(folder) {
                Ok(session) => {
                    let relative = file.strip_prefix(folder).unwrap_or(file).to_owned();
                    return Ok((session, relative));
                }
                Err(error) => {
                    first.get_or_insert(error);
                }
            }
        }
        Err(first.unwrap_or_else(|| SessionPathError::TooShort(file.to_owned())))
    }

    /// The folder as it was given.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The lab, where the path says it (`<lab>/Subjects/…`).
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

    /// `subject/YYYY-MM-DD/NNN`: the `path` of a `POST /register-file`, and the name of the session in logs.
    pub fn relative(&self) -> String {
        format!("{}/{}/{:03}", self.subject, self.date, self.number)
    }
}

impl fmt::Display for SessionPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.relative())
    }
}
