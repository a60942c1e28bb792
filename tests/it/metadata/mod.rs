//! What is known of a session, on Alyx: read from its folder once, sent where Alyx has nothing, never erased.

mod changing;
mod command;
mod daemon;
mod existing;
mod measured;
mod never_erased;
mod new;
mod refused;
mod waiting;

use alyx_registration::{MetadataOptions, RegistrationClient, RegistrationOptions};
use serde_json::{Value, json};

use crate::common::{Alyx, Rig, Session};

/// The session that the fixtures describe.
pub fn session(rig: &Rig) -> Session {
    rig.session_at("cortexlab/Subjects/KS014/2024-05-01/001")
}

/// A client with these options.
pub fn client(alyx: &Alyx, metadata: MetadataOptions) -> RegistrationClient {
    let zone = jiff::tz::TimeZone::UTC;
    RegistrationClient::new(alyx.alyx(), RegistrationOptions { zone, metadata, ..Default::default() })
}

/// Settings of version 8 as a rig writes them, with some replaced.
pub fn settings(other: Value) -> String {
    let mut settings = json!({
        "IBLRIG_VERSION": "8.12.3", "SUBJECT_NAME": "KS014", "SESSION_NUMBER": 1, "RIG_NAME": "rig1",
        "SESSION_START_TIME": "2024-05-01T10:00:00", "SESSION_END_TIME": "2024-05-01T11:00:00", "ALYX_USER": "rig_user",
        "PYBPOD_PROTOCOL": "trainingChoiceWorld", "SUBJECT_WEIGHT": 20.5,
    });
    settings.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
    settings.to_string()
}

/// Trials, every second one correct, each with 3 µl of water.
pub fn trials(n: u32) -> String {
    let trial = |n: u32| {
        let data = json!({"Bpod start timestamp": 1.0, "Trial end timestamp": 1.0 + 10.0 * f64::from(n)});
        let trial = json!({"trial_num": n, "trial_correct": n.is_multiple_of(2), "reward_amount": 3.0, "behavior_data": data});
        trial.to_string() + "\n"
    };
    (1..=n).map(trial).collect()
}

pub const DESCRIPTION: &str = "_ibl_experiment.description_rig.yaml";
pub const SETTINGS: &str = "raw_task_data_00/_iblrig_taskSettings.raw.json";
pub const TRIALS: &str = "raw_task_data_00/_iblrig_taskData.raw.jsonable";

/// A session of an IBL rig with four trials.
pub fn ibl(session: &Session) {
    session
        .file(
            DESCRIPTION,
            "version: 1.0.0\ntasks:\n- trainingChoiceWorld: {collection: raw_task_data_00}\nprojects: [ibl_training]\n\
             procedures: [Behavior training/tasks]\n",
        )
        .file(SETTINGS, settings(json!({})))
        .file(TRIALS, trials(4));
}

/// The record of the only session on this Alyx.
pub async fn record(alyx: &Alyx, session: &Session) -> Value {
    serde_json::to_value(alyx.the_session(session).await).unwrap()
}

/// The requests that change something, as method and path, since the last clear.
pub fn changes(alyx: &Alyx) -> Vec<String> {
    let requests = alyx.control().requests().into_iter();
    let changing = requests.filter(|r| r.method != "GET" && r.path != "/auth-token");
    changing.map(|r| format!("{} {}", r.method, r.path.split('/').nth(1).unwrap_or_default())).collect()
}
