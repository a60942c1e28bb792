//! The client: sends one request at a time with a token, a deadline, and as much patience as is safe.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Method;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;

use crate::auth::{Credentials, TokenState};
use crate::authorities::{advice, authorities};
use crate::call::{Call, Query, RequestSlot, typed};
use crate::error::Error;
use crate::observer::{Exchange, Observer};
use crate::one_settings::is_plain;
use crate::options::{ClientOptions, Timeouts};
use crate::pace::Pace;
use crate::page::Page;
use crate::reply::{Answer, Reply};
use crate::retry::Decision;

/// The largest answer that is read, in bytes. A page of 250 full records is a few MB; more is not Alyx.
const LARGEST_ANSWER: usize = 64 << 20;
/// So many different notices of a server are told.
const MOST_NOTICES: usize = 20;
/// A year is longer than anyone waits, and keeps every later sum in range.
const MOST_PATIENCE: Duration = Duration::from_secs(366 * 86_400);
/// The most pages of one list that are followed.
const MOST_PAGES: usize = 10_000;

/// A connection to one Alyx database as one user. Cheap to clone: clones share token and connections.
#[derive(Clone)]
pub struct Client {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) http: reqwest::Client,
    pub(super) base: String,
    pub(super) options: ClientOptions,
    /// Those in use: the first ones are in the options.
    pub(super) credentials: std::sync::RwLock<Credentials>,
    pub(super) token: Mutex<TokenState>,
    /// The tokens that requests on their way may carry: the one in use and the one before it.
    pub(super) carried: std::sync::Mutex<Vec<SecretString>>,
    pub(super) username: OnceCell<String>,
    /// After a 429 everybody waits, not only the request that met it: the limit is per user.
    pub(super) not_before: Arc<std::sync::Mutex<Option<Instant>>>,
    pub(super) pace: Option<Arc<std::sync::Mutex<Pace>>>,
    pub(super) ended: AtomicU64,
    /// What is told once, and has been: notices in the server's headers, and that no token can be kept.
    pub(super) told: std::sync::Mutex<HashSet<String>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("url", &self.shared.base).finish_non_exhaustive()
    }
}

impl Client {
    /// Builds a client. Nothing is sent before the first request; a proxy is taken from `HTTPS_PROXY`, `HTTP_PROXY`,
    /// `ALL_PROXY` and `NO_PROXY`. Blocks for the time of reading the certificates of authorities.
    ///
    /// # Errors
    /// [`Error::Options`] where the address is not an `http://` or `https://` URL, or those certificates cannot be read.
    pub fn new(options: ClientOptions) -> Result<Self, Error> {
        let base = options.url.trim().trim_end_matches('/').to_owned();
        if !is_plain(&base) {
            // Said without the URL, which holds a secret.
            return Err(Error::Options(
                "alyx.url holds a user name or password, or a ? or #; put the first two into alyx.username and a password \
                 file, and leave out the rest"
                    .into(),
            ));
        }
        let parsed = reqwest::Url::parse(&base).map_err(|e| {
            Error::Options(format!("alyx.url {base:?} is not an address ({e}); write https://host"))
        })?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.host().is_none() {
            return Err(Error::Options(format!("alyx.url {base:?} must begin with https:// or http://")));
        }
        if let Credentials::Token { token, .. } = &options.credentials
            && TokenState::header(token).is_none()
        {
            return Err(Error::Options(
                "the token holds characters that no token has; write it again".into(),
            ));
        }
        let http = connections(options.ca_file.as_deref(), options.timeouts)?;
        Ok(Self {
            shared: Arc::new(Shared {
                http,
                base,
                pace: options.max_requests_per_minute.map(|n| Arc::new(std::sync::Mutex::new(Pace::new(n)))),
                credentials: std::sync::RwLock::new(options.credentials.clone()),
                options,
                token: Mutex::default(),
                carried: std::sync::Mutex::default(),
                username: OnceCell::new(),
                not_before: Arc::default(),
                ended: AtomicU64::new(0),
                told: std::sync::Mutex::default(),
            }),
        })
    }

