//! A dataset path: where a file is inside its session.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use crate::DatasetName;
use crate::characters::is_label;

/// The longest collection that Alyx stores, in characters.
const LONGEST_COLLECTION: usize = 255;

/// The path of a file relative to its session: `[collection/][#revision#/]file`.
///
/// Invariants: Alyx stores every folder as it is here (it silently cuts a path at the first character that it does
/// not accept); there is at most one revision, directly above the file. A file name that Alyx rejects only after it
/// has stored half of the record is refused too. The file name need not be ALF: a list of files may name others.
///
/// ```
/// use alf::DatasetPath;
/// use std::path::Path;
///
/// let path = DatasetPath::parse(Path::new("alf/probe00/#2024-05-01#/spikes.times.npy")).unwrap();
/// assert_eq!(path.collection(), Some("alf/probe00"));
/// assert_eq!(path.revision(), Some("2024-05-01"));
/// assert_eq!(path.file_name(), "spikes.times.npy");
/// assert_eq!(path.name().unwrap().object(), "spikes");
///
/// for refused in [
///     "my probe/spikes.times.npy",
///     "#v1#/alf/spikes.times.npy",
///     "#v1#/#v2#/spikes.times.npy",
///     "/spikes.times.npy",
///     "../spikes.times.npy",
///     "",
/// ] {
///     assert!(DatasetPath::parse(Path::new(refused)).is_err(), "{refused}");
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DatasetPath {
    // One allocation and two numbers: a session may have 100,000 of them.
    path: Box<str>,
    /// Length of the collection at the start of `path`, in bytes; 0 without a collection.
    collection: u32,
    /// Length of the revision's name, in bytes; 0 without a revision.
    revision: u32,
}

/// Why a relative path cannot be sent to Alyx.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatasetPathError {
    /// The path has no component.
    #[error("the path of a file inside its session is empty: name a file")]
    Empty,
    /// Not relative to the session.
    #[error("{0:?} is an absolute path: give the path relative to the session folder")]
    Absolute(PathBuf),
    /// `..` among the folders.
    #[error("{0:?} holds \"..\": give the path without it, inside the session folder")]
    ParentFolder(PathBuf),
    /// A component is not UTF-8.
    #[error("{0:?} has a name that is not valid UTF-8: rename it")]
    NotUtf8(PathBuf),
    /// Alyx would cut the collection at this folder.
    #[error(
        "{path:?}: Alyx cannot store the folder name {name:?} (letters, digits, '_', '-' and '.'): rename the folder"
    )]
    Folder {
        /// The path as given.
        path: PathBuf,
        /// The folder in question.
        name: String,
    },
    /// A folder that begins or ends with `#` but is not a revision.
    #[error(
        "{path:?}: {name:?} is not a revision folder (#name#, of letters, digits, '_', '-' and '.'): rename the folder"
    )]
    Revision {
        /// The path as given.
        path: PathBuf,
        /// The folder in question.
        name: String,
    },
    /// Two revision folders.
    #[error("{0:?} has more than one revision folder (#name#): keep one, directly above the file")]
    SeveralRevisions(PathBuf),
    /// The revision is not the last folder.
    #[error("{path:?}: the folder {name:?} is below a revision folder: move the revision folder below it")]
    BelowRevision {
        /// The path as given.
        path: PathBuf,
        /// The first folder below the revision.
        name: String,
    },
    /// The collection does not fit into Alyx's field.
    #[error("{0:?}: the folders are longer than the 255 characters that Alyx stores: use shorter names")]
    TooLong(PathBuf),
    /// The file name holds a control character, `\` or `:`.
    #[error(
        "{path:?}: Alyx refuses the file name {name:?} (no '\\', no ':', no control characters): rename the file"
    )]
    FileName {
        /// The path as given.
        path: PathBuf,
        /// The file name in question.
        name: String,
    },
}

impl DatasetPath {
    /// Parses a path relative to the session folder. Doubled slashes and `.` mean nothing and are dropped.
    ///
    /// # Errors
    /// [`DatasetPathError`] says which component is wrong.
    pub fn parse(relative: &Path) -> Result<Self, DatasetPathError> {
        let mut names = Vec::new();
        for component in relative.components() {
            match component {
                Component::Normal(name) => {
                    names.push(name.to_str().ok_or_else(|| DatasetPathError::NotUtf8(relative.to_owned()))?);
                }
                Component::CurDir => {}
                Component::ParentDir => return Err(DatasetPathError::ParentFolder(relative.to_owned())),
                Component::RootDir | Component::Prefix(_) => {
                    return Err(DatasetPathError::Absolute(relative.to_owned()));
                }
            }
        }
        let [folders @ .., file_name] = names.as_slice() else {
            return Err(DatasetPathError::Empty);
        };
        let (collection, revision) = split_folders(relative, folders)?;
        if file_name.chars().any(|c| c == '\\' || c == ':' || c.is_control()) {
            return Err(DatasetPathError::FileName {
                path: relative.to_owned(),
                name: (*file_name).to_owned(),
            });
        }
        Ok(Self::from_parts(&collection, revision, file_name))
    }

