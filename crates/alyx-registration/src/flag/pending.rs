//! Flags that are being removed: what is remembered of them until their sessions were looked at once more.

use std::fmt::Debug;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::flag::held::FlagCopy;

/// A session whose flag is being removed, and what it looked like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastLook {
    pub(crate) flag: FlagCopy,
    /// Of the names, sizes and times of the files that were read.
    pub(crate) files: u64,
}

impl LastLook {
    /// The flag.
    pub fn flag(&self) -> &Path {
        &self.flag.path
    }
}

/// Remembers last looks that are pending, from one start of the program to the next.
pub trait LastLooks: Debug + Send + Sync {
    /// The flag is about to be removed. On disk on return, if that is possible. Blocks.
    fn begin(&self, look: &LastLook);
    /// The session was looked at, or the flag is still there. Blocks.
    fn end(&self, flag: &Path);
    /// Those that have begun and not ended. Blocks.
    fn pending(&self) -> Vec<LastLook>;
}
