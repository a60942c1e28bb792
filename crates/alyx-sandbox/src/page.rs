//! Pages of a list, as Django's REST framework cuts them: `limit` and `offset`, 250 a page, never more than 1000.

use serde_json::{Value, json};

use crate::message::{Answer, Request, Stop};

const PAGE: u64 = 250;
const MOST: u64 = 1000;

/// Answers one page; `fetch` reads the records from an offset on, so many at most.
pub(super) fn page(
    request: &Request,
    count: u64,
    fetch: impl FnOnce(u64, u64) -> Result<Vec<Value>, Stop>,
) -> Result<Answer, Stop> {
    // What is not a number, or no sensible one, counts as not given.
    let limit = number(request, "limit").filter(|n| *n > 0).map_or(PAGE, |n| n.min(MOST));
    let offset = number(request, "offset").unwrap_or(0);
    let next = (offset + limit < count).then(|| link(request, limit, Some(offset + limit)));
    let previous = match offset {
        0 => None,
        n if n <= limit => Some(link(request, limit, None)),
        n => Some(link(request, limit, Some(n - limit))),
    };
    let results = if offset >= count { Vec::new() } else { fetch(limit, offset)? };
    Ok(Answer::json(200, json!({"count": count, "next": next, "previous": previous, "results": results})))
}

fn number(request: &Request, name: &str) -> Option<u64> {
    request.param(name)?.parse().ok()
}

/// The absolute URL of another page, its parameters sorted, as Django writes it.
fn link(request: &Request, limit: u64, offset: Option<u64>) -> String {
    let mut query: Vec<(String, String)> =
        request.query.iter().filter(|(k, _)| k != "limit" && k != "offset").cloned().collect();
    query.push(("limit".into(), limit.to_string()));
    query.extend(offset.map(|n| ("offset".into(), n.to_string())));
    query.sort();
    let pairs: Vec<String> =
        query.iter().map(|(k, v)| format!("{}={}", quote(k, true), quote(v, true))).collect();
    format!("{}{}?{}", request.base, request.path, pairs.join("&"))
}

/// Percent-encodes text for a query (a space becomes `+`) or for a path.
pub(super) fn quote(text: &str, query: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => out.push(char::from(byte)),
            b' ' if query => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Undoes percent-encoding, and `+` in a query. What is not UTF-8 is replaced.
pub(super) fn unquote(text: &str, query: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while let Some(byte) = bytes.get(i) {
        let hex = text.get(i + 1..i + 3).and_then(|h| u8::from_str_radix(h, 16).ok());
        match (byte, hex) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                i += 3;
                continue;
            }
            (b'+', _) if query => out.push(b' '),
            _ => out.push(*byte),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The pairs of a query string or of a form.
pub(super) fn pairs(text: &str) -> Vec<(String, String)> {
    let split = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (unquote(key, true), unquote(value, true))
    };
    text.split('&').filter(|p| !p.is_empty()).map(split).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Body, Content};

    fn links(query: &str, count: u64) -> (Value, Value) {
        let request = Request {
            method: "GET".into(),
            path: "/sessions".into(),
            query: pairs(query),
            base: "http://alyx.test".into(),
            authorization: None,
            body: Body::Data(json!({})),
            now: String::new(),
        };
        match page(&request, count, |_, _| Ok(Vec::new())).unwrap().content {
            Content::Json(v) => (v["next"].clone(), v["previous"].clone()),
            _ => panic!("a page is JSON"),
        }
    }

    #[test]
    fn links_to_other_pages_keep_the_filters_and_sort_them() {
        let (next, previous) = links("subject=a+b&limit=2&offset=3", 9);
        assert_eq!(next, "http://alyx.test/sessions?limit=2&offset=5&subject=a+b");
        assert_eq!(previous, "http://alyx.test/sessions?limit=2&offset=1&subject=a+b");
        assert_eq!(links("limit=2&offset=2", 4).1, "http://alyx.test/sessions?limit=2");
    }

    #[test]
    fn a_limit_that_is_no_number_is_250() {
        assert_eq!(links("limit=abc&offset=-1", 251).0, "http://alyx.test/sessions?limit=250&offset=250");
        assert_eq!(links("limit=5000", 1000).0, Value::Null, "1000 is the most");
    }
}
