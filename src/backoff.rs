//! Back-off as arithmetic: how long to wait before the next attempt.
