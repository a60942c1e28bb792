//! `init`: writes a rig's configuration, from arguments, answers, and the rig's ONE settings.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

mod answers;
mod files;
mod known_alyx;
mod questions;
mod repository;

use std::io;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::cli::args::{InitArgs, absolute};
use crate::cli::exit::Exit;
use crate::cli::output::terminal::{Terminal, TerminalError, password_from_pipe};
use crate::cli::output::{report_error, say};
use crate::cli::service::wiring;
use crate::cli::setup::check::check_new;
use crate::cli::setup::init::answers::{Draft, FoundSettings};
use crate::cli::setup::init::files::NewFile;
use crate::cli::setup::init::known_alyx::{KnownAlyx, probe};
use crate::cli::setup::passwd::UnixUser;
use crate::config::{Answers, DEFAULT_PATH, SecretPlace, unit_of};
use crate::humanize::capitalized;
use alyx_client::text::some_of;
use alyx_client::{NextStep, OneSettingsError};

/// The folder to which the packaged service may write without a drop-in.
const WRITABLE_BY_SERVICE: &str = "/data";

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
enum InitError {
    /// The file exists, and is not the package's sample.
    #[error("{0:?} exists already and is unchanged; --force replaces it")]
    Exists(PathBuf),
    /// The system does not allow writing.
    #[error("{path:?} cannot be written ({source}); use sudo, or choose another place")]
    Unwritable { path: PathBuf, source: io::Error },
    /// A system call failed.
    #[error("{doing} cannot be used ({source})")]
    System { doing: &'static str, source: io::Error },
    /// Ctrl-C, or the end of input.
    #[error("stopped; nothing was written")]
    Stopped,
    /// The configuration would be invalid; one error per line.
    #[error("{0}")]
    Answers(String),
    /// The given ONE settings cannot be used.
    #[error("--one-settings: {0}")]
    OneSettings(#[from] OneSettingsError),
    /// A configuration can only hold text.
    #[error("{0:?} is not UTF-8 text and cannot be written to the configuration; choose another name")]
    NotText(PathBuf),
    /// An option is missing, and there is no terminal to ask on.
    #[error(
        "missing, without a default: {0}; add these options to the command line, or run init on a terminal"
    )]
    Missing(String),
    /// Alyx refuses the login, or fails.
    #[error(transparent)]
    Alyx(#[from] alyx_client::Error),
    /// `--password-stdin` without input, or no terminal.
    #[error(transparent)]
    Terminal(TerminalError),
}

impl From<TerminalError> for InitError {
    fn from(error: TerminalError) -> Self {
        match error {
            TerminalError::Stopped => Self::Stopped,
            TerminalError::System { doing, source } => Self::System { doing, source },
            other => Self::Terminal(other),
        }
    }
}

impl InitError {
    fn exit(&self) -> Exit {
        match self {
            Self::Exists(_) | Self::Unwritable { .. } | Self::System { .. } => Exit::Io,
            Self::Stopped => Exit::Interrupted,
            Self::Alyx(error) if error.next_step() == NextStep::NeedsCredentials => Exit::Refused,
            Self::Alyx(error) if error.is_outage() => Exit::Unavailable,
            Self::Alyx(_) => Exit::Incomplete,
            Self::Answers(_)
            | Self::OneSettings(_)
            | Self::NotText(_)
            | Self::Missing(_)
            | Self::Terminal(_) => Exit::Usage,
        }
    }
}

/// Asks, writes, and prints the next steps.
pub(crate) async fn init(args: &InitArgs) -> Exit {
    match init_with(args).await {
        Ok(exit) => exit,
        Err(error) => {
            report_error(&error);
            error.exit()
        }
    }
}

async fn init_with(args: &InitArgs) -> Result<Exit, InitError> {
    let here = std::env::current_dir()
        .map_err(|source| InitError::System { doing: "the working folder", source })?;
    let target = absolute(args.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH)), &here);
    files::refuse_existing(&target, args.force)?;
    let found = FoundSettings::load(args, &here)?;
    let mut draft = Draft::typed(args, &found, &target, &here)?;
    let (password, asked) = if args.yes || !io::stdin().is_terminal() {
        let typed = args.password_stdin.then(password_from_pipe).transpose()?;
        draft.apply_defaults(&found);
        draft.missing_roots().iter().for_each(report_error);
        let asked = ask_alyx(&mut draft, typed.as_ref(), args).await?;
        (typed, asked)
    } else {
        questions::ask(&mut draft, &found, &mut Terminal::new()?, args).await?
    };
    let answers = draft.finish()?;
    write(args, &target, &answers, password)?;
    check_new(&target, !matches!(asked, Asked::Known)).await;
    if matches!(asked, Asked::Unreachable) {
        report_error(format_args!(
            "Alyx did not answer: {} is written, but nothing in it is checked; when Alyx answers, run alyx-registrar check",
            target.display()
        ));
        return Ok(Exit::Unavailable);
    }
    Ok(Exit::Success)
}

