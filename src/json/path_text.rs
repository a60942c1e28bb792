//! A path as JSON: exactly as it is on disk.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A path. As JSON it is a string or, if it is not UTF-8, the list of its bytes, as `journalctl -o json` prints them.
///
/// ```
/// use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};
/// use alyx_registrar::json::path_text::PathText;
///
/// let json = |name: &[u8]| serde_json::to_string(&PathText::from(Path::new(OsStr::from_bytes(name)))).unwrap();
/// assert_eq!(json(b"a\x1b\n"), r#""a\u001b\n""#);
/// assert_eq!(json(b"a\xff"), "[97,255]");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathText(PathBuf);

impl From<&Path> for PathText {
    fn from(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

impl From<&PathBuf> for PathText {
    fn from(path: &PathBuf) -> Self {
        Self(path.clone())
    }
}

impl Serialize for PathText {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0.to_str() {
            Some(text) => to.serialize_str(text),
            None => to.collect_seq(self.0.as_os_str().as_bytes()),
        }
    }
}

impl<'de> Deserialize<'de> for PathText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            Bytes(Vec<u8>),
        }
        Ok(Self(match Form::deserialize(from)? {
            Form::Text(text) => text.into(),
            Form::Bytes(bytes) => OsString::from_vec(bytes).into(),
        }))
    }
}

/// A protected file that was moved, or would be, into a revision folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MovedPath {
    /// From where.
    pub from: PathText,
    /// To where.
    pub to: PathText,
}

impl From<&(PathBuf, PathBuf)> for MovedPath {
    fn from((from, to): &(PathBuf, PathBuf)) -> Self {
        Self { from: from.into(), to: to.into() }
    }
}
