//! One request to the sandbox and one answer, free of HTTP machinery: what the rules of the server work on.

use serde_json::{Map, Value, json};

/// A request as the rules see it.
pub(super) struct Request {
    pub method: String,
    /// The path, still percent-encoded, without the query.
    pub path: String,
    pub query: Vec<(String, String)>,
    /// `http://host` as the client wrote it: every URL in an answer is built from it, as Django does.
    pub base: String,
    pub authorization: Option<String>,
    pub body: Body,
    /// Naive UTC, with microseconds: the moment of the request.
    pub now: String,
}

/// What came with a request.
pub(super) enum Body {
    Data(Value),
    Malformed(String),
    Unsupported(String),
    /// More than [`MAX_BODY`] bytes.
    TooLarge,
}

/// Django's default limit of a request body, in bytes.
pub(super) const MAX_BODY: usize = 2_621_440;

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

    /// The parsed body, or the answer that a body of this kind gets.
    pub fn data(&self) -> Result<&Value, Stop> {
        match &self.body {
            Body::Data(value) => Ok(value),
            Body::Malformed(why) => Err(Answer::detail(400, format!("JSON parse error - {why}")).into()),
            Body::Unsupported(kind) => {
                Err(Answer::detail(415, format!("Unsupported media type \"{kind}\" in request.")).into())
            }
            // A plain 500: Django raises this one where nothing catches it.
            Body::TooLarge => {
                Err(Stop::broken("Request body exceeded settings.DATA_UPLOAD_MAX_MEMORY_SIZE."))
            }
        }
    }
}

/// What an answer carries.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Json(Value),
    Text { kind: String, text: String },
    None,
}

/// An answer, before it becomes HTTP.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub content: Content,
    pub allow: Option<&'static str>,
    pub retry_after: Option<u64>,
}

impl Answer {
    pub fn json(status: u16, value: Value) -> Answer {
        Answer { status, content: Content::Json(value), allow: None, retry_after: None }
    }

    /// `{"detail": …, "status_code": …}`: how the REST framework words its own refusals.
    pub fn detail(status: u16, detail: impl Into<String>) -> Answer {
        Answer::json(status, json!({"detail": detail.into(), "status_code": status}))
    }

    /// 400 with a list of messages a field.
    pub fn fields(mut errors: Map<String, Value>) -> Answer {
        errors.insert("status_code".into(), 400.into());
        Answer::json(400, Value::Object(errors))
    }

    /// 400 about one field.
    pub fn field(name: &str, message: impl Into<String>) -> Answer {
        Answer::fields(Map::from_iter([(name.to_owned(), json!([message.into()]))]))
    }

    /// 404 about a record: `No Subject matches the given query.`
    pub fn no_such(model: &str) -> Answer {
        Answer::detail(404, format!("No {model} matches the given query."))
    }

    /// 204.
    pub fn empty() -> Answer {
        Answer { status: 204, content: Content::None, allow: None, retry_after: None }
    }

    pub fn html(status: u16, text: String) -> Answer {
        let kind = "text/html; charset=utf-8".to_owned();
        Answer { status, content: Content::Text { kind, text }, allow: None, retry_after: None }
    }

    /// An address that leads nowhere: HTML, not JSON.
    pub fn nowhere() -> Answer {
        let page = "<!doctype html>\n<html lang=\"en\">\n<head><title>Not Found</title></head>\n\
                    <body><h1>Not Found</h1><p>This server has nothing at that address.</p></body>\n</html>\n";
        Answer::html(404, page.into())
    }
}

/// Why the rules stopped early: an answer that refuses, or a store that failed.
#[derive(Debug)]
pub(super) enum Stop {
    Refused(Box<Answer>),
    Store(rusqlite::Error),
}

impl Stop {
    /// The answer to an exception that nobody caught: 500, and its text as the detail.
    pub fn broken(detail: impl Into<String>) -> Stop {
        Answer::json(500, json!({"status_code": 500, "detail": detail.into()})).into()
    }

    /// A refusal in the words of the file end points: `status_code` first, then `error` or `detail`.
    pub fn file(status: u16, key: &str, text: impl Into<String>) -> Stop {
        let mut body = Map::new();
        body.insert("status_code".into(), status.into());
        body.insert(key.to_owned(), text.into().into());
        Answer::json(status, Value::Object(body)).into()
    }

    pub fn into_answer(self) -> Answer {
        match self {
            Stop::Refused(answer) => *answer,
            Stop::Store(error) => {
                tracing::error!(%error, "the sandbox's store failed");
                Answer::json(500, json!({"status_code": 500, "detail": error.to_string()}))
            }
        }
    }
}

impl From<Answer> for Stop {
    fn from(answer: Answer) -> Self {
        Stop::Refused(Box::new(answer))
    }
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Stop::Store(error)
    }
}
