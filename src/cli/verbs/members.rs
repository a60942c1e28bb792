//! `exists`: whether names are on Alyx.

use serde_json::{Value, json};

use crate::cli::args::ExistsArgs;
use crate::cli::exit::Exit;
use crate::cli::verbs::connect::connect;
use crate::cli::verbs::output::{Answer, run_verb};

/// Looks up each name.
pub(crate) async fn exists(args: &ExistsArgs) -> Exit {
    run_verb(args.verb.json, async {
        let client = connect(&args.verb.connection)?;
        let endpoint = args.endpoint;
        let (mut text, mut members, mut missing) = (Vec::new(), Vec::new(), false);
        for name in &args.names {
            let record: Option<Value> = client.alyx().find_member(endpoint, name).await?;
            missing |= record.is_none();
            let state = if record.is_some() { "is on Alyx" } else { "is not on Alyx" };
            text.push(format!("{} {name:?} {state}", endpoint.member()));
            members.push(json!({"name": name, "exists": record.is_some(), "record": record}));
        }
        let json = json!({"endpoint": endpoint.path().trim_start_matches('/'), "members": members});
        Ok(Answer::new(text, json).incomplete_if(missing))
    })
    .await
}
