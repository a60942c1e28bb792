//! Gaps: what a registered session lacks, as far as the names of its files tell. Pure.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use crate::listing::left_out::{LeftOut, LeftOutClass, LeftOutReason};
use crate::listing::name_patterns::{MAX_EXCLUDES, exclude_line, exclude_lines, in_yaml, kind_of, yaml_list};
use alf::DatasetTypes;
use alyx_client::text::some_of;

/// The kind of [`Gap::LateFiles`].
pub const LATE_FILES: &str = "late_files";

/// An ALF name that no dataset type takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untyped {
    /// Its object, attribute and extension, whatever numbers it has: `nobody.knows.npy`.
    pub kind: String,
    /// The first such file, relative to the session.
    pub file: PathBuf,
    /// The pattern that would leave such files out.
    pub exclude: String,
}

impl Untyped {
    /// Those among the files of a session, one of each kind.
    pub(crate) fn of(left_out: &[LeftOut], types: &DatasetTypes) -> Vec<Self> {
        let mut kinds: BTreeMap<String, &Path> = BTreeMap::new();
        for file in left_out.iter().filter(|file| file.reason.class() == LeftOutClass::NoType) {
            kinds.entry(kind_of(&file.path)).or_insert(&file.path);
        }
        let untyped = |(kind, file): (String, &Path)| {
            let exclude = exclude_line(file, types);
            Self { kind, file: file.to_owned(), exclude }
        };
        kinds.into_iter().map(untyped).collect()
    }
}

/// A dataset that appeared or changed after its session was registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateFile {
    /// Relative to the session.
    pub path: PathBuf,
    /// Whether Alyx has a dataset of that path, of another size.
    pub is_changed: bool,
    /// Why it cannot be registered as it is: a link that leads nowhere, or where no data may lie.
    pub problem: Option<LeftOutReason>,
}

/// The name under which a file would be a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    /// The file name.
    pub to: String,
    /// Whether a rename overwrites nothing.
    pub is_free: bool,
}

/// What a registered session lacks, as far as the names of its files tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Gap {
    /// Files that would be datasets under a slightly different name.
    #[error(
        "files that would be datasets under another name: {}; rename them, then flag the session again. If they are not \
         to be registered, add to datasets.exclude: {}", some_of(renames(.files), ", "), yaml_list(.exclude)
    )]
    NearMiss {
        /// Each file, relative to the session, and what is to be done with its name.
        files: Vec<(PathBuf, Rename)>,
        /// The lines of `datasets.exclude` that leave them out.
        exclude: Vec<String>,
    },
    /// Files, but no dataset among them.
    #[error(
        "none of its files is a dataset: {}; correct the names, or have the dataset types added to Alyx, then flag the \
         session again. If none is to be registered, add to datasets.exclude: {}",
        some_of(.files.iter().map(|file| file.to_string_lossy()), ", "), yaml_list(.exclude)
    )]
    NoDataset {
        /// The files, relative to the session.
        files: Vec<PathBuf>,
        /// The lines of `datasets.exclude` that leave them out.
        exclude: Vec<String>,
    },
    /// Files with an ALF name that no dataset type takes, for the first time in a data root.
    #[error(
        "no dataset type of Alyx matches {}; correct the names, or ask your Alyx admin to add the types, then flag the \
         session again. This message appears once for each kind of file and data root. If they are not to be registered, add to \
         datasets.exclude: {}", some_of(.files.iter().map(|file| file.to_string_lossy()), ", "), yaml_list(.exclude)
    )]
    NoType {
        /// The first file of each kind, relative to the session.
        files: Vec<PathBuf>,
        /// The lines of `datasets.exclude` that leave them out.
        exclude: Vec<String>,
    },
    /// Datasets that appeared or changed after the session was registered.
    #[error(
        "files that arrived or changed after the session was registered: {}; flag the session again to register them. If they are \
         not to be registered, add to datasets.late_exclude: {}", some_of(late(.files), ", "), yaml_list(.exclude)
    )]
    LateFiles {
        /// The files.
        files: Vec<LateFile>,
        /// The lines of `datasets.late_exclude` that leave them out.
        exclude: Vec<String>,
    },
    /// The same, of a session that Alyx no longer has.
    #[error(
        "the session was deleted on Alyx, and files have arrived or changed since it was registered: {}; flag the session again to \
         create it again and register all its files. If they are not to be registered, add to datasets.late_exclude: {}",
        some_of(late(.files), ", "), yaml_list(.exclude)
    )]
    LateOfDeleted {
        /// The files.
        files: Vec<LateFile>,
        /// The lines of `datasets.late_exclude` that leave them out.
        exclude: Vec<String>,
    },
    /// No file at all, apart from hidden ones, logs and markers.
    #[error(
        "the session has no file; copy its files into the folder and flag the session again, or acknowledge the gap"
    )]
    NoFile,
}

