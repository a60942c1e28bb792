//! `exists`: whether names are on Alyx, or which ones are.

use serde::Serialize;
use serde_json::Value;

use crate::cli::args::ExistsArgs;
use crate::cli::output::Failure;
use crate::cli::verbs::output::Answer;
use alyx_registration::RegistrationClient;

/// The fields of `exists`.
#[derive(Debug, Serialize)]
struct ExistsJson<'a> {
    endpoint: &'a str,
    members: Vec<MemberJson>,
}

/// A name, and its record as Alyx sends it.
#[derive(Debug, Serialize)]
struct MemberJson {
    name: String,
    exists: bool,
    record: Option<Value>,
    near: Vec<String>,
}

/// Looks up each name.
pub(super) async fn exists(args: &ExistsArgs, client: &RegistrationClient) -> Result<Answer, Failure> {
    let endpoint = args.endpoint;
    let (mut text, mut members, mut missing) = (Vec::new(), Vec::new(), false);
    if args.names.is_empty() {
        for name in client.alyx().member_names(endpoint).await? {
            members.push(MemberJson { name: name.clone(), exists: true, record: None, near: Vec::new() });
            text.push(name);
        }
    }
    for name in &args.names {
        let record: Option<Value> = client.alyx().find_member(endpoint, name).await?;
        missing |= record.is_none();
        let near = match record {
            Some(_) => Vec::new(),
            None => client.near_names(endpoint, name).await,
        };
        let state = if record.is_some() { "is on Alyx" } else { "is not on Alyx" };
        let quoted: Vec<String> = near.iter().map(|near| format!("{near:?}")).collect();
        let hint =
            if near.is_empty() { String::new() } else { format!("; did you mean {}?", quoted.join(", ")) };
        text.push(format!("{} {name:?} {state}{hint}", endpoint.member()));
        members.push(MemberJson { name: name.clone(), exists: record.is_some(), record, near });
    }
    let json = ExistsJson { endpoint: endpoint.path().trim_start_matches('/'), members };
    Ok(Answer::new(text, json)?.incomplete_if(missing))
}
