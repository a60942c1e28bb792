//! Pagination of lists, as in Django's REST framework: `limit` and `offset`, 250 records per page, at most 1000.

use serde_json::{Value, json};

use crate::http::message::{Error, Reply, Request};

const DEFAULT_LIMIT: u64 = 250;
const MAX_LIMIT: u64 = 1000;

/// One page of a list; `fetch` reads at most `limit` records from `offset` on.
pub(crate) fn paginate(
    request: &Request,
    count: u64,
    fetch: impl FnOnce(u64, u64) -> Result<Vec<Value>, Error>,
) -> Result<Reply, Error> {
    // An invalid limit or offset is ignored.
    let limit = number(request, "limit").filter(|n| *n > 0).map_or(DEFAULT_LIMIT, |n| n.min(MAX_LIMIT));
    let offset = number(request, "offset").unwrap_or(0);
    let next = (offset + limit < count).then(|| link(request, limit, Some(offset + limit)));
    let previous = match offset {
        0 => None,
        n if n <= limit => Some(link(request, limit, None)),
        n => Some(link(request, limit, Some(n - limit))),
    };
    let results = if offset >= count { Vec::new() } else { fetch(limit, offset)? };
    Ok(Reply::json(200, json!({"count": count, "next": next, "previous": previous, "results": results})))
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
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    format!("{}{}?{query}", request.base, request.path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::message::Body;

    fn links(query: &str, count: u64) -> (Value, Value) {
        let request = Request {
            method: "GET".into(),
            path: "/sessions".into(),
            query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            base: "http://alyx.test".into(),
            authorization: None,
            body: Body::Data(json!({})),
            now: String::new(),
            user: String::new(),
            name: String::new(),
        };
        let reply = paginate(&request, count, |_, _| Ok(Vec::new())).unwrap();
        let page: Value = serde_json::from_str(&reply.body).unwrap();
        (page["next"].clone(), page["previous"].clone())
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
