//! One request as it is written, and what its answer is turned into.

use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Error;
use crate::retry::Idempotency;

/// One request, as often as it is sent.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// Path below the base URL, with a leading slash; every variable part already encoded by [`segment`].
    pub(super) path: &'a str,
    pub(super) query: Query<'a>,
    pub(super) body: Option<&'a Value>,
    pub(super) idempotency: Idempotency,
    /// The first time it is sent, its turn has come.
    pub(super) turn: Option<RequestSlot>,
}

/// The turn of one request that has been waited for: the request goes out at once.
#[derive(Debug)]
pub struct RequestSlot(pub(super) ());

/// The query of a request.
pub(super) enum Query<'a> {
    Pairs(&'a [(&'a str, String)]),
    /// As the server wrote it in a page's `next`.
    Raw(&'a str),
}

impl<'a> Call<'a> {
    pub(super) fn get(path: &'a str) -> Self {
        Self {
            method: Method::GET,
            path,
            query: Query::Pairs(&[]),
            body: None,
            idempotency: Idempotency::Idempotent,
            turn: None,
        }
    }

    pub(super) fn what(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// A name as one segment of a URL's path: everything but unreserved characters is percent-encoded.
///
/// A subject called `a/b` must not reach another endpoint. `.` and `..` mean folders even when encoded (the URL
/// standard says so), so whoever takes names from people has to keep those out: see `find_member`.
pub(super) fn segment(name: &str) -> String {
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

/// Reads a value as a record.
pub(super) fn typed<T: DeserializeOwned>(value: Value, what: &str) -> Result<T, Error> {
    serde_json::from_value(value).map_err(|error| {
        // What follows a quotation mark is the server's own text, which may repeat anything.
        let said = error.to_string();
        let reason = format!("unexpected record: {}", said.split('"').next().unwrap_or_default().trim_end());
        Error::NotAlyx { what: what.to_owned(), reason }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_none_is_told_without_what_stands_in_it() {
        let told = |value: Value| typed::<u32>(value, "GET /x").unwrap_err().to_string();
        assert!(told("secret".into()).contains("invalid type: string)"), "{}", told("secret".into()));
        assert!(told(Value::Null).contains("invalid type: null, expected u32"), "{}", told(Value::Null));
    }

    #[test]
    fn a_name_cannot_leave_its_segment_of_the_path() {
        assert_eq!(segment("KS014"), "KS014");
        assert_eq!(segment("a/b?c#d e"), "a%2Fb%3Fc%23d%20e");
        assert_eq!(segment("SWC_0.1"), "SWC_0.1");
    }
}
