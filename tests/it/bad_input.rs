//! Bad input, bad disks and bad servers: one clear error with the next step, the flag kept, nothing lost.

use crate::{common, program};
use std::time::Duration;

use alyx_client::{self, NextStep};
use alyx_registration::{Error, FilesToRegister, RegisterFilesOptions, SessionDetails};
use alyx_sandbox::{Fault, FaultRule, Gate};
use common::{Alyx, Rig, Session, snapshot, with_files};
use program::{Configuration, Program, program};

fn every(method: &str, path: &str, fault: Fault) -> FaultRule {
    FaultRule { method: Some(method.into()), path_prefix: path.into(), times: usize::MAX, fault }
}

fn flagged(rig: &Rig) -> Session {
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    session
}

#[tokio::test]
async fn every_fault_of_a_bad_server_is_a_transient_error_and_the_flag_stays() {
    let json = || "application/json".to_owned();
    let faults = [
        (Fault::Html(502), "HTTP 502"),
        (Fault::Html(500), "HTTP 500"),
        (Fault::Html(200), "does not answer like Alyx"),
        (Fault::Html(404), "does not answer like Alyx"),
        (Fault::Html(403), "does not answer like Alyx"),
        // A proxy that demands a login, a captive network, and a server that its proxy cannot reach.
        (Fault::Html(407), "a proxy on the way wants a login"),
        (Fault::Html(511), "the network wants a login"),
        (Fault::Html(521), "HTTP 521"),
        (Fault::Drop, "no answer"),
        (Fault::Hang, "no answer within"),
        (Fault::Status { code: 200, body: "[".into(), content_type: json(), retry_after: None }, "no JSON"),
        (
            Fault::Status { code: 201, body: "[1]".into(), content_type: json(), retry_after: None },
            "does not answer like Alyx",
        ),
        (
            Fault::Status { code: 429, body: "{}".into(), content_type: json(), retry_after: Some(3600) },
            "HTTP 429",
        ),
        (
            Fault::Status { code: 302, body: String::new(), content_type: json(), retry_after: None },
            "does not answer like Alyx",
        ),
    ];
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = flagged(&rig);
    let mut options = alyx.options();
    options.timeouts.request = Duration::from_millis(300);
    let client = || {
        let alyx = alyx_client::Client::new(options.clone()).unwrap();
        alyx_registration::RegistrationClient::new(alyx, Default::default())
    };
    for (method, path) in [
        ("POST", "/auth-token"),
        ("GET", "/sessions"),
        ("POST", "/sessions"),
        ("POST", "/register-file"),
        ("GET", "/datasets"),
    ] {
        for (fault, message) in &faults {
            alyx.control().add_fault(every(method, path, fault.clone()));
            let error = session.register(&client(), &with_files()).await.expect_err(message);
            alyx.control().clear_faults();
            assert!(
                matches!(error.next_step(), NextStep::TryAgain { .. }),
                "{method} {path} {fault:?}: {error:?}"
            );
            assert!(error.to_string().contains(message), "{method} {path} {fault:?}: {error}");
            assert!(error.to_string().len() < 1000 && !error.to_string().contains('\n'), "{error}");
            assert!(session.is_flagged());
        }
    }
    session.register(&client(), &with_files()).await.unwrap();
    // Every fault came before or after the creation: there is one session, with one record per file.
    assert_eq!((alyx.control().sessions().len(), alyx.control().datasets().len()), (1, 1));
}

