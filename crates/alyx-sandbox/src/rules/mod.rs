//! Alyx's rules for names, fields, filters and times, apart from any route.

pub(crate) mod django;
pub(crate) mod fields;
pub(crate) mod filters;
pub(crate) mod kinds;
mod member_fields;
pub(crate) mod names;
pub(crate) mod qc;
pub(crate) mod time;
