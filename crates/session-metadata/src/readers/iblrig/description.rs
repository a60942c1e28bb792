//! The experiment description, `_ibl_experiment.description*.yaml`: which tasks and devices a session has.

use serde_yaml::{Mapping, Value};

use crate::files::{SessionFiles, named, read_text};
use crate::problem::{Problem, ProblemKind};
use crate::text::locate::{KeyPath, Syntax, line_of};
use crate::text::parse_yaml;

/// A description has a few hundred lines at most.
pub const MAX_BYTES: u64 = 256 * 1024;

/// What a description says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Description {
    /// Its path in the session.
    pub path: String,
    /// The collections of the tasks, sorted by name. Empty: a passive session.
    pub tasks: Vec<String>,
    /// All collections that tasks, devices and the synchronisation declare, sorted by name.
    pub collections: Vec<String>,
    /// The procedures.
    pub procedures: Vec<String>,
    /// The projects.
    pub projects: Vec<String>,
}

/// Reads the description of a session; `None` without one.
///
/// # Errors
/// What is wrong with it.
pub fn load(files: &dyn SessionFiles) -> Result<Option<Description>, Problem> {
    let Some(path) = named(files, "", "_ibl_experiment.description", ".yaml").next() else { return Ok(None) };
    let text = read_text(files, path, MAX_BYTES)?;
    let value = parse_yaml(&text).map_err(|fault| Problem::syntax(path, fault))?;
    let keys = match value {
        Value::Null => Mapping::new(),
        Value::Mapping(keys) => keys,
        _ => {
            let message = "this is not an experiment description (key: value lines); restore the file";
            return Err(Problem::new(ProblemKind::Value, path, "", message));
        }
    };
    let wrong = |key: &str, wanted: &str| {
        let line = line_of(&text, Syntax::Yaml, &KeyPath::of(key));
        let message = format!("this is not {wanted}; correct it");
        Problem::new(ProblemKind::Value, path, key, message).on_line(line)
    };
    let texts = |key: &str| match keys.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Sequence(items)) if items.iter().all(Value::is_string) => {
            Ok(items.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        Some(_) => Err(wrong(key, "a list of texts")),
    };
    let (procedures, projects) = (texts("procedures")?, texts("projects")?);
    let mut tasks = Vec::new();
    match keys.get("tasks") {
        None | Some(Value::Null) => {}
        // Before version 0.1.0 a plain map, since then a list of maps with one key each.
        Some(Value::Mapping(map)) => collect(map, &mut tasks),
        Some(Value::Sequence(items)) if items.iter().all(Value::is_mapping) => {
            items.iter().filter_map(Value::as_mapping).for_each(|map| collect(map, &mut tasks));
        }
        Some(_) => return Err(wrong("tasks", "a list of tasks")),
    }
    let mut collections = tasks.clone();
    for key in ["devices", "sync"] {
        if let Some(Value::Mapping(map)) = keys.get(key) {
            collect(map, &mut collections);
        }
    }
    for list in [&mut tasks, &mut collections] {
        list.sort();
        list.dedup();
    }
    Ok(Some(Description { path: path.to_owned(), tasks, collections, procedures, projects }))
}

/// The values of all keys `collection` below.
fn collect(map: &Mapping, into: &mut Vec<String>) {
    for (key, value) in map {
        match value {
            Value::Mapping(below) => collect(below, into),
            Value::String(name) if key.as_str() == Some("collection") && !name.is_empty() => {
                into.push(name.trim_end_matches('/').to_owned());
            }
            Value::Sequence(names) if key.as_str() == Some("collection") => {
                into.extend(names.iter().filter_map(Value::as_str).map(str::to_owned));
            }
            _ => {}
        }
    }
}
