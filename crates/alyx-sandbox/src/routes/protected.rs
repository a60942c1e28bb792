//! `GET /check-protected`, and the parts shared with `/register-file`: the owner of the files, and their paths.

use serde_json::{Map, Value, json};

use crate::http::message::{Error, Reply, Request};
use crate::rules::fields::{is_uuid, python_text};
use crate::rules::names::{BadPlace, FilePlace, aggregate_place, place, session_part};
use crate::rules::time;
use crate::rules::time::bad_date;
use crate::store::{DatasetKey, Store};

/// The owner of a request's files.
pub(super) enum Owner {
    Session {
        id: String,
        number: Option<i64>,
        start_time: Option<String>,
        users: Vec<String>,
        subject: String,
    },
    Object {
        content_type: String,
        id: String,
    },
}

impl Owner {
    pub fn key(&self, place: &FilePlace) -> DatasetKey {
        let (session, content_type, object_id) = match self {
            Owner::Session { id, .. } => (Some(id.clone()), None, None),
            Owner::Object { content_type, id } => (None, Some(content_type.clone()), Some(id.clone())),
        };
        DatasetKey {
            session,
            content_type,
            object_id,
            collection: place.collection.clone(),
            name: place.filename.clone(),
        }
    }
}

/// Why the owner of files was not found. The two endpoints word it differently.
pub(super) enum NoOwner {
    /// The path names no existing session; the text says why.
    Path(String),
    /// No subject has that name.
    Subject(String),
    Error(Error),
}

impl From<rusqlite::Error> for NoOwner {
    fn from(error: rusqlite::Error) -> Self {
        NoOwner::Error(error.into())
    }
}

/// The session that a path names. As a side effect, the user joins the session and the day's parent session, and the
/// session gets that parent: Alyx does this even for a mere query.
pub(super) fn session_owner(store: &Store, path: &str, user: &str, now: &str) -> Result<Owner, NoOwner> {
    let Some(part) = session_part(path) else {
        return Err(NoOwner::Path(format!("The path {path} should be `nickname/YYYY-MM-DD/n/...")));
    };
    let (subject, date) = (part.subject, part.date);
    let number: i64 = part.number.parse().unwrap_or(0);
    if !store.exists("subjects", subject)? {
        return Err(NoOwner::Subject(path.split('/').next().unwrap_or_default().to_owned()));
    }
    if time::real_date(date).is_none() {
        return Err(NoOwner::Error(bad_date(date)));
    }
    let Some(base) = store.base_session(subject, date)? else {
        let text = format!("A base session for {subject} on {date} does not exist");
        return Err(NoOwner::Path(text));
    };
    join(store, &base.id, &base.users, user, now)?;
    let Some(session) = store.numbered_session(subject, date, number)? else {
        let text = format!("A session for {subject}/{number} on {date} does not exist");
        return Err(NoOwner::Path(text));
    };
    let users = join(store, &session.id, &session.users, user, now)?;
    if session.parent.is_none() && session.id != base.id {
        let columns = json!({"parent_session": base.id, "auto_datetime": now});
        store.update("session", &session.id, columns.as_object().unwrap_or(&Map::new()))?;
    }
    let (number, start_time) = (session.number, session.start_time);
    Ok(Owner::Session { id: session.id, number, start_time, users, subject: subject.to_owned() })
}

fn join(store: &Store, id: &str, users: &[String], user: &str, now: &str) -> rusqlite::Result<Vec<String>> {
    let mut users = users.to_vec();
    if !users.iter().any(|u| u == user) {
        users.push(user.to_owned());
        users.sort();
        let columns = json!({"users": users, "auto_datetime": now});
        store.update("session", id, columns.as_object().unwrap_or(&Map::new()))?;
    }
    Ok(users)
}

/// The object of `content_type` and `object_id`; `None` without either.
pub(super) fn object_owner(store: &Store, body: &Value) -> Result<Option<Owner>, Error> {
    let (kind, id) = match (text(body, "content_type"), text(body, "object_id")) {
        (None, None) => return Ok(None),
        (Some(kind), Some(id)) => (kind, id),
        _ => {
            let text = "Both content_type and object_id should be provided together.";
            return Err(Error::file(400, "error", text));
        }
    };
    let known = ["subjects.subject", "actions.session", "data.dataset", "data.tag"];
    let full = known.iter().find(|k| **k == kind || k.split_once('.').is_some_and(|(_, m)| m == kind));
    let Some((full, (_, model))) = full.and_then(|k| Some((k, k.split_once('.')?))) else {
        return Err(Error::file(400, "detail", format!("Invalid content type: {kind}")));
    };
    if !is_uuid(&id) || !store.object_exists(model, &id)? {
        return Err(Error::file(400, "detail", format!("Invalid object ID: {id}")));
    }
    Ok(Some(Owner::Object { content_type: (*full).to_owned(), id }))
}

