//! `water` and `weight`.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::path::Path;

use serde::Serialize;

use crate::cli::args::{WaterArgs, WeightArgs};
use crate::cli::exit::Exit;
use crate::cli::output::{Failure, exit_of};
use crate::cli::verbs::output::{Answer, absolute_path};
use crate::cli::verbs::record::Recorded;
use crate::config::Config;
use crate::json::error_report::ErrorReport;
use crate::json::record::{WaterJson, WeighingJson};
use alf::timestamp::DateInput;
use alyx_client::{WaterRecord, WaterRequest, WeighingRecord, WeighingRequest};
use alyx_registration::{
    Error, PlannedMeasurement, RecordedMeasurement, RegistrationClient, SessionReference, WaterOptions,
    WeightOptions,
};

/// Records a water administration.
pub(super) async fn water(
    args: &WaterArgs,
    client: &RegistrationClient,
    config: Option<&Config>,
) -> Result<Answer, Failure> {
    let options = WaterOptions {
        date_time: args.date_time.as_deref().map(DateInput::Text),
        water_type: args.water_type.clone(),
        user: args.by.clone(),
        session: args.session.as_deref().map(session).transpose()?,
        adlib: args.adlib,
        repeat: args.force,
        strict: !(args.force || args.any_unit),
        earliest: None,
    };
    let plan = async |subject: &str| client.plan_water_administration(subject, args.volume, &options).await;
    let record = async |planned| client.record_water(planned).await;
    measure(&args.subjects.0, args.dry_run, plan, record, (config, "water")).await
}

/// Records a weight.
pub(super) async fn weight(
    args: &WeightArgs,
    client: &RegistrationClient,
    config: Option<&Config>,
) -> Result<Answer, Failure> {
    let options = WeightOptions {
        date_time: args.date_time.as_deref().map(DateInput::Text),
        user: args.by.clone(),
        repeat: args.force,
        strict: !(args.force || args.any_unit),
        earliest: None,
    };
    let plan = async |subject: &str| client.plan_weight(subject, args.weight, &options).await;
    let record = async |planned| client.record_weight(planned).await;
    measure(&args.subjects.0, args.dry_run, plan, record, (config, "weight")).await
}

