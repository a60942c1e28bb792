//! The client: sends requests with a token and a deadline, and repeats those that are safe to repeat.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Method;
use secrecy::SecretString;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;

use crate::error::Error;
use crate::login::credentials::{Credentials, TokenState};
use crate::login::one_settings::is_plain_url;
use crate::options::{ClientOptions, Timeouts};
use crate::transport::ca_file::load_ca_file;
use crate::transport::call::{Call, MAX_ANSWER, MAX_REFUSAL, Query, RequestSlot};
use crate::transport::diagnosis::{advice, explained};
use crate::transport::observer::{Exchange, Observer};
use crate::transport::proxy::{self, Proxy};
use crate::transport::rate_limit::RateLimiter;
use crate::transport::reply::{Answer, Reply};
use crate::transport::retry::Decision;

/// Limit on the distinct server notices that are logged: a server may send a different text each time.
const MAX_NOTICES: usize = 20;
/// A larger `Retry-After` is cut to a year, so that adding it to an instant cannot overflow.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(366 * 86_400);

/// A connection to one Alyx database as one user. Cheap to clone: clones share token and connections.
#[derive(Clone)]
pub struct Client {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) http: reqwest::Client,
    pub(super) base: String,
    pub(super) options: ClientOptions,
    /// The credentials in use. Those in the options are the first.
    pub(super) credentials: std::sync::RwLock<Credentials>,
    pub(super) token: Mutex<TokenState>,
    /// Tokens that requests in flight may carry: the current one and the one before it.
    pub(super) live_tokens: std::sync::Mutex<Vec<SecretString>>,
    /// The generation of the last token with which a request succeeded.
    pub(super) accepted_token: AtomicU64,
    pub(super) username: OnceCell<String>,
    /// After a 429 all requests wait, not only the one that got it: the limit is per user.
    pub(super) not_before: Arc<std::sync::Mutex<Option<Instant>>>,
    pub(super) rate_limiter: Option<Arc<std::sync::Mutex<RateLimiter>>>,
    pub(super) ended: AtomicU64,
    /// Messages that are logged once and have been: notices in the server's headers, and a token that cannot be stored.
    pub(super) logged_once: std::sync::Mutex<HashSet<String>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("url", &self.shared.base).finish_non_exhaustive()
    }
}

impl Client {
    /// Builds a client. Sends nothing before the first request; takes a proxy from `HTTPS_PROXY`, `HTTP_PROXY`,
    /// `ALL_PROXY` and `NO_PROXY`. Blocks while it reads the CA file.
    ///
    /// # Errors
    /// [`Error::Options`] if the address is not an `http://` or `https://` URL, or the CA file cannot be read.
    pub fn new(options: ClientOptions) -> Result<Self, Error> {
        let base = options.url.trim().trim_end_matches('/').to_owned();
        if !is_plain_url(&base) {
            // The message leaves out the URL: it may hold a password.
            return Err(Error::Options(
                "alyx.url contains a user name, a password, a ? or a #; move user and password to alyx.username and a \
                 password file, and remove the rest"
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
                "the token is too long or contains invalid characters; write it again".into(),
            ));
        }
        let http = http_client(options.ca_file.as_deref(), options.timeouts)?;
        Ok(Self {
            shared: Arc::new(Shared {
                http,
                base,
                rate_limiter: options
                    .max_requests_per_minute
                    .map(|n| Arc::new(std::sync::Mutex::new(RateLimiter::new(n)))),
                credentials: std::sync::RwLock::new(options.credentials.clone()),
                options,
                token: Mutex::default(),
                live_tokens: std::sync::Mutex::default(),
                accepted_token: AtomicU64::new(0),
                username: OnceCell::new(),
                not_before: Arc::default(),
                ended: AtomicU64::new(0),
                logged_once: std::sync::Mutex::default(),
            }),
        })
    }

