//! What is known of a session: the values that its folder, the caller and the configuration give, each with its source.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::client::RegistrationClient;
use crate::error::{Error, MissingName};
use crate::flag::{FlagContent, FlagFile};
use crate::metadata::folder::{SourceStamps, is_gone};
use crate::metadata::layers::{details_of, set_detail};
use crate::metadata::options::{MetadataOptions, OnMissing};
use crate::metadata::sources::{Beside, MetadataSources};
use crate::opener::data_folders::DataFolders;
use crate::session::details::{SessionDetails, check_day};
use alf::SessionPath;
use alyx_client::{Endpoint, SessionRequest};
use session_metadata::{Field, Origin, SessionMetadata, SidecarFile};

/// How long until the next look at a session that lacks files, if its files settle sooner.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What is known of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownSession {
    /// The session.
    pub session: SessionPath,
    /// The values, each with its source; what is wrong, what is missing, and what is worth a warning.
    pub metadata: SessionMetadata,
    /// The files that were read.
    pub(crate) stamps: SourceStamps,
}

impl KnownSession {
    /// Reads the files of a session folder. Asks no Alyx. Blocks.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use alyx_registration::{Beside, KnownSession, MetadataOptions};
    ///
    /// let root = tempfile::tempdir()?;
    /// let folder = root.path().join("KS014/2024-05-01/001");
    /// std::fs::create_dir_all(&folder)?;
    /// std::fs::write(folder.join("alyx-session.yaml"), "projects: [practice]\n")?;
    /// let session = alf::SessionPath::parse(&folder)?;
    /// let options = MetadataOptions::default();
    /// let known = KnownSession::read(&session, Beside::default(), &options, &jiff::tz::TimeZone::UTC, Arc::default())?;
    /// assert_eq!(known.details().projects, ["practice"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of the folder itself; what is wrong in a file is in [`problems`](SessionMetadata::problems).
    pub fn read(
        session: &SessionPath,
        beside: Beside,
        options: &MetadataOptions,
        zone: &TimeZone,
        data: Arc<DataFolders>,
    ) -> Result<Self, Error> {
        let mut sources = MetadataSources::begin(session, beside, options, zone, data);
        sources.list()?;
        Ok(Self::of(session, sources))
    }

    /// Reads listed sources. Blocks.
    fn of(session: &SessionPath, sources: MetadataSources) -> Self {
        let (metadata, stamps) = sources.read();
        Self { session: session.clone(), metadata, stamps }
    }

    /// The flag of a session folder, by one of these names, if it describes its session. Blocks.
    pub fn sidecar_of_flag(folder: &Path, flags: &[String]) -> Option<SidecarFile> {
        flags.iter().find_map(|name| {
            let flag = FlagFile::load(folder.join(name)).ok()??;
            match flag.content().ok()? {
                FlagContent::Sidecar(content) => Some(flag_sidecar(&flag.path, &content)),
                FlagContent::Everything | FlagContent::Only(_) => None,
            }
        })
    }

    /// The details of a session that is created.
    pub fn details(&self) -> SessionDetails {
        details_of(&self.metadata, &self.session)
    }

    /// What would be sent for the session if it is new. Without users: it belongs to the user who is logged in.
    ///
    /// # Errors
    /// [`Error::Invalid`] for values that contradict each other.
    pub fn request(&self, zone: &TimeZone) -> Result<SessionRequest, Error> {
        let details = self.details();
        let request = details.creation(&self.session, "", zone)?;
        let users = request.users.filter(|_| !details.users.is_empty());
        Ok(SessionRequest { users, ..request })
    }

    /// Refuses what is wrong, and waits for what is missing.
    ///
    /// # Errors
    /// [`Error::Metadata`]; [`Error::Incomplete`] with [`OnMissing::Wait`].
    pub(crate) fn check(&self, on_missing: OnMissing, settle: Duration) -> Result<(), Error> {
        if !self.metadata.problems.is_empty() {
            return Err(Error::Metadata(self.metadata.problems.iter().map(ToString::to_string).collect()));
        }
        match self.missing() {
            missing if missing.is_empty() || on_missing == OnMissing::Finish => Ok(()),
            missing => Err(Error::Incomplete { missing, wait: settle.max(LOOK_AGAIN) }),
        }
    }

    /// Sets a field of the details to what is known; false: nothing is.
    pub fn set(&self, details: &mut SessionDetails, field: Field) -> bool {
        let found = self.metadata.values.fields.get(&field);
        found.inspect(|found| set_detail(details, field, &found.value)).is_some()
    }

    /// What it lacks, one line each.
    pub fn missing(&self) -> Vec<String> {
        self.metadata.missing.iter().map(ToString::to_string).collect()
    }

