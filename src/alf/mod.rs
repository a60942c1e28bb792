//! The ALF naming convention as types: session paths, dataset names and paths, dataset types, timestamps.
//!
//! Everything here is pure: no IO, no clock, no async. A value that exists has been parsed whole.

pub(crate) mod characters;
/// A name for people to read: control characters, which would forge a line of a log or steer a terminal, are escaped.
///
/// ```
/// assert_eq!(alyx_registrar::alf::printable("a\nb\u{1b}[2J é"), "a\\nb\\u{1b}[2J é");
/// ```
pub fn printable(text: &str) -> String {
    let escaped = |c: char| if is_hidden(c) { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

/// Control characters, and marks that nobody sees: some of them turn the direction of what follows.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

pub mod dataset_name;
pub mod dataset_path;
pub mod dataset_type;
pub mod file_pattern;
pub mod revision;
pub mod session_path;
pub mod timestamp;

pub use dataset_name::DatasetName;
pub use dataset_path::DatasetPath;
pub use dataset_type::{DatasetType, DatasetTypes};
pub use file_pattern::FilePattern;
pub use revision::RevisionPlan;
pub use session_path::SessionPath;
pub use timestamp::SessionTime;
