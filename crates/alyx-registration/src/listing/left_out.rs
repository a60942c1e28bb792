//! Left-out files: why a file is not registered, in five classes. Pure.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::opener::private_paths::IS_PRIVATE;
use crate::opener::refusal::Refusal;
use alf::dataset_path::DatasetPathError;
use alf::dataset_type::NoDatasetType;

/// A file that is not registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Relative to the session if it is in one; otherwise as given.
    pub path: PathBuf,
    /// Why.
    pub reason: LeftOutReason,
}

/// Why a file is not registered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeftOutReason {
    /// Hidden, or below a hidden folder (macOS creates `._spikes.times.npy` next to the file itself).
    Hidden,
    /// Not `object.attribute.extension`.
    NotAlf,
    /// Unknown extension, or no unique dataset type.
    NoType(NoDatasetType),
    /// It would be a dataset under this file name: only letter case, Unicode form or the spelling of the extension differ.
    NearMiss(String),
    /// The same, but another file or folder has that name, or would have it: a rename would overwrite it.
    NearMissTaken(String),
    /// A raw recording: its name looks like that of a dataset, and other software writes it.
    RawRecording,
    /// A log, a marker or a checksum of other software, or a leftover of a desktop.
    Accessory,
    /// A sidecar of the session, which describes it.
    Sidecar,
    /// A pattern of the configuration excludes it.
    Excluded,
    /// The flag does not list it.
    NotInFlag,
    /// A link to a folder, which is not followed.
    LinkToFolder,
    /// Neither a file nor a folder.
    NotAFile,
    /// Not inside a session folder (explicit lists only).
    NotInSession(String),
    /// Not below a folder named after the model that files outside a session belong to (explicit lists only).
    NotInObject(String),
    /// A dataset by its name, but in a folder that Alyx cannot store. The folder must be renamed.
    BadFolder(DatasetPathError),
    /// A link whose target does not exist or cannot be reached. The disk must be mounted or the link fixed.
    LeadsNowhere(String),
    /// It leads to the flag, which will be removed. The link must be removed.
    LeadsToFlag,
    /// It leads to one of this program's own files. The link must be removed.
    Private,
    /// A link that leads out of the data roots, or into a view of the kernel. The link must be removed, or its target
    /// allowed.
    LeadsOut(Refusal),
    /// It cannot be read. The permissions must be changed.
    Unreadable(String),
}

impl LeftOutReason {
    /// Whether the file is a dataset that cannot be registered as it is, so that the session is not complete.
    pub fn is_problem(&self) -> bool {
        self.class() == LeftOutClass::Problem
    }

    /// Whether the file is, or probably should be, a dataset: a problem or a near miss.
    pub fn is_missing(&self) -> bool {
        matches!(self.class(), LeftOutClass::Problem | LeftOutClass::NearMiss)
    }

    /// The class in which it is reported.
    pub fn class(&self) -> LeftOutClass {
        match self {
            Self::Hidden
            | Self::Accessory
            | Self::Sidecar
            | Self::Excluded
            | Self::NotInFlag
            | Self::NotAFile => LeftOutClass::Noise,
            Self::NotAlf
            | Self::RawRecording
            | Self::LinkToFolder
            | Self::NotInSession(_)
            | Self::NotInObject(_) => LeftOutClass::NotADataset,
            Self::NoType(_) => LeftOutClass::NoType,
            Self::NearMiss(_) | Self::NearMissTaken(_) => LeftOutClass::NearMiss,
            Self::BadFolder(_)
            | Self::LeadsNowhere(_)
            | Self::LeadsToFlag
            | Self::Private
            | Self::LeadsOut(_)
            | Self::Unreadable(_) => LeftOutClass::Problem,
        }
    }

    /// The group in which it is counted.
    pub(crate) fn group(&self) -> &'static str {
        match self {
            Self::Hidden => "hidden",
            Self::NotAlf => "no ALF name",
            Self::NoType(NoDatasetType::UnknownExtension(_)) => "unknown extension",
            Self::NoType(NoDatasetType::None) => "no dataset type",
            Self::NoType(NoDatasetType::Several(_)) => "several dataset types",
            Self::NearMiss(_) | Self::NearMissTaken(_) => "almost a dataset",
            Self::RawRecording => "raw recording",
            Self::Accessory => "log, marker or checksum",
            Self::Sidecar => "describes the session",
            Self::Excluded => "excluded by datasets.exclude",
            Self::NotInFlag => "not listed in the flag",
            Self::LinkToFolder => "link to a folder, not followed",
            Self::NotAFile => "not a regular file",
            Self::NotInSession(_) => "not in a session folder",
            Self::NotInObject(_) => "not in a folder of the content type",
            Self::BadFolder(_) => "in a folder that Alyx cannot store",
            Self::LeadsNowhere(_) => "broken link",
            Self::LeadsToFlag => "link to a flag",
            Self::Private => "this program's own file",
            Self::LeadsOut(_) => "link out of the data roots",
            Self::Unreadable(_) => "unreadable",
        }
    }
}

impl fmt::Display for LeftOutReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoType(reason) => reason.fmt(f),
            Self::BadFolder(reason) => reason.fmt(f),
            Self::NearMiss(rename) => {
                write!(f, "would be a dataset under another name: rename it to {rename:?}")
            }
            Self::NearMissTaken(name) => write!(
                f,
                "would be a dataset under the name {name:?}, but there is, or would be, another of that name: keep \
                 one of them, and rename only that one"
            ),
            Self::NotInSession(reason) => write!(f, "not in a session folder: {reason}"),
            Self::NotInObject(model) => write!(f, "not in a folder whose name begins with {model:?}"),
            Self::LeadsNowhere(reason) => {
                write!(f, "a broken link ({reason}); mount the disk it leads to, or remove the link")
            }
            Self::LeadsToFlag => {
                f.write_str("leads to the flag of a session, which is no data; remove the link")
            }
            Self::Private => f.write_str(IS_PRIVATE),
            Self::LeadsOut(refusal) => refusal.fmt(f),
            Self::Unreadable(reason) => {
                write!(f, "cannot be read ({reason}); check that the user who runs this may read it")
            }
            other => f.write_str(other.group()),
        }
    }
}

impl From<Refusal> for LeftOutReason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Private => Self::Private,
            other => Self::LeadsOut(other),
        }
    }
}

/// Takes back the renames that would overwrite each other, or what is there already.
pub(crate) fn withdraw_renames(left_out: &mut [LeftOut], is_taken: impl Fn(&Path) -> bool) {
    let target = |file: &LeftOut| match &file.reason {
        LeftOutReason::NearMiss(name) => Some(file.path.with_file_name(name)),
        _ => None,
    };
    let mut wanted: HashMap<PathBuf, usize> = HashMap::new();
    for path in left_out.iter().filter_map(target) {
        *wanted.entry(path).or_default() += 1;
    }
    for file in left_out {
        let Some(path) = target(file).filter(|path| wanted.get(path) != Some(&1) || is_taken(path)) else {
            continue;
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        file.reason = LeftOutReason::NearMissTaken(name);
    }
}

/// How a left-out file is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOutClass {
    /// Exactly one dataset type would take it under a slightly different name: a gap.
    NearMiss,
    /// A dataset that cannot be registered as it is on disk.
    Problem,
    /// An ALF name that no dataset type takes: reported the first time, then counted.
    NoType,
    /// Not an ALF name. Raw recordings are normal: counted by pattern.
    NotADataset,
    /// Hidden, excluded, a log, a marker: only counted.
    Noise,
}
