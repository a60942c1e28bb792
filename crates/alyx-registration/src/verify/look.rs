//! A look at the folders of a session: which datasets they hold, and what the disk says of others. No file is opened,
//! except the sidecars.

#![expect(clippy::disallowed_methods, reason = "reads the clock, works on the disk")]

use std::borrow::Cow;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::client::RegistrationClient;
use crate::client::options::FlaggedOptions;
use crate::error::Error;
use crate::flag::{FlagContent, FlagFile};
use crate::flagged::listing::exclusion;
use crate::hashing::disk_steps::DiskStep;
use crate::listing::discover::{FoundFile, FoundFiles, Visitor};
use crate::listing::left_out::LeftOutReason;
use crate::metadata::sources::Beside;
use crate::verify::disk::{DiskFiles, Presence};
use alf::SessionPath;

/// How often a call to the file system is looked at that makes no progress.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a file must have been unchanged before its session may get a flag.
const SETTLES_AFTER: Duration = Duration::from_hours(1);

impl Visitor for DiskFiles {
    fn dataset(&mut self, found: FoundFile) {
        self.is_recent |= is_recent(found.stamp.modified.0);
        self.datasets.insert(found.dataset.as_str().to_owned(), found.size);
    }
}

/// Whether a time, in seconds since 1970, lies less than [`SETTLES_AFTER`] ago, or ahead: clocks differ.
fn is_recent(modified: i64) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs().abs_diff(modified.max(0).unsigned_abs()) < SETTLES_AFTER.as_secs()
}

/// Looks at session folders, with little patience for disks that hang.
pub(crate) struct DiskLook<'a> {
    pub(crate) client: &'a RegistrationClient,
    /// For how long a call to the file system may make no progress.
    pub(crate) hangs_after: Duration,
}

impl DiskLook<'_> {
    /// The options for a session's files: those of its data root, and what its sidecars say.
    pub(crate) async fn options_in<'o>(
        &self,
        session: &SessionPath,
        options: &'o FlaggedOptions,
    ) -> Result<Cow<'o, FlaggedOptions>, Error> {
        let options = options.for_folder(session.folder());
        let beside = Beside { defaults: options.defaults.clone(), ..Beside::default() };
        let sources = self.client.metadata_sources(session, beside);
        let sources = self.answered(session.folder(), sources).await?;
        Ok(sources.map(|sources| Cow::Owned(sources.applied_to(&options))).unwrap_or(options))
    }

    /// The flags of a session folder. One that cannot be used selects nothing.
    pub(crate) async fn flags(&self, session: &SessionPath) -> Result<Vec<FlagContent>, Error> {
        let flags: Vec<PathBuf> =
            self.client.options().flags.iter().map(|name| session.folder().join(name)).collect();
        let is_list_only = !self.client.options().metadata.sidecars;
        let step = self.client.context().progress.steps.begin("looking for flags in", session.folder());
        self.blocking(session.folder(), step, move |_| {
            let there = flags.into_iter().filter(|flag| std::fs::symlink_metadata(flag).is_ok());
            let contents =
                there.map(|flag| match FlagFile::load(flag).map(|flag| flag.map(|f| f.content())) {
                    Ok(Some(Ok(content))) => content.without_sidecar(is_list_only),
                    _ => FlagContent::Only(Default::default()),
                });
            Ok(contents.collect())
        })
        .await
    }

    /// Lists a folder, and looks up the paths that are none of its datasets. `None`: there is no such folder.
    ///
    /// # Errors
    /// Those of the program only: what the disk does not say is in the result.
    pub(crate) async fn look_at(
        &self,
        session: &SessionPath,
        options: &FlaggedOptions,
        paths: &Arc<[String]>,
    ) -> Result<Option<DiskFiles>, Error> {
        let folder = session.folder().to_owned();
        let unreadable = |why: String| {
            let unreadable = vec![(String::new(), why)];
            Ok(Some(DiskFiles { folders: 1, unreadable, ..DiskFiles::default() }))
        };
        let (opened, step) = (folder.clone(), self.client.context().progress.steps.begin("listing", &folder));
        let is_there = self.blocking(&folder, step, move |_| match std::fs::read_dir(&opened) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::Unreadable { path: opened, reason: error.to_string() }),
        });
        match is_there.await {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(Error::Unreadable { reason, .. }) => return unreadable(reason),
            Err(other) => return Err(other),
        }
        let exclude = exclusion(&FlagContent::Everything, options);
        let no_signs = [].into();
        let visit = self.client.visit_datasets(session, None, &no_signs, exclude, DiskFiles::default());
        let (found, mut disk) = match self.answered(&folder, visit).await {
            Ok(visited) => visited,
            Err(Error::Unreadable { reason, .. }) => return unreadable(reason),
            // Another look shows whether it is gone.
            Err(error @ Error::Vanished { .. }) => return unreadable(error.to_string()),
            Err(other) => return Err(other),
        };
        disk.folders = 1;
        disk.folder = folder.display().to_string();
        add_others(&mut disk, found);
        let (paths, step) =
            (Arc::clone(paths), self.client.context().progress.steps.begin("looking up files in", &folder));
        let at = folder.clone();
        let look_up = move |step: &DiskStep| {
            for path in paths.iter().filter(|path| !disk.datasets.contains_key(*path)).collect::<Vec<_>>() {
                step.touch();
                disk.look_up(path.clone(), presence(&at, path));
            }
            Ok(disk)
        };
        match self.blocking(&folder, step, look_up).await {
            Ok(disk) => Ok(Some(disk)),
            Err(Error::Unreadable { reason, .. }) => unreadable(reason),
            Err(other) => Err(other),
        }
    }

    /// Whether a session has a folder in the usual places of these data roots.
    pub(crate) async fn has_new_folder(&self, session: &str, roots: &[PathBuf]) -> Result<bool, Error> {
        let Some((day, number)) = session.rsplit_once('/') else { return Ok(false) };
        let short = number.trim_start_matches('0');
        let numbers = [number.to_owned(), format!("{short:0>2}"), short.to_owned()];
        let sessions: Vec<String> = numbers.iter().map(|number| format!("{day}/{number}")).collect();
        for root in roots {
            let step = self.client.context().progress.steps.begin("looking for a session in", root);
            let (at, sessions) = (root.clone(), sessions.clone());
            let find = move |_: &DiskStep| Ok(holds_session(&at, &sessions));
            if self.blocking(root, step, find).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Runs work on a blocking thread, until the disk hangs.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        folder: &Path,
        step: DiskStep,
        work: impl FnOnce(&DiskStep) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let task = tokio::task::spawn_blocking(move || work(&step));
        let ended = async { task.await.map_err(|e| Error::Internal(format!("looking at a session: {e}")))? };
        self.answered(folder, ended).await
    }

    /// Waits for work in a folder, until its disk hangs.
    ///
    /// # Errors
    /// Those of the work; [`Error::Unreadable`] if the disk does not answer.
    pub(crate) async fn answered<T>(
        &self,
        folder: &Path,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::pin!(work);
        loop {
            if let Ok(done) = tokio::time::timeout(LOOK_EVERY.min(self.hangs_after), &mut work).await {
                return done;
            }
            let hanging =
                self.client.context().progress.steps.without_progress(self.hangs_after, Instant::now());
            if hanging.iter().any(|step| step.path.starts_with(folder)) {
                let reason = format!("the disk has not answered for {} s", self.hangs_after.as_secs());
                return Err(Error::Unreadable { path: folder.to_owned(), reason });
            }
        }
    }
}

