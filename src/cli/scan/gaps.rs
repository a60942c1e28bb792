//! What the scanned sessions lack, and when the daemon looks for their late files: remembered in the ledger.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::config::Config;
use crate::ledger::{GapBook, GapChange, GapRow, Ledger, LookChange, LookRow};
use alf::SessionPath;
use alyx_registration::flagged::Registered;
use alyx_registration::{AcceptedGaps, Gap, LookPlan};

/// What was known of gaps, and where it is remembered.
pub(super) struct Gaps {
    book: Mutex<GapBook>,
    ledger: Option<Arc<Ledger>>,
    pub(super) state_dir: PathBuf,
    roots: Vec<PathBuf>,
    looks: LookPlan,
}

impl Gaps {
    pub(super) fn of(config: &Config, ledger: Option<&Arc<Ledger>>) -> Self {
        let book = ledger.map(|ledger| ledger.gap_book()).unwrap_or_default();
        let roots = config.data_roots.iter().map(|root| root.path.clone()).collect();
        let late_files = if config.datasets.register { config.watch.late_files } else { Duration::ZERO };
        let looks = LookPlan::within(late_files);
        let (ledger, state_dir) = (ledger.cloned(), config.state_dir.clone());
        Self { book: Mutex::new(book), ledger, state_dir, roots, looks }
    }

    /// What was acknowledged of the session in this folder.
    pub(super) fn accepted(&self, folder: &Path) -> AcceptedGaps {
        self.book().accepted(folder)
    }

    fn book(&self) -> MutexGuard<'_, GapBook> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers gaps that keep a flag, so that they can be acknowledged.
    pub(super) async fn keep(&self, session: String, folder: &Path, eid: &str, gap: &Gap) {
        let change = self.book().keep(&session, folder, eid, gap, jiff::Timestamp::now());
        self.remember(vec![change]).await;
    }

    async fn remember(&self, changes: Vec<GapChange>) {
        if let Some(ledger) = self.ledger.clone().filter(|_| !changes.is_empty()) {
            // The ledger logs its own errors.
            let _ = tokio::task::spawn_blocking(move || ledger.change_gaps(&changes)).await;
        }
    }

    /// What a registered session lacks; remembers it.
    pub(super) async fn judge(
        &self,
        session: String,
        folder: &Path,
        registered: &Registered,
    ) -> Option<GapRow> {
        // Without a ledger, files without a dataset type would be reported each time.
        let root = self.roots.iter().find(|root| self.ledger.is_some() && folder.starts_with(root));
        let root = root.map(PathBuf::as_path);
        let (gap, changes) = self.book().judge(&session, folder, registered, root, jiff::Timestamp::now());
        self.remember(changes).await;
        gap
    }

    /// Remembers when the daemon looks for late files.
    pub(super) async fn plan_look(&self, session: &SessionPath, registered: &Registered) {
        let (Some(ledger), Some(wait)) = (self.ledger.clone(), self.looks.wait(0, alyx_client::jitter()))
        else {
            return;
        };
        let due = jiff::SignedDuration::try_from(wait).ok();
        let due = due.and_then(|wait| jiff::Timestamp::now().checked_add(wait).ok());
        let row = LookRow {
            folder: session.folder().to_owned(),
            session: session.to_string(),
            eid: registered.eid.clone(),
            done: 0,
            due: due.unwrap_or(jiff::Timestamp::MAX),
        };
        let change = LookChange::Set(row, Some(registered.snapshot.clone()));
        // The ledger logs its own errors.
        let _ = tokio::task::spawn_blocking(move || ledger.change_look(&change)).await;
    }
}