    /// The earliest day that it may have, if its sidecar sets one, and where.
    pub(crate) fn earliest(&self) -> Option<(Date, String)> {
        let found = self.metadata.values.settings.get("earliest")?;
        Some((found.value.as_str()?.parse().ok()?, found.source.to_string()))
    }

    /// Refuses its day if a wrong clock made it; `earliest`: the first day that the configuration expects.
    ///
    /// # Errors
    /// [`Error::Clock`].
    pub fn check_day(&self, options: &MetadataOptions, today: Date, earliest: Date) -> Result<(), Error> {
        let (earliest, setting) = earliest_day(&self.session, Some(self), options, earliest);
        check_day(&self.session, today, earliest, &setting)
    }

    /// Whether anything is known besides what the caller sets.
    pub(crate) fn adds_values(&self) -> bool {
        self.has_value(|origin| origin != Origin::CommandLine) || self.metadata.values.passive.is_some()
    }

    /// Whether its files say anything.
    pub(crate) fn is_described(&self) -> bool {
        let values = &self.metadata.values;
        self.has_value(Origin::is_file) || values.passive.is_some() || !values.from_subject.is_empty()
    }

    fn has_value(&self, is_meant: impl Fn(Origin) -> bool) -> bool {
        let values = &self.metadata.values;
        values.fields.values().chain(values.json.values()).any(|found| is_meant(found.source.origin))
    }

    /// The fields with their sources, in one line; `None` if no file says anything.
    pub fn sources(&self) -> Option<String> {
        let values = &self.metadata.values;
        let mut by_file: std::collections::BTreeMap<&str, Vec<&str>> = Default::default();
        for (field, found) in values.fields.iter().filter(|(_, found)| found.source.origin.is_file()) {
            by_file.entry(&found.source.file).or_default().push(field.name());
        }
        for (key, found) in values.json.iter().filter(|(_, found)| found.source.origin.is_file()) {
            by_file.entry(&found.source.file).or_default().push(key);
        }
        let parts: Vec<String> = by_file
            .into_iter()
            .map(|(file, names)| {
                let file = if file.is_empty() { "the subject on Alyx" } else { file };
                format!("{} from {file}", names.join(", "))
            })
            .collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    fn source_of(&self, missing: &MissingName) -> Option<String> {
        if missing.endpoint == Endpoint::Repositories {
            let (_, found) = self.repository().filter(|(name, _)| *name == missing.name)?;
            return Some(found.source.to_string());
        }
        let field = match missing.endpoint {
            Endpoint::Users => Field::Users,
            Endpoint::Labs => Field::Lab,
            Endpoint::Projects => Field::Projects,
            Endpoint::Procedures => Field::Procedures,
            Endpoint::Locations => Field::Location,
            _ => return None,
        };
        let found = self.metadata.values.fields.get(&field)?;
        let is_named = match &found.value {
            Value::String(text) => *text == missing.name,
            Value::Array(names) => names.iter().any(|name| *name == missing.name),
            _ => false,
        };
        (is_named && found.source.origin.is_file()).then(|| found.source.to_string())
    }
}

/// The earliest day of a session that is believed, and the setting that says so.
pub(crate) fn earliest_day(
    path: &SessionPath,
    known: Option<&KnownSession>,
    options: &MetadataOptions,
    general: Date,
) -> (Date, String) {
    known.and_then(KnownSession::earliest).unwrap_or_else(|| {
        let of_root = options.root_of(path.folder()).and_then(|root| root.earliest);
        (of_root.unwrap_or(general), "session.earliest".to_owned())
    })
}

/// An error about missing names, with the files in which they were read.
pub(crate) fn with_sources(known: Option<&KnownSession>, error: Error) -> Error {
    match (known, error) {
        (Some(known), Error::Missing(mut names)) => {
            for name in &mut names {
                name.from = known.source_of(name);
            }
            Error::Missing(names)
        }
        (_, error) => error,
    }
}

impl RegistrationClient {
    /// What is known of a session; `None` if no metadata is read.
    ///
    /// # Errors
    /// Those of the session folder.
    pub async fn read_metadata(
        &self,
        session: &SessionPath,
        beside: Beside,
    ) -> Result<Option<KnownSession>, Error> {
        if self.options().metadata.is_off() {
            return Ok(None);
        }
        let read = move |client: &Self, session: &SessionPath| {
            let options = client.options();
            let data = Arc::clone(&options.data);
            KnownSession::read(session, beside, &options.metadata, &options.zone, data)
        };
        self.reading_metadata(session, read).await?.map(Some)
    }

