//! Integration tests of `alf`: its answers compared with those of ONE-api.
#![allow(clippy::disallowed_macros, clippy::disallowed_methods, reason = "tests print")]

mod agrees_with_one;
