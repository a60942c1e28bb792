//! Remarks that are logged once, however often a session runs.

use std::collections::HashSet;
use std::sync::Mutex;

/// How many are remembered; then they begin anew.
const MAX_REMARKS: usize = 10_000;

/// What was logged already.
#[derive(Debug, Default)]
pub struct Remarks(Mutex<HashSet<String>>);

impl Remarks {
    /// Whether this was not logged before.
    pub(crate) fn is_new(&self, remark: String) -> bool {
        let Ok(mut known) = self.0.lock() else { return true };
        if known.len() >= MAX_REMARKS {
            known.clear();
        }
        known.insert(remark)
    }
}