#[tokio::test]
async fn a_fault_at_the_login_concerns_all_sessions_and_only_alyx_itself_refuses_it() {
    let json = |code, body: &str| Fault::Status {
        code,
        body: body.into(),
        content_type: "application/json".into(),
        retry_after: None,
    };
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = flagged(&rig);
    let mut failures = Vec::new();
    for fault in [
        Fault::Html(400),
        Fault::Html(404),
        Fault::Html(405),
        Fault::Html(407),
        Fault::Html(500),
        Fault::Html(511),
        Fault::Html(521),
        json(404, r#"{"detail": "Not Found"}"#),
        json(405, r#"{"detail": "Method \"POST\" not allowed."}"#),
        json(500, r#"{"detail": "the database is away"}"#),
    ] {
        alyx.control().add_fault(every("POST", "/auth-token", fault.clone()));
        let error = session.register(&alyx.client(), &with_files()).await.unwrap_err();
        alyx.control().clear_faults();
        if !error.is_outage() || error.to_string().contains("correct the password") {
            failures.push(format!("{fault:?}: {error}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    alyx.control().add_fault(every("POST", "/auth-token", json(400, r#"{"non_field_errors": ["No."]}"#)));
    let error = session.register(&alyx.client(), &with_files()).await.unwrap_err();
    assert!(matches!(error, Error::Alyx(alyx_client::Error::Login { .. })), "{error:?}");
}

#[tokio::test]
async fn an_unreachable_server_is_reported_and_nothing_was_done() {
    let rig = Rig::new();
    let session = flagged(&rig);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let login =
        alyx_client::Credentials::Password { username: "me".into(), password: "secret".to_owned().into() };
    let mut options = alyx_client::ClientOptions::new(&url, login);
    options.retry.attempts = 1;
    let client = alyx_registration::RegistrationClient::new(
        alyx_client::Client::new(options).unwrap(),
        Default::default(),
    );
    let error = session.register(&client, &with_files()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Alyx(alyx_client::Error::Unreachable { connected: false, .. })),
        "{error:?}"
    );
    assert!(error.to_string().contains(&url) && error.is_outage(), "{error}");
    assert!(session.is_flagged());
}

#[tokio::test]
async fn an_expired_token_is_renewed_once_and_work_continues() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let client = alyx.client();
    client.alyx().login().await.unwrap();
    assert!(alyx.control().invalidate_tokens());
    alyx.control().clear_requests();
    flagged(&rig).register(&client, &with_files()).await.unwrap();
    let logins = alyx.control().requests().iter().filter(|r| r.path == "/auth-token").count();
    assert_eq!(logins, 1);
}

#[tokio::test]
async fn a_token_that_stays_invalid_does_not_cause_an_endless_loop() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let body = r#"{"detail": "Invalid token.", "status_code": 403}"#.to_owned();
    let dead = Fault::Status { code: 403, body, content_type: "application/json".into(), retry_after: None };
    alyx.control().add_fault(every("GET", "/", dead));
    let error = flagged(&rig).register(&alyx.client(), &with_files()).await.unwrap_err();
    assert_eq!(error.next_step(), NextStep::NeedsCredentials);
    assert!(alyx.control().count_requests() <= 4, "{:?}", alyx.control().requests());
}

#[tokio::test]
async fn a_token_alone_cannot_be_renewed_and_the_error_says_so() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let token = "0123456789abcdef".to_owned();
    let credentials =
        alyx_client::Credentials::Token { username: Some("test_user".into()), token: token.clone().into() };
    let options = alyx_client::ClientOptions::new(&alyx.url, credentials);
    let client = alyx_registration::RegistrationClient::new(
        alyx_client::Client::new(options).unwrap(),
        Default::default(),
    );
    let error = flagged(&rig).register(&client, &with_files()).await.unwrap_err();
    assert_eq!(error.next_step(), NextStep::NeedsCredentials);
    assert!(!format!("{error} {error:?}").contains(&token), "{error}");
}

#[tokio::test]
async fn a_protected_dataset_is_named_and_left_unchanged() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let client = alyx.client();
    let session = flagged(&rig);
    session.register(&client, &with_files()).await.unwrap();
    let id = alyx.control().datasets()[0]["url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    assert!(alyx.control().protect_dataset(&id));
    session.file("alf/spikes.times.npy", "changed").flag();
    let before = snapshot(&session.folder);
    let mut refuse = with_files();
    refuse.files.protected = alyx_registration::ProtectedPolicy::Refuse;
    let error = session.register(&client, &refuse).await.unwrap_err();
    assert!(error.to_string().contains("alf/spikes.times.npy"), "{error}");
    assert_eq!(error.next_step(), NextStep::NeedsAttention);
    assert_eq!(alyx.control().datasets()[0]["hash"], common::MD5_OF_ABC);
    assert_eq!(snapshot(&session.folder), before);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named_and_the_others_are_registered() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = flagged(&rig);
    // Reads of this file fail for every user, including root.
    std::os::unix::fs::symlink("/proc/self/mem", session.folder.join("alf/spikes.clusters.npy")).unwrap();
    let error = session.register(&alyx.client(), &with_files()).await.unwrap_err();
    assert!(error.to_string().contains("alf/spikes.clusters.npy"), "{error}");
    assert_eq!(error.next_step(), NextStep::NeedsAttention);
    assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.times.npy"]);
    assert!(session.is_flagged());
}

#[tokio::test]
async fn a_file_that_vanishes_or_appears_while_its_session_runs_makes_it_run_again() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let client = alyx.client();
    let session = flagged(&rig);
    session.file("alf/spikes.clusters.npy", "a");
    let hold = |path: &str| {
        let gate = Gate::default();
        alyx.control().add_fault(FaultRule {
            method: None,
            path_prefix: path.into(),
            times: 1,
            fault: Fault::Hold(gate.clone()),
        });
        gate
    };
    let gate = hold("/sessions");
    let options = with_files();
    let vanishing = async {
        gate.reached().await;
        std::fs::remove_file(session.folder.join("alf/spikes.clusters.npy")).unwrap();
        gate.open();
    };
    let (result, ()) = tokio::join!(session.register(&client, &options), vanishing);
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Vanished { .. }), "{error}");
    assert_eq!(error.next_step(), NextStep::TryAgain { after: None });

    for name in ["alf/spikes.depths.npy", "alf/spikes.times.npy"] {
        let gate = hold("/datasets");
        let writing = async {
            gate.reached().await;
            session.file(name, format!("written later: {name}"));
            gate.open();
        };
        let (result, ()) = tokio::join!(session.register(&client, &options), writing);
        let error = result.unwrap_err();
        assert!(matches!(&error, Error::StillChanging { path, .. } if path.ends_with(name)), "{error}");
        assert!(session.is_flagged());
    }
    session.register(&client, &options).await.unwrap();
    assert_eq!(alyx.dataset_paths(&session).await, ["alf/spikes.depths.npy", "alf/spikes.times.npy"]);
}

