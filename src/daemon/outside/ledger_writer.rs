//! The ledger writer: writes events into the ledger in order, on a thread of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::ledger::{FollowRow, GapChange, Ledger, LookChange, OutcomeRow, WaitingChange, WaitingRow};

/// How long the last entries may take when the daemon stops.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// An entry for the ledger.
#[derive(Debug)]
pub(crate) enum LedgerEntry {
    /// An attempt ended; with the row of its flag if that still waits.
    Outcome(Box<OutcomeRow>, Option<Box<WaitingRow>>),
    /// A flag waits.
    Waiting(Box<WaitingRow>),
    /// A flag no longer waits.
    NotWaiting(PathBuf),
    /// Forget a session. The answer is the number of rows deleted.
    Forget(String, oneshot::Sender<Option<usize>>),
    /// Changes of the gap book.
    Gaps(Vec<GapChange>),
    /// A change of the looks for late files.
    Look(LookChange),
    /// The copies of a session are waited for.
    Follow(Box<FollowRow>),
    /// A fact, by name and value.
    Fact(&'static str, String),
}

/// The writer thread.
#[derive(Debug)]
pub(crate) struct LedgerWriter {
    entries: Sender<LedgerEntry>,
    thread: JoinHandle<()>,
}

impl LedgerWriter {
    /// Starts the writer. `None` if no thread can be started: then the ledger is not in use.
    pub(crate) fn open(ledger: Arc<Ledger>) -> Option<Self> {
        let (entries, lines) = channel();
        let thread = std::thread::Builder::new().name("ledger".to_owned());
        match thread.spawn(move || write(&ledger, &lines)) {
            Ok(thread) => Some(Self { entries, thread }),
            Err(error) => {
                tracing::warn!(
                    "the ledger is not in use in this run: its thread cannot be started ({error})"
                );
                None
            }
        }
    }

    pub(crate) fn write(&self, entry: LedgerEntry) {
        // The thread ends only when this value is dropped.
        let _ = self.entries.send(entry);
    }

    /// Writes the remaining entries and stops.
    pub(crate) async fn close(self) {
        let Self { entries, thread } = self;
        drop(entries);
        let ended = tokio::task::spawn_blocking(move || thread.join());
        if tokio::time::timeout(CLOSE_WITHIN, ended).await.is_err() {
            tracing::warn!("the ledger is slow; the last attempts may not be recorded");
        }
    }
}

fn write(ledger: &Ledger, lines: &Receiver<LedgerEntry>) {
    while let Ok(entry) = lines.recv() {
        match entry {
            LedgerEntry::Outcome(outcome, Some(waiting)) => {
                ledger.record(&outcome, WaitingChange::Set(&waiting))
            }
            LedgerEntry::Outcome(outcome, None) => {
                ledger.record(&outcome, WaitingChange::Remove(&outcome.flag))
            }
            LedgerEntry::Waiting(waiting) => ledger.update_waiting(WaitingChange::Set(&waiting)),
            LedgerEntry::NotWaiting(flag) => ledger.update_waiting(WaitingChange::Remove(&flag)),
            LedgerEntry::Forget(session, answer) => drop(answer.send(ledger.forget(&session))),
            LedgerEntry::Gaps(changes) => drop(ledger.change_gaps(&changes)),
            LedgerEntry::Look(change) => drop(ledger.change_look(&change)),
            LedgerEntry::Follow(row) => ledger.set_follow(&row),
            LedgerEntry::Fact(name, value) => ledger.set_fact(name, &value),
        }
    }
}
