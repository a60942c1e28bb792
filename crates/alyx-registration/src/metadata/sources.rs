//! The sources of a session's metadata. Its sidecars are read first, because they also say which files are datasets; its
//! rig files once the session is listed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use crate::client::options::{FlaggedOptions, Versions};
use crate::error::Error;
use crate::listing::discover::SeenEntry;
use crate::metadata::folder::{SessionFolder, SourceStamps};
use crate::metadata::layers::layer_of;
use crate::metadata::options::{MetadataOptions, RootMetadata};
use crate::opener::data_folders::DataFolders;
use crate::session::details::SessionDetails;
use alf::SessionPath;
use session_metadata::{
    Input, Layer, Options as ReaderOptions, Origin, Problem, ProblemKind, Selection, SessionMetadata,
    SidecarFile, Sourced, describe, sidecar,
};

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

/// The sources of one session, its rig files not read yet.
pub(crate) struct MetadataSources {
    session: SessionPath,
    command_line: Layer,
    configuration: Layer,
    sidecars: Vec<SidecarFile>,
    /// Sidecars that cannot be read, one line each.
    faults: Vec<String>,
    settings: BTreeMap<String, Sourced<Value>>,
    readers: ReaderOptions,
    is_planned: bool,
    folder: SessionFolder,
    selection: Selection,
}

impl MetadataSources {
    /// Reads the sidecars of a session. Blocks.
    pub(crate) fn begin(
        session: &SessionPath,
        beside: Beside,
        options: &MetadataOptions,
        zone: &TimeZone,
        data: Arc<DataFolders>,
    ) -> Self {
        let root = options.root_of(session.folder());
        let root_path = root.map_or_else(|| usual_root(session), |root| &root.path);
        let mut folder = SessionFolder::new(session.folder(), root_path, data);
        let (above, faults) = if options.sidecars { folder.sidecars() } else { Default::default() };
        let flag = beside.flag.into_iter().filter(|_| options.sidecars);
        let sidecars: Vec<SidecarFile> = flag.chain(above).collect();
        let readers = ReaderOptions {
            zone: zone.clone(),
            all_devices: root.is_some_and(|root| root.all_devices),
            ..options.readers.clone()
        };
        Self {
            session: session.clone(),
            command_line: layer_of(&beside.command_line, Origin::CommandLine),
            configuration: layer_of(&defaults_in(root, &beside.defaults), Origin::Configuration),
            settings: sidecar::settings(&sidecars, zone),
            sidecars,
            faults,
            is_planned: beside.is_planned,
            folder,
            selection: Selection::new(&readers),
            readers,
        }
    }

    /// The options for the files of the session: its sidecars may name their repository, exclude some of them, and give
    /// versions. Pure.
    pub(crate) fn applied_to(&self, options: &FlaggedOptions) -> FlaggedOptions {
        let setting = |key: &str| self.settings.get(key).map(|found| &found.value);
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

    /// Takes in what a listing of the session has come to.
    pub(crate) fn see(&mut self, path: &Path, entry: SeenEntry<'_>) {
        self.folder.see(path, entry, &mut self.selection);
    }

    /// Lists the session, for a caller who does not list its datasets. Blocks.
    ///
    /// # Errors
    /// Those of the session folder itself.
    pub(crate) fn list(&mut self) -> Result<(), Error> {
        self.folder.list(&mut self.selection, self.is_planned)
    }

    /// What tells whether they still say the same.
    pub(crate) fn into_stamps(self) -> SourceStamps {
        self.folder.into_stamps()
    }

    /// Reads the rig files, and merges what all sources say. If one of the files has changed by then, what was read of it is
    /// not to be trusted. Blocks.
    pub(crate) fn read(self) -> (SessionMetadata, SourceStamps) {
        let files = self.folder.with(self.selection);
        let input = Input {
            command_line: self.command_line,
            sidecars: self.sidecars,
            configuration: self.configuration,
            ..Input::new(&self.session, &files)
        };
        let mut metadata = describe(&input, &self.readers);
        metadata.problems.extend(self.faults.into_iter().map(|message| Problem {
            kind: ProblemKind::Unreadable,
            file: String::new(),
            line: None,
            key: String::new(),
            message,
        }));
        (metadata, files.into_stamps())
    }
}

/// The data root of a session that is in none of the configuration, by its path: the folder of the lab, or else the one
/// that holds the subjects.
fn usual_root(session: &SessionPath) -> &Path {
    let above = if session.lab().is_some() { 4 } else { 3 };
    session.folder().ancestors().nth(above).unwrap_or(session.folder())
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

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "works on the disk")]
mod tests {
    use super::*;
    use crate::listing::discover::{DiscoverRules, FoundFile, Visitor, visit};
    use alf::DatasetTypes;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    impl Visitor for MetadataSources {
        fn dataset(&mut self, _: FoundFile) {}

        fn entry(&mut self, path: &Path, entry: SeenEntry<'_>) {
            self.see(path, entry);
        }
    }

