//! The audit of a session: asks Alyx what it holds, looks at the disk, and looks again at what differs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::client::RegistrationClient;
use crate::client::options::FlaggedOptions;
use crate::error::Error;
use crate::repository::placement::Placement;
use crate::verify::compare::{Expected, compare};
use crate::verify::disk::DiskFiles;
use crate::verify::finding::{Finding, FindingKind, Seen};
use crate::verify::flag_need::FlagNeed;
use crate::verify::held::{HeldDataset, Here, Place};
use crate::verify::look::DiskLook;
use crate::verify::roots::AuditRoots;
use crate::verify::sessions::SessionPair;
use crate::verify::totals::AuditTotals;
use alf::SessionPath;
use alyx_client::{DatasetRecord, SessionSearch, SessionSummary};

/// How often a session is looked at whose findings change.
const MAX_LOOKS: u32 = 4;
/// How long to wait before a session that changes is looked at again.
const PAUSE: Duration = Duration::from_secs(1);

/// How sessions are audited.
#[derive(Debug, Clone)]
pub struct AuditRules<'a> {
    /// How they are registered.
    pub flagged: &'a FlaggedOptions,
    /// The disks under them.
    pub roots: &'a AuditRoots,
    /// How long a disk may make no progress before what it holds counts as unreadable.
    pub hangs_after: Duration,
    /// Whether a session without a folder is a finding: not if a part of the roots could not be listed.
    pub has_all_folders: bool,
}

/// What an audit says of a session.
#[derive(Debug, Clone, Default)]
pub struct SessionAudit {
    /// The differences, seen twice.
    pub findings: Vec<Finding>,
    /// Its datasets and findings, counted.
    pub totals: AuditTotals,
    /// The flags that would complete it, each with the folder that it belongs in.
    pub flags: Vec<(PathBuf, FlagNeed)>,
    /// Its folders, unless it has a flag already.
    unflagged: Vec<PathBuf>,
    /// It changed with each look; only what all looks agree on is reported.
    pub is_changing: bool,
}

impl AuditRules<'_> {
    fn disk<'a>(&self, client: &'a RegistrationClient) -> DiskLook<'a> {
        DiskLook { client, hangs_after: self.hangs_after }
    }
}

