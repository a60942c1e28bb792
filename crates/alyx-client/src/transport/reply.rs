//! A reply: the result of sending a request once, and the error it stands for. Pure.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{CORRECT_SECRET, Error, ProtectedFile};
use crate::transport::diagnosis::redirected;

/// The result of sending a request once.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The server (or a proxy) answered.
    Answer(Answer),
    /// There was no answer.
    Lost {
        reason: String,
        /// False only if the connection failed, so that Alyx cannot have executed the request.
        maybe_done: bool,
    },
}

/// A complete HTTP answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) location: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// A log has no use for the bytes of a body.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("retry_after", &self.retry_after)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Limit on the server's text in an error, in characters.
const SHOWN: usize = 300;
/// Limit on the text in which the server's reason is looked for, in bytes.
const SEARCHED: usize = 64 << 10;
/// Limit on the values in an answer, or in one record of a list: two bytes of text become a value that takes a hundred times
/// as much memory. The largest answer that Alyx gives is a batch of files: 100 values for each.
pub(crate) const MAX_VALUES: usize = 200_000;
/// The same for the datasets in the record of a session: 13 values for each of 100,000, with room to spare.
const MAX_DATASET_VALUES: usize = 2_500_000;

/// `detail`s of a 500 that waiting does not cure, as recorded from an Alyx.
const PERMANENT_500: [&str; 5] = [
    "No dataset type found",
    "Multiple matching dataset types",
    "matching query does not exist",
    "The path argument is required",
    "returned more than one",
];

