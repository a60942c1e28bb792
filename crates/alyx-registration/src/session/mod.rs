//! Sessions on Alyx: finding them, creating them once, changing their details.

pub(crate) mod create_sessions;
pub(crate) mod created;
pub(crate) mod creation;
pub(crate) mod details;
pub(crate) mod find;
pub(crate) mod handle;
pub(crate) mod names;
pub(crate) mod new_session;
pub(crate) mod orphans;
pub(crate) mod planned;
pub(crate) mod reference;
pub(crate) mod register;
pub(crate) mod request_marks;