impl Gap {
    /// What a session lacks whose files were left out, and which has datasets or not.
    pub(crate) fn of(left_out: &[LeftOut], has_datasets: bool, types: &DatasetTypes) -> Option<Self> {
        let near = left_out.iter().filter_map(|file| match &file.reason {
            LeftOutReason::NearMiss(to) => {
                Some((file.path.clone(), Rename { to: to.clone(), is_free: true }))
            }
            LeftOutReason::NearMissTaken(to) => {
                Some((file.path.clone(), Rename { to: to.clone(), is_free: false }))
            }
            _ => None,
        });
        let files: Vec<(PathBuf, Rename)> = near.collect();
        if !files.is_empty() {
            let exclude = exclude_lines(files.iter().map(|(path, _)| path.as_path()), types);
            return Some(Self::NearMiss { files, exclude });
        }
        let is_there = |is_it: fn(&LeftOut) -> bool| left_out.iter().any(is_it);
        // A problem is reported as such.
        if has_datasets || is_there(|file| file.reason.is_problem()) {
            return None;
        }
        let files: Vec<PathBuf> = left_out
            .iter()
            .filter(|file| file.reason.class() != LeftOutClass::Noise)
            .map(|file| file.path.clone())
            .collect();
        if !files.is_empty() {
            let exclude = exclude_lines(files.iter().map(PathBuf::as_path), types);
            return Some(Self::NoDataset { files, exclude });
        }
        // All its files are excluded on purpose.
        (!is_there(|file| file.reason == LeftOutReason::Excluded)).then_some(Self::NoFile)
    }

    /// Late files; `None` if there are none.
    pub(crate) fn late(files: Vec<LateFile>, is_deleted: bool, types: &DatasetTypes) -> Option<Self> {
        let exclude = exclude_lines(files.iter().map(|file| file.path.as_path()), types);
        let gap = match is_deleted {
            false => Self::LateFiles { files, exclude },
            true => Self::LateOfDeleted { files, exclude },
        };
        (!gap.files().is_empty()).then_some(gap)
    }

    /// Whether Alyx no longer has the session.
    pub fn is_of_deleted_session(&self) -> bool {
        matches!(self, Self::LateOfDeleted { .. })
    }

    /// Kinds of files without a dataset type that were not reported before; `None` if there are none.
    pub fn without_type<'a>(untyped: impl Iterator<Item = &'a Untyped>) -> Option<Self> {
        let (files, lines): (Vec<PathBuf>, BTreeSet<String>) =
            untyped.map(|untyped| (untyped.file.clone(), in_yaml(&untyped.exclude))).unzip();
        let exclude = lines.into_iter().take(MAX_EXCLUDES).collect();
        (!files.is_empty()).then_some(Self::NoType { files, exclude })
    }

    /// What remains of it if Alyx has these datasets of the session already: they are elsewhere, not missing.
    pub(crate) fn without_datasets_at_alyx(self, at_alyx: &HashSet<String>) -> Option<Self> {
        match self {
            Self::NearMiss { mut files, exclude } => {
                let is_there = |(path, rename): &(PathBuf, Rename)| {
                    path.with_file_name(&rename.to).to_str().is_some_and(|path| at_alyx.contains(path))
                };
                files.retain(|file| !is_there(file));
                (!files.is_empty()).then_some(Self::NearMiss { files, exclude })
            }
            gap => at_alyx.is_empty().then_some(gap),
        }
    }

    /// Its name in the ledger, in JSON and in the alerts.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NearMiss { .. } => "near_miss",
            Self::NoDataset { .. } => "no_dataset",
            Self::NoType { .. } => "no_type",
            Self::LateFiles { .. } | Self::LateOfDeleted { .. } => LATE_FILES,
            Self::NoFile => "no_file",
        }
    }

    /// The files that it names, as text.
    pub fn names(&self) -> Vec<String> {
        self.files().into_iter().map(|file| file.to_string_lossy().into_owned()).collect()
    }

    /// The files that it names, relative to the session.
    pub fn files(&self) -> Vec<&Path> {
        match self {
            Self::NearMiss { files, .. } => files.iter().map(|(path, _)| path.as_path()).collect(),
            Self::NoDataset { files, .. } | Self::NoType { files, .. } => {
                files.iter().map(PathBuf::as_path).collect()
            }
            Self::LateFiles { files, .. } | Self::LateOfDeleted { files, .. } => {
                files.iter().map(|file| file.path.as_path()).collect()
            }
            Self::NoFile => Vec::new(),
        }
    }
}

