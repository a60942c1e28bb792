//! Files that are broken or contradict the folder, and names that Alyx does not know: the session needs attention,
//! nothing is registered, and one line says what to correct.

use alyx_client::NextStep;
use alyx_registration::{Measured, MetadataOptions, SessionDetails};
use serde_json::json;

use super::{client, ibl, record, session, settings};
use crate::common::{Alyx, Rig, Session, with_files};

/// Registers the session, expects a refusal, and returns its message.
async fn refusal(alyx: &Alyx, session: &Session) -> String {
    session.flag();
    let error = session.register(&client(alyx, MetadataOptions::default()), &with_files()).await.unwrap_err();
    assert_eq!(error.next_step(), NextStep::NeedsAttention, "{error}");
    assert!(session.is_flagged());
    let text = error.to_string();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[tokio::test]
async fn names_that_alyx_does_not_know_are_reported_together_with_their_files() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    ibl(&session);
    session.file(super::SETTINGS, settings(json!({"ALYX_USER": "bob"})));
    session.file("alyx-session.yaml", "projects: [no_such_project]\n");
    let text = refusal(&alyx, &session).await;
    assert!(
        text.contains("user \"bob\" (raw_task_data_00/_iblrig_taskSettings.raw.json: ALYX_USER)"),
        "{text}"
    );
    assert!(text.contains("project \"no_such_project\" (alyx-session.yaml:1: projects)"), "{text}");
    assert!(text.contains("metadata.users_map"), "{text}");
    assert!(alyx.sessions(&session).await.is_empty());
}

#[tokio::test]
async fn another_animal_day_or_number_is_refused_until_the_folder_is_confirmed() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    ibl(&session);
    let other = json!({"SUBJECT_NAME": "SWC_001", "SESSION_NUMBER": 2, "SESSION_START_TIME": "2024-05-03T10:00:00",
        "SESSION_END_TIME": "2024-05-03T11:00:00"});
    session.file(super::SETTINGS, settings(other));
    let text = refusal(&alyx, &session).await;
    for part in
        ["\"SWC_001\"", "\"KS014\"", "2024-05-03", "accept: [subject]", "accept: [date]", "accept: [number]"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(alyx.sessions(&session).await.is_empty());
    session.file("alyx-session.yaml", "accept: [subject, date, number]\n");
    session.register(&client(&alyx, MetadataOptions::default()), &with_files()).await.unwrap();
    assert_eq!(record(&alyx, &session).await["start_time"], "2024-05-01T10:00:00");
}

#[tokio::test]
async fn a_broken_or_hostile_file_stops_its_session_alone() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let elsewhere = rig.beside("elsewhere.json");
    std::fs::write(&elsewhere, settings(json!({}))).unwrap();
    let big = format!("{{\"a\": \"{}\"}}", "x".repeat(5 * 1024 * 1024));
    for (n, (name, content, expected)) in [
        (
            "alyx-session.yaml",
            "projcts: [x]\n",
            "alyx-session.yaml:1: projcts: unknown key \"projcts\"; did you mean projects?",
        ),
        ("alyx-session.yaml", "users: {a: 1}\n", "alyx-session.yaml:1: users"),
        ("_ibl_experiment.description.yaml", "tasks: [\n", "_ibl_experiment.description.yaml"),
        ("raw_behavior_data/_iblrig_taskSettings.raw.json", "{\"SUBJECT_NAME\": ", "not valid JSON"),
        ("raw_behavior_data/_iblrig_taskSettings.raw.json", big.as_str(), "larger than"),
        ("raw_behavior_data/_iblrig_taskSettings.raw.json", "link", "leads out of the data root"),
    ]
    .into_iter()
    .enumerate()
    {
        let session = rig.session_at(&format!("cortexlab/Subjects/KS014/2024-05-01/{:03}", n + 1));
        if content == "link" {
            let path = session.folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(&elsewhere, path).unwrap();
        } else {
            session.file(name, content);
        }
        let text = refusal(&alyx, &session).await;
        assert!(text.contains(expected), "{expected}: {text}");
        assert!(text.len() < 1000, "{text}");
    }
    assert!(alyx.control().sessions().is_empty());
}

