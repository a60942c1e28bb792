//! `register-files`, `find-files`, `check-protected`.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::cli::args::{CheckProtectedArgs, FindFilesArgs, RegisterFilesArgs};
use crate::cli::exit::Exit;
use crate::cli::loadable;
use crate::cli::output::Failure;
use crate::cli::output::progress;
use crate::cli::scan::moves::{moved_json, moved_lines};
use crate::cli::service::wiring;
use crate::cli::verbs::metadata::{KnownJson, known_lines, read};
use crate::cli::verbs::output::{
    Answer, LeftOutJson, absolute_paths, datasets, left_out_lines, left_out_suffix, session_folder,
};
use crate::cli::verbs::record::{Record, Recorded};
use crate::config::Config;
use crate::humanize;
use crate::json::error_report::ErrorReport;
use crate::json::path_text::{MovedPath, PathText};
use crate::json::record::DatasetJson;
use alf::SessionPath;
use alyx_client::{ProtectedFile, RegisterFileRequest};
use alyx_registration::advice::Kind;
use alyx_registration::{
    Error, FoundFile, Placement, PlannedFiles, ProtectedStatus, RegisterFilesOptions, RegisteredFile,
    RegisteredFiles, RegistrationClient, TrailFile,
};

/// Registers files.
pub(super) async fn register_files(
    args: &RegisterFilesArgs,
    client: &RegistrationClient,
    config: Option<&Config>,
) -> Result<Answer, Failure> {
    let files = absolute_paths(&args.files)?;
    let groups = groups_of(&files, args, client, config).await?;
    let progress = &client.context().progress;
    for group in &groups {
        progress.bytes.fetch_add(sizes(&group.files, &group.options)?, Ordering::Relaxed);
    }
    let work = async {
        if args.dry_run {
            let mut planned = PlannedFiles::default();
            for group in &groups {
                let of_group = client.plan_files(&group.files, &group.options).await?;
                planned.requests.extend(of_group.requests);
                planned.left_out.extend(of_group.left_out);
                planned.moved.extend(of_group.moved);
                planned.absent.extend(of_group.absent);
            }
            planned.check_sessions()?;
            let answer = Answer::new(planned_file_lines(&planned), PlannedJson::from(&planned))?;
            return Ok(answer.planned_if(true).incomplete_if(!planned.left_out.is_empty()));
        }
        let mut registered =
            RegisteredFiles { records: vec![None; files.len()], ..RegisteredFiles::default() };
        for group in &groups {
            let of_group = client.register_files(&group.files, &group.options).await?;
            remember(config, group, &of_group).await;
            for (index, record) in group.indexes.iter().zip(of_group.records) {
                if let Some(place) = registered.records.get_mut(*index) {
                    *place = record;
                }
            }
            registered.left_out.extend(of_group.left_out);
            registered.moved.extend(of_group.moved);
            registered.n_unchanged += of_group.n_unchanged;
        }
        let of_group = |group: &FileGroup| {
            let placement = Placement::from(&group.options);
            let place = |session| loadable::place_of(session, group.options.labs.clone(), placement.clone());
            group.sessions.iter().map(place).collect::<Vec<_>>()
        };
        let places = groups.iter().flat_map(of_group).collect();
        loadable::report(client, config, places).await;
        let incomplete = registered.records.iter().any(Option::is_none);
        let json = RegisteredJson::of(&files, &registered);
        Ok(Answer::new(registered_lines(&files, &registered), json)?.incomplete_if(incomplete))
    };
    progress::shown(progress, work).await
}

