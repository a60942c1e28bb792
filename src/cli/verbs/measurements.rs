//! `water` and `weight`.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::path::Path;

use serde_json::json;

use crate::cli::args::{WaterArgs, WeightArgs};
use crate::cli::exit::Exit;
use crate::cli::verbs::connect::connect;
use crate::cli::verbs::output::{Answer, Failure, absolute_path, run_verb, to_value};
use alf::timestamp::DateInput;
use alyx_registration::{SessionReference, WaterOptions, WeightOptions};

/// Records a water administration.
pub(crate) async fn water(args: &WaterArgs) -> Exit {
    run_verb(args.verb.json, async {
        let options = WaterOptions {
            date_time: args.date_time.as_deref().map(DateInput::Text),
            water_type: args.water_type.clone(),
            user: args.by.clone(),
            session: args.session.as_deref().map(session).transpose()?,
            adlib: args.adlib,
        };
        let client = connect(&args.verb.connection)?;
        if args.dry_run {
            let request = client.plan_water_administration(&args.subject, args.volume, &options).await?;
            let (volume, time) = (request.water_administered, &request.date_time);
            let text =
                format!("would record {volume} ml of {} for {} at {time}", request.water_type, args.subject);
            return Ok(Answer::new(vec![text], json!({"request": to_value(&request)?})).planned());
        }
        let record = client.register_water_administration(&args.subject, args.volume, &options).await?;
        let volume = record.water_administered.unwrap_or_default();
        let kind = record.water_type.as_deref().unwrap_or("water");
        let text = format!("recorded {volume} ml of {kind} for {} at {}", record.subject, record.date_time);
        Ok(Answer::new(vec![text], json!({"record": to_value(&record)?})))
    })
    .await
}

/// Records a weight.
pub(crate) async fn weight(args: &WeightArgs) -> Exit {
    run_verb(args.verb.json, async {
        let options = WeightOptions {
            date_time: args.date_time.as_deref().map(DateInput::Text),
            user: args.by.clone(),
        };
        let client = connect(&args.verb.connection)?;
        if args.dry_run {
            let request = client.plan_weight(&args.subject, args.weight, &options).await?;
            let text =
                format!("would record {} g for {} at {}", request.weight, args.subject, request.date_time);
            return Ok(Answer::new(vec![text], json!({"request": to_value(&request)?})).planned());
        }
        let record = client.register_weight(&args.subject, args.weight, &options).await?;
        let weight = record.weight.unwrap_or_default();
        let text = format!("recorded {weight} g for {} at {}", record.subject, record.date_time);
        Ok(Answer::new(vec![text], json!({"record": to_value(&record)?})))
    })
    .await
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
