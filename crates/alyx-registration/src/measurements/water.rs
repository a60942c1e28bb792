//! Water administrations.

use jiff::civil::Date;

use crate::client::RegistrationClient;
use crate::client::options::WaterOptions;
use crate::error::Error;
use crate::measurements::planned::{Measurement, PlannedMeasurement, RecordedMeasurement, Repeats, planned};
use crate::measurements::plausible::{Earlier, Quantity};
use crate::measurements::weight::weights;
use crate::measurements::{four_figures, plausible, until};
use crate::session::reference::SessionReference;
use alf::timestamp::DateInput;
use alyx_client::text::some_of;
use alyx_client::{WaterRecord, WaterRequest};

fn waters(records: &[WaterRecord]) -> Earlier<'_> {
    records
        .iter()
        .filter_map(|record| Some((record.date_time.as_str(), record.water_administered?)))
        .collect()
}

impl Measurement for WaterRequest {
    type Record = WaterRecord;

    fn what(&self) -> String {
        format!("the water of {}", self.subject)
    }

    fn time(&self) -> &str {
        &self.date_time
    }

    fn without_time(&self) -> Self {
        Self { date_time: String::new(), ..self.clone() }
    }

    fn like<'a>(&self, records: &'a [WaterRecord]) -> Vec<(&'a str, &'a WaterRecord)> {
        let is_like = |record: &&WaterRecord| {
            record.water_administered == self.water_administered
                && record.user.as_deref() == Some(self.user.as_str())
                && record.water_type.as_deref() == Some(self.water_type.as_str())
                && record.adlib == self.adlib
                && record.session == self.session
        };
        records.iter().filter(is_like).map(|record| (record.date_time.as_str(), record)).collect()
    }
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
    #[doc = include_str!("../example_setup.txt")]
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
        let request = planned.request.clone();
        let list = async || self.alyx().waters_of(&request.subject).await;
        self.record_once(planned, async || self.alyx().create_water(&request).await, list).await
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
        self.check_measured_on(time.date(), options.earliest)?;
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
        let repeats = Repeats::once(options.date_time.is_none(), options.repeat);
        let (like, time) = (request.like(&records), request.date_time.clone());
        let planned = planned(request, &time, &like, repeats);
        let Some(volume) = water_administered else { return Ok(planned) };
        let last = self.last_day()?;
        let earlier = until(waters(&records), last);
        let doubts = [
            plausible::wrong_unit(Quantity::Water, subject, volume, &earlier),
            plausible::more_than_weight(
                subject,
                volume,
                &until(weights(&self.alyx().weighings_of(subject).await?), last),
            ),
        ];
        let incomparable = plausible::nothing_to_compare(Quantity::Water, subject, &earlier);
        planned.judged(doubts.into_iter().flatten(), incomparable, options.strict)
    }

    /// One more water of a session than Alyx has, after the equal ones in `before`, which are recorded first.
    pub(crate) async fn plan_more_water(
        &self,
        subject: &str,
        volume: f64,
        options: &WaterOptions<'_>,
        before: &[PlannedMeasurement<WaterRequest, WaterRecord>],
    ) -> Result<PlannedMeasurement<WaterRequest, WaterRecord>, Error> {
        let planned = self.plan_water_administration(subject, volume, options).await?;
        let n_before = before.iter().filter(|other| other.request == planned.request).count();
        Ok(planned.one_more(n_before))
    }

    /// A kind of water that Alyx has.
    ///
    /// # Errors
    /// [`Error::Invalid`] with those that it has.
    pub(crate) async fn water_type(&self, name: &str) -> Result<String, Error> {
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
        match self.alyx().session_without_datasets(&eid).await {
            Ok(record) => plausible::of_session(subject, day, &record).map_err(Error::Invalid)?,
            Err(alyx_client::Error::NotFound { .. }) => {
                return Err(Error::Invalid(format!("session {eid} is not on Alyx; create it first")));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(eid)
    }
}
