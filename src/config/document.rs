//! The YAML as written: all keys are optional, unknown keys are errors, values are not validated yet.
//!
//! These types are the only list of keys: the checks, the "did you mean" and [`known_keys`] are derived from them.

use std::net::SocketAddr;

use jiff::civil::Date;
use serde::{Deserialize, Deserializer};
use serde_yaml::Value;

use crate::config::keys::Keys;
use crate::config::values::{AllDevices, ByteSize, FromYaml, Json, Section, Text, UsersMap};
use crate::config::{LogFormat, LogLevel, WatchMode, WebhookKind};
use alyx_registration::{FollowMode, Mount, OnLate, OnLeftOut, OnMissing, OnRefused, ProtectedPolicy};
use session_metadata::options::Expectation;
use session_metadata::text::has_tag;

/// A value that may be absent or invalid. An invalid value does not hide other invalid ones.
#[derive(Debug)]
pub(super) struct Given<T>(pub(super) Result<Option<T>, String>);

impl<T> Default for Given<T> {
    fn default() -> Self {
        Given(Ok(None))
    }
}

impl<'de, T: FromYaml> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Given(match Value::deserialize(from)? {
            Value::Null => Ok(None),
            value if has_tag(&value) => {
                Err("a tag (the word after !) means nothing here; leave it out".to_owned())
            }
            value => T::from_yaml(&value).map(Some),
        }))
    }
}

