//! One request before it is sent, and the parsing of its answer.

use reqwest::Method;
use serde_json::Value;

use crate::transport::retry::Idempotency;

/// One request. It may be sent several times.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// Path below the base URL, with a leading slash; every variable part already encoded by [`segment`].
    pub(crate) path: &'a str,
    pub(crate) query: Query<'a>,
    pub(crate) body: Option<&'a Value>,
    pub(crate) idempotency: Idempotency,
    /// The largest answer that is read, in bytes.
    pub(crate) at_most: usize,
    /// A slot of the rate limit that was acquired in advance; the first send uses it.
    pub(crate) slot: Option<RequestSlot>,
}

/// The largest answer that is read, in bytes. The record of a dataset has 1.2 KB with two repositories and 2.5 KB with
/// five; a page holds 1000 at most. More is not Alyx.
pub(crate) const MAX_ANSWER: usize = 8 << 20;
/// The same for the record of a session, which repeats those of its datasets.
pub(crate) const MAX_SESSION: usize = 64 << 20;
/// The same for an answer that is no success: the page of an error, or the revisions of a batch of files.
pub(crate) const MAX_REFUSAL: usize = 1 << 20;

/// A slot of the rate limit, acquired in advance: its request is sent without waiting.
#[derive(Debug)]
pub struct RequestSlot(pub(crate) ());

/// The query of a request.
pub(crate) enum Query<'a> {
    Pairs(&'a [(&'a str, String)]),
    /// The query of a page's `next`, unchanged.
    Raw(&'a str),
}

impl<'a> Call<'a> {
    pub(crate) fn get(path: &'a str) -> Self {
        Self {
            method: Method::GET,
            path,
            query: Query::Pairs(&[]),
            body: None,
            idempotency: Idempotency::Idempotent,
            at_most: MAX_ANSWER,
            slot: None,
        }
    }

    pub(crate) fn what(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// A name as one segment of a URL's path: everything but unreserved characters is percent-encoded.
///
/// A subject called `a/b` must not reach another endpoint. `.` and `..` mean folders even when encoded (so says the
/// URL standard), so callers that pass names typed by users must refuse those: see `find_member`.
pub(crate) fn segment(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'.') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_segment_of_the_path() {
        assert_eq!(segment("KS014"), "KS014");
        assert_eq!(segment("a/b?c#d e"), "a%2Fb%3Fc%23d%20e");
        assert_eq!(segment("SWC_0.1"), "SWC_0.1");
    }
}
