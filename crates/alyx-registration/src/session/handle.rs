//! A session handle: the result of get-or-create.

use alyx_client::SessionRecord;

/// A session that is on Alyx.
#[derive(Debug, Clone)]
pub(crate) struct SessionHandle {
    pub(crate) eid: String,
    pub(crate) created: bool,
    /// The record, if a request has returned it.
    pub(crate) record: Option<SessionRecord>,
}
