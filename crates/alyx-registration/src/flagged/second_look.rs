//! The second look: whether a session still holds what was hashed, once it is on Alyx. Pure.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Error;
use crate::files::comparison::PathIndex;
use crate::files::send::Sent;
use crate::files::upload::Owner;
use crate::listing::discover::{FoundFile, FoundFiles, Visitor};
use alf::DatasetPath;

/// Compares the files of a folder with what was hashed, after the moves, while it is listed.
pub(super) struct SecondLook {
    sent: Sent,
    by_path: PathIndex,
    /// Whether each upload was seen, unchanged.
    seen: Vec<bool>,
    /// Those that could not be read are no uploads.
    unread: HashSet<DatasetPath>,
    /// The first that was changed, or is new.
    changed: Option<PathBuf>,
}

impl SecondLook {
    pub(super) fn of(sent: Sent, unread: HashSet<DatasetPath>) -> Self {
        let by_path = PathIndex::of(&sent.uploads, |upload| upload.file.dataset.as_str());
        let seen = vec![false; sent.uploads.len()];
        Self { sent, by_path, seen, unread, changed: None }
    }

    /// What was sent.
    ///
    /// # Errors
    /// [`Error::StillChanging`] if the folder holds anything else now.
    pub(super) fn finish(
        self,
        owner: &Owner,
        first: &FoundFiles,
        last: &FoundFiles,
        wait: Duration,
    ) -> Result<Sent, Error> {
        let changed = |path: &Path| Error::StillChanging { path: path.to_owned(), wait };
        if let Some(path) = &self.changed {
            return Err(changed(path));
        }
        if let Some((gone, _)) = self.sent.uploads.iter().zip(&self.seen).find(|(_, seen)| !**seen) {
            return Err(changed(&owner.path_of(&gone.file.dataset)));
        }
        // A file that is no dataset, or not yet: a recording or a copy goes on.
        let moved = self.sent.uploads.iter().any(|upload| upload.moved_from.is_some());
        match last.activity.newest() {
            Some(newest) if !moved && !last.activity.has_same_files(&first.activity) => Err(changed(newest)),
            _ => Ok(self.sent),
        }
    }
}

impl Visitor for SecondLook {
    fn dataset(&mut self, found: FoundFile) {
        let (uploads, by_path) = (&self.sent.uploads, &self.by_path);
        let place =
            by_path.at(found.dataset.as_str(), uploads, |upload| upload.file.dataset.as_str()).first();
        let place = place.map(|place| *place as usize);
        let upload = place.and_then(|place| self.sent.uploads.get(place));
        match (upload, place.and_then(|place| self.seen.get_mut(place))) {
            (Some(upload), Some(seen)) if upload.sum.stamp == found.stamp => *seen = true,
            (None, _) if self.unread.contains(&found.dataset) => {}
            _ => drop(self.changed.get_or_insert(found.path)),
        }
    }
}