/// What Alyx says to a request without a token.
const NO_TOKEN: &str = "Authentication credentials were not provided";

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body of a refusal; `None` for one that is not Alyx's.
    fn json(&self) -> Option<Value> {
        let is_small = count_values(&self.body) <= MAX_VALUES;
        is_small.then(|| serde_json::from_slice(&self.body).ok()).flatten()
    }

    /// Whether the body is a JSON object, as in every refusal of Alyx.
    pub(crate) fn is_object(&self) -> bool {
        self.body.trim_ascii_start().starts_with(b"{")
            && serde_json::from_slice::<IgnoredAny>(&self.body).is_ok()
    }

    /// Whether a request without a token was refused for that. Where Alyx hands out tokens, no token is asked for.
    pub(crate) fn wants_token(&self) -> bool {
        let detail = |body: Value| body.get("detail")?.as_str().map(|detail| detail.contains(NO_TOKEN));
        matches!(self.status, 401 | 403) && self.json().and_then(detail).unwrap_or(false)
    }

    /// Whether the token is missing or expired: 401, or a 403 whose body says so. A new login does not help with the
    /// two other kinds of 403 (no permission, protected datasets).
    pub(crate) fn is_dead_token(&self) -> bool {
        match self.status {
            401 => true,
            // Only then: the answers of a success are large.
            403 => {
                let body = self.json();
                let detail = body.as_ref().and_then(|body| body.get("detail")?.as_str()).unwrap_or_default();
                ["Invalid token", NO_TOKEN, "User inactive", "Token has expired"]
                    .iter()
                    .any(|known| detail.contains(known))
            }
            _ => false,
        }
    }

    /// Parses the JSON of a success.
    pub(crate) fn parse<T: DeserializeOwned>(&self, what: &str) -> Result<T, Error> {
        self.parse_within(count_values(&self.body), MAX_VALUES, what)
    }

    /// Parses the record of a session, which may list 100,000 datasets. `keeps_datasets`: `T` holds them.
    pub(crate) fn parse_session<T: DeserializeOwned>(
        &self,
        keeps_datasets: bool,
        what: &str,
    ) -> Result<T, Error> {
        #[derive(Deserialize)]
        struct Datasets<'a> {
            #[serde(borrow, default, rename = "data_dataset_session_related")]
            list: Option<&'a RawValue>,
        }
        let listed =
            serde_json::from_slice::<Datasets<'_>>(&self.body).ok().and_then(|datasets| datasets.list);
        let listed = listed.map_or(0, |list| count_values(list.get().as_bytes()));
        let others = count_values(&self.body).saturating_sub(listed);
        if keeps_datasets && listed > MAX_DATASET_VALUES {
            return too_many_values(MAX_DATASET_VALUES, what);
        }
        self.parse_within(others, MAX_VALUES, what)
    }

    fn parse_within<T: DeserializeOwned>(
        &self,
        values: usize,
        at_most: usize,
        what: &str,
    ) -> Result<T, Error> {
        if values > at_most {
            return too_many_values(at_most, what);
        }
        let body = if self.body.is_empty() { b"null" } else { self.body.as_slice() };
        serde_json::from_slice(body).map_err(|error| self.unparsed(&error, what))
    }

    /// The error of a body that cannot be parsed.
    pub(crate) fn unparsed(&self, error: &serde_json::Error, what: &str) -> Error {
        // A record is found to be another one before the end of the text, which may be cut off.
        if error.is_data() && serde_json::from_slice::<IgnoredAny>(&self.body).is_ok() {
            return unexpected(error, what);
        }
        Error::NotAlyx { what: what.to_owned(), reason: format!("no JSON: {}", self.shown()) }
    }

    /// The body in readable form: without HTML tags, white space folded, shortened.
    pub(crate) fn shown(&self) -> String {
        // A reason stands at the beginning. A page of any size, searched to its end, would take minutes.
        let text = String::from_utf8_lossy(self.body.get(..SEARCHED).unwrap_or(&self.body));
        let plain = if text.trim_start().starts_with('<') { strip_tags(&text) } else { text.into_owned() };
        let folded = in_one_line(&plain);
        match folded.char_indices().nth(SHOWN) {
            Some((cut, _)) => format!("{} …", &folded[..cut]),
            None => folded,
        }
    }

    /// Turns an answer that is not a success into an error.
    pub(crate) fn into_error(self, what: &str, url: &str, username: Option<&str>) -> Error {
        let path = what.split_once(' ').map_or(what, |(_, path)| path);
        let what = what.to_owned();
        let body = self.json();
        let detail = body.as_ref().map(reasons).filter(|d| !d.is_empty()).unwrap_or_else(|| self.shown());
        match self.status {
            300..=399 => Error::NotAlyx {
                what,
                reason: match &self.location {
                    // Redirects are not followed: a POST would become a GET, and the token would go to another host.
                    Some(to) => redirected(url, path, to),
                    None => format!("HTTP {}", self.status),
                },
            },
            401 | 403 if self.is_dead_token() => Error::Login {
                url: url.to_owned(),
                username: username.map(str::to_owned),
                reason: detail,
                advice: CORRECT_SECRET,
            },
            403 => match body.as_ref().and_then(protected) {
                Some(details) => Error::Protected {
                    files: details.iter().filter(|f| f.revisions.iter().any(|(_, p)| *p)).cloned().collect(),
                    details,
                },
                // A proxy's or firewall's page, not Alyx's.
                None if body.is_none() => Error::NotAlyx { what, reason: format!("HTTP 403: {detail}") },
                None => Error::Forbidden { what, detail },
            },
            404 if body.is_none() => Error::NotAlyx { what, reason: "no such address (HTTP 404)".to_owned() },
            404 => Error::NotFound { what, detail },
            // Alyx itself never answers with the following four.
            407 => Error::NotAlyx {
                what,
                reason: format!(
                    "HTTP 407: a proxy on the way wants a login; put user and password into the address of the proxy: {detail}"
                ),
            },
            511 => Error::NotAlyx {
                what,
                reason: format!("HTTP 511: the network wants a login; sign in there: {detail}"),
            },
            501 | 505 => Error::NotAlyx { what, reason: format!("HTTP {}: {detail}", self.status) },
            // 520 to 530: Cloudflare cannot reach the server behind it.
            429 | 502 | 503 | 504 | 520..=530 => {
                Error::Busy { what, status: self.status, retry_after: self.retry_after, body: self.shown() }
            }
            408 | 500.. if !(body.is_some() && PERMANENT_500.iter().any(|known| detail.contains(known))) => {
                Error::Server { what, status: self.status, body: detail }
            }
            status => Error::Refused { what, status, detail },
        }
    }
}

/// How many values a text holds if it is JSON, give or take those in strings.
pub(crate) fn count_values(json: &[u8]) -> usize {
    json.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count()
}

fn too_many_values<T>(at_most: usize, what: &str) -> Result<T, Error> {
    Err(Error::NotAlyx { what: what.to_owned(), reason: format!("an answer of more than {at_most} values") })
}

/// The error about a text that is JSON, but not the record that is expected.
fn unexpected(error: &serde_json::Error, what: &str) -> Error {
    // From the first quotation mark on, the message quotes the server's text, which may repeat a secret.
    let message = error.to_string();
    let reason = format!("unexpected record: {}", message.split('"').next().unwrap_or_default().trim_end());
    Error::NotAlyx { what: what.to_owned(), reason }
}

