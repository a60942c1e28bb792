//! The HTTP layer in front of the endpoints: parses requests, injects faults, records requests.

use axum::Router;
use axum::body::{Body as HttpBody, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request as HttpRequest, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::faults::Fault;
use crate::handle::{LONGEST_BODY, RequestSeen, SandboxHandle};
use crate::http::connection::Abort;
use crate::http::message::{Body, MAX_BODY, Reply, Request};
use crate::routes;
use crate::rules::time;

/// A body above Django's limit is read to its end, up to this size, so that the client receives the refusal.
const DRAINED: usize = 64 * 1024 * 1024;

#[derive(Clone)]
struct App {
    handle: SandboxHandle,
    shutdown: CancellationToken,
}

/// The whole server as one axum service.
pub(crate) fn router(handle: SandboxHandle, shutdown: CancellationToken) -> Router {
    let endpoints = routes::router(handle.shared.server.clone());
    endpoints.layer(from_fn_with_state(App { handle, shutdown }, observe))
}

/// Applies the fault for a request, if any, and records the request with the status of its reply.
async fn observe(
    State(app): State<App>,
    ConnectInfo(connection): ConnectInfo<Abort>,
    http: HttpRequest,
    next: Next,
) -> Response {
    let (http, seen) = read(http).await;
    let spared = |fault: &Fault| matches!(fault, Fault::ServerErrorFor(text) if !seen.mentions(text));
    let fault = app.handle.take_fault(&seen.method, &seen.path).filter(|fault| !spared(fault));
    if matches!(fault, Some(Fault::Hang)) {
        app.handle.record(seen);
        app.shutdown.cancelled().await;
        connection.abort();
        return Response::default();
    }
    let response = respond(fault, http, next, app.shutdown).await;
    let status = response.as_ref().map_or(0, |response| response.status().as_u16());
    app.handle.record(RequestSeen { status, ..seen });
    response.unwrap_or_else(|| {
        connection.abort();
        Response::default()
    })
}

/// The request in parsed form, as an extension of the HTTP request, and the record of it.
async fn read(http: HttpRequest) -> (HttpRequest, RequestSeen) {
    let (parts, body) = http.into_parts();
    let bytes = to_bytes(body, DRAINED).await.ok();
    let (method, path) = (parts.method.as_str().to_owned(), parts.uri.path().to_owned());
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let request = Request {
        body: parse(&parts.headers, bytes.as_ref()),
        query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        base: format!("http://{}", text(&parts.headers, header::HOST).unwrap_or("localhost")),
        authorization: text(&parts.headers, header::AUTHORIZATION).map(str::to_owned),
        now: time::now(),
        method: method.clone(),
        path: path.clone(),
        user: String::new(),
        name: String::new(),
    };
    let short = bytes.is_some_and(|b| b.len() <= LONGEST_BODY) && path != "/auth-token";
    let body = match &request.body {
        Body::Data(value) if short && value.as_object().is_none_or(|o| !o.is_empty()) => Some(value.clone()),
        _ => None,
    };
    let mut http = HttpRequest::from_parts(parts, HttpBody::empty());
    http.extensions_mut().insert(request);
    (http, RequestSeen { method, path, query, status: 0, body })
}

/// The response under a fault; `None` if the connection closes without one.
async fn respond(
    fault: Option<Fault>,
    http: HttpRequest,
    next: Next,
    shutdown: CancellationToken,
) -> Option<Response> {
    match fault {
        None => Some(next.run(http).await),
        Some(Fault::Delay(time)) => {
            tokio::time::sleep(time).await;
            Some(next.run(http).await)
        }
        Some(Fault::Hold(gate)) => {
            // In its own task: a real server finishes a request even if the client has disconnected.
            let held = tokio::spawn(async move {
                tokio::select! {
                    () = gate.pass() => {}
                    () = shutdown.cancelled() => {}
                }
                next.run(http).await
            });
            let failed =
                |error: tokio::task::JoinError| Reply::detail(500, error.to_string()).into_response();
            Some(held.await.unwrap_or_else(failed))
        }
        Some(Fault::Drop | Fault::Hang) => None,
        Some(Fault::ApplyThenDrop) => {
            next.run(http).await;
            None
        }
        Some(Fault::ServerErrorFor(_)) => {
            Some(Reply::html(500, "<h1>Server Error (500)</h1>".to_owned()).into_response())
        }
        Some(Fault::Html(status)) => Some(Reply::html(status, proxy_page(status)).into_response()),
        Some(Fault::Status { code, body, content_type, retry_after }) => {
            Some(Reply { retry_after, ..Reply::new(code, &content_type, body) }.into_response())
        }
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn parse(headers: &HeaderMap, bytes: Option<&Bytes>) -> Body {
    let Some(bytes) = bytes.filter(|b| b.len() <= MAX_BODY) else { return Body::TooLarge };
    if bytes.is_empty() {
        return Body::Data(Value::Object(Map::new()));
    }
    let kind = text(headers, header::CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_lowercase();
    match kind.as_str() {
        "application/json" => match serde_json::from_slice(bytes) {
            Ok(value) => Body::Data(value),
            Err(error) => Body::Malformed(python_words(&error, bytes)),
        },
        "application/x-www-form-urlencoded" => {
            let pairs = form_urlencoded::parse(bytes).into_owned();
            Body::Data(Value::Object(pairs.map(|(k, v)| (k, v.into())).collect()))
        }
        _ => Body::Unsupported(kind),
    }
}

/// The message of Python's parser for the same text, as closely as serde_json's error allows.
fn python_words(error: &serde_json::Error, bytes: &[u8]) -> String {
    let what = error.to_string();
    let end = what.starts_with("EOF");
    let words = if what.starts_with("key must be a string") {
        "Expecting property name enclosed in double quotes"
    } else if what.starts_with("trailing characters") {
        "Extra data"
    } else if what.starts_with("expected `:`") {
        "Expecting ':' delimiter"
    } else if what.starts_with("expected `,`") || what.starts_with("EOF while parsing an object") {
        "Expecting ',' delimiter"
    } else if what.starts_with("EOF while parsing a string") {
        "Unterminated string starting at"
    } else {
        "Expecting value"
    };
    // serde_json counts columns from one, but from zero at the end of the text.
    let (line, column) = (error.line(), error.column() + usize::from(end));
    let before: usize = bytes.split(|b| *b == b'\n').take(line.saturating_sub(1)).map(|l| l.len() + 1).sum();
    format!("{words}: line {line} column {column} (char {})", (before + column).saturating_sub(1))
}

fn proxy_page(status: u16) -> String {
    let reason = StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Error");
    format!(
        "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n<center><h1>{status} {reason}</h1>\
         </center>\r\n<hr><center>proxy</center>\r\n</body>\r\n</html>\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_json_is_described_as_alyx_describes_it() {
        for (text, expected) in [
            ("{bad", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
            ("{\"a\":}", "Expecting value: line 1 column 6 (char 5)"),
            ("[1,", "Expecting value: line 1 column 4 (char 3)"),
            ("{\"a\":1", "Expecting ',' delimiter: line 1 column 7 (char 6)"),
            ("{\"a\":1}x", "Extra data: line 1 column 8 (char 7)"),
        ] {
            let error = serde_json::from_str::<Value>(text).unwrap_err();
            assert_eq!(python_words(&error, text.as_bytes()), expected, "{text}");
        }
    }
}
