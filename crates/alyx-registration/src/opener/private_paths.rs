//! Private paths: the program's own secrets, configuration and state, which are never opened as data.
//!
//! Registering a checksum publishes it: a link to a password file in a session folder would show the password's size
//! and MD5 on Alyx. A link, a chain of links, a hard link and a folder reached by another path are all equivalent here:
//! what counts is the file, not its name.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::fs::{File, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// Why a private file is refused, and what to do.
pub(crate) const IS_PRIVATE: &str =
    "leads to this program's own configuration, secrets or state; remove the link";

/// How deep a private folder is searched for links.
const DEEPEST: usize = 4;

/// Files, and folders with everything below them, that are never opened as data.
///
/// Each is looked up at each check, and nothing is cached: a token that is written again is a new file of the same name,
/// and a link that appears in a private folder makes another file private. That takes some 35 µs, as long as opening the
/// file takes otherwise. A path that does not exist is ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrivatePaths(Vec<PathBuf>);

impl FromIterator<PathBuf> for PrivatePaths {
    fn from_iter<I: IntoIterator<Item = PathBuf>>(paths: I) -> Self {
        Self(paths.into_iter().collect())
    }
}

impl PrivatePaths {
    /// The private path that contains an open file. Blocks.
    ///
    /// Checks the file that is read afterwards, so that no link can change in between.
    pub(crate) fn find_open(&self, file: &File, metadata: &Metadata) -> Option<&Path> {
        if self.0.is_empty() {
            return None;
        }
        let real = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok();
        self.matching(real.as_deref(), metadata)
    }

    /// The private path to which a path leads. Blocks.
    pub(crate) fn find_by_path(&self, path: &Path, metadata: &Metadata) -> Option<&Path> {
        if self.0.is_empty() {
            return None;
        }
        self.matching(std::fs::canonicalize(path).ok().as_deref(), metadata)
    }

    fn matching(&self, real: Option<&Path>, metadata: &Metadata) -> Option<&Path> {
        let same = |other: &Metadata| (other.dev(), other.ino()) == (metadata.dev(), metadata.ino());
        let holds = |private: &&PathBuf| {
            let Ok(own) = std::fs::metadata(private) else { return false };
            if same(&own) {
                return true;
            }
            let is_below = || {
                let folder = std::fs::canonicalize(private).ok();
                folder.is_some_and(|folder| real.is_some_and(|real| real.starts_with(folder)))
            };
            // A hard link to a file in the folder, or a file elsewhere to which a link in the folder leads.
            let is_linked = || {
                let entries = WalkDir::new(private).max_depth(DEEPEST).into_iter().filter_map(Result::ok);
                let mut asked = entries.filter(|entry| metadata.nlink() > 1 || entry.path_is_symlink());
                asked.any(|entry| std::fs::metadata(entry.path()).is_ok_and(|other| same(&other)))
            };
            own.is_dir() && (is_below() || is_linked())
        };
        self.0.iter().find(holds).map(PathBuf::as_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_recognised_under_every_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("state/deep")).unwrap();
        for name in ["password", "state/deep/ledger", "data"] {
            std::fs::write(at(name), "x").unwrap();
        }
        let link = |target: PathBuf, name: &str| std::os::unix::fs::symlink(target, at(name)).unwrap();
        link(at("password"), "link");
        link(at("link"), "chain");
        link(at("state"), "other-state");
        std::fs::hard_link(at("password"), at("hard")).unwrap();
        std::fs::hard_link(at("state/deep/ledger"), at("hard-ledger")).unwrap();
        std::fs::hard_link(at("data"), at("hard-data")).unwrap();
        let private: PrivatePaths = [at("password"), at("state"), at("missing")].into_iter().collect();
        let is_private = |name: &str| {
            let file = File::open(at(name)).unwrap();
            let metadata = file.metadata().unwrap();
            let by_file = private.find_open(&file, &metadata).is_some();
            assert_eq!(by_file, private.find_by_path(&at(name), &metadata).is_some(), "{name}");
            by_file
        };
        for name in [
            "password",
            "link",
            "chain",
            "hard",
            "state/deep/ledger",
            "hard-ledger",
            "other-state/deep/ledger",
        ] {
            assert!(is_private(name), "{name}");
        }
        for name in ["data", "hard-data"] {
            assert!(!is_private(name), "{name}");
        }
        // Written again under the same name, like a token.
        std::fs::remove_file(at("password")).unwrap();
        std::fs::write(at("password"), "y").unwrap();
        assert!(is_private("link"));
    }

    #[test]
    fn a_secret_to_which_a_private_folder_links_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("one")).unwrap();
        std::fs::write(at("secret"), "x").unwrap();
        std::os::unix::fs::symlink(at("secret"), at("one/.alyx")).unwrap();
        let private: PrivatePaths = [at("one")].into_iter().collect();
        let file = File::open(at("secret")).unwrap();
        assert!(private.find_open(&file, &file.metadata().unwrap()).is_some());
    }
}
