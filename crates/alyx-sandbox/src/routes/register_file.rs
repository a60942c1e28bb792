//! `POST /register-file`: creates or updates the records of files, one after the other.
//!
//! Not atomic: the files before a refused one stay registered, and the refused one leaves partial records.

use serde_json::{Map, Value, json};

use crate::http::message::{Error, Reply, Request};
use crate::routes::protected;
use crate::routes::protected::{NoOwner, Owner};
use crate::rules::fields::{python_text, python_type};
use crate::rules::kinds::kind;
use crate::rules::names::{FilePlace, dataset_type};
use crate::rules::qc::QC;
use crate::store::{Repository, Store};

/// The fields of a request that concern all files.
struct Order {
    user: String,
    owner: Owner,
    repositories: Vec<Repository>,
    /// The repositories that have the files already.
    present_in: Vec<String>,
    default: bool,
    now: String,
}

/// One file of a request.
struct FileOrder<'a> {
    place: &'a FilePlace,
    hash: String,
    size: Option<i64>,
    version: String,
    qc: &'a Value,
}

pub(super) fn register(store: &mut Store, request: &Request) -> Result<Reply, Error> {
    let body = request.data()?;
    if !body.is_object() {
        return Err(Error::internal(format!("'{}' object has no attribute 'get'", python_type(body))));
    }
    let user = protected::creator(store, body, &request.user)?;
    let named = named_repository(store, body)?;
    let path = protected::folder(body)?;
    let path = path.trim_matches('/');
    let files = protected::filenames(body)?;
    let n = files.len();
    let versions = spread(protected::list(body, "versions"), body, "versions", n);
    let hashes = protected::list(body, "hashes").map(|l| l.unwrap_or_else(|| vec![Value::Null; n]));
    let sizes = sizes(body, n)?;
    let qc = grades(body, n);
    let server_only = flag(body, "server_only", false);

    let (owner, mut repositories) = match protected::object_owner(store, body)? {
        Some(owner) => match &named {
            Some(repository) => (owner, vec![repository.clone()]),
            None => {
                let text = "A valid repository name or hostname must be provided for non-session datasets.";
                return Err(Error::file(400, "detail", text));
            }
        },
        None => {
            let owner = protected::session_owner(store, path, &user, &request.now).map_err(refusal)?;
            (owner, Vec::new())
        }
    };
    let places = protected::places(&owner, path, &files)?;
    if let Owner::Session { subject, .. } = &owner {
        repositories = lab_repositories(store, body, subject, server_only)?;
    }
    if let Some(named) = &named
        && !repositories.contains(named)
    {
        repositories.push(named.clone());
    }
    let present_in = match (flag(body, "exists", true), server_only, &named) {
        (false, ..) => Vec::new(),
        (true, true, _) => repositories.iter().map(|r| r.name.clone()).collect(),
        (true, false, Some(named)) => vec![named.name.clone()],
        // With neither a repository nor server_only, the file exists nowhere.
        (true, false, None) => Vec::new(),
    };
    if flag(body, "check_protected", false)
        && let Some(verdict) = protected::protection(store, &owner, &files, &places)?
    {
        return Err(Reply::json(403, verdict).into());
    }
    let default = flag(body, "default", true);
    let order = Order { user, owner, repositories, present_in, default, now: request.now.clone() };
    let mut records = Vec::with_capacity(n);
    // The shortest list determines the number of files.
    for ((((place, hash), size), version), qc) in
        places.iter().zip(hashes?).zip(sizes).zip(versions?).zip(&qc?)
    {
        let text = |v: &Value| if v.is_null() { String::new() } else { python_text(v) };
        let file = FileOrder { place, hash: text(&hash), size, version: text(&version), qc };
        records.push(register_one(store, &order, &file)?);
    }
    Ok(Reply::json(201, records.into()))
}

fn refusal(why: NoOwner) -> Error {
    match why {
        NoOwner::Path(text) => Error::file(400, "error", text),
        NoOwner::Subject(name) => {
            Error::file(400, "error", format!("A subject with nickname \"{name}\" does not exist."))
        }
        NoOwner::Error(error) => error,
    }
}

fn named_repository(store: &Store, body: &Value) -> Result<Option<Repository>, Error> {
    let found = match (protected::text(body, "name"), protected::text(body, "hostname")) {
        (Some(name), _) => store.repository(&name)?,
        (None, Some(host)) => match store.repositories_on(&host)?.as_slice() {
            [] => None,
            [one] => store.repository(one)?,
            many => {
                let n = many.len();
                let text = format!("get() returned more than one DataRepository -- it returned {n}!");
                return Err(Error::internal(text));
            }
        },
        (None, None) => return Ok(None),
    };
    match found {
        Some(repository) => Ok(Some(repository)),
        None => Err(Error::file(400, "detail", "The specified repository does not exist.")),
    }
}

