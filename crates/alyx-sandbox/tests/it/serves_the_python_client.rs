//! The Python client works on the sandbox unchanged: it logs in, reads the schema, searches, creates, registers.
use alyx_sandbox::{Sandbox, SandboxOptions};
use serde_json::{Value, json};

#[tokio::test]
#[ignore = "needs a Python with ONE-api 3.6.1: set ONE_PYTHON to it and run with --ignored"]
async fn create_sessions_leaves_the_same_records_as_on_a_real_server() {
    let python = std::env::var_os("ONE_PYTHON").expect("ONE_PYTHON names a Python that has ONE-api 3.6.1");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/python/one_client_on_sandbox.py");
    let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
    let mut command = std::process::Command::new(python);
    command.arg(script).arg(sandbox.url());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let held: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&held["created"], &held["flags_left"]), (&json!(["001", "002"]), &json!(0)));
    let sessions = held["sessions"].as_array().unwrap();
    let n: Vec<usize> = sessions.iter().map(|s| s["datasets"].as_array().unwrap().len()).collect();
    assert_eq!(n, [4, 2], "{held:#}");
    let first = &sessions[0]["datasets"][0];
    assert_eq!(first["path"], "alf/spikes.clusters.npy");
    assert_eq!(first["repositories"], json!(["flatiron_mainenlab", "mainenlab_local"]));
    assert_eq!(sandbox.control().sessions().len(), 2);
    assert_eq!(sandbox.control().datasets().len(), 6);
}
