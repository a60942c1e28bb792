//! Weighings.

use crate::client::RegistrationClient;
use crate::client::options::WeightOptions;
use crate::error::Error;
use crate::measurements::planned::{Measurement, PlannedMeasurement, RecordedMeasurement, Repeats, planned};
use crate::measurements::plausible::{Earlier, Quantity};
use crate::measurements::{four_figures, plausible, until};
use alf::timestamp::DateInput;
use alyx_client::{WeighingRecord, WeighingRequest};

pub(super) fn weights(records: &[WeighingRecord]) -> Earlier<'_> {
    records.iter().filter_map(|record| Some((record.date_time.as_str(), record.weight?))).collect()
}

impl Measurement for WeighingRequest {
    type Record = WeighingRecord;

    fn what(&self) -> String {
        format!("the weight of {}", self.subject)
    }

    fn time(&self) -> &str {
        &self.date_time
    }

    fn without_time(&self) -> Self {
        Self { date_time: String::new(), ..self.clone() }
    }

    fn like<'a>(&self, records: &'a [WeighingRecord]) -> Vec<(&'a str, &'a WeighingRecord)> {
        let is_like = |record: &&WeighingRecord| {
            record.weight == Some(self.weight) && record.user.as_deref() == Some(self.user.as_str())
        };
        records.iter().filter(is_like).map(|record| (record.date_time.as_str(), record)).collect()
    }
}

impl RegistrationClient {
    /// Records the weight of a subject (Python: `register_weight`).
    ///
    /// `weight` is in grams and is rounded to four significant figures. What Alyx has already is not recorded again, as
    /// for [`register_water_administration`](Self::register_water_administration).
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[doc = include_str!("../example_setup.txt")]
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
        let request = planned.request.clone();
        let list = async || self.alyx().weighings_of(&request.subject).await;
        self.record_once(planned, async || self.alyx().create_weighing(&request).await, list).await
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
        let time = self.session_time(options.date_time.unwrap_or(DateInput::Now))?;
        self.check_measured_on(time.date(), options.earliest)?;
        let date_time = time.to_iso();
        let user = self.subject_and_user(subject, options.user.as_deref()).await?;
        let request = WeighingRequest { subject: subject.to_owned(), date_time, weight, user };
        let records = self.alyx().weighings_of(subject).await?;
        let repeats = Repeats::once(options.date_time.is_none(), options.repeat);
        let (like, time) = (request.like(&records), request.date_time.clone());
        let earlier = until(weights(&records), self.last_day()?);
        let doubts = plausible::wrong_unit(Quantity::Weight, subject, weight, &earlier);
        let incomparable = plausible::nothing_to_compare(Quantity::Weight, subject, &earlier);
        planned(request, &time, &like, repeats).judged(doubts, incomparable, options.strict)
    }
}