/// Remembers the files of each session, or of the record that they belong to.
async fn remember(config: Option<&Config>, group: &FileGroup, registered: &RegisteredFiles) {
    if let Some(relation) = &group.options.relation {
        let files: Vec<TrailFile> = registered.records.iter().flatten().map(RegisteredFile::trail).collect();
        let of = format!("{} {}", relation.content_type, relation.object_id);
        let text = format!("{} of {of}", datasets(files.len()));
        let done = Recorded { command: "register-files", of, text, files, ..Recorded::default() };
        return done.remember(config).await;
    }
    for session in &group.sessions {
        let is_in = |path: &Path| path.starts_with(session.folder());
        let records = group.files.iter().zip(&registered.records).filter(|(file, _)| is_in(file));
        let files = records.filter_map(|(_, record)| record.as_ref().map(RegisteredFile::trail));
        let left_out = registered.left_out.iter().filter(|file| {
            // Of several sessions, which one it is of is not known.
            group.sessions.len() == 1 || is_in(&file.path)
        });
        let left_out = left_out.map(|file| TrailFile::left_out(&file.path.to_string_lossy(), &file.reason));
        let files: Vec<TrailFile> = files.chain(left_out).collect();
        if files.iter().any(|file| file.left_out.is_none()) {
            Record::of(config, session, "register-files").done("", files, None).await;
        }
    }
}

/// Files that are registered in the same way, and their indexes among all.
#[derive(Default)]
struct FileGroup {
    options: RegisterFilesOptions,
    indexes: Vec<usize>,
    files: Vec<PathBuf>,
    /// The sessions that they belong to.
    sessions: Vec<SessionPath>,
}

/// Groups files by how they are registered: as the command line says, else the sidecars of their session, else the
/// configuration.
async fn groups_of(
    files: &[PathBuf],
    args: &RegisterFilesArgs,
    client: &RegistrationClient,
    config: Option<&Config>,
) -> Result<Vec<FileGroup>, Failure> {
    let configured = config.map(wiring::flagged).unwrap_or_default();
    let mut sessions: HashMap<PathBuf, RegisterFilesOptions> = HashMap::new();
    let mut groups: Vec<FileGroup> = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let session = SessionPath::containing(file).ok().filter(|_| args.relation.is_none());
        let session = session.map(|(session, _)| session);
        let options = match &session {
            None => args.over(configured.files.clone()),
            Some(session) => match sessions.get(session.folder()) {
                Some(known) => known.clone(),
                None => {
                    let options = args.over(client.options_in(session, &configured).await?.files);
                    sessions.insert(session.folder().to_owned(), options.clone());
                    options
                }
            },
        };
        let group = match groups.iter().position(|group| group.options == options) {
            Some(known) => known,
            None => {
                groups.push(FileGroup { options, ..FileGroup::default() });
                groups.len() - 1
            }
        };
        if let Some(group) = groups.get_mut(group) {
            group.indexes.push(index);
            group.files.push(file.clone());
            group.sessions.extend(session.filter(|session| !group.sessions.contains(session)));
        }
    }
    for group in &mut groups {
        if let Some(versions) = args.versions_of(&group.indexes) {
            group.options.versions = versions;
        }
    }
    Ok(groups)
}

/// The number of bytes to hash. Fails on a folder or a missing file before anything is registered.
pub(super) fn sizes(files: &[PathBuf], options: &RegisterFilesOptions) -> Result<u64, Failure> {
    let mut bytes = 0;
    for file in files {
        match std::fs::metadata(file) {
            Ok(metadata) if metadata.is_dir() => {
                let advice = "name its files, or register a session folder with register-session";
                let report = ErrorReport::of_kind(Kind::Invalid, format!("{file:?} is a folder; {advice}"));
                return Err(Failure::reported(Exit::Incomplete, report.at(file)));
            }
            Ok(metadata) if options.max_md5_size.is_none_or(|limit| metadata.len() < limit) => {
                bytes += metadata.len();
            }
            Ok(_) => {}
            Err(error) => {
                let report =
                    ErrorReport::of_kind(Kind::Unreadable, format!("{file:?} cannot be read: {error}"));
                return Err(Failure::reported(Exit::Incomplete, report.at(file)));
            }
        }
    }
    Ok(bytes)
}

/// Refuses a folder that is not there: a typing error would make a session on Alyx.
pub(super) fn check_folder(folder: &Path) -> Result<(), Failure> {
    SessionPath::parse(folder).map_err(Error::from)?;
    let reason = match std::fs::metadata(folder) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => format!("{folder:?} is a file, not a folder; name the session folder"),
        Err(error) if error.kind() == ErrorKind::NotFound => format!(
            "there is no folder {folder:?}; check its name, and that its disk is mounted. If the recording is elsewhere, \
             create its session with `create-session --no-folder`"
        ),
        Err(error) => {
            let report =
                ErrorReport::of_kind(Kind::Unreadable, format!("{folder:?} cannot be read: {error}"));
            return Err(Failure::reported(Exit::Incomplete, report.at(folder)));
        }
    };
    Err(Failure::reported(Exit::Incomplete, ErrorReport::of_kind(Kind::Invalid, reason).at(folder)))
}

