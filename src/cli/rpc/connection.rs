//! The one connection of the process, and the login that `connect` gives.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::cli::args::ConnectionArgs;
use crate::cli::output::Failure;
use crate::cli::rpc::request::unusable;
use crate::cli::verbs::connect::{connect_as, connect_with_config};
use crate::cli::verbs::output::Answer;
use crate::config::Config;
use alyx_client::{Credentials, Endpoint};
use alyx_registration::{RegistrationClient, RunContext};

/// The connection, once there is one.
#[derive(Default)]
pub(super) struct Connection {
    /// Those of the command line.
    arguments: ConnectionArgs,
    open: Option<(RegistrationClient, Option<Config>)>,
}

impl Connection {
    pub(super) fn of(arguments: ConnectionArgs) -> Self {
        Self { arguments, open: None }
    }

    /// The client, if there is one.
    pub(super) fn client(&self) -> Option<&RegistrationClient> {
        self.open.as_ref().map(|(client, _)| client)
    }

    /// The client for one request, with a progress of its own, and the configuration. Without `connect` the connection is
    /// that of the command line.
    pub(super) fn get(&mut self) -> Result<(RegistrationClient, Option<&Config>), Failure> {
        let open = match self.open.take() {
            Some(open) => open,
            None => connect_with_config(&self.arguments)?,
        };
        let (client, config) = self.open.insert(open);
        let context = RunContext { progress: Arc::default(), ..client.context().clone() };
        Ok((client.in_context(context), config.as_ref()))
    }

    /// Logs in, and answers as whom.
    pub(super) async fn connect(&mut self, params: Map<String, Value>) -> Result<Answer, Failure> {
        if self.open.is_some() {
            let message = "there is a connection already; start another process for another login";
            return Err(unusable(message));
        }
        let opened = open(&self.arguments, params)?;
        let alyx = opened.0.alyx();
        alyx.login().await?;
        let user = alyx.username().await?.to_owned();
        // A token is refused only by a request.
        alyx.find_member(Endpoint::Users, &user).await?;
        let fields = serde_json::json!({"url": alyx.url(), "user": user});
        self.open = Some(opened);
        Answer::new(Vec::new(), fields)
    }
}

/// The client that the parameters of `connect` describe. Sends nothing.
fn open(
    arguments: &ConnectionArgs,
    mut params: Map<String, Value>,
) -> Result<(RegistrationClient, Option<Config>), Failure> {
    // A value may be a secret, and is never repeated.
    let mut text = |name: &str| match params.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
        Some(_) => Err(unusable(format!("{name}: this is a text, and not empty"))),
    };
    let (url, user, password, token) = (text("url")?, text("user")?, text("password")?, text("token")?);
    let (config, one_settings) = (text("config")?, text("one_settings")?);
    if let Some(other) = params.keys().next() {
        return Err(unusable(format!("connect has no parameter {other:?}")));
    }
    let has_file = config.is_some() || one_settings.is_some();
    match (url, user, password, token) {
        (Some(_), _, Some(_), Some(_)) => Err(unusable("give a password or a token, not both")),
        (Some(_), _, Some(_), _) | (Some(_), _, _, Some(_)) if has_file => {
            Err(unusable("give a password or a token, or a file that has one"))
        }
        (Some(_), None, Some(_), None) => Err(unusable("a password needs its user")),
        (Some(url), Some(username), Some(password), None) => {
            let credentials = Credentials::Password { username, password: password.into() };
            Ok((connect_as(url, credentials)?, None))
        }
        (Some(url), username, None, Some(token)) => {
            Ok((connect_as(url, Credentials::Token { username, token: token.into() })?, None))
        }
        (None, _, Some(_), _) | (None, _, _, Some(_)) => {
            Err(unusable("a password or token needs the url of its Alyx"))
        }
        (None, None, None, None) if !has_file => connect_with_config(arguments),
        (url, user, None, None) => {
            let (config, one_settings) = (config.map(PathBuf::from), one_settings.map(PathBuf::from));
            if config.is_some() && (url.is_some() || user.is_some() || one_settings.is_some()) {
                return Err(unusable(
                    "config has the address and the login; give no other parameter".to_owned(),
                ));
            }
            connect_with_config(&ConnectionArgs { config, url, user, one_settings })
        }
    }
}
