//! The questions of `init`. A wrong answer is asked again; names are those that Alyx has.

use std::path::Path;

use secrecy::SecretString;

use crate::cli::output::terminal::Terminal;
use crate::cli::setup::init::answers::{Draft, FoundSettings, plain, readers_typed, separate_roots, text};
use crate::cli::setup::init::files::is_user_file;
use crate::cli::setup::init::known_alyx::{KnownAlyx, probe};
use crate::cli::setup::init::repository::{self, Chosen};
use crate::cli::setup::init::{Asked, InitArgs, InitError};
use crate::config::{SecretPlace, metadata_readers};
use alyx_client::text::some_of;
use alyx_client::{Endpoint, Error};

/// Asks for missing and wrong answers. Returns the password, if one was typed, and Alyx, if it could be asked.
pub(super) async fn ask(
    draft: &mut Draft,
    found: &FoundSettings,
    terminal: &mut Terminal,
    args: &InitArgs,
) -> Result<(Option<SecretString>, Asked), InitError> {
    terminal.print("An empty answer takes what is in brackets. Ctrl-C stops, and nothing is written.");
    if let (Some(folder), None) = (&found.folder, &args.one_settings) {
        terminal.print(&format!("ONE is set up here, in {}.", folder.display()));
    }
    if draft.data_roots.is_empty() {
        ask_for_roots(draft, terminal).await?;
    } else {
        draft.missing_roots().iter().for_each(|missing| terminal.print(missing));
    }
    let is_asked = ask_for_address(draft, found, terminal, args.offline).await?;
    let is_away = !is_asked && !args.offline;
    let mut is_refused = false;
    let (password, known) = loop {
        if draft.username.is_none() {
            let question = "Which Alyx user registers the sessions?";
            ask_until_valid(draft, terminal, question, found.user(), "alyx.username", |draft, answer| {
                draft.username = Some(answer);
            })
            .await?;
        }
        let Login::With(password) = ask_for_login(draft, found, terminal, args, is_refused).await? else {
            (draft.username, is_refused) = (None, false);
            continue;
        };
        if !is_asked {
            break (password, if is_away { Err(Asked::Unreachable) } else { Err(Asked::Not) });
        }
        match log_in(draft, password.as_ref(), terminal).await? {
            LoggedIn::Yes(known) => break (password, Ok(known)),
            LoggedIn::NotAsked => break (password, Err(Asked::Not)),
            LoggedIn::Unreachable => break (password, Err(Asked::Unreachable)),
            LoggedIn::Refused(error) => {
                let is_typed = password.is_some() || (draft.secret.is_some() && !has_secret(args));
                if !is_typed {
                    return Err(InitError::Alyx(error));
                }
                terminal.print(&error.to_string());
                draft.secret = draft.secret.take().filter(|_| has_secret(args));
                is_refused = true;
            }
        }
    };
    match &known {
        Ok(known) => ask_about_alyx(draft, known, terminal).await?,
        Err(_) if draft.location.is_none() => {
            let question = "What is this rig called on Alyx (its location)? Enter for none";
            let none = Some(String::new());
            ask_until_valid(draft, terminal, question, none, "session.location", |draft, answer| {
                draft.location = Some(answer).filter(|answer| !answer.is_empty());
            })
            .await?;
        }
        Err(_) => {}
    }
    if draft.readers.is_none() {
        ask_for_readers(draft, terminal).await?;
    }
    // Only an experiment description declares devices.
    let is_iblrig = draft.readers.iter().flatten().any(|name| name == "iblrig");
    if !draft.all_devices && is_iblrig {
        let question = "Do the cameras and probes of the rig's other computers come to these folders too, as on a lab \
                        server? [y/N]";
        draft.all_devices = is_yes(terminal, question).await?;
    }
    Ok((password, known.map_or_else(|asked| asked, |_| Asked::Known)))
}

