//! Measurements: water and weight of a subject, each recorded once.
//!
//! Alyx has no uniqueness constraint here: a repeated post is a second drink. So if the answer to a post is lost, its
//! record is searched for before it is posted again, and it is posted again only once.

use std::time::Duration;

use jiff::civil::Date;

use crate::client::RegistrationClient;
use crate::error::Error;
use crate::options::{WaterOptions, WeightOptions};
use crate::plausible::{self, Earlier, Quantity};
use crate::session::reference::SessionReference;
use alf::timestamp::DateInput;
use alyx_client::text::some_of;
use alyx_client::{self, Endpoint, WaterRecord, WaterRequest, WeighingRecord, WeighingRequest};

/// When Alyx is asked for the record after a lost answer: at once, and again when a slow request has had its time.
const CHECK_DELAYS: [Duration; 2] = [Duration::ZERO, Duration::from_secs(2)];

/// A measured value to four significant figures, as Python's `float(f'{value:.4g}')`. Pure.
///
/// # Errors
/// [`Error::Invalid`] for zero, a negative number, NaN or infinity.
fn four_figures(what: &str, value: f64) -> Result<f64, Error> {
    if !(value.is_finite() && value > 0.0) {
        return Err(Error::Invalid(format!("{what} must be greater than zero, not {value}")));
    }
    let written = format!("{value:.3e}");
    written.parse().map_err(|_| Error::Internal(format!("{written} is not a number")))
}

/// Whether a request may have been carried out although it failed. A proxy may answer 502 or 504 after the server
/// behind it has done the work.
fn maybe_done(error: &alyx_client::Error) -> bool {
    match error {
        alyx_client::Error::Unreachable { maybe_done, .. } => *maybe_done,
        alyx_client::Error::Busy { status, .. } => *status != 429,
        alyx_client::Error::Server { .. } | alyx_client::Error::NotAlyx { .. } => true,
        _ => false,
    }
}

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
    n_equal: usize,
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
struct Repeats {
    /// Whether the time was not given, so that the same measurement, entered again, has another one.
    is_now: bool,
    /// Whether it is recorded all the same.
    allowed: bool,
}

/// Compares a request with the records that differ from it in their time at most. Pure.
fn planned<Request, Record: Clone>(
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
    fn judged(
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

fn waters(records: &[WaterRecord]) -> Earlier<'_> {
    records
        .iter()
        .filter_map(|record| Some((record.date_time.as_str(), record.water_administered?)))
        .collect()
}

fn weights(records: &[WeighingRecord]) -> Earlier<'_> {
    records.iter().filter_map(|record| Some((record.date_time.as_str(), record.weight?))).collect()
}

/// The water administrations that differ from a request in their time at most.
fn like_water<'a>(records: &'a [WaterRecord], request: &WaterRequest) -> Vec<(&'a str, &'a WaterRecord)> {
    let is_like = |record: &&WaterRecord| {
        record.water_administered == request.water_administered
            && record.user.as_deref() == Some(request.user.as_str())
            && record.water_type.as_deref() == Some(request.water_type.as_str())
            && record.adlib == request.adlib
            && record.session == request.session
    };
    records.iter().filter(is_like).map(|record| (record.date_time.as_str(), record)).collect()
}

/// The weighings that differ from a request in their time at most.
fn like_weight<'a>(
    records: &'a [WeighingRecord],
    request: &WeighingRequest,
) -> Vec<(&'a str, &'a WeighingRecord)> {
    let is_like = |record: &&WeighingRecord| {
        record.weight == Some(request.weight) && record.user.as_deref() == Some(request.user.as_str())
    };
    records.iter().filter(is_like).map(|record| (record.date_time.as_str(), record)).collect()
}

/// The record that came after `n_equal` equal ones. Pure.
fn nth_at<Record: Clone>(records: &[(&str, &Record)], time: &str, n_equal: usize) -> Option<Record> {
    let equal = records.iter().filter(|(at, _)| plausible::is_same_time(at, time));
    equal.map(|(_, record)| (*record).clone()).nth(n_equal)
}