fn late(files: &[LateFile]) -> impl Iterator<Item = String> {
    files.iter().map(|file| match &file.problem {
        Some(problem) => format!("{} ({problem})", file.path.display()),
        None if file.is_changed => format!("{} (changed)", file.path.display()),
        None => file.path.display().to_string(),
    })
}

fn renames(files: &[(PathBuf, Rename)]) -> impl Iterator<Item = String> {
    files.iter().map(|(path, Rename { to, is_free })| match is_free {
        true => format!("{} (rename it to {to})", path.display()),
        false => {
            format!(
                "{} (it would be {to}, but there is, or would be, another of that name: keep one)",
                path.display()
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alf::DatasetType;
    use alf::dataset_type::NoDatasetType;

    fn types() -> DatasetTypes {
        let of = |pattern: &str| DatasetType { name: pattern.into(), filename_pattern: pattern.into() };
        DatasetTypes::new(vec![of("*Camera.raw*"), of("*spikes.times*")], vec![".mp4".into(), ".npy".into()])
    }

    fn left_out(files: &[(&str, LeftOutReason)]) -> Vec<LeftOut> {
        files.iter().map(|(path, reason)| LeftOut { path: path.into(), reason: reason.clone() }).collect()
    }

    const NO_TYPE: LeftOutReason = LeftOutReason::NoType(NoDatasetType::None);

    #[test]
    fn files_of_a_series_are_of_one_kind() {
        let files =
            [1, 2, 3].map(|n| LeftOut { path: format!("alf/run{n}.day2024.avi").into(), reason: NO_TYPE });
        let untyped = Untyped::of(&files, &types());
        assert_eq!(untyped.len(), 1);
        assert_eq!((untyped[0].kind.as_str(), untyped[0].exclude.as_str()), ("run*.day*.avi", "*.avi"));
    }

    #[test]
    fn gaps_as_a_table() {
        let near = || LeftOutReason::NearMiss("leftCamera.raw.mp4".into());
        let kind = |files: &[(&str, LeftOutReason)], has_datasets| {
            Gap::of(&left_out(files), has_datasets, &types()).map(|gap| gap.kind())
        };
        for (files, with_datasets, without) in [
            (vec![], None, Some("no_file")),
            (vec![(".a", LeftOutReason::Hidden), ("a.log", LeftOutReason::Accessory)], None, Some("no_file")),
            (vec![("a.bin", LeftOutReason::Excluded)], None, None),
            (vec![("a.nwb", LeftOutReason::NotAlf)], None, Some("no_dataset")),
            (vec![("a_g0_t0.imec0.ap.bin", LeftOutReason::RawRecording)], None, Some("no_dataset")),
            (vec![("a.b.npy", NO_TYPE)], None, Some("no_dataset")),
            (vec![("a.b.npy", LeftOutReason::Private)], None, None),
            (vec![("leftCamera.raw.MP4", near())], Some("near_miss"), Some("near_miss")),
        ] {
            assert_eq!((kind(&files, true), kind(&files, false)), (with_datasets, without), "{files:?}");
        }
    }
}
