//! The output of every `--json` matches `docs/json.schema.json`, and so do the examples of its manual.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use alyx_registrar::cli::args::Cli;
use alyx_registrar::ledger::Ledger;
use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;

use crate::common::{Alyx, Rig};
use crate::program::Configuration;
use crate::verbs::{Said, at_home, run};

const MANUAL: &str = include_str!("../../docs/json.md");
const NOWHERE: &str = "http://127.0.0.1:9";

/// The schema, and which commands have been compared with it.
pub struct Checker {
    schemas: Schemas,
    index: SchemaIndex,
    commands: BTreeSet<String>,
    outcomes: BTreeSet<(String, String)>,
}

impl Checker {
    pub fn new() -> Self {
        let schema: Value = serde_json::from_str(include_str!("../../docs/json.schema.json")).unwrap();
        let mut compiler = Compiler::new();
        compiler.add_resource("json.schema.json", schema).unwrap();
        let mut schemas = Schemas::new();
        let index = compiler.compile("json.schema.json", &mut schemas).unwrap();
        Self { schemas, index, commands: BTreeSet::new(), outcomes: BTreeSet::new() }
    }

    /// Compares a document.
    #[track_caller]
    pub fn check(&mut self, document: &Value) {
        if let Err(error) = self.schemas.validate(document, self.index) {
            // The reasons of the alternatives for this command are among those of all.
            panic!("{error:#}\n{document:#}");
        }
        let word = |name: &str| document[name].as_str().unwrap().to_owned();
        self.commands.insert(word("command"));
        self.outcomes.insert((word("command"), word("outcome")));
    }

    /// Compares every line that a command printed. With an exit code other than 0, there is an error or a negative
    /// answer in a document.
    #[track_caller]
    fn check_output(&mut self, said: &Said) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {said:?}"));
        let documents: Vec<Value> = said.out.lines().map(parse).collect();
        documents.iter().for_each(|document| self.check(document));
        documents
    }

    fn accepts(&self, document: &Value) -> bool {
        self.schemas.validate(document, self.index).is_ok()
    }
}

/// The commands that have `--json`, and those that have not.
fn commands() -> (BTreeSet<String>, BTreeSet<String>) {
    let has_json = |command: &&clap::Command| command.get_arguments().any(|arg| arg.get_id() == "json");
    let definition = Cli::definition();
    let names = |list: Vec<&clap::Command>| list.iter().map(|c| c.get_name().to_owned()).collect();
    let (with, without) = definition.get_subcommands().partition(has_json);
    (names(with), names(without))
}

#[test]
fn every_command_that_a_script_calls_has_json() {
    let without: Vec<String> = commands().1.into_iter().collect();
    assert_eq!(without, ["completions", "demo", "init", "man", "rpc", "run", "sandbox"]);
}

/// A rig with an Alyx, and its configurations.
struct World {
    rig: Rig,
    alyx: Alyx,
}

impl World {
    async fn new() -> Self {
        let world = Self { rig: Rig::new(), alyx: Alyx::sandbox().await };
        world.config("etc", &world.alyx.url, "");
        world.config("away", NOWHERE, "");
        world.config("broken", NOWHERE, "fly: true\nwalk: 1\n");
        let server = world.rig.beside("server");
        let mount = format!("repositories:\n  - {{path: {}, name: flatiron_cortexlab}}\n", server.display());
        world.config("mounted", &world.alyx.url, &mount);
        let copy = server.join("KS014/2024-05-01/001/alf/spikes.times.npy");
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::write(copy, "abd").unwrap();
        world
    }

    fn config(&self, name: &str, url: &str, more: &str) {
        Configuration {
            roots: vec![self.rig.root()],
            url: url.to_owned(),
            user: self.alyx.user.clone(),
            password: self.alyx.password.clone(),
            more: more.to_owned(),
        }
        .write(&self.rig.beside(name));
    }