impl RegistrationClient {
    /// Records the water given to a subject (Python: `register_water_administration`).
    ///
    /// `volume` is in millilitres and is rounded to four significant figures. Water ad libitum may have none. What Alyx
    /// has already is not recorded again: the same volume, kind, session and user, at the same time, or, without a time,
    /// within two minutes. [`notes`](RecordedMeasurement::notes) says so if the volume seems to be in another unit.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[doc = include_str!("example_setup.txt")]
    /// use alyx_registration::WaterOptions;
    ///
    /// let given = client.register_water_administration("KS014", 35.10000000235, &WaterOptions::default()).await?;
    /// assert_eq!((given.record.water_administered, given.is_new), (Some(35.1), true));
    /// let again = client.register_water_administration("KS014", 35.1, &WaterOptions::default()).await?;
    /// assert_eq!((again.record, again.is_new), (given.record, false));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Missing`] for a subject or user that Alyx does not know; [`Error::Invalid`] for an unknown kind of water,
    /// a volume that is missing or not greater than zero, an invalid time, or a session that is not on Alyx or is of
    /// another subject or day; [`Error::Implausible`] for a volume that seems to be in another unit, if the options are
    /// [strict](WaterOptions::strict); [`Error::Unsure`] if the answer was lost twice; those of any request.
    pub async fn register_water_administration(
        &self,
        subject: &str,
        volume: impl Into<Option<f64>>,
        options: &WaterOptions<'_>,
    ) -> Result<RecordedMeasurement<WaterRecord>, Error> {
        self.record_water(self.plan_water_administration(subject, volume, options).await?).await
    }

    /// Records a water administration that was planned.
    ///
    /// # Errors
    /// [`Error::Unsure`] if the answer was lost twice; those of the request.
    pub async fn record_water(
        &self,
        planned: PlannedMeasurement<WaterRequest, WaterRecord>,
    ) -> Result<RecordedMeasurement<WaterRecord>, Error> {
        let request = &planned.request;
        let find = async || {
            let records = self.alyx().waters_of(&request.subject).await?;
            Ok(nth_at(&like_water(&records, request), &request.date_time, planned.n_equal))
        };
        let post = async || self.alyx().create_water(request).await;
        let what = format!("the water of {}", request.subject);
        record_once(planned.recorded, planned.notes, &what, post, find).await
    }

    /// What [`register_water_administration`](Self::register_water_administration) would do. Everything is checked,
    /// nothing is recorded.
    ///
    /// # Errors
    /// As [`register_water_administration`](Self::register_water_administration), up to the first post.
    pub async fn plan_water_administration(
        &self,
        subject: &str,
        volume: impl Into<Option<f64>>,
        options: &WaterOptions<'_>,
    ) -> Result<PlannedMeasurement<WaterRequest, WaterRecord>, Error> {
        let water_administered =
            volume.into().map(|volume| four_figures("a water volume", volume)).transpose()?;
        if water_administered.is_none() && !options.adlib {
            return Err(Error::Invalid(
                "a water volume is missing; only water ad libitum may have none".into(),
            ));
        }
        let time = self.session_time(options.date_time.unwrap_or(DateInput::Now))?;
        let user = self.subject_and_user(subject, options.user.as_deref()).await?;
        let water_type = self.water_type(options.water_type.as_deref().unwrap_or("Water")).await?;
        let session = match &options.session {
            Some(session) => Some(self.session_of_subject(session, subject, time.date()).await?),
            None => None,
        };
        let request = WaterRequest {
            subject: subject.to_owned(),
            date_time: time.to_iso(),
            water_administered,
            water_type,
            user,
            adlib: options.adlib,
            session,
        };
        let records = self.alyx().waters_of(subject).await?;
        let repeats = Repeats { is_now: options.date_time.is_none(), allowed: options.repeat };
        let (like, time) = (like_water(&records, &request), request.date_time.clone());
        let planned = planned(request, &time, &like, repeats);
        let Some(volume) = water_administered else { return Ok(planned) };
        let earlier = waters(&records);
        let doubts = [
            plausible::wrong_unit(Quantity::Water, subject, volume, &earlier),
            plausible::more_than_weight(subject, volume, &weights(&self.alyx().weighings_of(subject).await?)),
        ];
        let incomparable = plausible::nothing_to_compare(Quantity::Water, subject, &earlier);
        planned.judged(doubts.into_iter().flatten(), incomparable, options.strict)
    }

