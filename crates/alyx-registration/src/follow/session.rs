//! The copies of one session: found on the disks of its repositories, compared, and confirmed on Alyx.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use crate::client::RegistrationClient;
use crate::client::options::QuietRules;
use crate::error::Error;
use crate::follow::copy::{Expected, FollowMode, Seen, Verdict, judge, names};
use crate::follow::look::{FoundCopy, RepositoryDisk, is_being_replaced, source_folders};
use crate::follow::repositories::FollowedRepository;
use crate::hashing::checksum::{CHANGING_RETRY, HashContext, with_checksums};
use crate::hashing::checksum_cache::ChecksumCache;
use crate::hashing::disk_steps::DiskStep;
use crate::opener::data_folders::DataFolders;
use crate::verify::look::DiskLook;
use alyx_client::DatasetRecord;

/// How copies are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowRules {
    /// By what.
    pub mode: FollowMode,
    /// Where they may be.
    pub repositories: Vec<FollowedRepository>,
    /// When a copy counts as complete on disk.
    pub quiet: QuietRules,
    /// How long a disk may make no progress.
    pub hangs_after: Duration,
}

/// What became of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CopyKind {
    /// It is complete, and its file record says so from now on.
    Confirmed,
    /// It is another file.
    Differs,
    /// The disk does not say, or is not mounted.
    Unreadable,
    /// It is no copy: the registered file itself, or outside the repository.
    NoCopy,
    /// Alyx holds nothing to compare it by.
    Unchecked,
    /// It is still written.
    Changing,
    /// It is not there yet.
    Absent,
}

impl CopyKind {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 7] = [
        Self::Confirmed,
        Self::Differs,
        Self::Unreadable,
        Self::NoCopy,
        Self::Unchecked,
        Self::Changing,
        Self::Absent,
    ];

    /// Its name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Differs => "differs",
            Self::Unreadable => "unreadable",
            Self::NoCopy => "no_copy",
            Self::Unchecked => "unchecked",
            Self::Changing => "changing",
            Self::Absent => "absent",
        }
    }

    /// Whether time alone may change it.
    pub const fn waits(self) -> bool {
        matches!(self, Self::Changing | Self::Absent)
    }
}

/// A copy of one dataset in one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowedCopy {
    /// What became of it.
    pub kind: CopyKind,
    /// The dataset, relative to its session.
    pub path: String,
    /// The repository.
    pub repository: String,
    /// What Alyx says.
    pub expected: Option<String>,
    /// What the disk says.
    pub found: Option<String>,
}

impl std::fmt::Display for FollowedCopy {
    /// In words, for logs and people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, path, repository, expected, found } = self;
        write!(f, "{path} in {repository} ")?;
        let found = found.as_deref().unwrap_or("unknown");
        match kind {
            CopyKind::Confirmed => f.write_str("is complete"),
            CopyKind::Differs => write!(
                f,
                "differs: Alyx holds {}, the copy has {found}; copy it again, unless the registered file was changed",
                expected.as_deref().unwrap_or("nothing")
            ),
            CopyKind::Unreadable => {
                write!(f, "cannot be looked at ({found}); check its disk and the rights of this user")
            }
            CopyKind::NoCopy => write!(f, "is no copy: {found}"),
            CopyKind::Unchecked => write!(
                f,
                "cannot be compared: Alyx holds {}; register the file again with its MD5 (datasets.max_md5_size)",
                expected.as_deref().unwrap_or("nothing")
            ),
            CopyKind::Changing => f.write_str("is still written"),
            CopyKind::Absent => f.write_str("is not there yet"),
        }
    }
}

/// The copies of a session whose file records said that they do not exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FollowedSession {
    /// Each of them.
    pub copies: Vec<FollowedCopy>,
    /// How soon a copy that is still written may be complete.
    pub wait: Option<Duration>,
}

impl FollowedSession {
    /// How many copies are of a kind.
    pub fn count(&self, kind: CopyKind) -> usize {
        self.copies.iter().filter(|copy| copy.kind == kind).count()
    }