#[tokio::test]
async fn an_end_after_tomorrow_or_before_the_start_is_refused_before_anything_is_sent() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    let sidecar = |text: &str| {
        session.file("alyx-session.yaml", text);
    };
    sidecar("end_time: '2094-05-01T11:00:00'\n");
    let text = refusal(&alyx, &session).await;
    for part in ["2094-05-01", "alyx-session.yaml:1: end_time", "is the recorder's clock right?"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let flag = alyx_registration::flag::FlagFile::load(session.flag()).unwrap().unwrap();
    let dry = client(&alyx, MetadataOptions::default());
    let error = dry.plan_flagged(&flag, &session.path(), &with_files()).await.unwrap_err();
    assert!(error.to_string().contains("clock right?"), "{error}");
    sidecar("end_time: '2024-04-30T11:00:00'\n");
    assert!(refusal(&alyx, &session).await.contains("before the start"));
    sidecar("");
    ibl(&session);
    session.file(super::SETTINGS, settings(json!({"SESSION_END_TIME": "2094-05-01T11:00:00"})));
    assert!(refusal(&alyx, &session).await.contains("SESSION_END_TIME) is in the future"));
    session.file(super::SETTINGS, settings(json!({})));
    let late = SessionDetails { end_time: Some("2094-05-01T11:00:00".into()), ..Default::default() };
    for options in [MetadataOptions::default(), MetadataOptions::none()] {
        let client = client(&alyx, options);
        let error = client.plan_session(&session.folder, &late).await.unwrap_err().to_string();
        assert!(error.contains("clock right?"), "{error}");
        client.create_session(&session.folder, &late).await.unwrap_err();
    }
    assert!(alyx.control().sessions().is_empty());
}

#[tokio::test]
async fn water_that_alyx_would_refuse_is_refused_before_the_session_is_created() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    let measured = Measured { weight: true, water: true };
    let client = client(&alyx, MetadataOptions { measured, ..Default::default() });
    for (water, expected) in [
        ("{volume: 0.2}, {volume: 0.1, type: Wine}", "alyx-session.yaml:2: water[1]: Alyx has no water type"),
        ("{volume: 0.2, time: '2024-05-03T10:00:00'}", "water[0]: the time 2024-05-03"),
        ("{volume: 0.2, time: '2094-05-01T10:00:00'}", "is in the future"),
        ("{volume: 1e300}", "alyx-session.yaml:2: water[0]: a water volume of 1e300 is not possible"),
    ] {
        session.file("alyx-session.yaml", format!("lab: cortexlab\nwater: [{water}]\n"));
        let flag = alyx_registration::flag::FlagFile::load(session.flag()).unwrap().unwrap();
        let error = session.register(&client, &with_files()).await.unwrap_err();
        assert_eq!(error.next_step(), NextStep::NeedsAttention, "{error}");
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        let error = client.plan_flagged(&flag, &session.path(), &with_files()).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        assert!(alyx.control().sessions().is_empty() && session.is_flagged());
    }
}

/// What stands in the place of a file.
fn unusable(path: &std::path::Path, kind: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    match kind {
        "folder" => std::fs::create_dir(path).unwrap(),
        "pipe" => assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success()),
        _ => std::os::unix::fs::symlink("/nowhere/at/all", path).unwrap(),
    }
}

