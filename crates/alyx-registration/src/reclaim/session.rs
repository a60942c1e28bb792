//! What is known of one session: Alyx, the files here, and their copies, which are read where that was not done recently.

#![expect(clippy::disallowed_methods, reason = "reads the clock, works on the disk")]

use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::civil::Date;

use crate::client::RegistrationClient;
use crate::client::options::{FlaggedOptions, QuietRules};
use crate::error::Error;
use crate::follow::copy::{Seen, names};
use crate::follow::look::{FoundCopy, RepositoryDisk, is_same_file};
use crate::follow::repositories::FollowedRepository;
use crate::follow::session::read_copies;
use crate::hashing::md5_sum::Md5Sum;
use crate::hashing::stamp::FileStamp;
use crate::reclaim::plan::{
    CopyState, DatasetState, KeptReason, ReclaimNeeds, SessionState, SourceState, plan,
};
use crate::verify::look::DiskLook;
use crate::verify::sessions::SessionPair;
use alyx_client::DatasetRecord;

/// A copy that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadCopy {
    /// The file when it was read.
    pub stamp: FileStamp,
    /// Its MD5.
    pub md5: Md5Sum,
    /// When.
    pub at: SystemTime,
}

/// Remembers which copies were read, from one run to the next.
pub trait ReadCopies: Debug + Send + Sync {
    /// When and how a copy was read last.
    fn find(&self, path: &Path) -> Option<ReadCopy>;
    /// Copies were read, each with whether it is what Alyx holds.
    fn keep(&self, read: &[(PathBuf, ReadCopy, bool)]);
}

/// Which files may be deleted here.
#[derive(Debug, Clone)]
pub struct ReclaimRules<'a> {
    /// How sessions are registered.
    pub flagged: &'a FlaggedOptions,
    /// Where copies may be.
    pub repositories: &'a [FollowedRepository],
    /// Those of them that Alyx knows as servers: no others count.
    pub servers: &'a BTreeSet<String>,
    /// How many copies are needed.
    pub needs: ReclaimNeeds,
    /// Only sessions of this day or earlier.
    pub until: Date,
    /// A copy that was read longer ago is read again.
    pub verified_within: Duration,
    /// Which copies were read earlier.
    pub memory: Option<Arc<dyn ReadCopies>>,
    /// How long a disk may make no progress.
    pub hangs_after: Duration,
}

/// A dataset of the session that has a file here.
struct Dataset {
    state: DatasetState,
    hash: Option<Md5Sum>,
    source: Option<FoundCopy>,
    /// Copies that would count once they are read.
    unread: Vec<Copy>,
    /// Copies that were read and agree.
    counted: Vec<Copy>,
}

#[derive(Clone)]
struct Copy {
    repository: String,
    found: FoundCopy,
}