/// Whether Alyx was asked.
enum Asked {
    Known,
    /// The user does not want that, or there is no password yet.
    Not,
    /// There is no answer.
    Unreachable,
}

/// Without a terminal: checks the answers against Alyx, and takes the repository if there is only one that fits. If Alyx
/// cannot be asked, a message says so, and the configuration is written all the same.
async fn ask_alyx(
    draft: &mut Draft,
    password: Option<&SecretString>,
    args: &InitArgs,
) -> Result<Asked, InitError> {
    let Some(url) = draft.url.clone().filter(|_| !args.offline) else { return Ok(Asked::Not) };
    let not_asked = |why: &dyn std::fmt::Display| {
        report_error(format_args!("the names are not checked on Alyx: {why}"));
    };
    match probe(&url).await {
        Ok(()) => {}
        Err(error @ alyx_client::Error::NotAlyx { .. }) => {
            return Err(InitError::Answers(format!("--url: {error}")));
        }
        Err(error) => {
            not_asked(&error);
            return Ok(Asked::Unreachable);
        }
    }
    let Some(credentials) = draft.credentials(password) else {
        not_asked(&"there is no password yet");
        return Ok(Asked::Not);
    };
    let known = match KnownAlyx::log_in(&url, credentials).await {
        Ok(known) => known,
        Err(error) if error.is_outage() => {
            not_asked(&error);
            return Ok(Asked::Unreachable);
        }
        Err(error) => return Err(InitError::Alyx(error)),
    };
    let mut unknown = Vec::new();
    for (option, endpoint, name) in draft.names() {
        unknown.extend(known.why_unknown(endpoint, name).await?.map(|why| format!("{option}: {why}")));
    }
    if !unknown.is_empty() {
        return Err(InitError::Answers(unknown.join("\n")));
    }
    if draft.repository.is_none() {
        take_repository(draft, &known).await?;
    }
    Ok(Asked::Known)
}

/// Takes the only repository from which ONE would load the files, if there is exactly one.
async fn take_repository(draft: &mut Draft, known: &KnownAlyx) -> Result<(), InitError> {
    let of_folders = draft.labs_of_folders().await;
    let labs = known.labs_named(&draft.labs(known, &of_folders));
    let choices = repository::choices(&labs, &known.repositories);
    let listed = || some_of(choices.iter().map(repository::Choice::line), "; ");
    match repository::fitting(&choices) {
        Some(fit) => {
            say!("The repository is {}, the only one that fits; --repository names another", fit.line());
            draft.repository = Some(fit.repository.name.clone());
        }
        None if draft.not_served => {
            let why = "name the repository to which other software copies the files, with --repository NAME";
            return Err(InitError::Answers(format!("--not-served: {why} ({})", listed())));
        }
        None if choices.is_empty() => {
            say!(
                "Not set: the repository of this disk, because the lab has no data repository on Alyx; alyx-registrar propose shows what Alyx lacks"
            );
        }
        None => say!(
            "Not set: the repository of this disk. Choose one with --repository NAME: {}. If other software copies the files to a server, add --not-served",
            listed()
        ),
    }
    Ok(())
}

