//! What registering did to a record on Alyx. Pure.

use serde::Serialize;

/// What registering did to a record on Alyx.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordOutcome {
    /// Alyx had no such record.
    Created,
    /// Alyx had the record, and it was sent again, in part or whole.
    Updated,
    /// Alyx had the record, and nothing was sent.
    Unchanged,
}

impl RecordOutcome {
    /// From whether the record is new, and whether anything was sent.
    pub(crate) fn of(is_new: bool, was_sent: bool) -> Self {
        match (is_new, was_sent) {
            (true, _) => Self::Created,
            (false, true) => Self::Updated,
            (false, false) => Self::Unchanged,
        }
    }
}
