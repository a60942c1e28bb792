//! Lists: read page by page, until their records add up.

use std::collections::HashSet;

use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::error::Error;
use crate::records::page::{Page, RecordMark, digest};
use crate::transport::call::{Call, Query};

/// Limit on the pages of one list.
const MAX_PAGES: usize = 10_000;
/// Limit on the sum of a list, in bytes: the records of 300,000 datasets.
const MAX_LIST: usize = 512 << 20;
/// Limit on the different records of a list: a server may send small ones without end, or name any number, and must not cause
/// as many requests.
const MAX_RECORDS: u64 = 300_000;
/// Limit on the memory of the records that a list keeps, in bytes.
const MAX_KEPT: usize = 128 << 20;
/// How often a list is read whose records do not add up.
const MAX_READS: usize = 3;
/// The largest page that Alyx returns, whatever `limit` asks for.
pub(crate) const MAX_PAGE_SIZE: u64 = 1000;

/// The records that were read so far.
#[derive(Default)]
struct ListReader {
    /// Digests of their identities.
    seen: HashSet<u64>,
    bytes: usize,
}

impl Client {
    /// Reads a list, and keeps its records.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Vec<T>, Error> {
        self.list_kept(path, query, |mark, record| Some((mark.memory, record))).await
    }

    /// Reads a list, and keeps the records that are asked for: a server that does not know a filter returns everything.
    pub(super) async fn list_where<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
        is_wanted: impl Fn(&T) -> bool,
    ) -> Result<Vec<T>, Error> {
        let keep = |mark: RecordMark, record| is_wanted(&record).then_some((mark.memory, record));
        self.list_kept(path, query, keep).await
    }

    /// Reads a list, and keeps what `keep` makes of each record, with the bytes of memory that this takes.
    pub(super) async fn list_kept<T: DeserializeOwned, R>(
        &self,
        path: &str,
        query: &[(&str, String)],
        mut keep: impl FnMut(RecordMark, T) -> Option<(usize, R)>,
    ) -> Result<Vec<R>, Error> {
        let (mut kept, mut memory) = (Vec::new(), 0_usize);
        let take = |mark, record| {
            if let Some((bytes, record)) = keep(mark, record) {
                memory = memory.saturating_add(bytes);
                if memory <= MAX_KEPT {
                    kept.push(record);
                }
            }
        };
        self.for_each_marked(path, query, take).await?;
        if memory > MAX_KEPT {
            return Err(Error::NotAlyx {
                what: format!("GET {path}"),
                reason: format!("a list of more than {} MB", MAX_KEPT >> 20),
            });
        }
        Ok(kept)
    }

    /// As [`for_each_marked`](Self::for_each_marked), without the marks.
    pub(super) async fn for_each<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
        mut take: impl FnMut(T),
    ) -> Result<(), Error> {
        self.for_each_marked(path, query, |_, record| take(record)).await
    }

    /// Reads a list and hands each of its records on, once.
    ///
    /// Where Alyx does not sort a list, two pages may overlap, and records between them are missed. So there must be as many
    /// different records as `count` says; if not, the list is read again.
    async fn for_each_marked<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
        mut take: impl FnMut(RecordMark, T),
    ) -> Result<(), Error> {
        let mut list = ListReader::default();
        for _ in 0..MAX_READS {
            let count = self.read_pages(path, query, &mut list, &mut take).await?;
            if list.adds_up(count) {
                return Ok(());
            }
        }
        does_not_add_up(path, &list)
    }

    /// As [`for_each`](Self::for_each), for datasets, which Alyx does not sort. If its pages do not add up, the list is read
    /// in ranges of ids that fit into one page each, where the order does not matter.
    pub(super) async fn for_each_dataset<T: DeserializeOwned>(
        &self,
        query: &[(&str, String)],
        mut take: impl FnMut(T),
    ) -> Result<(), Error> {
        let (path, mut list) = ("/datasets", ListReader::default());
        let mut take = |_: RecordMark, record| take(record);
        let query = [query, &[("limit", MAX_PAGE_SIZE.to_string())]].concat();
        let mut count = self.read_pages(path, &query, &mut list, &mut take).await?;
        for _ in 1..MAX_READS {
            if list.adds_up(count) {
                return Ok(());
            }
            if count > Some(MAX_RECORDS) {
                break;
            }
            tracing::debug!(
                count,
                read = list.seen.len(),
                "the pages of a list do not add up; reading it in parts"
            );
            let mut sum = Some(0);
            for range in ranges(count.unwrap_or_default()) {
                let query = [query.as_slice(), &[("django", range)]].concat();
                let part = self.read_pages(path, &query, &mut list, &mut take).await?;
                sum = sum.zip(part).map(|(sum, part)| sum + part);
            }
            count = sum;
        }
        if list.adds_up(count) { Ok(()) } else { does_not_add_up(path, &list) }
    }

    /// Reads one page of a list, and hands its records on. Returns whether there are more.
    pub(super) async fn one_page<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
        mut take: impl FnMut(T),
    ) -> Result<bool, Error> {
        let what = format!("GET {path}");
        let answer = self.send(Call { query: Query::Pairs(query), ..Call::get(path) }).await?;
        let page = Page::parse(&answer.body, |_, record| take(record))
            .map_err(|error| self.explained(answer.unparsed(&error, &what)))?;
        let page = page.ok_or_else(|| Error::NotAlyx { what, reason: "no list".to_owned() })?;
        Ok(page.next.is_some())
    }

    /// Reads all pages once; returns the `count` of the last one.
    async fn read_pages<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
        list: &mut ListReader,
        take: &mut impl FnMut(RecordMark, T),
    ) -> Result<Option<u64>, Error> {
        let what = format!("GET {path}");
        let not_alyx = |reason: &str| Error::NotAlyx { what: what.clone(), reason: reason.to_owned() };
        let (mut next, mut asked) = (None::<String>, HashSet::new());
        loop {
            let query = next.as_deref().map_or(Query::Pairs(query), Query::Raw);
            let answer = self.send(Call { query, ..Call::get(path) }).await?;
            list.bytes += answer.body.len();
            if list.bytes > MAX_LIST {
                return Err(not_alyx(&format!("a list of more than {} MB", MAX_LIST >> 20)));
            }
            let take = |mark: RecordMark, record| {
                if list.seen.insert(mark.identity) {
                    take(mark, record);
                }
            };
            let page = Page::parse(&answer.body, take)
                .map_err(|error| self.explained(answer.unparsed(&error, &what)))?;
            let page = page.ok_or_else(|| not_alyx("no list"))?;
            if list.seen.len() as u64 > MAX_RECORDS {
                return Err(not_alyx(&format!("a list of more than {MAX_RECORDS} records")));
            }
            let Some(query) = page.next else { return Ok(page.count) };
            // A page that names itself, or an empty one that names another, has no end either.
            if page.rows == 0 || asked.len() >= MAX_PAGES || !asked.insert(digest(&query)) {
                return Err(not_alyx("the list does not end"));
            }
            next = Some(query);
        }
    }
}