    fn from_parts(collection: &str, revision: Option<&str>, file_name: &str) -> Self {
        let separator = if collection.is_empty() { "" } else { "/" };
        let (open, name, close) = revision.map_or(("", "", ""), |name| ("#", name, "#/"));
        // In one piece of the right size: shrinking it leaves holes.
        let path = [collection, separator, open, name, close, file_name].concat();
        let length = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX);
        let (collection, revision) = (length(collection), revision.map_or(0, length));
        Self { path: path.into(), collection, revision }
    }

    /// As sent in `filenames`: relative to the session, with `/`.
    pub fn as_str(&self) -> &str {
        &self.path
    }

    /// The file name alone.
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The collection, if any.
    pub fn collection(&self) -> Option<&str> {
        self.path.get(..self.collection as usize).filter(|collection| !collection.is_empty())
    }

    /// The revision, if any, without `#`.
    pub fn revision(&self) -> Option<&str> {
        let folder = self.path.rsplit('/').nth(1)?;
        folder.get(1..=self.revision as usize).filter(|revision| !revision.is_empty())
    }

    /// The parsed ALF name, or `None` if the file name is not ALF.
    pub fn name(&self) -> Option<DatasetName> {
        DatasetName::parse(self.file_name()).ok()
    }

    /// Whether the file or a folder above it begins with `.`, as macOS leftovers (`._spikes.times.npy`) do.
    pub fn is_hidden(&self) -> bool {
        self.path.split('/').any(|name| name.starts_with('.'))
    }

    /// The same file in another revision folder, which replaces its own, if any.
    ///
    /// # Errors
    /// [`DatasetPathError::Revision`] if `revision` is not a valid name.
    ///
    /// ```
    /// use alf::DatasetPath;
    /// use std::path::Path;
    ///
    /// let path = DatasetPath::parse(Path::new("alf/#a#/spikes.times.npy")).unwrap();
    /// assert_eq!(path.with_revision("2024-05-01").unwrap().as_str(), "alf/#2024-05-01#/spikes.times.npy");
    /// assert!(path.with_revision("../..").is_err());
    /// ```
    pub fn with_revision(&self, revision: &str) -> Result<Self, DatasetPathError> {
        if !is_label(revision) {
            return Err(DatasetPathError::Revision {
                path: (&*self.path).into(),
                name: format!("#{revision}#"),
            });
        }
        let collection = self.collection().unwrap_or_default();
        Ok(Self::from_parts(collection, Some(revision), self.file_name()))
    }
}

impl fmt::Display for DatasetPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

impl AsRef<Path> for DatasetPath {
    fn as_ref(&self) -> &Path {
        Path::new(&*self.path)
    }
}

