//! The layout of a data root: which folders matter, and what to check after a file system event.
//!
//! Pure: nothing here touches the disk. An event is only a hint: a [`Check`] names what to look at.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use notify::event::{AccessKind, AccessMode, CreateKind, Event, EventKind, ModifyKind, RenameMode};

use alf::session_path::{parse_date_folder, parse_number_folder};

/// The default number of folder levels above the dates. `<lab>/Subjects/<subject>` needs three.
pub const DEFAULT_MAX_DEPTH: u8 = 8;

/// Where sessions and flags are below one root.
///
/// A session is a folder named by 1 to 3 digits inside a folder named by a real date. The dates may be at any level of
/// the root, up to `max_depth`. Nothing below a session belongs to the layout, so a raw data folder with 100,000 files
/// costs nothing. Hidden folders and those that file systems create do not belong to it either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The data root.
    pub root: PathBuf,
    /// File names that are flags, such as `create_me.flag`.
    pub flags: Vec<String>,
    /// How many levels of folders above the dates are scanned; the root's own children are level 1.
    pub max_depth: u8,
}

/// The role of a folder, by its path below the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The root, a lab, `Subjects`, a subject: this many levels below the root.
    Above(u8),
    /// A real date: its children are sessions.
    Date,
    /// Written like a date, but the day does not exist. Its children are not sessions.
    NoSuchDate,
    /// A session: nothing below it is scanned, except its flags.
    Session,
}

/// Something to check on disk, because of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// A flag of a session may have been created, changed or removed.
    Flag(PathBuf),
    /// A file with a flag's name appeared outside the session folders.
    MisplacedFlag(PathBuf),
    /// A folder (or a link to one) may have appeared or vanished, with everything in it.
    Folder(PathBuf),
    /// The permissions of a folder may have changed.
    Permissions(PathBuf),
    /// Something happened to the root itself.
    Root,
    /// Events were lost: scan everything.
    Everything,
}

impl Layout {
    /// The role of the root: usually [`Place::Above`], but a date or a session may be configured as a root.
    pub fn root_place(&self) -> Place {
        let name = |path: &Path| path.file_name().and_then(OsStr::to_str).map(str::to_owned);
        let is_date = |path: &Path| name(path).is_some_and(|name| parse_date_folder(&name).is_some());
        if is_date(&self.root) {
            Place::Date
        } else if name(&self.root).is_some_and(|name| parse_number_folder(&name).is_some())
            && self.root.parent().is_some_and(is_date)
        {
            Place::Session
        } else {
            Place::Above(0)
        }
    }

    /// The role of a folder, from its parent and its name. `None` for a folder outside the layout.
    pub fn child(&self, parent: Place, name: &OsStr) -> Option<Place> {
        let text = name.to_str();
        match parent {
            Place::Above(depth) => {
                if let Some(text) = text {
                    if parse_date_folder(text).is_some() {
                        return Some(Place::Date);
                    }
                    if has_date_format(text) {
                        return Some(Place::NoSuchDate);
                    }
                }
                let below = depth.saturating_add(1);
                (below <= self.max_depth && !is_ignored(name)).then_some(Place::Above(below))
            }
            Place::Date => text.and_then(parse_number_folder).map(|_| Place::Session),
            Place::NoSuchDate | Place::Session => None,
        }
    }

    /// The role of a folder, from its path. `None` if it is outside the layout or the root.
    pub fn place(&self, folder: &Path) -> Option<Place> {
        let below = folder.strip_prefix(&self.root).ok()?;
        below.components().try_fold(self.root_place(), |place, component| match component {
            Component::Normal(name) => self.child(place, name),
            _ => None,
        })
    }

    /// Whether this is the name of a flag.
    pub fn is_flag(&self, name: &OsStr) -> bool {
        self.flags.iter().any(|flag| name == flag.as_str())
    }

    /// What to check after a file system event. Empty for irrelevant events: files that are opened, read or written, and
    /// everything below the sessions.
    pub fn checks(&self, event: &Event) -> Vec<Check> {
        if event.need_rescan() {
            return vec![Check::Everything];
        }
        // A rename inside the watched folders was already reported as its two halves.
        if event.kind == EventKind::Modify(ModifyKind::Name(RenameMode::Both)) {
            return Vec::new();
        }
        event.paths.iter().filter_map(|path| self.check_of(event.kind, path)).collect()
    }

    fn check_of(&self, kind: EventKind, path: &Path) -> Option<Check> {
        let is_noise =
            matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write));
        if is_noise {
            return None;
        }
        if path == self.root {
            return Some(match kind {
                EventKind::Modify(ModifyKind::Metadata(_)) => Check::Permissions(path.to_owned()),
                _ => Check::Root,
            });
        }
        let (folder, name) = (path.parent()?, path.file_name()?);
        let parent = self.place(folder)?;
        // A folder with a flag's name is checked as a flag, which reports what is wrong with it.
        if self.is_flag(name) {
            let path = path.to_owned();
            return Some(match parent {
                Place::Session => Check::Flag(path),
                _ => Check::MisplacedFlag(path),
            });
        }
        self.child(parent, name)?;
        match kind {
            // A link to a folder is created as a file.
            EventKind::Create(
                CreateKind::Folder | CreateKind::File | CreateKind::Any | CreateKind::Other,
            )
            | EventKind::Remove(_)
            | EventKind::Modify(ModifyKind::Name(_)) => Some(Check::Folder(path.to_owned())),
            EventKind::Modify(ModifyKind::Metadata(_)) => Some(Check::Permissions(path.to_owned())),
            _ => None,
        }
    }
}

