//! The checks of the repositories: whether ONE lists and loads what is registered from each data root.

use crate::cli::service::wiring;
use crate::cli::setup::check::labs::RootFolders;
use crate::cli::setup::check::row::Row;
use crate::cli::setup::check::{QUICK_TIMEOUT, with_timeout};
use crate::config::{Config, DataRoot};
use alyx_client::Endpoint;
use alyx_registration::{FlaggedOptions, NotLoadable, Placement, RegistrationClient};
use serde_json::Value;

pub(super) const CHECK: &str = "loadable";

/// What can be said without Alyx.
pub(super) fn without_alyx(config: &Config) -> Vec<Row> {
    match rows(&wiring::not_loadable(config)) {
        rows if rows.is_empty() => vec![Row::skipped(CHECK, "not asked")],
        rows => rows,
    }
}

/// One row for each reason. That Alyx does not know a repository is in the row of its name.
pub(super) fn rows(reasons: &[NotLoadable]) -> Vec<Row> {
    let reasons = reasons.iter().filter(|reason| !matches!(reason, NotLoadable::Unknown { .. }));
    reasons.map(|reason| Row::warning(CHECK, reason, reason.advice())).collect()
}

/// Asks Alyx about the repository of each data root and lab.
pub(super) async fn with_alyx(
    client: &RegistrationClient,
    config: &Config,
) -> Result<Vec<Row>, alyx_client::Error> {
    let options = wiring::flagged(config);
    let mut places = Vec::new();
    for root in config.data_roots.iter().filter(|_| options.register_files) {
        places.extend(places_of(client, config, root, &options).await?);
    }
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let reasons = client.why_not_loadable(&places).await?;
    let mut rows = rows(&reasons);
    if rows.is_empty() && !reasons.is_empty() {
        rows.push(Row::skipped(CHECK, "Alyx does not know the repository"));
    }
    if reasons.is_empty() {
        let mut repositories: Vec<&str> =
            places.iter().filter_map(|(_, placement)| placement.repository.as_deref()).collect();
        repositories.dedup();
        let from = match repositories.as_slice() {
            [] => "the lab's servers".to_owned(),
            repositories => repositories.join(", "),
        };
        rows.push(Row::ok(CHECK, format!("ONE finds what is registered, in {from}")));
    }
    Ok(rows)
}

/// The labs whose sessions are below a data root, and where their files are.
async fn places_of(
    client: &RegistrationClient,
    config: &Config,
    root: &DataRoot,
    options: &FlaggedOptions,
) -> Result<Vec<(Option<String>, Placement)>, alyx_client::Error> {
    let path = root.path.clone();
    let folders = with_timeout(QUICK_TIMEOUT, move |_| RootFolders::load(&path)).await.unwrap_or_default();
    if !folders.labs.is_empty() {
        let labs = folders.labs.into_iter();
        return Ok(labs
            .map(|(lab, folder)| (Some(lab), options.placement_in(&folder.join("Subjects"))))
            .collect());
    }
    let mut labs = Vec::new();
    for subject in folders.subjects {
        let record = client.alyx().find_member(Endpoint::Subjects, &subject).await?;
        let lab = record.as_ref().and_then(|record| record.get("lab")).and_then(Value::as_str);
        labs.extend(lab.map(|lab| Some(lab.to_owned())));
    }
    if labs.is_empty() {
        labs.push(config.session.lab.clone());
    }
    let placements = options.placements([root.path.as_path()]);
    Ok(labs.iter().flat_map(|lab| placements.iter().map(|place| (lab.clone(), place.clone()))).collect())
}
