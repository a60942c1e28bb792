//! Left-out files: why a file is not registered, in four classes, and what a session lacks because of it. Pure.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::hashing::private_paths::IS_PRIVATE;
use alf::dataset_path::DatasetPathError;
use alf::dataset_type::NoDatasetType;
use alf::{DatasetName, DatasetTypes};
use alyx_client::text::{printable, some_of};

/// Files that a summary keeps by name, and details that it shows of a reason.
const MAX_NAMED: usize = 20;
const MAX_DETAILS: usize = 5;
/// The number of `exclude` lines that a message proposes.
const MAX_EXCLUDES: usize = 5;

/// Files of which only the number counts: logs, markers of other software, checksums, leftovers of desktops. In any
/// letter case.
const ACCESSORIES: [&str; 2] = ["thumbs.db", "desktop.ini"];
const ACCESSORY_EXTENSIONS: [&str; 9] = ["log", "flag", "lock", "lck", "pid", "md5", "sha1", "sha256", "bak"];

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
    /// A raw recording: its name looks like that of a dataset, and other software writes it.
    RawRecording,
    /// A log, a marker or a checksum of other software, or a leftover of a desktop.
    Accessory,
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
    /// It leads to one of this program's own files. The link must be removed.
    Private,
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
            Self::Hidden | Self::Accessory | Self::Excluded | Self::NotInFlag | Self::NotAFile => {
                LeftOutClass::Noise
            }
            Self::NotAlf
            | Self::RawRecording
            | Self::LinkToFolder
            | Self::NotInSession(_)
            | Self::NotInObject(_) => LeftOutClass::NotADataset,
            Self::NoType(_) => LeftOutClass::NoType,
            Self::NearMiss(_) => LeftOutClass::NearMiss,
            Self::BadFolder(_) | Self::LeadsNowhere(_) | Self::Private | Self::Unreadable(_) => {
                LeftOutClass::Problem
            }
        }
    }

    /// The group in which it is counted.
    fn group(&self) -> &'static str {
        match self {
            Self::Hidden => "hidden",
            Self::NotAlf => "no ALF name",
            Self::NoType(NoDatasetType::UnknownExtension(_)) => "unknown extension",
            Self::NoType(NoDatasetType::None) => "no dataset type",
            Self::NoType(NoDatasetType::Several(_)) => "several dataset types",
            Self::NearMiss(_) => "almost a dataset",
            Self::RawRecording => "raw recording",
            Self::Accessory => "log, marker or checksum",
            Self::Excluded => "excluded by the configuration",
            Self::NotInFlag => "not listed in the flag",
            Self::LinkToFolder => "link to a folder, not followed",
            Self::NotAFile => "not a regular file",
            Self::NotInSession(_) => "not in a session folder",
            Self::NotInObject(_) => "not in a folder of the content type",
            Self::BadFolder(_) => "in a folder that Alyx cannot store",
            Self::LeadsNowhere(_) => "broken link",
            Self::Private => "this program's own file",
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
            Self::NotInSession(reason) => write!(f, "not in a session folder: {reason}"),
            Self::NotInObject(model) => write!(f, "not in a folder whose name begins with {model:?}"),
            Self::LeadsNowhere(reason) => {
                write!(f, "a broken link ({reason}); mount the disk it leads to, or remove it")
            }
            Self::Private => f.write_str(IS_PRIVATE),
            Self::Unreadable(reason) => {
                write!(f, "cannot be read ({reason}); check that the user who runs this may read it")
            }
            other => f.write_str(other.group()),
        }
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

/// Whether a file is a log, a marker, a checksum or a leftover, by its name.
pub(crate) fn is_accessory(name: &str) -> bool {
    let name = name.to_lowercase();
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    ACCESSORIES.contains(&name.as_str()) || extension.is_some_and(|e| ACCESSORY_EXTENSIONS.contains(&e))
}

