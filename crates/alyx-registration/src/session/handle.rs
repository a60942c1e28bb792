//! A session handle: the result of get-or-create.

use std::time::Instant;

use crate::client::record_outcome::RecordOutcome;
use alyx_client::SessionRecord;

/// A session that is on Alyx.
#[derive(Debug, Clone)]
pub(crate) struct SessionHandle {
    pub(crate) eid: String,
    /// When this run created it; `None`: it was there.
    pub(crate) created: Option<Instant>,
    /// The record, if a request has returned it.
    pub(crate) record: Option<SessionRecord>,
}

impl SessionHandle {
    /// What was done to the record.
    pub(crate) fn outcome(&self) -> RecordOutcome {
        RecordOutcome::of(self.created.is_some(), self.record.is_some())
    }
}
