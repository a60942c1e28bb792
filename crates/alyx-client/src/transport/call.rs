//! One request before it is sent, and the parsing of its answer.

use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Error;
use crate::transport::retry::Idempotency;

/// One request. It may be sent several times.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// Path below the base URL, with a leading slash; every variable part already encoded by [`segment`].
    pub(crate) path: &'a str,
    pub(crate) query: Query<'a>,
    pub(crate) body: Option<&'a Value>,
    pub(crate) idempotency: Idempotency,
    /// A slot of the rate limit that was acquired in advance; the first send uses it.
    pub(crate) slot: Option<RequestSlot>,
}

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

/// Deserializes a record.
pub(crate) fn parse_record<T: DeserializeOwned>(value: Value, what: &str) -> Result<T, Error> {
    serde_json::from_value(value).map_err(|error| {
        // From the first quotation mark on, the message quotes the server's text, which may repeat a secret.
        let message = error.to_string();
        let reason =
            format!("unexpected record: {}", message.split('"').next().unwrap_or_default().trim_end());
        Error::NotAlyx { what: what.to_owned(), reason }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unexpected_record_is_reported_without_its_content() {
        let message = |value: Value| parse_record::<u32>(value, "GET /x").unwrap_err().to_string();
        assert!(message("secret".into()).contains("invalid type: string)"), "{}", message("secret".into()));
        assert!(
            message(Value::Null).contains("invalid type: null, expected u32"),
            "{}",
            message(Value::Null)
        );
    }

    #[test]
    fn a_name_cannot_leave_its_segment_of_the_path() {
        assert_eq!(segment("KS014"), "KS014");
        assert_eq!(segment("a/b?c#d e"), "a%2Fb%3Fc%23d%20e");
        assert_eq!(segment("SWC_0.1"), "SWC_0.1");
    }
}
