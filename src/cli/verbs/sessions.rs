//! `create-session`, `register-session`, `create-sessions`, `new-session`.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::cli::args::{CreateSessionArgs, CreateSessionsArgs, NewSessionArgs, RegisterSessionArgs, paths};
use crate::cli::created_twice;
use crate::cli::exit::Exit;
use crate::cli::output::described::{planned_lines, request_lines, sources};
use crate::cli::output::progress;
use crate::cli::output::{Failure, exit_of};
use crate::cli::scan::moves::{moved_json, moved_lines};
use crate::cli::verbs::connect::run_creating;
use crate::cli::verbs::files::{
    PlannedJson, RegisteredJson, check_folder, planned_file_lines, registered_lines, sizes,
};
use crate::cli::verbs::output::{Answer, absolute_path, absolute_paths, session_folder};
use crate::config::Config;
use crate::daemon::queue::session_name;
use crate::daemon::tree::lock::{LockFolders, RootLock};
use crate::json::error_report::ErrorReport;
use crate::json::path_text::{MovedPath, PathText};
use crate::json::record::SessionJson;
use alf::SessionPath;
use alf::timestamp::DateInput;
use alyx_client::{SessionRecord, SessionRequest};
use alyx_registration::{
    Beside, CreateSessionsOptions, Error, FilesToRegister, FlaggedOptions, KnownSession, LeftOut,
    NewSessionOptions, PlannedSession, RecordOutcome, RegisterFilesOptions, RegisteredFiles,
    RegisteredSession, RegistrationClient, SessionDetails,
};

/// The fields of a command about one session.
#[derive(Debug, Serialize)]
struct SessionFields<Files = ()> {
    folder: PathText,
    /// Its UUID on Alyx; null if it is not there.
    eid: Option<String>,
    /// Its record; null if it is not there, and in a dry run.
    session: Option<SessionJson>,
    /// What a dry run would send; empty if nothing.
    request: Option<SessionRequest>,
    /// In a dry run, what its files say of it, and which.
    #[serde(skip_serializing_if = "Option::is_none")]
    described: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Files>,
}

impl<Files> SessionFields<Files> {
    fn registered(folder: &Path, session: &RegisteredSession) -> Self {
        let (eid, session) = (Some(session.record.eid().to_owned()), Some(session.into()));
        Self { folder: folder.into(), eid, session, request: None, described: None, files: None }
    }

    fn planned(folder: &Path, planned: PlannedSession) -> Self {
        let described = sources(&planned);
        let (eid, request) = (planned.eid, Some(planned.request));
        Self { folder: folder.into(), eid, session: None, request, described, files: None }
    }
}

/// Creates a session, or updates an existing one.
pub(crate) async fn create_session(args: &CreateSessionArgs) -> Exit {
    run_creating("create-session", &args.verb, async |client, config| {
        let (folder, details) = (session_folder(&args.folder)?, args.details.details());
        if !args.no_folder {
            check_folder(&folder)?;
        }
        if args.dry_run {
            let planned = client.plan_session(&folder, &details).await?;
            let text = planned_text(&planned);
            return Ok(Answer::new(text, SessionFields::<()>::planned(&folder, planned))?.planned_if(true));
        }
        let options = RegisterFilesOptions::default();
        let registering = client.register_session(&folder, &details, &FilesToRegister::None, &options);
        let registered = registering.await;
        if let Err(error) = &registered {
            remember(error, &folder, config).await;
        }
        let (session, _) = registered?;
        let outcome = match session.outcome {
            RecordOutcome::Created => "created",
            RecordOutcome::Updated => "changed",
            RecordOutcome::Unchanged => "found",
        };
        let text = vec![format!("{outcome} {}", session_line(&session.record))];
        Answer::new(text, SessionFields::<()>::registered(&folder, &session))
    })
    .await
}

/// Creates a session, or updates an existing one, and registers its files.
pub(crate) async fn register_session(args: &RegisterSessionArgs) -> Exit {
    run_creating("register-session", &args.verb, async |client, config| {
        let (folder, mut details) = (session_folder(&args.folder)?, args.details.details());
        if args.no_files || !args.files.is_empty() {
            check_folder(&folder)?;
        }
        if !args.update.is_empty() {
            let beside = Beside { command_line: details.clone(), ..Beside::default() };
            let session = SessionPath::parse(&folder).map_err(Error::from)?;
            let known = client.read_metadata(&session, beside).await?;
            for field in &args.update {
                if !known.as_ref().is_some_and(|known| known.set(&mut details, *field)) {
                    let name = field.name();
                    let article = if name.ends_with('s') { "" } else { "a " };
                    let option = name.replace('_', "-");
                    let message = format!("no file of the session contains {article}{name}; use --{option}");
                    return Err(Error::Invalid(message).into());
                }
            }
        }
        let options = RegisterFilesOptions {
            protected: args.protected,
            force: args.force,
            ..RegisterFilesOptions::default()
        };
        let (files, others) = files_of(client, &folder, args).await?;
        let progress = &client.context().progress;
        progress.bytes.fetch_add(sizes(&files, &options)?, Ordering::Relaxed);
        let work = async {
            match args.dry_run {
                true => plan(client, &folder, &details, &files, others, &options).await,
                false => {
                    let wanted = match args.no_files {
                        true => FilesToRegister::None,
                        false => FilesToRegister::These(files.clone()),
                    };
                    let registering = client.register_session(&folder, &details, &wanted, &options);
                    let registered = registering.await;
                    if let Err(error) = &registered {
                        remember(error, &folder, config).await;
                    }
                    let (session, registered) = registered?;
                    registered_answer(&folder, &session, registered, &files, others)
                }
            }
        };
        progress::shown(progress, work).await
    })
    .await
}