    /// Runs a command with `--json`; `{root}` and `{rig}` are folders.
    async fn said(&self, typed: &str) -> Said {
        let (root, rig) = (self.rig.root(), self.rig.beside(""));
        let word = |word: &str| {
            word.replace("{root}", root.to_str().unwrap())
                .replace("{rig}", rig.to_str().unwrap().trim_end_matches('/'))
        };
        let words: Vec<String> = typed.split_whitespace().map(word).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = at_home(&self.rig, &words);
        command.arg("--json");
        tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_output_of_every_command_matches_the_schema() {
    let world = World::new().await;
    let session = world.rig.session_at("cortexlab/Subjects/KS014/2024-05-01/001");
    session.file("alf/spikes.times.npy", "abc").file("notes.txt", "x").flag();
    world.rig.session_at("cortexlab/Subjects/nobody/2024-05-01/001").file("alf/spikes.times.npy", "a").flag();
    world.rig.session_at("cortexlab/Subjects/KS014/2024-05-02/001").file("a.nwb", "a").flag();
    world.rig.session_at("cortexlab/Subjects/KS014/2024-05-04/001").file("alf/spikes.times.npy", "a");
    world.rig.session_at("cortexlab/Subjects/my mouse/2024-05-01/001").file("alf/spikes.times.npy", "a");
    // A scan writes into a ledger that is there.
    drop(Ledger::open(&world.rig.beside("etc/state")));
    let mut checker = Checker::new();
    let s = "{root}/cortexlab/Subjects/KS014/2024-05-01/001";
    let c = "--config {rig}/etc/config.yaml";
    let calls = [
        // Dry runs, empty answers, negative answers.
        format!("history {c}"),
        format!("status {c}"),
        format!("scan --dry-run {c}"),
        format!("scan --orphans {c}"),
        format!("audit {c}"),
        format!("verify {c}"),
        format!("follow {c}"),
        format!("create-session {s} --dry-run {c}"),
        format!("register-session {s} --dry-run {c}"),
        format!("new-session KS014 {{root}} --date 2024-05-03 --dry-run {c}"),
        format!("create-sessions {{root}} --dry-run {c}"),
        format!("water KS014 1.5 --dry-run {c}"),
        format!("weight KS014 21.5 --dry-run {c}"),
        format!("exists subjects KS014 nobody {c}"),
        format!("exists labs {c}"),
        format!("propose {{root}} {c}"),
        format!("acknowledge --list {c}"),
        format!("find-files {s} {c}"),
        format!("metadata {s} {c}"),
        format!("metadata {s} --alyx {c}"),
        format!("retry --all {c}"),
        format!("forget KS014/2024-05-01/001 {c}"),
        format!("acknowledge KS014/2024-05-01/001 {c}"),
        // Created, unchanged, updated.
        format!("create-session {s} {c}"),
        format!("create-session {s} {c}"),
        format!("create-session {s} --narrative again {c}"),
        format!("register-files {s}/alf/spikes.times.npy --dry-run {c}"),
        format!("register-files {s}/alf/spikes.times.npy {s}/notes.txt {c}"),
        format!("register-files {s}/alf/spikes.times.npy {c}"),
        format!("register-files {s}/alf/spikes.times.npy --force {c}"),
        format!("register-session {s} {c}"),
        format!("register-session {s} --no-files {c}"),
        format!("check-protected {s}/alf/spikes.times.npy {s}/notes.txt {c}"),
        format!("new-session KS014 {{root}} --date 2024-05-03 {c}"),
        format!("new-session KS014 {{root}} --date 2024-05-03 --no-register {c}"),
        format!("water KS014,SWC_001 1.5 --date-time 2024-05-01T10:00 {c}"),
        format!("water KS014,SWC_001 1.5 --date-time 2024-05-01T10:00 {c}"),
        format!("weight KS014 21.5 {c}"),
        format!("weight KS014 21.5 {c}"),
        format!("scan {c}"),
        format!("audit {c}"),
        format!("verify --time-limit 0s {c}"),
        "follow --config {rig}/mounted/config.yaml".to_owned(),
        "reclaim --older-than 14d --config {rig}/mounted/config.yaml".to_owned(),
        format!("reclaim --older-than 14d {c}"),
        format!("create-sessions {{root}} {c}"),
        format!("check {c}"),
        format!("check --offline {c}"),
        "check --config {rig}/away/config.yaml".to_owned(),
        "check --config {rig}/broken/config.yaml".to_owned(),
        // What the scan wrote into the ledger.
        format!("history {c}"),
        format!("status {c}"),
        format!("forget KS014/2024-05-01/001 {c}"),
        format!("acknowledge KS014/2024-05-02/001 {c}"),
        format!("acknowledge --pattern *.nwb {c}"),
        format!("acknowledge --list {c}"),
        format!("acknowledge --withdraw *.nwb {c}"),
        format!("acknowledge --withdraw *.nwb {c}"),
        format!("propose {{root}} --apply --yes {c}"),
        format!("propose {s} --apply --yes {c}"),
        // Failures.
        "exists subjects KS014 --config {rig}/away/config.yaml".to_owned(),
        format!("register-files {s} {c}"),
        format!("register-files {s}/none.such.npy {c}"),
        format!("create-session {{root}} {c}"),
        format!("propose {{rig}}/etc {c}"),
        format!("propose {{root}} --apply {c}"),
        format!("create-session {s} --users nobody {c}"),
        "scan --config {rig}/away/config.yaml".to_owned(),
        "scan --orphans --config {rig}/away/config.yaml".to_owned(),
        "audit --config {rig}/away/config.yaml".to_owned(),
        "verify --config {rig}/away/config.yaml".to_owned(),
        format!("verify /nowhere/at/all {c}"),
        format!("audit /nowhere/at/all {c}"),
    ];
    for call in &calls {
        let said = world.said(call).await;
        let documents = checker.check_output(&said);
        let is_stream = ["history", "scan", "audit", "verify", "follow", "reclaim"]
            .iter()
            .any(|stream| call.starts_with(stream));
        assert!(documents.len() == 1 || is_stream, "{call}: {said:?}");
        assert!(said.code == 0 || !documents.is_empty() || is_stream, "{call}: {said:?}");
        if said.code >= 64 && !call.starts_with("status") {
            assert!(!documents.last().unwrap()["errors"].as_array().unwrap().is_empty(), "{call}: {said:?}");
        }
    }
    for outcome in ["registered", "planned", "failed", "orphan", "misnamed"] {
        assert!(checker.outcomes.contains(&("scan".into(), outcome.into())), "scan never said {outcome}");
    }
    for outcome in ["difference", "incomplete", "failed"] {
        assert!(checker.outcomes.contains(&("audit".into(), outcome.into())), "audit never said {outcome}");
    }
    for outcome in ["copy", "incomplete", "failed"] {
        assert!(checker.outcomes.contains(&("follow".into(), outcome.into())), "follow never said {outcome}");
    }
    for outcome in ["kept", "done", "failed"] {
        assert!(
            checker.outcomes.contains(&("reclaim".into(), outcome.into())),
            "reclaim never said {outcome}"
        );
    }
    for command in ["forget", "acknowledge"] {
        assert!(checker.outcomes.contains(&(command.into(), "done".into())), "{command} was never done");
    }
    let (with, _) = commands();
    assert_eq!(checker.commands, with, "a command with --json is not compared with the schema");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_command_line_or_configuration_is_a_document_too() {
    let world = World::new().await;
    let mut checker = Checker::new();
    for command in commands().0 {
        let said = world.said(&format!("{command} --no-such-option")).await.ends(2);
        let documents = checker.check_output(&said);
        assert_eq!((documents.len(), &documents[0]["command"]), (1, &command.clone().into()), "{said:?}");
        assert_eq!(documents[0]["errors"][0]["kind"], "Usage");
        let more = match command.as_str() {
            "exists" => "subjects KS014",
            "water" | "weight" => "KS014 1",
            "new-session" => "KS014 {root}",
            "retry" | "forget" | "acknowledge" => "KS014/2024-05-01/001",
            "reclaim" => "--older-than 14d",
            "status" | "history" | "scan" | "check" => "",
            "register-files" | "check-protected" => "{rig}/broken/config.yaml",
            _ => "{root}",
        };
        let said =
            world.said(&format!("{command} {more} --config {{rig}}/broken/config.yaml")).await.ends(78);
        let documents = checker.check_output(&said);
        assert_eq!(documents.len(), 1, "{said:?}");
        assert_eq!(documents[0]["errors"][0]["kind"], "Configuration", "{said:?}");
        assert_eq!(documents[0]["errors"][0]["retryable"], false);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_has_the_same_fields_whether_it_is_new_or_not() {
    let world = World::new().await;
    let session = world.rig.session_at("cortexlab/Subjects/KS014/2024-05-01/001");
    session.file("alf/spikes.times.npy", "abc");
    let mut checker = Checker::new();
    let fields = |record: &Value| -> Vec<String> { record.as_object().unwrap().keys().cloned().collect() };
    let c = "--config {rig}/etc/config.yaml";
    let s = "{root}/cortexlab/Subjects/KS014/2024-05-01/001";
    let calls = [
        (format!("register-session {s} {c}"), "/session"),
        (format!("register-session {s} {c}"), "/files/records/0/record"),
        (format!("water KS014 1.5 --date-time 2024-05-01T10:00 {c}"), "/measurements/0"),
        (format!("weight KS014 21 --date-time 2024-05-01T10:00 {c}"), "/measurements/0"),
    ];
    for (call, pointer) in calls {
        let mut seen = Vec::new();
        // The second row meets the dataset of the first: a changed file is an update.
        if pointer.starts_with("/files") {
            session.file("alf/spikes.times.npy", "changed");
        }
        for _ in 0..2 {
            let said = world.said(&call).await;
            let document = checker.check_output(&said).pop().unwrap();
            let found = document.pointer(pointer).unwrap().clone();
            seen.push((found["outcome"].as_str().unwrap().to_owned(), fields(&found), fields(&document)));
        }
        let first = if pointer.starts_with("/files") { "updated" } else { "created" };
        assert_eq!((seen[0].0.as_str(), seen[1].0.as_str()), (first, "unchanged"), "{call}");
        assert_eq!((&seen[0].1, &seen[0].2), (&seen[1].1, &seen[1].2), "{call}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_kept_exactly_even_if_it_is_not_utf_8() {
    let world = World::new().await;
    let session = world.rig.session_at("cortexlab/Subjects/KS014/2024-05-01/001");
    session.file("alf/spikes.times.npy", "abc");
    let names: [&[u8]; 2] = [b"a\x1b[31m\n.txt", b"b\xff.txt"];
    for name in names {
        std::fs::write(session.folder.join(std::ffi::OsStr::from_bytes(name)), "x").unwrap();
    }
    let mut checker = Checker::new();
    let c = "--config {rig}/etc/config.yaml";
    world.said(&format!("create-session {{root}}/cortexlab/Subjects/KS014/2024-05-01/001 {c}")).await.ends(0);
    let said = world.said(&format!("find-files {{root}}/cortexlab/Subjects/KS014/2024-05-01/001 {c}")).await;
    let found = checker.check_output(&said).pop().unwrap();
    let path = |value: &Value| -> Vec<u8> {
        match value {
            Value::String(text) => text.as_bytes().to_vec(),
            bytes => serde_json::from_value(bytes.clone()).unwrap(),
        }
    };
    let left_out = |document: &Value| -> Vec<Vec<u8>> {
        document["left_out"].as_array().unwrap().iter().map(|file| path(&file["path"])).collect()
    };
    for name in names {
        assert!(left_out(&found).contains(&name.to_vec()), "{found:#}");
    }
    let mut command = at_home(&world.rig, &["check-protected", "--json", "--config"]);
    command.arg(world.rig.beside("etc/config.yaml"));
    let whole = |name: &[u8]| session.folder.join(std::ffi::OsStr::from_bytes(name));
    command.args(names.map(whole));
    let said = tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap().ends(1);
    let document = checker.check_output(&said).pop().unwrap();
    for name in names {
        assert!(left_out(&document).contains(&whole(name).as_os_str().as_bytes().to_vec()), "{document:#}");
    }
}

#[test]
fn the_examples_of_the_manual_match_the_schema_and_every_command_has_one() {
    let mut checker = Checker::new();
    for block in MANUAL.split("```json\n").skip(1) {
        let text = block.split("```").next().unwrap();
        let example: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
        checker.check(&example);
    }
    assert_eq!(checker.commands, commands().0, "docs/json.md lacks the example of a command");
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json.schema.json").exists());
}

#[test]
fn a_field_that_is_not_in_the_schema_is_noticed() {
    let checker = Checker::new();
    let text = MANUAL.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let mut example: Value = serde_json::from_str(text).unwrap();
    assert!(checker.accepts(&example));
    example["more"] = 1.into();
    assert!(!checker.accepts(&example));
}
