//! Weight and water of a session, recorded once: weight where the subject has no weighing on that day, and each water that
//! the session lacks.

use jiff::ToSpan;
use jiff::civil::Date;

use crate::client::RegistrationClient;
use crate::client::options::{WaterOptions, WeightOptions};
use crate::error::Error;
use crate::measurements::four_figures;
use crate::measurements::of_session::{Comparison, WantedWater, compare};
use crate::measurements::planned::PlannedMeasurement;
use crate::metadata::known::KnownSession;
use crate::session::reference::SessionReference;
use alf::SessionTime;
use alf::timestamp::DateInput;
use alyx_client::text::some_of;
use alyx_client::{WaterRecord, WaterRequest, WeighingRecord, WeighingRequest};
use session_metadata::{Field, Measurement};

/// Weights and waters to record.
struct Measurements {
    weights: Vec<PlannedMeasurement<WeighingRequest, WeighingRecord>>,
    waters: Vec<PlannedMeasurement<WaterRequest, WaterRecord>>,
}

fn weight_text(weight: &WeighingRequest) -> String {
    format!("the weight of {} g at {}", weight.weight, weight.date_time)
}

fn water_text(water: &WaterRequest) -> String {
    let volume = water.water_administered.unwrap_or_default();
    format!("{volume} ml of {} at {}", water.water_type, water.date_time)
}

impl RegistrationClient {
    /// Records weight and water of a session that is on Alyx, as the options say. All are checked before the first is
    /// sent.
    ///
    /// # Errors
    /// Those of [`register_weight`](Self::register_weight) and
    /// [`register_water_administration`](Self::register_water_administration).
    pub(crate) async fn record_measurements(&self, known: &KnownSession, eid: &str) -> Result<(), Error> {
        let Measurements { weights, waters } = self.plan_measurements(known, Some(eid)).await?;
        if weights.is_empty() && waters.is_empty() {
            return Ok(());
        }
        // On a thread of its own: what is being recorded is not cut off, and the future need not move between threads.
        let (client, runtime) = (self.clone(), tokio::runtime::Handle::current());
        let session = known.session.clone();
        let record = async move || -> Result<Vec<String>, Error> {
            let mut notes = Vec::new();
            for planned in weights {
                let what = weight_text(&planned.request);
                notes.extend(client.record_weight(planned).await?.notes);
                tracing::info!(session = %session, "{session}: recorded {what}");
            }
            for planned in waters {
                let what = water_text(&planned.request);
                notes.extend(client.record_water(planned).await?.notes);
                tracing::info!(session = %session, "{session}: recorded {what}");
            }
            Ok(notes)
        };
        let recorded = tokio::task::spawn_blocking(move || runtime.block_on(record())).await;
        let notes = recorded.map_err(|e| Error::Internal(format!("recording: {e}")))??;
        for note in notes {
            tracing::warn!(session = %known.session, "a measurement is recorded, but: {note}");
        }
        Ok(())
    }

    /// What would be recorded with a session, one line each; `eid`: if it is on Alyx.
    pub(crate) async fn planned_measurements(
        &self,
        known: Option<&KnownSession>,
        eid: Option<&str>,
    ) -> Result<Vec<String>, Error> {
        let Some(known) = known else { return Ok(Vec::new()) };
        let Measurements { weights, waters } = self.plan_measurements(known, eid).await?;
        let weights = weights.iter().map(|planned| weight_text(&planned.request));
        let waters = waters.iter().map(|planned| water_text(&planned.request));
        Ok(weights.chain(waters).collect())
    }

    /// The weights and waters that Alyx lacks, checked.
    async fn plan_measurements(
        &self,
        known: &KnownSession,
        eid: Option<&str>,
    ) -> Result<Measurements, Error> {
        let wanted = self.options().metadata.measured;
        let subject = known.session.subject();
        let (earliest, _) = self.earliest_day(&known.session, Some(known));
        let weights = known.metadata.measurements.iter().filter_map(|found| match &found.value {
            Measurement::Weight(weight) if wanted.weight => Some(weight),
            Measurement::Weight(_) | Measurement::Water(_) => None,
        });
        let (mut to_weigh, mut to_give) = (Vec::new(), Vec::new());
        for weight in weights {
            let at = weight.at.map(|time| time.to_iso()).unwrap_or_default();
            let day = at.get(..10).unwrap_or_default();
            let weighings = self.alyx().weighings_of(subject).await?;
            let of_day = weighings.iter().filter(|weighing| weighing.date_time.starts_with(day));
            let of_day: Vec<String> =
                of_day.map(|w| format!("{} g at {}", w.weight.unwrap_or_default(), w.date_time)).collect();
            if !of_day.is_empty() {
                self.skip(
                    known,
                    format!("the weight of {} g: Alyx has {}", weight.grams, some_of(&of_day, ", ")),
                );
                continue;
            }
            let options = WeightOptions {
                date_time: Some(DateInput::Text(&at)),
                earliest: Some(earliest),
                ..Default::default()
            };
            to_weigh.push(self.plan_weight(subject, weight.grams, &options).await?);
        }
        for (water, adlib) in self.waters_to_give(known, eid).await? {
            let session = eid.map(|eid| {
                let eid = uuid::Uuid::try_parse(eid).map_err(|_| Error::Internal(format!("the eid {eid:?}")));
                eid.map(SessionReference::Eid)
            });
            let options = WaterOptions {
                date_time: Some(DateInput::Text(&water.at)),
                water_type: Some(water.kind),
                session: session.transpose()?,
                adlib,
                earliest: Some(earliest),
                ..Default::default()
            };
            to_give.push(self.plan_more_water(subject, water.millilitres, &options, &to_give).await?);
        }
        Ok(Measurements { weights: to_weigh, waters: to_give })
    }

