//! Login: the user name and the token.

pub(crate) mod credentials;
pub(crate) mod one_settings;
pub mod token_store;

use std::sync::PoisonError;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::client::{Client, jitter};
use crate::error::{Error, LOGIN};
use crate::login::credentials::{Credentials, TokenState};
use crate::login::token_store::TokenStore;
use crate::transport::diagnosis::may_be_below_alyx;
use crate::transport::reply::Reply;
use crate::transport::retry::{Decision, Idempotency};

impl Client {
    /// The name of the logged-in user. With only a token, the client asks the server at `/me`.
    ///
    /// # Errors
    /// [`Error::Options`] asks for `alyx.username` if the server has no `/me`; otherwise those of any request.
    pub async fn username(&self) -> Result<&str, Error> {
        if let Some(known) = self.shared.options.credentials.username() {
            return Ok(known);
        }
        let ask = || async {
            // The credentials may have been replaced since.
            if let Some(name) = self.credentials().username() {
                return Ok(name.to_owned());
            }
            match self.get::<Value>("/me").await {
                Ok(me) => match me.get("username").and_then(Value::as_str) {
                    Some(name) => Ok(name.to_owned()),
                    None => Err(Error::Options(
                        "the server does not say whose token this is; set alyx.username".into(),
                    )),
                },
                Err(Error::NotFound { .. } | Error::NotAlyx { .. }) => {
                    Err(Error::Options("this Alyx cannot say whose token this is; set alyx.username".into()))
                }
                Err(other) => Err(other),
            }
        };
        self.shared.username.get_or_try_init(ask).await.map(String::as_str)
    }

    /// Logs in now instead of at the first request. A stored token is not checked: it is used until a request with it
    /// is refused.
    ///
    /// # Errors
    /// [`Error::Login`] for wrong credentials; the errors of any request.
    pub async fn login(&self) -> Result<(), Error> {
        self.token(0).await.map(drop)
    }

    /// Uses other credentials from now on, such as a changed password, and drops the current token. They must be of the
    /// same user, because requests in flight carry the user's name.
    pub async fn replace_credentials(&self, credentials: Credentials) {
        let mut state = self.shared.token.lock().await;
        *self.shared.credentials.write().unwrap_or_else(PoisonError::into_inner) = credentials;
        state.forget();
    }

    /// The error of every request while there are no credentials.
    pub fn lacks_credentials(&self) -> Option<Error> {
        match self.credentials() {
            Credentials::Absent { reason, .. } => Some(Error::NoCredentials(reason)),
            Credentials::Password { .. } | Credentials::Token { .. } => None,
        }
    }

