//! Completeness: what a session still waits for, by its own files and by what the configuration expects.

use alf::SessionPath;
use glob::Pattern;

use crate::files::{Entry, SessionFiles};
use crate::layer::Field;
use crate::metadata::SessionMetadata;
use crate::options::{Expectation, Options};
use crate::problem::Missing;
use crate::readers::iblrig::description;
use crate::readers::spikeglx;

/// Files that are not finished as long as they are empty.
const NEVER_EMPTY: [&str; 7] = [".mp4", ".avi", ".mkv", ".mov", ".mj2", ".tif", ".cbin"];

/// What is missing. Broken files are no matter here: the readers report them.
pub fn missing(
    files: &dyn SessionFiles,
    session: &SessionPath,
    metadata: &SessionMetadata,
    options: &Options,
) -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut lacks = |what: &str, why: String| missing.push(Missing { what: what.to_owned(), why });
    let entries = files.list();
    for entry in entries.iter().filter(|entry| entry.size.is_some()) {
        if options.wait_for.iter().any(|pattern| pattern.matches(&entry.path)) {
            lacks(&entry.path, "this file must be gone first (metadata.wait_for)".to_owned());
        }
        if entry.size.is_some_and(|size| is_unfinished(&entry.path, size)) {
            lacks(&entry.path, "the file is still empty; copy it again, or remove it".to_owned());
        }
    }
    for expectation in options.expect.iter().filter(|expectation| applies(expectation, session, metadata)) {
        for pattern in &expectation.files {
            if !entries.iter().any(|entry| entry.size > Some(0) && pattern.matches(&entry.path)) {
                lacks(
                    pattern.as_str(),
                    "no file with content matches this pattern (metadata.expect)".to_owned(),
                );
            }
        }
    }
    if options.readers.iter().any(|name| name == "iblrig")
        && let Ok(Some(description)) = description::load(files)
    {
        for collection in &description.collections {
            let exists = entries.iter().any(|entry| is_in(entry, collection) || entry.path == *collection);
            let holds_file = entries.iter().any(|entry| entry.size.is_some() && is_in(entry, collection));
            if !holds_file && (exists || options.all_devices) {
                let state = match exists {
                    true => "holds no file yet",
                    false => "is not there yet (complete: all_devices)",
                };
                let path = &description.path;
                lacks(
                    collection,
                    format!("the folder {state}; bring its files, or correct {path}, which declares it"),
                );
            }
        }
    }
    if options.readers.iter().any(|name| name == "spikeglx") {
        for entry in spikeglx::metas(files) {
            let binary = entry.path.strip_suffix("meta").map(|stem| format!("{stem}bin")).unwrap_or_default();
            let Some(size) = entries.iter().find(|entry| entry.path == binary).and_then(|entry| entry.size)
            else {
                continue;
            };
            let expected = spikeglx::load(files, &entry.path).ok().and_then(|meta| meta.size);
            if let Some(expected) = expected.filter(|expected| *expected != size) {
                let why = format!(
                    "the file has {size} of the {expected} bytes that {} names; copy both again",
                    entry.path
                );
                lacks(&binary, why);
            }
        }
    }
    missing
}

/// Whether a file is empty that has content when it is finished.
pub(crate) fn is_unfinished(path: &str, size: u64) -> bool {
    size == 0 && NEVER_EMPTY.iter().any(|ending| path.to_lowercase().ends_with(ending))
}

/// Whether a session must have the files of an expectation.
fn applies(expectation: &Expectation, session: &SessionPath, metadata: &SessionMetadata) -> bool {
    let fits = |pattern: &Option<Pattern>, names: &[&str]| {
        pattern.as_ref().is_none_or(|pattern| names.iter().any(|name| pattern.matches(name)))
    };
    let protocol: Vec<&str> = metadata.text(Field::TaskProtocol).into_iter().collect();
    fits(&expectation.project, &metadata.names(Field::Projects))
        && fits(&expectation.protocol, &protocol)
        && fits(&expectation.subject, &[session.subject()])
}

/// Whether an entry is below a folder, which may be a pattern such as `raw_ephys_data/probe*`.
fn is_in(entry: &Entry, folder: &str) -> bool {
    let below = entry.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    below
        || (folder.contains('*')
            && Pattern::new(&format!("{folder}/*")).is_ok_and(|p| p.matches(&entry.path)))
}
