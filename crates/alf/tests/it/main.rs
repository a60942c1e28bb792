//! The tests of `alf` from outside: its answers compared with those of ONE-api.

mod agrees_with_one;
