//! The flag file on disk.