    /// A client with other options, such as another password, time-out or address, in place of an earlier one whose
    /// work may still go on: the requests of both together keep to the limit of a database.
    ///
    /// # Errors
    /// Those of [`Client::new`].
    pub fn in_place_of(options: ClientOptions, earlier: &Self) -> Result<Self, Error> {
        let a_minute = options.max_requests_per_minute;
        let mut client = Self::new(options)?;
        if client.shared.base == earlier.shared.base
            && let Some(shared) = Arc::get_mut(&mut client.shared)
        {
            shared.not_before = Arc::clone(&earlier.shared.not_before);
            if let (Some(a_minute), Some(pace)) = (a_minute, &earlier.shared.pace) {
                if let Ok(mut pace) = pace.lock() {
                    pace.set(a_minute);
                }
                shared.pace = Some(Arc::clone(pace));
            }
        }
        Ok(client)
    }

    /// The address of the database, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.shared.base
    }

    /// Whoever hears of every request.
    pub fn observer(&self) -> Option<Arc<dyn Observer>> {
        self.shared.options.observer.clone()
    }

    /// How long one request may take, from the connection to the last byte of the answer.
    pub fn request_timeout(&self) -> Duration {
        self.shared.options.timeouts.request
    }

    /// How many requests have ended so far, answered or not.
    pub fn requests_ended(&self) -> u64 {
        self.shared.ended.load(Ordering::Relaxed)
    }

    /// Asks for next to nothing, to see whether the server answers.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn ping(&self) -> Result<(), Error> {
        let query = [("limit", "1".to_owned())];
        self.send(Call { query: Query::Pairs(&query), ..Call::get("/data-formats") }).await.map(drop)
    }

    /// Reads a record.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let call = Call::get(path);
        let what = call.what();
        typed(self.send(call).await?, &what)
    }

    /// Reads a whole list, page by page.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Vec<T>, Error> {
        let what = format!("GET {path}");
        let strange = || Error::NotAlyx { what: what.clone(), reason: "no list".to_owned() };
        let mut page = Page::read(self.send(Call { query: Query::Pairs(query), ..Call::get(path) }).await?)
            .ok_or_else(strange)?;
        let (mut items, mut seen) = (Vec::new(), HashSet::new());
        while seen.len() < MOST_PAGES {
            for item in page.items {
                items.push(typed(item, &what)?);
            }
            let Some(next) = page.next else { return Ok(items) };
            if !seen.insert(next.clone()) {
                break;
            }
            let body = self.send(Call { query: Query::Raw(&next), ..Call::get(path) }).await?;
            page = Page::read(body).ok_or_else(strange)?;
        }
        Err(Error::NotAlyx { what, reason: "the list has no end".to_owned() })
    }

    /// Sends a request until it is answered for good, and returns the JSON of its success.
    pub(super) async fn send(&self, mut call: Call<'_>) -> Result<Value, Error> {
        let shared = &*self.shared;
        let what = call.what();
        let mut attempt = 0;
        let mut renewed = false;
        loop {
            let (token, generation) = self.token(0).await?;
            attempt += 1;
            if call.turn.take().is_none() {
                self.wait_for_turn().await;
            }
            let reply = self.once(&call, Some(&token)).await;
            if let Reply::Answer(answer) = &reply
                && answer.is_dead_token()
                && !renewed
                && matches!(self.credentials(), Credentials::Password { .. })
            {
                tracing::debug!(request = %what, "the token has died; logging in again");
                renewed = true;
                attempt -= 1;
                self.token(generation + 1).await?;
                continue;
            }
            match shared.options.retry.decide(attempt, &reply, call.idempotency, random()) {
                Decision::Again(wait) => {
                    tracing::debug!(request = %what, attempt, ?reply, ?wait, "sending again");
                    self.everybody_waits(&reply, wait);
                    tokio::time::sleep(wait).await;
                }
                Decision::Deliver => {
                    return match reply {
                        Reply::Answer(answer) if answer.is_success() => answer.into_json(&what),
                        Reply::Answer(answer) => {
                            let username = shared.options.credentials.username();
                            Err(answer.into_error(&what, &shared.base, username))
                        }
                        Reply::Lost { reason, maybe_done } => Err(Error::Unreachable {
                            url: shared.base.clone(),
                            reason,
                            maybe_done: maybe_done && call.method != Method::GET,
                            connected: maybe_done,
                        }),
                    };
                }
            }
        }
    }

    /// Waits until a request may go out, with its login. For a request that has to be seen to its end once it is sent:
    /// whoever gives up before has sent nothing.
    ///
    /// # Errors
    /// Those of the login.
    pub async fn turn(&self) -> Result<RequestSlot, Error> {
        self.token(0).await?;
        self.wait_for_turn().await;
        Ok(RequestSlot(()))
    }

    /// Keeps to our own pace and to what the server asked for.
    pub(super) async fn wait_for_turn(&self) {
        let turn =
            self.shared.pace.as_ref().and_then(|pace| pace.lock().ok().map(|mut p| p.take(Instant::now())));
        if let Some(time) = turn.filter(|time| *time > Instant::now()) {
            tracing::debug!("waiting, to stay below the configured number of requests a minute");
            tokio::time::sleep_until(time).await;
        }
        let pause = self.shared.not_before.lock().ok().and_then(|until| *until);
        if let Some(until) = pause {
            tokio::time::sleep_until(until).await;
        }
    }

    async fn once(&self, call: &Call<'_>, token: Option<&SecretString>) -> Reply {
        let mut url = format!("{}{}", self.shared.base, call.path);
        if let Query::Raw(query) = call.query {
            url.push('?');
            url.push_str(query);
        }
        let mut request = self.shared.http.request(call.method.clone(), url);
        if let Query::Pairs(pairs) = call.query
            && !pairs.is_empty()
        {
            request = request.query(pairs);
        }
        if let Some(value) = token.and_then(TokenState::header) {
            request = request.header(reqwest::header::AUTHORIZATION, value);
        }
        if let Some(body) = call.body {
            request = request.json(body);
        }
        self.read(request.header(reqwest::header::ACCEPT, "application/json"), &call.what()).await
    }

    /// Sends once and reads the answer whole.
    pub(super) async fn read(&self, request: reqwest::RequestBuilder, what: &str) -> Reply {
        let sent = Instant::now();
        let reply = match request.send().await {
            Ok(response) => self.read_answer(response, what).await,
            Err(error) => self.lost(error),
        };
        self.shared.ended.fetch_add(1, Ordering::Relaxed);
        if let Some(observer) = &self.shared.options.observer {
            let status = if let Reply::Answer(answer) = &reply { Some(answer.status) } else { None };
            observer.exchanged(&Exchange::new(what, status, sent.elapsed()));
        }
        reply
    }

    /// What comes of a request without an answer.
    pub(super) fn lost(&self, error: reqwest::Error) -> Reply {
        Reply::Lost {
            maybe_done: !error.is_connect() && !error.is_builder(),
            reason: if error.is_timeout() && !error.is_connect() {
                format!("no answer within {:?}", self.shared.options.timeouts.request)
            } else {
                let told = chain(&error.without_url());
                advice(&told).map(|advice| format!("{told}; {advice}")).unwrap_or(told)
            },
        }
    }

    pub(super) async fn read_answer(&self, mut response: reqwest::Response, what: &str) -> Reply {
        self.tell_notices(response.headers(), what).await;
        let text =
            |name| response.headers().get(name).and_then(|v: &reqwest::header::HeaderValue| v.to_str().ok());
        let retry_after = text("retry-after").and_then(|after| parse_retry_after(after, text("date")));
        let location = match text("location") {
            // What follows a ? is for a browser, and may be what was sent.
            Some(to) => {
                Some(self.text_without_secrets(to.split(['?', '#']).next().unwrap_or_default()).await)
            }
            None => None,
        };
        let status = response.status().as_u16();
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > LARGEST_ANSWER => {
                    return Reply::Lost { reason: "the answer does not end".into(), maybe_done: true };
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => return self.lost(error),
            }
        }
        // What a server says goes into errors and logs; one that repeats what it was sent must not bring a secret. In the
        // records of a success nothing is blanked: a short password would stand in many of them.
        let is_records = (200..300).contains(&status)
            && (body.starts_with(b"{") || body.starts_with(b"["))
            && serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok();
        if !is_records {
            body = self.without_secrets(body).await;
        }
        Reply::Answer(Answer { status, retry_after, location, body })
    }

    pub(super) fn everybody_waits(&self, reply: &Reply, wait: Duration) {
        let Reply::Answer(answer) = reply else { return };
        if (answer.status == 429 || answer.retry_after.is_some())
            && let Ok(mut until) = self.shared.not_before.lock()
        {
            *until = (*until).max(Some(Instant::now() + wait));
        }
    }

    /// Notices of the server's owners to people: each is told once.
    async fn tell_notices(&self, headers: &reqwest::header::HeaderMap, what: &str) {
        for name in ["alyx-api-notice", "deprecation", "sunset"] {
            let Some(text) = headers.get(name).and_then(|v| v.to_str().ok()) else { continue };
            let text = self.text_without_secrets(text).await;
            // A server that says something else each time is not listened to for ever.
            let is_new =
                self.shared.told.lock().is_ok_and(|mut told| {
                    told.len() < MOST_NOTICES && told.insert(format!("{name}: {text}"))
                });
            if is_new {
                tracing::warn!(request = what, notice = text, "Alyx says ({name}): {text}");
            }
        }
    }
}

