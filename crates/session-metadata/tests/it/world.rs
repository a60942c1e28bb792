//! A session in memory, in the shape that iblrig leaves.

use std::collections::BTreeMap;
use std::path::Path;

use alf::SessionPath;
use serde_json::{Value, json};
use session_metadata::{Field, Input, MapFiles, Options, SessionMetadata, SidecarFile, describe};

pub const SETTINGS: &str = "raw_behavior_data/_iblrig_taskSettings.raw.json";
pub const TRIALS: &str = "raw_behavior_data/_iblrig_taskData.raw.jsonable";
pub const DESCRIPTION: &str = "_ibl_experiment.description.yaml";
pub const SIDECAR: &str = "/data/m/2024-05-01/001/alyx-session.yaml";

/// A session under construction.
#[derive(Clone, Default)]
pub struct World {
    pub files: BTreeMap<String, Vec<u8>>,
    pub sidecars: Vec<SidecarFile>,
    pub options: Options,
    pub command_line: session_metadata::Layer,
    pub configuration: session_metadata::Layer,
}

pub fn session() -> SessionPath {
    SessionPath::parse(Path::new("/data/m/2024-05-01/001")).unwrap()
}

/// Settings of version 5.
pub fn version_5() -> Value {
    json!({
        "IBLRIG_VERSION_TAG": "5.0.0", "SUBJECT_NAME": "m", "SESSION_DATE": "2024-05-01", "SESSION_NUMBER": "001",
        "SESSION_DATETIME": "2024-05-01T10:00:00.5", "PYBPOD_CREATOR": ["ana", "an-id", "local"],
        "PYBPOD_BOARD": "rig_1", "PYBPOD_PROTOCOL": "biasedChoiceWorld", "SUBJECT_WEIGHT": 22.5, "POOP_COUNT": true,
        "REWARD_TYPE": "Water 10% Sucrose",
    })
}

/// Settings of version 8.
pub fn version_8() -> Value {
    json!({
        "IBLRIG_VERSION": "8.12.3", "SUBJECT_NAME": "m", "SESSION_NUMBER": 1, "RIG_NAME": "rig_8",
        "SESSION_START_TIME": "2024-05-01T10:00:00", "SESSION_END_TIME": "2024-05-01T11:00:00", "ALYX_USER": "ana",
        "PYBPOD_PROTOCOL": "trainingChoiceWorld", "SUBJECT_WEIGHT": 20,
    })
}

/// Trials that end every ten seconds; every second one is correct.
pub fn trials(numbers: std::ops::RangeInclusive<u32>) -> String {
    let trial = |n: u32| {
        let data = json!({"Bpod start timestamp": 1.0, "Trial end timestamp": 1.0 + 10.0 * f64::from(n)});
        json!({"trial_num": n, "trial_correct": n.is_multiple_of(2), "reward_amount": 3.0, "behavior_data": data})
            .to_string()
            + "\n"
    };
    numbers.map(trial).collect()
}

impl World {
    pub fn file(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.files.insert(path.to_owned(), content.as_ref().to_vec());
        self
    }

    pub fn sidecar(self, content: impl AsRef<[u8]>) -> Self {
        self.sidecar_at(SIDECAR, content)
    }

    pub fn sidecar_at(mut self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.sidecars.push(SidecarFile { name: name.to_owned(), content: content.as_ref().to_vec() });
        self
    }

    /// A session of version 5 with four trials.
    pub fn rig() -> Self {
        Self::default().file(SETTINGS, version_5().to_string()).file(TRIALS, trials(1..=4))
    }

    pub fn describe(&self) -> SessionMetadata {
        let files = MapFiles::from_iter(self.files.clone());
        let session = session();
        let input = Input {
            sidecars: self.sidecars.clone(),
            command_line: self.command_line.clone(),
            configuration: self.configuration.clone(),
            ..Input::new(&session, &files)
        };
        describe(&input, &self.options)
    }

    /// The only problem, in one line.
    pub fn problem(&self) -> String {
        let problems = self.describe().problems;
        let [problem] = problems.as_slice() else { panic!("{problems:?}") };
        let line = problem.to_string();
        assert!(!line.contains('\n'), "{line:?}");
        line
    }
}

/// The value of a field, and its source.
pub fn field(metadata: &SessionMetadata, field: Field) -> (Value, String) {
    let found = metadata.values.fields.get(&field).unwrap_or_else(|| panic!("no {}", field.name()));
    (found.value.clone(), found.source.to_string())
}