impl RegistrationClient {
    /// The files of a session that may be deleted here: every one of its files is what Alyx holds, and has been read with equal
    /// MD5 in enough other repositories. All of them, or none with the reason. Changes nothing; one request.
    ///
    /// # Errors
    /// Those of the request, and of a disk that cannot be looked at.
    pub async fn reclaimable(
        &self,
        pair: &SessionPair,
        rules: &ReclaimRules<'_>,
    ) -> Result<Result<Vec<(PathBuf, u64)>, KeptReason>, Error> {
        let (mut state, folder) = match pair.folders.as_slice() {
            [folder] => (SessionState { sessions: pair.eids.len(), ..SessionState::default() }, folder),
            [] => return Ok(Err(KeptReason::NothingHere)),
            several => return Ok(Err(KeptReason::SeveralFolders(several.len()))),
        };
        state.is_recent = folder.date() > rules.until;
        let look = DiskLook { client: self, hangs_after: rules.hangs_after };
        state.is_flagged = !look.flags(folder).await?.is_empty();
        let [eid] = pair.eids.as_slice() else {
            return Ok(Err(state.kept().unwrap_or(KeptReason::NotOnAlyx)));
        };
        if state.is_flagged || state.is_recent {
            return Ok(Err(state.kept().unwrap_or(KeptReason::Recent)));
        }
        let mut records = Vec::new();
        self.alyx().for_each_dataset_of_session(eid, |record| records.push(record)).await?;
        let own = rules.flagged.placement_in(folder.folder()).repository;
        let repositories = rules.repositories.iter().filter(|one| !one.is_own);
        let repositories: Vec<FollowedRepository> =
            repositories.filter(|one| Some(&one.mount.repository) != own.as_ref()).cloned().collect();
        let servers = rules.servers.clone();
        // Whether a copy is complete, its MD5 says. A network drive would need two looks.
        let quiet = QuietRules {
            settle: Duration::ZERO,
            settle_remote: Duration::ZERO,
            ..rules.flagged.quiet.clone()
        };
        let at = folder.folder().to_owned();
        let looks = Arc::clone(&self.context().looks);
        let step = self.context().progress.steps.begin("looking for copies of", folder.folder());
        let found = look.blocking(folder.folder(), step, move |step| {
            let disks: Vec<Result<RepositoryDisk, String>> = repositories
                .iter()
                .map(|one| {
                    RepositoryDisk::open(one).map_err(|why| format!("{}: {why}", one.mount.repository))
                })
                .collect();
            let mut datasets = Vec::new();
            for record in &records {
                step.touch();
                let Some((mut dataset, source)) = here(record, &at) else { continue };
                if let Some(source) = source {
                    for disk in &disks {
                        match disk {
                            Ok(disk) => dataset.look(record, disk, &source, &servers, &quiet, &looks),
                            Err(why) => dataset.state.copies.push(CopyState::NotCounted(why.clone())),
                        }
                    }
                    dataset.source = Some(source);
                }
                datasets.push(dataset);
            }
            Ok(datasets)
        });
        let mut datasets = found.await?;
        self.remember(&mut datasets, rules).await?;
        let state_of = |datasets: &[Dataset]| SessionState {
            datasets: datasets.iter().map(|dataset| dataset.state.clone()).collect(),
            ..state.clone()
        };
        // Nothing is read where that could not help.
        if let Some(reason) = state_of(&datasets).kept() {
            return Ok(Err(reason));
        }
        if let Some(Err(reason)) =
            datasets.iter().map(|dataset| dataset.could_have_enough(rules.needs)).find(Result::is_err)
        {
            return Ok(Err(reason));
        }
        self.read_files_here(&mut datasets).await?;
        if let Some(reason) = state_of(&datasets).kept() {
            return Ok(Err(reason));
        }
        self.read_missing(&mut datasets, rules).await?;
        // Reading may have taken hours.
        state.is_flagged = !look.flags(folder).await?.is_empty();
        self.look_again(folder.folder(), &mut datasets, rules).await?;
        let datasets = datasets.into_iter().map(|dataset| dataset.state).collect();
        Ok(plan(&SessionState { datasets, ..state }, rules.needs))
    }

    /// Whether the files here and the copies that count are still what was read.
    async fn look_again(
        &self,
        folder: &Path,
        datasets: &mut [Dataset],
        rules: &ReclaimRules<'_>,
    ) -> Result<(), Error> {
        let files: Vec<(Option<FoundCopy>, Vec<FoundCopy>)> = datasets
            .iter()
            .map(|dataset| {
                (dataset.source.clone(), dataset.counted.iter().map(|c| c.found.clone()).collect())
            })
            .collect();
        let look = DiskLook { client: self, hangs_after: rules.hangs_after };
        let step = self.context().progress.steps.begin("looking again at", folder);
        let unchanged = look.blocking(folder, step, move |step| {
            let is_unchanged = |file: &FoundCopy| {
                step.touch();
                file.is_unchanged()
            };
            let looked = files.iter().map(|(source, copies)| {
                (source.as_ref().is_some_and(is_unchanged), copies.iter().map(is_unchanged).collect())
            });
            Ok(looked.collect::<Vec<(bool, Vec<bool>)>>())
        });
        for (dataset, (source, copies)) in datasets.iter_mut().zip(unchanged.await?) {
            if !source {
                dataset.state.source = SourceState::Changed;
            }
            dataset.state.copies.retain(|copy| matches!(copy, CopyState::NotCounted(_)));
            for (copy, is_unchanged) in dataset.counted.iter().zip(copies) {
                dataset.state.copies.push(match is_unchanged {
                    true => copy.verified(),
                    false => CopyState::NotCounted(format!("the copy in {} changes", copy.repository)),
                });
            }
        }
        Ok(())
    }

