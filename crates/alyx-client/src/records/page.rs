//! A page of a list, as Alyx sends it. Pure.

use serde_json::Value;

/// One page: its items, and the query of the next page.
#[derive(Debug, PartialEq)]
pub(crate) struct Page {
    pub(crate) items: Vec<Value>,
    /// The query string of the next page, without `?`.
    pub(crate) next: Option<String>,
}

impl Page {
    /// Parses `{count, next, previous, results}`, or the bare list of an older server. `None` for anything else.
    ///
    /// Only the query of `next` is kept: behind a proxy the server does not know its own host, so the host is wrong.
    pub(crate) fn parse(body: Value) -> Option<Self> {
        match body {
            Value::Array(items) => Some(Self { items, next: None }),
            Value::Object(mut fields) => {
                let Some(Value::Array(items)) = fields.remove("results") else { return None };
                let next = match fields.get("next") {
                    Some(Value::String(url)) => url.split_once('?').map(|(_, query)| query.to_owned()),
                    _ => None,
                };
                Some(Self { items, next })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_query_of_the_next_page_is_kept() {
        let page = Page::parse(
            json!({"count": 3, "next": "http://inside:8000/x?limit=2&offset=2", "results": [1, 2]}),
        );
        assert_eq!(
            page,
            Some(Page { items: vec![json!(1), json!(2)], next: Some("limit=2&offset=2".to_owned()) })
        );
    }

    #[test]
    fn an_older_server_answers_with_a_bare_list() {
        assert_eq!(Page::parse(json!([1])), Some(Page { items: vec![json!(1)], next: None }));
        assert_eq!(Page::parse(json!("x")), None);
        assert_eq!(Page::parse(json!({"detail": "x"})), None);
    }
}
