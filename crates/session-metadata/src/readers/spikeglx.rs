//! The reader `spikeglx`: start and end from the `.meta` files that SpikeGLX writes beside its recordings.
//!
//! Each is read up to [`MAX_BYTES`]; of a larger one, which lists thousands of channels, only the beginning.

use std::io::Read;

use alf::SessionTime;
use jiff::SignedDuration;
use jiff::civil::DateTime;

use crate::files::{Entry, SessionFiles, unreadable};
use crate::layer::Field;
use crate::problem::{Problem, ProblemKind};
use crate::readers::{Reading, Subject};
use crate::source::Source;
use crate::text::locate::quoted;

/// The keys that are read stand among the first; real files have a few ten thousand bytes.
pub const MAX_BYTES: u64 = 1024 * 1024;

/// No recording is longer than 30 years.
const POSSIBLE_SECONDS: std::ops::Range<f64> = 0.0..1e9;

/// What a `.meta` file says.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Meta {
    /// `fileCreateTime`, as written.
    pub created: Option<String>,
    /// `fileTimeSecs`, a number above zero.
    pub seconds: Option<f64>,
    /// `fileSizeBytes`.
    pub size: Option<u64>,
    /// What is written in place of a number.
    pub faults: Vec<String>,
}

/// Parses `key=value` lines. Bytes that are not UTF-8 (a folder on a Windows computer) do no harm.
pub fn parse(bytes: &[u8]) -> Meta {
    let mut meta = Meta::default();
    for line in String::from_utf8_lossy(bytes).lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        let value = value.trim();
        match key.trim_start_matches('\u{feff}').trim() {
            "fileCreateTime" => meta.created = Some(value.to_owned()),
            "fileTimeSecs" => {
                meta.seconds = value.parse().ok().filter(|n| POSSIBLE_SECONDS.contains(n));
                if meta.seconds.is_none() && !value.is_empty() {
                    meta.faults.push(format!("fileTimeSecs {} is no length in seconds", quoted(value)));
                }
            }
            "fileSizeBytes" => {
                meta.size = value.parse().ok();
                if meta.size.is_none() && !value.is_empty() {
                    meta.faults.push(format!("fileSizeBytes {} is no size in bytes", quoted(value)));
                }
            }
            _ => {}
        }
    }
    meta
}

/// The `.meta` files of a session: of the recordings in it, or of any that name no recording.
pub(crate) fn metas(files: &dyn SessionFiles) -> impl Iterator<Item = &Entry> {
    files.list().iter().filter(|entry| entry.size.is_some() && is_meta(&entry.path))
}

/// Whether a path is that of a `.meta` file of SpikeGLX, by its name.
pub(crate) fn is_meta(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let is_spikeglx = [".ap.meta", ".lf.meta", ".nidq.meta", ".obx.meta"];
    let is_one =
        is_spikeglx.iter().any(|end| name.ends_with(end)) || name.contains(".obx") && name.ends_with(".meta");
    is_one && !name.starts_with('.')
}

/// Whether a path is that of a recording, whose size its `.meta` file says.
pub(crate) fn is_recording(path: &str) -> bool {
    path.strip_suffix("bin").is_some_and(|stem| is_meta(&format!("{stem}meta")))
}

/// Reads one file.
pub(crate) fn load(files: &dyn SessionFiles, path: &str) -> Result<Meta, Problem> {
    let mut bytes = Vec::new();
    let read = files.open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
    read.map(|_| parse(&bytes)).map_err(|error| unreadable(path, &error))
}

/// A time and some seconds later.
pub(crate) fn later(time: SessionTime, seconds: f64) -> Option<SessionTime> {
    let civil: DateTime = time.to_iso().parse().ok()?;
    let seconds = SignedDuration::try_from_secs_f64(seconds).ok()?;
    // As Python's timedelta, which rounds to microseconds.
    let micros = i64::try_from((seconds.as_nanos() + 500) / 1000).ok()?;
    civil.checked_add(SignedDuration::from_micros(micros)).ok().map(SessionTime::from_civil)
}

/// The earliest start and the latest end of all recordings.
pub fn read(subject: Subject<'_>) -> Reading {
    let mut reading = Reading::default();
    let mut times: Vec<(SessionTime, Option<SessionTime>, &str)> = Vec::new();
    for entry in metas(subject.files) {
        let path = entry.path.as_str();
        let meta = match load(subject.files, path) {
            Ok(meta) => meta,
            Err(problem) => {
                reading.problems.push(problem);
                continue;
            }
        };
        reading.notes.extend(meta.faults.iter().map(|fault| format!("{path}: {fault}")));
        let Some(created) = meta.created else {
            reading.notes.push(format!("{path} has no fileCreateTime: it says nothing of the start"));
            continue;
        };
        match SessionTime::parse(&created, subject.zone) {
            Ok(start) => {
                // Whatever else gives the start: such a recording is in the wrong folder.
                reading.problems.extend(
                    subject
                        .other_day(start.date(), true)
                        .map(|message| Problem::new(ProblemKind::Date, path, "fileCreateTime", message)),
                );
                times.push((start, meta.seconds.and_then(|s| later(start, s)), path));
            }
            Err(_) => {
                let message =
                    format!("{} is not a time such as 2024-05-01T10:00:00; correct it", quoted(&created));
                reading.problems.push(Problem::new(ProblemKind::Time, path, "fileCreateTime", message));
            }
        }
    }
    if let Some((start, _, path)) = times.iter().min() {
        reading.layer.set(Field::StartTime, start.to_iso(), Source::rig(path, "fileCreateTime"));
    }
    // A recording whose length is unknown was cut off; the end of the others is not that of the session.
    let ends: Option<Vec<_>> = times.iter().map(|(_, end, path)| Some(((*end)?, path))).collect();
    if let Some((end, path)) = ends.into_iter().flatten().max() {
        let source = Source::rig(path, "fileCreateTime + fileTimeSecs");
        reading.layer.set(Field::EndTime, end.to_iso(), source);
    }
    reading
}
