//! The endpoints: paths, methods, access.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

mod datasets;
mod files;
mod login;
mod measurements;
mod members;
mod protected;
mod register_file;
mod sessions;
mod subjects;

use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::extract::{Path, Request as HttpRequest, State};
use axum::routing::{MethodRouter, any};
use serde_json::json;

use crate::http::message::{Error, Reply, Request};
use crate::http::pagination::paginate;
use crate::http::server::{Server, lock};
use crate::routes::measurements::{WATER, WEIGHT};
use crate::rules::fields::is_uuid;
use crate::rules::kinds::{DETAIL, KINDS, LIST, READ};
use crate::store::Store;

const POST: &str = "POST, OPTIONS";

/// Lists that are always empty, so that searches find nothing instead of failing.
const EMPTY: &str = "insertions notes data-notices downloads surgeries water-restriction water-restricted-subjects \
                     fields-of-view trajectories tasks";

/// What a client may do with a record that it cannot change.
const DELETE: &str = "GET, DELETE, HEAD, OPTIONS";

/// Addresses that lead to others.
const MOVED: [(&str, u16, &str); 3] =
    [("/", 302, "/admin"), ("/docs", 301, "/docs/"), ("/cache/info", 301, "/cache/info/")];

const DOCS: &str = "<!doctype html>\n<html lang=\"en\">\n<head><title>Redoc</title></head>\n\
                    <body><p>The endpoints: <a href=\"/api/schema\">/api/schema</a></p></body>\n</html>\n";

/// The shared state of every endpoint.
type Shared = Arc<Mutex<Server>>;

/// What a path requires of a request before its endpoint runs.
#[derive(Clone, Copy, PartialEq)]
enum Access {
    /// No token.
    Public,
    /// A token.
    Token,
    /// A token, and a UUID as the last part of the path.
    Uuid,
}

/// Every path of the server.
pub(super) fn router(server: Shared) -> Router {
    use Access::{Public, Token, Uuid};
    let mut router = Router::new()
        .route("/auth-token", endpoint(POST, Public, login::log_in))
        .route("/api/schema", endpoint(READ, Public, |_, _| Ok(schema())))
        .route("/subjects", endpoint(LIST, Token, subjects::list))
        .route("/subjects/{name}", endpoint(DETAIL, Token, subjects::one))
        .route("/sessions", endpoint(LIST, Token, sessions::list))
        .route("/sessions/{id}", endpoint(DETAIL, Uuid, sessions::one))
        .route("/datasets", endpoint(LIST, Token, datasets::list))
        .route("/datasets/{id}", endpoint(DETAIL, Uuid, datasets::one))
        .route("/files", endpoint(LIST, Token, files::list))
        .route("/files/{id}", endpoint(DETAIL, Uuid, files::one))
        .route("/register-file", endpoint(POST, Token, register_file::register))
        .route("/check-protected", endpoint(READ, Token, protected::check))
        .route("/weighings", endpoint(LIST, Token, |s, r| measurements::list(s, r, &WEIGHT)))
        .route("/weighings/{id}", endpoint(DELETE, Uuid, |s, r| measurements::one(s, r, &WEIGHT)))
        .route("/water-administrations", endpoint(LIST, Token, |s, r| measurements::list(s, r, &WATER)))
        .route("/water-administrations/{id}", endpoint(DETAIL, Uuid, |s, r| measurements::one(s, r, &WATER)))
        .route("/water-requirement/{name}", endpoint(READ, Token, measurements::requirement))
        // As an Alyx whose tables have not been made.
        .route("/cache/info/", endpoint(READ, Token, |_, _| Err(no_table("cache_info.json"))))
        .route("/cache.zip", endpoint(READ, Token, |_, _| Err(no_table("cache.zip"))))
        .route("/docs/", endpoint(READ, Public, |_, _| Ok(Reply::html(200, DOCS.into()))));
    for (path, status, location) in MOVED {
        router = router.route(path, any(move || async move { Reply::moved(status, location) }));
    }
    for path in EMPTY.split(' ') {
        let empty = |_: &mut Store, request: &Request| paginate(request, 0, |_, _| Ok(Vec::new()));
        router = router.route(&format!("/{path}"), endpoint(READ, Token, empty));
    }
    for kind in &KINDS {
        let path = format!("/{}", kind.endpoint);
        let list = endpoint(kind.list_allows, Token, move |s, r| members::list(s, r, kind));
        router = if kind.detail {
            router.route(
                &format!("{path}/{{name}}"),
                endpoint(kind.one_allows, Token, move |s, r| members::one(s, r, kind)),
            )
        } else if kind.endpoint == "water-type" {
            // A water type's own URL returns the whole list.
            router.route(&format!("{path}/{{name}}"), list.clone())
        } else {
            router
        };
        router = router.route(&path, list);
    }
    router.fallback(|| async { Reply::unknown_path() }).with_state(server)
}

