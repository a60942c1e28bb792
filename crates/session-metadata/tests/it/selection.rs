//! What is kept of a session with many files says the same as all of it.

use std::io::{self, Read};

use glob::Pattern;
use proptest::prelude::*;
use session_metadata::options::Expectation;
use session_metadata::{Entry, Input, MapFiles, Options, Selection, SessionFiles, Unusable, describe};

use crate::world::{DESCRIPTION, SETTINGS, TRIALS, session, trials, version_5};

/// The files of a session, of which a part is listed.
struct Part<'a> {
    all: &'a MapFiles,
    entries: Vec<Entry>,
    unusable: Vec<Unusable>,
}

impl<'a> Part<'a> {
    fn of(all: &'a MapFiles, options: &Options) -> Self {
        let mut selection = Selection::new(options);
        for entry in all.list() {
            match entry.size {
                None => selection.add_folder(&entry.path),
                Some(size) => selection.add_file(&entry.path, size),
            }
        }
        let (entries, unusable) = selection.finish();
        Self { all, entries, unusable }
    }
}

impl SessionFiles for Part<'_> {
    fn list(&self) -> &[Entry] {
        &self.entries
    }

    fn unusable(&self) -> &[Unusable] {
        &self.unusable
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Read + '_>> {
        self.all.open(path)
    }
}

const TASKS: &str = "tasks:\n- t: {collection: raw_behavior_data}\n- u: {collection: raw_task_data_01}\ndevices:\n  neuropixel: {collection: raw_ephys_data/probe*}\n  cameras: {collection: raw_video_data}\n  others: {collection: [\"\", alf/x]}\n";

const FOLDERS: [&str; 8] = [
    "",
    "raw_behavior_data/",
    "raw_ephys_data/probe00/",
    "raw_ephys_data/",
    "raw_video_data/",
    "alf/x/",
    "alf/",
    "_devices/",
];

const NAMES: [&str; 14] = [
    "",
    "spikes.times.npy",
    "spikes.clusters.npy",
    "left.MP4",
    "a.ap.meta",
    "a.ap.bin",
    "a.lf.cbin",
    "b.bin",
    "settings.xml",
    "narrative.txt",
    "_iblrig_taskSettings.raw.json",
    "_iblrig_taskData.raw.jsonable",
    "cam.status_pending",
    ".hidden",
];

fn content(name: &str, is_empty: bool) -> String {
    match name {
        _ if is_empty => String::new(),
        "a.ap.meta" => "fileCreateTime=2024-05-01T10:00:00\nfileSizeBytes=4\nfileTimeSecs=8\n".to_owned(),
        "settings.xml" => "<SETTINGS><INFO><DATE>1 May 2024 17:30:12</DATE></INFO></SETTINGS>".to_owned(),
        "_iblrig_taskSettings.raw.json" => version_5().to_string(),
        "_iblrig_taskData.raw.jsonable" => trials(1..=3),
        _ => "x".to_owned(),
    }
}

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap()
}

#[test]
fn what_is_kept_of_a_session_says_the_same_as_all_of_it() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 600,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let files = proptest::collection::vec(
        (proptest::sample::select(&FOLDERS[..]), proptest::sample::select(&NAMES[..]), any::<bool>()),
        0..24,
    );
    let readers = proptest::sample::subsequence(vec!["iblrig", "spikeglx", "open_ephys"], 0..=3);
    let input = (files, readers, any::<(bool, bool)>());
    let judged = |(files, readers, (all_devices, is_described)): (Vec<(&str, &str, bool)>, Vec<&str>, _)| {
        let files = files
            .into_iter()
            .map(|(folder, name, is_empty)| (format!("{folder}{name}"), content(name, is_empty)));
        let described = [(DESCRIPTION.to_owned(), TASKS.to_owned())].into_iter().filter(|_| is_described);
        let all: MapFiles = files.filter(|(path, _)| !path.is_empty()).chain(described).collect();
        let expected = ["alf/*.npy", "raw_video_data/*", "*.clusters.npy"].map(pattern).to_vec();
        let options = Options {
            readers: readers.into_iter().map(str::to_owned).collect(),
            all_devices,
            expect: vec![Expectation { files: expected, ..Expectation::default() }],
            ..Options::default()
        };
        let session = session();
        let whole = describe(&Input::new(&session, &all), &options);
        let part = describe(&Input::new(&session, &Part::of(&all, &options)), &options);
        prop_assert_eq!(part, whole);
        Ok(())
    };
    runner.run(&input, judged).unwrap();
}

#[test]
fn of_a_hundred_thousand_datasets_one_is_kept() {
    let mut selection = Selection::new(&Options::default());
    selection.add_folder("alf");
    (0..100_000).for_each(|number| selection.add_file(&format!("alf/spikes.times.part{number:05}.npy"), 1));
    for path in [SETTINGS, TRIALS, DESCRIPTION] {
        selection.add_file(path, 1);
    }
    let kept: Vec<String> = selection.finish().0.into_iter().map(|entry| entry.path).collect();
    assert_eq!(kept, [DESCRIPTION, "alf", "alf/spikes.times.part00000.npy", TRIALS, SETTINGS]);
}
