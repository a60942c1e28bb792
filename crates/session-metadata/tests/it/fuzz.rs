//! Any content ends with values, or with problems of one line: nothing panics.

use proptest::prelude::*;

use crate::world::{DESCRIPTION, SETTINGS, TRIALS, World, trials, version_5, version_8};

const SIDECAR: &str = "users: [ana]\njson: {a: [1, {b: null}]}\nweight: 21.5\nwater:\n- {volume: 0.5, time: 2024-05-01 10:00}\naccept: [date]\n";
const META: &str = "fileCreateTime=2024-05-01T10:00:00\nfileSizeBytes=4\nfileTimeSecs=824.46\n";
const XML: &str =
    "<?xml version=\"1.0\"?><SETTINGS><INFO><DATE>1 May 2024 17:30:12</DATE></INFO><A b=\"c\"/></SETTINGS>";
const TASKS: &str =
    "version: 1.0.0\ntasks:\n- t: &a {collection: raw_behavior_data}\ndevices: {d: *a}\nprojects:\n- p\n";

/// Fragments with a meaning, to get past the first character.
const PIECES: [&str; 28] = [
    "\"",
    "'",
    ":",
    ": ",
    "\n",
    "\n  ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "&a ",
    "*a",
    "!t ",
    "---\n",
    "~",
    "NaN",
    "-Infinity",
    "null",
    "1e999",
    "-1",
    "2024-05-01T10:00:00",
    "9999-12-31T23:59:59",
    "\\",
    "\u{feff}",
    "<![CDATA[",
    "=",
];

fn samples() -> Vec<(&'static str, String)> {
    vec![
        (SETTINGS, version_5().to_string().replace(',', ",\n")),
        (SETTINGS, version_8().to_string()),
        (TRIALS, trials(1..=3)),
        (DESCRIPTION, TASKS.to_owned()),
        ("a.nidq.meta", META.to_owned()),
        ("settings.xml", XML.to_owned()),
        ("narrative.txt", "text".to_owned()),
        ("", SIDECAR.to_owned()),
    ]
}

fn judged(at: &str, content: &[u8]) -> Result<(), TestCaseError> {
    let world = if at.is_empty() { World::rig().sidecar(content) } else { World::rig().file(at, content) };
    let metadata = world.describe();
    let lines = metadata.problems.iter().map(ToString::to_string);
    for line in lines.chain(metadata.missing.iter().map(ToString::to_string)) {
        prop_assert!(!line.contains(['\n', '\r']) && line.len() < 2000, "{line:?}");
    }
    prop_assert!(serde_json::to_string(&metadata).is_ok());
    let _ = session_metadata::sidecar::is_sidecar(content);
    Ok(())
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, &'static str, u8)>> {
    let change = (any::<prop::sample::Index>(), 0u8..5, proptest::sample::select(&PIECES[..]), any::<u8>());
    proptest::collection::vec(change, 1..6)
}

fn mutated(sample: &str, changes: &[(prop::sample::Index, u8, &str, u8)]) -> Vec<u8> {
    let mut bytes = sample.as_bytes().to_vec();
    for (at, how, piece, byte) in changes {
        let at = at.index(bytes.len() + 1).min(bytes.len());
        match how {
            0 => bytes.truncate(at),
            1 => drop(bytes.splice(at..at, piece.bytes())),
            2 if at < bytes.len() => bytes[at] = *byte,
            3 => drop(bytes.drain(at..(at + 7).min(bytes.len()))),
            _ => bytes.extend_from_within(at..),
        }
    }
    bytes
}

fn fuzz(cases: u32) {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    });
    let input = (proptest::sample::select(samples()), changes());
    runner.run(&input, |((at, sample), changes)| judged(at, &mutated(&sample, &changes))).unwrap();
    let input = (
        proptest::sample::select(samples()),
        proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..40),
    );
    runner.run(&input, |((at, _), pieces)| judged(at, pieces.concat().as_bytes())).unwrap();
    let input = (proptest::sample::select(samples()), proptest::collection::vec(any::<u8>(), 0..200));
    runner.run(&input, |((at, _), bytes)| judged(at, &bytes)).unwrap();
}

#[test]
fn changed_samples_are_judged() {
    fuzz(400);
}

#[test]
#[ignore = "takes minutes"]
fn a_great_many_changed_samples_are_judged() {
    fuzz(20_000);
}
