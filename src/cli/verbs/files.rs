//! `register-files`, `find-files`, `check-protected`.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};

use crate::cli::args::{CheckProtectedArgs, FindFilesArgs, RegisterFilesArgs};
use crate::cli::exit::Exit;
use crate::cli::progress;
use crate::cli::scan::moves::{moved_json, moved_lines};
use crate::cli::verbs::connect::connect;
use crate::cli::verbs::output::{
    Answer, Failure, absolute_path, absolute_paths, datasets, left_out_json, left_out_lines, left_out_suffix,
    run_verb, to_value,
};
use crate::humanize;
use alyx_registration::{PlannedFiles, RegisterFilesOptions, RegisteredFiles};

/// Registers files.
pub(crate) async fn register_files(args: &RegisterFilesArgs) -> Exit {
    run_verb(args.verb.json, async {
        let files = absolute_paths(&args.files)?;
        let options = args.options();
        let bytes = sizes(&files, &options)?;
        let client = connect(&args.verb.connection)?;
        let progress = &client.context().progress;
        progress.bytes.fetch_add(bytes, Ordering::Relaxed);
        let work = async {
            if args.dry_run {
                let planned = client.plan_files(&files, &options).await?;
                planned.check_sessions()?;
                let answer = Answer::new(planned_lines(&planned), planned_json(&planned)?);
                return Ok(answer.planned().incomplete_if(!planned.left_out.is_empty()));
            }
            let registered = client.register_files(&files, &options).await?;
            let incomplete = registered.records.iter().any(Option::is_none);
            let json = registered_json(&files, &registered)?;
            Ok(Answer::new(registered_lines(&files, &registered), json.into()).incomplete_if(incomplete))
        };
        progress::shown(progress, work).await
    })
    .await
}

/// The number of bytes to hash. Fails on a folder or a missing file before anything is registered.
pub(super) fn sizes(files: &[PathBuf], options: &RegisterFilesOptions) -> Result<u64, Failure> {
    let mut bytes = 0;
    for file in files {
        match std::fs::metadata(file) {
            Ok(metadata) if metadata.is_dir() => {
                let advice = "name its files, or register a session folder with register-session";
                return Err(Failure::new(Exit::Incomplete, format!("{file:?} is a folder; {advice}")));
            }
            Ok(metadata) if options.max_md5_size.is_none_or(|limit| metadata.len() < limit) => {
                bytes += metadata.len();
            }
            Ok(_) => {}
            Err(error) => {
                return Err(Failure::new(Exit::Incomplete, format!("{file:?} cannot be read: {error}")));
            }
        }
    }
    Ok(bytes)
}

/// The registered files in order, as text.
pub(super) fn registered_lines(files: &[PathBuf], registered: &RegisteredFiles) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (file, record) in files.iter().zip(&registered.records) {
        if let Some(record) = record {
            lines.push(format!("ok    {}  {}", file.display(), record.id));
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
pub(super) fn registered_json(
    files: &[PathBuf],
    registered: &RegisteredFiles,
) -> Result<Map<String, Value>, Failure> {
    let mut records = Vec::with_capacity(files.len());
    for (file, record) in files.iter().zip(&registered.records) {
        records.push(json!({"file": file.to_string_lossy(), "record": to_value(record)?}));
    }
    Ok(Map::from_iter([
        ("records".to_owned(), records.into()),
        ("unchanged".to_owned(), registered.n_unchanged.into()),
        ("moved".to_owned(), moved_json(&registered.moved)),
        ("left_out".to_owned(), left_out_json(&registered.left_out)),
    ]))
}

/// The planned requests as JSON.
pub(super) fn planned_json(planned: &PlannedFiles) -> Result<Value, Failure> {
    Ok(json!({
        "requests": to_value(&planned.requests)?,
        "moved": moved_json(&planned.moved),
        "left_out": left_out_json(&planned.left_out),
    }))
}

/// The planned requests as text.
pub(super) fn planned_lines(planned: &PlannedFiles) -> Vec<String> {
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

/// Lists the datasets of a session folder.
pub(crate) async fn find_files(args: &FindFilesArgs) -> Exit {
    run_verb(args.verb.json, async {
        let folder = absolute_path(&args.folder)?;
        let found = connect(&args.verb.connection)?.find_files(&folder).await?;
        let mut text: Vec<String> = found
            .files
            .iter()
            .map(|file| format!("      {}  {}", file.dataset.as_str(), humanize::bytes(file.size)))
            .collect();
        text.extend(left_out_lines(&found.left_out));
        let bytes = found.files.iter().map(|file| file.size).sum();
        let aside = left_out_suffix(&found.left_out);
        text.push(format!("{}, {}{aside}", datasets(found.files.len()), humanize::bytes(bytes)));
        let files: Vec<Value> = found
            .files
            .iter()
            .map(|file| json!({"path": file.dataset.as_str(), "size": file.size}))
            .collect();
        let json = json!({
            "folder": folder.to_string_lossy(),
            "files": files,
            "left_out": left_out_json(&found.left_out),
        });
        let problem = found.left_out.iter().any(|file| file.reason.is_missing());
        Ok(Answer::new(text, json).incomplete_if(problem))
    })
    .await
}

/// Checks whether files are protected.
pub(crate) async fn check_protected(args: &CheckProtectedArgs) -> Exit {
    run_verb(args.verb.json, async {
        let files = absolute_paths(&args.files)?;
        let client = connect(&args.verb.connection)?;
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
                    [] => format!("free      {}", file.display()),
                    some => format!("protected {}: {}", file.display(), some.join(", ")),
                });
            }
            let details: Vec<Value> = status
                .details
                .iter()
                .map(|detail| {
                    let revisions: Vec<Value> = detail
                        .revisions
                        .iter()
                        .map(|(revision, protected)| json!({"revision": revision, "protected": protected}))
                        .collect();
                    json!({"file": detail.file, "revisions": revisions})
                })
                .collect();
            sessions.push(json!({
                "folder": status.folder.to_string_lossy(),
                "path": status.path,
                "files": status.files.iter().map(|file| relative(file, &status.folder)).collect::<Vec<_>>(),
                "protected": status.is_protected(),
                "details": details,
            }));
        }
        text.extend(left_out_lines(&left_out));
        let json = json!({"sessions": sessions, "left_out": left_out_json(&left_out)});
        Ok(Answer::new(text, json).incomplete_if(any || !left_out.is_empty()))
    })
    .await
}

fn relative(file: &Path, folder: &Path) -> String {
    file.strip_prefix(folder).unwrap_or(file).to_string_lossy().into_owned()
}
