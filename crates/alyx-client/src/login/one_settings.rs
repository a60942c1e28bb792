//! A rig's own ONE settings: the address and login that the Python client keeps in `~/.one`. Read only.
//!
//! `.caches` maps keys to cache folders and names the default key; `.<key>` holds address, user, and the tokens or the
//! password. Python writes these files in place, so a file may be empty or half-written at any time.

use std::io::Read;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde_json::Value;

use crate::login::credentials::Credentials;
use crate::regular_file::open_regular;
use alf::is_word;

/// The largest settings file that is read, in bytes.
const MAX_FILE_SIZE: u64 = 1024 * 1024;

/// What a rig's ONE settings say about one database.
#[derive(Debug, Clone)]
pub struct OneSettings {
    /// Address of the database.
    pub url: String,
    /// How to log in: by password if there is one, because the client can renew its token; otherwise by token.
    pub credentials: Credentials,
}

/// Why a rig's ONE settings give no login. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OneSettingsError {
    /// The file does not exist.
    #[error("there are no ONE settings at {0:?}; check the folder, or set ONE up there")]
    Missing(PathBuf),
    /// The file cannot be read.
    #[error("{path:?} cannot be read ({reason}); allow the user who runs this to read it")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file is empty, half-written, or no settings file.
    #[error("{0:?} is empty or incomplete; unless ONE is writing it now, set ONE up again")]
    NotWhole(PathBuf),
    /// `.caches` names no default.
    #[error("{0:?} names no default database; give the address of the database")]
    NoDefault(PathBuf),
    /// The file is of another database: two addresses can have the same key.
    #[error("{path:?} is for {found}, not for {wanted}; correct one of the addresses")]
    OtherDatabase {
        /// The file.
        path: PathBuf,
        /// The address in it.
        found: String,
        /// The requested address.
        wanted: String,
    },
    /// The requested address may hold a secret, so the message does not repeat it.
    #[error(
        "the address contains more than a plain URL; remove user and password, and everything from the ? or # on"
    )]
    NotPlainAddress,
    /// The address in the file may hold a secret, so the message does not repeat it.
    #[error(
        "ALYX_URL in {0:?} contains more than a plain URL; remove user and password there, and everything from the ? or # on"
    )]
    NotPlainAddressIn(PathBuf),
    /// The file holds neither token nor password.
    #[error(
        "{path:?} holds no token or password of {user}; log in once with ONE, or give the login another way"
    )]
    NoLogin {
        /// The file.
        path: PathBuf,
        /// The requested user.
        user: String,
    },
}

/// The key of a database in the names of settings files (ONE: `_key_from_url`).
///
/// ```
/// use alyx_client::one_key;
///
/// assert_eq!(one_key("http://127.0.0.1:8000"), "127.0.0.1_8000");
/// assert_eq!(one_key("https://X.org/alyx/"), "x.org_alyx");
/// assert_eq!(one_key("https://a - b.org"), "a-b.org");
/// ```
pub fn one_key(url: &str) -> String {
    let bare = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or(url);
    let mut key = String::new();
    for c in bare.trim_matches('/').to_lowercase().chars() {
        match c {
            '-' => {}
            c if c.is_whitespace() => {}
            c if c == '.' || is_word(c) => {
                key.push(c);
                continue;
            }
            _ => {
                key.push('_');
                continue;
            }
        }
        if !key.ends_with('-') {
            key.push('-');
        }
    }
    key
}

impl OneSettings {
    /// Reads the settings of a database from a folder such as `/home/rig/.one`; without `url`, those of the default
    /// database. `username` selects one of several tokens, and defaults to `ALYX_LOGIN`.
    ///
    /// # Errors
    /// [`OneSettingsError`].
    ///
    /// ```
    /// use alyx_client::OneSettings;
    ///
    /// let folder = tempfile::tempdir().unwrap();
    /// std::fs::write(folder.path().join(".caches"), r#"{"CLIENT_MAP": {"x.org": "/d"}, "DEFAULT": "x.org"}"#).unwrap();
    /// let settings = r#"{"ALYX_URL": "https://x.org", "ALYX_LOGIN": "rig", "TOKEN": {"rig": {"token": "0123"}}}"#;
    /// std::fs::write(folder.path().join(".x.org"), settings).unwrap();
    ///
    /// let settings = OneSettings::load(folder.path(), None, None).unwrap();
    /// assert_eq!(settings.url, "https://x.org");
    /// assert_eq!(settings.credentials.username(), Some("rig"));
    /// ```
    pub fn load(folder: &Path, url: Option<&str>, username: Option<&str>) -> Result<Self, OneSettingsError> {
        let key = match url {
            Some(url) if !is_plain_url(url) => return Err(OneSettingsError::NotPlainAddress),
            Some(url) => one_key(url),
            None => default_key(folder)?,
        };
        let path = folder.join(format!(".{key}"));
        let settings = read(&path)?;
        let text = |name: &str| settings.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let found = text("ALYX_URL").ok_or_else(|| OneSettingsError::NotWhole(path.clone()))?;
        if !is_plain_url(found) {
            return Err(OneSettingsError::NotPlainAddressIn(path));
        }
        if let Some(wanted) = url.filter(|wanted| !is_same_address(wanted, found)) {
            let (found, wanted) = (found.to_owned(), wanted.to_owned());
            return Err(OneSettingsError::OtherDatabase { path, found, wanted });
        }
        let credentials = credentials(&settings, username.or(text("ALYX_LOGIN"))).ok_or_else(|| {
            let user = username.or(text("ALYX_LOGIN")).unwrap_or("any user").to_owned();
            OneSettingsError::NoLogin { path: path.clone(), user }
        })?;
        Ok(Self { url: found.trim_end_matches('/').to_owned(), credentials })
    }
}