#[tokio::test]
async fn datasets_that_alyx_does_not_show_are_not_confirmed() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = flagged(&rig);
    let body = r#"{"count": 0, "next": null, "previous": null, "results": []}"#.to_owned();
    let nothing =
        Fault::Status { code: 200, body, content_type: "application/json".into(), retry_after: None };
    alyx.control().add_fault(every("GET", "/datasets", nothing));
    let error = session.register(&alyx.client(), &with_files()).await.unwrap_err();
    assert!(matches!(&error, Error::NotConfirmed(files) if files.len() == 1), "{error}");
    assert!(session.is_flagged());
}

/// The verbs of the library and of the command line compare what Alyx shows, as the daemon does.
#[tokio::test]
async fn files_that_are_registered_without_a_flag_are_read_back_too() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc");
    let body = r#"{"count": 0, "next": null, "previous": null, "results": []}"#.to_owned();
    let nothing =
        Fault::Status { code: 200, body, content_type: "application/json".into(), retry_after: None };
    alyx.control().add_fault(every("GET", "/datasets", nothing));
    let (client, options) = (alyx.client(), RegisterFilesOptions::default());
    let details = SessionDetails::default();
    let registered =
        client.register_session(&session.folder, &details, &FilesToRegister::All, &options).await;
    assert!(matches!(registered, Err(Error::NotConfirmed(_))), "{registered:?}");
    let file = session.folder.join("alf/spikes.times.npy");
    let registered = client.register_files(&[file], &options).await;
    assert!(matches!(registered, Err(Error::NotConfirmed(_))), "{registered:?}");
}

