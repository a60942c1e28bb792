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
enum Route {
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
    Empty,
}

impl Route {
    fn find(path: &str) -> Option<Route> {
        let parts: Vec<String> = path.strip_prefix('/')?.split('/').map(|p| unquote(p, false)).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let uuid = |id: &str| is_uuid(id).then(|| id.to_owned());
        Some(match parts.as_slice() {
            ["auth-token"] => Route::Login,
            ["api", "schema"] => Route::Schema,
            ["docs"] | ["docs", ""] => Route::Docs,
            ["subjects"] => Route::Subjects,
            ["subjects", name] if !name.is_empty() => Route::Subject((*name).into()),
            ["sessions"] => Route::Sessions,
            ["sessions", id] => Route::Session(uuid(id)?),
            ["datasets"] => Route::Datasets,
            ["datasets", id] => Route::Dataset(uuid(id)?),
            ["files"] => Route::Files,
            ["files", id] => Route::File(uuid(id)?),
            ["register-file"] => Route::RegisterFile,
            ["check-protected"] => Route::CheckProtected,
            ["weighings"] => Route::Measurements(&measurements::WEIGHT),
            ["weighings", id] => Route::Measurement(&measurements::WEIGHT, uuid(id)?),
            ["water-administrations"] => Route::Measurements(&measurements::WATER),
            ["water-administrations", id] => Route::Measurement(&measurements::WATER, uuid(id)?),
            ["insertions" | "notes" | "data-notices" | "downloads" | "surgeries" | "water-restriction"]
            | ["water-restricted-subjects" | "fields-of-view" | "trajectories" | "tasks"] => Route::Empty,
            // A water type's own address answers the whole list.
            ["water-type", name] if !name.is_empty() => Route::Members(kinds::kind("water-type")?),
            [endpoint] => Route::Members(kinds::kind(endpoint)?),
            [endpoint, name] if !name.is_empty() => {
                let kind = kinds::kind(endpoint)?;
                kind.detail?;
                Route::Member(kind, (*name).into())
            }
            _ => return None,
        })
    }

    fn allow(&self) -> &'static str {
        match self {
            Route::Login | Route::RegisterFile => "POST, OPTIONS",
            Route::Schema | Route::Docs | Route::CheckProtected | Route::Empty => READ,
            Route::Members(kind) => kind.list,
            Route::Member(kind, _) => kind.detail.unwrap_or(READ),
            Route::Subjects | Route::Sessions | Route::Datasets | Route::Measurements(_) => LIST,
            Route::Subject(_) | Route::Session(_) | Route::Dataset(_) | Route::File(_) => DETAIL,
            Route::Measurement(measured, _) => measured.detail,
            Route::Files => READ,
        }
    }

    fn is_public(&self) -> bool {
        matches!(self, Route::Login | Route::Schema | Route::Docs)
    }
}

/// Answers a request: address, then who asks, then how often, then the method, then the work.
pub(super) fn answer(server: &mut Server, request: &Request, at: Instant) -> Answer {
    let Some(place) = Route::find(&request.path) else { return Answer::nowhere() };
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

fn go(store: &mut Store, request: &Request, place: &Route, method: &str, user: &str) -> Result<Answer, Stop> {
    match place {
        Route::Login => login::log_in(store, request),
        Route::Schema => Ok(openapi::schema(request)),
        Route::Docs => Ok(Answer::html(
            200,
            "<!doctype html>\n<p>See <a href=\"/api/schema\">the schema</a>.</p>\n".into(),
        )),
        Route::Members(kind) => members::list(store, request, kind, method, user),
        Route::Member(kind, name) => members::one(store, request, kind, name, method),
        Route::Subjects => subjects::list(store, request, method, user),
        Route::Subject(name) => subjects::one(store, request, name, method),
        Route::Sessions => sessions::list(store, request, method, user),
        Route::Session(id) => sessions::one(store, request, id, method),
        Route::Datasets => datasets::list(store, request, method, user),
        Route::Dataset(id) => datasets::one(store, request, id, method, user),
        Route::Files => files::list(store, request),
        Route::File(id) => files::one(store, request, id, method),
        Route::RegisterFile => register_file::register(store, request, user),
        Route::CheckProtected => protected::check(store, request, user),
        Route::Measurements(measured) => measurements::list(store, request, measured, method, user),
        Route::Measurement(measured, id) => measurements::one(store, request, measured, id, method, user),
        Route::Empty => page(request, 0, |_, _| Ok(Vec::new())),
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
