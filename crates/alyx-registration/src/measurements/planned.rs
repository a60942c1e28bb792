//! A measurement before and after it is recorded, and which records count as the same one.

use std::time::Duration;

use serde::Serialize;

use crate::client::RegistrationClient;
use crate::error::Error;
use crate::measurements::plausible;
use crate::measurements::post_once::post_once;
use crate::session::request_marks::RECHECK_INTERVAL;

/// A measurement that was checked and is not recorded yet.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedMeasurement<Request, Record> {
    /// What would be sent.
    pub request: Request,
    /// The same measurement, if Alyx has it already: then nothing is sent.
    pub recorded: Option<Record>,
    /// What is doubtful about the value, or could not be compared, one line each.
    pub notes: Vec<String>,
    /// How many equal records Alyx has. After a lost answer, one more shows that it was recorded.
    pub(super) n_equal: usize,
    pub(super) repeats: Repeats,
}

/// A measurement that is on Alyx.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedMeasurement<Record> {
    /// Its record.
    pub record: Record,
    /// Whether this call recorded it; otherwise it was on Alyx already.
    pub is_new: bool,
    /// What is doubtful about the value, or could not be compared, one line each.
    pub notes: Vec<String>,
}

/// Which records count as the same measurement as a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeats {
    /// Whether the time was not given, so that the same measurement, entered again, has another one.
    pub(super) is_now: bool,
    /// Whether it is recorded all the same.
    pub(super) allowed: bool,
    /// How many equal records there are once it is recorded: a list may hold the same drink twice.
    pub(super) copies: usize,
}

/// Compares a request with the records that differ from it in their time at most. Pure.
pub(super) fn planned<Request, Record: Clone>(
    request: Request,
    time: &str,
    records: &[(&str, &Record)],
    repeats: Repeats,
) -> PlannedMeasurement<Request, Record> {
    let n_equal = records.iter().filter(|(at, _)| plausible::is_same_time(at, time)).count();
    let recorded = repeats.last_of(time, records).filter(|_| !repeats.allowed);
    PlannedMeasurement { request, recorded, notes: Vec::new(), n_equal, repeats }
}

impl Repeats {
    /// A measurement that is recorded once.
    pub(super) fn once(is_now: bool, allowed: bool) -> Self {
        Self { is_now, allowed, copies: 1 }
    }

    /// The last of as many equal records as there should be. Pure.
    fn last_of<Record: Clone>(self, time: &str, records: &[(&str, &Record)]) -> Option<Record> {
        self.of(time, records).nth(self.copies.saturating_sub(1))
    }

    /// The records that count as the same measurement. Pure.
    fn of<Record: Clone>(self, time: &str, records: &[(&str, &Record)]) -> impl Iterator<Item = Record> {
        let is_same = move |at: &str| match self.is_now {
            true => plausible::is_within_minutes(at, time),
            false => plausible::is_same_time(at, time),
        };
        records.iter().filter(move |(at, _)| is_same(at)).map(|(_, record)| (*record).clone())
    }
}

impl<Request, Record> PlannedMeasurement<Request, Record> {
    /// One more than those that Alyx has, after `planned` equal ones that are recorded before it.
    pub(super) fn one_more(self, planned: usize) -> Self {
        let repeats = Repeats { copies: self.n_equal + planned + 1, ..self.repeats };
        Self { recorded: None, repeats, ..self }
    }

    /// Adds what is doubtful, or refuses it. What is on Alyx already is not judged.
    pub(super) fn judged(
        mut self,
        doubts: impl IntoIterator<Item = String>,
        incomparable: Option<String>,
        strict: bool,
    ) -> Result<Self, Error> {
        if self.recorded.is_some() {
            return Ok(self);
        }
        let doubts: Vec<String> = doubts.into_iter().collect();
        if strict && !doubts.is_empty() {
            return Err(Error::Implausible(doubts.join(" ")));
        }
        self.notes = doubts.into_iter().chain(incomparable).collect();
        Ok(self)
    }
}

/// The record that came after `n_equal` equal ones. Pure.
fn nth_at<Record: Clone>(records: &[(&str, &Record)], time: &str, n_equal: usize) -> Option<Record> {
    let equal = records.iter().filter(|(at, _)| plausible::is_same_time(at, time));
    equal.map(|(_, record)| (*record).clone()).nth(n_equal)
}