/// The collection (empty for none) and the revision.
fn split_folders<'a>(
    path: &Path,
    folders: &[&'a str],
) -> Result<(String, Option<&'a str>), DatasetPathError> {
    let mut collection: Vec<&str> = Vec::new();
    let mut revision = None;
    for &name in folders {
        if name.starts_with('#') || name.ends_with('#') {
            let inner = name.strip_prefix('#').and_then(|name| name.strip_suffix('#'));
            let Some(inner) = inner.filter(|inner| is_label(inner)) else {
                return Err(DatasetPathError::Revision { path: path.to_owned(), name: name.to_owned() });
            };
            if revision.replace(inner).is_some() {
                return Err(DatasetPathError::SeveralRevisions(path.to_owned()));
            }
        } else if !is_label(name) {
            return Err(DatasetPathError::Folder { path: path.to_owned(), name: name.to_owned() });
        } else if revision.is_some() {
            return Err(DatasetPathError::BelowRevision { path: path.to_owned(), name: name.to_owned() });
        } else {
            collection.push(name);
        }
    }
    let collection = collection.join("/");
    if collection.chars().count() > LONGEST_COLLECTION {
        return Err(DatasetPathError::TooLong(path.to_owned()));
    }
    Ok((collection, revision))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use proptest::prelude::*;

    use super::*;

    fn parse(path: &str) -> Result<DatasetPath, DatasetPathError> {
        DatasetPath::parse(Path::new(path))
    }

    #[test]
    fn a_folder_that_alyx_would_cut_is_refused() {
        for name in ["my probe", "probe+1", "probe(1)", "a,b", "a:b", "a\\b", "a\u{301}", "a#b", "a\nb"] {
            assert_eq!(
                parse(&format!("alf/{name}/spikes.times.npy")),
                Err(DatasetPathError::Folder {
                    path: format!("alf/{name}/spikes.times.npy").into(),
                    name: name.into()
                })
            );
        }
        for name in ["probe-00", "probe.00", "Probe_00", "prüfung", "..."] {
            let path = format!("alf/{name}/spikes.times.npy");
            assert_eq!(parse(&path).unwrap().collection(), Some(format!("alf/{name}").as_str()));
        }
    }

    #[test]
    fn a_revision_is_one_whole_folder_directly_above_the_file() {
        assert_eq!(parse("#v1.0-b#/a.b.c").unwrap().revision(), Some("v1.0-b"));
        assert_eq!(parse("#v1#/a.b.c").unwrap().collection(), None);
        for name in ["#", "##", "#v1", "v1#", "#v 1#", "#v#1#", "#a/"] {
            let result = parse(&format!("alf/{name}/a.b.c"));
            assert!(matches!(result, Err(DatasetPathError::Revision { .. })), "{name} {result:?}");
        }
        assert!(matches!(parse("#a#/#b#/a.b.c"), Err(DatasetPathError::SeveralRevisions(_))));
        assert!(matches!(parse("#a#/alf/#b#/a.b.c"), Err(DatasetPathError::BelowRevision { .. })));
        assert!(matches!(parse("#a#/alf/a.b.c"), Err(DatasetPathError::BelowRevision { .. })));
        // A file may be called so.
        assert_eq!(parse("#v1#").unwrap().revision(), None);
    }

    #[test]
    fn only_a_path_inside_the_session_is_accepted() {
        assert!(matches!(parse("/alf/a.b.c"), Err(DatasetPathError::Absolute(_))));
        assert!(matches!(parse("alf/../../a.b.c"), Err(DatasetPathError::ParentFolder(_))));
        assert!(matches!(parse(".."), Err(DatasetPathError::ParentFolder(_))));
        assert_eq!(parse(""), Err(DatasetPathError::Empty));
        assert_eq!(parse("."), Err(DatasetPathError::Empty));
        let latin1 = Path::new(OsStr::from_bytes(b"alf/pr\xfcfung/a.b.c"));
        assert!(matches!(DatasetPath::parse(latin1), Err(DatasetPathError::NotUtf8(_))));
    }

    #[test]
    fn a_file_name_need_not_be_alf_but_alyx_must_accept_it() {
        for name in ["notes.txt", "my spikes.times.npy", "#x", "a,b.npy", "._spikes.times.npy"] {
            let path = parse(&format!("alf/{name}")).unwrap();
            assert_eq!((path.name(), path.file_name()), (None, name));
        }
        for name in ["a\\b.c.d", "a:b.c.d", "a.b.c\n", "a.b\u{7f}.c"] {
            assert!(
                matches!(parse(&format!("alf/{name}")), Err(DatasetPathError::FileName { .. })),
                "{name:?}"
            );
        }
    }

    #[test]
    fn collections_longer_than_alyx_stores_are_refused() {
        let fits = ["x".repeat(127), "x".repeat(127)].join("/");
        assert!(parse(&format!("{fits}/a.b.c")).is_ok());
        assert!(matches!(parse(&format!("{fits}x/a.b.c")), Err(DatasetPathError::TooLong(_))));
    }

    #[test]
    fn hidden_files_and_folders_are_known_as_such() {
        assert!(parse("._spikes.times.npy").unwrap().is_hidden());
        assert!(parse("alf/.phy/spikes.times.npy").unwrap().is_hidden());
        assert!(!parse("alf/#.x#/spikes.times.npy").unwrap().is_hidden());
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        let step = ["rename", "give", "keep one", "move", "use shorter", "name a file"];
        let long = format!("{}/a.b.c", "x".repeat(300));
        for path in ["", "/a", "../a", "a b/c", "#a/b", "#a#/#b#/c", "#a#/b/c", "a:b", &long] {
            let message = parse(path).unwrap_err().to_string();
            assert!(step.iter().any(|step| message.contains(step)), "{message}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = DatasetPath::parse(Path::new(OsStr::from_bytes(&bytes)));
        }

        #[test]
        fn what_is_parsed_is_sent_unchanged(text in "([a-z .#_é-]{1,4}/){0,3}[a-zA-Z .#_é-]{1,8}") {
            if let Ok(path) = parse(&text) {
                let tidy: Vec<&str> = text.split('/').filter(|part| *part != ".").collect();
                prop_assert_eq!(path.as_str(), tidy.join("/"));
                prop_assert_eq!(parse(path.as_str()).unwrap(), path.clone());
                let revision = path.revision().map(|r| format!("#{r}#"));
                let parts: Vec<&str> =
                    path.collection().into_iter().chain(revision.as_deref()).chain([path.file_name()]).collect();
                prop_assert_eq!(path.as_str(), parts.join("/"));
            }
        }
    }
}
