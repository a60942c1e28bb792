//! The comparison of one session: what Alyx holds with what the disk says. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::verify::disk::{DiskFiles, Presence};
use crate::verify::finding::{Finding, FindingKind, Seen};
use crate::verify::held::{HeldDataset, Place};
use crate::verify::totals::AuditTotals;
use alf::spelling::folded;

/// What the configuration expects of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    /// The repository that it is in, if that has a name.
    pub(crate) repository: Option<String>,
    /// The path of its folder, as it is sent to Alyx.
    pub(crate) folder: String,
    /// Whether its files are registered.
    pub(crate) has_files: bool,
    /// Whether registering says that the files exist in this repository.
    pub(crate) exists: bool,
    /// The size up to which files get a hash.
    pub(crate) max_md5_size: Option<u64>,
}

/// Compares a session that has a record and a folder.
pub(crate) fn compare(
    held: &[HeldDataset],
    disk: &DiskFiles,
    expected: &Expected,
) -> (Vec<Finding>, AuditTotals) {
    let mut comparison = Comparison::new(held, disk, expected);
    let mut by_path: BTreeMap<&str, Vec<&HeldDataset>> = BTreeMap::new();
    for dataset in held {
        by_path.entry(&dataset.path).or_default().push(dataset);
    }
    for (path, records) in &by_path {
        comparison.dataset(path, records);
    }
    comparison.unknown(held.is_empty());
    comparison.finish()
}

struct Comparison<'a> {
    disk: &'a DiskFiles,
    expected: &'a Expected,
    /// Datasets on disk that no dataset on Alyx has claimed.
    unclaimed: BTreeSet<&'a str>,
    /// Files that no dataset on Alyx has by its exact path, by their folded one.
    spellings: HashMap<String, Vec<&'a str>>,
    /// How many datasets Alyx has in another folder of this repository.
    other_folders: BTreeMap<String, u64>,
    findings: Vec<Finding>,
    totals: AuditTotals,
}

impl<'a> Comparison<'a> {
    fn new(held: &'a [HeldDataset], disk: &'a DiskFiles, expected: &'a Expected) -> Self {
        let known: BTreeSet<&str> = held.iter().map(|dataset| dataset.path.as_str()).collect();
        let on_disk = disk.datasets.keys().chain(&disk.others).map(String::as_str);
        let mut spellings: HashMap<String, Vec<&str>> = HashMap::new();
        for path in on_disk.filter(|path| !known.contains(path)) {
            spellings.entry(folded(path)).or_default().push(path);
        }
        let unclaimed = disk.datasets.keys().map(String::as_str).filter(|path| !known.contains(path));
        Self {
            unclaimed: unclaimed.collect(),
            disk,
            expected,
            spellings,
            other_folders: BTreeMap::new(),
            findings: Vec::new(),
            totals: AuditTotals { sessions: 1, ..AuditTotals::default() },
        }
    }

    /// Compares the records of one path.
    fn dataset(&mut self, path: &str, records: &[&HeldDataset]) {
        self.totals.datasets += 1;
        let before = self.findings.len();
        if records.len() > 1 {
            let ids: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
            let several = Seen::Text(format!("{} records: {}", ids.len(), ids.join(", ")));
            self.add(Finding::of_file(FindingKind::TwiceOnAlyx, path).expected(several));
        }
        let is_here = records.iter().any(|record| record.place == Place::Here);
        let size = records.iter().find_map(|record| record.size);
        let presence = self.presence(path);
        match &presence {
            Some(Presence::File(on_disk)) => self.file(path, records, is_here, *on_disk),
            // The folder is reported, once.
            Some(Presence::Unreadable(_)) if is_here && self.disk.is_hidden(path) => return,
            Some(Presence::Unreadable(why)) if is_here => {
                let finding = Finding::of_file(FindingKind::Unreadable, path);
                self.add(finding.found(Seen::Text(why.clone())));
            }
            Some(Presence::Absent) if is_here => {
                let mut finding = Finding::of_file(FindingKind::Missing, path);
                finding.expected = size.map(Seen::Bytes);
                self.add(finding);
            }
            // Under another spelling, and no dataset there.
            _ if self.findings.iter().skip(before).any(|f| f.kind == FindingKind::PathDiffers) => {}
            _ => {
                self.totals.elsewhere += 1;
                return;
            }
        }
        self.totals.ok += u64::from(before == self.findings.len());
    }

