//! Options: what a caller may choose, as plain values that can be compared. Live state is in
//! [`RunContext`](crate::RunContext).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::error::Error;
use crate::flagged::late::plan::LookPlan;
use crate::listing::accepted_gaps::AcceptedGaps;
use crate::listing::copy_signs::{CopySign, DEFAULT_COPY_SIGNS};
use crate::metadata::options::MetadataOptions;
use crate::opener::data_folders::DataFolders;
use crate::repository::mount::Mount;
use crate::session::details::SessionDetails;
use crate::session::reference::SessionReference;
use alf::timestamp::DateInput;
use alyx_client::{Endpoint, qc_number};

/// Options of a [`RegistrationClient`](crate::RegistrationClient).
#[derive(Debug, Clone, PartialEq)]
pub struct RegistrationOptions {
    /// Most files in one request. A request with many files exceeds the server's time limit: about 29 ms a file, 30 s
    /// in all by default.
    pub batch_size: usize,
    /// Threads that read and hash files in each data root.
    pub hash_threads: usize,
    /// How fast files are read.
    pub reading: ReadingOptions,
    /// Time zone to which times with an offset are converted.
    pub zone: TimeZone,
    /// The earliest day that a session may have. An earlier one is taken for a mistake of the recorder's clock.
    pub earliest: Date,
    /// How long names, dataset types and data formats are cached.
    pub names_kept: Duration,
    /// A session that was created longer ago than this is looked up once more before its flag is removed: another
    /// program may have created it too.
    pub look_again_after: Duration,
    /// File names of flags. A session that is registered by name, and has one, is locked through it.
    pub flags: Vec<String>,
    /// Where files are opened as data. Without roots, each session has an assumed one.
    pub data: Arc<DataFolders>,
    /// How the metadata of sessions is found.
    pub metadata: MetadataOptions,
}

impl Default for RegistrationOptions {
    fn default() -> Self {
        Self {
            batch_size: 100,
            hash_threads: 2,
            reading: ReadingOptions::default(),
            zone: TimeZone::system(),
            earliest: jiff::civil::date(2000, 1, 1),
            names_kept: Duration::from_secs(3600),
            look_again_after: Duration::from_secs(60),
            flags: vec!["create_me.flag".to_owned()],
            data: Arc::default(),
            metadata: MetadataOptions::default(),
        }
    }
}

/// How fast files are read, of all data roots together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadingOptions {
    /// The most bytes to read each second. `None`: no limit.
    pub max_rate: Option<u64>,
    /// Whether less is read while other programs wait for the disk or a processor.
    pub yields: bool,
    /// What may be read each second even then, in bytes.
    pub min_rate: u64,
}

impl Default for ReadingOptions {
    fn default() -> Self {
        Self { max_rate: None, yields: true, min_rate: 20_000_000 }
    }
}

/// Version tags of files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Versions {
    /// None.
    #[default]
    None,
    /// The same for every file.
    One(String),
    /// One after the other, starting again at the end of the list.
    Cycle(Vec<String>),
}

impl Versions {
    /// The versions of a list.
    pub fn of_list(mut versions: Vec<String>) -> Self {
        match versions.len() {
            0 => Self::None,
            1 => Self::One(versions.remove(0)),
            _ => Self::Cycle(versions),
        }
    }

    pub(crate) fn of(&self, index: usize) -> Option<&str> {
        match self {
            Self::None => None,
            Self::One(version) => Some(version),
            Self::Cycle(versions) => versions.get(index.checked_rem(versions.len())?).map(String::as_str),
        }
    }
}

/// The record that files outside a session belong to (Python: `content_type` and `object_id`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Model on Alyx, such as `subject` or `tag`, with or without its application: `subjects.subject`. The paths of
    /// the files start at the first folder named after it, such as `Subjects`.
    pub content_type: String,
    /// UUID of the record of that model.
    pub object_id: String,
}

