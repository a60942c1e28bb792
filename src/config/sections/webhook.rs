//! A webhook: the address that receives alerts. It is treated as a secret, because anyone who knows it can post there.

use std::path::PathBuf;

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use crate::config::sections::credentials::{CredentialsError, not_loaded, one_line, read_secret, refuse};
use crate::config::sections::server::is_local;

/// The source of the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookSource {
    /// `alerts.webhook_file`.
    File(PathBuf),
    /// `alerts.webhook_env`: the name of a variable.
    Env(String),
    /// A credential of systemd's `LoadCredential=`, but systemd did not start this program.
    NotLoaded,
}

/// The address, and warnings about how it is stored.
#[derive(Clone, Debug)]
pub struct LoadedWebhook {
    /// `http` or `https`.
    pub address: SecretString,
    /// Warnings for the log, one line each. Never contain the address.
    pub warnings: Vec<String>,
}

impl WebhookSource {
    /// Reads the address from its file or variable.
    ///
    /// # Errors
    /// Those of every secret; or the text is not an address. The message never contains it.
    pub fn load(&self) -> Result<LoadedWebhook, CredentialsError> {
        self.load_with(|name| std::env::var_os(name))
    }

    /// As [`WebhookSource::load`], with a given lookup of variables.
    ///
    /// # Errors
    /// Those of [`WebhookSource::load`].
    pub fn load_with(
        &self,
        variable: impl Fn(&str) -> Option<std::ffi::OsString>,
    ) -> Result<LoadedWebhook, CredentialsError> {
        let mut warnings = Vec::new();
        let secret = match self {
            Self::NotLoaded => return Err(not_loaded("alerts.webhook_file")),
            Self::File(path) => {
                let private = variable("CREDENTIALS_DIRECTORY").map(PathBuf::from);
                let private = private.is_some_and(|folder| path.starts_with(folder));
                read_secret(path, "webhook", "alerts.webhook_file", private, &mut warnings)?
            }
            Self::Env(name) => match variable(name).map(std::ffi::OsString::into_string) {
                // The message leaves out the name: it may be the address itself.
                None => {
                    return Err(refuse("alerts.webhook_env names a variable that is not set"));
                }
                Some(Ok(text)) => one_line(text, "the variable of alerts.webhook_env")?,
                Some(Err(_)) => {
                    return Err(refuse("the variable of alerts.webhook_env is not UTF-8 text"));
                }
            },
        };
        let address = secret.expose_secret().trim();
        match Url::parse(address) {
            Ok(url) if url.scheme() == "https" || url.scheme() == "http" && is_local(&url) => {}
            Ok(url) if url.scheme() == "http" => warnings.push(
                "the webhook of the alerts begins with http://: without https its address, which is a secret, and the \
                 names of sessions can be read on the network"
                    .to_owned(),
            ),
            _ => {
                return Err(refuse(
                    "the webhook of the alerts is not an address; it must be the complete URL, as Slack or Teams shows \
                     it, starting with https://",
                ));
            }
        }
        Ok(LoadedWebhook { address: SecretString::from(address), warnings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<LoadedWebhook, String> {
        let variable = |name: &str| (name == "HOOK").then(|| text.into());
        WebhookSource::Env("HOOK".into()).load_with(variable).map_err(|error| error.to_string())
    }

    #[test]
    fn an_address_that_others_can_read_on_the_network_causes_a_warning() {
        for quiet in
            ["https://hooks.slack.com/services/T/B/x", "http://127.0.0.1:8080/hook\n", "http://localhost/"]
        {
            assert_eq!(load(quiet).unwrap().warnings, Vec::<String>::new(), "{quiet}");
        }
        assert_eq!(load("http://10.0.0.7/hook").unwrap().warnings.len(), 1);
    }

    #[test]
    fn an_invalid_address_is_refused_without_being_repeated() {
        for wrong in ["hooks.slack.com/services/s3cret", "ftp://s3cret", "s3cret", "", "a\ns3cret"] {
            let text = load(wrong).unwrap_err();
            assert!(!text.contains("s3cret"), "{text}");
        }
        let text = WebhookSource::Env("s3cret".into()).load_with(|_| None).unwrap_err().to_string();
        assert!(text.contains("alerts.webhook_env") && !text.contains("s3cret"), "{text}");
    }
}
