//! The audit of a session: asks Alyx what it holds, looks at the disk, and looks again at what differs.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::client::RegistrationClient;
use crate::client::options::FlaggedOptions;
use crate::error::Error;
use crate::repository::placement::Placement;
use crate::verify::compare::{Expected, compare};
use crate::verify::copy::HeldCopy;
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
    /// Whether the files to verify are wanted.
    pub contents: bool,
}

/// What an audit says of a session.
#[derive(Debug, Clone, Default)]
pub struct SessionAudit {
    /// The differences, seen twice.
    pub findings: Vec<Finding>,
    /// Its datasets and findings, counted.
    pub totals: AuditTotals,
    /// The flag that would complete it, with the folder that it belongs in. None for a session with several folders:
    /// which of them is registered is for a person to say.
    pub flag: Option<(PathBuf, FlagNeed)>,
    /// It has no such flag yet only because its files changed within the last hour.
    pub is_recent: bool,
    /// The files whose content can be compared with Alyx, if they are wanted.
    pub copies: Vec<HeldCopy>,
    /// What a flag would select from, unless it has one already.
    unflagged: Option<Unflagged>,
    /// It changed with each look; only what all looks agree on is reported.
    pub is_changing: bool,
}

/// A session folder without a flag.
#[derive(Debug, Clone)]
struct Unflagged {
    folder: PathBuf,
    /// All its files, on disk and on Alyx.
    files: BTreeSet<String>,
    is_recent: bool,
}

/// The folders of a session that are in one repository, and what Alyx holds of the session there.
struct Copies<'o> {
    here: Here,
    placements: Vec<Placement>,
    folders: Vec<(SessionPath, Cow<'o, FlaggedOptions>)>,
    /// Its folders, as they are sent to Alyx.
    relative: Vec<String>,
    held: Vec<HeldDataset>,
}

/// A repository that no folder of the session is in, though a data root is.
struct OtherRepository {
    here: Here,
    root: PathBuf,
    /// What is there according to Alyx.
    paths: BTreeSet<String>,
}