impl RegistrationClient {
    /// The sessions of a subject on Alyx and in its folders. One request, unless Alyx needs more pages.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn sessions_to_audit(
        &self,
        subject: &str,
        folders: &[SessionPath],
    ) -> Result<Vec<SessionPair>, Error> {
        let known = self.alyx().sessions_of(subject).await?;
        Ok(SessionPair::of_subject(subject, folders, &known))
    }

    /// Compares what Alyx holds of a session with its folders, without reading its files. One request; two if there are
    /// differences, which are reported only if a second look finds the same.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[doc = include_str!("../example_setup.txt")]
    /// use alf::SessionPath;
    /// use alyx_registration::{AuditRoots, AuditRules, FindingKind, FlaggedOptions};
    ///
    /// let folder = root.join("KS014/2024-05-01/001");
    /// std::fs::create_dir_all(&folder)?;
    /// let pairs = client.sessions_to_audit("KS014", &[SessionPath::parse(&folder)?]).await?;
    /// let (flagged, roots) = (FlaggedOptions::default(), AuditRoots::load([root.as_path()]));
    /// let hangs_after = std::time::Duration::from_secs(60);
    /// let rules = AuditRules { flagged: &flagged, roots: &roots, hangs_after, has_all_folders: true };
    /// let audit = client.audit_session(&pairs[0], &rules).await?;
    /// assert_eq!(audit.findings[0].kind, FindingKind::FolderWithoutSession);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of the requests; [`Error::Unreadable`] if the disk of its data root is no longer the same. What the disk does
    /// not say otherwise is a [finding](FindingKind::Unreadable).
    pub async fn audit_session(
        &self,
        pair: &SessionPair,
        rules: &AuditRules<'_>,
    ) -> Result<SessionAudit, Error> {
        let mut before = self.look_once(pair, rules).await?;
        for look in 1..=MAX_LOOKS {
            if before.findings.is_empty() {
                break;
            }
            let mut now = self.look_once(&self.refreshed(pair, &before.findings).await?, rules).await?;
            if now.findings == before.findings {
                before = now;
                break;
            }
            if look == MAX_LOOKS {
                now.is_changing = true;
                now.findings.retain(|finding| before.findings.contains(finding));
            } else {
                tokio::time::sleep(PAUSE).await;
            }
            before = now;
        }
        before.totals.count(&before.findings);
        before.flags = needed(&before.unflagged, &before.findings).await;
        Ok(before)
    }

    /// The records of a session now, if the findings doubt them.
    async fn refreshed(&self, pair: &SessionPair, findings: &[Finding]) -> Result<SessionPair, Error> {
        let doubts_session = |finding: &Finding| {
            finding.path.is_none()
                && matches!(
                    finding.kind,
                    FindingKind::FolderWithoutSession
                        | FindingKind::SessionWithoutDatasets
                        | FindingKind::SessionWithoutFolder
                        | FindingKind::TwiceOnAlyx
                )
        };
        let mut parts = pair.name.rsplit('/');
        let number = parts.next().and_then(|number| number.parse().ok());
        let date = parts.next().and_then(|date| date.parse().ok());
        let (Some(number), Some(date), Some(subject)) = (number, date, parts.next()) else {
            return Ok(pair.clone());
        };
        if !findings.iter().any(doubts_session) {
            return Ok(pair.clone());
        }
        let known: Vec<SessionSummary> =
            self.alyx().sessions(&SessionSearch { subject, date, number }).await?;
        let pairs = SessionPair::of_subject(subject, &pair.folders, &known);
        let is_it = |other: &SessionPair| match pair.folders.first() {
            Some(folder) => other.folders.contains(folder),
            None => other.eids.iter().any(|eid| pair.eids.contains(eid)),
        };
        // It was deleted meanwhile.
        let gone = SessionPair { eids: Vec::new(), ..pair.clone() };
        Ok(pairs.into_iter().find(is_it).unwrap_or(gone))
    }

    /// One look. A folder that does not answer is a finding, not an error.
    async fn look_once(&self, pair: &SessionPair, rules: &AuditRules<'_>) -> Result<SessionAudit, Error> {
        match self.look(pair, rules).await {
            Err(Error::Unreadable { path, reason })
                if pair.folders.iter().any(|folder| folder.folder() == path) =>
            {
                let finding = Finding::of_session(FindingKind::Unreadable).found(Seen::Text(reason));
                let totals = AuditTotals { sessions: 1, ..AuditTotals::default() };
                Ok(SessionAudit { findings: vec![finding], totals, ..SessionAudit::default() })
            }
            looked => looked,
        }
    }

    async fn look(&self, pair: &SessionPair, rules: &AuditRules<'_>) -> Result<SessionAudit, Error> {
        let mut folders = pair.folders.clone();
        if folders.is_empty() {
            return self.without_folder(pair, rules).await;
        }
        // Before Alyx is asked: when a flag is gone, everything is registered.
        let mut is_flagged = false;
        for folder in &folders {
            is_flagged |= rules.disk(self).has_flag(folder).await?;
        }
        let mut looked = if pair.eids.is_empty() {
            self.without_session(&folders, rules).await?
        } else {
            let mut options = Vec::new();
            for folder in &folders {
                options.push(rules.disk(self).options_in(folder, rules.flagged).await?);
            }
            let placements: Vec<Placement> = options.iter().map(|o| Placement::from(&o.files)).collect();
            let here = Here::of(&placements);
            let relative: Vec<String> = folders.iter().map(SessionPath::relative).collect();
            let mut held = Vec::new();
            for eid in &pair.eids {
                let take = |record: DatasetRecord| held.push(HeldDataset::of(&record, &here, &relative));
                self.alyx().for_each_dataset_of_session(eid, take).await?;
            }
            let paths: Arc<[String]> = held.iter().map(|dataset| dataset.path.clone()).collect();
            let (mut disk, mut is_there) = (DiskFiles::default(), Vec::new());
            for (folder, options) in folders.iter().zip(&options) {
                let found = rules.disk(self).look_at(folder, options, &paths).await?;
                is_there.push(found.is_some());
                disk.join(found.unwrap_or_default());
            }
            let mut there = is_there.into_iter();
            folders.retain(|_| there.next().unwrap_or_default());
            if folders.is_empty() {
                self.all_mounted(&pair.folders, rules).await?;
                return self.without_folder(pair, rules).await;
            }
            let expected = Expected {
                repository: here.name().map(str::to_owned),
                folder: relative.first().cloned().unwrap_or_default(),
                has_files: options.iter().any(|options| options.register_files),
                exists: !here.is_nowhere() && placements.iter().any(|placement| placement.exists),
                max_md5_size: options.iter().filter_map(|options| options.files.max_md5_size).min(),
            };
            let (mut findings, totals) = compare(&held, &disk, &expected);
            findings.splice(0..0, ambiguities(pair, &folders));
            SessionAudit { findings, totals, ..SessionAudit::default() }
        };
        if is_flagged {
            looked.totals.flagged = 1;
            looked.findings.retain(|finding| !finding.kind.ends_with_registration());
        }
        if looked.findings.iter().any(|f| matches!(f.kind, FindingKind::Missing | FindingKind::Unreadable)) {
            self.all_mounted(&folders, rules).await?;
        }
        if !is_flagged {
            looked.unflagged = folders.iter().map(|folder| folder.folder().to_owned()).collect();
        }
        Ok(looked)
    }

    /// A folder whose session is not on Alyx.
    async fn without_session(
        &self,
        folders: &[SessionPath],
        rules: &AuditRules<'_>,
    ) -> Result<SessionAudit, Error> {
        let mut audit = SessionAudit::default();
        for folder in folders {
            match rules.disk(self).look_at(folder, rules.flagged, &[].into()).await? {
                None => self.all_mounted(std::slice::from_ref(folder), rules).await?,
                Some(_) => {
                    audit.totals.sessions = 1;
                    let finding = Finding::of_session(FindingKind::FolderWithoutSession);
                    audit.findings.push(finding.found(Seen::Text(folder.relative())));
                }
            }
        }
        Ok(audit)
    }

    /// A session without a folder: a finding, if Alyx says that its datasets exist here.
    async fn without_folder(
        &self,
        pair: &SessionPair,
        rules: &AuditRules<'_>,
    ) -> Result<SessionAudit, Error> {
        let roots: Vec<&Path> = self.options().data.roots.iter().map(PathBuf::as_path).collect();
        let placements = rules.flagged.placements(roots);
        let here = Here::of(&placements);
        let mut audit = SessionAudit::default();
        if here.is_nowhere() || !rules.has_all_folders {
            return Ok(audit);
        }
        let mut paths = BTreeSet::new();
        for eid in &pair.eids {
            let take = |record: DatasetRecord| {
                let held = HeldDataset::of(&record, &here, &[]);
                if held.place == Place::Here {
                    paths.insert(held.path);
                }
            };
            self.alyx().for_each_dataset_of_session(eid, take).await?;
        }
        // A session that was recorded since the roots were listed.
        if paths.is_empty() || rules.disk(self).has_new_folder(&pair.name).await? {
            return Ok(audit);
        }
        for root in &self.options().data.roots {
            self.still_mounted(root.clone(), rules).await?;
        }
        audit.totals = AuditTotals { sessions: 1, datasets: paths.len() as u64, ..AuditTotals::default() };
        let datasets =
            if paths.len() == 1 { "1 dataset".to_owned() } else { format!("{} datasets", paths.len()) };
        let finding = Finding::of_session(FindingKind::SessionWithoutFolder).within(here.name());
        audit.findings.push(finding.expected(Seen::Text(datasets)));
        Ok(audit)
    }

    async fn all_mounted(&self, folders: &[SessionPath], rules: &AuditRules<'_>) -> Result<(), Error> {
        for folder in folders {
            self.still_mounted(folder.folder().to_owned(), rules).await?;
        }
        Ok(())
    }

    /// Refuses to say anything about a data root that is no longer mounted.
    async fn still_mounted(&self, folder: PathBuf, rules: &AuditRules<'_>) -> Result<(), Error> {
        let roots = rules.roots.clone();
        let step = self.context().progress.steps.begin("listing the data root of", &folder);
        let at = folder.clone();
        match rules.disk(self).blocking(&folder, step, move |_| Ok(roots.lost(&at))).await? {
            Some((path, reason)) => Err(Error::Unreadable { path, reason }),
            None => Ok(()),
        }
    }
}

