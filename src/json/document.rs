//! A document: what a command prints with `--json`, or one line of it.

use serde::Serialize;
use serde_json::Value;

use crate::json::error_report::ErrorReport;

/// The version of all documents. `docs/json.md` says what may change without a new one.
pub const VERSION: u32 = 1;

/// A document.
#[derive(Debug, Serialize)]
pub struct Document<'a, Fields> {
    version: u32,
    command: &'a str,
    outcome: &'a str,
    /// The fields of the command.
    #[serde(flatten)]
    fields: Fields,
    errors: Vec<ErrorReport>,
}

/// The fields of a document that has none of its own, because the command failed.
#[derive(Debug, Serialize)]
pub struct NoFields {}

impl<'a, Fields: Serialize> Document<'a, Fields> {
    /// A document of a command, with the errors of this run.
    pub fn new(command: &'a str, outcome: &'a str, fields: Fields, errors: Vec<ErrorReport>) -> Self {
        Self { version: VERSION, command, outcome, fields, errors }
    }

    /// As one line.
    pub fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| {
            // All keys are text and all values are finite, so this does not happen.
            Value::from(format!("the output cannot be written as JSON: {error}")).to_string()
        })
    }
}

impl<'a> Document<'a, NoFields> {
    /// The document of a command that failed as a whole.
    pub fn failed(command: &'a str, errors: Vec<ErrorReport>) -> Self {
        Self::new(command, "failed", NoFields {}, errors)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn version_command_and_outcome_come_first() {
        let document = Document::new("exists", "done", json!({"eid": 1}), Vec::new());
        let line = r#"{"version":1,"command":"exists","outcome":"done","eid":1,"errors":[]}"#;
        assert_eq!(document.line(), line);
        let failed = Document::failed("exists", Vec::new()).line();
        assert_eq!(failed, r#"{"version":1,"command":"exists","outcome":"failed","errors":[]}"#);
    }
}