/// Writes both files or none.
fn write(
    args: &InitArgs,
    target: &Path,
    answers: &Answers,
    password: Option<SecretString>,
) -> Result<(), InitError> {
    let service = UnixUser::named(&args.service_user);
    let place = match &answers.secret {
        SecretPlace::PasswordFile(file) => Some(PathBuf::from(file)),
        _ => None,
    };
    let mut written = Vec::new();
    if let (Some(file), Some(password)) = (&place, &password) {
        let owner = service.as_ref().filter(|_| UnixUser::myself().is_root());
        files::write_password(file, password, owner, args.force)?;
        written.push(file.clone());
    }
    let config = NewFile { path: target, mode: 0o644, owner: None, replace: args.force };
    if let Err(error) = config.write(answers.to_yaml().as_bytes()) {
        // Without a configuration, a new password file is useless; a replaced one cannot be restored.
        for file in written.iter().filter(|_| !args.force) {
            let _ = std::fs::remove_file(file);
        }
        return Err(error);
    }
    written.push(target.to_owned());
    for file in &written {
        say!("Written: {}", file.display());
    }
    for reason in answers.check().iter().flat_map(wiring::not_loadable) {
        say!("{}. What to do: {}.", capitalized(&reason.to_string()), reason.advice());
    }
    let next = NextSteps {
        target,
        password_file: place.as_deref(),
        password_is_there: place.as_deref().is_some_and(files::is_user_file),
        service: &args.service_user,
        service_is_there: service.is_some(),
        is_root: UnixUser::myself().is_root(),
    };
    for line in next.lines(&answers.data_roots, Path::is_dir) {
        say!("{line}");
    }
    Ok(())
}

/// The state that determines the user's next steps.
struct NextSteps<'a> {
    target: &'a Path,
    password_file: Option<&'a Path>,
    password_is_there: bool,
    service: &'a str,
    service_is_there: bool,
    is_root: bool,
}

