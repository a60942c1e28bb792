//! What Alyx must and may hold at the end.
//!
//! What "exactly once" means for a session that is moved, deleted or changed while it runs:
//!
//! - A session is where its flag is. One whose flag was put, and neither withdrawn, moved nor deleted, is registered
//!   under its name: one session, one record for each file, with the MD5 of what the file holds, and the flag is gone.
//! - A flag that was gone before its folder was touched had done its work: the session is registered as it was then.
//! - A flag that was still there when its folder went leaves its old name unsettled: Alyx may hold the session, with
//!   some of its files. Never two of it, never two records of a file, never a content that the file did not have.
//! - A flag that went in the very moment of a move was removed under the old name or under the new one; the writer
//!   flags the new one once more, as somebody would who is not sure.
//! - A session that was never flagged under a name is not on Alyx under that name.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use alyx_sandbox::SandboxHandle;
use md5::{Digest, Md5};

/// Subject, date, number.
pub type Name = (String, String, u16);

pub fn md5(content: &str) -> String {
    Md5::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is known of all sessions that have had one name.
#[derive(Debug, Default)]
pub struct Truth {
    /// One of them had a flag.
    pub flagged: bool,
    /// The MD5 that a file must have. `None`: the session need not be there.
    must: Option<BTreeMap<String, String>>,
    /// All that the files ever held.
    history: BTreeMap<String, BTreeSet<String>>,
}

impl Truth {
    /// A file holds this now, or did for a moment.
    pub fn holds(&mut self, file: &str, content: &str) {
        self.history.entry(file.to_owned()).or_default().insert(md5(content));
        if let Some(must) = &mut self.must {
            must.remove(file);
        }
    }

    /// The flag has done its work while the files held this.
    pub fn is_registered(&mut self, files: &BTreeMap<String, String>) {
        let must = self.must.get_or_insert_default();
        must.extend(files.iter().map(|(file, content)| (file.clone(), md5(content))));
    }
}

/// Compares Alyx with what is known; returns what is wrong.
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
    wrong.extend(eids.keys().map(|name| format!("{name:?} is on Alyx, and nobody made it")));
    wrong
}