/// Whether a name is that of a raw recording, although it looks like `object.attribute.extension`: of SpikeGLX
/// (`run_g0_t0.imec0.ap.bin`, `run_g0_tcat.nidq.meta`) or an OME-TIFF (`scan_001.ome.tif`).
pub(crate) fn is_raw_recording(name: &str) -> bool {
    let numbered = |text: &str, prefix: &str| {
        text.strip_prefix(prefix).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut parts = name.split('.');
    let (run, stream, next) =
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next());
    let mut last = run.rsplit('_');
    let (trigger, gate) = (last.next().unwrap_or_default(), last.next().unwrap_or_default());
    let is_run = numbered(gate, "g") && (trigger == "tcat" || numbered(trigger, "t"));
    let is_stream = ["imec", "nidq", "obx"].into_iter().any(|device| numbered(stream, device));
    is_run && is_stream || stream == "ome" && next.is_some_and(|next| ["tif", "tiff", "btf"].contains(&next))
}

/// A text with a placeholder for each number: files of a series have one pattern.
fn with_numbers_as(text: &str, placeholder: &str) -> String {
    let mut pattern = String::new();
    let mut in_number = false;
    for c in text.chars() {
        if !c.is_ascii_digit() {
            pattern.push(c);
        } else if !in_number {
            pattern.push_str(placeholder);
        }
        in_number = c.is_ascii_digit();
    }
    pattern
}

fn without_numbers(text: &str) -> String {
    with_numbers_as(text, "*")
}

/// The pattern in which a file that is no dataset is counted: `*.bin`, or the name of a file without an extension.
fn counted_as(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => format!("*.{}", without_numbers(extension)),
        _ => without_numbers(&name),
    }
}

/// The kind of an ALF name without a dataset type: its object, attribute and extension, whatever numbers it has.
fn kind_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match DatasetName::parse(&name) {
        Ok(name) => without_numbers(&format!("{}.{}", name.object_attribute(), name.extension())),
        Err(_) => counted_as(path),
    }
}

/// The pattern of `datasets.exclude` that leaves out such files, and no dataset of another session.
fn exclude_line(path: &Path, types: &DatasetTypes) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match (name.rsplit_once('.'), DatasetName::parse(&name)) {
        (Some((stem, extension)), _) if !stem.is_empty() && !types.has_extension_of(&name) => {
            format!("*.{}", glob::Pattern::escape(extension))
        }
        (_, Ok(alf)) => {
            let series = with_numbers_as(&alf.object_attribute(), "[0-9]*");
            let (begin, rest) = name.split_once(&alf.object_attribute()).unwrap_or_default();
            // `spikes.time*` would leave out `spikes.times.npy`: only another timescale or part may follow.
            let rest = rest.strip_suffix(alf.extension()).unwrap_or(rest).trim_end_matches('.');
            let any = rest.chars().next().map(|separator| format!("{separator}*")).unwrap_or_default();
            format!("**/{begin}{series}{any}.{}", alf.extension())
        }
        _ => format!("**/{}", glob::Pattern::escape(&name)),
    }
}

/// An item of a YAML list, in one line: a file name may hold a newline that would look like another line of the log.
fn in_yaml(pattern: &str) -> String {
    let escaped = |letter: char| match letter {
        '\\' | '"' => format!("\\{letter}"),
        letter if printable(&letter.to_string()).starts_with('\\') => format!("\\u{:04x}", letter as u32),
        letter => letter.to_string(),
    };
    format!("- \"{}\"", pattern.chars().map(escaped).collect::<String>())
}

/// The lines of `datasets.exclude` that leave out these files.
fn exclude_lines<'a>(paths: impl Iterator<Item = &'a Path>, types: &DatasetTypes) -> Vec<String> {
    let lines: BTreeSet<String> = paths.map(|path| in_yaml(&exclude_line(path, types))).collect();
    lines.into_iter().take(MAX_EXCLUDES).collect()
}

/// The files that were left out, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOutSummary {
    groups: BTreeMap<&'static str, Group>,
    named: Vec<LeftOut>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Group {
    n: usize,
    /// How many files have each pattern, or names.
    details: BTreeMap<String, usize>,
}

impl LeftOutSummary {
    /// Counts files by reason, and keeps the first names, the most important class first.
    pub fn of(left_out: &[LeftOut]) -> Self {
        let mut summary = Self::default();
        for file in left_out {
            let group = summary.groups.entry(file.reason.group()).or_default();
            group.n += 1;
            match file.reason.class() {
                LeftOutClass::Noise => {}
                LeftOutClass::NotADataset => {
                    *group.details.entry(counted_as(&file.path)).or_default() += 1;
                }
                _ => {
                    if group.details.len() < MAX_DETAILS {
                        group.details.insert(file.path.to_string_lossy().into_owned(), 1);
                    }
                }
            }
        }
        let mut named: Vec<&LeftOut> =
            left_out.iter().filter(|file| file.reason.class() != LeftOutClass::Noise).collect();
        named.sort_by_key(|file| file.reason.class());
        summary.named = named.into_iter().take(MAX_NAMED).cloned().collect();
        summary
    }

