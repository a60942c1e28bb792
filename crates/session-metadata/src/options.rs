//! What the readers and the merging need to know of the configuration. Plain values.

use std::collections::BTreeMap;

use glob::Pattern;
use jiff::tz::TimeZone;

use crate::readers::READERS;

/// Options of [`describe`](crate::describe) and of [`completeness::missing`](crate::completeness::missing).
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The names of the readers in use.
    pub readers: Vec<String>,
    /// Users on Alyx by the rig's login or a person's name; `None` drops the name.
    pub users_map: BTreeMap<String, Option<String>>,
    /// The rig's zone: times with an offset become its local time.
    pub zone: TimeZone,
    /// `complete: all_devices`: this disk gets the files of all computers of the rig.
    pub all_devices: bool,
    /// Patterns of files that a session must have.
    pub expect: Vec<Expectation>,
    /// Patterns of files that must be gone.
    pub wait_for: Vec<Pattern>,
}

/// Files that certain sessions must have.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expectation {
    /// Patterns of paths relative to the session folder, as in `datasets.exclude`; each must match a file that is not
    /// empty.
    pub files: Vec<Pattern>,
    /// Only sessions of a project that matches.
    pub project: Option<Pattern>,
    /// Only sessions whose task protocol matches.
    pub protocol: Option<Pattern>,
    /// Only sessions of a subject that matches.
    pub subject: Option<Pattern>,
}

/// The default of `wait_for`: what a copy between computers of a rig leaves while it is under way.
pub const STATUS_PENDING: &str = "_devices/*.status_pending";

impl Default for Options {
    /// All readers, UTC, and the default of `wait_for`.
    fn default() -> Self {
        Self {
            readers: READERS.iter().map(|reader| reader.name.to_owned()).collect(),
            users_map: BTreeMap::new(),
            zone: TimeZone::UTC,
            all_devices: false,
            expect: Vec::new(),
            wait_for: Pattern::new(STATUS_PENDING).into_iter().collect(),
        }
    }
}
