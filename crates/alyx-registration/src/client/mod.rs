//! The registration client: Alyx, caches of its names and types, and the threads that read files.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

pub(crate) mod context;
pub(crate) mod options;
pub(crate) mod record_outcome;

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tokio::sync::Mutex;

use crate::client::context::RunContext;
use crate::client::options::RegistrationOptions;
use crate::error::Error;
use crate::files::batch_size::BatchSize;
use crate::flag::FlagFile;
use crate::hashing::read_rate::ReadingState;
use crate::hashing::read_scheduler::ReadScheduler;
use crate::hashing::root_schedulers::RootSchedulers;
use crate::listing::copy_signs::CopySign;
use crate::listing::discover::{DiscoverRules, FoundFiles, Visitor, visit};
use crate::listing::left_out::LeftOutReason;
use crate::session::names::KnownNames;
use crate::session::request_marks::{Elsewhere, RECHECK_INTERVAL, RequestMark};
use alf::{DatasetType, DatasetTypes, SessionPath};
use alyx_client::Endpoint;

/// Creates sessions and registers datasets: the counterpart of Python's `one.registration.RegistrationClient`.
///
/// Cheap to clone; clones share their caches. The first request is sent by the first verb.
///
/// ```no_run
/// use alyx_client::{Client, ClientOptions, Credentials};
/// use alyx_registration::{RegistrationClient, RegistrationOptions};
///
/// # fn main() -> Result<(), alyx_client::Error> {
/// let credentials = Credentials::Password { username: "me".into(), password: "…".into() };
/// let alyx = Client::new(ClientOptions::new("https://alyx.example.org", credentials))?;
/// let client = RegistrationClient::new(alyx, RegistrationOptions::default());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct RegistrationClient {
    shared: Arc<Shared>,
    context: RunContext,
}

/// Both clocks when the first client was made.
pub(crate) fn clocks_began() -> (Instant, SystemTime) {
    static BEGAN: LazyLock<(Instant, SystemTime)> = LazyLock::new(|| (Instant::now(), SystemTime::now()));
    *BEGAN
}

#[derive(Debug)]
struct Shared {
    alyx: alyx_client::Client,
    options: RegistrationOptions,
    names: KnownNames,
    types: Mutex<Option<(Instant, Arc<DatasetTypes>)>>,
    schedulers: Arc<RootSchedulers>,
    batch: std::sync::Mutex<BatchSize>,
}

impl RegistrationClient {
    /// A client for one database and user. It remembers nothing from an earlier start of the program.
    pub fn new(alyx: alyx_client::Client, options: RegistrationOptions) -> Self {
        let schedulers = Arc::new(RootSchedulers::new(options.hash_threads));
        schedulers.rate().set(&options.reading);
        Self::build(alyx, options, RunContext::default(), schedulers)
    }

    /// A client with other options, or for another database or user, that replaces an earlier one whose runs may not
    /// have ended: they share the context, so that they never create the same session, and the threads that read files.
    #[must_use]
    pub fn in_place_of(alyx: alyx_client::Client, options: RegistrationOptions, earlier: &Self) -> Self {
        let schedulers = Arc::clone(&earlier.shared.schedulers);
        schedulers.set_count(options.hash_threads);
        schedulers.rate().set(&options.reading);
        Self::build(alyx, options, earlier.context.clone(), schedulers)
    }

    /// The same client with another context.
    #[must_use]
    pub fn in_context(&self, context: RunContext) -> Self {
        Self { shared: Arc::clone(&self.shared), context }
    }

    fn build(
        alyx: alyx_client::Client,
        options: RegistrationOptions,
        context: RunContext,
        schedulers: Arc<RootSchedulers>,
    ) -> Self {
        clocks_began();
        let names = KnownNames::new(options.names_kept);
        let batch = std::sync::Mutex::new(BatchSize::new(options.batch_size));
        let shared = Shared { alyx, options, names, types: Mutex::default(), schedulers, batch };
        Self { shared: Arc::new(shared), context }
    }

    /// The REST client underneath.
    pub fn alyx(&self) -> &alyx_client::Client {
        &self.shared.alyx
    }

    /// The live state that this client works with.
    pub fn context(&self) -> &RunContext {
        &self.context
    }

