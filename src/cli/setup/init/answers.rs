//! The answers while they are collected: arguments, ONE settings, and questions. The configuration validates them, so
//! that the same rules apply as to a file.

use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::cli::args::paths;
use crate::cli::setup::check::labs::RootFolders;
use crate::cli::setup::init::known_alyx::KnownAlyx;
use crate::cli::setup::init::{InitArgs, InitError, UnixUser, absolute};
use crate::config::{Answers, SecretPlace, metadata_readers};
use alyx_client::{Credentials, Endpoint, OneSettings};

/// A rig's own ONE settings, if any.
pub(super) struct FoundSettings {
    pub(super) folder: Option<PathBuf>,
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

    pub(super) fn url(&self) -> Option<String> {
        self.settings.as_ref().map(|settings| settings.url.clone())
    }

    pub(super) fn user(&self) -> Option<String> {
        self.settings.as_ref().and_then(|settings| settings.credentials.username()).map(str::to_owned)
    }
}

/// The answers so far.
pub(super) struct Draft {
    pub(super) data_roots: Vec<String>,
    pub(super) url: Option<String>,
    pub(super) username: Option<String>,
    pub(super) secret: Option<SecretPlace>,
    /// The default password file.
    password_file: String,
    pub(super) lab: Option<String>,
    pub(super) location: Option<String>,
    pub(super) projects: Vec<String>,
    pub(super) repository: Option<String>,
    pub(super) not_served: bool,
    /// The metadata readers.
    pub(super) readers: Option<Vec<String>>,
    /// The folders get the files of every device.
    pub(super) all_devices: bool,
}

/// A path as text, because the configuration can hold no other.
pub(super) fn text(path: &Path) -> Result<String, InitError> {
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
            data_roots: paths(&args.data_roots).iter().map(path).collect::<Result<_, _>>()?,
            url: args.url.clone().or_else(|| of_settings(found.url())),
            username: args.user.clone().or_else(|| of_settings(found.user())),
            secret,
            password_file: text(&target.with_file_name("password"))?,
            lab: args.lab.clone(),
            location: args.location.clone(),
            projects: args.projects.clone(),
            repository: args.repository.clone(),
            not_served: args.not_served,
            readers: args
                .metadata_readers
                .as_ref()
                .map(|names| readers_typed(names.iter().map(String::as_str))),
            all_devices: args.all_devices,
        };
        draft.validate("")?;
        Ok(draft)
    }

    /// The answers, with valid placeholders for missing ones.
    pub(super) fn filled(&self) -> Answers {
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
            readers: self.readers.clone(),
            all_devices: self.all_devices,
        }
    }

    /// Validates the answers to the keys with a prefix.
    pub(super) fn validate(&self, key: &str) -> Result<(), InitError> {
        let roots = self.data_roots.iter().filter(|_| "data_roots".starts_with(key));
        // A person who answers a question has typed no option.
        let in_words = |option: &str, message: &str| match key.is_empty() {
            true => format!("{option}: {message}"),
            false => format!("{message} ({option})"),
        };
        let problems = roots.filter_map(|root| root_problem(root));
        let mut messages: Vec<String> = problems.map(|why| in_words("--data-root", &why)).collect();
        let errors = self.filled().check().err();
        messages.extend(
            errors
                .iter()
                .flat_map(|errors| errors.iter())
                .filter(|error| error.key.starts_with(key))
                .map(|error| in_words(option_of(&error.key), &error.message)),
        );
        if messages.is_empty() { Ok(()) } else { Err(InitError::Answers(messages.join("\n"))) }
    }

    /// The data roots that are not there, one line each.
    pub(super) fn missing_roots(&self) -> Vec<String> {
        let missing = self.data_roots.iter().filter(|root| !Path::new(root).is_dir());
        missing
            .map(|root| format!("there is no folder {root} here now; mount its disk, or correct its name"))
            .collect()
    }

    /// Without a terminal: uses the ONE settings and the defaults.
    pub(super) fn apply_defaults(&mut self, found: &FoundSettings) {
        self.url = self.url.take().or_else(|| found.url());
        self.username = self.username.take().or_else(|| found.user());
    }

    /// The credentials to ask Alyx with: a typed password, or what the configuration would use. `None` if they are not
    /// there yet.
    pub(super) fn credentials(&self, password: Option<&SecretString>) -> Option<Credentials> {
        if let Some(password) = password {
            return Some(Credentials::Password {
                username: self.username.clone()?,
                password: password.clone(),
            });
        }
        let config = self.filled().check().ok()?;
        config.alyx.credentials.load(self.username.as_deref()).ok().map(|loaded| loaded.credentials)
    }

    /// The labs that the folders below the data roots name.
    pub(super) async fn labs_of_folders(&self) -> Vec<String> {
        let roots = self.data_roots.clone();
        let labs = |root: &String| RootFolders::load(Path::new(root)).labs.into_iter().map(|(lab, _)| lab);
        let load = move || roots.iter().flat_map(labs).collect();
        tokio::task::spawn_blocking(load).await.unwrap_or_default()
    }

    /// The labs of the sessions: of the folders, else the default, else the only one on Alyx.
    pub(super) fn labs(&self, known: &KnownAlyx, of_folders: &[String]) -> Vec<String> {
        match (of_folders, &self.lab, known.labs.as_slice()) {
            ([], Some(lab), _) => vec![lab.clone()],
            ([], None, [only]) => vec![only.name.clone()],
            _ => of_folders.to_vec(),
        }
    }

    /// The names that must be on Alyx, each with its option.
    pub(super) fn names(&self) -> impl Iterator<Item = (&'static str, Endpoint, &String)> {
        let lab = self.lab.iter().map(|name| ("--lab", Endpoint::Labs, name));
        let location = self.location.iter().map(|name| ("--location", Endpoint::Locations, name));
        let projects = self.projects.iter().map(|name| ("--projects", Endpoint::Projects, name));
        let repository = self.repository.iter().map(|name| ("--repository", Endpoint::Repositories, name));
        lab.chain(location).chain(projects).chain(repository)
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
        if self.not_served && self.repository.is_none() {
            missing.push("--repository NAME, to which other software copies the files");
        }
        if !missing.is_empty() {
            return Err(InitError::Missing(missing.join(", ")));
        }
        self.validate("")?;
        let username = self.username.clone();
        Ok(Answers { username, ..self.filled() })
    }
}

