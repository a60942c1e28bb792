//! Still true years later: compares what Alyx holds with what is on disk. Read-only, except for flags that a person
//! asks for.

pub(crate) mod audit;
pub(crate) mod compare;
pub(crate) mod contents;
pub(crate) mod copy;
pub(crate) mod disk;
pub(crate) mod finding;
pub(crate) mod flag_need;
pub(crate) mod held;
pub(crate) mod look;
pub(crate) mod roots;
pub(crate) mod sessions;
pub(crate) mod totals;
pub(crate) mod verdict;