/// `NNNN-NN-NN`.
fn has_date_format(name: &str) -> bool {
    name.len() == 10
        && name
            .bytes()
            .enumerate()
            .all(|(at, byte)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() })
}

/// Hidden folders, and those that file systems, network drives and recycle bins create: no subject has such a name,
/// and the service user usually cannot read them.
fn is_ignored(name: &OsStr) -> bool {
    let first = name.as_encoded_bytes().first();
    matches!(first, Some(b'.' | b'$' | b'@' | b'#'))
        || name == "lost+found"
        || name == "System Volume Information"
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{DataChange, Flag, MetadataKind, RemoveKind};

    fn layout(root: &str) -> Layout {
        Layout { root: root.into(), flags: vec!["create_me.flag".into(), "extra.flag".into()], max_depth: 3 }
    }

    fn check(kind: EventKind, path: &str) -> Option<Check> {
        let mut checks = layout("/data").checks(&Event::new(kind).add_path(path.into()));
        assert!(checks.len() < 2);
        checks.pop()
    }

    const CREATED: EventKind = EventKind::Create(CreateKind::Folder);

    #[test]
    fn sessions_are_found_with_and_without_labs_above_them() {
        let layout = layout("/data");
        for session in
            ["/data/KS014/2024-05-01/001", "/data/lab/Subjects/KS014/2024-05-01/1", "/data/2024-05-01/999"]
        {
            assert_eq!(layout.place(Path::new(session)), Some(Place::Session), "{session}");
        }
    }

    #[test]
    fn what_is_below_a_session_hidden_too_deep_or_elsewhere_does_not_belong_to_the_layout() {
        let layout = layout("/data");
        for path in [
            "/data/KS014/2024-05-01/001/raw_ephys_data",
            "/data/KS014/2024-05-01/0001",
            "/data/KS014/2024-05-01/alf",
            "/data/.trash/2024-05-01",
            "/data/lost+found",
            "/data/a/b/c/d",
            "/else/KS014",
        ] {
            assert_eq!(layout.place(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn a_day_that_does_not_exist_holds_no_sessions() {
        let layout = layout("/data");
        assert_eq!(layout.place(Path::new("/data/KS014/2024-02-30")), Some(Place::NoSuchDate));
        assert_eq!(layout.place(Path::new("/data/KS014/2024-02-30/001")), None);
    }

    #[test]
    fn a_root_may_be_a_date_or_a_session() {
        assert_eq!(layout("/data/KS014/2024-05-01").root_place(), Place::Date);
        assert_eq!(layout("/data/KS014/2024-05-01/001").root_place(), Place::Session);
        assert_eq!(layout("/data/001").root_place(), Place::Above(0));
        assert_eq!(layout("/").root_place(), Place::Above(0));
    }

    #[test]
    fn every_event_that_creates_or_removes_a_flag_causes_a_check() {
        let flag = "/data/KS014/2024-05-01/001/create_me.flag";
        for kind in [
            EventKind::Create(CreateKind::File),
            EventKind::Modify(ModifyKind::Name(RenameMode::To)),
            EventKind::Modify(ModifyKind::Name(RenameMode::From)),
            EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)),
            EventKind::Modify(ModifyKind::Data(DataChange::Any)),
            EventKind::Access(AccessKind::Close(AccessMode::Write)),
            EventKind::Remove(RemoveKind::File),
        ] {
            assert_eq!(check(kind, flag), Some(Check::Flag(flag.into())), "{kind:?}");
        }
        assert_eq!(check(EventKind::Access(AccessKind::Open(AccessMode::Any)), flag), None);
    }

    #[test]
    fn acquisition_inside_a_session_asks_for_nothing() {
        for path in ["/data/KS014/2024-05-01/001/raw", "/data/KS014/2024-05-01/001/_x_a.b.npy"] {
            assert_eq!(check(CREATED, path), None, "{path}");
            assert_eq!(check(EventKind::Modify(ModifyKind::Data(DataChange::Any)), path), None, "{path}");
        }
    }

    #[test]
    fn folders_of_the_layout_that_appear_or_vanish_are_checked() {
        for path in ["/data/KS014", "/data/KS014/2024-05-01", "/data/KS014/2024-05-01/001"] {
            for kind in [
                CREATED,
                EventKind::Create(CreateKind::File),
                EventKind::Remove(RemoveKind::Folder),
                EventKind::Modify(ModifyKind::Name(RenameMode::To)),
                EventKind::Modify(ModifyKind::Name(RenameMode::From)),
            ] {
                assert_eq!(check(kind, path), Some(Check::Folder(path.into())), "{kind:?} {path}");
            }
        }
    }

    #[test]
    fn a_flag_outside_the_sessions_is_reported_as_misplaced() {
        let path = "/data/KS014/create_me.flag";
        let created = EventKind::Create(CreateKind::File);
        assert_eq!(check(created, path), Some(Check::MisplacedFlag(path.into())));
    }

    #[test]
    fn events_about_the_root_and_lost_events_cause_checks() {
        assert_eq!(check(EventKind::Remove(RemoveKind::Folder), "/data"), Some(Check::Root));
        let lost = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert_eq!(layout("/data").checks(&lost), [Check::Everything]);
    }
}
