//! The folders below a data root: their layout, how they are scanned, and what is wrong with them.

pub mod layout;
pub mod lock;
pub mod lock_reach;
pub mod misplaced;
pub mod root;
pub mod root_locks;
pub mod scan;
pub mod too_deep;