/// The places of the files, in order; the first invalid path refuses them all.
pub(super) fn places(owner: &Owner, folder: &str, files: &[String]) -> Result<Vec<FilePlace>, Error> {
    let read = |file: &String| match owner {
        Owner::Session { .. } => place(folder, file),
        Owner::Object { .. } => aggregate_place(folder, file),
    };
    files.iter().map(read).collect::<Result<_, _>>().map_err(|bad| {
        let text = match bad {
            // Alyx's message lacks this space, too.
            BadPlace::BelowRevision => {
                "Invalid ALF path. There must be only 1 revision and it cannot containsub folders. \
                 A revision folder must be surrounded by pound signs (#)."
            }
            BadPlace::NotAlf => {
                "Invalid ALF path. Only letters, numbers, hyphen and underscores allowed. \
                 A revision folder must be surrounded by pound signs (#)."
            }
        };
        Error::file(400, "detail", text)
    })
}

/// The body that lists protected files, if any file is protected in any of its revisions.
pub(super) fn protection(
    store: &Store,
    owner: &Owner,
    files: &[String],
    places: &[FilePlace],
) -> Result<Option<Value>, Error> {
    let mut details = Vec::with_capacity(files.len());
    let mut any = false;
    for (file, place) in files.iter().zip(places) {
        let revisions = store.revisions(&owner.key(place))?;
        any |= revisions.iter().any(|(_, protected)| *protected);
        let shown: Vec<Value> =
            revisions.into_iter().map(|(name, p)| Map::from_iter([(name, p.into())]).into()).collect();
        details.push(Value::Object(Map::from_iter([(file.clone(), shown.into())])));
    }
    let error = "One or more datasets is protected";
    Ok(any.then(|| json!({"status_code": 403, "error": error, "details": details})))
}

/// The list under a key: a list unchanged, text split at commas, an absent key as empty.
pub(super) fn list(body: &Value, key: &str) -> Result<Option<Vec<Value>>, Error> {
    let not_iterable = |kind: &str| Error::internal(format!("'{kind}' object is not iterable"));
    match body.get(key) {
        None => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items.clone())),
        Some(Value::String(text)) => Ok(Some(text.split(',').map(Value::from).collect())),
        Some(other) => Err(not_iterable(crate::rules::fields::python_type(other))),
    }
}

/// The file names, without empty ones.
pub(super) fn filenames(body: &Value) -> Result<Vec<String>, Error> {
    let names = list(body, "filenames")?.unwrap_or_default();
    Ok(names.iter().filter(|n| !n.is_null()).map(python_text).filter(|n| !n.is_empty()).collect())
}

/// The text under a key; `None` if it is absent, null or empty.
pub(super) fn text(body: &Value, key: &str) -> Option<String> {
    body.get(key).filter(|v| !v.is_null()).map(python_text).filter(|t| !t.is_empty())
}

/// The user of `created_by`, or else the logged-in user.
pub(super) fn creator(store: &Store, body: &Value, user: &str) -> Result<String, Error> {
    match text(body, "created_by") {
        None => Ok(user.to_owned()),
        Some(name) if store.member_exists("users", &name)? => Ok(name),
        Some(_) => Err(Error::internal("LabMember matching query does not exist.")),
    }
}

/// The path with its slashes normalised; an empty path is an uncaught exception in Alyx.
pub(super) fn folder(body: &Value) -> Result<String, Error> {
    match text(body, "path") {
        Some(path) => Ok(path.replace('\\', "/").replace("//", "/")),
        None => Err(Error::internal("The path argument is required.")),
    }
}

/// Always HTTP 200: the result is the `status_code` in the body.
pub(super) fn check(store: &mut Store, request: &Request) -> Result<Reply, Error> {
    let from_query;
    let body = match request.data()? {
        Value::Object(map) if map.is_empty() => {
            from_query =
                Value::Object(request.query.iter().map(|(k, v)| (k.clone(), v.as_str().into())).collect());
            &from_query
        }
        body => body,
    };
    let user = creator(store, body, &request.user)?;
    let path = folder(body)?;
    let files = filenames(body)?;
    let owner = match object_owner(store, body)? {
        Some(owner) => owner,
        // Refusals that are a 400 of `/register-file` are uncaught exceptions here.
        None => session_owner(store, &path, &user, &request.now).map_err(|e| match e {
            NoOwner::Path(text) => Error::internal(text),
            NoOwner::Subject(_) => Error::internal("Subject matching query does not exist."),
            NoOwner::Error(error) => error,
        })?,
    };
    let places = places(&owner, &path, &files)?;
    let verdict = protection(store, &owner, &files, &places)?;
    let free = || json!({"status_code": 200, "details": "None of the datasets are protected"});
    Ok(Reply::json(200, verdict.unwrap_or_else(free)))
}