    /// Whether nothing was left out.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The first 20 files by name, near misses first; none that is only counted.
    pub fn named(&self) -> &[LeftOut] {
        &self.named
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut details: Vec<(&String, usize)> = self.details.iter().map(|(what, n)| (what, *n)).collect();
        details.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        let more = if details.len() > MAX_DETAILS || self.n > details.iter().map(|(_, n)| n).sum() {
            ", …"
        } else {
            ""
        };
        let shown = |(what, n): (&String, usize)| {
            if n == 1 { printable(what) } else { format!("{n} {}", printable(what)) }
        };
        let details: Vec<String> = details.into_iter().take(MAX_DETAILS).map(shown).collect();
        if details.is_empty() { Ok(()) } else { write!(f, " ({}{more})", details.join(", ")) }
    }
}

impl fmt::Display for LeftOutSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups: Vec<String> =
            self.groups.iter().map(|(reason, group)| format!("{} {reason}{group}", group.n)).collect();
        f.write_str(&groups.join(", "))
    }
}

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

/// What a registered session lacks, as far as the names of its files tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Gap {
    /// Files that would be datasets under a slightly different name.
    #[error(
        "files that would be datasets under another name: {}; rename them, then flag the session again. If they are not \
         to be registered, add to datasets.exclude: {}", some_of(renames(.files), ", "), .exclude.join(", ")
    )]
    NearMiss {
        /// Each file, relative to the session, and the file name to give to it.
        files: Vec<(PathBuf, String)>,
        /// The lines of `datasets.exclude` that leave them out.
        exclude: Vec<String>,
    },
    /// Files, but no dataset among them.
    #[error(
        "none of its files is a dataset: {}; correct the names, or have the dataset types added to Alyx, then flag the \
         session again. If that is right, add to datasets.exclude: {}",
        some_of(.files.iter().map(|file| file.to_string_lossy()), ", "), .exclude.join(", ")
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
         session again. Such files are only counted from now on. If they are not to be registered, add to \
         datasets.exclude: {}", some_of(.files.iter().map(|file| file.to_string_lossy()), ", "), .exclude.join(", ")
    )]
    NoType {
        /// The first file of each kind, relative to the session.
        files: Vec<PathBuf>,
        /// The lines of `datasets.exclude` that leave them out.
        exclude: Vec<String>,
    },
    /// No file at all, apart from hidden ones, logs and markers.
    #[error(
        "it has no file; copy its files into the folder, then flag the session again, or acknowledge that it has none"
    )]
    NoFile,
}

impl Gap {
    /// What a session lacks whose files were left out, and which has datasets or not.
    pub(crate) fn of(left_out: &[LeftOut], has_datasets: bool, types: &DatasetTypes) -> Option<Self> {
        let near = left_out.iter().filter_map(|file| match &file.reason {
            LeftOutReason::NearMiss(rename) => Some((file.path.clone(), rename.clone())),
            _ => None,
        });
        let files: Vec<(PathBuf, String)> = near.collect();
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
                let is_there = |(path, rename): &(PathBuf, String)| {
                    path.with_file_name(rename).to_str().is_some_and(|path| at_alyx.contains(path))
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
            Self::NoFile => "no_file",
        }
    }

    /// The files that it names, relative to the session.
    pub fn files(&self) -> Vec<&Path> {
        match self {
            Self::NearMiss { files, .. } => files.iter().map(|(path, _)| path.as_path()).collect(),
            Self::NoDataset { files, .. } | Self::NoType { files, .. } => {
                files.iter().map(PathBuf::as_path).collect()
            }
            Self::NoFile => Vec::new(),
        }
    }
}

