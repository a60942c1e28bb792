//! `create-session`, `register-session`, `create-sessions`, `new-session`.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};

use crate::cli::args::{CreateSessionArgs, CreateSessionsArgs, NewSessionArgs, RegisterSessionArgs};
use crate::cli::exit::Exit;
use crate::cli::progress;
use crate::cli::scan::moves::{moved_json, moved_lines};
use crate::cli::verbs::connect::run_creating;
use crate::cli::verbs::files::{
    planned_json as planned_files_json, planned_lines, registered_json, registered_lines, sizes,
};
use crate::cli::verbs::output::{Answer, Failure, absolute_path, absolute_paths, exit_of, to_value};
use crate::daemon::tree::lock::{LockFolders, RootLock};
use alf::timestamp::DateInput;
use alyx_client::SessionRecord;
use alyx_registration::{
    CreateSessionsOptions, FilesToRegister, FlaggedOptions, LeftOut, NewSessionOptions, PlannedSession,
    RegisterFilesOptions, RegistrationClient, SessionDetails,
};

/// Creates a session, or updates an existing one.
pub(crate) async fn create_session(args: &CreateSessionArgs) -> Exit {
    run_creating(&args.verb, async |client| {
        let (folder, details) = (absolute_path(&args.folder)?, args.details.details());
        if args.dry_run {
            let planned = client.plan_session(&folder, &details).await?;
            return Ok(Answer::new(vec![planned_line(&planned)], planned_json(&folder, &planned)?).planned());
        }
        let record = client.create_session(&folder, &details).await?;
        Ok(Answer::new(vec![session_line(&record)], session_json(&folder, &record)?.into()))
    })
    .await
}

/// Creates a session, or updates an existing one, and registers its files.
pub(crate) async fn register_session(args: &RegisterSessionArgs) -> Exit {
    run_creating(&args.verb, async |client| {
        let (folder, details) = (absolute_path(&args.folder)?, args.details.details());
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
                false => register(client, &folder, &details, files, others, &options, args.no_files).await,
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
        return Ok((absolute_paths(&args.files)?, Vec::new()));
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
    let mut text = vec![planned_line(&planned)];
    text.extend(planned_lines(&files));
    let mut json = planned_json(folder, &planned)?;
    if let Value::Object(all) = &mut json {
        all.insert("files".into(), planned_files_json(&files)?);
    }
    let problem = explicit > 0 || files.left_out.iter().any(|file| file.reason.is_missing());
    Ok(Answer::new(text, json).planned().incomplete_if(problem))
}

async fn register(
    client: &RegistrationClient,
    folder: &Path,
    details: &SessionDetails,
    files: Vec<PathBuf>,
    others: Vec<LeftOut>,
    options: &RegisterFilesOptions,
    no_files: bool,
) -> Result<Answer, Failure> {
    let wanted = if no_files { FilesToRegister::None } else { FilesToRegister::These(files.clone()) };
    let (record, registered) = client.register_session(folder, details, &wanted, options).await?;
    let mut text = vec![session_line(&record)];
    let mut json = session_json(folder, &record)?;
    let Some(mut registered) = registered else { return Ok(Answer::new(text, json.into())) };
    let incomplete = registered.records.iter().any(Option::is_none);
    registered.left_out.extend(others);
    text.extend(registered_lines(&files, &registered));
    json.insert("files".into(), registered_json(&files, &registered)?.into());
    let problem = registered.left_out.iter().any(|file| file.reason.is_missing());
    Ok(Answer::new(text, json.into()).incomplete_if(incomplete || problem))
}

/// Registers the session of every flag below a folder.
pub(crate) async fn create_sessions(args: &CreateSessionsArgs) -> Exit {
    run_creating(&args.verb, async |client| {
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
            let moved = moved_json(&session.moved);
            let gap = session.gap.map(|gap| gap.to_string());
            let gap_line = gap.iter().map(|gap| format!("      {gap}"));
            match session.record {
                Ok(Some(record)) => {
                    let sign = if gap.is_some() { "gaps    " } else { "ok      " };
                    text.push(format!("{sign}{folder}  {}", record.eid()));
                    text.extend(moved_lines(&session.moved, "moved"));
                    text.extend(gap_line);
                    list.push(json!({
                        "folder": folder,
                        "outcome": if gap.is_some() { "gaps" } else { "registered" },
                        "eid": record.eid(),
                        "session": to_value(&record)?,
                        "moved": moved,
                        "gaps": gap,
                    }));
                }
                Ok(None) => {
                    text.push(format!("plan    {folder}"));
                    text.extend(moved_lines(&session.moved, "would move"));
                    text.extend(gap_line);
                    list.push(json!({"folder": folder, "outcome": "planned", "moved": moved, "gaps": gap}));
                }
                Err(error) => {
                    text.push(format!("failed  {folder}  {error}"));
                    list.push(json!({"folder": folder, "outcome": "failed", "error": error.to_string()}));
                    failed.push(error);
                }
            }
        }
        let n = list.len() - failed.len();
        let verb = if args.dry_run { "would be registered" } else { "registered" };
        text.push(format!("{n} {verb}, {} failed", failed.len()));
        let answer = Answer::new(text, json!({"root": root.to_string_lossy(), "sessions": list}));
        let answer = answer.incomplete_if(!failed.is_empty() || with_gaps);
        // If every session failed for the same reason, such as an outage, its exit code applies.
        let exit = match failed.first().map(exit_of) {
            Some(exit) if n == 0 && failed.iter().all(|error| exit_of(error) == exit) => exit,
            _ => answer.exit,
        };
        let answer = Answer { exit, ..answer };
        Ok(if args.dry_run { answer.planned() } else { answer })
    })
    .await
}

/// Creates the folder of a new session, and the session on Alyx.
pub(crate) async fn new_session(args: &NewSessionArgs) -> Exit {
    run_creating(&args.verb, async |client| {
        let root = absolute_path(&args.root)?;
        let options = NewSessionOptions {
            date: args.date.as_deref().map(DateInput::Text),
            number: args.number,
            register: !args.no_register,
            details: args.details.details(),
        };
        if args.dry_run {
            let folder = client.plan_new_session(&args.subject, &root, &options).await?;
            let folder = folder.to_string_lossy().into_owned();
            let line = format!("would create {folder}");
            return Ok(Answer::new(vec![line], json!({"folder": folder, "eid": null})).planned());
        }
        let made = client.create_new_session(&args.subject, &root, &options).await?;
        let folder = made.folder.to_string_lossy().into_owned();
        let eid = made.eid.map(|eid| eid.to_string());
        let line = match &eid {
            Some(eid) => format!("{folder}  {eid}"),
            None => folder.clone(),
        };
        Ok(Answer::new(vec![line], json!({"folder": folder, "eid": eid})))
    })
    .await
}

fn session_line(record: &SessionRecord) -> String {
    format!("session {}  {}", record.eid(), record.url)
}

fn session_json(folder: &Path, record: &SessionRecord) -> Result<Map<String, Value>, Failure> {
    Ok(Map::from_iter([
        ("folder".to_owned(), folder.to_string_lossy().into()),
        ("eid".to_owned(), record.eid().into()),
        ("session".to_owned(), to_value(record)?),
    ]))
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

fn planned_json(folder: &Path, planned: &PlannedSession) -> Result<Value, Failure> {
    Ok(json!({
        "folder": folder.to_string_lossy(),
        "eid": planned.eid,
        "request": to_value(&planned.request)?,
    }))
}
