//! Behaviours of Alyx beyond the recorded exchanges, each observed on a real Alyx 3.6.1.
use alyx_sandbox::{Database, Sandbox, SandboxOptions};
use serde_json::{Value, json};

use crate::rig::{Rig, id};

#[tokio::test]
async fn a_form_logs_in_as_json_does_and_the_token_stays_the_same() {
    let rig = Rig::new().await;
    let login = json!({"username": "test_user", "password": "TapetesBloc18"});
    let (_, again) = rig.send("POST", "/auth-token", login).await;
    assert_eq!(again["token"], rig.token.as_str());
}

#[tokio::test]
async fn files_exist_only_in_the_named_repository_or_on_servers() {
    let rig = Rig::new().await;
    rig.session(json!({})).await;
    let present = |records: Value| -> Vec<(String, bool)> {
        let files = records[0]["file_records"].as_array().unwrap().clone();
        files
            .iter()
            .map(|f| (f["data_repository"].as_str().unwrap().to_owned(), f["exists"].as_bool().unwrap()))
            .collect()
    };
    let (_, neither) = rig.register(json!({"filenames": ["a/spikes.times.npy"]})).await;
    assert_eq!(present(neither), [("cortexlab_local".into(), false), ("flatiron_cortexlab".into(), false)]);
    let (_, named) =
        rig.register(json!({"filenames": ["b/spikes.times.npy"], "name": "cortexlab_local"})).await;
    assert_eq!(present(named), [("cortexlab_local".into(), true), ("flatiron_cortexlab".into(), false)]);
    let (_, servers) = rig.register(json!({"filenames": ["c/spikes.times.npy"], "server_only": true})).await;
    assert_eq!(present(servers), [("flatiron_cortexlab".into(), true)]);
    let planned = json!({"filenames": ["d/spikes.times.npy"], "name": "cortexlab_local", "exists": false});
    assert_eq!(present(rig.register(planned).await.1)[0], ("cortexlab_local".into(), false));
}

#[tokio::test]
async fn a_file_record_is_corrected_alone_where_registering_again_changes_nothing() {
    let rig = Rig::new().await;
    let session = rig.session(json!({})).await;
    let files = json!({"filenames": ["a/spikes.times.npy"], "hashes": ["ab"]});
    rig.register(files.clone()).await;
    let mut named = files;
    named["name"] = "flatiron_cortexlab".into();
    let (_, again) = rig.register(named).await;
    let record = &again[0]["file_records"][1];
    assert_eq!(
        (&record["data_repository"], &record["exists"]),
        (&json!("flatiron_cortexlab"), &json!(false))
    );
    let path = format!("/files/{}", id(record));
    assert_eq!(rig.send("PATCH", &path, json!({"exists": true})).await.0, 200);
    let shown = rig.get(&path).await;
    assert_eq!((&shown["data_repository"], &shown["exists"]), (&json!("flatiron_cortexlab"), &json!(true)));
    assert!(shown["dataset"].as_str().unwrap().ends_with(id(&again[0])), "{shown}");
    let listed = rig.get(&format!("/datasets?session={}", id(&session))).await;
    let exist = |i: usize| listed["results"][0]["file_records"][i]["exists"].clone();
    assert_eq!([exist(0), exist(1)], [json!(false), json!(true)]);
    assert_eq!(rig.send("PATCH", "/files/0000", json!({"exists": true})).await.0, 404);
}

#[tokio::test]
async fn a_session_shows_only_datasets_that_a_server_has() {
    let rig = Rig::new().await;
    let session = rig.session(json!({})).await;
    rig.register(json!({"filenames": ["a/spikes.times.npy"], "name": "cortexlab_local"})).await;
    let (_, on_server) =
        rig.register(json!({"filenames": ["b/spikes.times.npy"], "server_only": true})).await;
    let shown = rig.get(&format!("/sessions/{}", id(&session))).await;
    let shown = shown["data_dataset_session_related"].as_array().unwrap();
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0]["id"], on_server[0]["id"]);
    assert!(shown[0]["data_url"].as_str().unwrap().contains(id(&on_server[0])), "{}", shown[0]);
    assert_eq!(rig.get(&format!("/datasets?session={}", id(&session))).await["count"], 2);
}