/// A duration whose bounds are not checked yet.
pub(super) type GivenTime = Given<std::time::Duration>;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Document {
    pub(super) data_roots: Option<Vec<Option<RootDocument>>>,
    pub(super) flags: Given<Vec<Text>>,
    pub(super) alyx: Option<AlyxDocument>,
    pub(super) session: Option<SessionDocument>,
    pub(super) metadata: Option<MetadataDocument>,
    pub(super) repositories: Given<Vec<Mount>>,
    pub(super) follow: Given<FollowMode>,
    pub(super) datasets: Option<DatasetsDocument>,
    pub(super) links: Option<LinksDocument>,
    pub(super) watch: Option<WatchDocument>,
    pub(super) retry: Option<RetryDocument>,
    pub(super) workers: Given<u64>,
    pub(super) hash_threads: Given<u64>,
    pub(super) reading: Option<ReadingDocument>,
    pub(super) verify: Option<VerifyDocument>,
    pub(super) state_dir: Given<Text>,
    pub(super) history: Option<HistoryDocument>,
    pub(super) timezone: Given<Text>,
    pub(super) log: Option<LogDocument>,
    pub(super) http: Option<HttpDocument>,
    pub(super) alerts: Option<AlertsDocument>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RootDocument {
    pub(super) path: Given<Text>,
    pub(super) watch: Given<WatchMode>,
    pub(super) require_marker: Given<Text>,
    pub(super) complete: Given<AllDevices>,
    /// A [`SessionDocument`].
    pub(super) session: Given<Section>,
    /// A [`RootDatasetsDocument`].
    pub(super) datasets: Given<Section>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AlyxDocument {
    pub(super) url: Given<Text>,
    pub(super) username: Given<Text>,
    pub(super) password_file: Given<Text>,
    pub(super) password_env: Given<Text>,
    pub(super) token_file: Given<Text>,
    pub(super) token_env: Given<Text>,
    pub(super) one_settings: Given<Text>,
    pub(super) ca_file: Given<Text>,
    pub(super) timeouts: Option<TimeoutsDocument>,
    pub(super) max_requests_per_minute: Given<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ReadingDocument {
    pub(super) max_rate: Given<ByteSize>,
    pub(super) min_rate: Given<ByteSize>,
    #[serde(rename = "yield")]
    pub(super) yields: Given<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct VerifyDocument {
    pub(super) every: GivenTime,
    pub(super) window: Given<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LinksDocument {
    pub(super) allow: Given<Vec<Text>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TimeoutsDocument {
    pub(super) connect: GivenTime,
    pub(super) request: GivenTime,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SessionDocument {
    pub(super) users: Given<Vec<Text>>,
    pub(super) lab: Given<Text>,
    pub(super) projects: Given<Vec<Text>>,
    pub(super) procedures: Given<Vec<Text>>,
    pub(super) location: Given<Text>,
    pub(super) task_protocol: Given<Text>,
    #[serde(rename = "type")]
    pub(super) kind: Given<Text>,
    pub(super) json: Given<Json>,
    pub(super) earliest: Given<Date>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct MetadataDocument {
    pub(super) readers: Given<Vec<Text>>,
    pub(super) users_map: Given<UsersMap>,
    pub(super) expect: Given<Vec<Expectation>>,
    pub(super) wait_for: Given<Vec<Text>>,
    pub(super) on_missing: Given<OnMissing>,
    pub(super) measurements: Option<MeasurementsDocument>,
    pub(super) skip_subjects: Given<Vec<Text>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct MeasurementsDocument {
    pub(super) weight: Given<bool>,
    pub(super) water: Given<bool>,
}

/// The keys of `datasets` that a data root may have of its own.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RootDatasetsDocument {
    pub(super) register: Given<bool>,
    pub(super) repository: Given<Text>,
    pub(super) server_only: Given<bool>,
    pub(super) exists: Given<bool>,
    pub(super) default: Given<bool>,
    pub(super) versions: Given<Vec<Text>>,
    pub(super) max_md5_size: Given<ByteSize>,
    pub(super) exclude: Given<Vec<Text>>,
    pub(super) protected: Given<ProtectedPolicy>,
    pub(super) on_refused: Given<OnRefused>,
    pub(super) on_left_out: Given<OnLeftOut>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DatasetsDocument {
    pub(super) register: Given<bool>,
    pub(super) repository: Given<Text>,
    pub(super) server_only: Given<bool>,
    pub(super) exists: Given<bool>,
    pub(super) default: Given<bool>,
    pub(super) versions: Given<Vec<Text>>,
    pub(super) max_md5_size: Given<ByteSize>,
    pub(super) exclude: Given<Vec<Text>>,
    pub(super) protected: Given<ProtectedPolicy>,
    pub(super) on_refused: Given<OnRefused>,
    pub(super) on_left_out: Given<OnLeftOut>,
    pub(super) late: Given<OnLate>,
    pub(super) late_exclude: Given<Vec<Text>>,
    pub(super) batch_size: Given<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WatchDocument {
    pub(super) mode: Given<WatchMode>,
    pub(super) require_marker: Given<Text>,
    pub(super) rescan_interval: GivenTime,
    pub(super) poll_interval: GivenTime,
    pub(super) settle: GivenTime,
    pub(super) settle_remote: GivenTime,
    pub(super) empty_grace: GivenTime,
    pub(super) copy_signs: Given<Vec<Text>>,
    pub(super) warn_after: GivenTime,
    pub(super) late_files: GivenTime,
    pub(super) late_rate: Given<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RetryDocument {
    pub(super) initial: GivenTime,
    pub(super) factor: Given<f64>,
    pub(super) max: GivenTime,
    pub(super) permanent: GivenTime,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LogDocument {
    pub(super) level: Given<LogLevel>,
    pub(super) format: Given<LogFormat>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HistoryDocument {
    pub(super) keep: GivenTime,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HttpDocument {
    pub(super) listen: Given<SocketAddr>,
    pub(super) names: Given<Vec<Text>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AlertsDocument {
    pub(super) webhook_file: Given<Text>,
    pub(super) webhook_env: Given<Text>,
    pub(super) kind: Given<WebhookKind>,
    pub(super) away_after: GivenTime,
    pub(super) every: GivenTime,
}

/// Every key of the file as a dotted path, without sections; `data_roots[].path` is a key of a list item.
///
/// ```
/// let keys = alyx_registrar::config::known_keys();
/// assert!(keys.contains(&"alyx.timeouts.request".to_string()));
/// assert!(keys.contains(&"data_roots[].watch".to_string()));
/// ```
pub fn known_keys() -> Vec<String> {
    Keys::of::<Document>().leaves()
}