    /// Whether every copy is where Alyx now says it is.
    pub fn is_complete(&self) -> bool {
        self.copies.iter().all(|copy| copy.kind == CopyKind::Confirmed)
    }
}

/// A file record that says that the file does not exist.
#[derive(Debug, Clone)]
struct Candidate {
    dataset: String,
    path: String,
    expected: Expected,
    file: String,
    repository: String,
    relative_path: String,
}

impl Candidate {
    /// Those of a dataset in these repositories.
    fn of(record: &DatasetRecord, repositories: &[FollowedRepository]) -> Vec<Self> {
        let absent = record.file_records.iter().filter(|copy| !copy.exists);
        let candidate = |copy: &alyx_client::FileRecord| {
            let repository = copy.data_repository.clone()?;
            let is_followed = |one: &FollowedRepository| one.mount.repository == repository;
            Some(Self {
                dataset: record.id().to_owned(),
                path: record.relative_path(),
                expected: Expected { size: record.file_size, hash: record.hash.clone() },
                file: copy.id()?.to_owned(),
                relative_path: copy.other.get("relative_path")?.as_str()?.to_owned(),
                repository: repositories.iter().any(is_followed).then_some(repository)?,
            })
        };
        absent.filter_map(candidate).collect()
    }

    fn copy(&self, kind: CopyKind) -> FollowedCopy {
        let (path, repository) = (self.path.clone(), self.repository.clone());
        FollowedCopy { kind, path, repository, expected: None, found: None }
    }
}

/// A candidate with what is known of its copy.
struct Looked {
    candidate: Candidate,
    seen: Seen,
    copy: Option<FoundCopy>,
    /// The repository's disk that it was seen on.
    disk: usize,
}

impl RegistrationClient {
    /// Looks for the copies of a session whose file records say that they do not exist, and corrects the records of those that
    /// are complete: quiet on disk, and of the content that Alyx holds. Two requests, and one for each record that it corrects.
    ///
    /// # Errors
    /// Those of the requests. What the disk does not say is in the result.
    pub async fn follow_session(&self, eid: &str, rules: &FollowRules) -> Result<FollowedSession, Error> {
        let candidates = self.candidates(eid, rules).await?;
        let mut followed = FollowedSession::default();
        if candidates.is_empty() || rules.mode == FollowMode::Off {
            return Ok(followed);
        }
        let (disks, unavailable) = self.disks(&candidates, rules).await?;
        let mut looked = Vec::new();
        for candidate in candidates {
            let own = disks
                .iter()
                .enumerate()
                .filter(|(_, disk)| disk.repository.mount.repository == candidate.repository);
            let own: Vec<usize> = own.map(|(index, _)| index).collect();
            let Some(first) = own.first().copied() else {
                let found = unavailable.get(&candidate.repository).cloned();
                followed.copies.push(FollowedCopy { found, ..candidate.copy(CopyKind::Unreadable) });
                continue;
            };
            looked.push((candidate, own, first));
        }
        let looked = self.look_for_copies(looked, &disks, rules).await?;
        let looked = self.read_found(looked, rules).await?;
        let mut complete = Vec::new();
        for Looked { candidate, seen, copy, disk } in looked {
            let (kind, expected, found) = match judge(&candidate.expected, &seen, rules.mode) {
                Verdict::Agrees => {
                    complete.extend(copy.map(|copy| (candidate, copy, disk)));
                    continue;
                }
                Verdict::Absent => (CopyKind::Absent, None, None),
                Verdict::Changing(wait) => {
                    followed.wait = Some(followed.wait.map_or(wait, |other| other.max(wait)));
                    (CopyKind::Changing, None, None)
                }
                // It changed each time that it was read.
                Verdict::Read => {
                    followed.wait = Some(followed.wait.unwrap_or(CHANGING_RETRY));
                    (CopyKind::Changing, None, None)
                }
                Verdict::Differs { .. } if self.is_replaced(copy.as_ref(), rules).await? => {
                    followed.wait = Some(followed.wait.unwrap_or(CHANGING_RETRY));
                    (CopyKind::Changing, None, None)
                }
                Verdict::Differs { expected, found } => (CopyKind::Differs, Some(expected), Some(found)),
                Verdict::Unchecked(what) => (CopyKind::Unchecked, Some(what.to_owned()), None),
                Verdict::NoCopy(why) => (CopyKind::NoCopy, None, Some(why)),
                Verdict::Unreadable(why) => (CopyKind::Unreadable, None, Some(why)),
            };
            followed.copies.push(FollowedCopy { expected, found, ..candidate.copy(kind) });
        }
        let confirmed = self.confirm_copies(eid, complete, &disks, rules).await?;
        followed.copies.extend(confirmed);
        followed.copies.sort_by(|a, b| (&a.path, &a.repository).cmp(&(&b.path, &b.repository)));
        Ok(followed)
    }

