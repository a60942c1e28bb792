//! A session reference: how a caller names a session on Alyx.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::error::Error;
use alf::SessionPath;
use alyx_client::{SessionRecord, SessionSummary};

/// A session, named by its folder, address, eid or record (Python: the argument of `ONE.to_eid`).
///
/// ```
/// use alyx_registration::SessionReference;
///
/// let eid = "25153d98-699c-4cf2-a73c-73e0ff6eb985";
/// let by_eid = SessionReference::parse(eid).unwrap();
/// assert_eq!(SessionReference::parse(&format!("https://alyx.example.org/sessions/{eid}")).unwrap(), by_eid);
/// let by_path = SessionReference::parse("/data/KS014/2024-05-01/001/alf").unwrap();
/// assert_eq!(by_path, SessionReference::Folder("/data/KS014/2024-05-01/001/alf".into()));
/// assert!(SessionReference::parse("NaN").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionReference {
    /// The session's folder, or anything inside it.
    Folder(PathBuf),
    /// Its UUID.
    Eid(Uuid),
}

impl SessionReference {
    /// Parses an eid, the address of a record, or a path.
    ///
    /// # Errors
    /// [`Error::Invalid`] for anything else.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        // A path may contain an eid, and an address may look like a path.
        let is_address = text.starts_with("http://") || text.starts_with("https://");
        if !is_address && session_of(Path::new(text)).is_ok() {
            return Ok(Self::Folder(text.into()));
        }
        let last = text.trim_end_matches('/').rsplit('/').next().unwrap_or(text);
        let eid = if is_address { last } else { text };
        Uuid::try_parse(eid).map(Self::Eid).map_err(|_| {
            Error::Invalid(format!(
                "{text:?} does not name a session; give its folder, its eid, or its address on Alyx"
            ))
        })
    }
}

impl From<Uuid> for SessionReference {
    fn from(eid: Uuid) -> Self {
        Self::Eid(eid)
    }
}

impl From<&Path> for SessionReference {
    fn from(folder: &Path) -> Self {
        Self::Folder(folder.to_owned())
    }
}

impl From<PathBuf> for SessionReference {
    fn from(folder: PathBuf) -> Self {
        Self::Folder(folder)
    }
}

impl TryFrom<&SessionRecord> for SessionReference {
    type Error = Error;

    fn try_from(record: &SessionRecord) -> Result<Self, Error> {
        Self::parse(record.eid())
    }
}

impl TryFrom<&SessionSummary> for SessionReference {
    type Error = Error;

    fn try_from(record: &SessionSummary) -> Result<Self, Error> {
        Self::parse(record.eid())
    }
}

/// The session of a session folder, or of a path inside one.
pub(crate) fn session_of(path: &Path) -> Result<SessionPath, Error> {
    // As for a file inside it, so that the session folder itself is accepted.
    Ok(SessionPath::containing(&path.join("x"))?.0)
}
