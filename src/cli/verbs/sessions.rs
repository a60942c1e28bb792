//! `create-session`, `register-session`, `new-session`.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::cli::args::{CreateSessionArgs, NewSessionArgs, RegisterSessionArgs, paths};
use crate::cli::exit::Exit;
use crate::cli::loadable;
use crate::cli::output::Failure;
use crate::cli::output::described::{planned_lines, sources};
use crate::cli::output::progress;
use crate::cli::scan::places::until_quiet;
use crate::cli::service::wiring;
use crate::cli::verbs::files::{
    PlannedJson, RegisteredJson, check_folder, planned_file_lines, registered_lines, sizes,
};
use crate::cli::verbs::output::{Answer, absolute_path, absolute_paths, missing_lines, session_folder};
use crate::cli::verbs::record::{Record, changing};
use crate::config::Config;
use crate::daemon::watch::WatchProblem;
use crate::json::path_text::PathText;
use crate::json::record::SessionJson;
use alf::SessionPath;
use alf::timestamp::DateInput;
use alyx_client::{SessionRecord, SessionRequest};
use alyx_registration::{
    Beside, Error, FilesToRegister, FlaggedOptions, FoundFiles, LeftOut, NewSessionOptions, Placement,
    PlannedFiles, PlannedSession, RecordOutcome, RegisterFilesOptions, RegisteredFile, RegisteredFiles,
    RegisteredSession, RegistrationClient, RootDatasets, TrailFile,
};
use session_metadata::Missing;

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
    /// In a dry run, the weight and water that would be recorded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    measurements: Vec<String>,
    /// What it should have and lacks; absent if its files are not registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<Vec<Missing>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Files>,
}

impl<Files> SessionFields<Files> {
    fn registered(folder: &Path, session: &RegisteredSession) -> Self {
        let (eid, session) = (Some(session.record.eid().to_owned()), Some(session.into()));
        let (measurements, missing) = (Vec::new(), None);
        let (request, described, files) = (None, None, None);
        Self { folder: folder.into(), eid, session, request, described, measurements, missing, files }
    }

    fn planned(folder: &Path, planned: PlannedSession) -> Self {
        let described = sources(&planned);
        let (eid, request, measurements) = (planned.eid, Some(planned.request), planned.measurements);
        let (session, missing, files) = (None, None, None);
        Self { folder: folder.into(), eid, session, request, described, measurements, missing, files }
    }
}

/// Creates a session, or updates an existing one.
pub(super) async fn create_session(
    args: &CreateSessionArgs,
    client: &RegistrationClient,
    config: Option<&Config>,
) -> Result<Answer, Failure> {
    let (folder, details) = (session_folder(&args.folder)?, args.details.details());
    if !args.no_folder {
        check_folder(&folder)?;
    }
    let session = SessionPath::parse(&folder).map_err(Error::from)?;
    if args.dry_run {
        let attempt = async || client.plan_session(&folder, &details).await;
        let planned = until_quiet(&session, true, None, attempt).await.map_err(changing)?;
        let text = planned_text(&planned);
        return Ok(Answer::new(text, SessionFields::<()>::planned(&folder, planned))?.planned_if(true));
    }
    let record = Record::of(config, &session, "create-session");
    let client = &record.client(client);
    let options = RegisterFilesOptions::default();
    let attempt = async || client.register_session(&folder, &details, &FilesToRegister::None, &options).await;
    let registered = until_quiet(&session, false, None, attempt).await;
    let (registered, _) = record.or_failure(registered).await?;
    if registered.outcome != RecordOutcome::Unchanged {
        record.done(registered.record.eid(), [], None).await;
    }
    let outcome = match registered.outcome {
        RecordOutcome::Created => "created",
        RecordOutcome::Updated => "changed",
        RecordOutcome::Unchanged => "found",
    };
    let text = vec![format!("{outcome} {}", session_line(&registered.record))];
    Answer::new(text, SessionFields::<()>::registered(&folder, &registered))
}

