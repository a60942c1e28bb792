//! The ground truth: what Alyx must and may hold at the end.
//!
//! What "exactly once" means for a session that is moved, deleted or changed while it runs:
//!
//! - A session is where its flag is. If its flag was created, and neither withdrawn, moved nor deleted, the session is
//!   registered under its name: one session, one record per file, with the MD5 of the file's content, and the flag is
//!   gone.
//! - A flag that was removed before its folder was touched was handled: the session is registered as it was then.
//! - A flag that still existed when its folder was moved or deleted leaves the old name undecided: Alyx may hold the
//!   session, with some of its files, but never two sessions, two records of a file, or content that the file never had.
//! - A flag that vanished during a move was removed under the old name or the new one; the writer flags the new name
//!   again to be sure.
//! - A session that was never flagged under a name is not on Alyx under that name.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use alyx_sandbox::SandboxHandle;
use md5::{Digest, Md5};

/// Subject, date, number.
pub type Name = (String, String, u16);

pub fn md5(content: &str) -> String {
    Md5::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The expected state of all sessions that have had one name.
#[derive(Debug, Default)]
pub struct Truth {
    /// Whether any of them was flagged.
    pub flagged: bool,
    /// The MD5 that each file must have. `None`: the session may be absent.
    must: Option<BTreeMap<String, String>>,
    /// The MD5 of everything that each file ever contained.
    history: BTreeMap<String, BTreeSet<String>>,
}

impl Truth {
    /// Records that a file has this content, or had it for a moment.
    pub fn holds(&mut self, file: &str, content: &str) {
        self.history.entry(file.to_owned()).or_default().insert(md5(content));
        if let Some(must) = &mut self.must {
            must.remove(file);
        }
    }

    /// Records that the flag was handled while the files had this content.
    pub fn is_registered(&mut self, files: &BTreeMap<String, String>) {
        let must = self.must.get_or_insert_default();
        must.extend(files.iter().map(|(file, content)| (file.clone(), md5(content))));
    }
}

/// Compares Alyx with the expected state; returns the differences.
pub fn compare(truths: &HashMap<Name, Truth>, control: &SandboxHandle) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut eids: HashMap<Name, Vec<String>> = HashMap::new();
    for session in control.sessions() {
        let text = |key: &str| session[key].as_str().unwrap_or_default().to_owned();
        let number = session["number"].as_u64().unwrap_or_default() as u16;
        let name = (text("subject"), text("start_time").chars().take(10).collect(), number);
        eids.entry(name).or_default().push(text("url"));
    }
    let mut records: HashMap<String, Vec<(String, String)>> = HashMap::new();
    for dataset in control.datasets() {
        let text = |key: &str| dataset[key].as_str().unwrap_or_default().to_owned();
        let path = format!("{}/{}", text("collection"), text("name"));
        records.entry(text("session")).or_default().push((path, text("hash")));
    }
    for (name, truth) in truths {
        let eids = eids.remove(name).unwrap_or_default();
        match (eids.len(), truth) {
            (0, Truth { must: Some(_), .. }) => wrong.push(format!("{name:?} is not on Alyx")),
            (1, Truth { flagged: false, .. }) => {
                wrong.push(format!("{name:?} is on Alyx and was never flagged"))
            }
            (0 | 1, _) => {}
            (n, _) => wrong.push(format!("{name:?} is on Alyx {n} times")),
        }
        let found: Vec<_> = eids.iter().flat_map(|eid| records.remove(eid).unwrap_or_default()).collect();
        for (file, hash) in &found {
            if found.iter().filter(|(other, _)| other == file).count() > 1 {
                wrong.push(format!("{name:?}: {file} is there more than once"));
            }
            if !truth.history.get(file).is_some_and(|contents| contents.contains(hash)) {
                wrong.push(format!("{name:?}: {file} never had the MD5 {hash}"));
            }
        }
        for (file, hash) in truth.must.iter().flatten() {
            if !found.contains(&(file.clone(), hash.clone())) {
                wrong.push(format!("{name:?}: {file} should have the MD5 {hash}: {found:?}"));
            }
        }
    }
    wrong.extend(eids.keys().map(|name| format!("{name:?} is on Alyx, and no writer created it")));
    wrong
}