/// Connections as to Alyx: whoever the system believes, or the file, is believed, and nobody else; nobody is followed
/// to another address. Blocks.
///
/// # Errors
/// [`Error::Options`] where the file holds no certificate, or the system's cannot be read.
pub fn connections(ca_file: Option<&Path>, timeouts: Timeouts) -> Result<reqwest::Client, Error> {
    use_ring();
    let mut http = reqwest::Client::builder()
        .user_agent(concat!("alyx-registrar/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(timeouts.connect)
        .timeout(timeouts.request)
        .redirect(reqwest::redirect::Policy::none())
        .pool_idle_timeout(Duration::from_secs(30))
        .tls_info(true);
    if let Some(file) = ca_file {
        http = http.tls_certs_merge(authorities(file).map_err(Error::Options)?);
    }
    http.build().map_err(|e| Error::Options(format!("the HTTP client cannot be started: {}", chain(&e))))
}

/// Chooses the cryptography of TLS for this process, unless the program has chosen one. Must come before any
/// [`reqwest::Client`] is built.
pub fn use_ring() {
    // Refused where one is chosen already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// `Retry-After`: a number of seconds, or a date. `date`: what the server says that it is now. By its own clock a date says
/// the same whatever ours shows; whoever waits bounds it.
fn parse_retry_after(text: &str, date: Option<&str>) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<f64>() {
        Ok(seconds) if seconds >= 0.0 => Duration::try_from_secs_f64(seconds).unwrap_or(MOST_PATIENCE),
        Ok(_) => return None,
        Err(_) => {
            let parse = |text: &str| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok();
            let now = date.and_then(parse).unwrap_or_else(jiff::Timestamp::now);
            // In the past: at once.
            Duration::try_from(parse(text)?.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.min(MOST_PATIENCE))
}

/// An error with all its causes: reqwest alone says "error sending request".
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !told.contains(&text) {
            told.push_str(": ");
            told.push_str(&text);
        }
        source = cause.source();
    }
    told
}

/// A number in `0..1` for jitter; not for secrets.
pub fn random() -> f64 {
    (uuid::Uuid::new_v4().as_u64_pair().0 >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_none_is_refused_before_anything_is_sent() {
        let credentials = Credentials::Token { username: None, token: SecretString::from("t") };
        for url in ["alyx.example.org", "ftp://x", "http://", "", "https://me:secret@x"] {
            let error = Client::new(ClientOptions::new(url, credentials.clone())).expect_err(url);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn retry_after_is_seconds() {
        let parse = |text| parse_retry_after(text, None);
        assert_eq!(parse("32"), Some(Duration::from_secs(32)));
        assert_eq!(parse("-1"), None);
        assert_eq!(parse("NaN"), None);
        assert_eq!(parse("soon"), None);
        assert_eq!(parse("1e300"), Some(MOST_PATIENCE));
    }

    #[test]
    fn retry_after_is_a_date_by_the_clock_of_the_server() {
        let now = Some("Wed, 21 Oct 2026 07:27:00 GMT");
        let minute = Some(Duration::from_secs(60));
        assert_eq!(parse_retry_after("Wed, 21 Oct 2026 07:28:00 GMT", now), minute);
        assert_eq!(parse_retry_after(" Wed, 21 Oct 2026 07:28:00 GMT ", now), minute);
        assert_eq!(parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(parse_retry_after("Thu, 30 Dec 9999 20:00:00 GMT", now), Some(MOST_PATIENCE));
        assert_eq!(parse_retry_after("Fri, 31 Dec 9999 23:59:59 GMT", now), None);
        // Without its clock, by ours.
        assert_eq!(parse_retry_after("Thu, 30 Dec 9999 20:00:00 GMT", None), Some(MOST_PATIENCE));
        assert_eq!(parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT", Some("?")), Some(Duration::ZERO));
    }
}