    /// What the disk says of a path; a file under another spelling is one, too.
    fn presence(&mut self, path: &str) -> Option<Presence> {
        if let Some(size) = self.disk.datasets.get(path) {
            return Some(Presence::File(*size));
        }
        // A file of exactly this name, which is no dataset to this configuration.
        let is_exact = self.disk.others.contains(path);
        let spelled = self.spellings.get_mut(&folded(path)).filter(|_| !is_exact).and_then(Vec::pop);
        let looked_up = self.disk.looked_up.get(path).cloned();
        let Some(spelled) = spelled else { return looked_up };
        let differs = Finding::of_file(FindingKind::PathDiffers, path);
        self.add(differs.expected(path.into()).found(spelled.into()));
        self.unclaimed.remove(spelled);
        self.disk.datasets.get(spelled).map(|size| Presence::File(*size))
    }

    /// Compares the records of a file that is here.
    fn file(&mut self, path: &str, records: &[&HeldDataset], is_here: bool, size: u64) {
        let copies = self.disk.differing_copies(path);
        let differs = |record: &&&HeldDataset| record.size.is_some_and(|held| held != size);
        if copies.is_some() || records.iter().any(|record| differs(&record)) {
            let found = copies.map_or(Seen::Bytes(size), Seen::Text);
            let mut finding = Finding::of_file(FindingKind::SizeDiffers, path).found(found);
            let other = records.iter().find(differs).or(records.first());
            finding.expected = other.and_then(|record| record.size).map(Seen::Bytes);
            self.add(finding);
        }
        if !is_here && self.expected.exists {
            let says_no = records.iter().any(|record| record.place == Place::SaidAbsent);
            let says = if says_no { "exists: false" } else { "no file record" };
            let finding = Finding::of_file(FindingKind::ExistsFalse, path);
            self.add(finding.expected(says.into()).found(Seen::Bytes(size)));
        }
        let is_hashed = self.expected.max_md5_size.is_none_or(|limit| size <= limit);
        let has_size = records.iter().any(|record| record.size.is_some());
        if !has_size || is_hashed && !records.iter().any(|record| record.has_hash) {
            let mut finding = Finding::of_file(FindingKind::NoHash, path);
            finding.expected = (!has_size).then(|| "no size".into());
            self.add(finding);
        }
        for other in records.iter().filter_map(|record| record.other_path.as_deref()) {
            match other.strip_suffix(path).and_then(|folder| folder.strip_suffix('/')) {
                Some(folder) => *self.other_folders.entry(folder.to_owned()).or_default() += 1,
                None => {
                    let found = Seen::Text(format!("{}/{path}", self.expected.folder));
                    let differs = Finding::of_file(FindingKind::PathDiffers, path);
                    self.add(differs.expected(other.into()).found(found));
                }
            }
        }
    }

    /// Reports what is on disk only.
    fn unknown(&mut self, is_empty: bool) {
        for (path, why) in &self.disk.unreadable {
            let mut finding = Finding::of_file(FindingKind::Unreadable, path);
            finding.path = finding.path.filter(|path| !path.is_empty());
            self.add(finding.found(Seen::Text(why.clone())));
        }
        for folder in std::mem::take(&mut self.other_folders).into_keys() {
            let finding = Finding::of_session(FindingKind::PathDiffers);
            self.add(finding.expected(Seen::Text(folder)).found(Seen::Text(self.expected.folder.clone())));
        }
        if !self.expected.has_files {
            return;
        }
        let unclaimed = self.disk.copies.keys().filter(|path| self.unclaimed.contains(path.as_str()));
        for path in unclaimed.collect::<Vec<_>>() {
            let differs = Finding::of_file(FindingKind::SizeDiffers, path).expected("no dataset".into());
            self.add(Finding { found: self.disk.differing_copies(path).map(Seen::Text), ..differs });
        }
        if is_empty {
            let found = match self.unclaimed.len() {
                0 => "no dataset".to_owned(),
                1 => "1 dataset".to_owned(),
                n => format!("{n} datasets"),
            };
            let finding = Finding::of_session(FindingKind::SessionWithoutDatasets);
            // A folder that cannot be listed may hold some.
            if self.disk.unreadable.is_empty() || !self.unclaimed.is_empty() {
                self.add(finding.expected("no dataset".into()).found(Seen::Text(found)));
            }
            return;
        }
        for path in std::mem::take(&mut self.unclaimed) {
            let size = self.disk.datasets.get(path).copied().unwrap_or_default();
            self.add(Finding::of_file(FindingKind::UnknownToAlyx, path).found(Seen::Bytes(size)));
        }
    }

    fn add(&mut self, finding: Finding) {
        self.findings.push(finding.within(self.expected.repository.as_deref()));
    }

    fn finish(mut self) -> (Vec<Finding>, AuditTotals) {
        self.findings.sort_by(|a, b| (&a.path, a.kind).cmp(&(&b.path, b.kind)));
        (self.findings, self.totals)
    }
}

#[cfg(test)]
mod tests;