    /// Checks weight and water before anything is sent: what would be refused after the session is created.
    ///
    /// # Errors
    /// [`Error::Metadata`] with all that is wrong.
    pub(crate) async fn check_measurements(&self, known: Option<&KnownSession>) -> Result<(), Error> {
        let measured = self.options().metadata.measured;
        let Some(known) = known.filter(|_| measured.weight || measured.water) else { return Ok(()) };
        let today = self.session_time(DateInput::Now)?.date();
        let mut wrong = Vec::new();
        for found in &known.metadata.measurements {
            let checked = match &found.value {
                Measurement::Weight(weight) if measured.weight => {
                    four_figures("a weight", weight.grams).map(drop)
                }
                Measurement::Water(water) if measured.water => {
                    let sane = four_figures("a water volume", water.millilitres).map(drop);
                    let sane = sane.and_then(|()| known.check_water_time(water.at, today));
                    match sane {
                        Ok(()) => self.water_type(&water.kind).await.map(drop),
                        Err(error) => Err(error),
                    }
                }
                Measurement::Weight(_) | Measurement::Water(_) => Ok(()),
            };
            match checked {
                Ok(()) => {}
                Err(Error::Invalid(why)) => wrong.push(format!("{}: {why}", found.source)),
                Err(error) => return Err(error),
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(Error::Metadata(wrong)) }
    }

    /// The waters that the session lacks, each with whether it is ad libitum.
    ///
    /// Where none of its waters is on Alyx but others are, a person or the rig has entered them by other means: none is
    /// added.
    ///
    /// # Errors
    /// [`Error::Metadata`] if some are on Alyx and beside them others that no file names: then it cannot be told which are
    /// still missing.
    async fn waters_to_give(
        &self,
        known: &KnownSession,
        eid: Option<&str>,
    ) -> Result<Vec<(WantedWater, bool)>, Error> {
        let waters = if self.options().metadata.measured.water { known.waters() } else { Vec::new() };
        if waters.is_empty() {
            return Ok(Vec::new());
        }
        let given = self.alyx().waters_of(known.session.subject()).await?;
        let held: Vec<&WaterRecord> =
            given.iter().filter(|water| eid.is_some() && water.session.as_deref() == eid).collect();
        let wanted: Vec<WantedWater> = waters.iter().map(|(water, ..)| water.clone()).collect();
        let Comparison { missing, foreign } = compare(&wanted, &held);
        if missing.is_empty() || foreign.is_empty() {
            let lacks = |(index, _): &(usize, _)| missing.contains(index);
            let to_give = waters.into_iter().enumerate().filter(lacks);
            return Ok(to_give.map(|(_, (water, adlib, _))| (water, adlib)).collect());
        }
        let on_alyx: Vec<String> = foreign
            .iter()
            .filter_map(|index| held.get(*index))
            .map(|w| format!("{} ml at {}", w.water_administered.unwrap_or_default(), w.date_time))
            .collect();
        let on_alyx = some_of(&on_alyx, ", ");
        if missing.len() == waters.len() {
            let volume: f64 = wanted.iter().map(|water| water.millilitres).sum();
            self.skip(known, format!("the water of {volume} ml: the session has {on_alyx}"));
            return Ok(Vec::new());
        }
        let lacks = missing.iter().filter_map(|index| waters.get(*index)).map(|(water, _, source)| {
            format!(
                "{source}: water of {ml} ml at {at} is not on Alyx, but the session has {on_alyx} there, which no file names; \
                 if it is the same water, correct one of them, otherwise record it with \
                 `alyx-registrar water {subject} {ml} --water-type '{kind}' --date-time {at} --session {eid}`",
                eid = eid.unwrap_or_default(),
                ml = water.millilitres,
                at = water.at,
                kind = water.kind,
                subject = known.session.subject(),
            )
        });
        Err(Error::Metadata(lacks.collect()))
    }

    /// Logs once that a measurement is not recorded.
    fn skip(&self, known: &KnownSession, what: String) {
        if self.context().remarks.is_new(format!("{} {what}", known.session)) {
            tracing::warn!(session = %known.session, "not recorded: {what}");
        }
    }
}

impl KnownSession {
    /// Refuses water that was given in the future, or on another day than the session took place. Pure.
    fn check_water_time(&self, at: Option<SessionTime>, today: Date) -> Result<(), Error> {
        let Some(at) = at else { return Ok(()) };
        let (first, end) = (self.session.date(), self.metadata.time(Field::EndTime));
        let wrong = if at.date() > today.saturating_add(1.day()) {
            format!("the time {at} is in the future: today is {today}; correct it")
        } else if at.date() != first && end.map(|end| end.date()) != Some(at.date()) {
            format!("the time {at} is not on the day of the session, {first}; correct it")
        } else {
            return Ok(());
        };
        Err(Error::Invalid(wrong))
    }

    /// Its waters, each with whether it is ad libitum and where it comes from.
    fn waters(&self) -> Vec<(WantedWater, bool, String)> {
        let is_water = |measurement: &Measurement| matches!(measurement, Measurement::Water(_));
        let with_times = self.metadata.measurements.iter().filter(|found| is_water(&found.value));
        // In the same order, as they were written.
        let written = self.metadata.values.water.iter().flatten();
        let wanted = with_times.zip(written).filter_map(|(found, written)| {
            let Measurement::Water(water) = &found.value else { return None };
            let wanted = WantedWater {
                millilitres: water.millilitres,
                kind: water.kind.clone(),
                at: water.at.map(|time| time.to_iso()).unwrap_or_default(),
                is_timed: written.value.at.is_some(),
            };
            Some((wanted, water.adlib, found.source.to_string()))
        });
        wanted.collect()
    }
}
