//! The sections `http` (the status page) and `alerts`.

use crate::config::document::{AlertsDocument, HttpDocument};
use crate::config::findings::{DAY, Findings, HOUR, MINUTE, SECOND};
use crate::config::{AlertsConfig, Environment, HttpConfig, WebhookSource};
use session_metadata::text::locate::{KeyPath, quoted};

/// What is wrong with the name of a computer, and how to write it; `None` if it is right. Pure.
fn host_name_fault(text: &str) -> Option<String> {
    let is_host = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
    };
    if is_host(text.trim_end_matches('.')) || text.parse::<std::net::Ipv6Addr>().is_ok() {
        return None;
    }
    let bare = text.trim();
    let bare = bare.split_once("://").map_or(bare, |(_, rest)| rest);
    let bare = bare.split(['/', '?', '#']).next().unwrap_or_default();
    let bare = bare.rsplit_once('@').map_or(bare, |(_, host)| host);
    let bare = bare.rsplit_once(':').map_or(bare, |(host, _)| host).trim_matches(['[', ']']);
    Some(match is_host(bare) || bare.parse::<std::net::Ipv6Addr>().is_ok() {
        true => format!("{} is not the name of a computer; write {bare}", quoted(text)),
        false => format!("{} is not the name of a computer; write one such as rig1.lab.org", quoted(text)),
    })
}

impl Findings {
    pub(crate) fn http(&mut self, from: HttpDocument) -> HttpConfig {
        let listen = self.take(&KeyPath::of("http.listen"), from.listen);
        if let Some(address) = listen.filter(|address| !address.ip().is_loopback()) {
            self.warnings.push(format!(
                "http.listen is {address}: everyone who reaches this computer can read the names of sessions, folders and \
                 files; listen on 127.0.0.1, behind a web server that asks for a password"
            ));
        }
        let names = self.texts("http.names", from.names);
        for (i, name) in names.iter().enumerate() {
            if let Some(why) = host_name_fault(name) {
                self.refuse(KeyPath::of("http.names").index(i), why);
            }
        }
        HttpConfig { listen, names }
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
