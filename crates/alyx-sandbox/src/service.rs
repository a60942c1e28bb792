//! From HTTP to the rules and back: reads a request, plays the faults, records what came.

use std::sync::PoisonError;
use std::time::Instant;

use axum::Router;
use axum::body::{Body as HttpBody, Bytes, to_bytes};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Request as HttpRequest, Response, StatusCode, header};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::connection::Cut;
use crate::faults::Fault;
use crate::handle::{LONGEST_BODY, RequestSeen, SandboxHandle};
use crate::message::{Answer, Body, Content, MAX_BODY, Request};
use crate::{page, routes, time};

/// A body beyond Django's limit is read to its end, up to here, so that the client gets to see the refusal.
const DRAINED: usize = 64 * 1024 * 1024;

#[derive(Clone)]
struct App {
    control: SandboxHandle,
    shutdown: CancellationToken,
}

/// The whole server as one axum service: every address leads to the rules.
pub(super) fn router(control: SandboxHandle, shutdown: CancellationToken) -> Router {
    Router::new().fallback(handle).with_state(App { control, shutdown })
}

async fn handle(
    State(app): State<App>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    http: HttpRequest<HttpBody>,
) -> Response<HttpBody> {
    let (parts, body) = http.into_parts();
    let bytes = to_bytes(body, DRAINED).await.ok();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let (method, path) = (parts.method.as_str().to_owned(), parts.uri.path().to_owned());
    let request = Request {
        body: parse(&parts.headers, bytes.as_ref()),
        query: page::pairs(&query),
        base: format!("http://{}", text(&parts.headers, header::HOST).unwrap_or("localhost")),
        authorization: text(&parts.headers, header::AUTHORIZATION).map(str::to_owned),
        now: time::now(),
        method: method.clone(),
        path: path.clone(),
    };
    let short = bytes.is_some_and(|b| b.len() <= LONGEST_BODY) && path != "/auth-token";
    let kept = match &request.body {
        Body::Data(value) if short && value.as_object().is_none_or(|o| !o.is_empty()) => Some(value.clone()),
        _ => None,
    };
    let record = |status: u16| {
        let seen = RequestSeen {
            method: method.clone(),
            path: path.clone(),
            query: query.clone(),
            status,
            body: kept.clone(),
        };
        app.control.record(seen);
    };
    match app.control.take_fault(&method, &path) {
        None => {}
        Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
        Some(Fault::Hold(gate)) => {
            // On a task of its own: a real server works on a request to its end when its client has gone.
            let (held, shutdown) = (app.clone(), app.shutdown.clone());
            let work = tokio::spawn(async move {
                tokio::select! {
                    () = gate.pass() => {}
                    () = shutdown.cancelled() => {}
                }
                work(&held, request).await
            });
            let answer = work.await.unwrap_or_else(|error| Answer::detail(500, error.to_string()));
            record(answer.status);
            return respond(answer);
        }
        Some(Fault::Drop) => {
            record(0);
            cut.now();
            return Response::default();
        }
        Some(Fault::ApplyThenDrop) => {
            work(&app, request).await;
            record(0);
            cut.now();
            return Response::default();
        }
        Some(Fault::Hang) => {
            record(0);
            app.shutdown.cancelled().await;
            cut.now();
            return Response::default();
        }
        Some(Fault::Html(status)) => {
            record(status);
            return respond(Answer::html(status, proxy_page(status)));
        }
        Some(Fault::Status { code, body, content_type, retry_after }) => {
            record(code);
            let content = Content::Text { kind: content_type, text: body };
            return respond(Answer { status: code, content, allow: None, retry_after });
        }
    }
    let answer = work(&app, request).await;
    record(answer.status);
    let mut response = respond(answer);
    if method == "HEAD" {
        *response.body_mut() = HttpBody::empty();
    }
    response
}

/// Runs the rules where blocking is allowed: the store reads and writes a file.
async fn work(app: &App, request: Request) -> Answer {
    let shared = app.control.shared.clone();
    let job = move || {
        let mut server = shared.server.lock().unwrap_or_else(PoisonError::into_inner);
        routes::answer(&mut server, &request, Instant::now())
    };
    match tokio::task::spawn_blocking(job).await {
        Ok(answer) => answer,
        Err(error) => Answer::detail(500, error.to_string()),
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
            let pairs = page::pairs(&String::from_utf8_lossy(bytes));
            Body::Data(Value::Object(pairs.into_iter().map(|(k, v)| (k, v.into())).collect()))
        }
        _ => Body::Unsupported(kind),
    }
}

/// What Python's parser says of the same text, as near as our parser's complaint allows.
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
    // Ours counts columns from one, and from zero at the end of the text.
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

fn respond(answer: Answer) -> Response<HttpBody> {
    let mut builder = Response::builder().status(answer.status);
    if let Some(allow) = answer.allow {
        builder = builder.header(header::ALLOW, allow).header(header::VARY, "Accept, Cookie");
    }
    if let Some(seconds) = answer.retry_after {
        builder = builder.header(header::RETRY_AFTER, seconds);
    }
    let response = match answer.content {
        Content::None => builder.body(HttpBody::empty()),
        Content::Json(value) => {
            builder.header(header::CONTENT_TYPE, "application/json").body(value.to_string().into())
        }
        Content::Text { kind, text } => builder.header(header::CONTENT_TYPE, kind).body(text.into()),
    };
    // Only a status or a type that is none can fail here; a fault's author sees 500.
    response.unwrap_or_else(|_| {
        let mut broken = Response::new(HttpBody::from("the sandbox cannot send this answer"));
        *broken.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        broken
    })
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