    /// The sources of what is known of a session, its sidecars read; `None` if no metadata is read.
    pub(crate) async fn metadata_sources(
        &self,
        session: &SessionPath,
        beside: Beside,
    ) -> Result<Option<MetadataSources>, Error> {
        if self.options().metadata.is_off() {
            return Ok(None);
        }
        let begin = move |client: &Self, session: &SessionPath| {
            let options = client.options();
            let data = Arc::clone(&options.data);
            MetadataSources::begin(session, beside, &options.metadata, &options.zone, data)
        };
        self.reading_metadata(session, begin).await.map(Some)
    }

    /// What is known of a session from its sources, listed or yet to be listed.
    ///
    /// # Errors
    /// Those of the session folder, if it is yet to be listed; [`Error::StillChanging`] if a file has changed since it was
    /// listed or opened.
    pub(crate) async fn read_sources(
        &self,
        session: &SessionPath,
        mut sources: MetadataSources,
        is_listed: bool,
        wait: Duration,
    ) -> Result<KnownSession, Error> {
        let read = move |_: &Self, session: &SessionPath| {
            if !is_listed {
                sources.list()?;
            }
            let known = KnownSession::of(session, sources);
            match known.stamps.changed() {
                Some(path) => Err(Error::StillChanging { path: path.to_owned(), wait }),
                None => Ok(known),
            }
        };
        self.reading_metadata(session, read).await?
    }

    /// Refuses a session whose sidecars are no longer as they were when they were read. Its other files are compared with
    /// its datasets.
    pub(crate) async fn check_sidecars(
        &self,
        known: Option<&KnownSession>,
        flag: Option<&FlagFile>,
        wait: Duration,
    ) -> Result<(), Error> {
        let Some(known) = known else { return Ok(()) };
        let stamps = known.stamps.clone();
        let stamps = if let Some(flag) = flag { stamps.without_links_to(flag) } else { stamps };
        let check = move |_: &Self, session: &SessionPath| match stamps.changed_sidecar() {
            // It was moved away with them.
            Some(_) if is_gone(session.folder()) => {
                Err(Error::Vanished { path: session.folder().to_owned() })
            }
            Some(path) => Err(Error::StillChanging { path: path.to_owned(), wait }),
            None => Ok(()),
        };
        self.reading_metadata(&known.session, check).await?
    }

    /// Refuses to create a session with what its files no longer say. `has_waited`: long enough for new files.
    pub(crate) async fn check_sources(
        &self,
        known: Option<&KnownSession>,
        has_waited: bool,
    ) -> Result<(), Error> {
        let Some(known) = known else { return Ok(()) };
        let before = known.stamps.clone();
        let check = move |client: &Self, session: &SessionPath| {
            let changing = |path: &Path| Error::StillChanging { path: path.to_owned(), wait: LOOK_AGAIN };
            if let Some(path) = before.changed() {
                return Err(changing(path));
            }
            if !has_waited {
                return Ok(());
            }
            let (options, beside) = (client.options(), Beside { is_planned: true, ..Beside::default() });
            let data = Arc::clone(&options.data);
            let mut now = MetadataSources::begin(session, beside, &options.metadata, &options.zone, data);
            now.list()?;
            now.into_stamps().new_since(&before).map_or(Ok(()), |path| Err(changing(path)))
        };
        self.reading_metadata(&known.session, check).await?
    }

    /// Reads files of a session on a blocking thread.
    async fn reading_metadata<T: Send + 'static>(
        &self,
        session: &SessionPath,
        read: impl FnOnce(&Self, &SessionPath) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (client, session) = (self.clone(), session.clone());
        let read = move || {
            let _step = client.context().progress.steps.begin("reading the metadata of", session.folder());
            read(&client, &session)
        };
        tokio::task::spawn_blocking(read).await.map_err(|e| Error::Internal(format!("reading metadata: {e}")))
    }

    /// Completes what is known of a session that is created from the subject's record, where a reader asks for that.
    pub(crate) async fn fill_from_subject(&self, known: &mut KnownSession) -> Result<(), Error> {
        if known.metadata.values.from_subject.is_empty() {
            return Ok(());
        }
        // A subject that Alyx does not know is reported with the other names.
        let found = self.alyx().find_member(Endpoint::Subjects, known.session.subject()).await?;
        let text = |key: &str| found.as_ref()?.get(key)?.as_str().map(str::to_owned);
        let projects: Vec<String> = found
            .iter()
            .filter_map(|record| record.get("projects")?.as_array())
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect();
        known.metadata.fill_from_subject(text("responsible_user").as_deref(), &projects);
        Ok(())
    }
}

/// The content of a flag as a sidecar.
pub(crate) fn flag_sidecar(path: &Path, content: &[u8]) -> SidecarFile {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    SidecarFile { name, content: content.to_owned() }
}