#[tokio::test]
async fn an_invalid_flag_is_kept_and_reported() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = flagged(&rig);
    std::fs::write(session.folder.join("create_me.flag"), b"alf/\xff\xfe\n").unwrap();
    let error = session.register(&alyx.client(), &with_files()).await.unwrap_err();
    assert_eq!(error.next_step(), NextStep::NeedsAttention);
    assert!(error.to_string().contains("UTF-8"), "{error}");
    assert!(session.is_flagged());
}

#[tokio::test]
async fn a_flag_that_cannot_be_removed_is_reported_after_everything_is_registered() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = flagged(&rig);
    let chattr = |flag: &str| {
        let status = std::process::Command::new("chattr").arg(flag).arg(&session.folder).status();
        status.is_ok_and(|s| s.success())
    };
    // Root is stopped only by this attribute; other users by the permissions.
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        if !chattr("+i") {
            eprintln!("skipped: this file system has no immutable folders, and root may write everywhere");
            return;
        }
    } else {
        std::fs::set_permissions(&session.folder, std::os::unix::fs::PermissionsExt::from_mode(0o555))
            .unwrap();
    }
    let result = session.register(&alyx.client(), &with_files()).await;
    if is_root {
        assert!(chattr("-i"));
    } else {
        std::fs::set_permissions(&session.folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
    }
    let error = result.unwrap_err();
    assert!(matches!(error, Error::FlagStays { .. }), "{error}");
    assert_eq!(error.next_step(), NextStep::NeedsAttention);
    assert_eq!(alyx.control().datasets().len(), 1);
    assert!(session.is_flagged());
}

#[tokio::test]
async fn one_session_in_two_folders_is_created_once() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let client = alyx.client();
    for day in 1..=10 {
        let path = format!("cortexlab/Subjects/KS014/2024-05-{day:02}/001");
        let (behaviour, video) =
            (rig.session_at(&format!("disk1/{path}")), rig.session_at(&format!("disk2/{path}")));
        behaviour.file("alf/spikes.times.npy", "a").flag();
        video.file("alf/spikes.depths.npy", "b").flag();
        let options = with_files();
        let (one, two) =
            tokio::join!(behaviour.register(&client, &options), video.register(&client, &options));
        assert_eq!(one.unwrap().eid, two.unwrap().eid);
        assert_eq!(alyx.datasets(&video).await.len(), 2);
    }
    assert_eq!(alyx.control().sessions().len(), 10);
}

#[tokio::test]
async fn a_session_folder_with_a_twin_is_refused_and_names_both() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    for number in ["001", "1"] {
        let session = rig.session_at(&format!("cortexlab/Subjects/KS014/2024-05-01/{number}"));
        session.file("alf/spikes.times.npy", number).flag();
    }
    for number in ["001", "1"] {
        let session = rig.session_at(&format!("cortexlab/Subjects/KS014/2024-05-01/{number}"));
        let error = session.register(&alyx.client(), &with_files()).await.unwrap_err();
        assert!(error.to_string().contains("\"001\"") && error.to_string().contains("\"1\""), "{error}");
        assert_eq!(error.next_step(), NextStep::NeedsAttention);
        assert!(session.is_flagged());
    }
    assert!(alyx.control().sessions().is_empty());
}

#[tokio::test]
async fn a_dataset_behind_a_dangling_link_keeps_the_flag() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    for name in ["alf/spikes.clusters.npy", "raw_video_data"] {
        let session = flagged(&rig);
        std::os::unix::fs::symlink("/not/mounted/here", session.folder.join(name)).unwrap();
        let error = session.register(&alyx.client(), &with_files()).await.unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(error.next_step(), NextStep::NeedsAttention);
        assert!(session.is_flagged());
    }
    let session = flagged(&rig);
    std::os::unix::fs::symlink("/not/mounted/here", session.folder.join("figure.png")).unwrap();
    session.register(&alyx.client(), &with_files()).await.unwrap();
}

