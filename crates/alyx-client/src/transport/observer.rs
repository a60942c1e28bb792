//! An observer of requests, for metrics.

use std::fmt;
use std::time::Duration;

/// One request and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange<'a> {
    /// `GET`, `POST` …
    pub method: &'a str,
    /// The endpoint without a member's name, such as `/sessions`: one of about a dozen, so it can be a metric's label.
    pub endpoint: &'a str,
    /// The status of the answer; `None` without an answer.
    pub status: Option<u16>,
    /// Time from sending the request to the last byte of the answer.
    pub took: Duration,
}

/// Receives every request. It must not block.
pub trait Observer: fmt::Debug + Send + Sync {
    /// A request was answered or abandoned.
    fn exchanged(&self, exchange: &Exchange<'_>);
}

impl<'a> Exchange<'a> {
    /// `what` is method and path, such as `GET /subjects/KS014`.
    pub(crate) fn new(what: &'a str, status: Option<u16>, took: Duration) -> Self {
        let (method, path) = what.split_once(' ').unwrap_or(("", what));
        let end = path.bytes().skip(1).position(|byte| byte == b'/').map_or(path.len(), |at| at + 1);
        Self { method, endpoint: path.get(..end).unwrap_or(path), status, took }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_does_not_include_the_name_of_a_member() {
        let endpoint = |what| Exchange::new(what, None, Duration::ZERO).endpoint;
        assert_eq!(endpoint("GET /sessions"), "/sessions");
        assert_eq!(endpoint("PATCH /sessions/0b-1/x"), "/sessions");
        assert_eq!(endpoint("GET /subjects/K%2FS"), "/subjects");
        assert_eq!(Exchange::new("POST /auth-token", Some(200), Duration::ZERO).method, "POST");
    }
}