    /// Takes over what was read recently.
    async fn remember(&self, datasets: &mut [Dataset], rules: &ReclaimRules<'_>) -> Result<(), Error> {
        let Some(memory) = rules.memory.clone() else { return Ok(()) };
        let unread = datasets.iter().flat_map(|dataset| &dataset.unread);
        let paths: Vec<PathBuf> = unread.map(|copy| copy.found.path.clone()).collect();
        let find = move || {
            paths.into_iter().filter_map(|path| Some((memory.find(&path)?, path))).collect::<Vec<_>>()
        };
        let known = tokio::task::spawn_blocking(find)
            .await
            .map_err(|e| Error::Internal(format!("reading what was verified: {e}")))?;
        let known: HashMap<PathBuf, ReadCopy> = known.into_iter().map(|(read, path)| (path, read)).collect();
        let now = SystemTime::now();
        for dataset in datasets {
            let (mut unread, hash) = (std::mem::take(&mut dataset.unread), dataset.hash);
            unread.retain(|copy| {
                let is_fresh = |read: &&ReadCopy| {
                    let age = now.duration_since(read.at).ok();
                    read.stamp.has_same_content(&copy.found.stamp)
                        && Some(read.md5) == hash
                        && age.is_some_and(|age| age <= rules.verified_within)
                };
                let is_known = known.get(&copy.found.path).filter(is_fresh).is_some();
                if is_known {
                    dataset.state.copies.push(copy.verified());
                    dataset.counted.push(copy.clone());
                }
                !is_known
            });
            dataset.unread = unread;
        }
        Ok(())
    }

    /// Reads the files here. What has not changed since it was registered is known.
    async fn read_files_here(&self, datasets: &mut [Dataset]) -> Result<(), Error> {
        let sources = datasets.iter().enumerate();
        let sources = sources.filter_map(|(index, dataset)| Some((index, dataset.source.clone()?)));
        let sources: Vec<(usize, FoundCopy)> = sources.collect();
        let Some((_, first)) = sources.first() else { return Ok(()) };
        let context = self.hash_context(&first.path, None);
        for (index, seen) in read_copies(sources, &context).await? {
            let Some(Dataset { state, hash, source: Some(source), .. }) = datasets.get_mut(index) else {
                continue;
            };
            state.source = match seen {
                Seen::File { size, md5, changing: None } if md5.is_some() && md5 == *hash => {
                    SourceState::Agrees { path: source.path.clone(), size }
                }
                Seen::Unreadable(reason) => SourceState::Unreadable(reason),
                _ => SourceState::Changed,
            };
        }
        Ok(())
    }

    /// Reads copies until there are enough, or no others.
    async fn read_missing(&self, datasets: &mut [Dataset], rules: &ReclaimRules<'_>) -> Result<(), Error> {
        loop {
            let mut next = Vec::new();
            for (index, dataset) in datasets.iter_mut().enumerate() {
                if dataset.state.has_enough(rules.needs).is_err()
                    && let Some(copy) = dataset.unread.pop()
                {
                    next.push((index, copy));
                }
            }
            let Some((_, first)) = next.first() else { return Ok(()) };
            // From the disk, not from what was known of it: that is the point.
            let context = self.copies_context(rules.repositories, &first.found.path, None);
            let copies = next.iter().map(|(index, copy)| (*index, copy.found.clone())).collect();
            let look = DiskLook { client: self, hangs_after: rules.hangs_after };
            let mut read = look.answered(Path::new("/"), read_copies(copies, &context)).await?;
            let mut kept = Vec::new();
            for (index, copy) in next {
                let (Some(dataset), Some(seen)) = (datasets.get_mut(index), read.remove(&index)) else {
                    continue;
                };
                let state = match seen {
                    Seen::File { md5: Some(md5), changing: None, .. } => {
                        let agrees = Some(md5) == dataset.hash;
                        let read = ReadCopy { stamp: copy.found.stamp, md5, at: SystemTime::now() };
                        kept.push((copy.found.path.clone(), read, agrees));
                        match agrees {
                            true => {
                                let verified = copy.verified();
                                dataset.counted.push(copy);
                                verified
                            }
                            false => CopyState::NotCounted(format!(
                                "the copy in {} has MD5 {md5}",
                                copy.repository
                            )),
                        }
                    }
                    Seen::Unreadable(why) => CopyState::NotCounted(format!("{}: {why}", copy.repository)),
                    _ => CopyState::NotCounted(format!("the copy in {} changes", copy.repository)),
                };
                dataset.state.copies.push(state);
            }
            if let Some(memory) = rules.memory.clone() {
                let _ = tokio::task::spawn_blocking(move || memory.keep(&kept)).await;
            }
        }
    }
}

