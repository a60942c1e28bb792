//! The JSON that `--json` and the status page print: one envelope, one shape of errors and records. `docs/json.md` is
//! its manual, `docs/json.schema.json` its schema. Types only.

pub mod document;
pub mod error_report;
pub mod path_text;
pub mod record;