    /// How many bytes of files have been read, by all clones. A file whose checksum is cached is not read.
    pub fn bytes_read(&self) -> u64 {
        self.shared.schedulers.bytes_read()
    }

    /// How fast files are read now.
    pub fn reading(&self) -> ReadingState {
        let rate = self.shared.schedulers.rate();
        ReadingState {
            max_rate: self.options().reading.max_rate,
            yields: rate.yields(),
            yielded: rate.yielded(),
        }
    }

    /// Why MD5 sums are computed in the slower way, and what to do: two ways to compute one gave different results.
    pub fn md5_difference(&self) -> Option<String> {
        self.shared.schedulers.lanes().difference().map(ToString::to_string)
    }

    /// Waits until every creation of a record that was sent is answered; false: not within this time. Call this before
    /// the program exits: the server carries out a request even if its client is gone.
    pub async fn finish_creations(&self, within: Duration) -> bool {
        tokio::time::timeout(within, self.context.creations.finish()).await.is_ok()
    }

    /// Whether no creation of a session is on its way: each was answered, or can no longer arrive.
    pub fn has_settled(&self) -> bool {
        self.context.creations.is_settled(self.alyx().request_timeout())
    }

    /// Marks a request of this client that must not be sent twice; see [`RequestMarks`](crate::RequestMarks).
    pub(crate) async fn claim_request(&self, what: String) -> Result<Result<RequestMark, Elsewhere>, Error> {
        self.context.marks.claim(what, self.alyx().request_timeout()).await
    }

    /// Tries to mark a request again that another program has marked: until it is free, or Alyx is to be asked again. All
    /// sessions share the requests to Alyx, so it is asked less often than the mark is tried.
    pub(crate) async fn claim_again(
        &self,
        what: &str,
        mut elsewhere: Elsewhere,
    ) -> Result<Result<RequestMark, Elsewhere>, Error> {
        let began = Instant::now();
        loop {
            tokio::time::sleep(elsewhere.recheck_in()).await;
            let claim = self.claim_request(what.to_owned()).await?;
            match claim {
                Err(held) if began.elapsed() < RECHECK_INTERVAL && !held.recheck_in().is_zero() => {
                    elsewhere = held;
                }
                claim => return Ok(claim),
            }
        }
    }

    /// Goes on waiting for other programs that send the same request, unless other sessions wait for the place of this
    /// one.
    ///
    /// # Errors
    /// [`Error::SentElsewhere`].
    pub(crate) fn keep_place(
        &self,
        claim: &Result<RequestMark, Elsewhere>,
        doing: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        self.context.marks.keep_place(claim, doing, self.alyx().request_timeout())
    }

    /// The names that Alyx is known to have.
    pub(crate) fn known_names(&self) -> &KnownNames {
        &self.shared.names
    }

    pub(crate) fn options(&self) -> &RegistrationOptions {
        &self.shared.options
    }

    /// The scheduler of the data root of a file. Files below none of the configured ones share one.
    pub(crate) fn scheduler(&self, file: &Path) -> Arc<ReadScheduler> {
        let root = self.options().data.roots.iter().find(|root| file.starts_with(root));
        self.shared.schedulers.of(root.map_or(Path::new(""), PathBuf::as_path))
    }

