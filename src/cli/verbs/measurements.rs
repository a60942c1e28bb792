//! `water` and `weight`.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::path::Path;

use serde::Serialize;
use serde_json::json;

use crate::cli::args::{WaterArgs, WeightArgs};
use crate::cli::exit::Exit;
use crate::cli::verbs::connect::run_creating;
use crate::cli::verbs::output::{Answer, Failure, absolute_path, exit_of, to_value};
use alf::timestamp::DateInput;
use alyx_client::{WaterRecord, WaterRequest, WeighingRecord, WeighingRequest};
use alyx_registration::{
    Error, PlannedMeasurement, RecordedMeasurement, SessionReference, WaterOptions, WeightOptions,
};

/// Records a water administration.
pub(crate) async fn water(args: &WaterArgs) -> Exit {
    run_creating(&args.verb, async |client| {
        let options = WaterOptions {
            date_time: args.date_time.as_deref().map(DateInput::Text),
            water_type: args.water_type.clone(),
            user: args.by.clone(),
            session: args.session.as_deref().map(session).transpose()?,
            adlib: args.adlib,
            repeat: args.force,
            strict: !args.force,
        };
        let plan =
            async |subject: &str| client.plan_water_administration(subject, args.volume, &options).await;
        let record = async |planned| client.record_water(planned).await;
        measure(&args.subjects.0, args.dry_run, plan, record).await
    })
    .await
}

/// Records a weight.
pub(crate) async fn weight(args: &WeightArgs) -> Exit {
    run_creating(&args.verb, async |client| {
        let options = WeightOptions {
            date_time: args.date_time.as_deref().map(DateInput::Text),
            user: args.by.clone(),
            repeat: args.force,
            strict: !args.force,
        };
        let plan = async |subject: &str| client.plan_weight(subject, args.weight, &options).await;
        let record = async |planned| client.record_weight(planned).await;
        measure(&args.subjects.0, args.dry_run, plan, record).await
    })
    .await
}

/// Plans a measurement of every subject, and records them only if all plans succeed. After a failure the others are not
/// recorded; the same command, given again, completes it.
async fn measure<Request: Measured, Record: Measured>(
    subjects: &[String],
    dry_run: bool,
    plan: impl AsyncFn(&str) -> Result<PlannedMeasurement<Request, Record>, Error>,
    record: impl AsyncFn(PlannedMeasurement<Request, Record>) -> Result<RecordedMeasurement<Record>, Error>,
) -> Result<Answer, Failure> {
    let mut planned = Vec::new();
    for subject in subjects {
        planned.push(plan(subject).await?);
    }
    let (mut text, mut list, mut failure) = (Vec::new(), Vec::new(), None);
    for (planned, subject) in planned.into_iter().zip(subjects) {
        if failure.is_some() {
            text.push(format!("not recorded for {subject}"));
            list.push(json!({"subject": subject, "state": "not_recorded"}));
            continue;
        }
        let (line, notes, fields) = match (&planned.recorded, dry_run) {
            (Some(record), _) => {
                let fields = json!({"subject": subject, "state": "already_recorded", "record": to_value(record)?, "notes": planned.notes});
                (recorded_already(record), planned.notes, fields)
            }
            (None, true) => {
                let fields = json!({"subject": subject, "state": "planned", "request": to_value(&planned.request)?, "notes": planned.notes});
                (format!("would record {}", planned.request.text()), planned.notes, fields)
            }
            (None, false) => {
                let recorded = match record(planned).await {
                    Ok(recorded) => recorded,
                    Err(error) if list.is_empty() => return Err(error.into()),
                    Err(error) => {
                        text.push(format!("not recorded for {subject}: {error}"));
                        list.push(json!({"subject": subject, "state": "failed", "error": error.to_string()}));
                        failure = Some(exit_of(&error));
                        continue;
                    }
                };
                // Another program may have recorded it since it was planned.
                let (state, line) = match recorded.is_new {
                    true => ("recorded", format!("recorded {}", recorded.record.text())),
                    false => ("already_recorded", recorded_already(&recorded.record)),
                };
                let fields = json!({"subject": subject, "state": state, "record": to_value(&recorded.record)?, "notes": recorded.notes});
                (line, recorded.notes, fields)
            }
        };
        text.push(line);
        text.extend(notes.iter().map(|note| format!("note: {note}")));
        list.push(fields);
    }
    let answer = Answer::new(text, json!({"measurements": list}));
    let answer = Answer { exit: failure.unwrap_or(answer.exit), ..answer };
    Ok(if dry_run { answer.planned() } else { answer })
}

fn recorded_already(record: &impl Measured) -> String {
    let user = record.user().map(|user| format!(" by {user}")).unwrap_or_default();
    format!("recorded already: {}{user}; --force records it again", record.text())
}

/// A request or a record in words.
trait Measured: Serialize {
    /// Amount, subject and time.
    fn text(&self) -> String;
    /// The user who measured.
    fn user(&self) -> Option<&str>;
}

fn water_text(volume: Option<f64>, kind: &str, adlib: bool) -> String {
    match (volume, adlib) {
        (Some(volume), false) => format!("{volume} ml of {kind}"),
        (Some(volume), true) => format!("{volume} ml of {kind} ad libitum"),
        (None, _) => format!("{kind} ad libitum"),
    }
}

impl Measured for WaterRequest {
    fn text(&self) -> String {
        water_text(self.water_administered, &self.water_type, self.adlib)
            + &format!(" for {} at {}", self.subject, self.date_time)
    }

    fn user(&self) -> Option<&str> {
        Some(&self.user)
    }
}

impl Measured for WaterRecord {
    fn text(&self) -> String {
        let kind = self.water_type.as_deref().unwrap_or("water");
        water_text(self.water_administered, kind, self.adlib)
            + &format!(" for {} at {}", self.subject, self.date_time)
    }

    fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }
}

impl Measured for WeighingRequest {
    fn text(&self) -> String {
        format!("{} g for {} at {}", self.weight, self.subject, self.date_time)
    }

    fn user(&self) -> Option<&str> {
        Some(&self.user)
    }
}

impl Measured for WeighingRecord {
    fn text(&self) -> String {
        format!("{} g for {} at {}", self.weight.unwrap_or_default(), self.subject, self.date_time)
    }

    fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }
}

/// Parses a session: its eid, its address, or its folder, which may be relative.
fn session(typed: &str) -> Result<SessionReference, Failure> {
    match SessionReference::parse(typed) {
        Ok(SessionReference::Folder(folder)) => Ok(SessionReference::Folder(absolute_path(&folder)?)),
        Ok(other) => Ok(other),
        Err(_) if Path::new(typed).is_dir() => Ok(SessionReference::Folder(absolute_path(Path::new(typed))?)),
        Err(error) => Err(Failure::new(Exit::Usage, error)),
    }
}