/// Creates a session, or updates an existing one, and registers its files.
pub(super) async fn register_session(
    args: &RegisterSessionArgs,
    client: &RegistrationClient,
    config: Option<&Config>,
) -> Result<Answer, Failure> {
    let (folder, mut details) = (session_folder(&args.folder)?, args.details.details());
    if args.no_files || !args.files.is_empty() {
        check_folder(&folder)?;
    }
    let session = SessionPath::parse(&folder).map_err(Error::from)?;
    if !args.update.is_empty() {
        let beside = Beside { command_line: details.clone(), ..Beside::default() };
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
    let listed = absolute_paths(&paths(&args.files))?;
    let options = options_of(config, args);
    let listed_bytes = sizes(&listed, &options.files)?;
    let record = Record::of(config.filter(|_| !args.dry_run), &session, "register-session");
    let client = &record.client(client);
    let progress = &client.context().progress;
    let select = async || match (args.no_files, listed.is_empty()) {
        (true, _) => Ok(Selected::default()),
        (false, false) => {
            progress.bytes.store(listed_bytes, Ordering::Relaxed);
            let options = client.options_in(&session, &options).await?.files;
            Ok(Selected { files: listed.clone(), found: None, options })
        }
        (false, true) => {
            let found = client.find_files_with(&folder, &options).await?;
            let bytes = found.files.iter().map(|file| file.size).sum();
            progress.bytes.store(bytes, Ordering::Relaxed);
            let files = found.files.iter().map(|file| file.path.clone()).collect();
            let options = client.options_in(&session, &options).await?.files;
            Ok::<_, Error>(Selected { files, found: Some(found), options })
        }
    };
    let work = async {
        if args.dry_run {
            let attempt = async || {
                let Selected { files, found, options } = select().await?;
                let planned = client.plan_session(&folder, &details).await?;
                let mut would = client.plan_files(&files, &options).await?;
                let explicit = would.left_out.len();
                would.left_out.extend(found.unwrap_or_default().left_out);
                Ok((planned, would, explicit))
            };
            let planned = until_quiet(&session, true, None, attempt).await.map_err(changing)?;
            return planned_answer(&folder, planned, !args.no_files);
        }
        let attempt = async || {
            let Selected { files, found, options } = select().await?;
            let wanted = match args.no_files {
                true => FilesToRegister::None,
                false => FilesToRegister::These(files.clone()),
            };
            let (registered, outcomes) =
                client.register_session(&folder, &details, &wanted, &options).await?;
            Ok((registered, outcomes, files, found, Placement::from(&options)))
        };
        let attempt = until_quiet(&session, false, None, attempt).await;
        let (registered, outcomes, files, found, placement) = record.or_failure(attempt).await?;
        let others = found.as_ref().map(|found| found.left_out.clone()).unwrap_or_default();
        let whole = match (&outcomes, found.filter(|_| record.is_kept())) {
            (Some(outcomes), Some(found)) => {
                let whole = client.registered_by_name(&session, &registered, outcomes, found, &options).await;
                // The session is registered, whatever else can be found out about it.
                whole.inspect_err(|error| tracing::debug!("what it lacks is not known: {error}")).ok()
            }
            _ => None,
        };
        let n_files = outcomes.iter().flat_map(|outcomes| &outcomes.records).flatten().count();
        let trail = outcomes.iter().flat_map(|outcomes| &outcomes.records).flatten();
        let left_out = outcomes.iter().flat_map(|outcomes| &outcomes.left_out);
        let left_out = left_out.map(|file| TrailFile::left_out(&file.path.to_string_lossy(), &file.reason));
        let trail: Vec<TrailFile> = trail.map(RegisteredFile::trail).chain(left_out).collect();
        let gap = record.done(registered.record.eid(), trail, whole).await;
        let place = loadable::place_of(&session, registered.record.lab.clone(), placement);
        loadable::report(client, config, Vec::from_iter((n_files > 0).then_some(place))).await;
        registered_answer(&folder, &registered, outcomes, &files, others, gap)
    };
    progress::shown(progress, work).await
}

/// How files are registered: as for a flag, but for what the command line says.
fn options_of(config: Option<&Config>, args: &RegisterSessionArgs) -> FlaggedOptions {
    let configured = config.map(wiring::flagged).unwrap_or_default();
    let files = RegisterFilesOptions { protected: args.protected, force: args.force, ..configured.files };
    let roots = without_own_words(configured.roots);
    FlaggedOptions { register_files: !args.no_files, files, roots, ..configured }
}

/// The options of the data roots, but for what the command line says.
pub(super) fn without_own_words(roots: Vec<RootDatasets>) -> Vec<RootDatasets> {
    let without = |root| RootDatasets { protected: None, register_files: None, ..root };
    roots.into_iter().map(without).collect()
}

/// The files to register; what was found, if these are all files of the folder; and how they are registered, as the
/// sidecars and the configuration say.
#[derive(Default)]
struct Selected {
    files: Vec<PathBuf>,
    found: Option<FoundFiles>,
    options: RegisterFilesOptions,
}

fn planned_answer(
    folder: &Path,
    (planned, files, explicit): (PlannedSession, PlannedFiles, usize),
    with_files: bool,
) -> Result<Answer, Failure> {
    let mut text = planned_text(&planned);
    let known = planned.known.as_ref().filter(|_| with_files);
    let missing = known.map(|known| known.metadata.missing.clone()).unwrap_or_default();
    text.extend(missing_lines(&missing));
    text.extend(planned_file_lines(&files));
    let is_left_out = |file: &LeftOut| file.reason.is_missing();
    let problem = explicit > 0 || !missing.is_empty() || files.left_out.iter().any(is_left_out);
    let mut json = SessionFields::planned(folder, planned);
    (json.missing, json.files) = (with_files.then_some(missing), Some(PlannedJson::from(&files)));
    Ok(Answer::new(text, json)?.planned_if(true).incomplete_if(problem))
}

fn registered_answer(
    folder: &Path,
    session: &RegisteredSession,
    registered: Option<RegisteredFiles>,
    files: &[PathBuf],
    others: Vec<LeftOut>,
    gap: Option<String>,
) -> Result<Answer, Failure> {
    let mut text = vec![session_line(&session.record)];
    let mut json = SessionFields::registered(folder, session);
    let Some(mut registered) = registered else { return Answer::new(text, json) };
    let incomplete = !session.missing.is_empty() || registered.records.iter().any(Option::is_none);
    text.extend(missing_lines(&session.missing));
    json.missing = Some(session.missing.clone());
    registered.left_out.extend(others);
    text.extend(registered_lines(files, &registered));
    text.extend(gap);
    json.files = Some(RegisteredJson::of(files, &registered));
    let problem = registered.left_out.iter().any(|file| file.reason.is_missing());
    Ok(Answer::new(text, json)?.incomplete_if(incomplete || problem))
}

/// Refuses a folder in a data root whose disk is not mounted.
fn check_marker(folder: &Path, config: Option<&Config>) -> Result<(), Failure> {
    let roots = config.iter().flat_map(|config| &config.data_roots);
    let missing = roots.filter(|root| folder.starts_with(&root.path)).find_map(|root| {
        let marker = root.require_marker.clone().filter(|marker| !root.path.join(marker).exists())?;
        Some(WatchProblem::MarkerMissing { root: root.path.clone(), marker })
    });
    missing.map_or(Ok(()), |problem| Err(Failure::new(Exit::Incomplete, problem)))
}

/// Creates the folder of a new session, and the session on Alyx.
pub(super) async fn new_session(
    args: &NewSessionArgs,
    client: &RegistrationClient,
    config: Option<&Config>,
) -> Result<Answer, Failure> {
    let root = absolute_path(&args.root)?;
    check_marker(&root, config)?;
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
    if let Err(Error::NewSession { folder, source }) = &made
        && let Ok(session) = SessionPath::parse(folder)
    {
        Record::of(config, &session, "new-session").failed(source).await;
    }
    let made = made?;
    if let (Some(eid), Ok(session)) = (made.eid, SessionPath::parse(&made.folder)) {
        Record::of(config, &session, "new-session").done(&eid.to_string(), [], None).await;
    }
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
        measurements: Vec::new(),
        missing: None,
        files: None,
    };
    Answer::new(vec![text], json)
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
