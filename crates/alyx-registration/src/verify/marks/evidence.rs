//! The evidence for a mark: what the disk says of the copy now, and that the disk is the right one.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::client::RegistrationClient;
use crate::error::Error;
use crate::hashing::disk_steps::DiskStep;
use crate::verify::look::DiskLook;
use crate::verify::marks::target::{Mark, MarkTarget};

/// The identity of the data root, of its marker, and of the folder of the file. Evidence that is equal is of the same disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence(String);

impl From<String> for Evidence {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Evidence {
    /// As it is kept.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A data root, and the file that it holds whenever the right disk is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkRoot {
    /// The data root.
    pub path: PathBuf,
    /// The name of its marker, if it has one.
    pub marker: Option<String>,
}

impl RegistrationClient {
    /// What the disk says of copies of one session now; as the error, why it does not support their marks. A missing file
    /// is one whose name is not in its folder, which can be listed, and for which the file system says `ENOENT`.
    ///
    /// # Errors
    /// Those of the program, and [`Error::Unreadable`] if the disk does not answer.
    pub async fn mark_evidence(
        &self,
        targets: &[MarkTarget],
        roots: &[MarkRoot],
        hangs_after: Duration,
    ) -> Result<Vec<Result<Evidence, String>>, Error> {
        let Some(first) = targets.first() else { return Ok(Vec::new()) };
        let step = self.context().progress.steps.begin("looking at missing files of", &first.folder);
        let (at, targets, roots) = (first.folder.clone(), targets.to_vec(), roots.to_vec());
        let look = move |step: &DiskStep| {
            let mut folders = Folders::default();
            let looked = targets.iter().map(|target| {
                step.touch();
                evidence_of(target, &roots, &mut folders)
            });
            Ok(looked.collect())
        };
        DiskLook { client: self, hangs_after }.blocking(&at, step, look).await
    }
}

/// The folder that was listed last: the files of one folder follow each other.
#[derive(Default)]
struct Folders {
    last: Option<(PathBuf, Result<Listed, String>)>,
}

struct Listed {
    names: HashSet<OsString>,
    identity: String,
}

impl Folders {
    fn listed(&mut self, folder: &Path) -> Result<&Listed, String> {
        if self.last.as_ref().is_none_or(|(last, _)| last != folder) {
            self.last = Some((folder.to_owned(), list(folder)));
        }
        match &self.last {
            Some((_, Ok(listed))) => Ok(listed),
            Some((_, Err(why))) => Err(why.clone()),
            None => Err(String::new()),
        }
    }
}

fn list(folder: &Path) -> Result<Listed, String> {
    let listed = || -> io::Result<Listed> {
        let entries = std::fs::read_dir(folder)?;
        let names = entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<_>>()?;
        Ok(Listed { names, identity: identity(folder)? })
    };
    match listed() {
        Ok(listed) => Ok(listed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!(
            "its folder {folder:?} is not there either; restore it, or, if all of it was deleted on purpose, make the empty folder and run this again"
        )),
        Err(error) => Err(format!("its folder {folder:?} cannot be listed ({error}); check the disk")),
    }
}

fn identity(path: &Path) -> io::Result<String> {
    let metadata = std::fs::metadata(path)?;
    Ok(format!("{}:{}", metadata.dev(), metadata.ino()))
}

fn evidence_of(target: &MarkTarget, roots: &[MarkRoot], folders: &mut Folders) -> Result<Evidence, String> {
    let Some(root) = roots.iter().find(|root| target.folder.starts_with(&root.path)) else {
        return Err("it is in no data root; add its root to data_roots".to_owned());
    };
    let own = match identity(&root.path) {
        Ok(own) => own,
        Err(error) => {
            return Err(format!("the data root {:?} cannot be used ({error}); mount its disk", root.path));
        }
    };
    let marker = match root.marker.as_ref().map(|marker| (marker, identity(&root.path.join(marker)))) {
        Some((_, Ok(marker))) => marker,
        Some((marker, Err(error))) => {
            return Err(format!(
                "the data root {:?} has no file {marker:?} ({error}); mount its disk",
                root.path
            ));
        }
        None => "-".to_owned(),
    };
    // The name comes from the server.
    let is_inside = Path::new(&target.path).components().all(|part| matches!(part, Component::Normal(_)));
    let file = target.folder.join(&target.path);
    let (Some(folder), Some(name), true) = (file.parent(), file.file_name(), is_inside) else {
        return Err("its path is none inside a session; correct it on Alyx".to_owned());
    };
    let listed = folders.listed(folder)?;
    let seen = std::fs::symlink_metadata(&file);
    match (target.mark, seen) {
        (Mark::Missing, Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            if listed.names.contains(name) {
                return Err("its folder lists it, and the disk does not find it; check the disk".to_owned());
            }
        }
        (Mark::BadCopy, Ok(metadata)) if metadata.is_file() => {}
        (Mark::Missing, Ok(_)) => return Err("it is there again".to_owned()),
        (_, Ok(_)) => return Err("it is no regular file any more; run this again".to_owned()),
        (_, Err(error)) => {
            return Err(format!("the disk does not say whether it is there ({error}); check it"));
        }
    }
    Ok(Evidence(format!("root {own} marker {marker} folder {}", listed.identity)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_needs_its_folder_the_root_and_the_marker() {
        let parent = tempfile::tempdir().unwrap();
        let (root, folder) = (parent.path().join("data"), parent.path().join("data/KS014/2024-05-01/001"));
        std::fs::create_dir_all(folder.join("alf")).unwrap();
        std::fs::write(root.join("mounted"), "").unwrap();
        std::fs::write(folder.join("alf/there.npy"), "").unwrap();
        std::os::unix::fs::symlink("nowhere", folder.join("alf/broken.npy")).unwrap();
        let look = |mark, path: &str, marker: Option<&str>| {
            let (eid, session, repository) = Default::default();
            let target =
                MarkTarget { mark, eid, session, folder: folder.clone(), path: path.into(), repository };
            let roots = [MarkRoot { path: root.clone(), marker: marker.map(str::to_owned) }];
            evidence_of(&target, &roots, &mut Folders::default())
        };
        let missing = |path: &str| look(Mark::Missing, path, Some("mounted"));
        let before = missing("alf/x.npy").unwrap();
        assert_eq!(missing("alf/y.npy").unwrap(), before, "the same disk and folder");
        assert_ne!(look(Mark::Missing, "alf/x.npy", None).unwrap(), before);
        for (path, why) in [
            ("alf/there.npy", "there again"),
            ("alf/broken.npy", "there again"),
            ("raw/x.npy", "not there either"),
            ("alf/there.npy/x", "cannot be listed"),
            ("../x.npy", "none inside a session"),
            (&*format!("alf/{}", "x".repeat(300)), "does not say"),
        ] {
            let said = missing(path).unwrap_err();
            assert!(said.contains(why), "{path}: {said}");
        }
        assert!(look(Mark::BadCopy, "alf/there.npy", Some("mounted")).is_ok());
        assert!(look(Mark::BadCopy, "alf/x.npy", Some("mounted")).is_err());
        // Another marker is another disk.
        std::fs::write(root.join("other"), "").unwrap();
        std::fs::rename(root.join("other"), root.join("mounted")).unwrap();
        assert_ne!(missing("alf/x.npy").unwrap(), before);
        std::fs::remove_file(root.join("mounted")).unwrap();
        assert!(missing("alf/x.npy").unwrap_err().contains("has no file"));
    }
}
