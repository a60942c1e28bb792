//! A probe of the server: what it shows without a login, and which API it has. For `check` and `init`.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::client::Client;
use crate::error::Error;
use crate::transport::call::MAX_ANSWER;
use crate::transport::diagnosis::may_be_below_alyx;
use crate::transport::reply::{Answer, Reply};

/// The endpoints that the registrar needs; `{}` is a path parameter of any name.
const NEEDED: [&str; 7] = [
    "/subjects/{}",
    "/sessions",
    "/sessions/{}",
    "/datasets",
    "/dataset-types",
    "/data-formats",
    "/register-file",
];

/// What a server shows without a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerProbe {
    /// How far the server's clock is ahead of this computer's, at least. `None` if the server sends no `Date`.
    pub clock_ahead: Option<SignedDuration>,
    /// When the server's certificate expires. `None` if there is none, or a proxy is in between.
    pub certificate_ends: Option<Timestamp>,
}

/// The API of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The version that the server states; 0.0.0 is the placeholder of the tool that generates the description.
    pub version: Option<String>,
    /// Endpoints that the registrar needs and the server lacks.
    pub missing: Vec<&'static str>,
}

impl Client {
    /// Checks whether the server is an Alyx, without a login. Sends one request.
    ///
    /// # Errors
    /// Those of any request; [`Error::NotAlyx`] if the answer is not Alyx's.
    pub async fn probe(&self) -> Result<ServerProbe, Error> {
        const WHAT: &str = "GET /auth-token";
        let shared = &*self.shared;
        // Alyx accepts only POST here; its JSON refusal of a GET distinguishes it from a proxy's page.
        let request = shared.http.get(format!("{}/auth-token", shared.base));
        let sent = Timestamp::now();
        let (reply, probe) = match request.header(reqwest::header::ACCEPT, "application/json").send().await {
            Ok(response) => {
                let probe = ServerProbe::of(&response, sent, Timestamp::now());
                (self.read_answer(response, WHAT, MAX_ANSWER).await, probe)
            }
            Err(error) => (self.lost(error), ServerProbe { clock_ahead: None, certificate_ends: None }),
        };
        match reply {
            Reply::Answer(answer) if answer.wants_token() && may_be_below_alyx(&shared.base) => {
                let reason = "it asks for a token".to_owned();
                Err(self.explained(Error::NotAlyx { what: WHAT.to_owned(), reason }))
            }
            Reply::Answer(answer) if is_alyx(&answer) => Ok(probe),
            Reply::Answer(answer) => Err(match self.explained(answer.into_error(WHAT, &shared.base, None)) {
                Error::Refused { what, detail, .. } => {
                    self.explained(Error::NotAlyx { what, reason: detail })
                }
                // As at the login: the error affects every request.
                Error::Server { what, status, body } => Error::Busy { what, status, retry_after: None, body },
                other => other,
            }),
            Reply::Lost { reason, maybe_done: connected } => {
                Err(Error::Unreachable { url: shared.base.clone(), reason, maybe_done: false, connected })
            }
        }
    }

    /// The server's API from its own OpenAPI description; `None` if it has none, as Alyx before 3.2.2.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn interface(&self) -> Result<Option<Interface>, Error> {
        match self.get::<Value>("/api/schema").await {
            Ok(schema) => Ok(Interface::of(&schema)),
            Err(Error::NotFound { .. } | Error::NotAlyx { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }
}

/// Whether an answer to `GET /auth-token` is Alyx's: a refusal in JSON.
fn is_alyx(answer: &Answer) -> bool {
    answer.is_object() && matches!(answer.status, 400 | 401 | 403 | 405)
}

impl ServerProbe {
    fn of(response: &reqwest::Response, sent: Timestamp, received: Timestamp) -> Self {
        let date = response.headers().get(reqwest::header::DATE).and_then(|value| value.to_str().ok());
        let date = date.and_then(|text| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok());
        let tls = response.extensions().get::<reqwest::tls::TlsInfo>();
        Self {
            clock_ahead: date.map(|date| ahead(date, sent, received)),
            certificate_ends: tls.and_then(|tls| tls.peer_certificate()).and_then(end_of),
        }
    }
}

/// The least by which a clock is ahead that showed `date`, in whole seconds, at some time between `sent` and
/// `received`. Pure.
fn ahead(date: Timestamp, sent: Timestamp, received: Timestamp) -> SignedDuration {
    let latest = date.saturating_add(SignedDuration::from_secs(1)).unwrap_or(date);
    if date > received {
        date.duration_since(received)
    } else if latest < sent {
        latest.duration_since(sent)
    } else {
        SignedDuration::ZERO
    }
}

/// When a certificate (DER) expires.
fn end_of(certificate: &[u8]) -> Option<Timestamp> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let end = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    Timestamp::UNIX_EPOCH.checked_add(end).ok()
}

impl Interface {
    /// Reads an OpenAPI description; `None` if `schema` is not one.
    fn of(schema: &Value) -> Option<Self> {
        let paths = schema.get("paths")?.as_object()?;
        // The name of a path parameter differs between versions.
        let plain = |path: &str| -> String {
            let mut out = String::new();
            for part in path.trim_end_matches('/').split('/').filter(|part| !part.is_empty()) {
                out.push('/');
                out.push_str(if part.starts_with('{') { "{}" } else { part });
            }
            out
        };
        let there: Vec<String> = paths.keys().map(|path| plain(path)).collect();
        let version = schema.pointer("/info/version").and_then(Value::as_str);
        let version = version.filter(|text| !text.is_empty()).map(str::to_owned);
        let missing = NEEDED.into_iter().filter(|path| !there.iter().any(|known| known == path)).collect();
        Some(Self { version, missing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn second(second: i64, ms: i64) -> Timestamp {
        Timestamp::from_millisecond(second * 1000 + ms).unwrap()
    }

    #[test]
    fn a_clock_is_wrong_only_by_what_rounding_and_latency_cannot_explain() {
        let by = |date: i64| ahead(second(date, 0), second(100, 400), second(102, 600));
        assert_eq!([100, 101, 102].map(by), [SignedDuration::ZERO; 3]);
        assert_eq!(by(103), SignedDuration::from_millis(400));
        assert_eq!(by(99), SignedDuration::from_millis(-400));
        assert_eq!(by(3702), SignedDuration::from_millis(3_599_400));
    }

    #[test]
    fn the_end_of_a_certificate_is_read() {
        let mut about = rcgen::CertificateParams::new(vec!["x.org".to_owned()]).unwrap();
        about.not_after = rcgen::date_time_ymd(2031, 5, 4);
        let certificate = about.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        assert_eq!(end_of(certificate.der()), Some("2031-05-04T00:00:00Z".parse().unwrap()));
        assert_eq!(end_of(b"hello"), None);
    }

    #[test]
    fn missing_endpoints_are_named() {
        let mut paths: serde_json::Map<String, Value> =
            NEEDED.iter().map(|path| (path.replace("{}", "{id}"), json!({}))).collect();
        let schema = |paths, version| json!({"info": {"version": version}, "paths": paths});
        let whole = Interface { version: None, missing: Vec::new() };
        assert_eq!(Interface::of(&schema(paths.clone(), "")), Some(whole.clone()));
        let numbered = Interface { version: Some("4.0".into()), ..whole };
        assert_eq!(Interface::of(&schema(paths.clone(), "4.0")), Some(numbered));
        paths.remove("/register-file");
        assert_eq!(Interface::of(&schema(paths, "")).unwrap().missing, ["/register-file"]);
        assert_eq!(Interface::of(&json!({"subjects-url": "x"})), None);
    }
}
