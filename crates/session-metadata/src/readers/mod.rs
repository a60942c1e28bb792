//! Readers of the files that a rig writes: one file each, and one line in [`READERS`].

pub mod iblrig;
pub mod open_ephys;
pub mod spikeglx;

use alf::SessionPath;
use jiff::civil::Date;
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

impl Subject<'_> {
    /// What is wrong where the rig's files contradict the folder; `None` if a sidecar confirms the folder. `what`: as in
    /// `accept`.
    pub(crate) fn contradiction(&self, what: &str, rig: &str, folder: &str) -> Option<String> {
        let is_accepted = self.accept.iter().any(|accepted| accepted == what);
        (!is_accepted).then(|| {
            format!(
                "the rig wrote {rig}, but the folder {} says {folder}; move the files to the right folder, or, if the \
                 folder is right, confirm it with the line `accept: [{what}]` in its alyx-session.yaml",
                self.session
            )
        })
    }

    /// The same for the day on which something began. `may_be_next`: it may begin past midnight.
    pub(crate) fn other_day(&self, day: Date, may_be_next: bool) -> Option<String> {
        let folder = self.session.date();
        let fits = day == folder || may_be_next && folder.tomorrow().ok() == Some(day);
        if fits { None } else { self.contradiction("date", &day.to_string(), &folder.to_string()) }
    }
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
