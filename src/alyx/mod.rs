//! The REST client for Alyx.
