//! The registration client: Alyx, what is known about it, and the threads that read files.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use tokio::sync::Mutex;

use crate::error::Error;
use crate::files::batch_size::BatchSize;
use crate::files::discover::{FoundFiles, discover};
use crate::hashing::private_paths::PrivatePaths;
use crate::hashing::read_scheduler::ReadScheduler;
use crate::session::creation::InFlightCreations;
use crate::session::names::KnownNames;
use alf::{DatasetType, DatasetTypes, SessionPath};

/// What a [`RegistrationClient`] needs to know.
#[derive(Debug, Clone)]
pub struct RegistrationOptions {
    /// The most files in one request. A request of many files runs into the server's time limit: about 29 ms a
    /// file, 30 s in all by default.
    pub batch_size: usize,
    /// How many files are read at once.
    pub hash_threads: usize,
    /// Where times with an offset are converted to.
    pub zone: TimeZone,
    /// How long a name, the dataset types and the data formats are believed before Alyx is asked again.
    pub names_kept: Duration,
    /// Files and folders that are never opened as data, such as the program's own secrets and state.
    pub private: Arc<PrivatePaths>,
}

impl Default for RegistrationOptions {
    fn default() -> Self {
        Self {
            batch_size: 100,
            hash_threads: 2,
            zone: TimeZone::system(),
            names_kept: Duration::from_secs(3600),
            private: Arc::default(),
        }
    }
}

/// Creates sessions and registers datasets: the counterpart of Python's `one.registration.RegistrationClient`.
///
/// Cheap to clone; clones share what they know. Nothing is sent before the first verb.
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
}

#[derive(Debug)]
struct Shared {
    alyx: alyx_client::Client,
    options: RegistrationOptions,
    names: KnownNames,
    creations: Arc<InFlightCreations>,
    types: Mutex<Option<(Instant, Arc<DatasetTypes>)>>,
    scheduler: Arc<ReadScheduler>,
    batch: std::sync::Mutex<BatchSize>,
}

impl RegistrationClient {
    /// A client for one database and user.
    pub fn new(alyx: alyx_client::Client, options: RegistrationOptions) -> Self {
        let scheduler = ReadScheduler::new(options.hash_threads);
        Self::with(alyx, options, Arc::default(), scheduler)
    }

    /// A client with other options, or for another database or user, that takes the place of an earlier one whose work
    /// may still go on: the two create no session at the same time, and share the scheduler at reading files.
    #[must_use]
    pub fn in_place_of(alyx: alyx_client::Client, options: RegistrationOptions, earlier: &Self) -> Self {
        let scheduler = Arc::clone(&earlier.shared.scheduler);
        scheduler.set_count(options.hash_threads);
        Self::with(alyx, options, Arc::clone(&earlier.shared.creations), scheduler)
    }

    fn with(
        alyx: alyx_client::Client,
        options: RegistrationOptions,
        creations: Arc<InFlightCreations>,
        scheduler: Arc<ReadScheduler>,
    ) -> Self {
        let names = KnownNames::new(options.names_kept);
        let batch = std::sync::Mutex::new(BatchSize::new(options.batch_size));
        Self {
            shared: Arc::new(Shared {
                alyx,
                options,
                names,
                creations,
                types: Mutex::default(),
                scheduler,
                batch,
            }),
        }
    }

    /// The REST client underneath.
    pub fn alyx(&self) -> &alyx_client::Client {
        &self.shared.alyx
    }

    /// How many bytes of files were read so far, by all clones. A file whose checksum was remembered is not read.
    pub fn bytes_read(&self) -> u64 {
        self.shared.scheduler.bytes_read()
    }

    pub(crate) fn options(&self) -> &RegistrationOptions {
        &self.shared.options
    }

    pub(crate) fn known_names(&self) -> &KnownNames {
        &self.shared.names
    }

    pub(crate) fn creations(&self) -> &InFlightCreations {
        &self.shared.creations
    }

    pub(crate) fn scheduler(&self) -> &Arc<ReadScheduler> {
        &self.shared.scheduler
    }

    /// How many files go in one request, and what was learned of it.
    pub(crate) fn batch_size<T>(&self, look: impl FnOnce(&mut BatchSize) -> T) -> T {
        look(&mut self.shared.batch.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// The dataset types and extensions of the database, asked for once in a while.
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

    /// The datasets in a session folder, and why its other files are none (Python: `find_files`).
    ///
    /// Only ALF names of exactly one dataset type count, and neither hidden files nor what lies below a hidden folder.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[doc = include_str!("example_setup.txt")]
    /// use alyx_registration::Reason;
    ///
    /// let session = root.join("KS014/2024-05-01/001");
    /// std::fs::create_dir_all(session.join("alf"))?;
    /// for name in ["alf/spikes.times.npy", "alf/._spikes.times.npy", "alf/nobody.knows.npy"] {
    ///     std::fs::write(session.join(name), "")?;
    /// }
    /// let found = client.find_files(&session).await?;
    /// assert_eq!(found.files.len(), 1);
    /// assert_eq!(found.files[0].path, session.join("alf/spikes.times.npy"));
    /// assert_eq!(found.left_out[0].reason, Reason::Hidden);
    /// assert!(found.left_out[1].reason.to_string().contains("no dataset type"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotASession`] for a folder that is none; [`Error::Vanished`] or [`Error::Unreadable`] where it
    /// cannot be listed.
    pub async fn find_files(&self, folder: &Path) -> Result<FoundFiles, Error> {
        let session = SessionPath::parse(folder)?;
        self.look_through(&session, |_| None).await
    }

    /// Looks through a session folder on a blocking thread.
    pub(crate) async fn look_through(
        &self,
        session: &SessionPath,
        wanted: impl Fn(&str) -> Option<crate::files::discover::Reason> + Send + 'static,
    ) -> Result<FoundFiles, Error> {
        let types = self.dataset_types().await?;
        let (folder, private) = (session.folder().to_owned(), Arc::clone(&self.options().private));
        tokio::task::spawn_blocking(move || discover(&folder, &types, &private, wanted))
            .await
            .map_err(|e| Error::Internal(format!("looking through a session: {e}")))?
    }
}
