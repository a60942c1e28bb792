//! What a session waits for.

use glob::Pattern;
use session_metadata::options::Expectation;

use crate::world::{DESCRIPTION, World};

fn missing(world: &World) -> Vec<String> {
    let metadata = world.describe();
    assert_eq!(metadata.problems, []);
    metadata.missing.iter().map(|missing| missing.what.clone()).collect()
}

const DEVICES: &str = "tasks:\n- t: {collection: raw_behavior_data}\ndevices:\n  neuropixel:\n    probe00: {collection: raw_ephys_data/probe00}\n";

#[test]
fn a_declared_collection_is_waited_for_only_where_all_devices_write_to_this_disk() {
    let mut world = World::rig().file(DESCRIPTION, DEVICES);
    assert!(missing(&world).is_empty());
    world.options.all_devices = true;
    assert_eq!(missing(&world), ["raw_ephys_data/probe00"]);
    let world = world.file("raw_ephys_data/probe00/x.bin", "x");
    assert!(missing(&world).is_empty());
}

#[test]
fn an_empty_collection_is_waited_for_everywhere() {
    let world = World::rig().file(DESCRIPTION, DEVICES).file("raw_ephys_data/probe00/", "");
    assert_eq!(missing(&world), ["raw_ephys_data/probe00"]);
}

#[test]
fn empty_videos_short_recordings_and_pending_copies_are_waited_for() {
    let world = World::default()
        .file("_devices/cam.status_pending", "")
        .file("raw_video_data/left.mp4", "")
        .file("raw_ephys_data/a.ap.cbin", "")
        .file("raw_ephys_data/a.nidq.bin", "abc")
        .file("raw_ephys_data/a.nidq.meta", "fileSizeBytes=4\nfileCreateTime=2024-05-01T10:00:00\n");
    let wanted = [
        "_devices/cam.status_pending",
        "raw_ephys_data/a.ap.cbin",
        "raw_ephys_data/a.nidq.bin",
        "raw_video_data/left.mp4",
    ];
    assert_eq!(missing(&world), wanted);
    assert!(missing(&world.file("raw_ephys_data/a.nidq.bin", "abcd")).len() == 3);
}

#[test]
fn what_is_expected_depends_on_project_protocol_and_subject() {
    let pattern = |text: &str| Some(Pattern::new(text).unwrap());
    let files = vec![Pattern::new("raw_video_data/*.mp4").unwrap()];
    for (expectation, applies) in [
        (Expectation::default(), true),
        (Expectation { subject: pattern("m*"), ..Default::default() }, true),
        (Expectation { subject: pattern("x*"), ..Default::default() }, false),
        (Expectation { protocol: pattern("biased*"), ..Default::default() }, true),
        (Expectation { protocol: pattern("ephys*"), ..Default::default() }, false),
        (Expectation { project: pattern("p"), ..Default::default() }, false),
    ] {
        let mut world = World::rig();
        world.options.expect = vec![Expectation { files: files.clone(), ..expectation }];
        assert_eq!(!missing(&world).is_empty(), applies, "{:?}", world.options.expect);
        assert!(missing(&world.file("raw_video_data/a.mp4", "x")).is_empty());
    }
}

#[test]
fn what_is_missing_names_the_setting_or_the_file_that_asks_for_it() {
    let why = |world: &World| -> String {
        world.describe().missing.iter().map(|missing| format!("{} ", missing.why)).collect()
    };
    let meta = World::default().file("a.ap.meta", "fileSizeBytes=5\n").file("a.ap.bin", "abcd");
    let text = why(&meta);
    assert!(text.contains("a.ap.meta names; copy both again") && !text.contains("metadata."), "{text}");
    let pending = World::default().file("_devices/a.status_pending", "");
    assert!(why(&pending).contains("metadata.wait_for"));
}
