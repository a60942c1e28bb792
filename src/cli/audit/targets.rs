//! What the arguments of an audit name: subjects, sessions and folders.

use std::path::Path;

use uuid::Uuid;

use crate::cli::args::absolute;
use crate::cli::audit::scope::{Target, is_path};
use crate::cli::exit::Exit;
use crate::cli::output::Failure;
use crate::config::Config;
use alf::SessionPath;
use alyx_registration::{RegistrationClient, SessionReference};

/// What the arguments name.
pub(in crate::cli) async fn targets(
    words: &[String],
    config: &Config,
    client: &RegistrationClient,
    folders: &[SessionPath],
) -> Result<Vec<Target>, Failure> {
    let here = std::env::current_dir()
        .map_err(|error| Failure::new(Exit::Io, format!("the working folder cannot be found: {error}")))?;
    let mut targets = Vec::new();
    for word in words {
        let eid = if word.contains("://") {
            match SessionReference::parse(word)? {
                SessionReference::Eid(eid) => Some(eid),
                SessionReference::Folder(_) => None,
            }
        } else {
            Uuid::try_parse(word).ok()
        };
        if let Some(eid) = eid {
            let record = client.alyx().session_without_datasets(&eid.to_string()).await?;
            targets.push(Target::Eid { eid: eid.to_string(), subject: record.subject });
            continue;
        }
        if !is_path(word) {
            targets.push(Target::Subject(word.clone()));
            continue;
        }
        let folder = absolute(Path::new(word), &here);
        let is_in_root = |folder: &Path| config.data_roots.iter().any(|root| folder.starts_with(&root.path));
        let is_above_root = config.data_roots.iter().any(|root| root.path.starts_with(&folder));
        let holds_sessions = folders.iter().any(|session| session.folder().starts_with(&folder));
        match SessionPath::parse(Path::new(word)) {
            Ok(session) if is_in_root(&folder) || !Path::new(word).is_absolute() => {
                targets.push(Target::Session(session));
            }
            _ if holds_sessions => targets.push(Target::Folder(folder)),
            _ if is_in_root(&folder) || is_above_root => {
                let text = format!(
                    "there is no session in {folder:?}; name a data root, the folder of a subject, or a session"
                );
                return Err(Failure::new(Exit::Incomplete, text));
            }
            _ => {
                let text = format!(
                    "{folder:?} is in no data root; add --data-root with the folder that holds the subjects"
                );
                return Err(Failure::new(Exit::Incomplete, text));
            }
        }
    }
    Ok(targets)
}