#[tokio::test]
async fn a_checksum_that_changes_makes_the_file_absent_where_it_was() {
    let rig = Rig::new().await;
    rig.session(json!({})).await;
    let first = json!({"hashes": ["a"], "server_only": true});
    assert_eq!(rig.register(first.clone()).await.1[0]["file_records"][0]["exists"], true);
    let same = json!({"hashes": ["a"]});
    assert_eq!(
        rig.register(same).await.1[0]["file_records"][0]["exists"],
        true,
        "unchanged: nothing is known to be gone"
    );
    let changed = rig.register(json!({"hashes": ["b"]})).await.1;
    assert!(changed[0]["file_records"].as_array().unwrap().iter().all(|f| f["exists"] == false), "{changed}");
}

#[tokio::test]
async fn a_refused_file_leaves_those_before_it_registered() {
    let rig = Rig::new().await;
    let session = rig.session(json!({})).await;
    let (status, body) =
        rig.register(json!({"filenames": ["spikes.times.npy", "no.type.npy", "spikes.amps.npy"]})).await;
    assert_eq!(
        (status, &body["detail"]),
        (500, &json!("No dataset type found for filename \"no.type.npy\""))
    );
    let held = rig.get(&format!("/datasets?session={}", id(&session))).await;
    assert_eq!(held["count"], 1);
    assert_eq!(held["results"][0]["name"], "spikes.times.npy");
}

#[tokio::test]
async fn a_refused_grade_leaves_a_dataset_without_files_and_creator() {
    let rig = Rig::new().await;
    let session = rig.session(json!({})).await;
    assert_eq!(rig.register(json!({"qc": ["11"]})).await.0, 400);
    let held = rig.get(&format!("/datasets?session={}", id(&session))).await;
    assert_eq!(held["results"][0]["created_by"], Value::Null);
    assert_eq!(held["results"][0]["file_records"], json!([]));
}

#[tokio::test]
async fn the_shortest_list_decides_how_many_files_are_registered() {
    let rig = Rig::new().await;
    rig.session(json!({})).await;
    let files = json!(["spikes.times.npy", "spikes.amps.npy"]);
    let (status, records) = rig.register(json!({"filenames": files, "hashes": ["a"]})).await;
    assert_eq!((status, records.as_array().unwrap().len()), (201, 1));
    let (status, body) = rig.register(json!({"filenames": files, "hashes": null})).await;
    assert_eq!((status, body["detail"].as_str()), (500, Some("'NoneType' object is not iterable")));
}

#[tokio::test]
async fn a_user_who_registers_files_joins_the_session() {
    let rig = Rig::new().await;
    let session = rig.session(json!({})).await;
    let (_, records) = rig.register(json!({"created_by": "rig_user"})).await;
    assert_eq!(records[0]["session_users"], "rig_user,test_user");
    let users = &rig.get(&format!("/sessions/{}", id(&session))).await["users"];
    assert_eq!(users, &json!(["rig_user", "test_user"]));
}

#[tokio::test]
async fn the_parent_of_a_day_is_the_session_with_the_smallest_id() {
    let rig = Rig::new().await;
    let mut sessions = Vec::new();
    for number in 1..=3 {
        sessions.push(rig.session(json!({"number": number})).await);
    }
    let smallest = sessions.iter().map(id).min().unwrap().to_owned();
    for number in 1..=3 {
        rig.register(json!({"path": format!("KS014/2024-05-01/00{number}")})).await;
    }
    for session in &sessions {
        let parent = &rig.get(&format!("/sessions/{}", id(session))).await["parent_session"];
        if id(session) == smallest {
            assert_eq!(parent, &Value::Null);
        } else {
            assert_eq!(parent, &json!(format!("{}/sessions/{smallest}", rig.sandbox.url())));
        }
    }
}

