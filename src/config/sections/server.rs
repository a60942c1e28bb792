//! The section `alyx`: the server's address, the limits, and the source of the secret.

use std::path::{Component, Path, PathBuf};

use reqwest::Url;

use crate::config::document::{AlyxDocument, Given};
use crate::config::findings::{Findings, HOUR, MINUTE, MS, SECOND};
use crate::config::sections::roots;
use crate::config::values::Text;
use crate::config::{AlyxConfig, CredentialSource, Environment, Overrides, SecretKind};
use session_metadata::text::locate::KeyPath;

impl Findings {
    pub(crate) fn alyx(
        &mut self,
        from: AlyxDocument,
        overrides: &Overrides,
        environment: &Environment,
    ) -> Option<AlyxConfig> {
        let timeouts = from.timeouts.unwrap_or_default();
        let typed = self.take(&KeyPath::of("alyx.url"), from.url);
        let url = match (&overrides.url, typed) {
            (Some(url), _) => parse_url(url).map_err(|why| self.refuse_argument("Alyx URL", why)).ok(),
            (None, Some(Text(url))) => {
                parse_url(&url).map_err(|why| self.refuse(KeyPath::of("alyx.url"), why)).ok()
            }
            (None, None) => {
                let why =
                    "this key is missing; write the address of your Alyx, such as https://alyx.example.org";
                self.missing(KeyPath::of("alyx.url"), why);
                None
            }
        };
        if let Some(url) = url.as_ref().filter(|url| url.scheme() == "http" && !is_local(url)) {
            self.warnings.push(format!(
                "alyx.url is {url}: without https the password and the token can be read on the network"
            ));
        }
        let username = self.text("alyx.username", from.username);
        let sources = [
            ("password_file", from.password_file),
            ("password_env", from.password_env),
            ("token_file", from.token_file),
            ("token_env", from.token_env),
            ("one_settings", from.one_settings),
        ];
        let credentials = self.credentials(sources, url.as_ref(), username.is_some(), environment);
        let ca_path = KeyPath::of("alyx.ca_file");
        let ca_file = self.take(&ca_path, from.ca_file).and_then(|Text(typed)| {
            roots::absolute_path(Path::new(&typed)).map_err(|why| self.refuse(ca_path, why)).ok()
        });
        let connect_timeout =
            self.time("alyx.timeouts.connect", timeouts.connect, 5 * SECOND, [10 * MS, 10 * MINUTE]);
        let request_timeout = self.time("alyx.timeouts.request", timeouts.request, MINUTE, [10 * MS, HOUR]);
        let max_requests_per_minute =
            self.count("alyx.max_requests_per_minute", from.max_requests_per_minute, 300, 100_000);
        let url = url?;
        Some(AlyxConfig {
            url,
            username,
            credentials,
            ca_file,
            connect_timeout,
            request_timeout,
            max_requests_per_minute,
        })
    }

    /// The source of the secret. Messages never show the values of these keys: they may be the secret itself.
    fn credentials(
        &mut self,
        sources: [(&'static str, Given<Text>); 5],
        url: Option<&Url>,
        has_user: bool,
        environment: &Environment,
    ) -> CredentialSource {
        let section = KeyPath::of("alyx");
        let mut chosen: Option<(&str, CredentialSource)> = None;
        for (key, given) in sources {
            let path = section.key(key);
            let text = match given.0 {
                Ok(None) => continue,
                Ok(Some(text)) => text.0,
                Err(_) => {
                    let what = match key {
                        "one_settings" => "the path of a folder",
                        key if key.ends_with("_env") => "the name of a variable",
                        _ => "the path of a file",
                    };
                    self.refuse(path, format!("this must be {what}"));
                    continue;
                }
            };
            if let Some((first, _)) = &chosen {
                self.refuse(path, format!("alyx.{first} is set as well; keep one of the two"));
                continue;
            }
            let source = if key == "one_settings" {
                let folder = PathBuf::from(&text);
                if !folder.is_absolute() || folder.components().any(|part| part == Component::ParentDir) {
                    self.refuse(path, "this must be the absolute path of a folder, such as /home/rig/.one");
                }
                CredentialSource::OneSettings { folder, url: url.map(Url::to_string).unwrap_or_default() }
            } else if key.ends_with("_env") {
                self.secret_variable(path, &text, "ALYX_PASSWORD");
                if key == "password_env" {
                    CredentialSource::PasswordEnv(text)
                } else {
                    CredentialSource::TokenEnv(text)
                }
            } else {
                let kind = if key == "password_file" { SecretKind::Password } else { SecretKind::Token };
                match (self.secret_file(path, &text, environment), kind) {
                    // Only the service has systemd's credentials; `status` and other commands still need the rest of the file.
                    (None, kind) => CredentialSource::NotLoaded(kind),
                    (Some(file), SecretKind::Password) => CredentialSource::PasswordFile(file),
                    (Some(file), SecretKind::Token) => CredentialSource::TokenFile(file),
                }
            };
            if key.starts_with("password") && !has_user {
                let why = "this key is missing; a password needs the name of its Alyx user";
                self.missing(section.key("username"), why);
            }
            chosen = Some((key, source));
        }
        chosen.map_or(CredentialSource::DefaultEnv, |(_, source)| source)
    }

    /// The file of a secret or of a systemd credential; `None` for a credential if systemd did not start this program.
    pub(crate) fn secret_file(
        &mut self,
        key: KeyPath,
        typed: &str,
        environment: &Environment,
    ) -> Option<PathBuf> {
        let typed = Path::new(typed);
        let is_name = matches!(Vec::from_iter(typed.components()).as_slice(), [Component::Normal(_)]);
        if !is_name && (!typed.is_absolute() || typed.components().any(|part| part == Component::ParentDir)) {
            self.refuse(
                key,
                "this must be the absolute path of a file, beginning with a slash \
                 (or a name of systemd's LoadCredential=); not the secret",
            );
        }
        match &environment.credentials_directory {
            Some(folder) => Some(folder.join(typed)),
            None if is_name => None,
            None => Some(typed.to_owned()),
        }
    }

    /// The name of the variable that holds a secret.
    pub(crate) fn secret_variable(&mut self, key: KeyPath, typed: &str, example: &str) {
        let name_like = typed.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !typed.starts_with(|c: char| c.is_ascii_digit());
        if !name_like {
            self.refuse(
                key,
                format!("this must be the name of a variable, such as {example}; not the secret"),
            );
        }
    }
}

/// Validates an address for [`AlyxConfig::url`]. The messages leave it out: it may contain a password.
fn parse_url(text: &str) -> Result<Url, String> {
    let example = "write it like https://alyx.example.org";
    let mut url = match Url::parse(text.trim()) {
        Ok(url) => url,
        Err(_) if !text.contains("://") => {
            return Err(format!("this is not a full address: the https:// is missing; {example}"));
        }
        Err(err) => return Err(format!("this is not an address ({err}); {example}")),
    };
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("an address of Alyx begins with https:// or http://; {example}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "no user or password may be in the address; use alyx.username and alyx.password_file".to_owned()
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("leave out everything from the ? or # on; {example}"));
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// Whether an address is that of this computer.
pub(crate) fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_ends_with_a_slash_so_that_endpoints_can_be_joined() {
        assert_eq!(parse_url("https://x.org/alyx").unwrap().as_str(), "https://x.org/alyx/");
        assert_eq!(parse_url("http://127.0.0.1:8000").unwrap().as_str(), "http://127.0.0.1:8000/");
    }
}
