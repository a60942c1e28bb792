//! Wrong values are refused before they reach Alyx.

use crate::{common, program, verbs};
use alyx_client::NextStep;
use alyx_registration::{Error, SessionReference, WaterOptions, WeightOptions};
use alyx_sandbox::{Fault, FaultRule};
use common::{Alyx, Rig, with_files};
use program::Configuration;
use verbs::{at_home, run, verb, word};

#[tokio::test(flavor = "multi_thread")]
async fn water_of_a_session_is_of_its_subject_and_day() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session_at("cortexlab/Subjects/KS014/2024-05-01/001");
    let folder = word(&session.folder);
    verb(&alyx, &rig, &["create-session", folder]).ends(0);
    let eid = alyx.the_session(&session).await.eid().to_owned();
    let cases = [
        ("SWC_001", "2024-05-01T10:00:00", ["\"SWC_001\"", "\"KS014\""]),
        ("KS014", "2021-05-01T10:00:00", ["2021-05-01", "2024-05-01"]),
        ("KS014", "2024-05-02", ["2024-05-02", "2024-05-01"]),
    ];
    for (subject, time, both) in cases {
        for reference in [folder, &eid] {
            for dry in [&[][..], &["--dry-run"]] {
                let words = ["water", subject, "0.5", "--session", reference, "--date-time", time];
                let said = verb(&alyx, &rig, &[&words, dry].concat()).ends(1);
                said.complains(both[0]).complains(both[1]).complains(&eid);
            }
        }
        let session = Some(SessionReference::parse(&eid).unwrap());
        let options = WaterOptions { session, date_time: Some(time.into()), ..Default::default() };
        let error = alyx.client().register_water_administration(subject, 0.5, &options).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
    // Without a time it is now, which is not the day of the session.
    verb(&alyx, &rig, &["water", "KS014", "0.5", "--session", folder]).ends(1).complains("2024-05-01");
    let nowhere = "00000000-0000-4000-8000-000000000000";
    verb(&alyx, &rig, &["water", "KS014", "0.5", "--session", nowhere, "--dry-run"])
        .ends(1)
        .complains("is not on Alyx; create it first");
    for subject in ["KS014", "SWC_001"] {
        assert!(alyx.alyx().waters_of(subject).await.unwrap().is_empty());
    }
    let words = ["water", "KS014", "0.5", "--session", folder, "--date-time", "2024-05-01T23:59"];
    verb(&alyx, &rig, &words).ends(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_measurement_is_recorded_once_however_often_it_is_entered() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let at = ["--date-time", "2024-05-01T10:00:00"];
    for words in [&["water", "KS014", "0.5"][..], &["weight", "KS014", "21.3"]] {
        let (timed, of_now) = ([words, &at].concat(), words);
        for words in [&timed[..], of_now] {
            let first = verb(&alyx, &rig, &[words, &["--json"]].concat()).ends(0).json();
            assert_eq!(first["measurements"][0]["outcome"], "created", "{words:?}");
            let again = verb(&alyx, &rig, &[words, &["--json"]].concat()).ends(0).json();
            assert_eq!(again["measurements"][0]["outcome"], "unchanged", "{words:?}");
            assert_eq!(again["measurements"][0]["record"], first["measurements"][0]["record"]);
            for dry in [&[][..], &["--dry-run"]] {
                let text = verb(&alyx, &rig, &[words, dry].concat()).ends(0).out;
                assert!(text.starts_with("recorded already: ") && text.contains("by test_user"), "{text}");
                assert!(text.contains("for KS014 at 20") && text.contains("--force"), "{text}");
            }
            let forced = verb(&alyx, &rig, &[words, &["--force", "--json"]].concat()).ends(0).json();
            assert_eq!(forced["measurements"][0]["outcome"], "created", "{words:?}");
            assert_ne!(forced["measurements"][0]["record"]["url"], first["measurements"][0]["record"]["url"]);
        }
        // A value, user, time or kind of its own is a measurement of its own.
        for other in [&["--by", "rig_user"][..], &["--date-time", "2024-05-01T10:01:00"]] {
            let said = verb(&alyx, &rig, &[words, other, &["--json"]].concat()).ends(0).json();
            assert_eq!(said["measurements"][0]["outcome"], "created", "{words:?} {other:?}");
        }
    }
    let hydrogel = ["water", "KS014", "0.5", "--water-type", "Hydrogel"];
    assert!(verb(&alyx, &rig, &hydrogel).ends(0).out.starts_with("recorded 0.5 ml of Hydrogel"));
    assert_eq!(alyx.alyx().waters_of("KS014").await.unwrap().len(), 7);
    assert_eq!(alyx.alyx().weighings_of("KS014").await.unwrap().len(), 6);
}

#[tokio::test]
async fn a_forced_second_record_is_made_once_when_its_answer_is_lost() {
    let alyx = Alyx::sandbox().await;
    let client = alyx.impatient_client();
    let time = Some("2024-05-01T10:00:00".into());
    let options = WeightOptions { date_time: time, repeat: true, ..Default::default() };
    let first = client.register_weight("KS014", 21.2, &options).await.unwrap();
    let path_prefix = "/weighings".to_owned();
    let fault = Fault::Drop;
    alyx.control().add_fault(FaultRule { method: Some("POST".into()), path_prefix, times: 1, fault });
    let second = client.register_weight("KS014", 21.2, &options).await.unwrap();
    assert!(second.is_new && second.record.other["url"] != first.record.other["url"]);
    assert_eq!(alyx.alyx().weighings_of("KS014").await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_in_another_unit_is_refused_by_the_commands() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    for (day, weight, water) in [("01", "21.0", "0.9"), ("02", "21.4", "1.0"), ("03", "21.6", "1.1")] {
        let at = format!("2024-05-{day}T10:00:00");
        verb(&alyx, &rig, &["weight", "KS014", weight, "--date-time", &at]).ends(0);
        verb(&alyx, &rig, &["water", "KS014", water, "--date-time", &at]).ends(0);
    }
    for (words, unit) in [
        (["water", "KS014", "1064"], "µl"),
        (["water", "KS014", "35.1"], "more than KS014 weighs (21.6 g): is it in µl?"),
        (["water", "KS014", "0.00105"], "in l?"),
        (["weight", "KS014", "21300"], "in mg?"),
        (["weight", "KS014", "0.0213"], "in kg?"),
    ] {
        for dry in [&[][..], &["--dry-run"]] {
            let said = verb(&alyx, &rig, &[&words, dry].concat()).ends(1);
            said.complains(unit).complains("--force");
        }
    }
    assert_eq!(alyx.alyx().waters_of("KS014").await.unwrap().len(), 3);
    assert_eq!(alyx.alyx().weighings_of("KS014").await.unwrap().len(), 3);
    let forced = verb(&alyx, &rig, &["water", "KS014", "35.1", "--force"]).ends(0).out;
    assert!(
        forced.contains("recorded 35.1 ml") && forced.contains("note: 35.1 ml of water is more"),
        "{forced}"
    );
    verb(&alyx, &rig, &["water", "KS014", "1.6"]).ends(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_value_is_recorded_with_a_note() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    for words in [["weight", "KS014", "21300", "--json"], ["water", "SWC_001", "1064", "--json"]] {
        let said = verb(&alyx, &rig, &words).ends(0).json();
        let notes = said["measurements"][0]["notes"].as_array().unwrap();
        assert!(notes.len() == 1 && notes[0].as_str().unwrap().contains("to compare with"), "{said}");
    }
}

#[tokio::test]
async fn the_library_warns_of_another_unit_and_refuses_it_only_when_strict() {
    let alyx = Alyx::sandbox().await;
    let client = alyx.client();
    client.register_weight("KS014", 21.3, &WeightOptions::default()).await.unwrap();
    let strict = WeightOptions { strict: true, ..Default::default() };
    let error = client.register_weight("KS014", 21_300.0, &strict).await.unwrap_err();
    assert!(matches!(error, Error::Implausible(_)), "{error}");
    let strict = WaterOptions { strict: true, ..Default::default() };
    let error = client.register_water_administration("KS014", 35.1, &strict).await.unwrap_err();
    assert!(matches!(error, Error::Implausible(_)), "{error}");
    assert_eq!(alyx.alyx().weighings_of("KS014").await.unwrap().len(), 1);
    let warned = client.register_weight("KS014", 21_300.0, &WeightOptions::default()).await.unwrap();
    assert!(warned.is_new && warned.notes[0].contains("is it in mg?"), "{warned:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn contradictory_details_of_a_session_are_refused_before_anything_is_sent() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session_at("cortexlab/Subjects/KS014/2024-05-01/001");
    let folder = word(&session.folder);
    let refused = |details: &[&str], text: &str| {
        for command in ["create-session", "register-session"] {
            for dry in [&[][..], &["--dry-run"]] {
                let words = [&[command, folder], details, dry].concat();
                verb(&alyx, &rig, &words).ends(1).complains(text);
            }
        }
    };
    refused(
        &["--n-trials", "10", "--n-correct-trials", "20"],
        "n_correct_trials 20 is more than n_trials 10",
    );
    let times = ["--start-time", "2024-05-01T10:00", "--end-time", "2024-05-01T09:00"];
    refused(&times, "end_time 2024-05-01T09:00:00 is before its start 2024-05-01T10:00:00");
    refused(&["--end-time", "2024-04-30T09:00"], "is before its start 2024-05-01T00:00:00");
    assert!(alyx.sessions(&session).await.is_empty());
    let root = rig.root();
    let words = ["new-session", "KS014", word(&root), "--n-trials", "1", "--n-correct-trials", "2"];
    verb(&alyx, &rig, &words).ends(1).complains("n_trials 1");
    verb(&alyx, &rig, &["create-session", folder, "--n-trials", "-1"]).ends(2).complains("-1 is not in 0..");

    let good = ["--n-trials", "10", "--start-time", "2024-05-01T10:00", "--end-time", "2024-05-01T11:00"];
    verb(&alyx, &rig, &[&["create-session", folder], &good[..]].concat()).ends(0);
    refused(&["--n-correct-trials", "20"], "n_correct_trials 20 is more than n_trials 10");
    refused(&["--end-time", "2024-05-01T09:00"], "is before its start 2024-05-01T10:00:00");
    refused(&["--start-time", "2024-05-01T12:00"], "end_time 2024-05-01T11:00:00 is before its start");
    assert!(!alyx.control().requests().iter().any(|request| request.method == "PATCH"));
    verb(&alyx, &rig, &["create-session", folder, "--n-correct-trials", "10"]).ends(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_a_wrong_clock_needs_attention() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    for day in ["1970-01-01", "1999-12-31", "2094-05-01"] {
        let session = rig.session_at(&format!("cortexlab/Subjects/KS014/{day}/001"));
        let flag = session.flag();
        let error = session.register(&alyx.client(), &with_files()).await.unwrap_err();
        assert!(
            matches!(error, Error::Clock { .. }) && error.next_step() == NextStep::NeedsAttention,
            "{error}"
        );
        let (folder, root) = (word(&session.folder), rig.root());
        for dry in [&[][..], &["--dry-run"]] {
            for command in ["create-session", "register-session"] {
                let said = verb(&alyx, &rig, &[&[command, folder], dry].concat()).ends(1);
                said.complains("is the recorder's clock right?").complains(day);
            }
            let words = ["new-session", "KS014", word(&root), "--date", day];
            verb(&alyx, &rig, &[&words, dry].concat()).ends(1).complains("clock right?");
            let said =
                verb(&alyx, &rig, &[&["create-sessions", word(&root), "--json"], dry].concat()).ends(1);
            let failed = &said.json()["sessions"][0];
            assert!(failed["error"]["message"].as_str().unwrap().contains("clock right?"), "{failed}");
        }
        assert!(flag.exists());
        std::fs::remove_dir_all(root).unwrap();
    }
    let posts =
        alyx.control().requests().into_iter().filter(|r| r.method == "POST" && r.path != "/auth-token");
    assert_eq!(posts.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_old_sessions_is_registered_where_the_configuration_says_so() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session_at("cortexlab/Subjects/KS014/1995-06-01/001");
    let flag = session.file("alf/spikes.times.npy", "abc").flag();
    let scan = |more: &str| {
        let config = Configuration {
            roots: vec![rig.root()],
            url: alyx.url.clone(),
            user: alyx.user.clone(),
            password: alyx.password.clone(),
            more: more.to_owned(),
        };
        let config = config.write(&rig.beside("etc"));
        let words = ["scan", "--dry-run", "--config", word(&config)];
        run(&mut at_home(&rig, &words))
    };
    let refused = scan("");
    assert!((refused.out + &refused.err).contains("clock right?"));
    assert_eq!(scan("session:\n  earliest: 1995-06-01\nwatch:\n  settle: 0 s\n  empty_grace: 0 s\n").code, 0);
    assert!(flag.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_name_suggests_the_one_that_alyx_has() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session_at("cortexlab/Subjects/ks014/2024-05-01/001");
    let flag = session.flag();
    for dry in [&[][..], &["--dry-run"]] {
        for words in [&["create-session", word(&session.folder)][..], &["weight", "ks014", "21"]] {
            let said = verb(&alyx, &rig, &[words, dry].concat()).ends(1);
            said.complains("subject \"ks014\"")
                .complains("did you mean \"KS014\"?")
                .complains("a different animal");
        }
    }
    let error = session.register(&alyx.client(), &with_files()).await.unwrap_err();
    assert!(error.to_string().contains("did you mean \"KS014\"?") && flag.exists(), "{error}");
    for (words, near) in [
        (["weight", "SWC_01", "21"], "SWC_001"),
        (["weight", "ZM_1058", "21"], "ZM_1085"),
        (["water", "KS014", "1"], "rig_user"),
    ] {
        let said = verb(&alyx, &rig, &[&words[..], &["--by", "rig_usr"]].concat()).ends(1);
        said.complains(&format!("{near:?}"));
    }
    let far = verb(&alyx, &rig, &["weight", "nobody", "21"]).ends(1);
    assert!(
        far.err.contains("; create it on Alyx, or correct the name") && !far.err.contains("did you mean")
    );
    let exists = ["exists", "projects", "Practice"];
    let text = verb(&alyx, &rig, &exists).ends(1).out;
    assert_eq!(text, "project \"Practice\" is not on Alyx; did you mean \"practice\"?\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_finds_every_name_and_session_that_the_real_run_would() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session_at("cortexlab/Subjects/KS014/2024-05-01/001");
    session.file("alf/spikes.times.npy", "abc");
    let (root, file) = (rig.root(), session.folder.join("alf/spikes.times.npy"));
    let files = ["register-files", word(&file)];
    for dry in [&["--dry-run"][..], &[]] {
        verb(&alyx, &rig, &[&files, dry].concat()).ends(1).complains("is not on Alyx; create it first");
        let new = ["new-session", "KS014", word(&root), "--date", "2024-05-02", "--projects", "nosuch"];
        verb(&alyx, &rig, &[&new, dry].concat()).ends(1).complains("project \"nosuch\"");
        assert!(!root.join("KS014").exists());
    }
    verb(&alyx, &rig, &["create-session", word(&session.folder)]).ends(0);
    for dry in [&["--dry-run"][..], &[]] {
        let words = [&files, &["--repository", "nosuch"], dry].concat();
        verb(&alyx, &rig, &words).ends(1).complains("repository \"nosuch\"");
    }
}