/// The registered files in order, as text.
pub(super) fn registered_lines(files: &[PathBuf], registered: &RegisteredFiles) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (file, record) in files.iter().zip(&registered.records) {
        if let Some(record) = record {
            lines.push(format!("ok    {}  {}", file.display(), record.record.id));
        }
    }
    lines.extend(moved_lines(&registered.moved, "moved"));
    lines.extend(left_out_lines(&registered.left_out));
    let n = registered.records.iter().flatten().count();
    let unchanged = match registered.n_unchanged {
        0 => String::new(),
        n => format!(" ({n} of them there already)"),
    };
    lines.push(format!("{} registered{unchanged}{}", datasets(n), left_out_suffix(&registered.left_out)));
    lines
}

/// The registered files in order, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct RegisteredJson {
    records: Vec<FileJson>,
    unchanged: usize,
    moved: Vec<MovedPath>,
    left_out: Vec<LeftOutJson>,
}

/// A file, and its record on Alyx; null if it was left out.
#[derive(Debug, Serialize)]
struct FileJson {
    file: PathText,
    record: Option<DatasetJson>,
}

impl RegisteredJson {
    pub(super) fn of(files: &[PathBuf], registered: &RegisteredFiles) -> Self {
        let records = files.iter().zip(&registered.records);
        let record = |(file, record): (&PathBuf, &Option<_>)| FileJson {
            file: file.into(),
            record: record.as_ref().map(DatasetJson::from),
        };
        Self {
            records: records.map(record).collect(),
            unchanged: registered.n_unchanged,
            moved: moved_json(&registered.moved),
            left_out: LeftOutJson::list(&registered.left_out),
        }
    }
}

/// The planned requests as JSON.
#[derive(Debug, Serialize)]
pub(super) struct PlannedJson {
    requests: Vec<RegisterFileRequest>,
    moved: Vec<MovedPath>,
    left_out: Vec<LeftOutJson>,
}

impl From<&PlannedFiles> for PlannedJson {
    fn from(planned: &PlannedFiles) -> Self {
        Self {
            requests: planned.requests.clone(),
            moved: moved_json(&planned.moved),
            left_out: LeftOutJson::list(&planned.left_out),
        }
    }
}

/// The planned requests as text.
pub(super) fn planned_file_lines(planned: &PlannedFiles) -> Vec<String> {
    let PlannedFiles { requests, left_out, moved, absent: _ } = planned;
    let mut lines = Vec::new();
    let (mut n, mut bytes) = (0, 0);
    for request in requests {
        for (name, size) in request.filenames.iter().zip(&request.filesizes) {
            lines.push(format!("would register {}/{name}  {}", request.path, humanize::bytes(*size)));
            n += 1;
            bytes += size;
        }
    }
    lines.extend(moved_lines(moved, "would move"));
    lines.extend(left_out_lines(left_out));
    let aside = left_out_suffix(left_out);
    lines.push(format!("{} would be registered, {}{aside}", datasets(n), humanize::bytes(bytes)));
    lines
}

/// The fields of `find-files`.
#[derive(Debug, Serialize)]
struct FoundFilesJson {
    folder: PathText,
    files: Vec<FoundFileJson>,
    left_out: Vec<LeftOutJson>,
    metadata: KnownJson,
}

/// A dataset on disk: its path in the session, and its size in bytes.
#[derive(Debug, Serialize)]
struct FoundFileJson {
    path: String,
    size: u64,
}

