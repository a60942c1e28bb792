//! SpikeGLX and Open Ephys.

use serde_json::json;
use session_metadata::Field;

use crate::world::{SETTINGS, World, field, version_8};

fn meta(created: &str, seconds: &str) -> String {
    format!(
        "appVersion=20190327\nfileCreateTime={created}\nfileName=D:/\u{e9}.bin\nfileSizeBytes=4\nfileTimeSecs={seconds}\n"
    )
}

#[test]
fn spikeglx_gives_the_earliest_start_and_the_latest_end() {
    let world = World::default()
        .file("raw_ephys_data/probe00/a_g0_t0.imec0.ap.meta", meta("2024-05-01T10:00:05", "100.5"))
        .file("raw_ephys_data/a_g0_t0.nidq.meta", meta("2024-05-01T10:00:00", "90"));
    let metadata = world.describe();
    assert_eq!(
        field(&metadata, Field::StartTime),
        (json!("2024-05-01T10:00:00"), "raw_ephys_data/a_g0_t0.nidq.meta: fileCreateTime".to_owned())
    );
    assert_eq!(metadata.text(Field::EndTime), Some("2024-05-01T10:01:45.500000"));
    let cut_off = world.file("raw_ephys_data/b.imec1.ap.meta", meta("2024-05-01T10:00:00", "")).describe();
    assert_eq!(cut_off.text(Field::EndTime), None);
    // Both fill only what nothing above has filled.
    let metadata = World::default()
        .file("raw_behavior_data/_iblrig_taskSettings.raw.json", version_8().to_string())
        .file("x.nidq.meta", meta("2024-05-01T09:00:00", "1"))
        .describe();
    assert_eq!(metadata.text(Field::StartTime), Some("2024-05-01T10:00:00"));
}

#[test]
fn a_recording_of_another_day_is_named_and_can_be_confirmed() {
    let world = World::default().file("x.nidq.meta", meta("2024-05-03T10:00:00", "60"));
    let problem = world.problem();
    assert!(problem.starts_with("x.nidq.meta: fileCreateTime: the rig wrote 2024-05-03"), "{problem}");
    assert!(problem.contains("`accept: [date]`"), "{problem}");
    let metadata = world.sidecar("accept: [date]\n").describe();
    assert_eq!(metadata.problems, []);
    assert_eq!(metadata.text(Field::EndTime), Some("2024-05-01T10:01:00"));
}

#[test]
fn a_recording_of_another_day_is_named_whatever_gives_the_start() {
    let settings =
        |day: &str| format!("<SETTINGS><INFO><DATE>{day} May 2024 10:00:00</DATE></INFO></SETTINGS>");
    let rig = World::default().file(SETTINGS, version_8().to_string());
    let sidecar = World::default().sidecar("start_time: 2024-05-01T10:00:00\n");
    for world in [rig, sidecar] {
        for (path, content) in [
            ("raw/x.ap.meta", meta("2024-05-03T10:00:00", "60")),
            ("raw/x.ap.meta", meta("2024-04-30T23:59:59", "60")),
            ("raw/settings.xml", settings("3")),
            ("raw/settings_2.xml", settings("31")),
        ] {
            let world = world.clone().file(path, content);
            let problem = world.problem();
            assert!(problem.starts_with(&format!("{path}: ")), "{problem}");
            assert!(problem.contains("the rig wrote 2024-0") && problem.contains("2024-05-01;"), "{problem}");
            let confirmed = World { sidecars: Vec::new(), ..world }
                .sidecar("accept: [date]\nstart_time: 2024-05-01T10:00:00\n")
                .describe();
            assert_eq!(confirmed.problems, []);
            assert_eq!(confirmed.text(Field::StartTime), Some("2024-05-01T10:00:00"));
        }
        // The session crosses midnight.
        for (path, content) in
            [("x.ap.meta", meta("2024-05-02T00:10:00", "60")), ("settings.xml", settings("2"))]
        {
            assert_eq!(world.clone().file(path, content).describe().problems, [], "{path}");
        }
    }
    // One of two recordings.
    let world = World::default()
        .file("a/x.ap.meta", meta("2024-05-01T10:00:00", "60"))
        .file("b/x.ap.meta", meta("2024-05-03T10:00:00", "60"));
    let problem = world.problem();
    assert!(problem.starts_with("b/x.ap.meta: fileCreateTime: "), "{problem}");
    // What begins on the next day without anything before belongs there.
    let problem = World::default().file("x.ap.meta", meta("2024-05-02T10:00:00", "60")).problem();
    assert!(problem.contains("2024-05-02T10:00:00") && problem.contains("`accept: [date]`"), "{problem}");
}

#[test]
fn a_meta_file_with_a_strange_time_is_named() {
    let problem = World::default().file("x.nidq.meta", meta("yesterday", "1")).problem();
    assert!(problem.starts_with("x.nidq.meta: fileCreateTime: \"yesterday\" is not a time"), "{problem}");
}

#[test]
fn open_ephys_gives_the_start() {
    let xml = "<?xml version=\"1.0\"?>\n<SETTINGS><INFO><VERSION>0.4.6</VERSION><DATE>1 May 2024 17:30:12</DATE></INFO><SIGNALCHAIN>";
    let metadata = World::default().file("raw/settings.xml", xml).describe();
    assert_eq!(
        field(&metadata, Field::StartTime),
        (json!("2024-05-01T17:30:12"), "raw/settings.xml: INFO/DATE".to_owned())
    );
    for other in [
        "<OTHER><DATE>1 May 2024 17:30:12</DATE></OTHER>",
        "no xml",
        "",
        "<SETTINGS/>",
        "<a",
        "<SETTINGS><INFO><DATE></DATE></INFO></SETTINGS>",
    ] {
        assert!(World::default().file("settings.xml", other).describe().values.fields.is_empty(), "{other}");
    }
    let problem = World::default().file("settings.xml", xml.replace("May", "Mai")).problem();
    assert!(problem.contains("is not a time such as 3 Apr 2019"), "{problem}");
    let problem = World::default().file("settings.xml", "<SETTINGS><INFO></OTHER>").problem();
    assert!(problem.contains("not the settings of Open Ephys"), "{problem}");
}

#[test]
fn a_number_of_spikeglx_that_is_none_is_a_warning() {
    for (size, seconds, wanted) in [
        ("4", "nan", "fileTimeSecs \"nan\""),
        ("4", "-5", "fileTimeSecs \"-5\""),
        ("4", "1e300", "fileTimeSecs \"1e300\""),
        ("99999999999999999999", "1", "fileSizeBytes \"99999999999999999999\""),
        ("many", "1", "fileSizeBytes \"many\""),
    ] {
        let text =
            format!("fileCreateTime=2024-05-01T10:00:00\nfileSizeBytes={size}\nfileTimeSecs={seconds}\n");
        let metadata = World::default().file("a.nidq.meta", text).describe();
        assert_eq!(metadata.problems, []);
        let [note] = metadata.notes.as_slice() else { panic!("{:?}", metadata.notes) };
        assert!(note.starts_with("a.nidq.meta: ") && note.contains(wanted), "{note}");
    }
}