/// A dataset that has a file in this folder, and that file unless it keeps the session anyway. Blocks.
fn here(record: &DatasetRecord, folder: &Path) -> Option<(Dataset, Option<FoundCopy>)> {
    let path = record.relative_path();
    let whole = names(&path, "").first().map(|path| folder.join(path))?;
    let hash = record.hash.as_deref().and_then(|hash| Md5Sum::parse(&hash.to_ascii_lowercase()));
    let (source, found) = match std::fs::symlink_metadata(&whole) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => (SourceState::Unreadable(error.to_string()), None),
        Ok(metadata) if metadata.is_symlink() => (SourceState::Link, None),
        Ok(metadata) if !metadata.is_file() => {
            (SourceState::Unreadable("it is no regular file".to_owned()), None)
        }
        Ok(metadata) if record.file_size.is_some_and(|size| size != metadata.len()) => {
            (SourceState::Changed, None)
        }
        Ok(metadata) => {
            (SourceState::Unread, Some(FoundCopy { path: whole, stamp: FileStamp::of(&metadata) }))
        }
    };
    let is_protected = match record.other.get("protected") {
        Some(serde_json::Value::Bool(protected)) => *protected,
        Some(value) => value.as_u64().is_some_and(|protected| protected > 0),
        None => false,
    };
    let state = DatasetState { path, is_protected, has_hash: hash.is_some(), source, copies: Vec::new() };
    Some((Dataset { state, hash, source: None, unread: Vec::new(), counted: Vec::new() }, found))
}

impl Copy {
    fn verified(&self) -> CopyState {
        CopyState::Verified { repository: self.repository.clone(), device: self.found.stamp.device }
    }
}

impl Dataset {
    /// Looks for its copies in one repository. Blocks.
    fn look(
        &mut self,
        record: &DatasetRecord,
        disk: &RepositoryDisk,
        source: &FoundCopy,
        servers: &BTreeSet<String>,
        quiet: &QuietRules,
        looks: &crate::listing::quiet::SessionLooks,
    ) {
        let name = &disk.repository.mount.repository;
        let mut not_counted = |why: String| self.state.copies.push(CopyState::NotCounted(why));
        if !servers.contains(name) {
            return not_counted(format!("{name} is a personal repository (globus_is_personal)"));
        }
        let copies = record.file_records.iter().filter(|copy| copy.data_repository.as_ref() == Some(name));
        let Some(copy) = copies.clone().find(|copy| copy.exists) else {
            return not_counted(format!("Alyx says that there is no copy in {name}"));
        };
        let path = copy.other.get("relative_path").and_then(|path| path.as_str());
        let names = path.map(|path| names(path, record.id())).unwrap_or_default();
        match disk.see(&names, std::slice::from_ref(&source.path), quiet, looks) {
            (Seen::File { size, changing: None, .. }, Some(found)) => {
                if found.stamp.device == source.stamp.device || is_same_file(&found.stamp, &source.stamp) {
                    not_counted(format!("the copy in {name} is on the same disk"));
                } else if size != source.stamp.size {
                    not_counted(format!("the copy in {name} has {size} bytes"));
                } else if let Some(same) =
                    self.unread.iter().find(|copy| is_same_file(&copy.found.stamp, &found.stamp))
                {
                    // One disk that is mounted twice.
                    not_counted(format!("the copy in {name} is the one in {}", same.repository));
                } else {
                    self.unread.push(Copy { repository: name.clone(), found });
                }
            }
            (Seen::File { .. }, _) => not_counted(format!("the copy in {name} is still written")),
            (Seen::Absent, _) => not_counted(format!("there is no copy in {name}")),
            (Seen::NoCopy(why) | Seen::Unreadable(why), _) => not_counted(format!("{name}: {why}")),
        }
    }

    /// Whether its copies are enough if all that are unread are good.
    fn could_have_enough(&self, needs: ReclaimNeeds) -> Result<(), KeptReason> {
        let mut state = self.state.clone();
        state.copies.extend(self.unread.iter().map(Copy::verified));
        state.has_enough(needs)
    }
}
