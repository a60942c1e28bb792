//! What commands that register sessions remember, as the daemon does: outcomes, gaps, sessions that were created twice,
//! and when the daemon looks for late files. A daemon that runs is informed, and otherwise only its ledger.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::config::Config;
use crate::daemon::messages::{Answer, Request};
use crate::daemon::outside::control::ask;
use crate::ledger::{
    Access, GapBook, GapChange, GapRow, Ledger, LookChange, LookRow, OutcomeRow, WaitingChange,
};
use alf::SessionPath;
use alyx_registration::flagged::Registered;
use alyx_registration::{AcceptedGaps, Error, Gap, LookPlan, RunContext, Untyped};

/// What is known of gaps, and where it is remembered.
pub(super) struct Remembered {
    book: Mutex<GapBook>,
    ledger: Option<Arc<Ledger>>,
    state_dir: PathBuf,
    roots: Vec<PathBuf>,
    looks: LookPlan,
}

impl Remembered {
    /// In the daemon's ledger, if it exists and this user may write to it. Never creates one: it would not belong to the
    /// service user.
    pub(super) fn open(config: &Config, access: Access) -> Self {
        let ledger = Ledger::open_existing(&config.state_dir, access).unwrap_or_else(|reason| {
            tracing::debug!("what is done now is not recorded: {reason}");
            None
        });
        let book = ledger.as_ref().map(Ledger::gap_book).unwrap_or_default();
        let roots = config.data_roots.iter().map(|root| root.path.clone()).collect();
        let late_files = if config.datasets.register { config.watch.late_files } else { Duration::ZERO };
        let looks = LookPlan::within(late_files);
        let (ledger, state_dir) = (ledger.map(Arc::new), config.state_dir.clone());
        Self { book: Mutex::new(book), ledger, state_dir, roots, looks }
    }

    /// As [`open`](Self::open) to change it, but creates a ledger in a state folder that belongs to this user.
    pub(super) fn open_or_create(config: &Config) -> Self {
        use std::os::unix::fs::MetadataExt;
        let user = rustix::process::geteuid().as_raw();
        let is_own = std::fs::metadata(&config.state_dir).is_ok_and(|folder| folder.uid() == user);
        // One that exists may be in use by a daemon, which alone replaces it.
        if is_own && matches!(Ledger::check(&config.state_dir), Ok(None)) {
            drop(Ledger::open(&config.state_dir));
        }
        Self::open(config, Access::Change)
    }

    /// Where it is remembered.
    pub(super) fn ledger(&self) -> Option<Arc<Ledger>> {
        self.ledger.clone()
    }

    /// A context that keeps checksums and the sessions that were created.
    pub(super) fn context(&self) -> RunContext {
        self.ledger.clone().map(RunContext::remembering).unwrap_or_default()
    }

    /// What was acknowledged of the session in this folder.
    pub(super) fn accepted(&self, folder: &Path) -> AcceptedGaps {
        self.book().accepted(folder)
    }

    fn book(&self) -> MutexGuard<'_, GapBook> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files of a planned session without a dataset type that a run would report.
    pub(super) fn untyped_gap(
        &self,
        folder: &Path,
        gap: Option<&Gap>,
        untyped: &[Untyped],
    ) -> Option<String> {
        let gap = self.book().untyped_gap(self.root_of(folder)?, gap, untyped)?;
        (!self.accepted(folder).accept(&gap)).then(|| gap.to_string())
    }

    /// The data root of a folder, if what is reported in it is remembered: without a ledger, files without a dataset type
    /// would be reported each time.
    fn root_of(&self, folder: &Path) -> Option<&Path> {
        let root = self.roots.iter().find(|root| self.ledger.is_some() && folder.starts_with(root));
        root.map(PathBuf::as_path)
    }

    /// Remembers what a registered session lacks, and when the daemon looks for its late files. Returns what it lacks.
    pub(super) async fn registered(&self, session: &SessionPath, registered: &Registered) -> Option<GapRow> {
        let (name, folder) = (session.to_string(), session.folder());
        let root = self.root_of(folder);
        let (gap, changes) = self.book().judge(&name, folder, registered, root, jiff::Timestamp::now());
        self.change(changes).await;
        self.plan_look(session, registered).await;
        gap
    }

    /// Remembers the gaps that keep a flag, so that they can be acknowledged, and that a session was created twice.
    pub(super) async fn failed(&self, session: &SessionPath, error: &Error) {
        let (folder, now) = (session.folder(), jiff::Timestamp::now());
        let changes = match error {
            Error::Gaps(gap) => vec![self.book().keep(&session.to_string(), folder, "", gap, now)],
            error => self.book().add_created_twice(folder, error, now),
        };
        self.change(changes).await;
    }

    /// Remembers the outcome of an attempt.
    pub(super) async fn ended(&self, row: OutcomeRow) {
        self.write(move |ledger| {
            // A command leaves the flag to the daemon.
            let is_done = row.is_registered() && row.by.is_none();
            let waits = if is_done { WaitingChange::Remove(&row.flag) } else { WaitingChange::Keep };
            ledger.record(&row, waits);
        })
        .await;
    }

    async fn change(&self, changes: Vec<GapChange>) {
        if changes.is_empty() {
            return;
        }
        let (state_dir, ledger) = (self.state_dir.clone(), self.ledger.clone());
        let change = move || {
            // A daemon has its own copy, and writes it to the ledger.
            if let Ok(Some(Answer::Done(_))) = ask(&state_dir, &Request::Gaps(changes.clone())) {
                return;
            }
            // The ledger logs its own errors.
            let _ = ledger.and_then(|ledger| ledger.change_gaps(&changes));
        };
        let _ = tokio::task::spawn_blocking(change).await;
    }

    async fn plan_look(&self, session: &SessionPath, registered: &Registered) {
        let Some(wait) = self.looks.wait(0, alyx_client::jitter()) else { return };
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
        self.write(move |ledger| _ = ledger.change_look(&change)).await;
    }

    /// Writes to the ledger, which logs its own errors.
    async fn write(&self, write: impl FnOnce(&Ledger) + Send + 'static) {
        if let Some(ledger) = self.ledger.clone() {
            let _ = tokio::task::spawn_blocking(move || write(&ledger)).await;
        }
    }
}