/// What to do with a changed file whose dataset is protected on Alyx.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProtectedPolicy {
    /// Leave it where it is and report it. The other files are registered.
    Refuse,
    /// Move it into a revision folder next to it, as Python does, and register it there.
    #[default]
    Revise,
}

/// How files are registered (Python: the arguments of `register_files`).
#[derive(Debug, Clone, PartialEq)]
pub struct RegisterFilesOptions {
    /// Version tags.
    pub versions: Versions,
    /// Whether this becomes the default revision.
    pub default: bool,
    /// The user who registers. Default: the user who is logged in.
    pub created_by: Option<String>,
    /// Create records in online repositories only.
    pub server_only: bool,
    /// Name of the repository that holds the files.
    pub repository: Option<String>,
    /// Whether the files exist in the repository.
    pub exists: bool,
    /// Files of this size in bytes or more get no MD5.
    pub max_md5_size: Option<u64>,
    /// Labs, comma-separated. Default: the lab in the path.
    pub labs: Option<String>,
    /// QC outcome of the datasets: `CRITICAL`, `FAIL`, `WARNING`, `NOT_SET` or `PASS`.
    pub qc: Option<String>,
    /// The record that the files belong to if they are outside a session. Alyx then requires `repository`.
    pub relation: Option<Relation>,
    /// What to do with a changed file whose dataset is protected.
    pub protected: ProtectedPolicy,
    /// Also post files that Alyx already holds with the same size and MD5.
    pub force: bool,
}

impl Default for RegisterFilesOptions {
    fn default() -> Self {
        Self {
            versions: Versions::None,
            default: true,
            created_by: None,
            server_only: false,
            repository: None,
            exists: true,
            max_md5_size: None,
            labs: None,
            qc: None,
            relation: None,
            protected: ProtectedPolicy::default(),
            force: false,
        }
    }
}

impl RegisterFilesOptions {
    /// Refuses options that contradict each other, or that Alyx would refuse for every file.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if let Some(qc) = self.qc.as_deref().filter(|qc| qc_number(qc).is_none()) {
            return Err(Error::Invalid(format!(
                "{qc:?} is not a QC outcome; write CRITICAL, FAIL, WARNING, NOT_SET or PASS"
            )));
        }
        if self.relation.is_some() && self.repository.is_none() {
            return Err(Error::Invalid(
                "files outside a session need a repository; name the one they are in".into(),
            ));
        }
        Ok(())
    }

    /// The names on Alyx that the options mention.
    pub(crate) fn names(&self) -> Vec<(Endpoint, String)> {
        let labs = self
            .labs
            .iter()
            .flat_map(|labs| labs.split(','))
            .filter(|lab| !lab.trim().is_empty())
            .map(|lab| (Endpoint::Labs, lab.trim().to_owned()));
        let repository = self.repository.iter().map(|name| (Endpoint::Repositories, name.clone()));
        let user = self.created_by.iter().map(|name| (Endpoint::Users, name.clone()));
        labs.chain(repository).chain(user).collect()
    }
}

/// What happens to the flag of a session if some of its datasets cannot be registered. The others are registered
/// either way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnRefused {
    /// The flag stays, and the session needs attention.
    #[default]
    KeepFlag,
    /// The flag is removed, and the refused datasets are reported.
    Finish,
}

/// What happens to a session with gaps: a file that would be a dataset under a slightly different name, or no dataset at
/// all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnLeftOut {
    /// It is registered, and its gaps are reported.
    #[default]
    Warn,
    /// The flag stays, and the session needs attention.
    KeepFlag,
    /// It is registered like any other.
    Ignore,
}

/// What happens to late files: datasets that appear or change in a session after it was registered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnLate {
    /// They are reported.
    #[default]
    Report,
    /// They are registered, when nothing in the session changes any more.
    Register,
}