    async fn candidates(&self, eid: &str, rules: &FollowRules) -> Result<Vec<Candidate>, Error> {
        let mut found = Vec::new();
        let take = |record: DatasetRecord| found.extend(Candidate::of(&record, &rules.repositories));
        self.alyx().for_each_dataset_of_session(eid, take).await?;
        Ok(found)
    }

    /// The disks of the repositories of these candidates, and why others cannot be used.
    async fn disks(
        &self,
        candidates: &[Candidate],
        rules: &FollowRules,
    ) -> Result<(Vec<RepositoryDisk>, BTreeMap<String, String>), Error> {
        let (mut disks, mut unavailable) = (Vec::new(), BTreeMap::new());
        for repository in &rules.repositories {
            let name = &repository.mount.repository;
            if !candidates.iter().any(|candidate| candidate.repository == *name) {
                continue;
            }
            let (path, opened) = (repository.mount.path.clone(), repository.clone());
            let open = move |_: &DiskStep| {
                RepositoryDisk::open(&opened)
                    .map_err(|reason| Error::Unreadable { path: opened.mount.path.clone(), reason })
            };
            match self.copies_blocking(&path, rules, open).await {
                Ok(disk) => disks.push(disk),
                Err(Error::Unreadable { reason, .. }) => {
                    unavailable.insert(name.clone(), format!("{}: {reason}", path.display()));
                }
                Err(other) => return Err(other),
            }
        }
        Ok((disks, unavailable))
    }

    /// Looks for each copy on the disks of its repository.
    async fn look_for_copies(
        &self,
        candidates: Vec<(Candidate, Vec<usize>, usize)>,
        disks: &[RepositoryDisk],
        rules: &FollowRules,
    ) -> Result<Vec<Looked>, Error> {
        let Some(path) = disks.first().map(|disk| disk.repository.mount.path.clone()) else {
            return Ok(Vec::new());
        };
        let (disks, quiet) = (disks.to_vec(), rules.quiet.clone());
        let (looks, data) = (Arc::clone(&self.context().looks), Arc::clone(&self.options().data));
        let again = candidates.clone();
        let look = move |step: &DiskStep| {
            let folders = source_folders(&data.roots);
            let looked = candidates.into_iter().map(|(candidate, own, first)| {
                let names = names(&candidate.relative_path, &candidate.dataset);
                let mut result =
                    (Seen::NoCopy("Alyx holds no path below the repository".to_owned()), None, first);
                for index in own.into_iter().filter(|_| !names.is_empty()) {
                    step.touch();
                    let Some(disk) = disks.get(index) else { continue };
                    let is_itself = |path: &PathBuf| {
                        disk.repository.is_own && path.starts_with(&disk.repository.mount.path)
                    };
                    let sources = folders.iter().map(|folder| folder.join(&candidate.relative_path));
                    let sources: Vec<PathBuf> = sources.filter(|path| !is_itself(path)).collect();
                    let (seen, copy) = disk.see(&names, &sources, &quiet, &looks);
                    let is_there = seen != Seen::Absent;
                    result = (seen, copy, index);
                    if is_there {
                        break;
                    }
                }
                let (seen, copy, disk) = result;
                Looked { candidate, seen, copy, disk }
            });
            Ok(looked.collect())
        };
        match self.copies_blocking(&path, rules, look).await {
            Err(Error::Unreadable { reason, .. }) => Ok(again
                .into_iter()
                .map(|(candidate, _, disk)| Looked {
                    candidate,
                    seen: Seen::Unreadable(reason.clone()),
                    copy: None,
                    disk,
                })
                .collect()),
            looked => looked,
        }
    }

