//! What is known of a session: the values that its folder, the caller and the configuration give, each with its source.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use crate::client::RegistrationClient;
use crate::client::options::{FlaggedOptions, Versions};
use crate::error::{Error, MissingName};
use crate::flag::{FlagContent, FlagFile};
use crate::metadata::folder::SessionFolder;
use crate::metadata::layers::{details_of, layer_of, set_detail};
use crate::metadata::options::{MetadataOptions, OnMissing, RootMetadata};
use crate::opener::data_folders::DataFolders;
use crate::session::details::SessionDetails;
use alf::SessionPath;
use alyx_client::{Endpoint, SessionRequest};
use session_metadata::{
    Field, Input, Options as ReaderOptions, Origin, Problem, ProblemKind, SessionMetadata, SidecarFile,
    describe,
};

/// How long until the next look at a session that lacks files, if its files settle sooner.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What is known of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownSession {
    /// The session.
    pub session: SessionPath,
    /// The values, each with its source; what is wrong, what is missing, and what is worth a warning.
    pub metadata: SessionMetadata,
}

/// What is known of a session besides its files.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    /// The content of its flag, if that is a sidecar.
    pub flag: Option<SidecarFile>,
    /// What the command line sets.
    pub command_line: SessionDetails,
    /// The details of the configuration; those of the data root come before them.
    pub defaults: SessionDetails,
    /// Whether its folder is still to be created: then only sidecars above it are read.
    pub is_planned: bool,
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
        let folder = session.folder();
        let root = options.root_of(folder);
        let root_path = root.map_or_else(|| usual_root(session), |root| &root.path);
        let files = SessionFolder::list(folder, root_path, data, beside.is_planned)?;
        let (above, faults) = if options.sidecars { files.sidecars() } else { Default::default() };
        let readers = ReaderOptions {
            zone: zone.clone(),
            all_devices: root.is_some_and(|root| root.all_devices),
            ..options.readers.clone()
        };
        let defaults = defaults_in(root, &beside.defaults);
        let input = Input {
            command_line: layer_of(&beside.command_line, Origin::CommandLine),
            sidecars: beside.flag.into_iter().filter(|_| options.sidecars).chain(above).collect(),
            configuration: layer_of(&defaults, Origin::Configuration),
            ..Input::new(session, &files)
        };
        let mut metadata = describe(&input, &readers);
        metadata.problems.extend(faults.into_iter().map(|message| Problem {
            kind: ProblemKind::Unreadable,
            file: String::new(),
            line: None,
            key: String::new(),
            message,
        }));
        Ok(Self { session: session.clone(), metadata })
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

    /// The options for its files: its sidecar may name their repository, exclude some of them, and give versions.
    pub(crate) fn applied_to(&self, options: &FlaggedOptions) -> FlaggedOptions {
        let setting = |key: &str| self.metadata.values.settings.get(key).map(|found| &found.value);
        let texts = |key: &str| -> Option<Vec<String>> {
            let items = setting(key)?.as_array()?;
            Some(items.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        };
        let mut options = options.clone();
        if let Some(name) = setting("datasets.repository").and_then(Value::as_str) {
            options.files.repository = Some(name.to_owned());
        }
        if let Some(versions) = texts("datasets.versions") {
            options.files.versions = Versions::of_list(versions);
        }
        if let Some(patterns) = texts("datasets.exclude") {
            // Invalid ones are problems of the sidecar.
            options.exclude = patterns.iter().filter_map(|text| glob::Pattern::new(text).ok()).collect();
        }
        options
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

/// The data root of a session that is in none of the configuration, by its path: the folder of the lab, or else the one
/// that holds the subjects.
fn usual_root(session: &SessionPath) -> &Path {
    let above = if session.lab().is_some() { 4 } else { 3 };
    session.folder().ancestors().nth(above).unwrap_or(session.folder())
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

/// The details of the configuration for sessions in a data root.
pub(crate) fn defaults_in(root: Option<&RootMetadata>, general: &SessionDetails) -> SessionDetails {
    let Some(root) = root else { return general.clone() };
    let mut all = root.defaults.or(general);
    if let (Some(own), Some(general)) = (&root.defaults.json, &general.json) {
        let mut json: Map<String, Value> = general.clone();
        json.extend(own.clone());
        all.json = Some(json);
    }
    all
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
        let (client, session) = (self.clone(), session.clone());
        let read = move || {
            let _step = client.context().progress.steps.begin("reading the metadata of", session.folder());
            let options = client.options();
            let data = Arc::clone(&options.data);
            KnownSession::read(&session, beside, &options.metadata, &options.zone, data)
        };
        let read = tokio::task::spawn_blocking(read).await;
        read.map_err(|e| Error::Internal(format!("reading metadata: {e}")))?.map(Some)
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