    /// Records the weight of a subject (Python: `register_weight`).
    ///
    /// `weight` is in grams and is rounded to four significant figures. What Alyx has already is not recorded again, as
    /// for [`register_water_administration`](Self::register_water_administration).
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[doc = include_str!("example_setup.txt")]
    /// use alyx_registration::WeightOptions;
    ///
    /// let options = WeightOptions { date_time: Some("2024-05-01T10:00:00".into()), ..Default::default() };
    /// let record = client.register_weight("KS014", 21.23456, &options).await?.record;
    /// assert_eq!((record.weight, record.date_time.as_str()), (Some(21.23), "2024-05-01T10:00:00"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`register_water_administration`](Self::register_water_administration).
    pub async fn register_weight(
        &self,
        subject: &str,
        weight: f64,
        options: &WeightOptions<'_>,
    ) -> Result<RecordedMeasurement<WeighingRecord>, Error> {
        self.record_weight(self.plan_weight(subject, weight, options).await?).await
    }

    /// Records a weight that was planned.
    ///
    /// # Errors
    /// As [`record_water`](Self::record_water).
    pub async fn record_weight(
        &self,
        planned: PlannedMeasurement<WeighingRequest, WeighingRecord>,
    ) -> Result<RecordedMeasurement<WeighingRecord>, Error> {
        let request = &planned.request;
        let find = async || {
            let records = self.alyx().weighings_of(&request.subject).await?;
            Ok(nth_at(&like_weight(&records, request), &request.date_time, planned.n_equal))
        };
        let post = async || self.alyx().create_weighing(request).await;
        let what = format!("the weight of {}", request.subject);
        record_once(planned.recorded, planned.notes, &what, post, find).await
    }

    /// What [`register_weight`](Self::register_weight) would do. Everything is checked, nothing is recorded.
    ///
    /// # Errors
    /// As [`register_weight`](Self::register_weight), up to the first post.
    pub async fn plan_weight(
        &self,
        subject: &str,
        weight: f64,
        options: &WeightOptions<'_>,
    ) -> Result<PlannedMeasurement<WeighingRequest, WeighingRecord>, Error> {
        let weight = four_figures("a weight", weight)?;
        let date_time = self.ensure_iso8601(options.date_time.unwrap_or(DateInput::Now))?;
        let user = self.subject_and_user(subject, options.user.as_deref()).await?;
        let request = WeighingRequest { subject: subject.to_owned(), date_time, weight, user };
        let records = self.alyx().weighings_of(subject).await?;
        let repeats = Repeats { is_now: options.date_time.is_none(), allowed: options.repeat };
        let (like, time) = (like_weight(&records, &request), request.date_time.clone());
        let earlier = weights(&records);
        let doubts = plausible::wrong_unit(Quantity::Weight, subject, weight, &earlier);
        let incomparable = plausible::nothing_to_compare(Quantity::Weight, subject, &earlier);
        planned(request, &time, &like, repeats).judged(doubts, incomparable, options.strict)
    }

    /// A kind of water that Alyx has.
    ///
    /// # Errors
    /// [`Error::Invalid`] with those that it has.
    async fn water_type(&self, name: &str) -> Result<String, Error> {
        let known = self.alyx().water_types().await?;
        match known.iter().any(|kind| kind == name) {
            true => Ok(name.to_owned()),
            false => Err(Error::Invalid(format!(
                "Alyx has no water type {name:?}; choose one of these, or create it there: {}",
                some_of(&known, ", ")
            ))),
        }
    }