    /// Reads those whose MD5 has to be known.
    async fn read_found(&self, mut looked: Vec<Looked>, rules: &FollowRules) -> Result<Vec<Looked>, Error> {
        let is_read = |one: &Looked| judge(&one.candidate.expected, &one.seen, rules.mode) == Verdict::Read;
        let to_read = looked.iter().enumerate().filter(|(_, one)| is_read(one));
        let to_read: Vec<(usize, FoundCopy)> =
            to_read.filter_map(|(index, one)| Some((index, one.copy.clone()?))).collect();
        let Some((_, first)) = to_read.first() else { return Ok(looked) };
        let cache = self.context().cache.clone();
        let context = self.copies_context(&rules.repositories, &first.path, cache);
        let all: Vec<usize> = to_read.iter().map(|(index, _)| *index).collect();
        let look = DiskLook { client: self, hangs_after: rules.hangs_after };
        // Whichever of the disks does not answer.
        let read = match look.answered(Path::new("/"), read_copies(to_read, &context)).await {
            Err(Error::Unreadable { reason, .. }) => {
                all.into_iter().map(|index| (index, Seen::Unreadable(reason.clone()))).collect()
            }
            read => read?,
        };
        for (index, seen) in read {
            if let Some(one) = looked.get_mut(index) {
                one.seen = seen;
            }
        }
        Ok(looked)
    }

    /// How the copies in these repositories are read.
    pub(crate) fn copies_context(
        &self,
        repositories: &[FollowedRepository],
        first: &Path,
        cache: Option<Arc<dyn ChecksumCache>>,
    ) -> HashContext {
        let roots = repositories.iter().map(|one| one.mount.path.clone()).collect();
        let data =
            DataFolders { roots, private: self.options().data.private.clone(), ..DataFolders::default() };
        HashContext { data: Arc::new(data), cache, ..self.hash_context(first, None) }
    }

    async fn is_replaced(&self, copy: Option<&FoundCopy>, rules: &FollowRules) -> Result<bool, Error> {
        let Some(path) = copy.map(|copy| copy.path.clone()) else { return Ok(false) };
        let (at, quiet) = (path.clone(), rules.quiet.clone());
        self.copies_blocking(&path, rules, move |_| Ok(is_being_replaced(&at, &quiet))).await
    }

    /// Says on Alyx that these copies exist, and reads that back. What has changed on Alyx since it was asked is left alone.
    async fn confirm_copies(
        &self,
        eid: &str,
        complete: Vec<(Candidate, FoundCopy, usize)>,
        disks: &[RepositoryDisk],
        rules: &FollowRules,
    ) -> Result<Vec<FollowedCopy>, Error> {
        if complete.is_empty() {
            return Ok(Vec::new());
        }
        let mut copies = Vec::new();
        // Reading may have taken hours.
        let still: HashMap<String, Candidate> =
            self.candidates(eid, rules).await?.into_iter().map(|now| (now.file.clone(), now)).collect();
        let (mut lost, mut changed) = (BTreeMap::new(), Vec::new());
        for (candidate, copy, index) in complete {
            let is_same = still.get(&candidate.file).is_some_and(|now| {
                now.expected == candidate.expected && now.relative_path == candidate.relative_path
            });
            // Another program was faster, or the dataset is another one by now.
            if !is_same {
                copies.push(candidate.copy(if still.contains_key(&candidate.file) {
                    CopyKind::Changing
                } else {
                    CopyKind::Confirmed
                }));
                continue;
            }
            let why: Option<String> = match lost.get(&index) {
                Some(known) => Option::clone(known),
                None => {
                    let why = self.lost(disks.get(index), rules).await?;
                    lost.insert(index, why.clone());
                    why
                }
            };
            if why.is_some() {
                copies.push(FollowedCopy { found: why, ..candidate.copy(CopyKind::Unreadable) });
                continue;
            }
            let at = copy.path.clone();
            if !self.copies_blocking(&at, rules, move |_| Ok(copy.is_unchanged())).await? {
                copies.push(candidate.copy(CopyKind::Changing));
                continue;
            }
            self.alyx().update_file_record(&candidate.file, true).await?;
            changed.push(candidate);
        }
        if changed.is_empty() {
            return Ok(copies);
        }
        let refused: HashMap<String, Candidate> =
            self.candidates(eid, rules).await?.into_iter().map(|now| (now.file.clone(), now)).collect();
        for candidate in changed {
            if refused.contains_key(&candidate.file) {
                let reason = format!(
                    "Alyx answered that the copy of {} in {} exists, and says again that it does not",
                    candidate.path, candidate.repository
                );
                return Err(Error::NotConfirmed(vec![reason]));
            }
            copies.push(candidate.copy(CopyKind::Confirmed));
        }
        Ok(copies)
    }

