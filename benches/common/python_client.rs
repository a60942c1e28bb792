//! ONE-api's client, in a Python that has it.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Error;

/// The script of the Python client. Its start, the import of ONE and the login are not timed.
const CREATE_SESSIONS: &str = "
import json, resource, sys, time
from one.api import ONE
from one.registration import RegistrationClient
url, root, cache = sys.argv[1:4]
one = ONE(base_url=url, username='test_user', password='TapetesBloc18', silent=True, cache_dir=cache, cache_rest=None)
client = RegistrationClient(one=one)
began = time.perf_counter()
client.create_sessions(root, register_files=True)
took = time.perf_counter() - began
print(json.dumps({'took': took, 'memory': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6}))
";

/// What the Python client needed.
pub struct Measured {
    /// In seconds.
    pub seconds: f64,
    /// The peak resident memory, in MB.
    pub memory: f64,
}

/// Registers the flagged sessions of a root. ONE stores its settings in `home`: the user's own must not change.
pub fn create_sessions(python: &Path, url: &str, root: &Path, home: &Path) -> Result<Measured, Error> {
    let output = Command::new(python)
        .args(["-c", CREATE_SESSIONS, url])
        .arg(root)
        .arg(home.join("cache"))
        .env("HOME", home)
        .env("TQDM_DISABLE", "1")
        .stderr(Stdio::piped())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().last().unwrap_or_default();
    let measured: Value = serde_json::from_str(line)
        .map_err(|_| format!("the Python client failed: {}", String::from_utf8_lossy(&output.stderr)))?;
    let seconds = measured["took"].as_f64().ok_or("no time")?;
    let memory = measured["memory"].as_f64().ok_or("no memory")?;
    Ok(Measured { seconds, memory })
}