/// How registered sessions are looked at again.
#[derive(Debug, Clone, PartialEq)]
pub struct LateOptions {
    /// When.
    pub plan: LookPlan,
    /// At most this many `stat` calls a second.
    pub rate: u32,
    /// What happens to late files.
    pub on_late: OnLate,
    /// Derived data, which is never late: patterns on the path relative to the session.
    pub exclude: Vec<glob::Pattern>,
}

impl Default for LateOptions {
    /// Late files are reported for a week.
    fn default() -> Self {
        let plan = LookPlan::within(Duration::from_secs(7 * 24 * 3600));
        Self { plan, rate: 200, on_late: OnLate::default(), exclude: Vec::new() }
    }
}

/// When a flagged session counts as complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuietRules {
    /// How long nothing in the session may have changed.
    pub settle: Duration,
    /// The same on a network file system, whose times cannot be trusted: the time between two equal looks.
    pub settle_remote: Duration,
    /// How long a session without any file waits for its first one.
    pub empty_grace: Duration,
    /// Names of files that are being copied. A session waits while it holds such a file and the complete one would be
    /// a dataset.
    pub copy_signs: Arc<[CopySign]>,
}

impl Default for QuietRules {
    /// 2 s, on a network file system 30 s, and 10 minutes for the first file.
    fn default() -> Self {
        let copy_signs =
            DEFAULT_COPY_SIGNS.iter().filter_map(|(_, sign)| CopySign::parse(sign).ok()).collect();
        Self {
            settle: Duration::from_secs(2),
            settle_remote: Duration::from_secs(30),
            empty_grace: Duration::from_secs(600),
            copy_signs,
        }
    }
}

/// How the files of sessions in one data root are registered, where that differs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RootDatasets {
    /// The data root.
    pub path: PathBuf,
    /// As [`FlaggedOptions::register_files`].
    pub register_files: Option<bool>,
    /// As [`RegisterFilesOptions::repository`].
    pub repository: Option<String>,
    /// As [`RegisterFilesOptions::server_only`].
    pub server_only: Option<bool>,
    /// As [`RegisterFilesOptions::exists`].
    pub exists: Option<bool>,
    /// As [`RegisterFilesOptions::default`].
    pub default: Option<bool>,
    /// As [`RegisterFilesOptions::versions`].
    pub versions: Option<Versions>,
    /// As [`RegisterFilesOptions::max_md5_size`].
    pub max_md5_size: Option<u64>,
    /// As [`RegisterFilesOptions::protected`].
    pub protected: Option<ProtectedPolicy>,
    /// As [`FlaggedOptions::exclude`].
    pub exclude: Option<Vec<glob::Pattern>>,
    /// As [`FlaggedOptions::on_refused`].
    pub on_refused: Option<OnRefused>,
    /// As [`FlaggedOptions::on_left_out`].
    pub on_left_out: Option<OnLeftOut>,
}

/// How a flagged session is registered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FlaggedOptions {
    /// Whether its files are registered, or the session alone.
    pub register_files: bool,
    /// Details of a session that is created. An existing session keeps its own.
    pub defaults: SessionDetails,
    /// How the files are registered.
    pub files: RegisterFilesOptions,
    /// Folders that are repositories on Alyx. They decide where [`files`](Self::files) names no repository.
    pub mounts: Vec<Mount>,
    /// Files that are not datasets, as patterns on the path relative to the session.
    pub exclude: Vec<glob::Pattern>,
    /// When the session counts as complete.
    pub quiet: QuietRules,
    /// What happens to the flag if some datasets cannot be registered.
    pub on_refused: OnRefused,
    /// What happens to a session with gaps.
    pub on_left_out: OnLeftOut,
    /// Data roots whose files are registered in another way.
    pub roots: Vec<RootDatasets>,
    /// Gaps that do not keep the flag, because a person has acknowledged them.
    pub accepted_gaps: AcceptedGaps,
}

/// Which files to register with a session (Python: `file_list`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum FilesToRegister {
    /// Every dataset that `find_files` finds.
    #[default]
    All,
    /// None: the session alone.
    None,
    /// These.
    These(Vec<PathBuf>),
}

