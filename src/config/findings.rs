//! Collects the errors and warnings of a configuration while its values are read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::document::{Given, GivenTime};
use crate::config::values::{Text, show_duration};
use crate::config::{ConfigError, ConfigErrors};
use session_metadata::text::locate::{KeyPath, Syntax, line_of};

/// Limit on the errors that are listed; the rest are counted.
const MAX_LISTED: usize = 50;

pub(super) const MS: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// The errors and warnings found so far.
#[derive(Default)]
pub(super) struct Findings {
    in_file: Vec<(KeyPath, String)>,
    on_command_line: Vec<(String, String)>,
    pub(super) warnings: Vec<String>,
}

impl Findings {
    pub(super) fn refuse(&mut self, path: KeyPath, why: impl Into<String>) {
        self.in_file.push((path, why.into()));
    }

    pub(super) fn refuse_argument(&mut self, argument: &str, why: impl Into<String>) {
        self.on_command_line.push((argument.to_owned(), why.into()));
    }

    /// Reports a missing key, unless the key already has an error.
    pub(super) fn missing(&mut self, path: KeyPath, why: &str) {
        if !self.in_file.iter().any(|(refused, _)| path.0.starts_with(&refused.0)) {
            self.refuse(path, why);
        }
    }

    pub(super) fn into_errors(self, text: &str, file: &Path) -> Option<ConfigErrors> {
        let unlisted = self.in_file.len().saturating_sub(MAX_LISTED);
        let in_file = self.in_file.into_iter().take(MAX_LISTED).map(|(path, message)| ConfigError {
            file: file.to_owned(),
            line: line_of(text, Syntax::Yaml, &path),
            key: path.to_string(),
            message,
        });
        let on_command_line = self.on_command_line.into_iter().map(|(key, message)| ConfigError {
            file: PathBuf::from("command line"),
            line: None,
            key,
            message,
        });
        let more = (unlisted > 0).then(|| ConfigError {
            file: file.to_owned(),
            line: None,
            key: String::new(),
            message: format!("and {unlisted} more errors"),
        });
        ConfigErrors::collect(in_file.chain(on_command_line).chain(more).collect())
    }

    /// The value, if it is present and valid.
    pub(super) fn take<T>(&mut self, path: &KeyPath, given: Given<T>) -> Option<T> {
        given.0.unwrap_or_else(|why| {
            self.refuse(path.clone(), why);
            None
        })
    }

    pub(super) fn text(&mut self, key: &str, given: Given<Text>) -> Option<String> {
        self.take(&KeyPath::of(key), given).map(|text| text.0)
    }

    pub(super) fn texts(&mut self, key: &str, given: Given<Vec<Text>>) -> Vec<String> {
        self.texts_at(&KeyPath::of(key), given)
    }

    pub(super) fn texts_at(&mut self, path: &KeyPath, given: Given<Vec<Text>>) -> Vec<String> {
        self.take(path, given).unwrap_or_default().into_iter().map(|text| text.0).collect()
    }

    pub(super) fn yes_no(&mut self, key: &str, given: Given<bool>, default: bool) -> bool {
        self.take(&KeyPath::of(key), given).unwrap_or(default)
    }

    pub(super) fn time(
        &mut self,
        key: &str,
        given: GivenTime,
        default: Duration,
        bounds: [Duration; 2],
    ) -> Duration {
        let path = KeyPath::of(key);
        let Some(time) = self.take(&path, given) else { return default };
        let [least, most] = bounds;
        if time < least || time > most {
            let [time, least, most] = [time, least, most].map(show_duration);
            self.refuse(path, format!("{time} is not between {least} and {most}"));
        }
        time
    }

    pub(super) fn count(&mut self, key: &str, given: Given<u64>, default: u32, most: u32) -> u32 {
        let path = KeyPath::of(key);
        let Some(typed) = self.take(&path, given) else { return default };
        match u32::try_from(typed) {
            Ok(n) if (1..=most).contains(&n) => n,
            _ => {
                self.refuse(path, format!("{typed} is not between 1 and {most}"));
                default
            }
        }
    }
}