/// The flags that would complete a session. Of several folders, each gets the files that it holds: a flag whose lines match
/// no dataset is refused.
async fn needed(folders: &[PathBuf], findings: &[Finding]) -> Vec<(PathBuf, FlagNeed)> {
    let mut needed = Vec::new();
    for folder in folders {
        let need = match FlagNeed::of(findings) {
            FlagNeed::Nothing => return Vec::new(),
            FlagNeed::Files(files) if folders.len() > 1 => {
                let mut own = Vec::new();
                for file in files {
                    if tokio::fs::try_exists(folder.join(&file)).await.unwrap_or_default() {
                        own.push(file);
                    }
                }
                FlagNeed::Files(own)
            }
            need => need,
        };
        if need != FlagNeed::Files(Vec::new()) {
            needed.push((folder.clone(), need));
        }
    }
    needed
}

/// Several sessions of one folder, and several folders of one name.
fn ambiguities(pair: &SessionPair, folders: &[SessionPath]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if pair.eids.len() > 1 {
        let several = format!("{} sessions: {}", pair.eids.len(), pair.eids.join(", "));
        findings.push(Finding::of_session(FindingKind::TwiceOnAlyx).expected(Seen::Text(several)));
    }
    let day = |folder: &SessionPath| folder.folder().parent().map(Path::to_owned);
    if let Some((first, others)) = folders.split_first() {
        for twin in others.iter().filter(|other| day(other) == day(first)) {
            let finding = Finding::of_session(FindingKind::PathDiffers);
            findings.push(finding.expected(Seen::Text(first.relative())).found(Seen::Text(twin.relative())));
        }
    }
    findings
}