    /// The eid of the session in which something was measured.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not on Alyx, or is of another subject or day.
    async fn session_of_subject(
        &self,
        session: &SessionReference,
        subject: &str,
        day: Date,
    ) -> Result<String, Error> {
        let eid = self.to_eid(session).await?.to_string();
        match self.alyx().session(&eid).await {
            Ok(record) => plausible::of_session(subject, day, &record).map_err(Error::Invalid)?,
            Err(alyx_client::Error::NotFound { .. }) => {
                return Err(Error::Invalid(format!("session {eid} is not on Alyx; create it first")));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(eid)
    }

    /// Checks subject and user, and returns the name of the user.
    async fn subject_and_user(&self, subject: &str, user: Option<&str>) -> Result<String, Error> {
        let user = match user {
            Some(user) => user.to_owned(),
            None => self.alyx().username().await?.to_owned(),
        };
        self.check_names(vec![(Endpoint::Subjects, subject.to_owned()), (Endpoint::Users, user.clone())])
            .await?;
        Ok(user)
    }
}

/// Posts a record, unless it is on Alyx already.
async fn record_once<T>(
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

/// Posts a record. If the answer is lost, searches for the record, and posts it once more only if it is missing.
async fn post_once<T>(
    what: &str,
    post: impl AsyncFn() -> Result<T, alyx_client::Error>,
    find: impl AsyncFn() -> Result<Option<T>, alyx_client::Error>,
) -> Result<T, Error> {
    let mut last = None;
    for _ in 0..2 {
        let lost = match post().await {
            Ok(record) => return Ok(record),
            Err(error) if maybe_done(&error) => error,
            Err(error) => return Err(error.into()),
        };
        for wait in CHECK_DELAYS {
            tokio::time::sleep(wait).await;
            match find().await {
                Ok(Some(record)) => return Ok(record),
                Ok(None) => {}
                // It may have been recorded, so it is not posted again.
                Err(_) => return Err(Error::Unsure { what: what.to_owned(), source: lost }),
            }
        }
        last = Some(lost);
    }
    match last {
        Some(source) => Err(Error::Unsure { what: what.to_owned(), source }),
        None => Err(Error::Internal("nothing was posted".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn lost() -> alyx_client::Error {
        alyx_client::Error::Unreachable {
            url: "http://x".into(),
            reason: "cut".into(),
            maybe_done: true,
            connected: true,
        }
    }

    #[test]
    fn values_have_four_significant_figures() {
        for (value, kept) in
            [(35.10000000235, 35.1), (0.000123456, 0.0001235), (12345.6, 12350.0), (1.0, 1.0)]
        {
            assert_eq!(four_figures("x", value).unwrap(), kept);
        }
    }

    #[test]
    fn only_positive_numbers_are_accepted() {
        for value in [0.0, -0.0, -3.0, f64::NAN, f64::INFINITY] {
            assert!(four_figures("x", value).is_err(), "{value}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_whose_answer_was_lost_is_found_and_not_posted_again() {
        let posts = Cell::new(0);
        let post = async || {
            posts.set(posts.get() + 1);
            Err::<i32, _>(lost())
        };
        assert_eq!(post_once("x", post, async || Ok(Some(7))).await.unwrap(), 7);
        assert_eq!(posts.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_request_is_given_time_before_it_is_posted_again() {
        let (posts, searches) = (Cell::new(0), Cell::new(0));
        let post = async || {
            posts.set(posts.get() + 1);
            Err::<i32, _>(lost())
        };
        let find = async || {
            searches.set(searches.get() + 1);
            Ok((searches.get() == 2).then_some(7))
        };
        assert_eq!(post_once("x", post, find).await.unwrap(), 7);
        assert_eq!(posts.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_record_is_posted_once_more_and_only_once() {
        let posts = Cell::new(0);
        let post = async || {
            posts.set(posts.get() + 1);
            Err::<i32, _>(lost())
        };
        let error = post_once("x", post, async || Ok(None)).await.unwrap_err();
        assert!(matches!(error, Error::Unsure { .. }));
        assert_eq!(posts.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_posted_again_if_the_search_fails() {
        let posts = Cell::new(0);
        let post = async || {
            posts.set(posts.get() + 1);
            Err::<i32, _>(lost())
        };
        let error = post_once("x", post, async || Err(lost())).await.unwrap_err();
        assert!(matches!(error, Error::Unsure { .. }));
        assert_eq!(posts.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_final() {
        let refusal = async || {
            Err::<i32, _>(alyx_client::Error::Refused {
                what: "POST".into(),
                status: 400,
                detail: "no".into(),
            })
        };
        let find = async || panic!("searched");
        assert!(matches!(
            post_once("x", refusal, find).await,
            Err(Error::Alyx(alyx_client::Error::Refused { .. }))
        ));
    }

    #[test]
    fn after_a_lost_answer_one_more_record_than_before_is_the_new_one() {
        let records =
            [("2024-05-01T10:00:00", &1), ("2024-05-01T11:00:00", &2), ("2024-05-01T10:00:00.0", &3)];
        assert_eq!(nth_at(&records, "2024-05-01T10:00:00", 0), Some(1));
        assert_eq!(nth_at(&records, "2024-05-01T10:00:00", 1), Some(3));
        assert_eq!(nth_at(&records, "2024-05-01T10:00:00", 2), None);
    }
}
