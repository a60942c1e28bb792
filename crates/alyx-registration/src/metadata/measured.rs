//! Weight and water of a session, recorded once: weight where the subject has no weighing on that day, water where the
//! session has none.

use crate::client::RegistrationClient;
use crate::client::options::{WaterOptions, WeightOptions};
use crate::error::Error;
use crate::metadata::known::KnownSession;
use crate::session::reference::SessionReference;
use alf::timestamp::DateInput;
use alyx_client::text::some_of;
use session_metadata::Measurement;

impl RegistrationClient {
    /// Records weight and water of a session that is on Alyx, as the options say. All are checked before the first is
    /// sent.
    ///
    /// # Errors
    /// Those of [`register_weight`](Self::register_weight) and
    /// [`register_water_administration`](Self::register_water_administration).
    pub(crate) async fn record_measurements(&self, known: &KnownSession, eid: &str) -> Result<(), Error> {
        let wanted = self.options().metadata.measured;
        let subject = known.session.subject();
        let (mut weights, mut waters) = (Vec::new(), Vec::new());
        for found in &known.metadata.measurements {
            match &found.value {
                Measurement::Weight(weight) if wanted.weight => weights.push(weight),
                Measurement::Water(water) if wanted.water => waters.push(water),
                Measurement::Weight(_) | Measurement::Water(_) => {}
            }
        }
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
            let options = WeightOptions { date_time: Some(DateInput::Text(&at)), ..Default::default() };
            to_weigh.push(self.plan_weight(subject, weight.grams, &options).await?);
        }
        if !waters.is_empty() {
            let given = self.alyx().waters_of(subject).await?;
            let of_session = given.iter().filter(|water| water.session.as_deref() == Some(eid));
            let of_session: Vec<String> = of_session
                .map(|w| format!("{} ml at {}", w.water_administered.unwrap_or_default(), w.date_time))
                .collect();
            if !of_session.is_empty() {
                let volume: f64 = waters.iter().map(|water| water.millilitres).sum();
                self.skip(
                    known,
                    format!("the water of {volume} ml: the session has {}", some_of(&of_session, ", ")),
                );
                waters.clear();
            }
        }
        for water in waters {
            let at = water.at.map(|time| time.to_iso()).unwrap_or_default();
            let session =
                uuid::Uuid::try_parse(eid).map_err(|_| Error::Internal(format!("the eid {eid:?}")))?;
            let options = WaterOptions {
                date_time: Some(DateInput::Text(&at)),
                water_type: Some(water.kind.clone()),
                session: Some(SessionReference::Eid(session)),
                adlib: water.adlib,
                ..Default::default()
            };
            to_give.push(self.plan_water_administration(subject, water.millilitres, &options).await?);
        }
        if to_weigh.is_empty() && to_give.is_empty() {
            return Ok(());
        }
        // On a thread of its own: what is being recorded is not cut off, and the future need not move between threads.
        let (client, runtime) = (self.clone(), tokio::runtime::Handle::current());
        let record = async move || -> Result<Vec<String>, Error> {
            let mut notes = Vec::new();
            for planned in to_weigh {
                notes.extend(client.record_weight(planned).await?.notes);
            }
            for planned in to_give {
                notes.extend(client.record_water(planned).await?.notes);
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

    /// Logs once that a measurement is not recorded.
    fn skip(&self, known: &KnownSession, what: String) {
        if self.context().remarks.is_new(format!("{} {what}", known.session)) {
            tracing::info!(session = %known.session, "not recorded again: {what}");
        }
    }
}