/// The repositories of the given labs, or else of the subject's lab.
fn lab_repositories(
    store: &Store,
    body: &Value,
    subject: &str,
    server_only: bool,
) -> Result<Vec<Repository>, Error> {
    let mut labs: Vec<String> = Vec::new();
    for key in ["labs", "projects"] {
        labs.extend(protected::list(body, key)?.unwrap_or_default().iter().map(python_text));
    }
    labs.retain(|l| !l.is_empty());
    if labs.is_empty() {
        labs.extend(store.subject_lab(subject)?);
    }
    let mut found: Vec<Repository> = Vec::new();
    for lab in labs {
        let Some(lab) = store.member("labs", &lab)? else {
            return Err(Error::file(400, "detail", "One or more of the specified labs do not exist."));
        };
        for name in lab.get("repositories").and_then(Value::as_array).into_iter().flatten() {
            let Some(repository) = store.repository(name.as_str().unwrap_or_default())? else { continue };
            if !found.contains(&repository) && (!server_only || repository.personal == Some(false)) {
                found.push(repository);
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// A switch; text counts only as `True`.
fn flag(body: &Value, key: &str, default: bool) -> bool {
    match body.get(key) {
        None => default,
        Some(Value::Bool(yes)) => *yes,
        Some(Value::String(text)) => text == "True",
        Some(Value::Number(n)) => n.as_f64() != Some(0.0),
        Some(Value::Null) => false,
        Some(other) => !matches!(other, Value::Array(a) if a.is_empty()),
    }
}

type List = Result<Vec<Value>, Error>;

/// A list, or one text that applies to every file.
fn spread(list: Result<Option<Vec<Value>>, Error>, body: &Value, key: &str, n: usize) -> List {
    let list = list?.unwrap_or_else(|| vec![Value::Null; n]);
    let single = list.len() == 1 && body.get(key).is_some_and(Value::is_string);
    Ok(if single { list.into_iter().cycle().take(n).collect() } else { list })
}

fn grades(body: &Value, n: usize) -> List {
    match body.get("qc") {
        None | Some(Value::Null) => Ok(vec!["NOT_SET".into(); n]),
        Some(Value::Array(list)) if list.is_empty() => Ok(vec!["NOT_SET".into(); n]),
        _ => spread(protected::list(body, "qc"), body, "qc", n),
    }
}

fn sizes(body: &Value, n: usize) -> Result<Vec<Option<i64>>, Error> {
    let list = match body.get("filesizes") {
        None => vec![Value::Null; n],
        Some(one @ (Value::Number(_) | Value::Null)) => vec![one.clone()],
        Some(_) => protected::list(body, "filesizes")?.unwrap_or_default(),
    };
    let read = |v: &Value| match v {
        Value::Null => Ok(None),
        Value::Number(n) => Ok(n.as_i64().or_else(|| n.as_f64().map(|x| x as i64))),
        other => match python_text(other).trim().parse() {
            Ok(size) => Ok(Some(size)),
            Err(_) => {
                let text = format!("invalid literal for int() with base 10: '{}'", python_text(other));
                Err(Error::internal(text))
            }
        },
    };
    list.iter().map(read).collect()
}

/// A QC outcome by name in any case, or by number, as text or not.
fn grade(value: &Value) -> Option<i64> {
    let text = python_text(value);
    let by_number = || text.parse::<i64>().ok().filter(|n| QC.iter().any(|(_, g)| g == n));
    match value {
        Value::Null => Some(0),
        _ if text.is_empty() => Some(0),
        _ => QC.iter().find(|(n, _)| n.eq_ignore_ascii_case(&text)).map(|(_, g)| *g).or_else(by_number),
    }
}

fn register_one(store: &mut Store, order: &Order, file: &FileOrder<'_>) -> Result<Value, Error> {
    let place = file.place;
    let revision = (!place.revision.is_empty()).then_some(place.revision.as_str());
    if let Some(name) = revision
        && !store.member_exists("revisions", name)?
        && let Some(kind) = kind("revisions")
    {
        let given = Map::from_iter([("name".to_owned(), name.into())]);
        // The current time, not the request's: it orders revisions that one request makes.
        let record = kind.new_record(&given, &crate::rules::time::now());
        store.put_member("revisions", name, &record)?;
    }
    let folder = revision.map(|r| format!("#{r}#")).unwrap_or_default();
    let parts = [&place.session, &place.collection, &folder, &place.filename];
    let path = parts.into_iter().filter(|p| !p.is_empty()).cloned().collect::<Vec<_>>().join("/");

    let kind = dataset_type(&place.filename, store.type_patterns()?).map_err(Error::internal)?.to_owned();
    let format = data_format(store, &place.filename)?;
    let key = order.owner.key(place);
    // From here on a refusal leaves partial records, as in Alyx: the other revisions lose the default flag first.
    if order.default {
        store.clear_default(&key, &order.now)?;
    }
    let dataset = store.get_or_create_dataset(&key, (&kind, &format), revision, &order.now)?;
    let id = dataset.id.as_str();
    let Some(qc) = grade(file.qc) else {
        let text = format!("Invalid QC value \"{}\" for dataset \"{path}\"", python_text(file.qc));
        return Err(Error::file(400, "detail", text));
    };
    let mut columns = Map::new();
    columns.insert("default_dataset".into(), order.default.into());
    columns.insert("qc".into(), qc.into());
    columns.insert("auto_datetime".into(), order.now.as_str().into());
    if !dataset.new && !store.protecting_tags(id)?.is_empty() {
        store.update("dataset", id, &columns)?;
        return Err(Error::file(403, "detail", format!("Dataset {id} is protected, cannot patch")));
    }
    for (name, text) in [("hash", &file.hash), ("version", &file.version)] {
        let length = text.chars().count();
        if length > 64 {
            columns.retain(|key, _| !matches!(key.as_str(), "hash" | "version"));
            store.update("dataset", id, &columns)?;
            let why = format!("Ensure this value has at most 64 characters (it has {length}).");
            let text = format!("Invalid dataset \"{path}\": {{'{name}': ['{why}']}}");
            return Err(Error::file(400, "detail", text));
        }
        if length > 0 {
            columns.insert(name.into(), text.as_str().into());
        }
    }
    columns.insert("created_by".into(), order.user.as_str().into());
    if let Some(size) = file.size {
        columns.insert("file_size".into(), size.into());
    }
    store.update("dataset", id, &columns)?;
    // Unless both checksums are known, the file counts as changed.
    let changed = file.hash.is_empty() || dataset.hash.is_empty() || dataset.hash != file.hash;
    for repository in &order.repositories {
        let present = order.present_in.contains(&repository.name);
        if store.put_file(id, &repository.name, &path, present, changed)?.is_none() {
            let name = &repository.name;
            let text = format!(
                "A file record for \"{path}\" already exists on repository \"{name}\" for a different dataset."
            );
            return Err(Error::file(400, "detail", text));
        }
    }
    shown(store, order, id)
}

fn data_format(store: &mut Store, filename: &str) -> Result<String, Error> {
    // A leading dot begins a name, not an extension.
    let stem = filename.trim_start_matches('.');
    let extension = stem.rfind('.').map_or("", |at| &stem[at..]);
    let found = store.formats_with(extension)?;
    match found.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => Err(Error::internal("DataFormat matching query does not exist.")),
        many => {
            let n = many.len();
            Err(Error::internal(format!("get() returned more than one DataFormat -- it returned {n}!")))
        }
    }
}

fn shown(store: &Store, order: &Order, id: &str) -> Result<Value, Error> {
    let record = store.registered(id)?;
    let mut out = Map::new();
    for (key, value) in record {
        match (key.as_str(), &order.owner) {
            ("created_by", owner) => {
                let subject = match owner {
                    Owner::Session { subject, .. } => Some(subject.clone()),
                    Owner::Object { content_type, id } if content_type == "subjects.subject" => {
                        store.subject_name(id)?
                    }
                    Owner::Object { .. } => None,
                };
                out.insert("subject".into(), json!(subject));
                out.insert(key, value);
            }
            ("content_type", Owner::Session { id, number, start_time, users, .. }) => {
                out.insert("session".into(), id.as_str().into());
                out.insert("session_number".into(), json!(number));
                out.insert("session_users".into(), users.join(",").into());
                out.insert("session_start_time".into(), json!(start_time));
            }
            ("object_id", Owner::Session { .. }) => {}
            _ => {
                out.insert(key, value);
            }
        }
    }
    out.insert("file_records".into(), store.registered_files(id)?.into());
    Ok(Value::Object(out))
}