/// The metadata readers of an answer: names, `all` or `none`.
pub(super) fn readers_typed<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let names: Vec<&str> = names.map(str::trim).filter(|name| !name.is_empty()).collect();
    match names.as_slice() {
        ["none"] => Vec::new(),
        ["all"] => metadata_readers().map(|(name, _)| name.to_owned()).collect(),
        names => names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// The folders of an answer: one, or several with commas between them.
pub(super) fn separate_roots(answer: &str) -> Vec<String> {
    let parts: Vec<&str> = answer.split([',', ';']).map(str::trim).collect();
    match parts.iter().all(|part| part.starts_with('/')) && !Path::new(answer).exists() {
        true => parts.into_iter().map(str::to_owned).collect(),
        false => vec![answer.to_owned()],
    }
}

/// Why a data root is probably not what was meant. One that is not there yet is fine: its disk may not be mounted.
fn root_problem(root: &str) -> Option<String> {
    let path = Path::new(root);
    if path.is_file() {
        return Some(format!("{root} is a file; name the folder"));
    }
    let is_list = root.contains([',', ';']) || root.contains(":/");
    let advice = "there is no such folder; name each folder separately, on the command line each with its own --data-root";
    (is_list && !path.exists()).then(|| format!("{root}: {advice}"))
}

/// An address without its trailing slash, for comparison.
pub(super) fn plain(url: &str) -> &str {
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
        "session.projects" => "--projects",
        "datasets.repository" => "--repository",
        key if key.starts_with("metadata.readers") => "--metadata-readers",
        key if key.starts_with("data_roots") => "--data-root",
        other => other,
    }
}