/// Asks which files describe the sessions.
async fn ask_for_readers(draft: &mut Draft, terminal: &mut Terminal) -> Result<(), InitError> {
    terminal.print("Which files describe the sessions (users, times, protocol, trials)?");
    for (name, reads) in metadata_readers() {
        terminal.print(&format!("  {name:<10}  {reads}"));
    }
    let question = "Names separated by commas, or `none`";
    let all = Some("all".to_owned());
    ask_until_valid(draft, terminal, question, all, "metadata.readers", |draft, answer| {
        draft.readers = Some(readers_typed(answer.split([',', ' '])));
    })
    .await
}

/// Whether the command line says where the secret is.
fn has_secret(args: &InitArgs) -> bool {
    args.password_file.is_some() || args.token_file.is_some() || args.one_settings.is_some()
}

async fn ask_for_roots(draft: &mut Draft, terminal: &mut Terminal) -> Result<(), InitError> {
    let question = "Which folder holds the sessions, as <lab>/Subjects/<subject>/<date>/<number>?";
    loop {
        let usual = Some("/data".to_owned());
        ask_until_valid(draft, terminal, question, usual, "data_roots", |draft, answer| {
            draft.data_roots = separate_roots(&answer);
        })
        .await?;
        let missing = draft.missing_roots();
        missing.iter().for_each(|missing| terminal.print(missing));
        if missing.is_empty() || is_yes(terminal, "Use it all the same? [y/N]").await? {
            return Ok(());
        }
    }
}

/// Asks for the address until an Alyx answers there. False: Alyx is not to be asked, or the user goes on without one
/// that answers.
async fn ask_for_address(
    draft: &mut Draft,
    found: &FoundSettings,
    terminal: &mut Terminal,
    offline: bool,
) -> Result<bool, InitError> {
    loop {
        if draft.url.is_none() {
            let question = "What is the address of Alyx?";
            ask_until_valid(draft, terminal, question, found.url(), "alyx.url", |draft, answer| {
                draft.url = Some(answer);
            })
            .await?;
        }
        if offline {
            return Ok(false);
        }
        let Err(error) = probe(draft.url.as_deref().unwrap_or_default()).await else { return Ok(true) };
        terminal.print(&error.to_string());
        if !matches!(error, Error::NotAlyx { .. }) && goes_on(terminal).await? {
            return Ok(false);
        }
        draft.url = None;
    }
}

async fn goes_on(terminal: &mut Terminal) -> Result<bool, InitError> {
    is_yes(terminal, "Continue without checking on Alyx? [y/N]").await
}

async fn is_yes(terminal: &mut Terminal, question: &str) -> Result<bool, InitError> {
    Ok(matches!(terminal.ask(question).await?.to_lowercase().as_str(), "y" | "yes"))
}

/// How to log in.
enum Login {
    /// With a typed password, or with what the configuration will name.
    With(Option<SecretString>),
    AnotherUser,
}

/// Asks for the password. `is_refused`: Alyx has refused the login of this user.
async fn ask_for_login(
    draft: &mut Draft,
    found: &FoundSettings,
    terminal: &mut Terminal,
    args: &InitArgs,
    is_refused: bool,
) -> Result<Login, InitError> {
    let of_this_user = found.url().as_deref().map(plain) == draft.url.as_deref().map(plain)
        && found.user() == draft.username
        && !args.password_stdin
        && !is_refused;
    if let (None, Some(folder), true) = (&draft.secret, &found.folder, of_this_user) {
        let question = format!("Log in with the ONE settings in {}? [y/N]", folder.display());
        if is_yes(terminal, &question).await? {
            draft.secret = Some(SecretPlace::OneSettings(text(folder)?));
        }
    }
    let SecretPlace::PasswordFile(file) = draft.filled().secret else { return Ok(Login::With(None)) };
    if is_user_file(Path::new(&file)) && !args.force {
        terminal.print(&format!("{file} exists already and is unchanged."));
        return Ok(Login::With(None));
    }
    let user = draft.username.clone().unwrap_or_default();
    let without =
        if is_refused { "log in as another user".to_owned() } else { format!("write it to {file} later") };
    let password =
        terminal.ask_password(&format!("Password of {user}, not shown (Enter: {without}):")).await?;
    Ok(match password {
        None if is_refused => Login::AnotherUser,
        password => Login::With(password),
    })
}

