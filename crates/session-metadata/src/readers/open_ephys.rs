//! The reader `open_ephys`: the start from `settings.xml`, which Open Ephys writes into the folder of a recording.
//!
//! The file is read as a stream, up to its first `INFO/DATE` and never more than [`MAX_BYTES`].

use std::io::{BufReader, Read};

use alf::SessionTime;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use quick_xml::Reader;
use quick_xml::events::Event;

use crate::files::unreadable;
use crate::layer::Field;
use crate::problem::{Problem, ProblemKind};
use crate::readers::{Reading, Subject};
use crate::source::Source;
use crate::text::locate::quoted;

/// `INFO` comes first; the rest of the file, which describes the signal chain, is not needed.
pub const MAX_BYTES: u64 = 256 * 1024;

/// The text of the first `SETTINGS/INFO/DATE`; `None` without one.
///
/// # Errors
/// What is wrong with the XML before it. The settings of other programs have no `SETTINGS`, and are none of ours.
pub fn date(from: impl Read) -> Result<Option<String>, String> {
    let mut reader = Reader::from_reader(BufReader::new(from.take(MAX_BYTES)));
    let (mut path, mut buffer): (Vec<Vec<u8>>, _) = (Vec::new(), Vec::new());
    let wanted = |path: &[Vec<u8>]| path.iter().map(Vec::as_slice).eq([&b"SETTINGS"[..], b"INFO", b"DATE"]);
    loop {
        buffer.clear();
        let event = match reader.read_event_into(&mut buffer) {
            Err(error) if path.first().is_some_and(|root| root == b"SETTINGS") => {
                return Err(error.to_string());
            }
            Err(_) => return Ok(None),
            Ok(event) => event,
        };
        match event {
            Event::Start(tag) if path.len() < 8 => path.push(tag.name().as_ref().to_vec()),
            Event::Start(_) => return Ok(None),
            Event::End(tag) if tag.name().as_ref() == b"INFO" => return Ok(None),
            Event::End(_) => drop(path.pop()),
            Event::Text(text) if wanted(&path) => {
                let text = String::from_utf8_lossy(&text).trim().to_owned();
                return Ok(Some(text).filter(|text| !text.is_empty()));
            }
            Event::Eof => return Ok(None),
            _ => {}
        }
    }
}

/// Parses the date as Open Ephys writes it (`3 Apr 2019 17:30:12`), or in ISO 8601.
pub fn parse_date(text: &str, zone: &TimeZone) -> Option<SessionTime> {
    let written = DateTime::strptime("%d %b %Y %H:%M:%S", text).map(SessionTime::from_civil);
    written.ok().or_else(|| SessionTime::parse(text, zone).ok())
}

/// Whether a path is that of settings, by its name.
pub(crate) fn is_settings(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.starts_with("settings") && name.ends_with(".xml")
}

/// The earliest start of all recordings.
pub fn read(subject: Subject<'_>) -> Reading {
    let mut reading = Reading::default();
    let mut found: Vec<(SessionTime, &str)> = Vec::new();
    let files = subject.files.list().iter().filter(|entry| entry.size.is_some());
    for path in files.map(|entry| entry.path.as_str()).filter(|path| is_settings(path)) {
        let opened = subject.files.open(path).map_err(|error| unreadable(path, &error));
        let date = opened.and_then(|file| {
            date(file).map_err(|why| {
                let message = format!("this is not the settings of Open Ephys ({why}); restore the file");
                Problem::new(ProblemKind::Syntax, path, "", message)
            })
        });
        match date {
            Ok(None) => {}
            Ok(Some(text)) => match parse_date(&text, subject.zone) {
                Some(start) => {
                    reading.problems.extend(
                        subject
                            .other_day(start.date(), true)
                            .map(|message| Problem::new(ProblemKind::Date, path, "INFO/DATE", message)),
                    );
                    found.push((start, path));
                }
                None => {
                    let message =
                        format!("{} is not a time such as 3 Apr 2019 17:30:12; correct it", quoted(&text));
                    reading.problems.push(Problem::new(ProblemKind::Time, path, "INFO/DATE", message));
                }
            },
            Err(problem) => reading.problems.push(problem),
        }
    }
    if let Some((start, path)) = found.into_iter().min() {
        reading.layer.set(Field::StartTime, start.to_iso(), Source::rig(path, "INFO/DATE"));
    }
    reading
}