/// All reasons of an error body in one line: `detail`, `error`, `non_field_errors`, and one entry per field.
fn reasons(body: &Value) -> String {
    let Value::Object(fields) = body else { return String::new() };
    let mut reasons = Vec::new();
    for (key, value) in fields {
        if key == "status_code" {
            continue;
        }
        let text = match value {
            Value::String(s) => s.clone(),
            Value::Array(items) if items.iter().all(Value::is_string) => {
                items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
            }
            other => other.to_string(),
        };
        reasons.push(match key.as_str() {
            "detail" | "error" | "non_field_errors" => text,
            field => format!("{field}: {text}"),
        });
    }
    let line = in_one_line(&reasons.join("; "));
    match line.char_indices().nth(2 * SHOWN) {
        Some((cut, _)) => format!("{} …", &line[..cut]),
        None => line,
    }
}

/// Folds white space and removes control characters: an answer must not forge a log line or control a terminal.
fn in_one_line(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The `details` of an answer "One or more datasets is protected".
pub(crate) fn protected(body: &Value) -> Option<Vec<ProtectedFile>> {
    if body.get("error").and_then(Value::as_str) != Some("One or more datasets is protected") {
        return None;
    }
    let mut files = Vec::new();
    for (file, revisions) in body.get("details")?.as_array()?.iter().filter_map(Value::as_object).flatten() {
        let revisions = revisions
            .as_array()?
            .iter()
            .filter_map(Value::as_object)
            .flatten()
            .map(|(name, is_protected)| (name.clone(), is_protected.as_bool().unwrap_or(true)))
            .collect();
        files.push(ProtectedFile { file: file.clone(), revisions });
    }
    Some(files)
}

/// The text of an HTML page, good enough to recognise a proxy's error page in a log.
fn strip_tags(html: &str) -> String {
    let mut text = String::new();
    // Of the same length as `html`, and searched only as long as it has such an end tag.
    let lower = html.to_ascii_lowercase();
    let mut elements = [("<script", Some("</script")), ("<style", Some("</style"))];
    let mut rest = html;
    while let Some(open) = rest.find('<') {
        text.push_str(&rest[..open]);
        text.push(' ');
        let tag = &rest[open..];
        // Style and script elements hold no readable text.
        let lower_tag = &lower[html.len() - tag.len()..];
        let element = elements.iter_mut().find(|(start, _)| lower_tag.starts_with(start));
        let skipped = element.and_then(|(_, end)| {
            let found = end.and_then(|end| lower_tag.find(end));
            found.or_else(|| {
                *end = None;
                None
            })
        });
        rest = match tag[skipped.unwrap_or(0)..].find('>') {
            Some(close) => &tag[skipped.unwrap_or(0) + close + 1..],
            None => "",
        };
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, retry_after: None, location: None, body: body.as_bytes().to_vec() }
    }

    fn error(status: u16, body: &str) -> Error {
        answer(status, body).into_error("GET /x", "http://alyx.test", Some("me"))
    }

    #[test]
    fn three_kinds_of_403_differ_by_their_body() {
        assert!(matches!(
            error(403, r#"{"detail": "Invalid token.", "status_code": 403}"#),
            Error::Login { .. }
        ));
        assert!(matches!(
            error(403, r#"{"detail": "You do not have permission to perform this action."}"#),
            Error::Forbidden { .. }
        ));
        let body = r#"{"status_code": 403, "error": "One or more datasets is protected",
            "details": [{"alf/x.npy": [{"2024-05-02": false}, {"": true}]}, {"alf/y.npy": []}]}"#;
        let Error::Protected { files, details } = error(403, body) else { panic!("not protected") };
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].revisions, [("2024-05-02".to_owned(), false), (String::new(), true)]);
        assert_eq!(details[1].file, "alf/y.npy");
    }

    #[test]
    fn a_permanent_500_needs_attention_and_another_500_does_not() {
        use crate::error::NextStep;
        let permanent =
            error(500, r#"{"status_code": 500, "detail": "No dataset type found for filename \"a.b.npy\""}"#);
        assert_eq!(permanent.next_step(), NextStep::NeedsAttention);
        let passing = error(500, "<html><body><h1>Server Error (500)</h1></body></html>");
        assert_eq!(passing.next_step(), NextStep::TryAgain { after: None });
        assert!(passing.to_string().contains("Server Error (500)"), "{passing}");
        assert!(!passing.to_string().contains('<'), "{passing}");
    }

    #[test]
    fn a_server_that_does_not_support_the_method_is_not_alyx() {
        let error = error(501, "<h1>Unsupported method ('POST')</h1>");
        assert!(matches!(error, Error::NotAlyx { .. }), "{error}");
        assert!(error.to_string().contains("check that alyx.url"), "{error}");
    }

    #[test]
    fn a_400_names_every_field() {
        let error = error(
            400,
            r#"{"users": ["Object with username=nobody does not exist."], "lab": ["No."], "status_code": 400}"#,
        );
        assert!(
            error.to_string().contains("users: Object with username=nobody does not exist.; lab: No."),
            "{error}"
        );
    }

    #[test]
    fn an_html_page_is_cut_and_shown_without_tags() {
        let page = format!(
            "<!doctype html><style>h1 {{ color: red }}</style><h1>Bad Gateway</h1>{}",
            "x ".repeat(5000)
        );
        let text = error(502, &page).to_string();
        assert!(text.contains("Bad Gateway") && !text.contains("color") && text.len() < 600, "{text}");
    }

    #[test]
    fn a_page_of_any_size_takes_no_time() {
        for tag in ["<script", "<script>", "<style>x</style>", "<"] {
            let page = tag.repeat((8 << 20) / tag.len());
            let started = std::time::Instant::now();
            assert!(error(404, &page).to_string().len() < 1000);
            assert!(started.elapsed().as_secs() < 10, "{tag}: {:?}", started.elapsed());
        }
    }

    #[test]
    fn a_refusal_with_more_values_than_alyx_sends_is_not_parsed() {
        let numbers = format!("{{\"users\": [0{}]}}", ",0".repeat(MAX_VALUES));
        assert!(answer(400, &numbers).is_object() && answer(400, &numbers).json().is_none());
        let text = error(400, &numbers).to_string();
        assert!(text.contains("Alyx refuses it (HTTP 400): {\"users\": [0,0") && text.len() < 600, "{text}");
        assert!(answer(400, " {}").is_object());
        for other in ["", "[]", "{", "<html>", "{} x"] {
            assert!(!answer(400, other).is_object(), "{other}");
        }
    }

    #[test]
    fn an_answer_with_more_values_than_alyx_sends_is_not_parsed() {
        let numbers = format!("[0{}]", ",0".repeat(MAX_VALUES));
        let session = |field: &str| {
            let text = format!(
                r#"{{"subject": "a", "start_time": "2024-05-01T00:00:00", "url": "http://x/1", "{field}": {numbers}}}"#
            );
            answer(200, &text)
        };
        let expected = "an answer of more than 200000 values";
        let error = answer(200, &numbers).parse::<Value>("GET /x").unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        for keeps_datasets in [false, true] {
            let error = session("unknown").parse_session::<Value>(keeps_datasets, "GET /x").unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            let many = session("data_dataset_session_related");
            assert!(many.parse_session::<Value>(keeps_datasets, "GET /x").unwrap().is_object());
        }
        let too_many = answer(
            200,
            &format!(r#"{{"data_dataset_session_related": [0{}]}}"#, ",0".repeat(MAX_DATASET_VALUES)),
        );
        let error = too_many.parse_session::<Value>(true, "GET /x").unwrap_err().to_string();
        assert!(error.contains("more than 2500000 values"), "{error}");
    }

    #[test]
    fn the_log_of_an_answer_leaves_its_body_out() {
        let shown = format!("{:?}", Reply::Answer(answer(502, "a page")));
        assert!(shown.contains("502") && shown.contains("bytes: 6") && shown.len() < 100, "{shown}");
    }

    #[test]
    fn stripping_tags_survives_broken_pages() {
        for page in ["<", "<script", "<script>", "a<b", "<é>é<", "<style></style"] {
            answer(500, page).shown();
        }
    }

    #[test]
    fn an_unexpected_record_is_reported_without_its_content() {
        for (text, expected) in
            [("\"secret\"", "invalid type: string)"), ("null", "invalid type: null, expected u32")]
        {
            let error = unexpected(&serde_json::from_str::<u32>(text).unwrap_err(), "GET /x").to_string();
            assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        }
    }
}