/// The files to register, and the files of the folder that are left out.
async fn files_of(
    client: &RegistrationClient,
    folder: &Path,
    args: &RegisterSessionArgs,
) -> Result<(Vec<PathBuf>, Vec<LeftOut>), Failure> {
    if args.no_files {
        return Ok((Vec::new(), Vec::new()));
    }
    if !args.files.is_empty() {
        return Ok((absolute_paths(&paths(&args.files))?, Vec::new()));
    }
    let found = client.find_files(folder).await?;
    Ok((found.files.into_iter().map(|file| file.path).collect(), found.left_out))
}

async fn plan(
    client: &RegistrationClient,
    folder: &Path,
    details: &SessionDetails,
    files: &[PathBuf],
    others: Vec<LeftOut>,
    options: &RegisterFilesOptions,
) -> Result<Answer, Failure> {
    let planned = client.plan_session(folder, details).await?;
    let mut files = client.plan_files(files, options).await?;
    let explicit = files.left_out.len();
    files.left_out.extend(others);
    let mut text = planned_text(&planned);
    text.extend(planned_file_lines(&files));
    let problem = explicit > 0 || files.left_out.iter().any(|file| file.reason.is_missing());
    let json =
        SessionFields { files: Some(PlannedJson::from(&files)), ..SessionFields::planned(folder, planned) };
    Ok(Answer::new(text, json)?.planned_if(true).incomplete_if(problem))
}

fn registered_answer(
    folder: &Path,
    session: &RegisteredSession,
    registered: Option<RegisteredFiles>,
    files: &[PathBuf],
    others: Vec<LeftOut>,
) -> Result<Answer, Failure> {
    let mut text = vec![session_line(&session.record)];
    let mut json = SessionFields::registered(folder, session);
    let Some(mut registered) = registered else { return Answer::new(text, json) };
    let incomplete = registered.records.iter().any(Option::is_none);
    registered.left_out.extend(others);
    text.extend(registered_lines(files, &registered));
    json.files = Some(RegisteredJson::of(files, &registered));
    let problem = registered.left_out.iter().any(|file| file.reason.is_missing());
    Ok(Answer::new(text, json)?.incomplete_if(incomplete || problem))
}

/// Records an error if it says that the session was created twice.
async fn remember(error: &Error, folder: &Path, config: Option<&Config>) {
    if let Some(config) = config {
        created_twice::remember(&config.state_dir, folder, error).await;
    }
}

