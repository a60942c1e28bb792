//! The rules of the server: which address and method lead where, and who may go there.

mod datasets;
mod files;
mod login;
mod measurements;
mod members;
mod openapi;
mod protected;
mod register_file;
mod sessions;
mod subjects;

use std::time::Instant;

use serde_json::json;

use crate::fields::is_uuid;
use crate::kinds;
use crate::kinds::{DETAIL, Kind, LIST, READ};
use crate::message::{Answer, Content, Request, Stop};
use crate::page::{page, unquote};
use crate::store::Store;
use crate::throttle::Throttle;

pub(super) use crate::routes::members::new_member;

/// Everything that a request may change.
pub(super) struct Server {
    pub store: Store,
    pub throttle: Option<Throttle>,
}

/// An address.
enum Place {
    Login,
    Schema,
    Docs,
    Members(&'static Kind),
    Member(&'static Kind, String),
    Subjects,
    Subject(String),
    Sessions,
    Session(String),
    Datasets,
    Dataset(String),
    Files,
    File(String),
    RegisterFile,
    CheckProtected,
    Measurements(&'static measurements::Measured),
    Measurement(&'static measurements::Measured, String),
    /// A list that the sandbox knows of and never fills, so that searches find nothing rather than fail.
    Nothing,
}

impl Place {
    fn find(path: &str) -> Option<Place> {
        let parts: Vec<String> = path.strip_prefix('/')?.split('/').map(|p| unquote(p, false)).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let uuid = |id: &str| is_uuid(id).then(|| id.to_owned());
        Some(match parts.as_slice() {
            ["auth-token"] => Place::Login,
            ["api", "schema"] => Place::Schema,
            ["docs"] | ["docs", ""] => Place::Docs,
            ["subjects"] => Place::Subjects,
            ["subjects", name] if !name.is_empty() => Place::Subject((*name).into()),
            ["sessions"] => Place::Sessions,
            ["sessions", id] => Place::Session(uuid(id)?),
            ["datasets"] => Place::Datasets,
            ["datasets", id] => Place::Dataset(uuid(id)?),
            ["files"] => Place::Files,
            ["files", id] => Place::File(uuid(id)?),
            ["register-file"] => Place::RegisterFile,
            ["check-protected"] => Place::CheckProtected,
            ["weighings"] => Place::Measurements(&measurements::WEIGHT),
            ["weighings", id] => Place::Measurement(&measurements::WEIGHT, uuid(id)?),
            ["water-administrations"] => Place::Measurements(&measurements::WATER),
            ["water-administrations", id] => Place::Measurement(&measurements::WATER, uuid(id)?),
            ["insertions" | "notes" | "data-notices" | "downloads" | "surgeries" | "water-restriction"]
            | ["water-restricted-subjects" | "fields-of-view" | "trajectories" | "tasks"] => Place::Nothing,
            // A water type's own address answers the whole list.
            ["water-type", name] if !name.is_empty() => Place::Members(kinds::kind("water-type")?),
            [endpoint] => Place::Members(kinds::kind(endpoint)?),
            [endpoint, name] if !name.is_empty() => {
                let kind = kinds::kind(endpoint)?;
                kind.detail?;
                Place::Member(kind, (*name).into())
            }
            _ => return None,
        })
    }

    fn allow(&self) -> &'static str {
        match self {
            Place::Login | Place::RegisterFile => "POST, OPTIONS",
            Place::Schema | Place::Docs | Place::CheckProtected | Place::Nothing => READ,
            Place::Members(kind) => kind.list,
            Place::Member(kind, _) => kind.detail.unwrap_or(READ),
            Place::Subjects | Place::Sessions | Place::Datasets | Place::Measurements(_) => LIST,
            Place::Subject(_) | Place::Session(_) | Place::Dataset(_) | Place::File(_) => DETAIL,
            Place::Measurement(measured, _) => measured.detail,
            Place::Files => READ,
        }
    }

    fn is_public(&self) -> bool {
        matches!(self, Place::Login | Place::Schema | Place::Docs)
    }
}

/// Answers a request: address, then who asks, then how often, then the method, then the work.
pub(super) fn answer(server: &mut Server, request: &Request, at: Instant) -> Answer {
    let Some(place) = Place::find(&request.path) else { return Answer::nowhere() };
    let throttle = &mut server.throttle;
    let outcome = server.store.work(|store| {
        let mut user = String::new();
        if !place.is_public() {
            user = authenticate(store, request)?;
            if let Some(Err(wait)) = throttle.as_mut().map(|t| t.admit(&user, at)) {
                return Err(throttled(wait).into());
            }
        }
        let method = if request.method == "HEAD" { "GET" } else { request.method.as_str() };
        if !place.allow().split(", ").any(|m| m == method) {
            let text = format!("Method \"{}\" not allowed.", request.method);
            return Err(Answer::detail(405, text).into());
        }
        if method == "OPTIONS" {
            return Ok(Answer::json(200, json!({"name": "sandbox"})));
        }
        go(store, request, &place, method, &user)
    });
    let mut answer = outcome.unwrap_or_else(Stop::into_answer);
    if !matches!(&answer.content, Content::Text { kind, .. } if kind.starts_with("text/html")) {
        answer.allow = Some(place.allow());
    }
    answer
}

fn go(store: &mut Store, request: &Request, place: &Place, method: &str, user: &str) -> Result<Answer, Stop> {
    match place {
        Place::Login => login::log_in(store, request),
        Place::Schema => Ok(openapi::schema(request)),
        Place::Docs => Ok(Answer::html(
            200,
            "<!doctype html>\n<p>See <a href=\"/api/schema\">the schema</a>.</p>\n".into(),
        )),
        Place::Members(kind) => members::list(store, request, kind, method, user),
        Place::Member(kind, name) => members::one(store, request, kind, name, method),
        Place::Subjects => subjects::list(store, request, method, user),
        Place::Subject(name) => subjects::one(store, request, name, method),
        Place::Sessions => sessions::list(store, request, method, user),
        Place::Session(id) => sessions::one(store, request, id, method),
        Place::Datasets => datasets::list(store, request, method, user),
        Place::Dataset(id) => datasets::one(store, request, id, method, user),
        Place::Files => files::list(store, request),
        Place::File(id) => files::one(store, request, id, method),
        Place::RegisterFile => register_file::register(store, request, user),
        Place::CheckProtected => protected::check(store, request, user),
        Place::Measurements(measured) => measurements::list(store, request, measured, method, user),
        Place::Measurement(measured, id) => measurements::one(store, request, measured, id, method, user),
        Place::Nothing => page(request, 0, |_, _| Ok(Vec::new())),
    }
}

/// The user whose token came with the request. A missing token and a dead one are both 403, never 401.
fn authenticate(store: &Store, request: &Request) -> Result<String, Stop> {
    let refused = |text: &str| Stop::from(Answer::detail(403, text));
    let mut words = request.authorization.as_deref().unwrap_or_default().split_whitespace();
    if !words.next().is_some_and(|w| w.eq_ignore_ascii_case("token")) {
        return Err(refused("Authentication credentials were not provided."));
    }
    let Some(token) = words.next() else {
        return Err(refused("Invalid token header. No credentials provided."));
    };
    if words.next().is_some() {
        return Err(refused("Invalid token header. Token string should not contain spaces."));
    }
    store.user_of_token(token)?.ok_or_else(|| refused("Invalid token."))
}

fn throttled(wait: u64) -> Answer {
    let unit = if wait == 1 { "second" } else { "seconds" };
    let text = format!("Request was throttled. Expected available in {wait} {unit}.");
    Answer { retry_after: Some(wait), ..Answer::detail(429, text) }
}