enum LoggedIn {
    Yes(KnownAlyx),
    /// There is no password yet.
    NotAsked,
    /// Alyx is away, and the user goes on.
    Unreachable,
    Refused(Error),
}

async fn log_in(
    draft: &Draft,
    password: Option<&SecretString>,
    terminal: &mut Terminal,
) -> Result<LoggedIn, InitError> {
    let Some(credentials) = draft.credentials(password) else {
        terminal.print("Without a password, init cannot check the names on Alyx.");
        return Ok(LoggedIn::NotAsked);
    };
    match KnownAlyx::log_in(draft.url.as_deref().unwrap_or_default(), credentials).await {
        Ok(known) => Ok(LoggedIn::Yes(known)),
        Err(error @ (Error::Login { .. } | Error::NoCredentials(_))) => Ok(LoggedIn::Refused(error)),
        Err(error) => {
            terminal.print(&error.to_string());
            if goes_on(terminal).await? { Ok(LoggedIn::Unreachable) } else { Err(InitError::Stopped) }
        }
    }
}

/// Asks for the names that Alyx must have, and checks those of the command line.
async fn ask_about_alyx(
    draft: &mut Draft,
    known: &KnownAlyx,
    terminal: &mut Terminal,
) -> Result<(), InitError> {
    let of_folders = draft.labs_of_folders().await;
    let question = "Which lab do these sessions belong to? (Enter if the paths name the lab)";
    let is_open = of_folders.is_empty() && known.labs.len() > 1;
    draft.lab = ask_for_name(known, terminal, Endpoint::Labs, question, draft.lab.take(), is_open).await?;
    let question = "What is this rig called on Alyx (its location)? Enter for none";
    let given = draft.location.take();
    draft.location = ask_for_name(known, terminal, Endpoint::Locations, question, given, true).await?;
    for project in std::mem::take(&mut draft.projects) {
        let question = format!("Which project was meant by {project:?}? Enter for none");
        draft.projects.extend(
            ask_for_name(known, terminal, Endpoint::Projects, &question, Some(project), false).await?,
        );
    }
    for lab in of_folders.iter().filter(|name| !known.labs.iter().any(|lab| lab.name == **name)) {
        terminal.print(&format!(
            "Alyx does not know the lab {lab:?} of these folders; alyx-registrar propose shows what it lacks."
        ));
    }
    ask_for_repository(draft, known, &of_folders, terminal).await
}

/// Checks a given name, and asks until Alyx has it. `is_open`: also asks if no name is given and Alyx has any.
async fn ask_for_name(
    known: &KnownAlyx,
    terminal: &mut Terminal,
    endpoint: Endpoint,
    question: &str,
    given: Option<String>,
    is_open: bool,
) -> Result<Option<String>, InitError> {
    let mut answer = given;
    if answer.is_none() {
        let names = if is_open { known.names(endpoint).await? } else { Vec::new() };
        if names.is_empty() {
            return Ok(None);
        }
        terminal.print(&format!("Alyx has the {}s {}.", endpoint.member(), some_of(&names, ", ")));
    }
    loop {
        let name = match answer.take() {
            Some(name) => name,
            None => terminal.ask(question).await?,
        };
        if name.is_empty() {
            return Ok(None);
        }
        match known.why_unknown(endpoint, &name).await? {
            None => return Ok(Some(name)),
            Some(why) => terminal.print(&why),
        }
    }
}