/// Whether an address holds no user, password or query. Messages and the status page show it.
pub(crate) fn is_plain_url(url: &str) -> bool {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = after_scheme.split('/').next().unwrap_or_default();
    !host.contains('@') && !url.contains(['?', '#'])
}

/// Whether two addresses have the same host and path. Otherwise the token would go to another server.
fn is_same_address(a: &str, b: &str) -> bool {
    let plain = |url: &str| url.trim_matches('/').to_lowercase();
    plain(a) == plain(b)
}

fn credentials(settings: &Value, username: Option<&str>) -> Option<Credentials> {
    let text =
        |value: Option<&Value>| value.and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_owned);
    let login = text(settings.get("ALYX_LOGIN"));
    // The password belongs to ALYX_LOGIN.
    if let (Some(user), Some(password)) = (username, text(settings.get("ALYX_PWD")))
        && login.as_deref() == Some(user)
    {
        return Some(Credentials::Password {
            username: user.to_owned(),
            password: SecretString::from(password),
        });
    }
    let tokens = settings.get("TOKEN")?.as_object()?;
    let token = |user: &str| text(tokens.get(user)?.get("token"));
    let user = match (username, tokens.keys().next()) {
        (Some(user), _) => user.to_owned(),
        (None, Some(only)) if tokens.len() == 1 => only.clone(),
        (None, _) => return None,
    };
    let token = SecretString::from(token(&user)?);
    Some(Credentials::Token { username: Some(user), token })
}

fn default_key(folder: &Path) -> Result<String, OneSettingsError> {
    let path = folder.join(".caches");
    let caches = read(&path)?;
    match caches.get("DEFAULT").and_then(Value::as_str).filter(|key| !key.is_empty() && !key.contains('/')) {
        Some(key) => Ok(key.to_owned()),
        None => Err(OneSettingsError::NoDefault(path)),
    }
}

