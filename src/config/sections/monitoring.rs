//! The sections `http` (the status page) and `alerts`.

use crate::config::document::{AlertsDocument, HttpDocument};
use crate::config::findings::{DAY, Findings, HOUR, MINUTE, SECOND};
use crate::config::{AlertsConfig, Environment, HttpConfig, WebhookSource};
use session_metadata::text::locate::KeyPath;

impl Findings {
    pub(crate) fn http(&mut self, from: HttpDocument) -> HttpConfig {
        let listen = self.take(&KeyPath::of("http.listen"), from.listen);
        if let Some(address) = listen.filter(|address| !address.ip().is_loopback()) {
            self.warnings.push(format!(
                "http.listen is {address}: everyone who reaches this computer can read the names of sessions, folders and \
                 files; listen on 127.0.0.1, behind a web server that asks for a password"
            ));
        }
        HttpConfig { listen, names: self.texts("http.names", from.names) }
    }

    pub(crate) fn alerts(&mut self, from: AlertsDocument, environment: &Environment) -> AlertsConfig {
        let (file, variable) = (KeyPath::of("alerts.webhook_file"), KeyPath::of("alerts.webhook_env"));
        // Messages never show the values of these keys: they may be the secret itself.
        let file_typed = from.webhook_file.0.unwrap_or_else(|_| {
            self.refuse(file.clone(), "this must be the path of a file");
            None
        });
        let variable_typed = from.webhook_env.0.unwrap_or_else(|_| {
            self.refuse(variable.clone(), "this must be the name of a variable");
            None
        });
        let webhook = match (file_typed, variable_typed) {
            (None, None) => None,
            (Some(typed), None) => {
                let file = self.secret_file(file, &typed.0, environment);
                Some(file.map_or(WebhookSource::NotLoaded, WebhookSource::File))
            }
            (None, Some(typed)) => {
                self.secret_variable(variable, &typed.0, "ALERTS_WEBHOOK");
                Some(WebhookSource::Env(typed.0))
            }
            (Some(_), Some(_)) => {
                self.refuse(variable, "alerts.webhook_file is set as well; keep one of the two");
                None
            }
        };
        AlertsConfig {
            webhook,
            kind: self.take(&KeyPath::of("alerts.kind"), from.kind).unwrap_or_default(),
            away_after: self.time("alerts.away_after", from.away_after, 30 * MINUTE, [SECOND, 7 * DAY]),
            every: self.time("alerts.every", from.every, 10 * MINUTE, [SECOND, 24 * HOUR]),
        }
    }
}