    /// The credentials in use.
    pub fn credentials(&self) -> Credentials {
        self.shared.credentials.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The token of at least this generation; logs in if there is none. Only one task logs in at a time.
    pub(crate) async fn token(&self, at_least: u64) -> Result<(SecretString, u64), Error> {
        let mut state = self.shared.token.lock().await;
        if let Some(token) = &state.token
            && state.generation >= at_least
        {
            return Ok((token.clone(), state.generation));
        }
        let token = match self.credentials() {
            Credentials::Absent { reason, .. } => return Err(Error::NoCredentials(reason)),
            Credentials::Token { token, .. } => token,
            Credentials::Password { username, password } => {
                let store = self.token_store(&username);
                // A stored token is tried once. If it has expired, the caller asks again for a newer one.
                let usable = store.as_ref().filter(|_| at_least == 0 && !state.ignores_stored);
                match usable.and_then(TokenStore::load) {
                    Some(token) => token,
                    None => {
                        let token = self.log_in(&username, &password).await?;
                        if let Some(store) = store {
                            self.store_token(&store, &token);
                        }
                        token
                    }
                }
            }
        };
        let mut live_tokens = self.shared.live_tokens.lock().unwrap_or_else(PoisonError::into_inner);
        live_tokens.truncate(1);
        live_tokens.insert(0, token.clone());
        drop(live_tokens);
        state.replace(token.clone());
        Ok((token, state.generation))
    }

    /// Stores a token for the next start. A failure costs one login, and is logged once.
    fn store_token(&self, store: &TokenStore, token: &SecretString) {
        let Err(error) = store.save(token) else { return };
        if self.shared.logged_once.lock().is_ok_and(|mut logged| logged.insert("token".to_owned())) {
            tracing::warn!(file = ?store.file(), %error, "the token cannot be stored; the next start logs in again");
        }
    }

    fn token_store(&self, username: &str) -> Option<TokenStore> {
        let folder = self.shared.options.token_folder.as_ref()?;
        Some(TokenStore::new(folder, &self.shared.base, username))
    }

    async fn log_in(&self, username: &str, password: &SecretString) -> Result<SecretString, Error> {
        let refused = |reason| Error::Login {
            url: self.shared.base.clone(),
            username: Some(username.to_owned()),
            reason,
            advice: self.shared.options.login_advice,
        };
        let mut attempt = 0;
        let answer = loop {
            attempt += 1;
            let form = [("username", username), ("password", password.expose_secret())];
            self.wait_for_slot().await;
            let request = self.shared.http.post(format!("{}/auth-token", self.shared.base)).form(&form);
            let reply = self.read(request, LOGIN).await;
            match self.shared.options.retry.decide(attempt, &reply, Idempotency::Idempotent, jitter()) {
                Decision::Retry(wait) => {
                    self.delay_all_requests(&reply, wait);
                    tokio::time::sleep(wait).await;
                }
                Decision::Return => match reply {
                    Reply::Answer(answer) => break answer,
                    Reply::Lost { reason, maybe_done: connected } => {
                        let url = self.shared.base.clone();
                        return Err(Error::Unreachable { url, reason, maybe_done: false, connected });
                    }
                },
            }
        };
        if !answer.is_success() {
            // Alyx answers wrong credentials with a 400 and a JSON object; an HTML page comes from a proxy.
            let by_alyx = answer.is_object();
            let is_page = answer.wants_token() && may_be_below_alyx(&self.shared.base);
            let error = self.explained(answer.into_error(LOGIN, &self.shared.base, Some(username)));
            return Err(match error {
                // The address of a list of Alyx, such as its subjects: each address below is that of a record.
                Error::Login { reason, .. } if is_page => {
                    let what = LOGIN.to_owned();
                    self.explained(Error::NotAlyx { what, reason: format!("it asks for a token: {reason}") })
                }
                Error::Refused { status: 400, detail, .. } if by_alyx => refused(detail),
                Error::Forbidden { detail, .. } => refused(detail),
                // A login does not depend on the session, so any other error affects all sessions.
                Error::Refused { what, status, detail } => {
                    self.explained(Error::NotAlyx { what, reason: format!("HTTP {status}: {detail}") })
                }
                Error::NotFound { what, detail } => {
                    self.explained(Error::NotAlyx { what, reason: format!("HTTP 404: {detail}") })
                }
                Error::Server { what, status, body } => Error::Busy { what, status, retry_after: None, body },
                other => other,
            });
        }
        let body: Value = answer.parse(LOGIN).map_err(|error| self.explained(error))?;
        match body.get("token").and_then(Value::as_str) {
            Some(token) if TokenState::header(&token.into()).is_some() => Ok(SecretString::from(token)),
            _ => Err(Error::NotAlyx { what: LOGIN.into(), reason: "no usable token in the answer".into() }),
        }
    }

    /// As [`Client::without_secrets`], for a text.
    pub(crate) async fn text_without_secrets(&self, text: &str) -> String {
        let bytes = self.without_secrets(text.as_bytes().to_vec()).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// An answer with password and tokens masked, in plain, form-encoded and JSON-escaped spelling.
    pub(crate) async fn without_secrets(&self, body: Vec<u8>) -> Vec<u8> {
        let mut secrets = Vec::new();
        let password = self.credentials().secret().cloned();
        let tokens = self.shared.live_tokens.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for secret in password.into_iter().chain(tokens) {
            let plain = secret.expose_secret();
            let encoded = reqwest::Url::parse_with_params("http://x", [("s", plain)]).ok();
            let encoded =
                encoded.and_then(|url| url.query().and_then(|q| q.strip_prefix("s=")).map(str::to_owned));
            let json = serde_json::to_string(plain).ok();
            secrets.push(plain.to_owned());
            secrets.extend(encoded);
            secrets.extend(json.map(|quoted| quoted.trim_matches('"').to_owned()));
        }
        let mut text = String::from_utf8_lossy(&body).into_owned();
        if !secrets.iter().any(|secret| !secret.is_empty() && text.contains(secret)) {
            return body;
        }
        for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
            text = text.replace(secret, "***");
        }
        text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use crate::{Client, ClientOptions, Credentials};

    #[tokio::test]
    async fn the_token_in_an_answer_is_masked_even_while_a_login_is_running() {
        let token = "0123456789abcdef0123456789abcdef01234567";
        let login = Credentials::Token { username: None, token: token.into() };
        let client = Client::new(ClientOptions::new("http://127.0.0.1:9", login)).unwrap();
        client.login().await.unwrap();
        let newer = "76543210fedcba9876543210fedcba9876543210";
        client.replace_credentials(Credentials::Token { username: None, token: newer.into() }).await;
        client.login().await.unwrap();
        let _logging_in = client.shared.token.lock().await;
        let masked = client.text_without_secrets(&format!("you sent {token}, then {newer}")).await;
        assert_eq!(masked, "you sent ***, then ***");
    }
}
