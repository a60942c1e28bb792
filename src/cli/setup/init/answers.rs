//! The answers while they are collected: arguments, ONE settings, and questions. The configuration validates them, so
//! that the same rules apply as to a file.

use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::cli::setup::init::files::is_user_file;
use crate::cli::setup::init::{InitArgs, InitError, UnixUser, absolute};
use crate::cli::terminal::Terminal;
use crate::config::{Answers, SecretPlace};
use alyx_client::OneSettings;

/// A rig's own ONE settings, if any.
pub(super) struct FoundSettings {
    folder: Option<PathBuf>,
    settings: Option<OneSettings>,
}

impl FoundSettings {
    /// Settings given by an argument must exist; otherwise those of the current user, or of the user behind sudo, are
    /// tried.
    pub(super) fn load(args: &InitArgs, here: &Path) -> Result<Self, InitError> {
        if let Some(typed) = &args.one_settings {
            let folder = absolute(typed, here);
            let settings = OneSettings::load(&folder, args.url.as_deref(), args.user.as_deref())?;
            return Ok(Self { folder: Some(folder), settings: Some(settings) });
        }
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let sudo = variable("SUDO_USER").and_then(|name| UnixUser::named(&name)).map(|user| user.home);
        let homes = [sudo, variable("HOME").map(PathBuf::from)].into_iter().flatten();
        let found = homes.map(|home| home.join(".one")).find_map(|folder| {
            let settings = OneSettings::load(&folder, args.url.as_deref(), args.user.as_deref()).ok()?;
            Some((folder, settings))
        });
        let (folder, settings) = found.unzip();
        Ok(Self { folder, settings })
    }

    fn url(&self) -> Option<String> {
        self.settings.as_ref().map(|settings| settings.url.clone())
    }

    fn user(&self) -> Option<String> {
        self.settings.as_ref().and_then(|settings| settings.credentials.username()).map(str::to_owned)
    }
}

/// The answers so far.
pub(super) struct Draft {
    data_roots: Vec<String>,
    url: Option<String>,
    username: Option<String>,
    secret: Option<SecretPlace>,
    /// The default password file.
    password_file: String,
    lab: Option<String>,
    location: Option<String>,
    projects: Vec<String>,
    repository: Option<String>,
    not_served: bool,
}

/// A path as text, because the configuration can hold no other.
fn text(path: &Path) -> Result<String, InitError> {
    path.to_str().map(str::to_owned).ok_or_else(|| InitError::NotText(path.to_owned()))
}

impl Draft {
    /// The arguments. An invalid one is refused immediately.
    pub(super) fn typed(
        args: &InitArgs,
        found: &FoundSettings,
        target: &Path,
        here: &Path,
    ) -> Result<Self, InitError> {
        let path = |typed: &PathBuf| text(&absolute(typed, here));
        let secret = if let Some(file) = &args.password_file {
            Some(SecretPlace::PasswordFile(path(file)?))
        } else if let Some(file) = &args.token_file {
            Some(SecretPlace::TokenFile(path(file)?))
        } else if let Some(folder) = found.folder.as_ref().filter(|_| args.one_settings.is_some()) {
            Some(SecretPlace::OneSettings(text(folder)?))
        } else {
            None
        };
        let of_settings = |value: Option<String>| value.filter(|_| args.one_settings.is_some());
        let draft = Self {
            data_roots: args.data_roots.iter().map(path).collect::<Result<_, _>>()?,
            url: args.url.clone().or_else(|| of_settings(found.url())),
            username: args.user.clone().or_else(|| of_settings(found.user())),
            secret,
            password_file: text(&target.with_file_name("password"))?,
            lab: args.lab.clone(),
            location: args.location.clone(),
            projects: args.projects.clone(),
            repository: args.repository.clone(),
            not_served: args.not_served,
        };
        draft.validate("")?;
        Ok(draft)
    }

    /// The answers, with valid placeholders for missing ones.
    fn filled(&self) -> Answers {
        let or = |value: &Option<String>, example: &str| value.clone().unwrap_or_else(|| example.to_owned());
        Answers {
            data_roots: match self.data_roots.as_slice() {
                [] => vec!["/data".to_owned()],
                roots => roots.to_vec(),
            },
            url: or(&self.url, "https://alyx.example.org"),
            username: Some(or(&self.username, "rig")),
            secret: self
                .secret
                .clone()
                .unwrap_or_else(|| SecretPlace::PasswordFile(self.password_file.clone())),
            lab: self.lab.clone(),
            location: self.location.clone(),
            projects: self.projects.clone(),
            repository: self.repository.clone(),
            not_served: self.not_served,
        }
    }

    /// Validates the answers to the keys with a prefix.
    fn validate(&self, key: &str) -> Result<(), InitError> {
        let Err(errors) = self.filled().check() else { return Ok(()) };
        let messages: Vec<String> = errors
            .iter()
            .filter(|error| error.key.starts_with(key))
            .map(|error| format!("{}: {}", option_of(&error.key), error.message))
            .collect();
        if messages.is_empty() { Ok(()) } else { Err(InitError::Answers(messages.join("\n"))) }
    }