/// Plans a measurement of every subject, and records them only if all plans succeed. After a failure the others are not
/// recorded; the same command, given again, completes it.
async fn measure<Request: Measured, Record: Measured>(
    subjects: &[String],
    dry_run: bool,
    plan: impl AsyncFn(&str) -> Result<PlannedMeasurement<Request, Record>, Error>,
    record: impl AsyncFn(PlannedMeasurement<Request, Record>) -> Result<RecordedMeasurement<Record>, Error>,
    (config, command): (Option<&Config>, &str),
) -> Result<Answer, Failure> {
    let mut planned = Vec::new();
    for subject in subjects {
        planned.push(plan(subject).await?);
    }
    let (mut text, mut measurements, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    let mut exit = Exit::Success;
    for (planned, subject) in planned.into_iter().zip(subjects) {
        let mut row = MeasurementJson::of(subject);
        if !errors.is_empty() {
            text.push(format!("not recorded for {subject}"));
        } else if let Some(record) = &planned.recorded {
            text.push(recorded_already(record));
            (row.outcome, row.record, row.notes) = ("unchanged", Some(record.json()), planned.notes);
        } else if dry_run {
            text.push(format!("would record {}", planned.request.text()));
            (row.outcome, row.request, row.notes) = ("planned", Some(planned.request.json()), planned.notes);
        } else {
            match record(planned).await {
                Ok(recorded) => {
                    // Another program may have recorded it since it was planned.
                    let (outcome, line) = match recorded.is_new {
                        true => {
                            let (what, at) = (recorded.record.text(), recorded.record.at());
                            let (of, text) = (subject.clone(), what.clone());
                            let done = Recorded {
                                command,
                                subject: Some(of.clone()),
                                of,
                                at: Some(at),
                                text,
                                ..Recorded::default()
                            };
                            done.remember(config).await;
                            ("created", format!("recorded {what}"))
                        }
                        false => ("unchanged", recorded_already(&recorded.record)),
                    };
                    text.push(line);
                    (row.outcome, row.record, row.notes) =
                        (outcome, Some(recorded.record.json()), recorded.notes);
                }
                Err(error) if measurements.is_empty() => return Err(error.into()),
                Err(error) => {
                    text.push(format!("not recorded for {subject}: {error}"));
                    let report = ErrorReport::from(&error);
                    (row.outcome, row.error) = ("failed", Some(report.clone()));
                    errors.push(report);
                    exit = exit_of(&error);
                }
            }
        }
        text.extend(row.notes.iter().map(|note| format!("note: {note}")));
        measurements.push(row);
    }
    let answer = Answer::new(text, MeasurementsJson { measurements })?;
    Ok(Answer { exit, errors, ..answer }.planned_if(dry_run))
}

/// The fields of `water` and `weight`.
#[derive(Debug, Serialize)]
struct MeasurementsJson<Request, Record> {
    measurements: Vec<MeasurementJson<Request, Record>>,
}

/// The measurement of one subject.
#[derive(Debug, Serialize)]
struct MeasurementJson<Request, Record> {
    subject: String,
    /// `created`, `unchanged`, `planned`, `failed` or `not_recorded`.
    outcome: &'static str,
    record: Option<Record>,
    /// What a dry run would send.
    request: Option<Request>,
    notes: Vec<String>,
    error: Option<ErrorReport>,
}

impl<Request, Record> MeasurementJson<Request, Record> {
    /// One that is not recorded.
    fn of(subject: &str) -> Self {
        let outcome = "not_recorded";
        Self {
            subject: subject.to_owned(),
            outcome,
            record: None,
            request: None,
            notes: Vec::new(),
            error: None,
        }
    }
}

fn recorded_already(record: &impl Measured) -> String {
    let user = record.user().map(|user| format!(" by {user}")).unwrap_or_default();
    format!("recorded already: {}{user}; --force records it again", record.text())
}

/// A request or a record in words and as JSON.
trait Measured {
    /// As JSON.
    type Json: Serialize;
    /// As JSON.
    fn json(&self) -> Self::Json;
    /// Amount, subject and time.
    fn text(&self) -> String;
    /// When.
    fn at(&self) -> &str;
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
    type Json = Self;

    fn json(&self) -> Self::Json {
        self.clone()
    }

    fn text(&self) -> String {
        water_text(self.water_administered, &self.water_type, self.adlib)
            + &format!(" for {} at {}", self.subject, self.date_time)
    }

    fn at(&self) -> &str {
        &self.date_time
    }

    fn user(&self) -> Option<&str> {
        Some(&self.user)
    }
}

impl Measured for WaterRecord {
    type Json = WaterJson;

    fn json(&self) -> Self::Json {
        self.into()
    }

    fn text(&self) -> String {
        let kind = self.water_type.as_deref().unwrap_or("water");
        water_text(self.water_administered, kind, self.adlib)
            + &format!(" for {} at {}", self.subject, self.date_time)
    }

    fn at(&self) -> &str {
        &self.date_time
    }

    fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }
}

impl Measured for WeighingRequest {
    type Json = Self;

    fn json(&self) -> Self::Json {
        self.clone()
    }

    fn text(&self) -> String {
        format!("{} g for {} at {}", self.weight, self.subject, self.date_time)
    }

    fn at(&self) -> &str {
        &self.date_time
    }

    fn user(&self) -> Option<&str> {
        Some(&self.user)
    }
}

impl Measured for WeighingRecord {
    type Json = WeighingJson;

    fn json(&self) -> Self::Json {
        self.into()
    }

    fn text(&self) -> String {
        format!("{} g for {} at {}", self.weight.unwrap_or_default(), self.subject, self.date_time)
    }

    fn at(&self) -> &str {
        &self.date_time
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
