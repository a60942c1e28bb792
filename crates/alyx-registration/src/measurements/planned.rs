//! A measurement before and after it is recorded, and which records count as the same one.

use crate::error::Error;
use crate::measurements::plausible;
use crate::measurements::post_once::post_once;

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
#[derive(Debug, Clone, Copy)]
pub(super) struct Repeats {
    /// Whether the time was not given, so that the same measurement, entered again, has another one.
    pub(super) is_now: bool,
    /// Whether it is recorded all the same.
    pub(super) allowed: bool,
}

/// Compares a request with the records that differ from it in their time at most. Pure.
pub(super) fn planned<Request, Record: Clone>(
    request: Request,
    time: &str,
    records: &[(&str, &Record)],
    repeats: Repeats,
) -> PlannedMeasurement<Request, Record> {
    let n_equal = records.iter().filter(|(at, _)| plausible::is_same_time(at, time)).count();
    let repeated = records.iter().find(|(at, _)| match repeats.is_now {
        true => plausible::is_within_minutes(at, time),
        false => plausible::is_same_time(at, time),
    });
    let recorded = repeated.filter(|_| !repeats.allowed).map(|(_, record)| (*record).clone());
    PlannedMeasurement { request, recorded, notes: Vec::new(), n_equal }
}

impl<Request, Record> PlannedMeasurement<Request, Record> {
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
pub(super) fn nth_at<Record: Clone>(
    records: &[(&str, &Record)],
    time: &str,
    n_equal: usize,
) -> Option<Record> {
    let equal = records.iter().filter(|(at, _)| plausible::is_same_time(at, time));
    equal.map(|(_, record)| (*record).clone()).nth(n_equal)
}

/// Posts a record, unless it is on Alyx already.
pub(super) async fn record_once<T>(
    recorded: Option<T>,
    notes: Vec<String>,
    what: &str,
    post: impl AsyncFn() -> Result<T, alyx_client::Error>,
    find: impl AsyncFn() -> Result<Option<T>, alyx_client::Error>,
) -> Result<RecordedMeasurement<T>, Error> {
    match recorded {
        Some(record) => Ok(RecordedMeasurement { record, is_new: false, notes }),
        None => {
            let record = post_once(what, post, find).await?;
            Ok(RecordedMeasurement { record, is_new: true, notes })
        }
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