impl AuditRules<'_> {
    pub(crate) fn disk<'a>(&self, client: &'a RegistrationClient) -> DiskLook<'a> {
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
    /// differences, which are reported only if a second look finds the same. That a session has no folder is found only if
    /// [`RegistrationOptions::data`](crate::RegistrationOptions) names the data roots.
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
    /// let (has_all_folders, contents) = (true, false);
    /// let rules = AuditRules { flagged: &flagged, roots: &roots, hangs_after, has_all_folders, contents };
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
        // What changes, or cannot be seen as a whole, is not registered yet.
        if let Some(own) = before.unflagged.take().filter(|_| !before.is_changing) {
            let need = FlagNeed::of(&before.findings, own.files.iter().map(String::as_str));
            before.is_recent = own.is_recent && need != FlagNeed::Nothing;
            before.flag = (need != FlagNeed::Nothing && !own.is_recent).then_some((own.folder, need));
        }
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
        if pair.folders.is_empty() {
            return self.without_folder(pair, rules).await;
        }
        // Before Alyx is asked: when a flag is gone, everything is registered.
        let (mut flags, mut is_flagged) = (Vec::new(), false);
        for folder in &pair.folders {
            let own = rules.disk(self).flags(folder).await?;
            is_flagged |= !own.is_empty();
            flags.push((folder, own));
        }
        let (mut copies, mut others) = self.copies(pair, rules).await?;
        for eid in &pair.eids {
            let take = |record: DatasetRecord| {
                for copies in &mut copies {
                    copies.held.push(HeldDataset::of(&record, &copies.here, &copies.relative));
                }
                for other in &mut others {
                    let held = HeldDataset::of(&record, &other.here, &[]);
                    if held.place == Place::Here {
                        other.paths.insert(held.path);
                    }
                }
            };
            self.alyx().for_each_dataset_of_session(eid, take).await?;
        }
        let mut looked = SessionAudit::default();
        let (mut there, mut files, mut is_recent) = (Vec::new(), BTreeSet::new(), false);
        let mut selected: HashSet<String> = HashSet::new();
        for copies in copies {
            let paths: Arc<[String]> = copies.held.iter().map(|dataset| dataset.path.clone()).collect();
            let (mut disk, mut own) = (DiskFiles::default(), Vec::new());
            for (folder, options) in &copies.folders {
                let Some(found) = rules.disk(self).look_at(folder, options, &paths).await? else { continue };
                for content in flags.iter().filter(|(of, _)| *of == folder).flat_map(|(_, own)| own) {
                    selected.extend(found.datasets.keys().filter(|path| content.selects(path)).cloned());
                }
                if rules.contents {
                    let (files, unhashed) =
                        HeldCopy::in_folder(folder.folder(), &copies.held, &found, copies.here.name());
                    looked.copies.extend(files);
                    looked.findings.extend(unhashed);
                }
                own.push(folder.clone());
                disk.join(found);
            }
            if own.is_empty() {
                let of_it: Vec<SessionPath> =
                    copies.folders.iter().map(|(folder, _)| folder.clone()).collect();
                self.all_mounted(&of_it, rules).await?;
                let is_held = |dataset: &HeldDataset| dataset.place == Place::Here;
                let held = copies.held.into_iter().filter(is_held).map(|dataset| dataset.path);
                let root = self.root_of(&of_it);
                others.push(OtherRepository { here: copies.here, root, paths: held.collect() });
                continue;
            }
            is_recent |= disk.is_recent;
            files.extend(disk.datasets.keys().chain(&disk.others).cloned());
            files.extend(copies.held.iter().map(|dataset| dataset.path.clone()));
            if pair.eids.is_empty() {
                looked.totals.sessions = 1;
                for folder in &own {
                    let finding = Finding::of_session(FindingKind::FolderWithoutSession);
                    looked.findings.push(finding.found(Seen::Text(folder.relative())));
                }
                looked.findings.extend(differing_copies(&disk));
            } else {
                let (findings, totals) = compare(&copies.held, &disk, &copies.expected());
                looked.findings.extend(findings);
                looked.totals.add(&totals);
            }
            there.extend(own);
        }
        if there.is_empty() {
            return self.without_folder(pair, rules).await;
        }
        looked.totals.sessions = 1;
        if !pair.eids.is_empty() {
            looked.findings.splice(0..0, ambiguities(pair, &there));
            looked.findings.extend(self.without_copies(pair, others, rules).await?);
        }
        if is_flagged {
            looked.totals.flagged = 1;
            let is_selected =
                |path: &Option<String>| path.as_ref().is_none_or(|path| selected.contains(path));
            looked
                .findings
                .retain(|finding| !finding.kind.ends_with_registration() || !is_selected(&finding.path));
        }
        let doubts_disk = |finding: &Finding| {
            let of_disk = [FindingKind::Missing, FindingKind::Unreadable, FindingKind::SessionWithoutFolder];
            of_disk.contains(&finding.kind)
        };
        if looked.findings.iter().any(doubts_disk) {
            self.all_mounted(&there, rules).await?;
        }
        if let ([folder], [_], false) = (there.as_slice(), pair.folders.as_slice(), is_flagged) {
            let folder = folder.folder().to_owned();
            looked.unflagged = Some(Unflagged { folder, files, is_recent });
        }
        Ok(looked)
    }

    /// The folders of a session by their repositories, and the repositories of other data roots.
    async fn copies<'r>(
        &self,
        pair: &SessionPair,
        rules: &AuditRules<'r>,
    ) -> Result<(Vec<Copies<'r>>, Vec<OtherRepository>), Error> {
        let mut folders = Vec::new();
        for folder in &pair.folders {
            let options = if pair.eids.is_empty() {
                Cow::Borrowed(rules.flagged)
            } else {
                rules.disk(self).options_in(folder, rules.flagged).await?
            };
            folders.push((folder.clone(), Placement::from(&options.files), options));
        }
        // Of a folder that is in no repository, the records do not say which copy they mean.
        let is_one = pair.eids.is_empty() || folders.iter().any(|(_, placement, _)| placement.is_nowhere());
        let mut copies: Vec<Copies<'r>> = Vec::new();
        for (folder, placement, options) in folders {
            let here = Here::of([&placement]);
            let at = copies.iter().position(|copies| is_one || copies.here == here);
            let own = match at.and_then(|at| copies.get_mut(at)) {
                Some(own) => own,
                None => {
                    let (placements, folders, relative, held) = Default::default();
                    copies.push(Copies { here, placements, folders, relative, held });
                    let Some(own) = copies.last_mut() else { continue };
                    own
                }
            };
            own.relative.push(folder.relative());
            own.placements.push(placement);
            own.here = Here::of(&own.placements);
            own.folders.push((folder, options));
        }
        let mut others: Vec<OtherRepository> = Vec::new();
        if is_one || !rules.has_all_folders {
            return Ok((copies, others));
        }
        let holds = |root: &Path| pair.folders.iter().any(|folder| folder.folder().starts_with(root));
        let (own, without): (Vec<&PathBuf>, Vec<&PathBuf>) =
            self.options().data.roots.iter().partition(|root| holds(root));
        let own = rules.flagged.placements(own.into_iter().map(PathBuf::as_path));
        let own: Vec<Here> = own.iter().map(|placement| Here::of([placement])).collect();
        for root in without {
            for placement in rules.flagged.placements([root.as_path()]) {
                let here = Here::of([&placement]);
                let is_known = copies.iter().any(|copies| copies.here == here)
                    || own.contains(&here)
                    || others.iter().any(|other| other.here == here);
                if !here.is_nowhere() && !is_known {
                    others.push(OtherRepository { here, root: root.clone(), paths: BTreeSet::new() });
                }
            }
        }
        Ok((copies, others))
    }

    /// The repositories that hold a session according to Alyx, in which it has no folder though it has one in another.
    async fn without_copies(
        &self,
        pair: &SessionPair,
        others: Vec<OtherRepository>,
        rules: &AuditRules<'_>,
    ) -> Result<Vec<Finding>, Error> {
        let mut findings = Vec::new();
        for other in others {
            if other.paths.is_empty() || !rules.has_all_folders {
                continue;
            }
            let root = std::slice::from_ref(&other.root);
            // A folder that was made since the roots were listed.
            if rules.disk(self).has_new_folder(&pair.name, root).await? {
                continue;
            }
            self.still_mounted(other.root.clone(), rules).await?;
            findings.push(without_folder(other.paths.len(), &other.here));
        }
        Ok(findings)
    }

    /// The data root of a session.
    fn root_of(&self, folders: &[SessionPath]) -> PathBuf {
        let is_in = |root: &&PathBuf| folders.iter().any(|folder| folder.folder().starts_with(root));
        self.options().data.roots.iter().find(is_in).cloned().unwrap_or_default()
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
        if paths.is_empty() || rules.disk(self).has_new_folder(&pair.name, &self.options().data.roots).await?
        {
            return Ok(audit);
        }
        for root in &self.options().data.roots {
            self.still_mounted(root.clone(), rules).await?;
        }
        audit.totals = AuditTotals { sessions: 1, datasets: paths.len() as u64, ..AuditTotals::default() };
        audit.findings.push(without_folder(paths.len(), &here));
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

impl Copies<'_> {
    /// What the configuration expects of them.
    fn expected(&self) -> Expected {
        let options = || self.folders.iter().map(|(_, options)| options);
        Expected {
            repository: self.here.name().map(str::to_owned),
            folder: self.relative.first().cloned().unwrap_or_default(),
            has_files: options().any(|options| options.register_files),
            exists: !self.here.is_nowhere() && self.placements.iter().any(|placement| placement.exists),
            max_md5_size: options().filter_map(|options| options.files.max_md5_size).min(),
        }
    }
}

/// A session that has no folder where Alyx says that datasets exist.
fn without_folder(datasets: usize, here: &Here) -> Finding {
    let datasets = if datasets == 1 { "1 dataset".to_owned() } else { format!("{datasets} datasets") };
    let finding = Finding::of_session(FindingKind::SessionWithoutFolder).within(here.name());
    finding.expected(Seen::Text(datasets))
}

/// The datasets of a session that is not on Alyx whose copies differ.
fn differing_copies(disk: &DiskFiles) -> Vec<Finding> {
    let differs = |path: &String| {
        let finding = Finding::of_file(FindingKind::SizeDiffers, path).expected("no dataset".into());
        Some(finding.found(Seen::Text(disk.differing_copies(path)?)))
    };
    disk.copies.keys().filter_map(differs).collect()
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