/// Lists the datasets of a session folder, and what is known of the session.
pub(super) async fn find_files(
    args: &FindFilesArgs,
    client: &RegistrationClient,
    config: Option<&Config>,
) -> Result<Answer, Failure> {
    let folder = session_folder(&args.folder)?;
    let options = config.map(wiring::flagged).unwrap_or_default();
    let found = client.find_files_with(&folder, &options).await?;
    let known = read(&folder, config)?;
    let mut text: Vec<String> = found
        .files
        .iter()
        .map(|file| format!("      {}  {}", file.dataset.as_str(), humanize::bytes(file.size)))
        .collect();
    text.extend(left_out_lines(&found.left_out));
    let bytes = found.files.iter().map(|file| file.size).sum();
    let aside = left_out_suffix(&found.left_out);
    text.push(format!("{}, {}{aside}", datasets(found.files.len()), humanize::bytes(bytes)));
    text.extend(known_lines(&known, false));
    let file = |file: &FoundFile| FoundFileJson { path: file.dataset.as_str().to_owned(), size: file.size };
    let json = FoundFilesJson {
        folder: (&folder).into(),
        files: found.files.iter().map(file).collect(),
        left_out: LeftOutJson::list(&found.left_out),
        metadata: (&known).into(),
    };
    let is_sound = known.metadata.problems.is_empty();
    let problem = !is_sound || found.left_out.iter().any(|file| file.reason.is_missing());
    Ok(Answer::new(text, json)?.incomplete_if(problem))
}

/// The fields of `check-protected`.
#[derive(Debug, Serialize)]
struct ProtectedJson {
    sessions: Vec<ProtectedStatusJson>,
    left_out: Vec<LeftOutJson>,
}

/// The protection of the files of one session.
#[derive(Debug, Serialize)]
struct ProtectedStatusJson {
    folder: PathText,
    path: String,
    files: Vec<PathText>,
    protected: bool,
    details: Vec<ProtectedFileJson>,
}

/// A file with its revisions, the latest first.
#[derive(Debug, Serialize)]
struct ProtectedFileJson {
    file: String,
    revisions: Vec<RevisionJson>,
}

/// A revision; empty for the original.
#[derive(Debug, Serialize)]
struct RevisionJson {
    revision: String,
    protected: bool,
}

impl From<&ProtectedStatus> for ProtectedStatusJson {
    fn from(status: &ProtectedStatus) -> Self {
        let detail = |detail: &ProtectedFile| ProtectedFileJson {
            file: detail.file.clone(),
            revisions: detail
                .revisions
                .iter()
                .map(|(revision, protected)| RevisionJson {
                    revision: revision.clone(),
                    protected: *protected,
                })
                .collect(),
        };
        let below = |file: &PathBuf| file.strip_prefix(&status.folder).unwrap_or(file).into();
        Self {
            folder: (&status.folder).into(),
            path: status.path.clone(),
            files: status.files.iter().map(below).collect(),
            protected: status.is_protected(),
            details: status.details.iter().map(detail).collect(),
        }
    }
}

/// Checks whether files are protected.
pub(super) async fn check_protected(
    args: &CheckProtectedArgs,
    client: &RegistrationClient,
) -> Result<Answer, Failure> {
    let files = absolute_paths(&args.files)?;
    let (statuses, left_out) = client.check_protected_files(&files, &args.options()).await?;
    let (mut text, mut sessions, mut any) = (Vec::new(), Vec::new(), false);
    for status in &statuses {
        any |= status.is_protected();
        for file in &status.files {
            let name = relative(file, &status.folder);
            let revisions = status.details.iter().find(|detail| {
                detail.file == name || Path::new(&status.path).join(&detail.file) == Path::new(&name)
            });
            let protected: Vec<&str> = revisions
                .iter()
                .flat_map(|detail| &detail.revisions)
                .filter(|(_, protected)| *protected)
                .map(|(revision, _)| if revision.is_empty() { "the original" } else { revision })
                .collect();
            text.push(match protected.as_slice() {
                [] => format!("not protected  {}", file.display()),
                some => format!("protected      {}: {}", file.display(), some.join(", ")),
            });
        }
        sessions.push(ProtectedStatusJson::from(status));
    }
    text.extend(left_out_lines(&left_out));
    let json = ProtectedJson { sessions, left_out: LeftOutJson::list(&left_out) };
    Ok(Answer::new(text, json)?.incomplete_if(any || !left_out.is_empty()))
}

fn relative(file: &Path, folder: &Path) -> String {
    file.strip_prefix(folder).unwrap_or(file).to_string_lossy().into_owned()
}