    /// Reads or updates the batch size.
    pub(crate) fn batch_size<T>(&self, access: impl FnOnce(&mut BatchSize) -> T) -> T {
        access(&mut self.shared.batch.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// The record of a name on Alyx (Python: `assert_exists`).
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[doc = include_str!("../example_setup.txt")]
    /// use alyx_client::Endpoint;
    /// use alyx_registration::Error;
    ///
    /// let record = client.assert_exists(Endpoint::Subjects, "KS014").await?;
    /// assert_eq!(record["lab"], "cortexlab");
    /// let error = client.assert_exists(Endpoint::Repositories, "nowhere").await.unwrap_err();
    /// assert!(matches!(error, Error::Missing(_)));
    /// assert!(error.to_string().contains("nowhere"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Missing`] if Alyx has no such record; those of the request.
    pub async fn assert_exists(&self, endpoint: Endpoint, name: &str) -> Result<Value, Error> {
        self.shared.names.assert_exists(self.alyx(), endpoint, name).await
    }

    /// The records of several names, in order (Python: `assert_exists` with a list).
    ///
    /// # Errors
    /// [`Error::Missing`] with all names that are missing, not only the first.
    pub async fn assert_all_exist(&self, endpoint: Endpoint, names: &[&str]) -> Result<Vec<Value>, Error> {
        let names = names.iter().map(|name| (endpoint, (*name).to_owned()));
        self.shared.names.assert_all_exist(self.alyx(), names).await
    }

    /// The names on Alyx that a missing one was probably meant to be: they differ in letter case, or else in one letter.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[doc = include_str!("../example_setup.txt")]
    /// use alyx_client::Endpoint;
    ///
    /// assert_eq!(client.near_names(Endpoint::Subjects, "ks014").await, ["KS014"]);
    /// assert!(client.near_names(Endpoint::Subjects, "nobody").await.is_empty());
    /// # Ok(()) }
    /// ```
    pub async fn near_names(&self, endpoint: Endpoint, name: &str) -> Vec<String> {
        self.shared.names.near(self.alyx(), endpoint, name).await
    }

    /// Checks names; one error lists all that are missing.
    pub(crate) async fn check_names(&self, names: Vec<(Endpoint, String)>) -> Result<(), Error> {
        self.shared.names.check(self.alyx(), names).await
    }

    /// Clears the cache of names if an error may mean that one of them has been deleted.
    pub(crate) fn doubt_names(&self, error: &alyx_client::Error) {
        if matches!(error, alyx_client::Error::Refused { .. } | alyx_client::Error::NotFound { .. }) {
            self.shared.names.forget_all();
        }
    }

    /// The dataset types and extensions of the database, cached for [`names_kept`](RegistrationOptions::names_kept).
    ///
    /// # Errors
    /// [`Error::Alyx`].
    pub async fn dataset_types(&self) -> Result<Arc<DatasetTypes>, Error> {
        let mut cached = self.shared.types.lock().await;
        if let Some((at, types)) = &*cached
            && at.elapsed() < self.shared.options.names_kept
        {
            return Ok(Arc::clone(types));
        }
        let types = self.alyx().dataset_types().await?.into_iter().map(|record| DatasetType {
            name: record.name,
            filename_pattern: record.filename_pattern.unwrap_or_default(),
        });
        let types: Vec<DatasetType> = types.collect();
        let formats = self.alyx().data_formats().await?;
        let extensions = formats.into_iter().filter_map(|f| f.file_extension).collect();
        let types = Arc::new(DatasetTypes::new(types, extensions));
        *cached = Some((Instant::now(), Arc::clone(&types)));
        Ok(types)
    }

    /// The datasets in a session folder, and the reason why each other file is not one (Python: `find_files`).
    ///
    /// Only ALF names that match exactly one dataset type count, and neither hidden files nor those below a hidden
    /// folder.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[doc = include_str!("../example_setup.txt")]
    /// use alyx_registration::LeftOutReason;
    ///
    /// let session = root.join("KS014/2024-05-01/001");
    /// std::fs::create_dir_all(session.join("alf"))?;
    /// for name in ["alf/spikes.times.npy", "alf/._spikes.times.npy", "alf/nobody.knows.npy"] {
    ///     std::fs::write(session.join(name), "")?;
    /// }
    /// let found = client.find_files(&session).await?;
    /// assert_eq!(found.files.len(), 1);
    /// assert_eq!(found.files[0].path, session.join("alf/spikes.times.npy"));
    /// assert_eq!(found.left_out[0].reason, LeftOutReason::Hidden);
    /// assert!(found.left_out[1].reason.to_string().contains("no dataset type"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotASession`] for a path that is not a session folder; [`Error::Invalid`] if it does not exist, or
    /// [`Error::Unreadable`] if it cannot be listed.
    pub async fn find_files(&self, folder: &Path) -> Result<FoundFiles, Error> {
        let session = SessionPath::parse(folder)?;
        let found = self.find_datasets(&session, None, &[].into(), |_| None).await;
        found.map_err(|error| error.or_no_folder(folder))
    }

    /// The datasets of a session, on a blocking thread. `exclude` gives the reason to leave out a file, by its path
    /// relative to the session.
    pub(crate) async fn find_datasets(
        &self,
        session: &SessionPath,
        flag: Option<&FlagFile>,
        copy_signs: &Arc<[CopySign]>,
        exclude: impl Fn(&str) -> Option<LeftOutReason> + Send + 'static,
    ) -> Result<FoundFiles, Error> {
        let (found, files) = self.visit_datasets(session, flag, copy_signs, exclude, Vec::new()).await?;
        Ok(FoundFiles { files, ..found })
    }

    /// As [`find_datasets`](Self::find_datasets), but the datasets go to a visitor one by one.
    pub(crate) async fn visit_datasets<V: Visitor + Send + 'static>(
        &self,
        session: &SessionPath,
        flag: Option<&FlagFile>,
        copy_signs: &Arc<[CopySign]>,
        exclude: impl Fn(&str) -> Option<LeftOutReason> + Send + 'static,
        mut visitor: V,
    ) -> Result<(FoundFiles, V), Error> {
        let types = self.dataset_types().await?;
        let (folder, data) = (session.folder().to_owned(), Arc::clone(&self.options().data));
        let (flag, copy_signs) = (flag.cloned(), Arc::clone(copy_signs));
        let steps = Arc::clone(&self.context.progress.steps);
        tokio::task::spawn_blocking(move || {
            let step = steps.begin("listing", &folder);
            // Called for each file.
            let exclude = |path: &str| {
                step.touch();
                exclude(path)
            };
            let rules = DiscoverRules {
                types: &types,
                data: &data,
                copy_signs: &copy_signs,
                flag: flag.as_ref().map(|flag| flag.path.as_path()),
                flag_stamp: flag.as_ref().map(|flag| flag.stamp),
            };
            let found = visit(&folder, &rules, exclude, &mut visitor)?;
            Ok((found, visitor))
        })
        .await
        .map_err(|e| Error::Internal(format!("listing a session: {e}")))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alyx_client::{ClientOptions, Credentials};
    use alyx_sandbox::{Sandbox, SandboxOptions};
    use md5::{Digest, Md5};

    use crate::client::options::{FilesToRegister, RegisterFilesOptions};
    use crate::hashing::lanes::Lanes;
    use crate::session::details::SessionDetails;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_session_whose_first_md5_sums_were_wrong_is_registered_with_the_right_ones_and_that_is_reported()
     {
        let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
        let password = "TapetesBloc18".to_owned().into();
        let credentials = Credentials::Password { username: "test_user".into(), password };
        let alyx = alyx_client::Client::new(ClientOptions::new(sandbox.url(), credentials)).unwrap();
        let mut first = md5_lanes::Md5State::new();
        first.update(b"wrong");
        // With one thread the first file, which is checked, also ends first.
        let schedulers = Arc::new(RootSchedulers::build(1, Arc::new(Lanes::new(first))));
        let options = RegistrationOptions::default();
        let client = RegistrationClient::build(alyx, options, RunContext::default(), schedulers);
        assert_eq!(client.md5_difference(), None);

        let folder = tempfile::tempdir().unwrap();
        let session = folder.path().join("cortexlab/Subjects/KS014/2024-05-01/001");
        let content = |name: &str| format!("{name:>50}").repeat(10_000);
        let names = ["spikes.times.npy", "spikes.clusters.npy", "clusters.channels.npy"];
        std::fs::create_dir_all(session.join("alf")).unwrap();
        for name in names {
            std::fs::write(session.join("alf").join(name), content(name)).unwrap();
        }
        let details = SessionDetails::default();
        let files = RegisterFilesOptions::default();
        client.register_session(&session, &details, &FilesToRegister::All, &files).await.unwrap();

        let reported = client.md5_difference().unwrap();
        assert!(reported.contains("gave different results") && reported.contains(".npy"), "{reported}");
        let datasets = sandbox.control().datasets();
        for name in names {
            let dataset = datasets.iter().find(|dataset| dataset["name"] == name).unwrap();
            let right: [u8; 16] = Md5::digest(content(name)).into();
            assert_eq!(dataset["hash"], crate::hashing::md5_sum::Md5Sum::from(right).to_string(), "{name}");
        }
    }
}
