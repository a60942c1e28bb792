//! What is remembered of a verification: which files were read when, in the ledger if there is one.

#![expect(clippy::disallowed_methods, reason = "reads the clock, works on the disk")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::ledger::{Ledger, Verified, VerifiedRow};
use alyx_registration::{Checksum, EarlierRead, Error, FileStamp, Finding, HeldCopy, verdict};

/// The ledger, or nothing.
#[derive(Clone)]
pub(super) struct Memory(pub(super) Option<Arc<Ledger>>);

/// The files of a session: those to read, what was verified longest ago first, and how many were verified recently.
pub(super) struct Planned {
    pub(super) to_read: Vec<HeldCopy>,
    pub(super) recent: u64,
}

impl Memory {
    async fn with<T: Default + Send + 'static>(&self, work: impl FnOnce(&Ledger) -> T + Send + 'static) -> T {
        let Some(ledger) = self.0.clone() else { return T::default() };
        tokio::task::spawn_blocking(move || work(&ledger)).await.unwrap_or_default()
    }

    /// When each session folder was verified.
    pub(super) async fn sessions(&self) -> HashMap<PathBuf, Timestamp> {
        self.with(Ledger::verified_sessions).await
    }

    /// What of a session is to be read. `since`: what was verified later, and has not changed since, is not.
    pub(super) async fn plan(
        &self,
        folders: Vec<PathBuf>,
        copies: Vec<HeldCopy>,
        since: Option<Timestamp>,
    ) -> Planned {
        let all = copies.clone();
        let planned = self.with(move |ledger| Some(plan(ledger, &folders, copies, since)));
        planned.await.unwrap_or(Planned { to_read: all, recent: 0 })
    }

    /// The verdicts on files, each with what is to be remembered.
    ///
    /// # Errors
    /// [`Error::Internal`]: without verdicts nothing may look well.
    pub(super) async fn judge(
        &self,
        read: Vec<(HeldCopy, Checksum)>,
    ) -> Result<Vec<(HeldCopy, Option<Finding>, VerifiedRow)>, Error> {
        let ledger = self.0.clone();
        let judge = move || {
            let judged = read.into_iter().filter_map(|(copy, read)| {
                let is_equal = copy.is_content(read.md5);
                let ledger = ledger.as_ref().filter(|_| !is_equal);
                let earlier = ledger.map(|l| l.earlier_reads(&copy.file, &read.stamp)).unwrap_or_default();
                let finding = verdict(&copy, &read, &earlier);
                let row = VerifiedRow {
                    path: copy.file.clone(),
                    read: EarlierRead { stamp: read.stamp, md5: read.md5? },
                    at: Timestamp::now(),
                    result: finding.as_ref().map_or(Verified::Equal, |finding| Verified::Not(finding.kind)),
                };
                let before = ledger.and_then(|ledger| ledger.verified(&copy.file));
                let row = row.after(before.as_ref(), |md5| copy.is_content(Some(md5)));
                Some((copy, finding, row))
            });
            judged.collect()
        };
        let judged = tokio::task::spawn_blocking(judge).await;
        judged.map_err(|error| Error::Internal(format!("comparing what was read: {error}")))
    }

    /// Remembers what was read.
    pub(super) async fn keep(&self, rows: Vec<VerifiedRow>) {
        if !rows.is_empty() {
            self.with(move |ledger| ledger.keep_verified(&rows)).await;
        }
    }

    /// Files of a session folder were looked at. `all`: to the last one.
    pub(super) async fn session(&self, folder: &Path, files: Vec<PathBuf>, all: bool) {
        let folder = folder.to_owned();
        self.with(move |ledger| ledger.keep_verified_session(&folder, &files, all, Timestamp::now())).await;
    }
}

/// What of a session is to be read, what was verified longest ago first. Blocks.
fn plan(ledger: &Ledger, folders: &[PathBuf], copies: Vec<HeldCopy>, since: Option<Timestamp>) -> Planned {
    let known: HashMap<PathBuf, VerifiedRow> =
        folders.iter().flat_map(|folder| ledger.verified_below(folder)).collect();
    let is_recent = |copy: &HeldCopy| {
        let (Some(row), Some(since)) = (known.get(&copy.file), since) else { return false };
        let stamp = std::fs::metadata(&copy.file).map(|metadata| FileStamp::of(&metadata));
        copy.is_content(Some(row.read.md5)) && stamp.is_ok_and(|stamp| row.is_good(since, &stamp))
    };
    let (recent, mut to_read): (Vec<_>, Vec<_>) = copies.into_iter().partition(is_recent);
    to_read.sort_by_key(|copy| known.get(&copy.file).map(|row| row.at));
    Planned { to_read, recent: recent.len() as u64 }
}