    /// A client with new options, such as another password, time-out or address, that replaces an earlier client whose
    /// requests may still be running: both clients share the rate limit of a database.
    ///
    /// # Errors
    /// Those of [`Client::new`].
    pub fn replacing(options: ClientOptions, earlier: &Self) -> Result<Self, Error> {
        let per_minute = options.max_requests_per_minute;
        let mut client = Self::new(options)?;
        if client.shared.base == earlier.shared.base
            && let Some(shared) = Arc::get_mut(&mut client.shared)
        {
            shared.not_before = Arc::clone(&earlier.shared.not_before);
            if let (Some(per_minute), Some(limiter)) = (per_minute, &earlier.shared.rate_limiter) {
                if let Ok(mut limiter) = limiter.lock() {
                    limiter.set(per_minute);
                }
                shared.rate_limiter = Some(Arc::clone(limiter));
            }
        }
        Ok(client)
    }

    /// The address of the database, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.shared.base
    }

    /// The observer, if any.
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

    /// Sends a small request, to see whether the server answers and accepts the login.
    ///
    /// # Errors
    /// Those of any request.
    pub async fn ping(&self) -> Result<(), Error> {
        let query = [("limit", "1".to_owned())];
        self.sent::<IgnoredAny>(Call { query: Query::Pairs(&query), ..Call::get("/data-formats") })
            .await
            .map(drop)
    }

    /// Reads a record.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.sent(Call::get(path)).await
    }

    /// Sends a request and parses its answer.
    pub(super) async fn sent<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, Error> {
        let what = call.what();
        self.send(call).await?.parse(&what).map_err(|error| self.explained(error))
    }

    /// Sends a request, repeats it where that is safe, and returns the answer of a success.
    pub(super) async fn send(&self, mut call: Call<'_>) -> Result<Answer, Error> {
        let shared = &*self.shared;
        let what = call.what();
        let mut attempt = 0;
        let mut renewed = false;
        loop {
            let (token, generation) = self.token(0).await?;
            attempt += 1;
            if call.slot.take().is_none() {
                self.wait_for_slot().await;
            }
            let reply = self.once(&call, Some(&token)).await;
            if let Reply::Answer(answer) = &reply
                && (answer.is_dead_token() || self.is_doubtful(answer, generation))
                && !renewed
                && matches!(self.credentials(), Credentials::Password { .. })
            {
                tracing::debug!(request = %what, "the token is refused; logging in again");
                renewed = true;
                attempt -= 1;
                self.token(generation + 1).await?;
                continue;
            }
            match shared.options.retry.decide(attempt, &reply, call.idempotency, jitter()) {
                Decision::Retry(wait) => {
                    tracing::debug!(request = %what, attempt, ?reply, ?wait, "sending again");
                    self.delay_all_requests(&reply, wait);
                    tokio::time::sleep(wait).await;
                }
                Decision::Return => {
                    return match reply {
                        Reply::Answer(answer) if answer.is_success() => Ok(answer),
                        Reply::Answer(answer) => {
                            let username = shared.options.credentials.username();
                            Err(self.explained(answer.into_error(&what, &shared.base, username)))
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

    /// Whether the token may be the reason why a request is refused: no request has ever succeeded with it, and what
    /// refuses is not Alyx, but a server in front of it for which the header is too long, say. Such a server may answer in
    /// JSON as well, with a status that Alyx does not give.
    fn is_doubtful(&self, answer: &Answer, generation: u64) -> bool {
        let accepted = &self.shared.accepted_token;
        if answer.is_success() {
            accepted.store(generation, Ordering::Relaxed);
        }
        let is_of_alyx = matches!(answer.status, 400 | 403 | 404 | 405 | 415) && answer.is_object();
        let is_refusal = (400..500).contains(&answer.status) && answer.status != 429 && !is_of_alyx;
        is_refusal && accepted.load(Ordering::Relaxed) != generation
    }

    /// Logs in, and waits until a request may be sent. For a request that must run to completion once it is sent: a
    /// caller that is cancelled while it waits here has sent nothing.
    ///
    /// # Errors
    /// Those of the login.
    pub async fn acquire_slot(&self) -> Result<RequestSlot, Error> {
        self.token(0).await?;
        self.wait_for_slot().await;
        Ok(RequestSlot(()))
    }

    /// Waits as long as the rate limit, or a `Retry-After` of the server, requires.
    pub(super) async fn wait_for_slot(&self) {
        let limiter = self.shared.rate_limiter.as_ref();
        let slot = limiter.and_then(|limiter| limiter.lock().ok().map(|mut l| l.acquire(Instant::now())));
        if let Some(time) = slot.filter(|time| *time > Instant::now()) {
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
        let request = request.header(reqwest::header::ACCEPT, "application/json");
        self.read_at_most(call.at_most, request, &call.what()).await
    }

    /// Sends a request once and reads the whole answer.
    pub(super) async fn read(&self, request: reqwest::RequestBuilder, what: &str) -> Reply {
        self.read_at_most(MAX_ANSWER, request, what).await
    }

    async fn read_at_most(&self, at_most: usize, request: reqwest::RequestBuilder, what: &str) -> Reply {
        let sent = Instant::now();
        let reply = match request.send().await {
            Ok(response) => self.read_answer(response, what, at_most).await,
            Err(error) => self.lost(error),
        };
        self.shared.ended.fetch_add(1, Ordering::Relaxed);
        if let Some(observer) = &self.shared.options.observer {
            let status = if let Reply::Answer(answer) = &reply { Some(answer.status) } else { None };
            observer.exchanged(&Exchange::new(what, status, sent.elapsed()));
        }
        reply
    }

    /// The reply for a request without an answer.
    pub(super) fn lost(&self, error: reqwest::Error) -> Reply {
        let is_connect = error.is_connect() || error.is_builder();
        Reply::Lost {
            maybe_done: !is_connect,
            reason: if error.is_timeout() && !error.is_connect() {
                format!("no answer within {:?}", self.shared.options.timeouts.request)
            } else {
                let reason = error_chain(&error.without_url());
                match advice(&self.shared.base, &reason, is_connect, self.proxy()) {
                    Some(advice) => format!("{reason}; {advice}"),
                    None => reason,
                }
            },
        }
    }

    /// The proxy that the requests go through; `None`: they go to the server directly.
    pub fn proxy(&self) -> Option<Proxy> {
        proxy::proxy_of(&self.shared.base)
    }

    /// Adds what the address probably should be to the error of an answer that is not Alyx's.
    pub(super) fn explained(&self, error: Error) -> Error {
        match explained(&self.shared.base, error) {
            Error::Login { url, username, reason, .. } => {
                Error::Login { url, username, reason, advice: self.shared.options.login_advice }
            }
            other => other,
        }
    }

    pub(super) async fn read_answer(
        &self,
        mut response: reqwest::Response,
        what: &str,
        at_most: usize,
    ) -> Reply {
        self.log_notices(response.headers(), what).await;
        let text =
            |name| response.headers().get(name).and_then(|v: &reqwest::header::HeaderValue| v.to_str().ok());
        let retry_after = text("retry-after").and_then(|after| parse_retry_after(after, text("date")));
        let location = match text("location") {
            // A query is meant for a browser, and may repeat what was sent.
            Some(to) => {
                Some(self.text_without_secrets(to.split(['?', '#']).next().unwrap_or_default()).await)
            }
            None => None,
        };
        let status = response.status().as_u16();
        let is_success = response.status().is_success();
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if is_success && body.len() + chunk.len() > at_most => {
                    return Reply::Lost {
                        reason: format!("{what} answers with more than {} MB", at_most >> 20),
                        maybe_done: true,
                    };
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => return self.lost(error),
            }
            // The status says what happened; of the page, only its beginning is shown.
            if !is_success && body.len() > MAX_REFUSAL {
                break;
            }
        }
        // The server's text goes into errors and logs, and may repeat a secret that was sent, so secrets are masked.
        // Records of a success are not: a short password may occur in them by chance.
        let is_records = is_success
            && (body.starts_with(b"{") || body.starts_with(b"["))
            && serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok();
        if !is_records {
            body.truncate(MAX_REFUSAL);
            body = self.without_secrets(body).await;
        }
        Reply::Answer(Answer { status, retry_after, location, body })
    }

    pub(super) fn delay_all_requests(&self, reply: &Reply, wait: Duration) {
        let Reply::Answer(answer) = reply else { return };
        if (answer.status == 429 || answer.retry_after.is_some())
            && let Ok(mut until) = self.shared.not_before.lock()
        {
            *until = (*until).max(Some(Instant::now() + wait));
        }
    }

    /// Logs the notices in an answer's headers, each once.
    async fn log_notices(&self, headers: &reqwest::header::HeaderMap, what: &str) {
        for name in ["alyx-api-notice", "deprecation", "sunset"] {
            let Some(text) = headers.get(name).and_then(|v| v.to_str().ok()) else { continue };
            let text = self.text_without_secrets(text).await;
            let is_new = self.shared.logged_once.lock().is_ok_and(|mut logged| {
                logged.len() < MAX_NOTICES && logged.insert(format!("{name}: {text}"))
            });
            if is_new {
                tracing::warn!(request = what, notice = text, "Alyx says ({name}): {text}");
            }
        }
    }
}

/// An HTTP client with the settings for Alyx: trusts the certificate authorities of the system and of `ca_file`, and
/// follows no redirect. Blocks.
///
/// # Errors
/// [`Error::Options`] if the file contains no certificate, or the system's authorities cannot be read.
pub fn http_client(ca_file: Option<&Path>, timeouts: Timeouts) -> Result<reqwest::Client, Error> {
    install_crypto_provider();
    let mut http = reqwest::Client::builder()
        .user_agent(concat!("alyx-registrar/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(timeouts.connect)
        .timeout(timeouts.request)
        .redirect(reqwest::redirect::Policy::none())
        .pool_idle_timeout(Duration::from_secs(30))
        .tls_info(true);
    if proxy::is_bypassed() {
        http = http.no_proxy();
    }
    if let Some(file) = ca_file {
        http = http.tls_certs_merge(load_ca_file(file).map_err(Error::Options)?);
    }
    http.build()
        .map_err(|e| Error::Options(format!("the HTTP client cannot be started: {}", error_chain(&e))))
}

/// Installs ring as rustls' process-wide crypto provider, unless one is installed. Must be called before any
/// [`reqwest::Client`] is built.
pub fn install_crypto_provider() {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Parses `Retry-After`: a number of seconds, or a date. `date` is the answer's `Date`: measured by the server's own
/// clock, a wrong clock on this computer does not matter.
fn parse_retry_after(text: &str, date: Option<&str>) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<f64>() {
        Ok(seconds) if seconds >= 0.0 => Duration::try_from_secs_f64(seconds).unwrap_or(MAX_RETRY_AFTER),
        Ok(_) => return None,
        Err(_) => {
            let parse = |text: &str| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok();
            let now = date.and_then(parse).unwrap_or_else(jiff::Timestamp::now);
            // A date in the past means no wait.
            Duration::try_from(parse(text)?.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// An error's message with those of all its sources: reqwest's own is only "error sending request".
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        source = cause.source();
    }
    message
}

/// A random number in `0..1` for jitter; not for secrets.
pub fn jitter() -> f64 {
    (uuid::Uuid::new_v4().as_u64_pair().0 >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_token_that_no_web_server_would_take_is_refused_before_a_request_is_sent() {
        for token in ["0".repeat(4097), "a\nb".to_owned()] {
            let login = Credentials::Token { username: None, token: token.into() };
            let error = Client::new(ClientOptions::new("http://x.org", login)).unwrap_err().to_string();
            assert_eq!(error, "the token is too long or contains invalid characters; write it again");
        }
    }

    #[test]
    fn a_refusal_that_alyx_does_not_give_may_be_one_of_the_token() {
        let login = Credentials::Token { username: None, token: SecretString::from("t") };
        let client = Client::new(ClientOptions::new("http://x.org", login)).unwrap();
        let is_doubtful = |status, body: &str| {
            let body = body.as_bytes().to_vec();
            client.is_doubtful(&Answer { status, retry_after: None, location: None, body }, 1)
        };
        let object = r#"{"message": "Request Header Or Cookie Too Large"}"#;
        assert!(is_doubtful(400, "<html>") && is_doubtful(431, object) && is_doubtful(413, object));
        assert!(!is_doubtful(400, object) && !is_doubtful(429, object) && !is_doubtful(502, object));
        assert!(!is_doubtful(200, "{}") && !is_doubtful(431, object), "it was accepted once");
    }

    #[test]
    fn an_invalid_address_is_refused_before_a_request_is_sent() {
        let credentials = Credentials::Token { username: None, token: SecretString::from("t") };
        for url in ["alyx.example.org", "ftp://x", "http://", "", "https://me:secret@x"] {
            let error = Client::new(ClientOptions::new(url, credentials.clone())).expect_err(url);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn of_an_error_page_without_end_only_the_beginning_is_read() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", server.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut connection, _) = server.accept().unwrap();
            let _ = connection.read(&mut [0; 4096]).unwrap();
            let head = "HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\r\nno backend ";
            let _ = connection.write_all(head.as_bytes());
            while connection.write_all(&[b'x'; 8192]).is_ok() {}
        });
        let login = Credentials::Token { username: None, token: SecretString::from("t") };
        let client = Client::new(ClientOptions::new(url, login)).unwrap();
        let at_most = 4 * MAX_REFUSAL;
        let answer = client.shared.http.get(client.url()).send().await.unwrap();
        let Reply::Answer(answer) = client.read_answer(answer, "GET /x", at_most).await else {
            panic!("lost")
        };
        assert_eq!((answer.status, answer.body.len()), (502, MAX_REFUSAL));
        assert!(answer.shown().starts_with("no backend xxx"), "{}", answer.shown());
    }

    #[test]
    fn retry_after_is_seconds() {
        let parse = |text| parse_retry_after(text, None);
        assert_eq!(parse("32"), Some(Duration::from_secs(32)));
        assert_eq!(parse("-1"), None);
        assert_eq!(parse("NaN"), None);
        assert_eq!(parse("soon"), None);
        assert_eq!(parse("1e300"), Some(MAX_RETRY_AFTER));
    }

    #[test]
    fn retry_after_is_a_date_by_the_clock_of_the_server() {
        let now = Some("Wed, 21 Oct 2026 07:27:00 GMT");
        let minute = Some(Duration::from_secs(60));
        assert_eq!(parse_retry_after("Wed, 21 Oct 2026 07:28:00 GMT", now), minute);
        assert_eq!(parse_retry_after(" Wed, 21 Oct 2026 07:28:00 GMT ", now), minute);
        assert_eq!(parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(parse_retry_after("Thu, 30 Dec 9999 20:00:00 GMT", now), Some(MAX_RETRY_AFTER));
        assert_eq!(parse_retry_after("Fri, 31 Dec 9999 23:59:59 GMT", now), None);
        // Without the server's clock, this computer's counts.
        assert_eq!(parse_retry_after("Thu, 30 Dec 9999 20:00:00 GMT", None), Some(MAX_RETRY_AFTER));
        assert_eq!(parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT", Some("?")), Some(Duration::ZERO));
    }
}