/// Asks which repository this disk is.
async fn ask_for_repository(
    draft: &mut Draft,
    known: &KnownAlyx,
    of_folders: &[String],
    terminal: &mut Terminal,
) -> Result<(), InitError> {
    if let Some(name) = draft.repository.clone() {
        match known.why_unknown(Endpoint::Repositories, &name).await? {
            None => return Ok(()),
            Some(why) => terminal.print(&why),
        }
        draft.repository = None;
    }
    let labs = known.labs_named(&draft.labs(known, of_folders));
    let choices = repository::choices(&labs, &known.repositories);
    if choices.is_empty() {
        let of_labs = labs.iter().flatten().map(|lab| lab.name.as_str());
        let whose = some_of(of_labs, ", ");
        let whose = if whose.is_empty() { "Alyx".to_owned() } else { format!("Lab {whose}") };
        terminal.print(&format!(
            "{whose} has no data repository, so ONE will not find the files; alyx-registrar propose shows what Alyx lacks."
        ));
        return Ok(());
    }
    loop {
        let fitting = repository::fitting(&choices).and_then(|fit| choices.iter().position(|one| one == fit));
        let what = if draft.not_served {
            "To which repository does other software copy the files?"
        } else {
            "Which data repository on Alyx holds this disk? ONE finds files only in a repository with an address."
        };
        terminal.print(what);
        if let several @ [_, _, ..] = labs.as_slice() {
            terminal.print(&format!(
                "It is for the sessions of all the labs in these folders: {}. If each lab has a repository of its own, decide \
                 later: give each its folder in the section repositories of the configuration.",
                some_of(several.iter().flatten().map(|lab| lab.name.as_str()), ", ")
            ));
        }
        for (number, choice) in choices.iter().enumerate() {
            terminal.print(&format!("  {}  {}", number + 1, choice.line()));
        }
        if !draft.not_served {
            terminal.print(&format!(
                "  {}  this disk is not served; other software copies it",
                choices.len() + 1
            ));
        }
        let default = fitting.map(|index| format!(" [{}]", index + 1)).unwrap_or_default();
        let later = if fitting.is_none() { ", or Enter to decide later" } else { "" };
        let answer = terminal.ask(&format!("Number or name{later}{default}:")).await?;
        match repository::parse(&answer, &choices, fitting) {
            Some(Chosen::Later) => {
                draft.not_served = false;
                return Ok(());
            }
            Some(Chosen::NotServed) if !draft.not_served => draft.not_served = true,
            Some(Chosen::Repository(index)) => {
                let Some(choice) = choices.get(index) else { continue };
                for problem in &choice.problems {
                    terminal.print(&format!("{problem}. What to do: {}.", problem.advice()));
                }
                if choice.problems.is_empty() || is_yes(terminal, "Use it anyway? [y/N]").await? {
                    draft.repository = Some(choice.repository.name.clone());
                    return Ok(());
                }
            }
            Some(Chosen::NotServed) | None => {
                terminal.print(&format!("{answer:?} is none of these."));
            }
        }
    }
}

/// Asks until the answer is valid. Enter accepts the default, if any.
async fn ask_until_valid(
    draft: &mut Draft,
    terminal: &mut Terminal,
    question: &str,
    default: Option<String>,
    key: &str,
    take: impl Fn(&mut Draft, String),
) -> Result<(), InitError> {
    let shown = default.as_ref().filter(|default| !default.is_empty());
    let shown = shown.map(|default| format!(" [{default}]")).unwrap_or_default();
    loop {
        let answer = terminal.ask(&format!("{question}{shown}")).await?;
        let answer = match (&default, answer.is_empty()) {
            (Some(default), true) => default.clone(),
            (None, true) => {
                terminal.print("This question needs an answer.");
                continue;
            }
            _ => answer,
        };
        take(draft, answer);
        match draft.validate(key) {
            Ok(()) => return Ok(()),
            Err(error) => terminal.print(&error.to_string()),
        }
    }
}
