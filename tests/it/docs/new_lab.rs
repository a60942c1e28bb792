//! `docs/new-lab.md`, followed to the letter: its commands run as they are printed, against an empty Alyx.

use std::path::Path;
use std::process::{Command, Stdio};

use alyx_sandbox::Seed;
use serde_json::Value;

use super::{lines, root};
use crate::common::{Alyx, Rig};
use crate::program::program;

/// The code blocks of a language, in order.
fn blocks(text: &str, language: &str) -> String {
    let of_language = lines(text).into_iter().filter(|(block, _)| *block == Some(language));
    of_language.map(|(_, line)| format!("{line}\n")).collect()
}

/// The commands with other values: a real rig's differ as well.
fn with_values(script: &str, values: &[(&str, &str)]) -> String {
    let mut script = script.to_owned();
    for (name, value) in values {
        let begin = format!("export {name}=");
        let line = script.lines().find(|line| line.starts_with(&begin)).expect(name).to_owned();
        script = script.replacen(&line, &format!("{begin}'{value}'"), 1);
    }
    script
}

/// Runs the manual's commands as one bash script. Every command must succeed, except `propose` while something lacks.
fn follow(rig: &Rig, alyx: &Alyx, last: &str) -> String {
    let manual = std::fs::read_to_string(root().join("docs/new-lab.md")).unwrap();
    let (home, data) = (rig.beside("home"), rig.root());
    std::fs::create_dir_all(&home).unwrap();
    let values =
        [("ALYX_URL", alyx.url.as_str()), ("ALYX_USER", &alyx.user), ("DATA", data.to_str().unwrap())];
    let script = with_values(&blocks(&manual, "sh"), &values);
    let failed = rig.beside("failed");
    let trap = format!("trap 'echo \"$?: $BASH_COMMAND\" >>{}' ERR\n", failed.display());
    let folder = Path::new(env!("CARGO_BIN_EXE_alyx-registrar")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command.args(["-c", &format!("{trap}{script}{last}")]).env_remove("SUDO_USER");
    command.env("HOME", &home).env("PATH", path).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), format!("{}\n", alyx.password).as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [&output.stdout[..], &output.stderr].concat();
    crate::common::secrets::none_in(&said, "docs/new-lab.md");
    let said = String::from_utf8(said).unwrap();
    let failed = std::fs::read_to_string(failed).unwrap_or_default();
    let failed: Vec<&str> = failed.lines().collect();
    let lacking =
        failed.len() == 2 && failed.iter().all(|line| line.starts_with("1: alyx-registrar propose"));
    assert!(lacking, "{failed:?}\n{said}");
    assert!(output.status.success(), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_lead_from_an_empty_alyx_to_a_registered_session() {
    let (rig, alyx) = (Rig::new(), Alyx::seeded(Seed::empty()).await);
    let said = tokio::task::block_in_place(|| follow(&rig, &alyx, ""));
    assert!(said.contains("Alyx has everything for 1 session"), "{said}");
    let sessions = alyx.control().sessions();
    assert_eq!((sessions.len(), &sessions[0]["subject"]), (1, &Value::from("M001")), "{said}");
    assert_eq!((&sessions[0]["lab"], &sessions[0]["projects"][0]), (&"mylab".into(), &"pilot".into()));
    let datasets = alyx.control().datasets();
    assert_eq!(datasets.len(), 1, "{said}");
    assert_eq!(datasets[0]["dataset_type"], "lickBouts.table");
    assert_eq!(datasets[0]["file_records"][0]["data_repository"], "mylab_server");
    assert_eq!(datasets[0]["file_records"][0]["exists"], true);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Python with ONE-api 3.6.1: `bash .ci/run` makes one, or set ONE_PYTHON to it; run with --ignored"]
async fn the_python_lines_load_what_the_commands_have_registered() {
    let Some(python) = std::env::var_os("ONE_PYTHON") else {
        return eprintln!(
            "skipped: ONE_PYTHON names no Python that has ONE-api 3.6.1; `bash .ci/run` makes one"
        );
    };
    let (rig, alyx) = (Rig::new(), Alyx::seeded(Seed::empty()).await);
    let manual = std::fs::read_to_string(root().join("docs/new-lab.md")).unwrap();
    let script = rig.beside("load.py");
    std::fs::write(&script, blocks(&manual, "python")).unwrap();
    let last = format!("{} {}\n", Path::new(&python).display(), script.display());
    let said = tokio::task::block_in_place(|| follow(&rig, &alyx, &last));
    assert!(said.contains("'alf/lickBouts.table.csv'") && said.contains("amplitude"), "{said}");
}

#[test]
fn the_practice_server_of_the_manual_begins_empty_and_says_who_can_log_in() {
    // Not by the means of the other tests, which refuse the password in an output: here it is no secret.
    let mut command = program();
    command.args(["sandbox", "--empty", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
    let mut server = command.spawn().unwrap();
    let (mut line, mut said) = (String::new(), std::io::BufReader::new(server.stdout.take().unwrap()));
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(line.contains("(user admin, password "), "{line}");
}