/// Registers the session of every flag below a folder.
pub(crate) async fn create_sessions(args: &CreateSessionsArgs) -> Exit {
    run_creating("create-sessions", &args.verb, async |client, config| {
        let root = absolute_path(&args.root)?;
        // Without the lock, a daemon on the same root could create the same sessions.
        let _lock = match args.dry_run {
            true => None,
            false => Some(
                RootLock::acquire(&root, &LockFolders::of(None))
                    .map_err(|error| Failure::new(Exit::Io, error))?,
            ),
        };
        let mut flagged = FlaggedOptions { register_files: args.register_files, ..FlaggedOptions::default() };
        flagged.files.protected = args.protected;
        let options =
            CreateSessionsOptions { glob_pattern: args.glob_pattern.clone(), dry: args.dry_run, flagged };
        let progress = &client.context().progress;
        let sessions = progress::shown(progress, client.create_sessions(&root, &options)).await?;
        let (mut text, mut list, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        let with_gaps = sessions.iter().any(|session| session.gap.is_some());
        for session in sessions {
            let folder = session.folder.to_string_lossy().into_owned();
            let gap = session.gap.map(|gap| gap.to_string());
            let described = session.known.as_ref().and_then(KnownSession::sources);
            let mut row = CreatedJson {
                folder: (&session.folder).into(),
                outcome: "planned",
                eid: None,
                session: None,
                moved: moved_json(&session.moved),
                gaps: gap.clone(),
                described: described.clone(),
                request: session.request.clone(),
                error: None,
            };
            match session.session {
                Ok(Some(registered)) => {
                    let eid = registered.record.eid().to_owned();
                    let (sign, outcome) =
                        if gap.is_some() { ("gaps    ", "gaps") } else { ("ok      ", "registered") };
                    text.push(format!("{sign}{folder}  {eid}"));
                    text.extend(moved_lines(&session.moved, "moved"));
                    (row.outcome, row.eid, row.session) = (outcome, Some(eid), Some((&registered).into()));
                }
                Ok(None) => {
                    text.push(format!("plan    {folder}"));
                    text.extend(moved_lines(&session.moved, "would move"));
                    let request = session.request.iter();
                    text.extend(request.flat_map(|request| request_lines(request, described.as_deref())));
                }
                Err(error) => {
                    remember(&error, &session.folder, config).await;
                    text.push(format!("failed  {folder}  {error}"));
                    let name = session_name(&SessionPath::parse(&session.folder), &session.folder);
                    (row.outcome, row.error) = ("failed", Some(ErrorReport::from(&error).of_session(name)));
                    failed.push(error);
                }
            }
            text.extend(gap.map(|gap| format!("      {gap}")));
            list.push(row);
        }
        let n = list.len() - failed.len();
        let verb = if args.dry_run { "would be registered" } else { "registered" };
        text.push(format!("{n} {verb}, {} failed", failed.len()));
        let errors = list.iter().filter_map(|row| row.error.clone()).collect();
        let answer = Answer::new(text, CreateSessionsJson { root: (&root).into(), sessions: list })?;
        let answer = answer.incomplete_if(!failed.is_empty() || with_gaps);
        // If every session failed for the same reason, such as an outage, its exit code applies.
        let exit = match failed.first().map(exit_of) {
            Some(exit) if n == 0 && failed.iter().all(|error| exit_of(error) == exit) => exit,
            _ => answer.exit,
        };
        Ok(Answer { exit, errors, ..answer }.planned_if(args.dry_run))
    })
    .await
}

/// The fields of `create-sessions`.
#[derive(Debug, Serialize)]
struct CreateSessionsJson {
    root: PathText,
    sessions: Vec<CreatedJson>,
}

/// The session of one flag.
#[derive(Debug, Serialize)]
struct CreatedJson {
    folder: PathText,
    /// `registered`, `gaps`, `planned` or `failed`.
    outcome: &'static str,
    eid: Option<String>,
    session: Option<SessionJson>,
    moved: Vec<MovedPath>,
    gaps: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    described: Option<String>,
    /// In a dry run, what would be sent for the session itself; empty if nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<SessionRequest>,
    error: Option<ErrorReport>,
}

/// Creates the folder of a new session, and the session on Alyx.
pub(crate) async fn new_session(args: &NewSessionArgs) -> Exit {
    run_creating("new-session", &args.verb, async |client, config| {
        let root = absolute_path(&args.root)?;
        let options = NewSessionOptions {
            date: args.date.as_deref().map(DateInput::Text),
            number: args.number,
            register: !args.no_register,
            details: args.details.details(),
        };
        if args.dry_run {
            let planned = client.plan_new_session(&args.subject, &root, &options).await?;
            let folder = planned.session.folder().to_owned();
            let mut text = vec![format!("would create {}", folder.display())];
            text.extend(planned_lines(&planned));
            let mut json = SessionFields::<()>::planned(&folder, planned);
            json.request = json.request.filter(|_| options.register);
            return Ok(Answer::new(text, json)?.planned_if(true));
        }
        let made = client.create_new_session(&args.subject, &root, &options).await;
        if let Err(Error::NewSession { folder, source }) = &made {
            remember(source, folder, config).await;
        }
        let made = made?;
        let folder = made.folder.display();
        let text = match &made.eid {
            Some(eid) => format!("{folder}  {eid}"),
            None => folder.to_string(),
        };
        let json = SessionFields::<()> {
            folder: (&made.folder).into(),
            eid: made.eid.map(|eid| eid.to_string()),
            session: made.session.as_ref().map(SessionJson::from),
            request: None,
            described: None,
            files: None,
        };
        Answer::new(vec![text], json)
    })
    .await
}

fn session_line(record: &SessionRecord) -> String {
    format!("session {}  {}", record.eid(), record.url)
}

/// What a dry run says of the session itself.
fn planned_text(planned: &PlannedSession) -> Vec<String> {
    std::iter::once(planned_line(planned)).chain(planned_lines(planned)).collect()
}

fn planned_line(planned: &PlannedSession) -> String {
    match &planned.eid {
        None => format!("would create session {}", planned.session),
        Some(eid) if planned.request == Default::default() => {
            format!("session {}  {eid}  is on Alyx and is left as it is", planned.session)
        }
        Some(eid) => format!("would change session {}  {eid}", planned.session),
    }
}
