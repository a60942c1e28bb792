//! An Alyx-compatible server for demonstrations and tests.
