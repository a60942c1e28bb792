//! The password or token: its source, and how it is read without leaking.

use std::fmt;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use alyx_client::{Credentials, OneSettings, open_regular};

/// The variable that holds a token when the configuration names no source.
pub const DEFAULT_TOKEN_ENV: &str = "ALYX_TOKEN";
/// The variable that holds a password when the configuration names no source.
pub const DEFAULT_PASSWORD_ENV: &str = "ALYX_PASSWORD";

/// A secret is one line; a larger file is the wrong file.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Where the secret comes from: the one credential key of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    /// `alyx.password_file`.
    PasswordFile(PathBuf),
    /// `alyx.password_env`: the name of a variable.
    PasswordEnv(String),
    /// `alyx.token_file`.
    TokenFile(PathBuf),
    /// `alyx.token_env`: the name of a variable.
    TokenEnv(String),
    /// `alyx.one_settings`: the folder where the rig's own ONE stores its login. Read only.
    OneSettings {
        /// The folder, such as `/home/rig/.one`.
        folder: PathBuf,
        /// Address of the database.
        url: String,
    },
    /// A credential of systemd's `LoadCredential=`, but systemd did not start this program. Does not store the name,
    /// which may be the secret itself, written to the wrong key.
    NotLoaded(SecretKind),
    /// No key is set: `ALYX_TOKEN`, or else `ALYX_PASSWORD`.
    DefaultEnv,
}

/// The kind of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// Exchanged for a token.
    Password,
    /// Sent with every request.
    Token,
}

impl SecretKind {
    /// The kind as a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Token => "token",
        }
    }
}

/// The secret, and warnings about how it is stored.
#[derive(Clone, Debug)]
pub struct LoadedCredentials {
    /// The secret.
    pub credentials: Credentials,
    /// Warnings for the log, one line each. Never contain the secret.
    pub warnings: Vec<String>,
}

/// Why the secret cannot be read. The message says what to do and never contains the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CredentialsError {
    message: String,
}

pub(crate) fn refuse(message: impl fmt::Display) -> CredentialsError {
    CredentialsError { message: message.to_string() }
}

impl CredentialSource {
    /// Reads the secret from its file or variable.
    ///
    /// Removes one line break at the end. A file that other users can read causes a warning, not an error.
    ///
    /// # Errors
    /// The file or variable is missing, empty, unreadable, not UTF-8 or more than one line; or a password
    /// comes without a user name.
    pub fn load(&self, username: Option<&str>) -> Result<LoadedCredentials, CredentialsError> {
        self.load_with(username, |name| std::env::var_os(name))
    }

    /// As [`CredentialSource::load`], with a given lookup of variables.
    pub fn load_with(
        &self,
        username: Option<&str>,
        variable: impl Fn(&str) -> Option<std::ffi::OsString>,
    ) -> Result<LoadedCredentials, CredentialsError> {
        let from_env = |name: &str, key: &str| match variable(name) {
            // The message leaves out the name: users have written the secret in its place.
            None => Err(refuse(format_args!("{key} names a variable that is not set"))),
            Some(value) => match value.into_string() {
                Ok(text) => one_line(text, &format!("the variable {name}")),
                Err(_) => Err(refuse(format_args!("the variable {name} is not UTF-8 text"))),
            },
        };
        let private = variable("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let from_file = |path: &Path, kind: &str, warnings: &mut Vec<String>| {
            let private = private.as_deref().is_some_and(|folder| path.starts_with(folder));
            let secret = read_secret(path, kind, &format!("alyx.{kind}_file"), private, warnings)?;
            // A blank is invisible, and the server reports only a wrong login.
            if secret.expose_secret().trim() != secret.expose_secret() {
                let place = format!("the {kind} file {}", path.display());
                warnings.push(format!(
                    "{place} begins or ends with a blank, which counts as part of the {kind}; if the login is refused, \
                     remove it"
                ));
            }
            Ok(secret)
        };
        let mut warnings = Vec::new();
        let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
        let (is_token, secret) = match self {
            CredentialSource::PasswordFile(path) => (false, from_file(path, "password", &mut warnings)?),
            CredentialSource::TokenFile(path) => (true, from_file(path, "token", &mut warnings)?),
            CredentialSource::PasswordEnv(name) => (false, from_env(name, "alyx.password_env")?),
            CredentialSource::TokenEnv(name) => (true, from_env(name, "alyx.token_env")?),
            CredentialSource::OneSettings { folder, url } => {
                let settings = OneSettings::load(folder, Some(url), username).map_err(refuse)?;
                return Ok(LoadedCredentials { credentials: settings.credentials, warnings });
            }
            CredentialSource::NotLoaded(kind) => {
                return Err(not_loaded(&format!("alyx.{}_file", kind.word())));
            }
            CredentialSource::DefaultEnv => match (is_set(DEFAULT_TOKEN_ENV), is_set(DEFAULT_PASSWORD_ENV)) {
                (true, false) => (true, from_env(DEFAULT_TOKEN_ENV, "")?),
                (false, true) => (false, from_env(DEFAULT_PASSWORD_ENV, "")?),
                (true, true) => {
                    return Err(refuse(
                        "both ALYX_TOKEN and ALYX_PASSWORD are set; unset one, \
                         or say which with alyx.token_env or alyx.password_env",
                    ));
                }
                (false, false) => {
                    return Err(refuse(
                        "no password or token for Alyx: set alyx.password_file, alyx.token_file or alyx.one_settings \
                         in the configuration, or the variable ALYX_PASSWORD or ALYX_TOKEN",
                    ));
                }
            },
        };
        let credentials = if is_token {
            Credentials::Token { username: username.map(str::to_owned), token: secret }
        } else {
            let username = username.ok_or_else(|| {
                refuse("a password needs a user name: set alyx.username in the configuration")
            })?;
            Credentials::Password { username: username.to_owned(), password: secret }
        };
        Ok(LoadedCredentials { credentials, warnings })
    }
}

