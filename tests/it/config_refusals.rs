//! Errors in the configuration are reported with file, line, key and a next step.

use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alyx_client::backoff::Backoff;
use alyx_registrar::config::{
    Config, CredentialSource, Environment, LogFormat, LogLevel, Overrides, SandboxSetup, SecretKind,
    WatchMode,
};
use alyx_registration::ReadingOptions;

/// A valid configuration in four lines; a case adds its own from line 5 on.
const GOOD: &str = "data_roots: [/data]\nalyx:\n  url: https://alyx.org\n  username: me\n";

fn errors(text: &str) -> Vec<String> {
    match Config::parse(text, Path::new("c.yaml")) {
        Ok(config) => panic!("accepted:\n{text}\n{config:?}"),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

/// Each case is a text and all its errors, without the leading file name.
fn assert_refused(prefix: &str, cases: &[(&str, &[&str])]) {
    let mut wrong = String::new();
    for (added, expected) in cases {
        let found = errors(&format!("{prefix}{added}"));
        let expected: Vec<String> = expected.iter().map(|rest| format!("c.yaml{rest}")).collect();
        if found != expected {
            wrong += &format!("--- {added:?}\nexpected {expected:#?}\nfound {found:#?}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn good(added: &str) -> Config {
    Config::parse(&format!("{GOOD}{added}"), Path::new("c.yaml"))
        .unwrap_or_else(|err| panic!("{added}: {err}"))
}

#[test]
fn an_invalid_key_or_value_is_reported_with_its_line_and_a_next_step() {
    #[rustfmt::skip]
    assert_refused(GOOD, &[
        ("wrokers: 2\n", &[":5: wrokers: unknown key; did you mean workers?"]),
        ("data-roots: [/x]\n", &[":5: data-roots: unknown key; did you mean data_roots?"]),
        ("  timeouts:\n    request: 5 minuts\n", &[r#":6: alyx.timeouts.request: "5 minuts" is not a duration (example: 60 s)"#]),
        ("  timeouts: {conect: 1 s}\n", &[":5: alyx.timeouts.conect: unknown key; did you mean connect?"]),
        ("  timeouts:\n    request: 60\n", &[":6: alyx.timeouts.request: 60 has no unit; write 60 s or 60 min"]),
        ("  password: hunter2\n", &[":5: alyx.password: a password must not be in this file; put it into a file of mode 600 and name that with alyx.password_file"]),
        ("  token: abc\n", &[":5: alyx.token: a token must not be in this file; put it into a file of mode 600 and name that with alyx.token_file"]),
        ("  password_file: ./hunter2\n", &[":5: alyx.password_file: this must be the absolute path of a file, beginning with a slash (or a name of systemd's LoadCredential=); not the secret"]),
        ("  password_env: hunter 2\n", &[":5: alyx.password_env: this must be the name of a variable, such as ALYX_PASSWORD; not the secret"]),
        ("  password_file: /a\n  token_file: /b\n", &[":6: alyx.token_file: alyx.password_file is set as well; keep one of the two"]),
        ("  one_settings: .one\n", &[":5: alyx.one_settings: this must be the absolute path of a folder, such as /home/rig/.one"]),
        ("  one_settings: /a\n  token_file: /b\n", &[":5: alyx.one_settings: alyx.token_file is set as well; keep one of the two"]),
        ("  one_settings: [a]\n", &[":5: alyx.one_settings: this must be the path of a folder"]),
        ("datasets:\n  protected: maybe\n", &[r#":6: datasets.protected: "maybe" is not one of: refuse, revise"#]),
        ("repositories: {path: /a, name: b}\n", &[r#":5: repositories: a section is not a list"#]),
        ("repositories: [/a]\n", &[r#":5: repositories: item 1: this is not a path and a name (example: {path: /mnt/server/cortexlab/Subjects, name: flatiron_cortexlab})"#]),
        ("repositories:\n  - {path: /a}\n", &[r#":5: repositories: item 1: the name is missing (example: {path: /mnt/server/cortexlab/Subjects, name: flatiron_cortexlab})"#]),
        ("repositories:\n  - {name: b}\n", &[r#":5: repositories: item 1: the path is missing (example: {path: /mnt/server/cortexlab/Subjects, name: flatiron_cortexlab})"#]),
        ("repositories:\n  - {path: a, name: b}\n", &[r#":5: repositories: item 1: "a" is not an absolute path; it must start with a slash"#]),
        ("repositories:\n  - {path: /a, nme: b}\n", &[r#":5: repositories: item 1: "nme" is not a key here; the keys are path and name (example: {path: /mnt/server/cortexlab/Subjects, name: flatiron_cortexlab})"#]),
        ("repositories:\n  - {path: /a, name: b}\n  - {path: /a/, name: c}\n", &[r#":7: repositories[1]: "/a" occurs twice; a folder is in one repository"#]),
        ("repositories:\n  - {path: /a, name: b}\n  - {path: /a/c, name: b}\n", &[r#":7: repositories[1]: "/a" and "/a/c" are both "b", and one is inside the other; keep the one that paths on Alyx are relative to"#]),
        ("workers: 0\n", &[":5: workers: 0 is not between 1 and 64"]),
        ("workers: 1000\n", &[":5: workers: 1000 is not between 1 and 64"]),
        ("workers: two\n", &[r#":5: workers: "two" is not a whole number"#]),
        ("workers: -1\n", &[":5: workers: -1 is not a whole number"]),
        ("max_md5_size: 4 GiB\n", &[":5: max_md5_size: unknown key here; did you mean datasets.max_md5_size? Mind the indentation"]),
        ("reading:\n  max_rate: 10 kB\n", &[":6: reading.max_rate: this is less than 1 MB a second; leave the key out for no limit"]),
        ("reading:\n  min_rate: 10 kB\n", &[":6: reading.min_rate: this is less than 1 MB a second; leave the key out for 20 MB"]),
        ("reading:\n  max_rate: 5 MB\n  min_rate: 6 MB\n", &[":7: reading.min_rate: this is more than reading.max_rate"]),
        ("reading:\n  yield: slowly\n", &[r#":6: reading.yield: "slowly" is not true or false"#]),
        ("datasets:\n  max_md5_size: 4 G\n", &[r#":6: datasets.max_md5_size: "4 G" is not a size (examples: 4 GiB, 500 MB, 0)"#]),
        ("datasets:\n  versions: [1.10]\n", &[":6: datasets.versions: item 1: 1.1 is not text; put it in quotes"]),
        ("datasets:\n  versions: \"1.10\"\n", &[r#":6: datasets.versions: this must be a list; write ["1.10"]"#]),
        ("datasets:\n  exclude: [\"a[\"]\n", &[r#":6: datasets.exclude[0]: "a[" is not a pattern: invalid range pattern"#]),
        ("datasets:\n  exclude: [/raw]\n", &[":6: datasets.exclude[0]: a pattern is relative to the session folder; leave out the first slash"]),
        ("datasets:\n  on_refused: ignore\n", &[r#":6: datasets.on_refused: "ignore" is not one of: keep_flag, finish"#]),
        ("datasets:\n  register: yes\n", &[r#":6: datasets.register: "yes" is not true or false"#]),
        ("flags: [a/b.flag]\n", &[r#":5: flags[0]: "a/b.flag" is not a file name; write the name alone, without a folder"#]),
        ("flags: []\n", &[":5: flags: this list is empty; leave the key out for create_me.flag"]),
        ("flags: [\"*.flag\"]\n", &[r#":5: flags[0]: "*.flag" is a pattern; write whole file names, one for each kind of flag"#]),
        ("flags: [a.flag, a.flag]\n", &[r#":5: flags[1]: "a.flag" occurs twice"#]),
        ("flags: create_me.flag\n", &[r#":5: flags: this must be a list; write ["create_me.flag"]"#]),
        ("alerts:\n  webhook: https://hooks.slack.com/services/s3cret\n", &[":6: alerts.webhook: the address of a webhook is a secret and must not be in this file; put it into a file of mode 600 and name that with alerts.webhook_file"]),
        ("alerts:\n  webhook_file: https://hooks.slack.com/s3cret\n", &[":6: alerts.webhook_file: this must be the absolute path of a file, beginning with a slash (or a name of systemd's LoadCredential=); not the secret"]),
        ("alerts:\n  webhook_env: https://hooks.slack.com/s3cret\n", &[":6: alerts.webhook_env: this must be the name of a variable, such as ALERTS_WEBHOOK; not the secret"]),
        ("alerts:\n  webhook_file: [s3cret]\n", &[":6: alerts.webhook_file: this must be the path of a file"]),
        ("alerts:\n  webhook_file: /a\n  webhook_env: B\n", &[":7: alerts.webhook_env: alerts.webhook_file is set as well; keep one of the two"]),
        ("alerts:\n  kind: irc\n", &[r#":6: alerts.kind: "irc" is not one of: slack, teams, json"#]),
        ("alerts:\n  every: 0\n", &[":6: alerts.every: 0 s is not between 1 s and 1 d"]),
        ("http:\n  listen: 8080\n", &[":6: http.listen: 8080 is not an address with a port (example: 127.0.0.1:9174)"]),
        ("http:\n  listen: 127.0.0.1\n", &[r#":6: http.listen: "127.0.0.1" is not an address with a port (example: 127.0.0.1:9174)"#]),
        ("session:\n  users: alice\n", &[r#":6: session.users: this must be a list; write ["alice"]"#]),
        ("session:\n  users: [alice, 12]\n", &[":6: session.users: item 2: 12 is not text; put it in quotes"]),
        ("session:\n  lab: \"\"\n", &[":6: session.lab: this is empty; leave the key out instead"]),
        ("session: cortexlab\n", &[":5: session: this must be a section of `key: value` lines"]),
        ("session:\n- users\n", &[":5: session: this must be a section of `key: value` lines"]),
        ("watch:\n  settle: -2 s\n", &[r#":6: watch.settle: "-2 s" is negative"#]),
        ("watch:\n  mode: inotify\n", &[r#":6: watch.mode: "inotify" is not one of: auto, native, poll"#]),
        ("watch:\n  require_marker: /data/.mounted\n", &[r#":6: watch.require_marker: "/data/.mounted" is not a file name; write the name alone, without a folder"#]),
        ("watch:\n  require_marker: create_me.flag\n", &[r#":6: watch.require_marker: "create_me.flag" is also the name of a flag; give the marker another name"#]),
        ("watch:\n  warn_after: 400 d\n", &[":6: watch.warn_after: 400 d is not between 0 s and 365 d"]),
        ("watch:\n  rescan_interval: 0\n", &[":6: watch.rescan_interval: 0 s is not between 100 ms and 1 d"]),
        ("watch:\n  rescan_interval: 1 month\n", &[r#":6: watch.rescan_interval: "1 month": months and years have no fixed length; write days or hours"#]),
        ("retry:\n  initial: 2 h\n", &[":6: retry.initial: this is longer than retry.max, which is 1 h by default"]),
        ("retry:\n  initial: 10 s\n  max: 5 s\n", &[":7: retry.max: this is shorter than retry.initial"]),
        ("retry:\n  factor: 0.5\n", &[":6: retry.factor: 0.5 is not between 1 and 100"]),
        ("retry:\n  factor: .nan\n", &[":6: retry.factor: .nan is not a number"]),
        ("retry:\n  factor: 0.5\n  initial: 2 h\n", &[":6: retry.factor: 0.5 is not between 1 and 100", ":7: retry.initial: this is longer than retry.max, which is 1 h by default"]),
        ("retry:\n  initial: 0\n", &[":6: retry.initial: 0 s is not between 10 ms and 30 d"]),
        ("retry:\n  factor: .inf\n", &[":6: retry.factor: .inf is not a number"]),
        ("log:\n  level: verbose\n", &[r#":6: log.level: "verbose" is not one of: error, warn, info, debug, trace"#]),
        ("log:\n  format: JSON\n", &[r#":6: log.format: "JSON" is not one of: text, json"#]),
        ("timezone: Europe/Lissabon\n", &[r#":5: timezone: "Europe/Lissabon" is not a time zone (example: Europe/Lisbon)"#]),
        ("state_dir: var\n", &[r#":5: state_dir: "var" is not an absolute path; it must start with a slash"#]),
        ("state_dir: /data/state\n", &[r#":5: state_dir: this is inside the data root "/data", where nothing may be written; choose a folder elsewhere"#]),
        ("workers: 1\nworkers: 2\n", &[":6: workers: this key occurs twice in its section; keep one of them"]),
        ("log:\n\tlevel: info\n", &[":6: this is not valid YAML: found character that cannot start any token, while scanning for the next token; indent with spaces, not with a tab"]),
        ("log: {level: info\n", &[":6: this is not valid YAML: did not find expected ',' or '}', while parsing a flow mapping at line 5 column 6; look in this line and the one before for a wrong indentation, a missing quote or bracket, or a colon without a space after it"]),
        ("log: *x\n", &[":5: this is not valid YAML: unknown anchor; look in this line and the one before for a wrong indentation, a missing quote or bracket, or a colon without a space after it"]),
        ("? [a, b]\n: 1\n", &[": a key must be a plain word"]),
        ("watch:\n  require_marker: .\n", &[r#":6: watch.require_marker: "." is not a file name; write the name alone, without a folder"#]),
        ("metadata: {readers: [iblrg]}\n", &[r#":5: metadata.readers[0]: "iblrg" is not a reader; the readers are sidecar, iblrig, spikeglx, open_ephys"#]),
        ("metadata: {expect: [{file: [a]}]}\n", &[r#":5: metadata.expect: item 1: "file" is not a key here; the keys are files, project, protocol and subject (example: {files: ["raw_video_data/*.mp4"], project: practice})"#]),
        ("metadata: {wait_for: [/a]}\n", &[":5: metadata.wait_for[0]: a pattern is relative to the session folder; leave out the first slash"]),
        ("metadata: {users_map: {a: [b]}}\n", &[":5: metadata.users_map: a: a list is not a text"]),
        ("5: 1\n", &[":5: 5: unknown key; known at the top: data_roots, flags, alyx, session, metadata, repositories, follow, datasets, links, watch, retry, workers, hash_threads, reading, verify, state_dir, history, timezone, log, http, alerts"]),
        ("<<: {workers: 1}\n", &[r#":5: "<<": unknown key; known at the top: data_roots, flags, alyx, session, metadata, repositories, follow, datasets, links, watch, retry, workers, hash_threads, reading, verify, state_dir, history, timezone, log, http, alerts"#]),
        ("---\nworkers: 3\n", &[":6: a second document begins here (after ---); write one document only"]),
        ("workers: !secret 5\n", &[":5: workers: a tag (the word after !) means nothing here; leave it out"]),
        ("  username: you\n", &[":5: alyx.username: this key occurs twice in its section; keep one of them"]),
        ("log:\n  level: info\n   format: text\n", &[":7: this is not valid YAML: mapping values are not allowed in this context; look in this line and the one before for a wrong indentation, a missing quote or bracket, or a colon without a space after it"]),
        ("session:\n  json: [1]\n", &[":6: session.json: a list is not a section of `key: value` lines"]),
        ("session:\n  json:\n    id: 123456789012345678901234567890\n", &[":7: session.json.id: this number does not fit into 64 bits and would be rounded; put it in quotes, as text"]),
        ("session:\n  json: {ids: [1, -9223372036854775809]}\n", &[":6: session.json.ids[1]: this number does not fit into 64 bits and would be rounded; put it in quotes, as text"]),
        ("session:\n  json:\n    id: 1234567890123456789012345678901234567890123\n", &[":7: session.json.id: this number does not fit into 64 bits and would be rounded; put it in quotes, as text"]),
        ("workers: 99999999999999999999\n", &[":5: workers: this number does not fit into 64 bits and would be rounded; put it in quotes, as text"]),
        ("session:\n  json:\n    rig: {gain: [1, .inf]}\n", &[":6: session.json: rig.gain[1]: infinity and NaN cannot be sent as JSON; put them in quotes, or leave the key out"]),
        ("session:\n  json: {x: .nan}\n", &[":6: session.json: x: infinity and NaN cannot be sent as JSON; put them in quotes, or leave the key out"]),
        ("session:\n  earliest: yesterday\n", &[r#":6: session.earliest: "yesterday" is not a date (example: 2000-01-01)"#]),
        ("session:\n  earliest: 2000\n", &[":6: session.earliest: 2000 is not a date (example: 2000-01-01)"]),
        ("session:\n  earliest: 2023-02-29\n", &[r#":6: session.earliest: "2023-02-29" is not a date (example: 2000-01-01)"#]),
        ("workers: [1]\n", &[":5: workers: a list is not a whole number"]),
        ("alyxx:\n  url: x\n", &[":5: alyxx: unknown key; did you mean alyx?"]),
        ("session:\n  type: \"a\\nb\"\n", &[":6: session.type: this has a line break or another control character in it"]),
    ]);
}

#[test]
fn numbers_of_the_session_json_are_kept_exactly() {
    let config =
        good("session:\n  json: {a: 18446744073709551615, b: -9223372036854775808, c: 1e30, d: \"1e999\"}\n");
    let json = serde_json::Value::from(config.session.json.unwrap()).to_string();
    assert_eq!(json, r#"{"a":18446744073709551615,"b":-9223372036854775808,"c":1e+30,"d":"1e999"}"#);
}

#[test]
fn an_invalid_file_is_reported_completely() {
    #[rustfmt::skip]
    assert_refused("", &[
        ("", &[": data_roots: no data root; name at least one folder that holds sessions", ": alyx.url: this key is missing; write the address of your Alyx, such as https://alyx.example.org"]),
        ("# nothing\n", &[": data_roots: no data root; name at least one folder that holds sessions", ": alyx.url: this key is missing; write the address of your Alyx, such as https://alyx.example.org"]),
        ("just text\n", &[": the file must be a section of `key: value` lines"]),
        ("- a\n", &[": the file must be a section of `key: value` lines"]),
        ("data_roots: []\nalyx: {url: https://a.org}\n", &[":1: data_roots: no data root; name at least one folder that holds sessions"]),
        ("data_roots:\nalyx:\n", &[":1: data_roots: no data root; name at least one folder that holds sessions", ":2: alyx.url: this key is missing; write the address of your Alyx, such as https://alyx.example.org"]),
        ("data_roots: /data\nalyx: {url: https://a.org}\n", &[":1: data_roots: this must be a list: one line each, beginning with a dash"]),
        ("data_roots: [data, ~/x, /a/../b, /, $HOME/x]\nalyx: {url: https://a.org}\n", &[r#":1: data_roots[0]: "data" is not an absolute path; it must start with a slash"#, r#":1: data_roots[1]: "~/x": ~ is not expanded here; write the absolute path"#, r#":1: data_roots[2]: "/a/../b" has .. in it; write the path without"#, ":1: data_roots[3]: the whole file system is too much; name a folder", r#":1: data_roots[4]: "$HOME/x": variables are not expanded here; write the absolute path"#]),
        ("data_roots: [/a, /b/c, /b, /a/, /a/x]\nalyx: {url: https://a.org}\n", &[r#":1: data_roots[2]: "/b" has the data root "/b/c" inside it; sessions would be registered twice; keep the outer one"#, r#":1: data_roots[3]: "/a" occurs twice"#, r#":1: data_roots[4]: "/a/x" is inside the data root "/a"; its sessions would be registered twice; keep the outer one"#]),
        ("data_roots:\n  - {watch: poll}\n  - path: /x\n    wacth: poll\n  - /y\n  - path: /z\n    watch: inotify\n  - 7\n  -\n  - [/q]\nalyx: {url: https://a.org}\n", &[":2: data_roots[0]: the path of this data root is missing", ":4: data_roots[1].wacth: unknown key; did you mean watch?", r#":7: data_roots[3].watch: "inotify" is not one of: auto, native, poll"#, ":8: data_roots[4]: 7 is not text; put it in quotes", ":9: data_roots[5]: the path of this data root is missing", ":10: data_roots[6]: this must be a section of `key: value` lines"]),
        ("data_roots: [/data]\nalyx: https://a.org\n", &[":2: alyx: this must be a section of `key: value` lines"]),
        ("data_roots: [/data]\nalyx:\n  url: alyx.org\n", &[":3: alyx.url: this is not a full address: the https:// is missing; write it like https://alyx.example.org"]),
        ("data_roots: [/data]\nalyx:\n  url: ftp://alyx.org\n", &[":3: alyx.url: an address of Alyx begins with https:// or http://; write it like https://alyx.example.org"]),
        ("data_roots: [/data]\nalyx:\n  url: https://me:hunter2@alyx.org\n", &[":3: alyx.url: no user or password may be in the address; use alyx.username and alyx.password_file"]),
        ("data_roots: [/data]\nalyx:\n  url: https://alyx.org/?a=b\n", &[":3: alyx.url: leave out everything from the ? or # on; write it like https://alyx.example.org"]),
        ("data_roots: [/data]\nalyx:\n  url: https://\n", &[":3: alyx.url: this is not an address (empty host); write it like https://alyx.example.org"]),
        ("data_roots: [/data]\nalyx:\n  url: https://alyx.org\n  password_file: /p\n", &[":2: alyx.username: this key is missing; a password needs the name of its Alyx user"]),
        ("wrokers: 2\nlog: {levl: info}\nretry:\n  initial: soon\nalyx:\n  url: x\n", &[":1: wrokers: unknown key; did you mean workers?", ":2: log.levl: unknown key; did you mean level?", r#":4: retry.initial: "soon" is not a duration (example: 60 s)"#, ":6: alyx.url: this is not a full address: the https:// is missing; write it like https://alyx.example.org", ": data_roots: no data root; name at least one folder that holds sessions"]),
    ]);
}

#[test]
fn a_secret_in_the_wrong_place_is_never_repeated() {
    let places = [
        "  password: SECRET\n",
        "  Password: SECRET\n",
        "  token: SECRET\n",
        "  pasword: SECRET\n",
        "  password_file: ./SECRET\n",
        "  password_file: [SECRET]\n",
        "  token_file: ~/SECRET\n",
        "  password_env: SECRET!\n",
        "  token_env: 1SECRET\n",
        "  timeouts: SECRET\n",
        "password: SECRET\n",
        "session: SECRET\n",
    ];
    for place in places {
        let message = errors(&format!("{GOOD}{place}")).join("\n");
        assert!(!message.contains("SECRET"), "{place}: {message}");
    }
    let message = errors("data_roots: [/d]\nalyx: {url: 'https://me:SECRET@alyx.org'}\n").join("\n");
    assert!(!message.contains("SECRET"), "{message}");
    // It might be the name of a systemd credential.
    let config = good("  password_file: SECRET\n");
    let message = config.alyx.credentials.load_with(Some("me"), |_| None).unwrap_err();
    assert!(!format!("{config:?} {message:?}").contains("SECRET"), "{message}");
}

#[test]
fn an_unreadable_file_is_reported_with_the_fix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    let message = Config::load(&path).unwrap_err().to_string();
    assert!(message.starts_with(&path.display().to_string()) && message.contains("--config"), "{message}");

    std::fs::write(&path, b"data_roots: [/a]\n# caf\xe9\n").unwrap();
    let message = Config::load(&path).unwrap_err().to_string();
    assert_eq!(message, format!("{}:2: this line is not UTF-8 text; save the file as UTF-8", path.display()));

    let message = Config::load(folder.path()).unwrap_err().to_string();
    assert!(message.contains("cannot be read"), "{message}");

    let message = Config::load(Path::new("/dev/zero")).unwrap_err().to_string();
    assert_eq!(message, "/dev/zero: this is larger than 1 MiB; is it the right file?");
}

#[test]
fn a_thousand_errors_are_reported_in_part_and_counted() {
    let many: String = (0..1000).map(|i| format!("key{i}: 1\n")).collect();
    let message = errors(&format!("{GOOD}{many}"));
    assert_eq!(message.len(), 51);
    assert_eq!(message.last().map(String::as_str), Some("c.yaml: and 950 more errors"));
}

#[test]
fn aliases_that_expand_without_limit_are_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let item = format!("*a{}", i - 1);
        text += &format!("a{i}: &a{i} [{}]\n", vec![item; 10].join(", "));
    }
    let message = errors(&text).join("\n");
    assert!(message.contains("repetition limit"), "{message}");
    let deep = "[".repeat(10_000);
    assert_eq!(errors(&deep).len(), 1);
    assert_eq!(errors(&format!("a: {}", "{a: ".repeat(500))).len(), 1);
}

#[test]
fn too_many_brackets_are_refused_before_parsing() {
    // The parser takes minutes to hours for these, during which a reload would hang.
    for open in ["[", "{a: ", "[\n"] {
        let message = errors(&format!("{GOOD}session: {{json: {{a: {}", open.repeat(200_000)));
        let [message] = message.as_slice() else { panic!("{message:?}") };
        assert!(message.contains("too many brackets"), "{message}");
    }
}

#[test]
fn values_are_interpreted_as_intended() {
    let config = good(
        "  token_env: RIG_TOKEN\n  timeouts: {connect: PT2S, request: 1 min 30 s}\n\
         flags: [create_me.flag, raw_session.flag]\n\
         session: {users: [ana, bo], type: Base, json: {rig: 3, tags: [a]}}\n\
         datasets: {register: false, versions: ['1.10'], max_md5_size: 4 GiB, exclude: ['raw_*/**'], batch_size: 7, on_refused: finish}\n\
         watch: {settle: 0, empty_grace: 0 s}\nretry: {factor: 1.5}\ntimezone: Europe/Lisbon\nlog: {level: debug, format: json}\n\
         reading: {max_rate: 100 MB, min_rate: 5 MB, yield: false}\n",
    );
    let reading = ReadingOptions { max_rate: Some(100_000_000), min_rate: 5_000_000, yields: false };
    assert_eq!(config.reading, reading);
    assert_eq!(config.alyx.credentials, CredentialSource::TokenEnv("RIG_TOKEN".into()));
    assert_eq!(config.alyx.connect_timeout, Duration::from_secs(2));
    assert_eq!(config.alyx.request_timeout, Duration::from_secs(90));
    assert_eq!(config.flags, ["create_me.flag", "raw_session.flag"]);
    assert_eq!(config.session.users, ["ana", "bo"]);
    assert_eq!(config.session.kind.as_deref(), Some("Base"));
    assert_eq!(
        serde_json::Value::from(config.session.json.unwrap()),
        serde_json::json!({"rig": 3, "tags": ["a"]})
    );
    assert!(!config.datasets.register);
    assert_eq!(config.datasets.versions, ["1.10"]);
    assert_eq!(config.datasets.max_md5_size, Some(4 << 30));
    assert!(config.datasets.exclude[0].matches("raw_video/a/b.mp4"));
    assert_eq!(config.datasets.batch_size, 7);
    assert_eq!(config.datasets.on_refused, alyx_registration::OnRefused::Finish);
    assert_eq!(config.watch.quiet.settle, Duration::ZERO);
    let (initial, hour) = (Duration::from_secs(30), Duration::from_secs(3600));
    assert_eq!(Ok(config.retry.backoff), Backoff::try_new(initial, 1.5, hour));
    assert_eq!(config.timezone.unwrap().iana_name(), Some("Europe/Lisbon"));
    assert_eq!((config.log.level, config.log.format), (LogLevel::Debug, LogFormat::Json));
}

#[test]
fn a_root_overrides_the_section_watch() {
    let text = "data_roots:\n  - /a\n  - {path: /b, watch: native, require_marker: own.marker}\n\
                alyx: {url: https://a.org}\nwatch: {mode: poll, require_marker: .mounted, warn_after: 0}\n";
    let parsed = |overrides: &Overrides| parse_with(text, overrides, &Environment::default()).unwrap();
    let roots = |config: &Config| -> Vec<(WatchMode, Option<String>)> {
        config.data_roots.iter().map(|root| (root.watch, root.require_marker.clone())).collect()
    };
    let common = (WatchMode::Poll, Some(".mounted".to_owned()));
    let config = parsed(&Overrides::default());
    assert_eq!(roots(&config), [common.clone(), (WatchMode::Native, Some("own.marker".into()))]);
    assert_eq!(config.watch.warn_after, None);
    // Roots from the command line have no settings of their own.
    assert_eq!(
        roots(&parsed(&Overrides { data_roots: vec!["/b".into()], ..Overrides::default() })),
        [common]
    );
    let day = Duration::from_secs(24 * 3600);
    assert_eq!((roots(&good("")), good("").watch.warn_after), (vec![(WatchMode::Auto, None)], Some(day)));
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_accepted() {
    let text = format!("\u{feff}{GOOD}").replace('\n', "\r\n");
    assert_eq!(Config::parse(&text, Path::new("c.yaml")), Ok(good("")));
    let message = errors(&format!("{text}workers: x\r\n"));
    assert_eq!(message, [r#"c.yaml:5: workers: "x" is not a whole number"#]);
}

#[test]
fn an_address_without_encryption_is_a_warning_unless_it_is_this_computer() {
    let with = |url: &str| {
        let text = format!("data_roots: [/data]\nalyx: {{url: '{url}'}}\n");
        Config::parse(&text, Path::new("c.yaml")).unwrap().warnings.len()
    };
    assert_eq!(with("http://alyx.lab.org"), 1);
    for quiet in ["https://alyx.lab.org", "http://localhost:8000", "http://127.0.0.1", "http://[::1]:8000"] {
        assert_eq!(with(quiet), 0, "{quiet}");
    }
}

fn parse_with(text: &str, overrides: &Overrides, environment: &Environment) -> Result<Config, String> {
    Config::parse_with(text, Path::new("c.yaml"), overrides, environment).map_err(|err| err.to_string())
}

#[test]
fn the_command_line_overrides_the_file_and_the_file_the_environment() {
    let environment = Environment {
        state_directory: Some("/from/systemd".into()),
        credentials_directory: Some("/run/credentials/x".into()),
        ..Environment::default()
    };
    let nothing = Overrides::default();
    let state =
        |text: &str, overrides: &Overrides| parse_with(text, overrides, &environment).unwrap().state_dir;
    let in_file = format!("{GOOD}state_dir: /from/file\n");
    assert_eq!(good("").state_dir, Path::new("/var/lib/alyx-registrar"));
    assert_eq!(state(GOOD, &nothing), Path::new("/from/systemd"));
    assert_eq!(state(&in_file, &nothing), Path::new("/from/file"));
    let overrides = Overrides {
        data_roots: vec!["/typed".into()],
        url: Some("http://127.0.0.1:9".into()),
        state_dir: Some("/typed-state".into()),
        log_level: Some(LogLevel::Trace),
        log_format: Some(LogFormat::Json),
    };
    assert_eq!(state(&in_file, &overrides), Path::new("/typed-state"));
    let config = parse_with(GOOD, &overrides, &environment).unwrap();
    assert_eq!(config.data_roots.len(), 1);
    assert_eq!(config.data_roots[0].path, Path::new("/typed"));
    assert_eq!(config.data_roots[0].watch, WatchMode::Auto);
    assert_eq!(config.alyx.url.as_str(), "http://127.0.0.1:9/");
    assert_eq!((config.log.level, config.log.format), (LogLevel::Trace, LogFormat::Json));
    // Keys given on the command line may be missing in the file.
    assert!(parse_with("{}", &overrides, &environment).is_ok());
}

#[test]
fn a_plain_name_is_one_of_the_credentials_that_systemd_loaded() {
    let environment =
        Environment { credentials_directory: Some("/run/credentials/x".into()), ..Environment::default() };
    let credentials = |file: &str| {
        let text = format!("{GOOD}  password_file: {file}\n");
        parse_with(&text, &Overrides::default(), &environment).map(|config| config.alyx.credentials)
    };
    let file = |path: &str| Ok(CredentialSource::PasswordFile(PathBuf::from(path)));
    assert_eq!(credentials("alyx"), file("/run/credentials/x/alyx"));
    assert_eq!(credentials("/etc/pw"), file("/etc/pw"));
    assert!(credentials("../pw").is_err());
}

#[test]
fn outside_the_service_the_name_of_a_credential_is_not_a_configuration_error() {
    let config = Config::parse(&format!("{GOOD}  token_file: alyx\n"), Path::new("c.yaml")).unwrap();
    assert_eq!(config.alyx.credentials, CredentialSource::NotLoaded(SecretKind::Token));
    let message = config.alyx.credentials.load_with(None, |_| None).unwrap_err().to_string();
    assert!(message.contains("LoadCredential=") && message.contains("alyx.token_file"), "{message}");
}

#[test]
fn a_page_reachable_by_others_is_warned_of() {
    let listen = |typed: &str| good(&format!("http:\n  listen: \"{typed}\"\n"));
    assert_eq!(good("").http.listen, None);
    for local in ["127.0.0.1:9174", "[::1]:9174", "localhost:9174"] {
        let config = listen(local);
        assert!(
            config.http.listen.is_some_and(|at| at.port() == 9174) && config.warnings.is_empty(),
            "{local}"
        );
    }
    for open in ["0.0.0.0:9174", "[::]:9174", "192.168.1.7:9174"] {
        let warnings = listen(open).warnings;
        assert!(warnings.len() == 1 && warnings[0].contains("can read the names"), "{open}: {warnings:?}");
    }
}

#[test]
fn an_invalid_data_root_on_the_command_line_is_reported_as_such() {
    let overrides =
        Overrides { data_roots: vec!["/a".into(), "/a/b".into(), "c".into()], ..Overrides::default() };
    let message = parse_with(GOOD, &overrides, &Environment::default()).unwrap_err();
    assert_eq!(
        message,
        "command line: --data-root: \"/a/b\" is inside the data root \"/a\"; its sessions would be registered \
         twice; keep the outer one\ncommand line: --data-root: \"c\" is not an absolute path; it must start with a slash"
    );
}

#[test]
fn the_sandbox_is_configured_by_the_same_rules_as_a_file() {
    let odd = PathBuf::from(std::ffi::OsString::from_vec(b"/tmp/r\xffg \"1\"".to_vec()));
    let setup = SandboxSetup {
        url: "http://127.0.0.1:4321".into(),
        username: "experimenter".into(),
        data_roots: vec!["/tmp/a: b #c\n".into(), odd.clone()],
        state_dir: "/tmp/state".into(),
    };
    // As `run --sandbox` does: the paths are overrides too, because YAML cannot hold one that is not UTF-8.
    let load = |setup: &SandboxSetup| {
        let overrides = Overrides {
            data_roots: setup.data_roots.clone(),
            state_dir: Some(setup.state_dir.clone()),
            ..Overrides::default()
        };
        Config::parse_with(&setup.to_yaml(), Path::new("c.yaml"), &overrides, &Environment::default())
    };
    let config = load(&setup).unwrap();
    let roots: Vec<_> = config.data_roots.iter().map(|root| root.path.clone()).collect();
    assert_eq!(roots, [PathBuf::from("/tmp/a: b #c\n"), odd]);
    assert_eq!(config.alyx.url.as_str(), "http://127.0.0.1:4321/");
    assert_eq!(config.alyx.username.as_deref(), Some("experimenter"));
    assert_eq!(config.state_dir, Path::new("/tmp/state"));

    let plain = SandboxSetup { data_roots: vec!["/tmp/a: b #c".into()], ..setup.clone() };
    let as_file = Config::parse(&plain.to_yaml(), Path::new("c.yaml")).unwrap();
    assert_eq!(as_file, load(&plain).unwrap());

    let inside = SandboxSetup { data_roots: vec!["/tmp".into()], ..setup };
    assert!(load(&inside).unwrap_err().to_string().contains("inside the data root"));
}

#[test]
fn a_name_of_the_page_is_the_name_of_a_computer() {
    for (name, wanted) in [
        ("https://rig/", "write rig"),
        ("rig:80", "write rig"),
        ("http://me:pw@rig.lab.org:8080/page?x#y", "write rig.lab.org"),
        ("[fe80::1]:80", "write fe80::1"),
        ("*", "such as rig1.lab.org"),
        ("", "this is empty"),
        ("*.lab.org", "such as rig1.lab.org"),
        ("my rig", "such as rig1.lab.org"),
    ] {
        let found = errors(&format!("{GOOD}http:\n  names: [ok.org, {name:?}]\n"));
        assert!(
            found.len() == 1 && found[0].contains("http.names") && found[0].contains(wanted),
            "{name}: {found:?}"
        );
    }
    good("http:\n  names: [rig1, rig1.lab.org, Rig-1_a., \"fe80::1\", 10.0.0.1]\n");
}

#[test]
fn an_earliest_day_in_the_future_is_refused() {
    let today = "2026-05-01".parse().ok();
    let environment = Environment { today, ..Environment::default() };
    let parse = |day: &str| {
        let text = format!("{GOOD}session:\n  earliest: {day}\n");
        Config::parse_with(&text, Path::new("c.yaml"), &Overrides::default(), &environment)
    };
    for day in ["9999-12-31", "2026-05-02"] {
        let refused = parse(day).unwrap_err().to_string();
        assert!(refused.contains(":6: session.earliest: ") && refused.contains("in the future"), "{refused}");
    }
    assert!(parse("2026-05-01").is_ok());
}
