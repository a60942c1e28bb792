//! The undo list: what file records said before they were marked, one JSON document a line. It is on disk before the
//! first of them is changed.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::collections::HashSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cli::exit::Exit;
use crate::cli::new_file::NewFile;
use crate::cli::output::Failure;
use alyx_registration::MarkedRecord;

/// More than a list ever has.
const MAX_LENGTH: u64 = 1 << 30;
/// The version of the format.
const VERSION: u32 = 1;
const MODE: u32 = 0o640;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    /// Names the format.
    undo_list: u32,
    /// The Alyx that the records are on.
    alyx: String,
    /// When it was written.
    at: Timestamp,
}

/// A line for a record that was not changed after all: another program may change it, and that is not undone.
#[derive(Debug, Serialize, Deserialize)]
struct LeftAlone {
    left_alone: String,
}

/// A list that is to be written.
pub(super) struct UndoList {
    /// Where; otherwise in the state folder.
    pub(super) file: Option<PathBuf>,
    pub(super) state_dir: PathBuf,
    /// The data roots, in which no list lies.
    pub(super) roots: Vec<PathBuf>,
    pub(super) alyx: String,
    pub(super) records: Vec<MarkedRecord>,
}

impl UndoList {
    /// Writes the list; it is on disk on return. Blocks.
    ///
    /// # Errors
    /// Those of the file.
    pub(super) fn write(&self, at: Timestamp) -> Result<PathBuf, Failure> {
        let file = self.file.clone().unwrap_or_else(|| {
            self.state_dir.join(format!("marks-{}.jsonl", at.strftime("%Y%m%dT%H%M%S%3f")))
        });
        let mut new = NewFile::create(&file, self.roots.iter().map(PathBuf::as_path), MODE)?;
        let mut lines = || {
            let header = Header { undo_list: VERSION, alyx: self.alyx.clone(), at };
            let mut text = serde_json::to_string(&header)?;
            for record in &self.records {
                text.push('\n');
                text.push_str(&serde_json::to_string(record)?);
            }
            text.push('\n');
            new.write_all(text.as_bytes())
        };
        lines().map_err(|error| new.failure(&error))?;
        new.finish()
    }

    /// Reads the records of a list. `alyx`: the configured one. Blocks.
    ///
    /// # Errors
    /// It cannot be read, is no such list, or is of another Alyx.
    pub(super) fn read(file: &Path, alyx: &str) -> Result<Vec<MarkedRecord>, Failure> {
        let mut text = String::new();
        let read = std::fs::File::open(file).and_then(|file| file.take(MAX_LENGTH).read_to_string(&mut text));
        read.map_err(|error| {
            Failure::new(
                Exit::Usage,
                format!(
                    "the undo list {file:?} cannot be read ({error}); name the file that --mark has printed"
                ),
            )
        })?;
        let mut lines = text.lines();
        let header = lines.next().and_then(|line| serde_json::from_str::<Header>(line).ok());
        let Some(header) = header.filter(|header| header.undo_list == VERSION) else {
            return Err(Failure::new(
                Exit::Usage,
                format!("{file:?} is no undo list of this version; name the file that --mark has printed"),
            ));
        };
        if header.alyx != alyx {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "the undo list {file:?} is of {}, and the configuration of {alyx}; use the configuration of that Alyx",
                    header.alyx
                ),
            ));
        }
        let (mut records, mut left) = (Vec::<MarkedRecord>::new(), HashSet::new());
        let read = lines.try_for_each(|line| {
            match serde_json::from_str::<LeftAlone>(line) {
                Ok(struck) => drop(left.insert(struck.left_alone)),
                Err(_) => records.push(serde_json::from_str(line)?),
            }
            Ok(())
        });
        records.retain(|record| !left.contains(&record.record));
        read.map(|()| records).map_err(|error: serde_json::Error| {
            Failure::new(
                Exit::Usage,
                format!("the undo list {file:?} is damaged ({error}); undo its marks on Alyx"),
            )
        })
    }
}

/// Strikes out records that were not changed after all. Blocks.
pub(super) fn strike(file: &Path, left: &[String]) -> Result<(), Failure> {
    if left.is_empty() {
        return Ok(());
    }
    let append = || {
        let mut text = String::new();
        for record in left {
            text.push_str(&serde_json::to_string(&LeftAlone { left_alone: record.clone() })?);
            text.push('\n');
        }
        let mut list = std::fs::OpenOptions::new().append(true).open(file)?;
        list.write_all(text.as_bytes())?;
        list.sync_all()
    };
    append().map_err(|error: std::io::Error| {
        Failure::new(
            Exit::Io,
            format!("the undo list {file:?} cannot be completed ({error}); it also names records that were left alone"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alyx_registration::{Mark, RecordState};

    #[test]
    fn a_list_is_read_as_it_was_written_and_only_for_its_own_alyx() {
        let state = tempfile::tempdir().unwrap();
        let before = RecordState { exists: true, json: Some(serde_json::Value::Null), relative_path: None };
        let record = MarkedRecord {
            mark: Mark::BadCopy,
            record: "r".into(),
            dataset: "d".into(),
            session: "KS014/2024-05-01/001".into(),
            path: "alf/a\nb.npy".into(),
            repository: "rig".into(),
            before,
        };
        let list = UndoList {
            file: None,
            state_dir: state.path().to_owned(),
            roots: vec![],
            alyx: "https://alyx/".into(),
            records: vec![record.clone(), record.clone()],
        };
        let file = list.write(Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(file, state.path().join("marks-19700101T000000000.jsonl"));
        assert_eq!(UndoList::read(&file, "https://alyx/").unwrap(), [record.clone(), record]);
        strike(&file, &["other".to_owned()]).unwrap();
        assert_eq!(UndoList::read(&file, "https://alyx/").unwrap().len(), 2);
        strike(&file, &["r".to_owned()]).unwrap();
        assert_eq!(UndoList::read(&file, "https://alyx/").unwrap(), []);
        assert!(UndoList::read(&file, "https://other/").is_err());
        assert!(list.write(Timestamp::UNIX_EPOCH).is_err(), "it would overwrite the other");
        std::fs::write(state.path().join("other"), "{}\n").unwrap();
        assert!(UndoList::read(&state.path().join("other"), "https://alyx/").is_err());
        let inside = UndoList { roots: vec![state.path().to_owned()], ..list };
        assert!(inside.write(Timestamp::now()).is_err());
    }
}
