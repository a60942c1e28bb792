//! A page of a list, as Alyx sends it: parsed from its bytes, one record after another. Pure.

use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::transport::reply::{MAX_VALUES, count_values};

/// What a page says beside its records.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Page {
    /// How many records the whole list has; an older server does not say.
    pub(crate) count: Option<u64>,
    /// The query string of the next page, without `?`.
    pub(crate) next: Option<String>,
    /// The records of this page.
    pub(crate) rows: usize,
    /// Whether it is a list at all.
    is_list: bool,
}

impl Page {
    /// Parses `{count, next, previous, results}`, or the bare list of an older server. `None` for anything else.
    ///
    /// Each record goes to `take` with its mark before the next one is parsed, so that a page costs no more
    /// memory than its bytes and what `take` keeps. Only the query of `next` is kept: behind a proxy the server does not
    /// know its own host, so the host is wrong.
    ///
    /// # Errors
    /// The text is no JSON, or a record is not what is expected.
    pub(crate) fn parse<T: DeserializeOwned>(
        body: &[u8],
        mut take: impl FnMut(RecordMark, T),
    ) -> Result<Option<Self>, serde_json::Error> {
        let mut json = serde_json::Deserializer::from_slice(body);
        let page = PageVisitor { take: &mut take, of: PhantomData }.deserialize(&mut json)?;
        json.end()?;
        Ok(page.is_list.then_some(page))
    }
}

/// What a list knows of a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordMark {
    /// A digest by which the record is known again.
    pub(crate) identity: u64,
    /// How many bytes of memory the record takes at most, if all of it is kept.
    pub(crate) memory: usize,
}

/// The memory of a value beside its text, in bytes.
const VALUE_SIZE: usize = 256;

/// Reads a page, or only its records.
struct PageVisitor<'a, T, F> {
    take: &'a mut F,
    of: PhantomData<T>,
}

impl<'de, T: DeserializeOwned, F: FnMut(RecordMark, T)> DeserializeSeed<'de> for PageVisitor<'_, T, F> {
    type Value = Page;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Page, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, T: DeserializeOwned, F: FnMut(RecordMark, T)> Visitor<'de> for PageVisitor<'_, T, F> {
    type Value = Page;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut records: A) -> Result<Page, A::Error> {
        let mut rows = 0;
        while let Some(raw) = records.next_element::<&RawValue>()? {
            let text = raw.get().as_bytes();
            let n_values = count_values(text);
            if n_values > MAX_VALUES {
                return Err(A::Error::custom(format!("a record of more than {MAX_VALUES} values")));
            }
            let mark = RecordMark { identity: identity(raw), memory: text.len() + VALUE_SIZE * n_values };
            (self.take)(mark, serde_json::from_str(raw.get()).map_err(A::Error::custom)?);
            rows += 1;
        }
        Ok(Page { rows, is_list: true, ..Page::default() })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Page, A::Error> {
        let mut page = Page::default();
        while let Some(key) = fields.next_key::<Cow<'_, str>>()? {
            match key.as_ref() {
                "count" => page.count = fields.next_value()?,
                "next" => {
                    let next: Option<String> = fields.next_value()?;
                    page.next = next.and_then(|url| Some(url.split_once('?')?.1.to_owned()));
                }
                "results" => {
                    let records = fields
                        .next_value_seed(PageVisitor { take: &mut *self.take, of: PhantomData::<T> })?;
                    (page.rows, page.is_list) = (records.rows, records.is_list);
                }
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(page)
    }

    fn visit_str<E>(self, _: &str) -> Result<Page, E> {
        Ok(Page::default())
    }

    fn visit_unit<E>(self) -> Result<Page, E> {
        Ok(Page::default())
    }
}

/// The fields of which one names a record. A name does not: two labs may have a location of the same name.
#[derive(Deserialize)]
struct Identity<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    url: Option<Cow<'a, str>>,
}

/// A digest by which a record is known again, even if another field of it has changed since.
fn identity(raw: &RawValue) -> u64 {
    let known = serde_json::from_str::<Identity<'_>>(raw.get()).ok();
    let name = known.and_then(|known| known.id.or(known.url));
    digest(name.as_deref().unwrap_or(raw.get()))
}

/// A digest of a text.
pub(crate) fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn parse(body: &str) -> (Option<Page>, Vec<Value>) {
        let mut records = Vec::new();
        let page = Page::parse(body.as_bytes(), |_, record| records.push(record)).unwrap();
        (page, records)
    }

    #[test]
    fn only_the_query_of_the_next_page_is_kept() {
        let (page, records) =
            parse(r#"{"count": 3, "next": "http://inside:8000/x?limit=2&offset=2", "results": [1, 2]}"#);
        let page = page.unwrap();
        assert_eq!((page.count, page.next.as_deref(), page.rows), (Some(3), Some("limit=2&offset=2"), 2));
        assert_eq!(records, [1, 2]);
    }

    #[test]
    fn an_older_server_answers_with_a_bare_list() {
        let (page, records) = parse("[1]");
        assert_eq!((page.unwrap().count, records.len()), (None, 1));
        for text in ["\"x\"", "null", r#"{"detail": "x"}"#, r#"{"results": "x"}"#, r#"{"results": null}"#] {
            assert_eq!(parse(text).0, None, "{text}");
        }
    }

    #[test]
    fn a_record_that_has_changed_is_still_the_same() {
        let mut seen = Vec::new();
        let text = r#"[{"url": "a", "n": 1}, {"url": "a", "n": 2}, {"id": "a\u0062", "url": "a"}, {"id": "ab"},
            {"name": "x", "lab": "a"}, {"name": "x", "lab": "b"}]"#;
        Page::parse::<Value>(text.as_bytes(), |mark, _| seen.push(mark.identity)).unwrap();
        let same: Vec<bool> = seen.windows(2).map(|pair| pair[0] == pair[1]).collect();
        assert_eq!(same, [true, false, true, false, false]);
    }
}