fn read(path: &Path) -> Result<Value, OneSettingsError> {
    let failed = |error: &std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => OneSettingsError::Missing(path.to_owned()),
        _ => OneSettingsError::Unreadable { path: path.to_owned(), reason: error.to_string() },
    };
    let Some((file, _)) = open_regular(path).map_err(|e| failed(&e))? else {
        return Err(OneSettingsError::NotWhole(path.to_owned()));
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE_SIZE).read_to_end(&mut bytes).map_err(|e| failed(&e))?;
    match serde_json::from_slice(&bytes) {
        Ok(value @ Value::Object(_)) => Ok(value),
        _ => Err(OneSettingsError::NotWhole(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;
    use serde_json::json;

    struct Home(tempfile::TempDir);

    impl Home {
        fn new() -> Self {
            let home = Self(tempfile::tempdir().unwrap());
            home.write(
                ".caches",
                &json!({"CLIENT_MAP": {"x.org_alyx": "/data"}, "DEFAULT": "x.org_alyx"}).to_string(),
            );
            home
        }

        fn write(&self, name: &str, content: &str) {
            std::fs::write(self.0.path().join(name), content).unwrap();
        }

        fn settings(&self, more: Value) {
            let mut settings =
                json!({"ALYX_URL": "https://x.org/alyx", "ALYX_LOGIN": "rig", "HTTP_DATA_SERVER_PWD": null});
            settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            self.write(".x.org_alyx", &settings.to_string());
        }

        fn load(&self, url: Option<&str>, user: Option<&str>) -> Result<OneSettings, OneSettingsError> {
            OneSettings::load(self.0.path(), url, user)
        }
    }

    fn login_of(credentials: &Credentials) -> (String, &'static str, String) {
        let user = credentials.username().unwrap_or_default().to_owned();
        match credentials {
            Credentials::Password { password, .. } => (user, "password", password.expose_secret().to_owned()),
            Credentials::Token { token, .. } => (user, "token", token.expose_secret().to_owned()),
            Credentials::Absent { .. } => panic!("no credentials"),
        }
    }

    fn is(user: &str, kind: &'static str, secret: &str) -> (String, &'static str, String) {
        (user.to_owned(), kind, secret.to_owned())
    }

    #[test]
    fn the_token_of_the_login_is_used() {
        let home = Home::new();
        home.settings(json!({"TOKEN": {"other": {"token": "1"}, "rig": {"token": "2"}}}));
        assert_eq!(login_of(&home.load(None, None).unwrap().credentials), is("rig", "token", "2"));
        assert_eq!(login_of(&home.load(None, Some("other")).unwrap().credentials), is("other", "token", "1"));
        assert!(matches!(home.load(None, Some("third")), Err(OneSettingsError::NoLogin { .. })));
    }

    #[test]
    fn a_password_is_preferred_to_a_token_and_belongs_to_the_login() {
        let home = Home::new();
        home.settings(json!({"ALYX_PWD": "p", "TOKEN": {"other": {"token": "1"}, "rig": {"token": "2"}}}));
        assert_eq!(login_of(&home.load(None, None).unwrap().credentials), is("rig", "password", "p"));
        assert_eq!(login_of(&home.load(None, Some("other")).unwrap().credentials), is("other", "token", "1"));
    }

    #[test]
    fn without_a_login_the_only_token_is_used() {
        let home = Home::new();
        home.settings(json!({"ALYX_LOGIN": "", "TOKEN": {"rig": {"token": "2"}}}));
        assert_eq!(login_of(&home.load(None, None).unwrap().credentials), is("rig", "token", "2"));
        home.settings(json!({"ALYX_LOGIN": "", "TOKEN": {"rig": {"token": "2"}, "other": {"token": "1"}}}));
        assert!(home.load(None, None).is_err());
    }

    #[test]
    fn an_address_needs_no_default() {
        let home = Home::new();
        home.settings(json!({"TOKEN": {"rig": {"token": "2"}}}));
        home.write(".caches", "");
        assert_eq!(home.load(Some("https://x.org/alyx/"), None).unwrap().url, "https://x.org/alyx");
        assert!(matches!(home.load(None, None), Err(OneSettingsError::NotWhole(_))));
    }

    #[test]
    fn a_token_is_not_sent_to_another_host_that_has_the_same_key() {
        let home = Home::new();
        home.settings(json!({"TOKEN": {"rig": {"token": "2"}}}));
        let error = home.load(Some("https://x.org_alyx"), None).unwrap_err();
        assert!(matches!(error, OneSettingsError::OtherDatabase { .. }), "{error}");
        let error = home.load(Some("http://x.org/alyx"), None).unwrap_err();
        assert!(matches!(error, OneSettingsError::OtherDatabase { .. }), "{error}");
    }

    #[test]
    fn files_that_are_missing_empty_or_half_written_are_reported_and_not_touched() {
        let home = Home::new();
        assert!(matches!(home.load(None, None), Err(OneSettingsError::Missing(_))));
        for content in ["", "{", "{\"ALYX_URL\": \"https://x.o", "[]", "null", "{}", "{\"ALYX_URL\": 3}"] {
            home.write(".x.org_alyx", content);
            assert!(matches!(home.load(None, None), Err(OneSettingsError::NotWhole(_))), "{content}");
            assert_eq!(std::fs::read_to_string(home.0.path().join(".x.org_alyx")).unwrap(), content);
        }
        for tokens in [
            json!({}),
            json!({"TOKEN": null}),
            json!({"TOKEN": {"rig": {}}}),
            json!({"TOKEN": {"rig": {"token": ""}}}),
        ] {
            home.settings(tokens);
            assert!(matches!(home.load(None, None), Err(OneSettingsError::NoLogin { .. })));
        }
        home.write(".caches", "{\"DEFAULT\": \"../x\"}");
        assert!(matches!(home.load(None, None), Err(OneSettingsError::NoDefault(_))));
    }

    #[test]
    fn a_named_pipe_among_the_settings_is_not_waited_for() {
        let home = Home::new();
        home.settings(json!({"TOKEN": {"rig": {"token": "2"}}}));
        let path = home.0.path().join(".x.org_alyx");
        std::fs::remove_file(&path).unwrap();
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(matches!(home.load(None, None), Err(OneSettingsError::NotWhole(_))));
    }

    #[test]
    fn no_secret_is_shown() {
        let home = Home::new();
        home.settings(json!({"ALYX_PWD": "hush", "TOKEN": {"rig": {"token": "shush"}}}));
        let shown = format!("{:?}", home.load(None, None).unwrap());
        assert!(!shown.contains("ush"), "{shown}");
    }
}