#[tokio::test]
async fn what_has_the_name_of_a_metadata_file_and_is_none_is_reported() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let mut number = 0;
    for name in [
        "alyx-session.yaml",
        "narrative.txt",
        "_ibl_experiment.description.yaml",
        "raw_behavior_data/_iblrig_taskSettings.raw.json",
        "raw_behavior_data/_iblrig_taskData.raw.jsonable",
        "raw_ephys_data/probe00/x.ap.meta",
        "raw_ephys_data/settings.xml",
    ] {
        for (kind, expected) in [
            ("folder", "not a file"),
            ("pipe", "this is not a file"),
            ("link", "it is a link to a file that does not exist; bring the file, or remove the link"),
        ] {
            number += 1;
            let session = rig.session_at(&format!("cortexlab/Subjects/KS014/2024-05-01/{number:03}"));
            unusable(&session.folder.join(name), kind);
            let text = refusal(&alyx, &session).await;
            assert!(text.contains(name) && text.contains(expected), "{kind}: {text}");
        }
    }
    // Of an animal: above the session.
    unusable(
        &rig.session_at("cortexlab/Subjects/KS014/2024-05-02/001").folder.join("../../alyx-session.yaml"),
        "link",
    );
    let session = rig.session_at("cortexlab/Subjects/KS014/2024-05-02/001");
    assert!(refusal(&alyx, &session).await.contains("KS014/alyx-session.yaml: it is a link"));
    assert!(alyx.control().sessions().is_empty());
}

#[tokio::test]
async fn the_lab_of_a_repository_in_a_sidecar_is_asked_for_once_if_the_repository_is_its_own() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let client = client(&alyx, MetadataOptions::default());
    let labs = || alyx.control().requests().iter().filter(|r| r.path.starts_with("/labs")).count();
    let session = session(&rig);
    session.file("alf/spikes.times.npy", "abc");
    let register = async |repository: &str| {
        session.file("alyx-session.yaml", format!("datasets: {{repository: {repository}}}\n"));
        session.flag();
        alyx.control().clear_requests();
        session.register(&client, &with_files()).await.is_ok()
    };
    assert!(register("flatiron_cortexlab").await && labs() > 0);
    assert!(register("flatiron_cortexlab").await && labs() == 0);
    // The link may be added on Alyx at any time.
    for _ in 0..2 {
        assert!(!register("flatiron_mainenlab").await && labs() > 0);
    }
    assert!(register("flatiron_cortexlab").await && labs() == 0);
}

#[tokio::test]
async fn a_repository_of_another_lab_in_a_sidecar_is_refused_with_its_line_in_a_dry_run_too() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    session.file("alf/spikes.times.npy", "abc");
    session.file("alyx-session.yaml", "datasets: {repository: flatiron_mainenlab}\n");
    let text = refusal(&alyx, &session).await;
    let why = "alyx-session.yaml:1: datasets.repository: the repository \"flatiron_mainenlab\" is not one of lab \
               \"cortexlab\" on Alyx";
    assert!(text.contains(why), "{text}");
    let flag = alyx_registration::flag::FlagFile::load(session.flag()).unwrap().unwrap();
    let client = client(&alyx, MetadataOptions::default());
    let error = client.plan_flagged(&flag, &session.path(), &with_files()).await.unwrap_err();
    assert!(error.to_string().contains(why), "{error}");
    assert!(alyx.sessions(&session).await.is_empty());
    // Unknown to Alyx: the message names the file.
    session.file("alyx-session.yaml", "datasets: {repository: no_such}\nlab: cortexlab\n");
    let text = refusal(&alyx, &session).await;
    let why = "Alyx does not know repository \"no_such\" (alyx-session.yaml:1: datasets.repository)";
    assert!(text.contains(why), "{text}");
    session.file("alyx-session.yaml", "datasets: {repository: flatiron_cortexlab}\n");
    session.register(&client, &with_files()).await.unwrap();
}

#[tokio::test]
async fn a_session_before_the_earliest_day_of_its_sidecar_names_that_line() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = session(&rig);
    session.file("alyx-session.yaml", "earliest: 2024-06-01\n");
    let text = refusal(&alyx, &session).await;
    assert!(text.contains("(alyx-session.yaml:1: earliest)"), "{text}");
}