    fn session(folder: &Path) -> SessionPath {
        let folder = folder.join("KS014/2024-05-01/001");
        fs::create_dir_all(folder.join("raw_behavior_data")).unwrap();
        SessionPath::parse(&folder).unwrap()
    }

    fn begin(session: &SessionPath) -> MetadataSources {
        let options = MetadataOptions::default();
        MetadataSources::begin(session, Beside::default(), &options, &TimeZone::UTC, Arc::default())
    }

    #[test]
    fn the_listing_of_the_datasets_shows_the_same_as_a_listing_for_the_metadata_alone() {
        let root = tempfile::tempdir().unwrap();
        let session = session(root.path());
        let at = |path: &str| session.folder().join(path);
        for folder in [".hidden/below", "raw_ephys_data/probe00", "narrative.txt"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for file in [
            "raw_behavior_data/_iblrig_taskSettings.raw.json",
            "raw_ephys_data/probe00/x.ap.meta",
            "raw_ephys_data/probe00/x.ap.bin",
            ".hidden/below/settings.xml",
            "spikes.times.npy",
            ".spikes.times.npy",
        ] {
            fs::write(at(file), "{}").unwrap();
        }
        symlink("/nowhere/at/all", at("raw_ephys_data/settings.xml")).unwrap();
        symlink("/", at("raw_ephys_data/y.ap.meta")).unwrap();
        symlink("below/settings.xml", at(".hidden/settings2.xml")).unwrap();
        let (mut alone, mut with_datasets) = (begin(&session), begin(&session));
        alone.list().unwrap();
        let (types, data) = (DatasetTypes::default(), DataFolders::default());
        let rules =
            DiscoverRules { types: &types, data: &data, copy_signs: &[], flag: None, flag_stamp: None };
        visit(session.folder(), &rules, |_| None, &mut with_datasets).unwrap();
        let kept = alone.selection.finish();
        assert_eq!(kept, with_datasets.selection.finish());
        assert_eq!((kept.0.len(), kept.1.len()), (12, 2), "{kept:?}");
    }

    #[test]
    fn a_file_that_changes_between_the_listing_and_its_reading_is_named() {
        let root = tempfile::tempdir().unwrap();
        let session = session(root.path());
        let settings = session.folder().join("raw_behavior_data/_iblrig_taskSettings.raw.json");
        fs::write(&settings, "{}").unwrap();
        for (content, expected) in [(None, None), (Some("{\"half"), Some(&settings))] {
            let mut sources = begin(&session);
            sources.list().unwrap();
            if let Some(content) = content {
                fs::write(&settings, content).unwrap();
            }
            assert_eq!(sources.read().1.changed(), expected.map(PathBuf::as_path));
        }
        let mut sources = begin(&session);
        sources.list().unwrap();
        fs::remove_file(&settings).unwrap();
        assert_eq!(sources.read().1.changed(), Some(settings.as_path()));
    }
}