/// A path that accepts every method, runs its endpoint on a blocking thread, and answers 405 with Alyx's `Allow`.
fn endpoint<F>(allow: &'static str, access: Access, run: F) -> MethodRouter<Shared>
where
    F: Fn(&mut Store, &Request) -> Result<Reply, Error> + Copy + Send + Sync + 'static,
{
    any(move |State(server): State<Shared>, name: Option<Path<String>>, mut http: HttpRequest| async move {
        let Some(mut request) = http.extensions_mut().remove::<Request>() else { return Reply::empty() };
        request.name = name.map(|Path(name)| name).unwrap_or_default();
        if access == Access::Uuid && !is_uuid(&request.name) {
            return Reply::unknown_path();
        }
        let job = move || {
            let reply = reply(&mut lock(&server), &mut request, allow, access, run);
            Reply { allow: Some(allow), ..reply }
        };
        tokio::task::spawn_blocking(job).await.unwrap_or_else(|error| Reply::detail(500, error.to_string()))
    })
}

/// Authenticates, throttles, checks the method, then runs the endpoint, in Alyx's order.
fn reply(
    server: &mut Server,
    request: &mut Request,
    allow: &str,
    access: Access,
    run: impl Fn(&mut Store, &Request) -> Result<Reply, Error>,
) -> Reply {
    let throttle = &mut server.throttle;
    let outcome = server.store.work(|store| {
        if access != Access::Public {
            request.user = authenticate(store, request)?;
            // Also before HEAD and OPTIONS: only GET is exempt.
            if request.method != "GET" && store.is_public_user(&request.user)? {
                let text = "You do not have permission to perform this action.";
                return Err(Reply::detail(403, text).into());
            }
            if let Some(Err(wait)) = throttle.as_mut().map(|t| t.admit(&request.user, Instant::now())) {
                return Err(throttled(wait).into());
            }
        }
        match request.method.as_str() {
            "OPTIONS" => return Ok(Reply::json(200, json!({"name": "sandbox"}))),
            "HEAD" if allow.contains("HEAD") => request.method = "GET".into(),
            method if allow.split(", ").any(|m| m == method) => {}
            method => return Err(not_allowed(method)),
        }
        run(store, request)
    });
    outcome.unwrap_or_else(Error::into_reply)
}

fn not_allowed(method: &str) -> Error {
    Reply::detail(405, format!("Method \"{method}\" not allowed.")).into()
}

/// The error of an Alyx that has no tables for ONE to download.
fn no_table(name: &str) -> Error {
    Error::internal(format!("[Errno 2] No such file or directory: '{name}'"))
}

/// The OpenAPI description of the endpoints, their actions, parameters and fields.
fn schema() -> Reply {
    Reply::new(200, "application/vnd.oai.openapi+json", include_str!("../openapi.json").into())
}

/// The user whose token came with the request. A missing token and an expired one are both 403, never 401.
fn authenticate(store: &Store, request: &Request) -> Result<String, Error> {
    let refused = |text: &str| Error::from(Reply::detail(403, text));
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

fn throttled(wait: u64) -> Reply {
    let unit = if wait == 1 { "second" } else { "seconds" };
    let text = format!("Request was throttled. Expected available in {wait} {unit}.");
    Reply { retry_after: Some(wait), ..Reply::detail(429, text) }
}
