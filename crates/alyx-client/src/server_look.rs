//! A look at the server: what it shows of itself before anybody logs in, and which interface it has. For whoever
//! sets a rig up.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::client::Client;
use crate::error::Error;
use crate::reply::{Answer, Reply};

/// What every client of the registrar needs, with the field or parameter in braces as the server may call it.
const NEEDED: [&str; 7] = [
    "/subjects/{}",
    "/sessions",
    "/sessions/{}",
    "/datasets",
    "/dataset-types",
    "/data-formats",
    "/register-file",
];

/// What a server shows before anybody logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerLook {
    /// How far its clock is ahead of this computer's, as finely as it tells. `None`: it does not.
    pub clock_ahead: Option<SignedDuration>,
    /// When its certificate ends. `None`: it showed none, or a proxy stands between.
    pub certificate_ends: Option<Timestamp>,
}

/// Which requests a server understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The number of the version, where the server tells it.
    pub version: Option<String>,
    /// What is needed and not there.
    pub missing: Vec<&'static str>,
}

impl Client {
    /// Looks whether there is an Alyx, without logging in. Sent once.
    ///
    /// # Errors
    /// Those of any request; [`Error::NotAlyx`] where something else answers.
    pub async fn look(&self) -> Result<ServerLook, Error> {
        const WHAT: &str = "GET /auth-token";
        let shared = &*self.shared;
        // It takes a POST; the refusal of anything else tells it from a page of a proxy.
        let request = shared.http.get(format!("{}/auth-token", shared.base));
        let sent = Timestamp::now();
        let (reply, look) = match request.header(reqwest::header::ACCEPT, "application/json").send().await {
            Ok(response) => {
                let look = ServerLook::of(&response, sent, Timestamp::now());
                (self.read_answer(response, WHAT).await, look)
            }
            Err(error) => (self.lost(error), ServerLook { clock_ahead: None, certificate_ends: None }),
        };
        match reply {
            Reply::Answer(answer) if is_alyx(&answer) => Ok(look),
            Reply::Answer(answer) => Err(match answer.into_error(WHAT, &shared.base, None) {
                Error::Refused { what, detail, .. } => Error::NotAlyx { what, reason: detail },
                // As at the login: it fails for whoever comes.
                Error::Server { what, status, body } => Error::Busy { what, status, retry_after: None, body },
                other => other,
            }),
            Reply::Lost { reason, maybe_done: connected } => {
                Err(Error::Unreachable { url: shared.base.clone(), reason, maybe_done: false, connected })
            }
        }
    }

    /// The interface of the server as it describes it itself; `None`: it does not, as Alyx before 3.2.2.
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

/// Whether an answer to a GET of `/auth-token` is one of Alyx: a refusal in JSON.
fn is_alyx(answer: &Answer) -> bool {
    let is_object = serde_json::from_slice::<Value>(&answer.body).is_ok_and(|body| body.is_object());
    is_object && matches!(answer.status, 400 | 401 | 403 | 405)
}

impl ServerLook {
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

/// How far a clock that showed `date`, in whole seconds, at some time between `sent` and `received` is ahead at
/// least. Pure.
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

/// When a certificate (DER) ends.
fn end_of(certificate: &[u8]) -> Option<Timestamp> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let end = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    Timestamp::UNIX_EPOCH.checked_add(end).ok()
}

impl Interface {
    /// Reads an OpenAPI description. `None`: this is none.
    fn of(schema: &Value) -> Option<Self> {
        let paths = schema.get("paths")?.as_object()?;
        // The name of a parameter is no part of the address.
        let plain = |path: &str| -> String {
            let mut out = String::new();
            for part in path.trim_end_matches('/').split('/').filter(|part| !part.is_empty()) {
                out.push('/');
                out.push_str(if part.starts_with('{') { "{}" } else { part });
            }
            out
        };
        let there: Vec<String> = paths.keys().map(|path| plain(path)).collect();
        // What the tool that writes the description puts there by itself.
        let version = schema.pointer("/info/version").and_then(Value::as_str);
        let version = version.filter(|text| !text.is_empty() && *text != "0.0.0").map(str::to_owned);
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
    fn a_clock_is_wrong_only_as_far_as_whole_seconds_and_the_way_there_cannot_explain() {
        let told = |date: i64| ahead(second(date, 0), second(100, 400), second(102, 600));
        assert_eq!([100, 101, 102].map(told), [SignedDuration::ZERO; 3]);
        assert_eq!(told(103), SignedDuration::from_millis(400));
        assert_eq!(told(99), SignedDuration::from_millis(-400));
        assert_eq!(told(3702), SignedDuration::from_millis(3_599_400));
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
    fn what_is_missing_in_the_interface_is_named() {
        let mut paths: serde_json::Map<String, Value> =
            NEEDED.iter().map(|path| (path.replace("{}", "{id}"), json!({}))).collect();
        let schema = |paths, version| json!({"info": {"version": version}, "paths": paths});
        let whole = Interface { version: None, missing: Vec::new() };
        assert_eq!(Interface::of(&schema(paths.clone(), "0.0.0")), Some(whole.clone()));
        let numbered = Interface { version: Some("4.0".into()), ..whole };
        assert_eq!(Interface::of(&schema(paths.clone(), "4.0")), Some(numbered));
        paths.remove("/register-file");
        assert_eq!(Interface::of(&schema(paths, "")).unwrap().missing, ["/register-file"]);
        assert_eq!(Interface::of(&json!({"subjects-url": "x"})), None);
    }
}