fn renames(files: &[(PathBuf, String)]) -> impl Iterator<Item = String> {
    files.iter().map(|(path, rename)| format!("{} (rename it to {rename})", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alf::DatasetType;

    fn types() -> DatasetTypes {
        let of = |pattern: &str| DatasetType { name: pattern.into(), filename_pattern: pattern.into() };
        DatasetTypes::new(vec![of("*Camera.raw*"), of("*spikes.times*")], vec![".mp4".into(), ".npy".into()])
    }

    fn left_out(files: &[(&str, LeftOutReason)]) -> Vec<LeftOut> {
        files.iter().map(|(path, reason)| LeftOut { path: path.into(), reason: reason.clone() }).collect()
    }

    const NO_TYPE: LeftOutReason = LeftOutReason::NoType(NoDatasetType::None);

    #[test]
    fn raw_recordings_and_accessories_are_known_by_their_names() {
        for name in [
            "run_g0_t0.imec0.ap.bin",
            "_spikeglx_ephysData_g0_t0.imec1.lf.meta",
            "KS014_20240501_g12_tcat.imec.ap.bin",
            "run_g0_t0.nidq.bin",
            "run_g0_t0.obx0.obx.bin",
            "scan_Pos0.ome.tif",
        ] {
            assert!(is_raw_recording(name), "{name}");
        }
        for name in ["spikes.times.npy", "run_g0.imec0.ap.bin", "a_g0_t0.b.npy", "x.tif", ""] {
            assert!(!is_raw_recording(name), "{name}");
        }
        for name in
            ["Bonsai.LOG", "transferred.flag", "Thumbs.db", "data.bin.md5", "_ibl_log.info-acquisition.log"]
        {
            assert!(is_accessory(name), "{name}");
        }
        assert!(!is_accessory("log") && !is_accessory("notes.txt"));
    }

    #[test]
    fn a_summary_counts_noise_patterns_and_names() {
        let mut files = left_out(&[
            (".git", LeftOutReason::Hidden),
            ("a.x.npy", NO_TYPE),
            ("leftCamera.raw.MP4", LeftOutReason::NearMiss("leftCamera.raw.mp4".into())),
            ("README", LeftOutReason::NotAlf),
        ]);
        files.extend(
            (0..30).map(|n| LeftOut { path: format!("{n}.nwb").into(), reason: LeftOutReason::NotAlf }),
        );
        let summary = LeftOutSummary::of(&files);
        assert_eq!(
            summary.to_string(),
            "1 almost a dataset (leftCamera.raw.MP4), 1 hidden, 31 no ALF name (30 *.nwb, README), 1 no dataset type \
             (a.x.npy)"
        );
        let named: Vec<&Path> = summary.named().iter().map(|file| file.path.as_path()).collect();
        assert_eq!(named[..3], [Path::new("leftCamera.raw.MP4"), Path::new("a.x.npy"), Path::new("README")]);
        assert_eq!(named.len(), MAX_NAMED);
    }

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

    #[test]
    fn a_proposed_line_excludes_the_file_and_never_a_dataset() {
        for (name, line) in [
            ("raw/leftCamera.raw.MP4", "*.MP4"),
            ("run/timestamps.npy", "**/timestamps.npy"),
            ("README", "**/README"),
            ("a/b[1].txt", "*.txt"),
            ("a/b[1].npy", "**/b[[]1[]].npy"),
            ("a/_x_run12.day3_clock.npy", "**/_x_run[0-9]*.day[0-9]*_*.npy"),
            ("a/nobody.knows.part1.npy", "**/nobody.knows.*.npy"),
            ("a/spikes.time.npy", "**/spikes.time.npy"),
            ("a/spikes2.times.npy", "**/spikes[0-9]*.times.npy"),
        ] {
            let proposed = exclude_line(Path::new(name), &types());
            assert_eq!(proposed, line);
            let pattern = glob::Pattern::new(&proposed).unwrap();
            assert!(pattern.matches(name) && !pattern.matches("alf/spikes.times.npy"), "{proposed}");
        }
    }

    #[test]
    fn a_line_for_the_configuration_is_one_line_whatever_a_file_is_called() {
        let line = in_yaml("**/x\u{1b}[31m\n2026 INFO registered \"a\\b\u{202e}");
        assert_eq!(line, r#"- "**/x\u001b[31m\u000a2026 INFO registered \"a\\b\u202e""#);
    }
}
