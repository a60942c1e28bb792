//! The checks of the repositories: whether ONE lists and loads what is registered from each data root.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::cli::service::wiring;
use crate::cli::setup::check::labs::RootFolders;
use crate::cli::setup::check::row::Row;
use crate::cli::setup::check::{QUICK_TIMEOUT, with_timeout};
use crate::config::{Config, DataRoot};
use crate::humanize::count;
use alyx_client::Endpoint;
use alyx_registration::{FlaggedOptions, NotLoadable, Placement, RegistrationClient};
use serde_json::Value;

pub(super) const CHECK: &str = "loadable";
const NUMBERS: &str = "folder number";

/// What can be said without Alyx.
pub(super) fn without_alyx(config: &Config) -> Vec<Row> {
    match rows(&wiring::not_loadable(config)) {
        rows if rows.is_empty() => vec![Row::skipped(CHECK, "Alyx is not asked")],
        rows => rows,
    }
}

/// One row for each reason.
fn rows(reasons: &[NotLoadable]) -> Vec<Row> {
    reasons.iter().map(|reason| Row::warning(CHECK, reason, reason.advice())).collect()
}

/// The row of sessions whose folder ONE does not ask for: it writes every number with three digits.
pub(super) fn short_numbers(root: &Path, sessions: &[PathBuf]) -> Option<Row> {
    let is_short = |session: &&PathBuf| session.file_name().is_some_and(|name| name.len() != 3);
    let mut short = sessions.iter().filter(is_short);
    let example = short.next()?.display().to_string();
    let n = 1 + short.count();
    let (has, them) = if n == 1 { ("has", "it") } else { ("have", "them") };
    let found = format!(
        "{}: {} {has} a number without three digits, such as {example}; ONE cannot load the files in {them}",
        root.display(),
        count(n as u64, "session folder"),
    );
    Some(Row::warning(NUMBERS, found, NotLoadable::ShortNumber { session: example }.advice()))
}

/// A lab whose sessions are below a data root, and where their files are.
struct LabPlace {
    lab: Option<String>,
    /// The folder of its subjects, if the root holds it.
    folder: Option<PathBuf>,
    placement: Placement,
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
    let has_several_labs = places.iter().map(|place| &place.lab).collect::<BTreeSet<_>>().len() > 1;
    let (mut rows, mut is_unknown): (Vec<Row>, bool) = (Vec::new(), false);
    for place in &places {
        for reason in client.why_not_loadable([&(place.lab.clone(), place.placement.clone())]).await? {
            let row = match (&reason, &place.lab, &place.folder) {
                // It is in the row of its name.
                (NotLoadable::Unknown { .. }, ..) => {
                    is_unknown = true;
                    continue;
                }
                (NotLoadable::NoRepository { .. }, Some(lab), Some(folder)) if has_several_labs => {
                    Row::warning(CHECK, format!("lab {lab:?}: {reason}"), reason.advice_for_folder(folder))
                }
                (NotLoadable::NoRepository { .. }, Some(lab), None) if has_several_labs => {
                    Row::warning(CHECK, format!("lab {lab:?}: {reason}"), reason.advice())
                }
                _ => Row::warning(CHECK, &reason, reason.advice()),
            };
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
    }
    if rows.is_empty() && is_unknown {
        rows.push(Row::skipped(CHECK, "Alyx does not know the repository"));
    }
    if rows.is_empty() {
        let mut repositories: Vec<&str> =
            places.iter().filter_map(|place| place.placement.repository.as_deref()).collect();
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
) -> Result<Vec<LabPlace>, alyx_client::Error> {
    let path = root.path.clone();
    let folders = with_timeout(QUICK_TIMEOUT, move |_| RootFolders::load(&path)).await.unwrap_or_default();
    if !folders.labs.is_empty() {
        let labs = folders.labs.into_iter();
        return Ok(labs
            .map(|(lab, folder)| {
                let folder = folder.join("Subjects");
                LabPlace { lab: Some(lab), placement: options.placement_in(&folder), folder: Some(folder) }
            })
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
    labs.sort_unstable();
    labs.dedup();
    let placements = options.placements([root.path.as_path()]);
    let of_lab = |lab: &Option<String>| {
        let lab = lab.clone();
        placements.iter().map(move |place| LabPlace {
            lab: lab.clone(),
            folder: None,
            placement: place.clone(),
        })
    };
    Ok(labs.iter().flat_map(of_lab).collect())
}