/// A kind of measurement on Alyx.
pub(super) trait Measurement: Serialize {
    type Record: Clone;
    /// `the water of KS014`.
    fn what(&self) -> String;
    /// When it was made.
    fn time(&self) -> &str;
    /// The same, whenever it was made.
    fn without_time(&self) -> Self;
    /// The records of Alyx that differ from it in their time at most.
    fn like<'a>(&self, records: &'a [Self::Record]) -> Vec<(&'a str, &'a Self::Record)>;
}

impl RegistrationClient {
    /// Posts a measurement, unless it is on Alyx already.
    ///
    /// Two programs that are given the same measurement in the same instant both plan to record it. So Alyx is asked
    /// again when this one alone on this computer may record it, and once more afterwards.
    pub(super) async fn record_once<M: Measurement>(
        &self,
        planned: PlannedMeasurement<M, M::Record>,
        post: impl AsyncFn() -> Result<M::Record, alyx_client::Error>,
        list: impl AsyncFn() -> Result<Vec<M::Record>, alyx_client::Error>,
    ) -> Result<RecordedMeasurement<M::Record>, Error> {
        let PlannedMeasurement { request, recorded, mut notes, mut n_equal, repeats } = planned;
        if let Some(record) = recorded {
            return Ok(RecordedMeasurement { record, is_new: false, notes });
        }
        let (what, time) = (request.what(), request.time());
        let same = |records: &[M::Record]| repeats.of(time, &request.like(records)).collect::<Vec<_>>();
        let key = serde_json::to_string(&request.without_time())
            .map_err(|e| Error::Internal(format!("{what}: {e}")))?;
        let marked = format!("{what}: {key}");
        let mut claim = self.claim_request(marked.clone()).await?;
        let mark = loop {
            let known = if repeats.allowed { Vec::new() } else { list().await? };
            let like = request.like(&known);
            if !repeats.allowed {
                n_equal = like.iter().filter(|(at, _)| plausible::is_same_time(at, time)).count();
            }
            if let Some(record) = repeats.last_of(time, &like) {
                claim.into_iter().for_each(|mut mark| mark.answered());
                self.context().marks.forget(&marked);
                return Ok(RecordedMeasurement { record, is_new: false, notes });
            }
            let is_free = claim.as_ref().is_ok_and(|mark| repeats.allowed || mark.remaining().is_zero());
            if !is_free {
                self.keep_place(&claim, || format!("recording {what}"))?;
            }
            claim = match claim {
                Ok(mark) if is_free => break mark,
                Ok(mark) => {
                    tracing::info!(
                        "waiting up to {} s: an earlier request may still record {what}",
                        mark.remaining().as_secs()
                    );
                    tokio::time::sleep(mark.remaining().min(RECHECK_INTERVAL)).await;
                    drop(mark);
                    self.claim_request(marked.clone()).await?
                }
                Err(elsewhere) if elsewhere.recheck_in().is_zero() => {
                    self.context().marks.forget(&marked);
                    return Err(Error::SentElsewhere {
                        doing: format!("recording {what}"),
                        left: Duration::ZERO,
                    });
                }
                Err(elsewhere) => self.claim_again(&marked, elsewhere).await?,
            };
        };
        self.context().marks.forget(&marked);
        let find = async || Ok(nth_at(&request.like(&list().await?), time, n_equal));
        let record = post_once(&what, mark, self.alyx().request_timeout(), post, find).await?;
        // What is recorded stays recorded, whether Alyx can be asked or not.
        let n = if repeats.allowed { 1 } else { list().await.map_or(1, |records| same(&records).len()) };
        if n > repeats.copies {
            notes.push(format!(
"Alyx has {n} equal records of {what}: another computer has recorded it too; delete the others on Alyx"
            ));
        }
        Ok(RecordedMeasurement { record, is_new: true, notes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_lost_answer_one_more_record_than_before_is_the_new_one() {
        let records =
            [("2024-05-01T10:00:00", &1), ("2024-05-01T11:00:00", &2), ("2024-05-01T10:00:00.0", &3)];
        assert_eq!(nth_at(&records, "2024-05-01T10:00:00", 0), Some(1));
        assert_eq!(nth_at(&records, "2024-05-01T10:00:00", 1), Some(3));
        assert_eq!(nth_at(&records, "2024-05-01T10:00:00", 2), None);
    }
}