/// Options of [`RegistrationClient::create_sessions`](crate::RegistrationClient::create_sessions).
#[derive(Debug, Clone, PartialEq)]
pub struct CreateSessionsOptions {
    /// Which files below the folder are flags.
    pub glob_pattern: String,
    /// Change nothing; report what would happen to each flag, as far as the disk and Alyx tell.
    pub dry: bool,
    /// How each session is registered.
    pub flagged: FlaggedOptions,
}

impl Default for CreateSessionsOptions {
    fn default() -> Self {
        let flagged = FlaggedOptions { register_files: false, ..Default::default() };
        Self { glob_pattern: "**/create_me.flag".to_owned(), dry: false, flagged }
    }
}

/// Options of [`RegistrationClient::create_new_session`](crate::RegistrationClient::create_new_session).
#[derive(Debug, Clone, PartialEq)]
pub struct NewSessionOptions<'a> {
    /// The day, or a time on it. Default: today.
    pub date: Option<DateInput<'a>>,
    /// Number of the session. Default: the next free one.
    pub number: Option<u16>,
    /// Whether the session is registered, or only its folder made.
    pub register: bool,
    /// Details of the session on Alyx.
    pub details: SessionDetails,
}

impl Default for NewSessionOptions<'_> {
    fn default() -> Self {
        Self { date: None, number: None, register: true, details: SessionDetails::default() }
    }
}

/// Options of
/// [`RegistrationClient::register_water_administration`](crate::RegistrationClient::register_water_administration).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WaterOptions<'a> {
    /// When it was given. Default: now.
    pub date_time: Option<DateInput<'a>>,
    /// Name of the kind of water on Alyx. Default: `Water`.
    pub water_type: Option<String>,
    /// The user who gave it. Default: the user who is logged in.
    pub user: Option<String>,
    /// The session in which it was given.
    pub session: Option<SessionReference>,
    /// Whether the subject could drink freely.
    pub adlib: bool,
    /// Whether it is recorded again if Alyx has the same already.
    pub repeat: bool,
    /// Whether a value that seems to be in another unit is refused; otherwise it is recorded with a note.
    pub strict: bool,
    /// The earliest day that is accepted. Default: [`RegistrationOptions::earliest`].
    pub earliest: Option<Date>,
}

/// Options of [`RegistrationClient::register_weight`](crate::RegistrationClient::register_weight).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WeightOptions<'a> {
    /// When it was weighed. Default: now.
    pub date_time: Option<DateInput<'a>>,
    /// The user who weighed. Default: the user who is logged in.
    pub user: Option<String>,
    /// Whether it is recorded again if Alyx has the same already.
    pub repeat: bool,
    /// Whether a value that seems to be in another unit is refused; otherwise it is recorded with a note.
    pub strict: bool,
    /// The earliest day that is accepted. Default: [`RegistrationOptions::earliest`].
    pub earliest: Option<Date>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_versions_starts_again_at_its_end() {
        let versions = Versions::Cycle(vec!["a".into(), "b".into()]);
        assert_eq!((0..3).map(|i| versions.of(i)).collect::<Vec<_>>(), [Some("a"), Some("b"), Some("a")]);
        assert_eq!(Versions::Cycle(Vec::new()).of(0), None);
        assert_eq!(Versions::None.of(0), None);
    }

    #[test]
    fn options_that_alyx_would_refuse_for_every_file_are_refused_at_once() {
        let qc = |qc: &str| RegisterFilesOptions { qc: Some(qc.into()), ..Default::default() };
        assert!(qc("FINE").check().is_err());
        assert!(qc("PASS,FAIL").check().is_err());
        assert!(qc("PASS").check().is_ok());
        let relation = Some(Relation { content_type: "subject".into(), object_id: "x".into() });
        let mut options = RegisterFilesOptions { relation, ..Default::default() };
        assert!(options.check().is_err());
        options.repository = Some("flatiron".into());
        assert!(options.check().is_ok());
    }
}
