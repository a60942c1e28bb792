//! Files that are not what their names say: one clear line, and bounded memory.

use std::io::{self, Read};

use serde_json::json;
use session_metadata::readers::iblrig::{description, settings, trials};
use session_metadata::{Entry, Field, Input, Options, SessionFiles, describe};

use crate::world::{DESCRIPTION, SETTINGS, TRIALS, World, session, version_5};

/// A session of one file that has no end; counts what was read.
struct Endless {
    entries: Vec<Entry>,
    line: &'static [u8],
    read: std::cell::Cell<u64>,
}

impl SessionFiles for Endless {
    fn list(&self) -> &[Entry] {
        &self.entries
    }

    fn open(&self, _: &str) -> io::Result<Box<dyn Read + '_>> {
        struct Lines<'a>(&'a Endless, usize);
        impl Read for Lines<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                for byte in buffer.iter_mut() {
                    *byte = self.0.line[self.1 % self.0.line.len()];
                    self.1 += 1;
                }
                self.0.read.set(self.0.read.get() + buffer.len() as u64);
                Ok(buffer.len())
            }
        }
        Ok(Box::new(Lines(self, 0)))
    }
}

fn endless(path: &str, line: &'static [u8]) -> (String, u64) {
    let entries = vec![Entry { path: path.to_owned(), size: Some(u64::MAX) }];
    let files = Endless { entries, line, read: 0.into() };
    let session = session();
    let metadata = describe(&Input::new(&session, &files), &Options::default());
    (metadata.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "), files.read.get())
}

#[test]
fn no_more_is_read_than_a_reader_states() {
    for (path, limit) in [
        (SETTINGS, settings::MAX_BYTES),
        (DESCRIPTION, description::MAX_BYTES),
        ("narrative.txt", 256 * 1024),
    ] {
        let (problem, read) = endless(path, b"[1, ");
        assert!(problem.contains("is larger than") && problem.starts_with(path), "{problem}");
        assert!(read <= 4 * (limit + 64 * 1024), "{path}: {read}");
    }
    for path in ["x.nidq.meta", "settings.xml"] {
        let (_, read) = endless(path, b"<a b=\"c\">\n");
        assert!(read <= 4 * 1024 * 1024, "{path}: {read}");
    }
}

#[test]
fn a_line_of_trials_without_an_end_is_not_read_to_it() {
    let line = io::repeat(b'[').take(1 << 40);
    let problem = trials::parse(line, "t").unwrap_err().to_string();
    assert!(problem.starts_with("t:1: the file is larger than"), "{problem}");
}

#[test]
fn a_hundred_thousand_trials_are_counted_one_by_one() {
    let lines = b"{\"trial_num\": 7, \"trial_correct\": false}\n";
    let text = lines.repeat(100_000);
    let trials = trials::parse(text.as_slice(), "t").unwrap();
    assert_eq!((trials.lines, trials.count()), (100_000, None));
}

#[test]
fn broken_files_are_one_line_with_file_and_line() {
    let utf16: Vec<u8> =
        [0xff, 0xfe].into_iter().chain("lab: x".encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let deep = format!("a: {}", "[".repeat(5000));
    let nested = format!("a: {}", "{a: ".repeat(500));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..9 {
        bomb.push_str(&format!("a{n}: &a{n} [{}x]\n", format!("*a{}, ", n - 1).repeat(9)));
    }
    let wide = format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(2000), "*a, ".repeat(1000));
    for (content, wanted) in [
        (utf16.as_slice(), "UTF-16"),
        (b"lab: a\nx: \xff\n", ":2: this line is not UTF-8"),
        (deep.as_bytes(), ":1: too many brackets"),
        (nested.as_bytes(), "not valid YAML"),
        (bomb.as_bytes(), "repetition limit"),
        (wide.as_bytes(), "more than a million values"),
        (b"a: 1\na: 2\n", ":2: a: this key occurs twice"),
        (b"a: 99999999999999999999999\n", ":1: a: this number"),
        (b"\0\0\0", "UTF-16"),
    ] {
        for world in [World::default().sidecar(content), World::default().file(DESCRIPTION, content)] {
            let problem = world.problem();
            assert!(problem.contains(wanted), "{problem}");
        }
    }
    let cut = version_5().to_string();
    for (content, wanted) in [
        (cut.as_bytes().get(..cut.len() - 9).unwrap(), ":1: this is not valid JSON: EOF"),
        (b"{\"A\": 1,\n\"A\": 2}", ":2: A: this key occurs twice"),
        (b"", "this is not valid JSON"),
    ] {
        let problem = World::default().file(SETTINGS, content).problem();
        assert!(problem.starts_with(SETTINGS) && problem.contains(wanted), "{problem}");
    }
    let problem = World::rig().file(TRIALS, "{\"trial_num\": 1}\n\n{\"trial_num\": 2").problem();
    assert!(problem.starts_with(&format!("{TRIALS}:3: this line is not a trial")), "{problem}");
}

/// Looking up the line of each would take minutes.
#[test]
fn ten_thousand_keys_are_read_at_once() {
    let keys: String = (0..10_000).map(|n| format!("  k{n}: {n}\n")).collect();
    let metadata = World::default().sidecar(format!("json:\n{keys}")).describe();
    assert_eq!((metadata.problems.len(), metadata.json().len()), (0, 10_000));
    let with_line = metadata.values.json.values().filter(|found| found.source.line.is_some()).count();
    assert!((1..100).contains(&with_line), "{with_line}");
    let wrong: String = (0..10_000).map(|n| format!("k{n}: {n}\n")).collect();
    let problems = World::default().sidecar(wrong).describe().problems;
    assert_eq!(problems.len(), 51);
    assert!(problems[50].message.ends_with("and 9950 more errors"));
}

#[test]
fn a_byte_order_mark_and_nan_do_no_harm() {
    let mut settings = version_5().to_string();
    settings.insert_str(1, "\"GAIN\": NaN, \"X\": [-Infinity, Infinity, \"NaN\"],");
    let world = World::rig()
        .file(SETTINGS, format!("\u{feff}{settings}"))
        .file(DESCRIPTION, "\u{feff}projects: [p]\ntasks:\n- t: {collection: raw_behavior_data}\n");
    let metadata = world.sidecar("\u{feff}lab: l\n").describe();
    assert_eq!(metadata.problems, []);
    assert_eq!((metadata.text(Field::Lab), metadata.text(Field::Location)), (Some("l"), Some("rig_1")));
}

/// A session whose listing names files that are gone.
struct Vanished(Vec<Entry>);

impl SessionFiles for Vanished {
    fn list(&self) -> &[Entry] {
        &self.0
    }

    fn open(&self, _: &str) -> io::Result<Box<dyn Read + '_>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

#[test]
fn a_vanished_file_is_named() {
    for path in [SETTINGS, DESCRIPTION, "narrative.txt", "a.nidq.meta", "settings.xml"] {
        let files = Vanished(vec![Entry { path: path.to_owned(), size: Some(1) }]);
        let session = session();
        let metadata = describe(&Input::new(&session, &files), &Options::default());
        let [problem] = metadata.problems.as_slice() else { panic!("{path}: {:?}", metadata.problems) };
        assert!(problem.to_string().starts_with(&format!("{path}: the file vanished")), "{problem}");
    }
}

#[test]
fn a_nul_character_is_refused_with_its_file_and_key() {
    for (sidecar, wanted) in [
        ("lab: l\nnarrative: \"a\\0b\"\n", "alyx-session.yaml:2: narrative: a NUL"),
        ("json:\n  a: [{b: \"x\\0\"}]\n", "alyx-session.yaml:2: json.a: a NUL"),
        ("json:\n  \"a\\0\": 1\n", "alyx-session.yaml:2: json."),
        ("json: {a: {\"b\\0\": 1}}\n", "alyx-session.yaml:1: json.a: a NUL"),
        ("{\"narrative\": \"a\\u0000b\"}", "alyx-session.yaml:1: narrative: a NUL"),
    ] {
        let problem = World::default().sidecar(sidecar).problem();
        assert!(problem.contains(wanted) && problem.contains("a NUL character"), "{sidecar}: {problem}");
    }
    for (key, value) in [
        ("PYBPOD_BOARD", json!("a\0")),
        ("TASK_VERSION", json!("1\0")),
        ("IS_MOCK", json!({"a\0": 1})),
        ("REWARD_TYPE", json!("Water\0")),
    ] {
        let mut settings = version_5();
        settings[key] = value;
        let problem = World::rig().file(SETTINGS, settings.to_string()).problem();
        assert!(problem.contains("a NUL character"), "{key}: {problem}");
    }
}