/// The error for a credential that systemd has not loaded. Leaves out the name, which may be the secret itself.
pub(crate) fn not_loaded(key: &str) -> CredentialsError {
    refuse(format_args!(
        "{key} is not the absolute path of a file, so it names a credential of systemd (LoadCredential= in the \
         unit), but systemd has not loaded a credential of that name for this program"
    ))
}

/// Reads a secret from a file. `private`: the file is in systemd's credentials folder, which no other user can enter.
pub(crate) fn read_secret(
    path: &Path,
    kind: &str,
    key: &str,
    private: bool,
    warnings: &mut Vec<String>,
) -> Result<SecretString, CredentialsError> {
    let shown = path.display();
    let place = format!("the {kind} file {shown}");
    let cannot = |err: std::io::Error| {
        let own = format!("give it to the service's user with mode 600 (chown, chmod 600 {shown})");
        refuse(match err.kind() {
            std::io::ErrorKind::NotFound if private => return not_loaded(key),
            std::io::ErrorKind::NotFound => {
                format!("{place} does not exist; write the {kind} into it and {own}")
            }
            std::io::ErrorKind::PermissionDenied => {
                format!("{place} may not be read by this user; if the service runs as this user, {own}")
            }
            _ => format!("{place} cannot be read: {err}"),
        })
    };
    // Once it is open, it can no longer be replaced by a named pipe, whose writer would be waited for.
    let Some((file, about)) = open_regular(path).map_err(cannot)? else {
        return Err(refuse(format_args!(
            "{place} is not a regular file; name the file that holds the {kind}"
        )));
    };
    // systemd grants the service user access by an ACL, which shows as group permissions in the mode.
    let mode = about.permissions().mode() & 0o777;
    if mode & 0o077 != 0 && !private {
        warnings.push(format!("{place} can be read by other users (mode {mode:o}); run: chmod 600 {shown}"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_SECRET_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > MAX_SECRET_BYTES {
        return Err(refuse(format_args!("{place} is larger than 64 KiB; it should hold the {kind} alone")));
    }
    let text = String::from_utf8(bytes).map_err(|_| refuse(format_args!("{place} is not UTF-8 text")))?;
    // The unit's SetCredential= supplies an empty value if the file is missing.
    if private && text.trim().is_empty() {
        return Err(refuse(format_args!(
            "{key} names a credential of systemd that is empty: write the {kind} into the file that LoadCredential= names \
             in the unit, and restart"
        )));
    }
    one_line(text, &place)
}

/// Removes one line break at the end, and a byte order mark; the rest is the secret, including spaces.
pub(crate) fn one_line(mut text: String, place: &str) -> Result<SecretString, CredentialsError> {
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.trim().is_empty() {
        return Err(refuse(format_args!("{place} is empty")));
    }
    if text.contains(['\n', '\r', '\0']) {
        return Err(refuse(format_args!(
            "{place} contains more than one line; it must contain only the secret"
        )));
    }
    Ok(SecretString::from(text))
}
