//! How the metadata of sessions is found. Plain values.

use std::path::{Path, PathBuf};

use jiff::civil::Date;

use crate::session::details::SessionDetails;
use session_metadata::Options as ReaderOptions;

/// What happens to a session that lacks files which it should have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnMissing {
    /// The flag stays until they are there.
    #[default]
    Wait,
    /// The session is registered without them, and they are reported.
    Finish,
}

/// The measurements that are recorded with a session. Many rigs record their own, so that the default is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measured {
    /// The weight of the subject, if it has no weighing on that day.
    pub weight: bool,
    /// Each water that it got and that the session lacks.
    pub water: bool,
}

/// A data root with values of its own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RootMetadata {
    /// Its folder.
    pub path: PathBuf,
    /// Details of the sessions in it, before the general ones.
    pub defaults: SessionDetails,
    /// The earliest day that its sessions may have.
    pub earliest: Option<Date>,
    /// Whether it gets the files of all computers of a rig: what the experiment description declares must be there.
    pub all_devices: bool,
}

/// How the metadata of sessions is found.
#[derive(Debug, Clone, PartialEq)]
pub struct MetadataOptions {
    /// Whether `alyx-session.yaml` is read, in the session folder and above it.
    pub sidecars: bool,
    /// The readers of rig files, the names of users, and what a session must have. The time zone is that of the
    /// [client](crate::RegistrationOptions::zone).
    pub readers: ReaderOptions,
    /// The data roots. Sidecars are looked for up to the root that a session is in, and links that lead out of it are
    /// not followed.
    pub roots: Vec<RootMetadata>,
    /// Details of sessions that are registered by name, where no stronger source knows them. Sessions with a flag have
    /// those of [`FlaggedOptions`](crate::FlaggedOptions::defaults).
    pub defaults: SessionDetails,
    /// What happens to a session that lacks files.
    pub on_missing: OnMissing,
    /// The measurements that are recorded.
    pub measured: Measured,
}

impl Default for MetadataOptions {
    /// All readers; nothing is measured.
    fn default() -> Self {
        Self {
            sidecars: true,
            readers: ReaderOptions::default(),
            roots: Vec::new(),
            defaults: SessionDetails::default(),
            on_missing: OnMissing::default(),
            measured: Measured::default(),
        }
    }
}

impl MetadataOptions {
    /// Reads nothing, as Python's client: a session has the details of its caller and no others.
    pub fn none() -> Self {
        let readers = ReaderOptions { readers: Vec::new(), wait_for: Vec::new(), ..ReaderOptions::default() };
        Self { sidecars: false, readers, ..Self::default() }
    }

    /// Whether nothing is read.
    pub(crate) fn is_off(&self) -> bool {
        let Self { sidecars, readers, .. } = self;
        !sidecars && readers.readers.is_empty() && readers.expect.is_empty() && readers.wait_for.is_empty()
    }

    /// The data root of a session folder: the innermost, if several contain it.
    pub(crate) fn root_of(&self, folder: &Path) -> Option<&RootMetadata> {
        let around = self.roots.iter().filter(|root| folder.starts_with(&root.path));
        around.max_by_key(|root| root.path.components().count())
    }
}