#[tokio::test]
async fn a_number_of_four_digits_is_cut_to_three() {
    let rig = Rig::new().await;
    rig.session(json!({})).await;
    let (status, body) = rig.register(json!({"path": "KS014/2024-05-01/0001"})).await;
    assert_eq!(
        (status, body["error"].as_str()),
        (400, Some("A session for KS014/0 on 2024-05-01 does not exist"))
    );
    let (status, body) = rig.register(json!({"path": "KS014/2024-13-40/001"})).await;
    assert_eq!(status, 500);
    assert!(body["detail"].as_str().unwrap().contains("it is an invalid date"), "{body}");
}

#[tokio::test]
async fn a_file_name_without_type_or_format_is_a_permanent_error() {
    let rig = Rig::new().await;
    rig.session(json!({})).await;
    let (_, body) = rig.register(json!({"filenames": ["trials.table"]})).await;
    assert_eq!(body["detail"], "No dataset type found for filename \"trials.table\"");
    let dots = rig.register(json!({"filenames": ["trials.table.npyz"]})).await;
    assert_eq!((dots.0, &dots.1["detail"]), (500, &json!("DataFormat matching query does not exist.")));
}

#[tokio::test]
async fn a_full_update_keeps_absent_fields_and_replaces_json_whole() {
    let rig = Rig::new().await;
    let session = rig.session(json!({"json": {"a": 1, "b": 2}, "narrative": " kept ", "qc": "PASS"})).await;
    let path = format!("/sessions/{}", id(&session));
    let (status, updated) =
        rig.send("PUT", &path, json!({"subject": "KS014", "json": {"c": 3}, "users": []})).await;
    assert_eq!(status, 200);
    assert_eq!(updated["json"], json!({"c": 3}));
    assert_eq!(
        (&updated["narrative"], &updated["qc"], &updated["number"]),
        (&json!("kept"), &json!("PASS"), &json!(1))
    );
    assert_eq!(updated["users"], json!([]), "an empty list empties, once the session exists");
    assert_eq!(rig.send("PUT", &path, json!({"number": 5})).await.0, 400, "a full update needs the subject");
}