impl NextSteps<'_> {
    /// The next steps. `is_dir` checks whether a folder exists.
    fn lines(&self, data_roots: &[String], is_dir: impl Fn(&Path) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        let unit = unit_of(self.target);
        let service = self.service;
        for root in data_roots.iter().filter(|root| !is_dir(Path::new(root))) {
            lines.push(format!("There is no folder {root} yet; the daemon waits for it."));
        }
        let is_roots_own = self.is_root && self.password_is_there && self.password_file.is_some();
        if !self.service_is_there && (unit.is_some() || is_roots_own) {
            lines.push(format!(
                "There is no user {service} here. Create it, or name another with --service-user:"
            ));
            lines.push(format!("  sudo useradd --system --user-group --no-create-home {service}"));
        }
        if let Some(file) = self.password_file {
            let file = file.display();
            if !self.password_is_there {
                lines.push(format!(
                    "Write the password, and nothing else, to {file}, readable by its owner only:"
                ));
                lines.push(format!("  sudo install -m 600 /dev/null {file} && sudo nano {file}"));
            }
            let is_to_be_given = !self.password_is_there || !self.service_is_there;
            if is_to_be_given && (unit.is_some() || is_roots_own) {
                lines.push("Let the service read the password:".to_owned());
                lines.push(format!("  sudo chown {service} {file}"));
            }
        }
        let closed = data_roots.iter().filter(|root| !Path::new(root).starts_with(WRITABLE_BY_SERVICE));
        let quoted = |root: &String| match root.contains(char::is_whitespace) {
            true => format!("\"{root}\""),
            false => root.clone(),
        };
        let closed: Vec<String> = closed.map(quoted).collect();
        if let Some(unit) = unit.as_ref().filter(|_| !closed.is_empty()) {
            lines.push(format!(
                "Let the service write to the data roots: sudo systemctl edit {unit}, with the lines"
            ));
            lines.push("  [Service]".to_owned());
            lines.push(format!("  ReadWritePaths={}", closed.join(" ")));
        }
        lines.push("Check the setup:".to_owned());
        let named = match self.target == Path::new(DEFAULT_PATH) {
            true => String::new(),
            false => format!(" --config {}", self.target.display()),
        };
        match unit {
            Some(unit) => {
                lines.push(format!("  sudo -u {service} alyx-registrar check{named}"));
                lines.push("Then start it:".to_owned());
                lines.push(format!("  sudo systemctl enable --now {unit}"));
            }
            None => lines.push(format!("  alyx-registrar check{named}")),
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next<'a>(target: &'a str, there: bool) -> NextSteps<'a> {
        NextSteps {
            target: Path::new(target),
            password_file: Some(Path::new("/etc/alyx-registrar/password")),
            password_is_there: there,
            service: "alyx-registrar",
            service_is_there: there,
            is_root: true,
        }
    }

    #[test]
    fn if_nothing_is_missing_two_steps_are_left() {
        let lines = next(DEFAULT_PATH, true).lines(&["/data/subjects".into()], |_| true);
        assert_eq!(
            lines,
            [
                "Check the setup:",
                "  sudo -u alyx-registrar alyx-registrar check",
                "Then start it:",
                "  sudo systemctl enable --now alyx-registrar"
            ]
        );
    }

    #[test]
    fn each_missing_item_is_named_with_the_command_that_creates_it() {
        let text = next(DEFAULT_PATH, false).lines(&["/mnt/a".into(), "/data".into()], |_| false).join("\n");
        for wanted in [
            "no folder /mnt/a yet",
            "useradd --system",
            "nano /etc/alyx-registrar/password",
            "chown alyx-registrar /etc/alyx-registrar/password",
            "ReadWritePaths=/mnt/a\n",
        ] {
            assert!(text.contains(wanted), "{wanted:?} is not in:\n{text}");
        }
    }

    #[test]
    fn a_second_configuration_has_its_own_unit() {
        let lines = next("/etc/alyx-registrar/rig2.yaml", true).lines(&["/mnt/a".into()], |_| true);
        assert_eq!(
            lines,
            [
                "Let the service write to the data roots: sudo systemctl edit alyx-registrar@rig2, with the lines",
                "  [Service]",
                "  ReadWritePaths=/mnt/a",
                "Check the setup:",
                "  sudo -u alyx-registrar alyx-registrar check --config /etc/alyx-registrar/rig2.yaml",
                "Then start it:",
                "  sudo systemctl enable --now alyx-registrar@rig2"
            ]
        );
    }

    #[test]
    fn a_root_owned_password_for_a_missing_user_is_reported() {
        let nosuch = NextSteps { service: "nosuch", service_is_there: false, ..next("/tmp/try.yaml", true) };
        let text = nosuch.lines(&[], |_| true).join("\n");
        assert!(text.contains("There is no user nosuch here"), "{text}");
        assert!(text.contains("sudo chown nosuch /etc/alyx-registrar/password"), "{text}");
        let own = NextSteps { is_root: false, ..nosuch };
        assert!(!own.lines(&[], |_| true).join("\n").contains("nosuch"), "the file is its user's own");
    }

    #[test]
    fn a_configuration_elsewhere_is_not_that_of_the_service() {
        let lines = next("/tmp/try.yaml", true).lines(&["/mnt/a".into()], |_| true);
        assert_eq!(lines, ["Check the setup:", "  alyx-registrar check --config /tmp/try.yaml"]);
    }
}