#[tokio::test]
async fn a_flag_whose_lines_name_no_dataset_is_kept() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = flagged(&rig);
    session.flag_with("*.npy\nmistyped\n");
    let error = session.register(&alyx.client(), &with_files()).await.unwrap_err();
    assert!(error.to_string().contains("mistyped"), "{error}");
    assert_eq!(error.next_step(), NextStep::NeedsAttention);
    assert!(session.is_flagged() && alyx.control().sessions().is_empty());
}

/// The message appears in the log, the ledger, `status` and a chat channel.
#[tokio::test]
async fn a_problem_of_many_files_is_reported_with_examples_and_a_count() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = flagged(&rig);
    let lines: String = (0..5000).map(|n| format!("mistyped{n}\n")).collect();
    session.flag_with(&format!("{}\n{lines}", "x".repeat(100_000)));
    let of_flag = session.register(&alyx.client(), &with_files()).await.unwrap_err().to_string();
    let lines = || (0..5000).map(|n| format!("alf/mistyped{n}: cannot be read"));
    let refused = Error::FilesRefused { registered: 7, refused: lines().collect() }.to_string();
    let differs = Error::NotConfirmed(lines().collect()).to_string();
    for (message, more) in
        [(of_flag, "and 4981 more"), (refused, "and 4980 more"), (differs, "and 4980 more")]
    {
        assert!(message.contains("mistyped0") && message.contains(more), "{message}");
        assert!(message.len() < 3000, "{message}");
    }
}