impl ListReader {
    /// More than `count`: some were deleted meanwhile.
    fn adds_up(&self, count: Option<u64>) -> bool {
        count.is_none_or(|count| self.seen.len() as u64 >= count)
    }
}

fn does_not_add_up(path: &str, list: &ListReader) -> Result<(), Error> {
    Err(Error::NotAlyx {
        what: format!("GET {path}"),
        reason: format!("the pages of its list do not add up: {} different records", list.seen.len()),
    })
}

/// Conditions that divide datasets by the first digits of their ids, which are random, into parts of half a page.
fn ranges(count: u64) -> Vec<String> {
    let digits = (1..4).find(|digits| (MAX_PAGE_SIZE / 2) << (4 * digits) >= count).unwrap_or(4);
    let id = |first: u32| {
        let start = format!("{first:0width$x}", width = digits);
        format!("{start:0<8}-0000-0000-0000-000000000000")
    };
    let last = (1_u32 << (4 * digits)) - 1;
    let below = |first: u32| if first < last { format!(",id__lt,{}", id(first + 1)) } else { String::new() };
    (0..=last).map(|first| format!("id__gte,{}{}", id(first), below(first))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ids_leave_nothing_out() {
        let of = |count| {
            let ranges = ranges(count);
            (ranges.len(), ranges.first().cloned().unwrap(), ranges.last().cloned().unwrap())
        };
        let zero = "00000000-0000-0000-0000-000000000000";
        let (n, first, last) = of(1001);
        assert_eq!((n, last.as_str()), (16, "id__gte,f0000000-0000-0000-0000-000000000000"));
        assert_eq!(first, format!("id__gte,{zero},id__lt,10000000-0000-0000-0000-000000000000"));
        let (n, first, _) = of(100_000);
        assert_eq!((n, first), (256, format!("id__gte,{zero},id__lt,01000000-0000-0000-0000-000000000000")));
        assert_eq!(of(u64::MAX).0, 65_536);
    }
}
