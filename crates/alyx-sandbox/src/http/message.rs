//! Requests and replies, free of HTTP machinery.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// A parsed request.
#[derive(Clone)]
pub(crate) struct Request {
    pub method: String,
    /// The path, still percent-encoded, without the query.
    pub path: String,
    pub query: Vec<(String, String)>,
    /// `http://host` as the client wrote it: every URL in a reply is built from it, as Django does.
    pub base: String,
    pub authorization: Option<String>,
    pub body: Body,
    /// The time of the request: naive UTC, with microseconds.
    pub now: String,
    /// The user whose token came with the request; empty if the endpoint needs none.
    pub user: String,
    /// The name or id in the path; empty for a list.
    pub name: String,
}

/// The body of a request.
#[derive(Clone)]
pub(crate) enum Body {
    Data(Value),
    Malformed(String),
    Unsupported(String),
    /// More than [`MAX_BODY`] bytes.
    TooLarge,
}

/// Django's default limit of a request body, in bytes.
pub(crate) const MAX_BODY: usize = 2_621_440;

impl Request {
    /// The value of a query parameter; the last one wins, an empty one counts as absent.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, v)| v.as_str())
            .filter(|v| !v.is_empty())
    }

    /// The parsed body, or the refusal of a body that cannot be parsed.
    pub fn data(&self) -> Result<&Value, Error> {
        match &self.body {
            Body::Data(value) => Ok(value),
            Body::Malformed(why) => Err(Reply::detail(400, format!("JSON parse error - {why}")).into()),
            Body::Unsupported(kind) => {
                Err(Reply::detail(415, format!("Unsupported media type \"{kind}\" in request.")).into())
            }
            // A plain 500: Django's exception is not caught.
            Body::TooLarge => {
                Err(Error::internal("Request body exceeded settings.DATA_UPLOAD_MAX_MEMORY_SIZE."))
            }
        }
    }
}

/// A reply, before it becomes HTTP.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub status: u16,
    /// The `Content-Type`; empty for a reply without a body.
    pub kind: String,
    pub body: String,
    pub allow: Option<&'static str>,
    /// The `Location` of a new record or of another address.
    pub location: Option<String>,
    pub retry_after: Option<u64>,
}

impl Reply {
    pub fn new(status: u16, kind: &str, body: String) -> Reply {
        Reply { status, kind: kind.to_owned(), body, allow: None, location: None, retry_after: None }
    }

    pub fn json(status: u16, value: Value) -> Reply {
        Reply::new(status, "application/json", value.to_string())
    }

    /// 201 with the new record, whose address, if it has one, is also the `Location`.
    pub fn created(record: Value) -> Reply {
        let location = record.get("url").and_then(Value::as_str).map(str::to_owned);
        Reply { location, ..Reply::json(201, record) }
    }

    /// A redirection.
    pub fn moved(status: u16, location: &str) -> Reply {
        let kind = "text/html; charset=utf-8";
        Reply { location: Some(location.to_owned()), ..Reply::new(status, kind, String::new()) }
    }

    /// `{"detail": …, "status_code": …}`: the REST framework's own refusals.
    pub fn detail(status: u16, detail: impl Into<String>) -> Reply {
        Reply::json(status, json!({"detail": detail.into(), "status_code": status}))
    }

    /// 400 with a list of messages for each field.
    pub fn fields(mut errors: Map<String, Value>) -> Reply {
        errors.insert("status_code".into(), 400.into());
        Reply::json(400, Value::Object(errors))
    }

    /// 400 about one field.
    pub fn field(name: &str, message: impl Into<String>) -> Reply {
        Reply::fields(Map::from_iter([(name.to_owned(), json!([message.into()]))]))
    }

    /// 404 about a record: `No Subject matches the given query.`
    pub fn not_found(model: &str) -> Reply {
        Reply::detail(404, format!("No {model} matches the given query."))
    }

    /// 204.
    pub fn empty() -> Reply {
        Reply::new(204, "", String::new())
    }

    pub fn html(status: u16, text: String) -> Reply {
        Reply::new(status, "text/html; charset=utf-8", text)
    }

    /// The 404 of a path without an endpoint: HTML, not JSON.
    pub fn unknown_path() -> Reply {
        let page = "<!doctype html>\n<html lang=\"en\">\n<head><title>Not Found</title></head>\n\
                    <body><h1>Not Found</h1><p>This server has nothing at that address.</p></body>\n</html>\n";
        Reply::html(404, page.into())
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut builder = Response::builder().status(self.status);
        if let Some(allow) = self.allow {
            builder = builder.header(header::ALLOW, allow).header(header::VARY, "Accept, Cookie");
        }
        if let Some(location) = self.location {
            builder = builder.header(header::LOCATION, location);
        }
        if let Some(seconds) = self.retry_after {
            builder = builder.header(header::RETRY_AFTER, seconds);
        }
        if !self.kind.is_empty() {
            builder = builder.header(header::CONTENT_TYPE, self.kind);
        }
        // Only an injected fault with an invalid status or content type fails here; it becomes a 500.
        builder
            .body(self.body.into())
            .unwrap_or_else(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response())
    }
}

/// Why a request fails: a reply that refuses it, or a failure of the store.
#[derive(Debug)]
pub(crate) enum Error {
    Refused(Box<Reply>),
    Store(rusqlite::Error),
}

impl Error {
    /// The reply to an uncaught exception: 500, with its text as the detail.
    pub fn internal(detail: impl Into<String>) -> Error {
        Reply::json(500, json!({"status_code": 500, "detail": detail.into()})).into()
    }

    /// A refusal in the format of the file endpoints: `status_code` first, then `error` or `detail`.
    pub fn file(status: u16, key: &str, text: impl Into<String>) -> Error {
        let mut body = Map::new();
        body.insert("status_code".into(), status.into());
        body.insert(key.to_owned(), text.into().into());
        Reply::json(status, Value::Object(body)).into()
    }

    pub fn into_reply(self) -> Reply {
        match self {
            Error::Refused(reply) => *reply,
            Error::Store(error) => {
                tracing::error!(%error, "the sandbox's store failed");
                Reply::json(500, json!({"status_code": 500, "detail": error.to_string()}))
            }
        }
    }
}

impl From<Reply> for Error {
    fn from(reply: Reply) -> Self {
        Error::Refused(Box::new(reply))
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Error::Store(error)
    }
}
