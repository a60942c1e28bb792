//! Completeness: the datasets of a session that cannot be registered, and whether the session is complete without them.
//! One decision, for a run and for its plan. Pure.

use std::collections::HashSet;

use crate::client::options::OnRefused;
use crate::error::Error;
use crate::files::upload::{FileToRegister, Upload};
use crate::hashing::checksum::Checksum;
use crate::listing::left_out::{LeftOut, LeftOutReason};
use alf::DatasetPath;
use alyx_client::{self, ProtectedFile};

/// The files of a session, as far as they could be read.
#[derive(Debug, Default)]
pub(crate) struct HashedFiles {
    pub(crate) uploads: Vec<Upload>,
    /// A line for each file that could not be read.
    pub(crate) unreadable: Vec<String>,
    /// These files.
    pub(crate) unread: HashSet<DatasetPath>,
}

impl HashedFiles {
    /// Takes the result of reading a file in.
    ///
    /// # Errors
    /// A file that is still changing or has vanished postpones the whole session: the recording is not finished.
    pub(crate) fn add(&mut self, file: FileToRegister, sum: Result<Checksum, Error>) -> Result<(), Error> {
        match sum {
            Ok(sum) => self.uploads.push(Upload::new(file, sum)),
            Err(Error::Unreadable { reason, .. }) => {
                self.unreadable.push(unreadable(&file.dataset, reason));
                self.unread.insert(file.dataset);
            }
            Err(other) => return Err(other),
        }
        Ok(())
    }
}

/// The line of a dataset that cannot be read.
pub(crate) fn unreadable(dataset: &DatasetPath, reason: String) -> String {
    format!("{}: {}", dataset.as_str(), LeftOutReason::Unreadable(reason))
}

/// The datasets of a session that are not registered although they look like datasets.
#[derive(Debug, Default)]
pub(crate) struct Unregistered {
    /// Datasets without which the session is never complete, one line each: the permissions are wrong, not the file.
    required: Vec<String>,
    /// Datasets that may be refused, one line each.
    refused: Vec<String>,
    /// Datasets that have changed and are protected on Alyx.
    protected: Vec<ProtectedFile>,
}

impl Unregistered {
    /// Collects the files that could not be read, those that were left out, and those that Alyx did not accept.
    pub(crate) fn of(
        unreadable: Vec<String>,
        left_out: &[LeftOut],
        not_accepted: Vec<String>,
        protected: Vec<ProtectedFile>,
    ) -> Self {
        let line = |f: &LeftOut| {
            format!("{}: {}", alyx_client::text::printable(&f.path.to_string_lossy()), f.reason)
        };
        let mut unregistered = Self { required: unreadable, refused: not_accepted, protected };
        for file in left_out.iter().filter(|f| f.reason.is_problem()) {
            match file.reason {
                LeftOutReason::Unreadable(_) => unregistered.required.push(line(file)),
                _ => unregistered.refused.push(line(file)),
            }
        }
        unregistered
    }

    /// The datasets without which the session is accepted as complete, one line each. `registered`: the number of the
    /// others.
    ///
    /// # Errors
    /// If it is not complete: an operator has to repair the files.
    pub(crate) fn accept(self, registered: usize, on_refused: OnRefused) -> Result<Vec<String>, Error> {
        let Self { mut required, mut refused, protected: files } = self;
        let only_protected = required.is_empty() && refused.is_empty() && !files.is_empty();
        if only_protected && on_refused == OnRefused::KeepFlag {
            return Err(alyx_client::Error::Protected { details: files.clone(), files }.into());
        }
        refused.extend(files.iter().map(protected));
        if required.is_empty() && (refused.is_empty() || on_refused == OnRefused::Finish) {
            return Ok(refused);
        }
        required.extend(refused);
        Err(Error::FilesRefused { registered, refused: required })
    }
}

fn protected(file: &ProtectedFile) -> String {
    format!("{}: has changed and is protected on Alyx", file.file)
}