    /// Without a terminal: uses the ONE settings and the defaults.
    pub(super) fn apply_defaults(&mut self, found: &FoundSettings) {
        self.url = self.url.take().or_else(|| found.url());
        self.username = self.username.take().or_else(|| found.user());
    }

    /// Asks for missing answers, and for a password if one is needed.
    pub(super) async fn ask(
        &mut self,
        found: &FoundSettings,
        terminal: &mut Terminal,
        args: &InitArgs,
    ) -> Result<Option<SecretString>, InitError> {
        if let (Some(folder), None) = (&found.folder, &args.one_settings) {
            terminal.print(&format!("ONE is set up here, in {}.", folder.display()));
        }
        if self.data_roots.is_empty() {
            self.data_roots.push(String::new());
            let question = "Which folder holds the sessions, as <lab>/Subjects/<subject>/<date>/<number>?";
            self.ask_until_valid(
                terminal,
                question,
                Some("/data".to_owned()),
                "data_roots",
                |draft, answer| {
                    if let Some(last) = draft.data_roots.last_mut() {
                        *last = answer;
                    }
                },
            )
            .await?;
        }
        if self.url.is_none() {
            let question = "What is the address of Alyx?";
            self.ask_until_valid(terminal, question, found.url(), "alyx.url", |draft, answer| {
                draft.url = Some(answer);
            })
            .await?;
        }
        if self.username.is_none() {
            let question = "Which Alyx user registers the sessions?";
            self.ask_until_valid(terminal, question, found.user(), "alyx.username", |draft, answer| {
                draft.username = Some(answer);
            })
            .await?;
        }
        if self.location.is_none() {
            // The key may stay empty.
            let question = "What is this rig called on Alyx (its location)? Enter for none";
            self.ask_until_valid(
                terminal,
                question,
                Some(String::new()),
                "session.location",
                |draft, answer| {
                    draft.location = Some(answer).filter(|answer| !answer.is_empty());
                },
            )
            .await?;
        }
        self.ask_for_login(found, terminal, args).await
    }

    async fn ask_for_login(
        &mut self,
        found: &FoundSettings,
        terminal: &mut Terminal,
        args: &InitArgs,
    ) -> Result<Option<SecretString>, InitError> {
        let of_this_user = found.url().as_deref().map(plain) == self.url.as_deref().map(plain)
            && found.user() == self.username
            && !args.password_stdin;
        if let (None, Some(folder), true) = (&self.secret, &found.folder, of_this_user) {
            let question = format!("Log in with the ONE settings in {}? [y/N]", folder.display());
            if matches!(terminal.ask(&question).await?.to_lowercase().as_str(), "y" | "yes") {
                self.secret = Some(SecretPlace::OneSettings(text(folder)?));
            }
        }
        let SecretPlace::PasswordFile(file) = self.filled().secret else { return Ok(None) };
        if is_user_file(Path::new(&file)) && !args.force {
            terminal.print(&format!("{file} exists already and is unchanged."));
            return Ok(None);
        }
        let user = self.username.clone().unwrap_or_default();
        let question = format!("Password of {user}, not shown (Enter: write it to {file} later):");
        Ok(terminal.ask_password(&question).await?)
    }

    /// Asks until the answer is valid. Enter accepts the default, if any.
    async fn ask_until_valid(
        &mut self,
        terminal: &mut Terminal,
        question: &str,
        default: Option<String>,
        key: &str,
        take: impl Fn(&mut Self, String),
    ) -> Result<(), InitError> {
        let shown = default.as_ref().filter(|default| !default.is_empty());
        let shown = shown.map(|default| format!(" [{default}]")).unwrap_or_default();
        loop {
            let answer = terminal.ask(&format!("{question}{shown}")).await?;
            let answer = match (&default, answer.is_empty()) {
                (Some(default), true) => default.clone(),
                (None, true) => continue,
                _ => answer,
            };
            take(self, answer);
            match self.validate(key) {
                Ok(()) => return Ok(()),
                Err(error) => terminal.print(&error.to_string()),
            }
        }
    }

    /// The answers, unless one without a default is missing.
    pub(super) fn finish(self) -> Result<Answers, InitError> {
        let mut missing = Vec::new();
        if self.data_roots.is_empty() {
            missing.push("--data-root DIR");
        }
        if self.url.is_none() {
            missing.push("--url URL");
        }
        let needs_user = matches!(self.filled().secret, SecretPlace::PasswordFile(_));
        if self.username.is_none() && needs_user {
            missing.push("--user NAME");
        }
        if !missing.is_empty() {
            return Err(InitError::Missing(missing.join(", ")));
        }
        self.validate("")?;
        let username = self.username.clone();
        Ok(Answers { username, ..self.filled() })
    }
}

/// An address without its trailing slash, for comparison.
fn plain(url: &str) -> &str {
    url.trim_end_matches('/')
}

/// The command line option for a key.
fn option_of(key: &str) -> &str {
    match key {
        "alyx.url" => "--url",
        "alyx.username" => "--user",
        "alyx.password_file" => "--password-file",
        "alyx.token_file" => "--token-file",
        "alyx.one_settings" => "--one-settings",
        "session.lab" => "--lab",
        "session.location" => "--location",
        "session.projects" => "--project",
        "datasets.repository" => "--repository",
        key if key.starts_with("data_roots") => "--data-root",
        other => other,
    }
}