    async fn lost(
        &self,
        disk: Option<&RepositoryDisk>,
        rules: &FollowRules,
    ) -> Result<Option<String>, Error> {
        let Some(disk) = disk.cloned() else { return Ok(None) };
        let path = disk.repository.mount.path.clone();
        match self.copies_blocking(&path, rules, move |_| Ok(disk.lost())).await {
            Err(Error::Unreadable { reason, .. }) => Ok(Some(reason)),
            lost => lost,
        }
    }

    async fn copies_blocking<T: Send + 'static>(
        &self,
        path: &Path,
        rules: &FollowRules,
        work: impl FnOnce(&DiskStep) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let step = self.context().progress.steps.begin("looking for copies in", path);
        let look = DiskLook { client: self, hangs_after: rules.hangs_after };
        look.blocking(path, step, work).await
    }

    /// Whether the folder of a session is on the disk of one of these repositories, so that Alyx is worth asking. Blocks for as
    /// long as those disks need.
    pub async fn has_copies(&self, session: &str, rules: &FollowRules) -> bool {
        for repository in &rules.repositories {
            let (path, session) = (repository.mount.path.clone(), session.to_owned());
            let folder: PathBuf = path.join(&session);
            let is_there = move |_: &DiskStep| Ok(may_exist(&folder));
            if self.copies_blocking(&path, rules, is_there).await.unwrap_or(true) {
                return true;
            }
        }
        false
    }
}

/// Whether there is something at a path, as far as the disk says. Blocks.
fn may_exist(path: &Path) -> bool {
    !std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// Reads copies, and says of each what the disk says now.
pub(crate) async fn read_copies(
    copies: Vec<(usize, FoundCopy)>,
    context: &HashContext,
) -> Result<HashMap<usize, Seen>, Error> {
    let mut read = HashMap::new();
    let sums = with_checksums(copies.into_iter(), |(_, copy)| copy.path.clone(), context);
    let mut sums = std::pin::pin!(sums);
    while let Some(((index, copy), sum)) = sums.next().await {
        let seen = match sum {
            Ok(sum) if sum.stamp.has_same_content(&copy.stamp) => {
                Seen::File { size: sum.size, changing: None, md5: sum.md5 }
            }
            Ok(_) => Seen::File { size: copy.stamp.size, changing: Some(CHANGING_RETRY), md5: None },
            Err(Error::StillChanging { wait, .. }) => {
                Seen::File { size: copy.stamp.size, changing: Some(wait), md5: None }
            }
            Err(Error::Vanished { .. }) => Seen::Absent,
            Err(Error::Unreadable { reason, .. }) => Seen::Unreadable(reason),
            Err(other) => return Err(other),
        };
        read.insert(index, seen);
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_reported_under_its_own_name_and_only_time_ends_a_wait() {
        let names: std::collections::BTreeSet<&str> = CopyKind::ALL.map(CopyKind::name).into();
        assert_eq!(names.len(), CopyKind::ALL.len());
        let waits: Vec<CopyKind> = CopyKind::ALL.into_iter().filter(|kind| kind.waits()).collect();
        assert_eq!(waits, [CopyKind::Changing, CopyKind::Absent]);
    }
}
