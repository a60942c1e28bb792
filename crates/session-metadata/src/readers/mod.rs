//! Readers of the files that a rig writes: one file each, and one line in [`READERS`].

pub mod iblrig;
pub mod open_ephys;
pub mod spikeglx;

use alf::SessionPath;
use jiff::tz::TimeZone;

use crate::files::SessionFiles;
use crate::layer::Layer;
use crate::problem::{Missing, Problem};

/// What a reader is given.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The session, by its folder.
    pub session: &'a SessionPath,
    /// Its files.
    pub files: &'a dyn SessionFiles,
    /// The rig's zone.
    pub zone: &'a TimeZone,
    /// What a sidecar confirms although the rig's files say otherwise: `subject`, `date`, `number`.
    pub accept: &'a [String],
}

/// What a reader found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// The values.
    pub layer: Layer,
    /// What keeps the session from being registered.
    pub problems: Vec<Problem>,
    /// What the session still waits for.
    pub missing: Vec<Missing>,
    /// What is worth a warning.
    pub notes: Vec<String>,
}

/// A reader.
#[derive(Clone, Copy)]
pub struct Reader {
    /// The name, by which the configuration switches it off.
    pub name: &'static str,
    /// The files that it reads, for people.
    pub files: &'static str,
    /// Whether it reads a file of this path, relative to the session folder.
    pub is_read: fn(&str) -> bool,
    /// Reads the files of a session; without files of its kind the result is empty.
    pub read: fn(Subject<'_>) -> Reading,
}

/// All readers, the strongest first.
pub const READERS: [Reader; 3] = [
    Reader {
        name: "iblrig",
        files: "the task settings, trials and experiment description of an IBL rig",
        is_read: iblrig::is_read,
        read: iblrig::read,
    },
    Reader {
        name: "spikeglx",
        files: "the .meta files of SpikeGLX",
        is_read: spikeglx::is_meta,
        read: spikeglx::read,
    },
    Reader {
        name: "open_ephys",
        files: "the settings.xml of Open Ephys",
        is_read: open_ephys::is_settings,
        read: open_ephys::read,
    },
];