/// Whether a root holds one of these sessions, as `subject/date/number` or below `lab/Subjects`.
fn holds_session(root: &Path, sessions: &[String]) -> bool {
    let labs = std::fs::read_dir(root).into_iter().flatten().flatten();
    let labs = labs.map(|lab| lab.path().join("Subjects"));
    let mut above = std::iter::once(root.to_owned()).chain(labs);
    above.any(|above| sessions.iter().any(|session| above.join(session).is_dir()))
}

/// The files that are no datasets, and what cannot be listed.
fn add_others(disk: &mut DiskFiles, found: FoundFiles) {
    for file in found.left_out {
        match file.reason {
            LeftOutReason::Unreadable(why) => {
                disk.unreadable.push((file.path.to_string_lossy().into_owned(), why));
            }
            // A hidden folder stands for all that is in it.
            LeftOutReason::Hidden => {}
            _ => disk.others.extend(file.path.into_os_string().into_string()),
        }
    }
}

/// What the disk says of a path in a session. Only `ENOENT` means that it is absent.
fn presence(folder: &Path, path: &str) -> Presence {
    let unreadable = |why: &str| Presence::Unreadable(why.to_owned());
    // The name comes from the server.
    if path.is_empty() || Path::new(path).components().any(|part| !matches!(part, Component::Normal(_))) {
        return unreadable("no path inside a session");
    }
    let whole = folder.join(path);
    match std::fs::metadata(&whole) {
        Ok(metadata) if metadata.is_file() => Presence::File(metadata.len()),
        Ok(metadata) if metadata.is_dir() => unreadable("a folder has its name"),
        Ok(_) => unreadable("no regular file"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match std::fs::symlink_metadata(&whole) {
            Ok(_) => unreadable("a broken link"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => broken_folder(folder, path),
            Err(error) => unreadable(&error.to_string()),
        },
        Err(error) => unreadable(&error.to_string()),
    }
}

/// Absent, unless a folder on the way to it is a broken link: then its disk is not mounted.
fn broken_folder(folder: &Path, path: &str) -> Presence {
    let above = Path::new(path).ancestors().skip(1).map(|part| folder.join(part));
    let is_broken = |folder: PathBuf| {
        std::fs::symlink_metadata(&folder).is_ok_and(|own| own.is_symlink())
            && std::fs::metadata(&folder).is_err()
    };
    match above.into_iter().any(is_broken) {
        true => Presence::Unreadable("a broken link leads to its folder".to_owned()),
        false => Presence::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_a_name_that_is_in_no_folder_is_absent() {
        let session = tempfile::tempdir().unwrap();
        let at = |path: &str| session.path().join(path);
        std::fs::create_dir_all(at("alf")).unwrap();
        std::fs::write(at("alf/a.times.npy"), "abc").unwrap();
        symlink(at("nowhere"), at("alf/broken.times.npy")).unwrap();
        symlink(at("nowhere"), at("raw")).unwrap();
        symlink(at("alf"), at("linked")).unwrap();
        let of = |path: &str| presence(session.path(), path);
        assert_eq!(of("alf/a.times.npy"), Presence::File(3));
        assert_eq!(of("linked/a.times.npy"), Presence::File(3));
        assert_eq!(of("alf/b.times.npy"), Presence::Absent);
        assert_eq!(of("other/b.times.npy"), Presence::Absent);
        for path in
            ["alf", "alf/a.times.npy/x", "alf/broken.times.npy", "raw/a.times.npy", "../x", "/etc/passwd", ""]
        {
            assert!(matches!(of(path), Presence::Unreadable(_)), "{path}");
        }
        let long = "x".repeat(300);
        assert!(matches!(of(&long), Presence::Unreadable(_)), "ENAMETOOLONG");
    }
}