#[tokio::test]
async fn wrong_values_are_named_field_by_field() {
    let rig = Rig::new().await;
    let wrong = json!({
        "subject": null, "users": "test_user", "number": 3_000_000_000_u64, "n_trials": 7.5, "type": true,
        "task_protocol": null, "qc": 50, "start_time": "2024-02-30", "parent_session": "foo",
    });
    let (status, body) = rig.send("POST", "/sessions", wrong).await;
    assert_eq!(status, 400);
    let expected = json!({
        "subject": ["This field may not be null."],
        "users": ["Expected a list of items but got type \"str\"."],
        "type": ["Not a valid string."],
        "task_protocol": ["This field may not be null."],
        "number": ["Ensure this value is less than or equal to 2147483647."],
        "start_time": ["Datetime has wrong format. Use one of these formats instead: \
                       YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."],
        "parent_session": ["Invalid hyperlink - No URL match."],
        "n_trials": ["A valid integer is required."],
        "qc": ["Invalid qc, choices are: CRITICAL, FAIL, WARNING, NOT_SET, PASS"],
        "status_code": 400,
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_search_applies_its_filters_and_ignores_unknown_ones() {
    let rig = Rig::new().await;
    rig.session(json!({"number": 1, "projects": ["ibl_training"], "json": {"rig": "r1", "n": 3}})).await;
    rig.session(json!({"number": 2, "start_time": "2024-05-02T10:00:00", "task_protocol": "Ephys"})).await;
    for (query, expected) in [
        ("subject=ks014", 2),
        ("subject=KS01", 0),
        ("number=002", 1),
        ("lab=CORTEXLAB", 2),
        ("project=training", 1),
        ("task_protocol=ephys", 1),
        ("date_range=2024-05-02,2024-05-02", 1),
        ("users=test_user,rig_user", 0),
        ("json=rig,r1", 1),
        ("json=n__gt,3", 0),
        ("django=start_time__date,2024-05-02", 1),
        ("django=~number__gt,1", 1),
        ("django=subject__nickname__in,['KS014','x']", 2),
        ("no_such_filter=1", 2),
    ] {
        assert_eq!(rig.get(&format!("/sessions?{query}")).await["count"], expected, "{query}");
    }
    assert_eq!(rig.send("GET", "/sessions?date_range=2024-05-01", Value::Null).await.0, 500);
    assert_eq!(
        rig.send("GET", "/sessions?number=abc", Value::Null).await.1["number"],
        json!(["Enter a number."])
    );
    let unknown = "/datasets?session=00000000-0000-4000-8000-000000000000";
    assert_eq!(rig.send("GET", unknown, Value::Null).await.0, 400, "an unknown session is refused here");
}

#[tokio::test]
async fn each_page_links_to_the_next() {
    let rig = Rig::new().await;
    let (mut next, mut names) = (Some(format!("{}/dataset-types?limit=100", rig.sandbox.url())), Vec::new());
    let mut count = 0;
    while let Some(url) = next {
        let page = rig.get(&url).await;
        names.extend(
            page["results"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap().to_owned()),
        );
        count = page["count"].as_u64().unwrap();
        next = page["next"].as_str().map(str::to_owned);
    }
    assert_eq!(names.len() as u64, count);
    assert!(names.is_sorted(), "capitals first, then underscores, then small letters");
}

#[tokio::test]
async fn protection_is_reported_for_every_revision() {
    let rig = Rig::new().await;
    rig.session(json!({})).await;
    let (_, original) = rig.register(json!({})).await;
    rig.register(json!({"filenames": ["alf/#2024-05-02#/spikes.times.npy"]})).await;
    rig.register(json!({"filenames": ["alf/#2024-05-03#/spikes.times.npy"]})).await;
    assert!(rig.sandbox.control().protect_dataset(id(&original[0])));
    let details = json!([{"alf/#2024-05-02#/spikes.times.npy":
        [{"2024-05-03": false}, {"2024-05-02": false}, {"": true}]}]);
    let files = json!({"filenames": ["alf/#2024-05-02#/spikes.times.npy"], "check_protected": true});
    let (status, body) = rig.register(files).await;
    assert_eq!((status, &body["details"]), (403, &details));
    let query = "path=KS014/2024-05-01/001&filenames=alf/%232024-05-02%23/spikes.times.npy";
    let asked = rig.get(&format!("/check-protected?{query}")).await;
    assert_eq!(
        (&asked["status_code"], &asked["details"]),
        (&json!(403), &details),
        "HTTP 200, and the verdict inside"
    );
}

#[tokio::test]
async fn deleting_a_session_deletes_its_protected_datasets_too() {
    let rig = Rig::new().await;
    let session = rig.session(json!({})).await;
    let (_, records) = rig.register(json!({})).await;
    assert!(rig.sandbox.control().protect_dataset(id(&records[0])));
    assert_eq!(rig.send("DELETE", &format!("/datasets/{}", id(&records[0])), Value::Null).await.0, 403);
    assert_eq!(rig.send("DELETE", &format!("/sessions/{}", id(&session)), Value::Null).await.0, 204);
    assert!(rig.sandbox.control().datasets().is_empty());
}

#[tokio::test]
async fn a_dataset_can_belong_to_a_subject_instead_of_a_session() {
    let rig = Rig::new().await;
    let subject = rig.get("/subjects/KS014").await;
    let of_subject = json!({
        "path": "Subjects/KS014", "filenames": ["spikes.times.npy"], "name": "cortexlab_local",
        "content_type": "subject", "object_id": id(&subject),
    });
    let (status, records) = rig.register(of_subject).await;
    assert_eq!(status, 201, "{records}");
    assert_eq!(records[0]["content_type"], "subjects.subject");
    assert_eq!(records[0]["subject"], "KS014");
    assert_eq!(records[0]["file_records"][0]["relative_path"], "Subjects/KS014/spikes.times.npy");
    let (_, half) = rig.register(json!({"content_type": "subject"})).await;
    assert_eq!(half["error"], "Both content_type and object_id should be provided together.");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_with_a_500() {
    let rig = Rig::new().await;
    let long = "x".repeat(2_700_000);
    let (status, body) = rig.send("POST", "/sessions", json!({"subject": "KS014", "narrative": long})).await;
    assert_eq!(status, 500);
    assert_eq!(body["detail"], "Request body exceeded settings.DATA_UPLOAD_MAX_MEMORY_SIZE.");
}

#[tokio::test]
async fn an_unknown_path_is_an_html_404_and_a_wrong_method_a_405() {
    let rig = Rig::new().await;
    for path in ["/me", "/sessions/", "/sessions/not-a-uuid", "/procedures/x"] {
        let (status, body) = rig.send("GET", path, Value::Null).await;
        assert_eq!(status, 404, "{path}");
        assert!(body.as_str().is_some_and(|t| t.starts_with("<!doctype html>")), "{path}: {body}");
    }
    let (status, body) = rig.send("DELETE", "/sessions", Value::Null).await;
    assert_eq!((status, body["detail"].as_str()), (405, Some("Method \"DELETE\" not allowed.")));
}

#[tokio::test]
async fn a_database_file_survives_a_restart_and_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sandbox.sqlite");
    let options = || SandboxOptions { database: Database::File(file.clone()), ..Default::default() };
    let rig = Rig::with(options()).await;
    let session = rig.session(json!({})).await;
    rig.register(json!({})).await;
    let token = rig.token.clone();
    assert!(rig.sandbox.control().add_subject("M1", "mainenlab"));
    rig.sandbox.stop().await;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let rig = Rig::with(options()).await;
    assert_eq!(rig.token, token);
    assert_eq!(rig.sandbox.control().sessions().len(), 1);
    assert_eq!(rig.sandbox.control().sessions()[0]["id"], session["id"]);
    assert_eq!(rig.sandbox.control().datasets().len(), 1);
    assert_eq!(rig.get("/subjects/M1").await["lab"], "mainenlab");
    assert_eq!(rig.get("/subjects").await["count"], 5, "the seed is not planted twice");
}

#[tokio::test]
async fn an_empty_alyx_is_filled_over_rest() {
    let seed = alyx_sandbox::Seed::empty();
    assert_eq!(seed.users[0].username, "admin");
    let sandbox = Sandbox::start(SandboxOptions { seed, ..SandboxOptions::default() }).await.unwrap();
    let client = crate::http();
    let login = [("username", "admin"), ("password", "TapetesBloc18")];
    let body = client.post(format!("{}/auth-token", sandbox.url())).form(&login).send().await.unwrap();
    let token = body.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
    let rig = Rig { sandbox, client, token };
    for empty in ["subjects", "projects", "locations", "data-repository"] {
        assert_eq!(rig.get(&format!("/{empty}")).await["count"], 0, "{empty}");
    }
    let disk = json!({"name": "disk", "data_url": "http://127.0.0.1:9/", "repository_type": "Fileserver"});
    for (path, record) in [
        ("/data-repository", disk),
        ("/labs", json!({"name": "newlab", "repositories": ["disk"]})),
        ("/projects", json!({"name": "pilot", "users": []})),
        ("/data-formats", json!({"name": "h5", "file_extension": ".h5"})),
        ("/dataset-types", json!({"name": "licks.raw", "filename_pattern": "Licks.raw.*"})),
        ("/subjects", json!({"nickname": "M1", "lab": "newlab"})),
    ] {
        let (status, body) = rig.send("POST", path, record).await;
        assert_eq!(status, 201, "{path}: {body}");
    }
    assert_eq!(rig.get("/dataset-types/licks.raw").await["filename_pattern"], "licks.raw.*");
    assert_eq!(rig.get("/subjects/M1").await["responsible_user"], "admin");
}

#[tokio::test]
async fn a_plain_record_is_checked_changed_and_deleted_as_on_alyx() {
    let rig = Rig::new().await;
    for (path, record, field, message) in [
        (
            "/labs",
            json!({"name": "my lab"}),
            "name",
            "Lab name must only contain letters, numbers, and underscores.",
        ),
        ("/labs", json!({"name": "cortexlab"}), "name", "lab with this name already exists."),
        (
            "/labs",
            json!({"name": "l", "repositories": ["x"]}),
            "repositories",
            "Object with name=x does not exist.",
        ),
        ("/projects", json!({}), "name", "This field is required."),
        ("/projects", json!({"name": " "}), "name", "This field may not be blank."),
        (
            "/data-formats",
            json!({"name": "x", "file_extension": "x"}),
            "file_extension",
            "Invalid file extension, should start with a dot",
        ),
        ("/data-repository", json!({"name": "x", "data_url": "nowhere"}), "data_url", "Enter a valid URL."),
        ("/data-repository", json!({"name": "x", "hostname": "a b"}), "hostname", "Invalid hostname"),
        (
            "/dataset-types",
            json!({"name": "x", "filename_pattern": "*spikes.times*.npy"}),
            "filename_pattern",
            "dataset type with this filename pattern already exists.",
        ),
    ] {
        let (status, body) = rig.send("POST", path, record).await;
        assert_eq!((status, body[field][0].as_str()), (400, Some(message)), "{path}: {body}");
    }
    // The default of the field is the user, not a list of users.
    let (status, body) = rig.send("POST", "/projects", json!({"name": "without_users"})).await;
    assert_eq!((status, &body["detail"]), (500, &json!("'LabMember' object is not iterable")));
    // A location can be changed over REST, and neither created nor deleted.
    assert_eq!(rig.send("POST", "/locations", json!({"name": "rig9", "lab": "cortexlab"})).await.0, 405);
    assert_eq!(rig.send("DELETE", "/locations/rig1", Value::Null).await.0, 405);
    assert_eq!(rig.send("PATCH", "/locations/rig1", json!({"json": {"a": 1}})).await.0, 200);

    let linked = json!({"repositories": ["flatiron_cortexlab"]});
    let (status, lab) = rig.send("PATCH", "/labs/cortexlab", linked.clone()).await;
    assert_eq!(
        (status, &lab["repositories"], &lab["timezone"]),
        (200, &linked["repositories"], &json!("Europe/London"))
    );
    assert_eq!(rig.send("DELETE", "/data-repository/flatiron_cortexlab", Value::Null).await.0, 204);
    assert_eq!(rig.get("/labs/cortexlab").await["repositories"], json!([]));
    assert_eq!(rig.send("GET", "/data-repository/flatiron_cortexlab", Value::Null).await.0, 404);
}

#[tokio::test]
async fn a_public_user_may_only_read() {
    let mut seed = alyx_sandbox::Seed::default();
    seed.users[0].public = true;
    let rig = Rig::with(SandboxOptions { seed, ..SandboxOptions::default() }).await;
    assert_eq!(rig.get("/labs").await["count"], 2);
    for (method, path) in
        [("POST", "/projects"), ("PATCH", "/labs/cortexlab"), ("DELETE", "/tags/x"), ("POST", "/sessions")]
    {
        let (status, body) = rig.send(method, path, json!({"name": "x"})).await;
        assert_eq!(
            (status, body["detail"].as_str()),
            (403, Some("You do not have permission to perform this action.")),
            "{method} {path}"
        );
    }
}