#[tokio::test]
async fn a_login_repeated_by_the_server_does_not_appear_in_errors() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let mut options = alyx.options();
    let login = alyx_client::Credentials::Password {
        username: "me".into(),
        password: "s3cr&t w/ords".to_owned().into(),
    };
    options.credentials = login;
    for body in ["you sent password=s3cr%26t+w%2Fords", "you sent s3cr&t w/ords"] {
        let fault = Fault::Status {
            code: 500,
            body: body.into(),
            content_type: "text/plain".into(),
            retry_after: None,
        };
        alyx.control().add_fault(every("POST", "/auth-token", fault));
        let client = alyx_registration::RegistrationClient::new(
            alyx_client::Client::new(options.clone()).unwrap(),
            Default::default(),
        );
        let error = flagged(&rig).register(&client, &with_files()).await.unwrap_err().to_string();
        alyx.control().clear_faults();
        assert!(error.contains("you sent") && !error.contains("s3cr"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_of_scan_shows_whether_everything_succeeded() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = flagged(&rig);
    let config = |password: &str, url: &str| {
        let (user, password, url) = (alyx.user.clone(), password.to_owned(), url.to_owned());
        Configuration { roots: vec![rig.root()], url, user, password, more: String::new() }
            .write(&rig.beside("etc"))
    };
    let run = |config: &std::path::Path, more: &[&str]| {
        let mut scan = Program::start(program().arg("scan").arg("--config").arg(config).args(more));
        (scan.wait().code(), scan.text())
    };
    let good = config(&alyx.password, &alyx.url);
    let before = snapshot(&rig.root());
    let (code, said) = run(&good, &["--dry-run"]);
    assert_eq!((code, snapshot(&rig.root()) == before), (Some(0), true), "{said}");
    assert!(alyx.control().sessions().is_empty() && said.contains("1 would be registered"), "{said}");

    let (code, said) = run(&config("wrong-password", &alyx.url), &[]);
    assert_eq!((code, said.contains("wrong-password")), (Some(77), false), "{said}");
    let (code, said) = run(&config("x", "http://127.0.0.1:1"), &[]);
    assert_eq!(code, Some(69), "{said}");

    let good = config(&alyx.password, &alyx.url);
    let (code, said) = run(&good, &["--no-files", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    // On a busy machine the log may print a line in between.
    let object = said.lines().find(|line| line.starts_with('{'));
    let line: serde_json::Value = serde_json::from_str(object.unwrap()).unwrap();
    assert_eq!((line["outcome"].as_str(), line["datasets"].as_u64()), (Some("registered"), Some(0)));
    assert!(alyx.control().datasets().is_empty());

    // A missing root does not affect the others.
    session.flag();
    let (code, said) =
        run(&good, &["--data-root", "/not/there", "--data-root", rig.root().to_str().unwrap()]);
    assert_eq!((code, session.is_flagged()), (Some(1), false), "{said}");
    assert!(said.contains("/not/there"), "{said}");

    session.flag();
    rig.session("cortexlab", "nobody").flag();
    let (code, said) = run(&good, &[]);
    assert_eq!((code, session.is_flagged()), (Some(1), false), "{said}");
    assert!(said.contains("\"nobody\""), "{said}");
}

#[test]
fn an_output_that_cannot_be_written_does_not_change_the_exit_code() {
    let rig = Rig::new();
    let etc = rig.beside("etc");
    let settings = |url: &str| Configuration {
        roots: vec![rig.root()],
        url: url.into(),
        user: "rig".into(),
        password: "x".into(),
        more: String::new(),
    };
    let good = settings("http://127.0.0.1:1").write(&etc);
    let bad = settings("nowhere").write(&rig.beside("bad"));
    // Like a full disk; a closed pipe (`| head`) is the same case.
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let ended = |words: &[&str], config: &std::path::Path| {
        let mut command = program();
        command.args(words).arg("--config").arg(config);
        program::output(command.stdout(full()).stderr(full())).status.code()
    };
    for (words, code) in [
        (&["status"][..], 69),
        (&["status", "--json"], 69),
        (&["history"], 0),
        (&["check", "--offline"], 0),
        (&["scan"], 69),
    ] {
        assert_eq!(ended(words, &good), Some(code), "{words:?}");
    }
    for words in [&["status"][..], &["run"], &["check"], &["scan"]] {
        assert_eq!(ended(words, &bad), Some(78), "{words:?}");
    }
}

#[test]
fn an_invalid_configuration_exits_with_78_before_anything_starts() {
    let rig = Rig::new();
    let session = flagged(&rig);
    let root = rig.root();
    let good = format!(
        "data_roots: [{}]\nalyx:\n  url: http://127.0.0.1:1\n  username: me\n  password_file: /x\n",
        root.display()
    );
    let bad = [
        ("{broken", "config.yaml"),
        ("", "data_roots"),
        ("data_roots: [/tmp]\nalyx:\n  ulr: http://x\n", "ulr"),
        (&format!("{good}workers: many\n"), "workers"),
        (&format!("{good}watch:\n  settle: 5 minuts\n"), "settle"),
    ];
    for (text, message) in bad {
        let config = rig.beside("config.yaml");
        std::fs::write(&config, text).unwrap();
        for command in ["run", "scan"] {
            let mut program = Program::start(program().arg(command).arg("--config").arg(&config));
            assert_eq!(program.wait().code(), Some(78), "{text}: {}", program.text());
            assert!(
                program.text().contains(message) && program.text().contains("config.yaml"),
                "{}",
                program.text()
            );
        }
    }
    let mut program = Program::start(program().args(["run", "--config", "/nowhere/config.yaml"]));
    assert_eq!(program.wait().code(), Some(78), "{}", program.text());
    assert!(session.is_flagged());
}

#[test]
fn the_demo_works_and_explains_why_one_flag_still_waits() {
    let mut demo = Program::start(program().arg("demo"));
    assert_eq!(demo.wait().code(), Some(0), "{}", demo.text());
    let said = demo.text();
    assert!(
        said.contains("Flag kept: /") && said.contains("Reason: Alyx does not know subject \"new_mouse\""),
        "{said}"
    );
    assert!(said.contains("left out: 1 hidden, 2 no ALF name"), "{said}");
    assert!(said.contains("project from alyx-session.yaml"), "{said}");
    let next = format!("Next: {} run --sandbox --data-root ", program().get_program().display());
    assert!(said.contains(&next), "{said}");
}
