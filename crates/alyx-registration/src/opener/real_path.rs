//! Real paths: what a configured folder is without links, asked in time. Its disk may be dead.

#![expect(clippy::disallowed_methods, reason = "reads the clock, works on the disk")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the disk of a folder may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

static FOLDERS: LazyLock<Folders> = LazyLock::new(Folders::default);

/// The folders that were asked for.
#[derive(Default)]
struct Folders {
    known: Mutex<HashMap<PathBuf, Known>>,
    answered: Condvar,
}

#[derive(Default)]
struct Known {
    /// As last answered.
    real: Option<PathBuf>,
    /// Since when a thread waits for an answer.
    asked: Option<Instant>,
}

/// A folder without links; as it was before, if its disk does not answer in time. `None`: it was never there.
///
/// A file that was just found in the folder has made its disk answer, so a folder without an answer is not above it.
pub(crate) fn real_path(folder: &Path) -> Option<PathBuf> {
    FOLDERS.ask(folder, PATIENCE, |folder| std::fs::canonicalize(folder).ok())
}

impl Folders {
    /// One thread at most waits for each folder.
    fn ask(
        &'static self,
        folder: &Path,
        patience: Duration,
        resolve: impl FnOnce(&Path) -> Option<PathBuf> + Send + 'static,
    ) -> Option<PathBuf> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = known.entry(folder.to_owned()).or_default();
        let began = entry.asked;
        let asked = *entry.asked.get_or_insert_with(Instant::now);
        if began.is_none() {
            let own = folder.to_owned();
            let ask = move || {
                let real = resolve(&own);
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(own, Known { real, asked: None });
                self.answered.notify_all();
            };
            if std::thread::Builder::new().name("real path".into()).spawn(ask).is_err() {
                entry.asked = None;
            }
        }
        let is_asked = |known: &mut HashMap<PathBuf, Known>| {
            known.get(folder).is_some_and(|known| known.asked == Some(asked))
        };
        let rest = patience.saturating_sub(asked.elapsed());
        let (known, _) =
            self.answered.wait_timeout_while(known, rest, is_asked).unwrap_or_else(PoisonError::into_inner);
        known.get(folder)?.real.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_folder_whose_disk_does_not_answer_is_as_it_was_and_asked_by_one_thread() {
        let folders: &'static Folders = Box::leak(Box::default());
        let (folder, minute) = (Path::new("/a"), Duration::from_secs(60));
        assert_eq!(folders.ask(folder, minute, |_| None), None);
        assert_eq!(folders.ask(folder, minute, |_| Some("/b".into())), Some("/b".into()));
        let (answers, answer) = channel();
        let resolve = move |_: &Path| answer.recv().ok();
        assert_eq!(folders.ask(folder, Duration::ZERO, resolve), Some("/b".into()));
        for _ in 0..2 {
            let second = |_: &Path| panic!("a second thread");
            assert_eq!(folders.ask(folder, Duration::ZERO, second), Some("/b".into()));
        }
        answers.send("/c".into()).unwrap();
        // The answer to whichever thread asks.
        assert_eq!(folders.ask(folder, minute, |_| Some("/c".into())), Some("/c".into()));
    }
}
