//! Filters of lists, and records that are changed and deleted, each observed on a real Alyx 3.6.1.
use serde_json::{Value, json};

use crate::rig::{Rig, id};

/// A query, and the count of its list or the status and a part of its refusal.
type Case<'a> = (&'a str, Result<u64, (u16, &'a str)>);

async fn expect(rig: &Rig, endpoint: &str, cases: &[Case<'_>]) {
    for (query, expected) in cases {
        let path = format!("/{endpoint}?{query}");
        let (status, body) = rig.send("GET", &path, Value::Null).await;
        match expected {
            Ok(count) => assert_eq!((status, body["count"].as_u64()), (200, Some(*count)), "{path}: {body}"),
            Err((code, text)) => {
                assert!(status == *code && body.to_string().contains(text), "{path}: {status} {body}");
            }
        }
    }
}

#[tokio::test]
async fn every_filter_of_sessions_applies() {
    let rig = Rig::new().await;
    let fields = json!({"qc": "FAIL", "n_trials": 10, "n_correct_trials": 6, "json": {"rig": {"n": 3}},
                        "projects": ["ibl_training"], "task_protocol": "ephys_1"});
    let first = rig.session(fields).await;
    rig.session(json!({"number": 2, "start_time": "2024-06-02T10:00:00", "subject": "ZM_1743"})).await;
    let (_, files) = rig.register(json!({"server_only": true, "qc": "WARNING"})).await;
    assert!(rig.sandbox.control().protect_dataset(id(&files[0])));
    let subject = rig.get("/subjects/KS014").await["id"].as_str().unwrap().to_owned();
    let of_subject = format!("django=subject,{subject}");
    let parent = format!("parent_session={}", id(&first));
    let cases = [
        ("qc=fail", Ok(1)),
        ("qc=bad", Err((500, "Invalidqc, choices are: CRITICAL, FAIL, WARNING, NOT_SET, PASS"))),
        ("tag=SANDBOX", Ok(1)),
        ("tag=other", Ok(0)),
        ("performance_gte=60", Ok(1)),
        ("performance_lte=59", Ok(0)),
        ("performance_lte=x", Err((400, "Enter a number."))),
        ("datasets=spikes.times.npy", Ok(1)),
        ("datasets=spikes.times.npy&dataset_qc_lte=PASS", Ok(0)),
        ("dataset_qc_lte=WARNING", Ok(1)),
        ("dataset_qc_lte=bad", Err((500, "bad is not a valid QC"))),
        ("histology=true", Ok(0)),
        ("start_time=2024-06-02T10:00:00", Ok(1)),
        ("start_time=2024", Err((400, "Enter a valid date/time."))),
        ("n_trials=10", Ok(1)),
        (&parent, Ok(0)),
        ("parent_session=x", Err((400, "“x” is not a valid UUID."))),
        (&of_subject, Ok(1)),
        ("django=subject,KS014", Err((500, "“KS014” is not a valid UUID."))),
        ("django=json__rig__n,3", Ok(1)),
        ("django=json__rig__n__gt,3", Ok(0)),
        ("django=users__username,test_user", Ok(2)),
        ("django=subject__lab__name,mainenlab", Ok(1)),
        ("django=lab__name__in,['cortexlab']", Ok(1)),
        ("django=projects__name__icontains,IBL", Ok(1)),
        ("django=~projects__name__icontains,IBL", Ok(1)),
        ("django=task_protocol__startswith,ephys", Ok(1)),
        ("django=task_protocol__endswith,_2", Ok(0)),
        ("django=number__range,[1,2]", Ok(2)),
        ("django=number__gte,2,start_time__date__lt,2024-07-01", Ok(1)),
        ("django=start_time__year,2024", Ok(2)),
        ("django=start_time__gte,2024-06-02 10:00", Ok(1)),
        ("django=end_time,None", Ok(2)),
        ("django=end_time__isnull,False", Ok(0)),
        ("django=data_dataset_session_related__name__icontains,spikes", Ok(1)),
        ("django=start_time__gte,bad", Err((500, "“bad” value has an invalid format."))),
        ("django=start_time__foo,1", Err((500, "Unsupported lookup 'foo' for DateTimeField"))),
        ("django=number,abc", Err((500, "Field 'number' expected a number but got 'abc'."))),
        ("django=nothing__name,1", Err((500, "Cannot resolve keyword 'nothing' into field."))),
        ("django=number,1,number,2", Err((500, "Duplicated fields in"))),
        ("django=number", Err((500, "list index out of range"))),
    ];
    expect(&rig, "sessions", &cases).await;
}

#[tokio::test]
async fn every_filter_of_datasets_and_files_applies() {
    let rig = Rig::new().await;
    let session = rig.session(json!({})).await;
    let files = json!({"filenames": ["alf/spikes.times.npy", "alf/#v1#/spikes.amps.npy"], "server_only": true,
                       "hashes": ["ab", "cd"], "filesizes": [1, 2000], "versions": ["1.0", "2.0"]});
    let (_, records) = rig.register(files).await;
    rig.register(json!({"filenames": ["spikes.depths.npy"], "name": "cortexlab_local"})).await;
    assert!(rig.sandbox.control().protect_dataset(id(&records[0])));
    let formats = rig.get("/data-formats").await;
    let npy = formats["results"].as_array().unwrap().iter().find(|f| f["name"] == "npy").unwrap().clone();
    let of_format = format!("data_format={}", id(&npy));
    let unknown = "data_format=00000000-0000-4000-8000-000000000000";
    let cases = [
        ("exists=true", Ok(2)),
        ("exists=false", Ok(1)),
        ("exists=maybe", Ok(3)),
        ("protected=true", Ok(1)),
        ("protected=False", Ok(2)),
        ("public=true", Ok(0)),
        ("version=2.0", Ok(1)),
        ("hash=ab", Ok(1)),
        ("file_size=2000", Ok(1)),
        ("qc=not_set", Ok(3)),
        ("qc=bad", Err((500, "Invalidqc"))),
        (&of_format, Ok(3)),
        ("data_format=npy", Err((400, "“npy” is not a valid UUID."))),
        (unknown, Err((400, "Select a valid choice."))),
        ("created_by=test_user", Ok(3)),
        ("created_by=nobody", Ok(0)),
        ("lab=cortexlab", Ok(3)),
        ("created_date_gte=2024-01-01", Ok(3)),
        ("created_date_lte=2024-01-01", Ok(0)),
        ("created_date_lte=x", Err((400, "Enter a valid date/time."))),
        ("created_date=x", Err((500, "“x” value has an invalid date format."))),
        ("experiment_number=x", Err((500, "Field 'number' expected a number but got 'x'."))),
        ("django=name__icontains,SPIKES", Ok(3)),
        ("django=session__subject__nickname,KS014", Ok(3)),
        ("django=tags__name,sandbox_protected", Ok(1)),
        ("django=~tags__name,sandbox_protected", Ok(2)),
        ("django=revision__name,v1", Ok(1)),
        ("django=revision__isnull,True", Ok(2)),
        ("django=data_format__name,npy", Ok(3)),
        ("django=file_records__data_repository__name,cortexlab_local", Ok(1)),
        ("django=file_size__gt,2.5", Ok(1)),
        ("django=default_dataset,True", Ok(3)),
        ("django=pk__in,[]", Ok(0)),
        ("django=id,x", Err((500, "“x” is not a valid UUID."))),
    ];
    expect(&rig, "datasets", &cases).await;

    let dataset = format!("dataset={}", id(&records[0]));
    let of_session = format!("django=dataset__session__id,{}", id(&session));
    let cases = [
        ("", Ok(4)),
        (&dataset, Ok(1)),
        ("dataset=x", Err((400, "“x” is not a valid UUID."))),
        ("exists=false", Ok(1)),
        ("lab=cortexlab", Ok(4)),
        ("data_repository=cortexlab_local", Ok(1)),
        ("globus_is_personal=true", Ok(1)),
        ("relative_path=KS014/2024-05-01/001/alf/spikes.times.npy", Ok(1)),
        ("name=x", Ok(0)),
        (&of_session, Ok(4)),
        ("django=relative_path__icontains,depths", Ok(2)),
    ];
    expect(&rig, "files", &cases).await;
    let file = rig.get(&format!("/files?{dataset}")).await["results"][0].clone();
    let url = file["url"].as_str().unwrap();
    let (status, changed) = rig.send("PATCH", url, json!({"json": {"mismatch_hash": true}})).await;
    assert_eq!(
        (status, &changed["json"], &changed["exists"]),
        (200, &json!({"mismatch_hash": true}), &json!(true))
    );
    assert_eq!(rig.get("/files?django=json__mismatch_hash,True").await["count"], 1);
    assert_eq!(rig.send("DELETE", url, Value::Null).await.0, 204);
    assert_eq!(rig.send("GET", url, Value::Null).await.0, 404);
}

#[tokio::test]
async fn a_measurement_is_found_by_time_changed_and_deleted() {
    let rig = Rig::new().await;
    for (endpoint, field, model) in [
        ("weighings", "weight", "Weighing"),
        ("water-administrations", "water_administered", "WaterAdministration"),
    ] {
        let mut urls = Vec::new();
        for day in 1..=3 {
            let body =
                json!({"subject": "KS014", "date_time": format!("2024-05-0{day}T10:00:00"), field: day});
            let (status, body) = rig.send("POST", &format!("/{endpoint}"), body).await;
            assert_eq!(status, 201, "{body}");
            urls.push(body["url"].as_str().unwrap().to_owned());
        }
        let by_value = format!("django={field}__lt,2.5");
        let cases = [
            ("date_time=2024-05-01T10:00:00", Ok(1)),
            ("date_time=2024-05-01", Ok(0)),
            ("django=subject__nickname,KS014", Ok(3)),
            ("django=subject__nickname__icontains,ks0,date_time__gte,2024-05-02", Ok(2)),
            ("django=date_time__date,2024-05-02", Ok(1)),
            ("django=user__username,nobody", Ok(0)),
            (&by_value, Ok(2)),
            ("json=a,1", Ok(0)),
            ("user=test_user", Err((400, "“test_user” is not a valid UUID."))),
            // Alyx looks for fields that these records lack.
            (
                "date_range=2024-05-01,2024-05-02",
                Err((500, "Cannot resolve keyword 'start_time' into field.")),
            ),
            ("lab=cortexlab", Err((500, "Cannot resolve keyword 'lab' into field."))),
        ];
        expect(&rig, endpoint, &cases).await;
        assert_eq!(rig.get(&urls[1]).await[field].as_f64(), Some(2.0));
        // A weighing can be deleted, not changed.
        let (status, body) = rig.send("PATCH", &urls[1], json!({field: 9})).await;
        match field {
            "weight" => assert_eq!(status, 405, "{body}"),
            _ => assert_eq!((status, &body[field]), (200, &json!(9.0))),
        }
        assert_eq!(rig.send("DELETE", &urls[1], Value::Null).await.0, 204);
        let (status, body) = rig.send("GET", &urls[1], Value::Null).await;
        let text = format!("No {model} matches the given query.");
        assert_eq!((status, body["detail"].as_str()), (404, Some(text.as_str())));
    }
}

#[tokio::test]
async fn the_water_requirement_is_four_percent_of_the_last_weight() {
    let rig = Rig::new().await;
    let session = rig.session(json!({})).await;
    let at = "2024-05-01T10:00:00";
    rig.send("POST", "/weighings", json!({"subject": "KS014", "date_time": at, "weight": 21.2})).await;
    for (ml, session) in [(1.0, Value::Null), (2.0, session["id"].clone())] {
        let mut drink = json!({"subject": "KS014", "date_time": at, "water_administered": ml});
        if !session.is_null() {
            drink["session"] = session;
        }
        assert_eq!(rig.send("POST", "/water-administrations", drink).await.0, 201);
    }
    let told = rig.get("/water-requirement/KS014?end_date=2024-05-02").await;
    let records = told["records"].as_array().unwrap();
    assert_eq!(records.len(), 2, "{told}");
    for (i, field, value) in [
        (0, "given_water_reward", 2.0),
        (0, "given_water_supplement", 1.0),
        (0, "given_water_total", 3.0),
        (0, "expected_water", 0.848),
        (0, "excess_water", 2.152),
        (0, "weighing_at", 21.2),
        (1, "weight", 21.2),
        (1, "excess_water", -0.848),
    ] {
        assert_eq!(records[i][field].as_f64(), Some(value), "{field}: {}", records[i]);
    }
    assert_eq!(records[1]["weighing_at"], Value::Null);
    let one_day = rig.get("/water-requirement/KS014?start_date=2024-05-02&end_date=2024-05-02").await;
    assert_eq!(one_day["records"], json!([records[1]]));
    let (status, body) = rig.send("GET", "/water-requirement/nobody", Value::Null).await;
    assert_eq!((status, body["detail"].as_str()), (500, Some("Subject matching query does not exist.")));
}

#[tokio::test]
async fn revisions_and_tags_are_made_changed_and_deleted() {
    let rig = Rig::new().await;
    for (endpoint, noun) in [("revisions", "revision"), ("tags", "tag")] {
        let path = format!("/{endpoint}");
        let (status, made) = rig.send("POST", &path, json!({"name": "new"})).await;
        assert_eq!((status, &made["description"]), (201, &json!("")), "{made}");
        let (status, twice) = rig.send("POST", &path, json!({"name": "new"})).await;
        let text = format!("{noun} with this name already exists.");
        assert_eq!((status, twice["name"][0].as_str()), (400, Some(text.as_str())));
        let path = format!("{path}/new");
        for (method, body, described) in
            [("PATCH", json!({"description": "d"}), "d"), ("PUT", json!({}), "d"), ("GET", Value::Null, "d")]
        {
            let (status, body) = rig.send(method, &path, body).await;
            assert_eq!((status, body["description"].as_str()), (200, Some(described)), "{method}: {body}");
        }
        assert_eq!(rig.send("DELETE", &path, Value::Null).await.0, 204);
        assert_eq!(rig.send("GET", &path, Value::Null).await.0, 404);
    }
    let (status, body) = rig.send("POST", "/revisions", json!({"name": "a b"})).await;
    let text = "Revisions must only contain letters, numbers, hyphens, underscores and forward slashes.";
    assert_eq!((status, body["name"][0].as_str()), (400, Some(text)));
    assert_eq!(rig.send("POST", "/revisions", json!({})).await.0, 201, "a name may be empty");
    assert_eq!(rig.send("POST", "/revisions", json!({})).await.0, 500, "once");
}

#[tokio::test]
async fn a_subject_is_found_changed_and_deleted() {
    let rig = Rig::new().await;
    let new = json!({"nickname": "M1", "lab": "mainenlab", "death_date": "2024-01-01", "sex": "F"});
    rig.send("POST", "/subjects", new).await;
    rig.session(json!({"subject": "M1"})).await;
    rig.send("POST", "/weighings", json!({"subject": "M1", "weight": 20})).await;
    let cases = [
        ("alive=false", Ok(1)),
        ("alive=true", Ok(4)),
        ("stock=true", Ok(0)),
        ("water_restricted=true", Ok(0)),
        ("sex=F", Ok(1)),
        ("django=nickname__startswith,M", Ok(1)),
        ("django=lab__name,mainenlab,death_date__isnull,False", Ok(1)),
        ("django=json__a,1", Ok(0)),
        ("id=x", Err((400, "Enter a valid UUID."))),
    ];
    expect(&rig, "subjects", &cases).await;
    let (status, body) = rig.send("PATCH", "/subjects/M1", json!({"json": {"a": 1}})).await;
    assert_eq!((status, &body["json"], &body["sex"]), (200, &json!({"a": 1}), &json!("F")));
    assert_eq!(rig.get("/subjects?django=json__a,1").await["count"], 1);
    let (status, body) = rig.send("PATCH", "/subjects/M1", json!({"nickname": "M2"})).await;
    assert_eq!((status, body["nickname"][0].as_str()), (400, Some("The sandbox does not rename records.")));
    assert_eq!(rig.send("DELETE", "/subjects/M1", Value::Null).await.0, 204);
    assert_eq!(rig.get("/sessions?subject=M1").await["count"], 0);
    assert_eq!(rig.get("/weighings?subject=M1").await["count"], 0);
}

#[tokio::test]
async fn a_new_record_with_a_url_is_also_named_in_the_location() {
    let rig = Rig::new().await;
    for (path, body, located) in [
        ("/sessions", json!({"subject": "KS014"}), true),
        ("/subjects", json!({"nickname": "M1", "lab": "mainenlab"}), true),
        ("/weighings", json!({"subject": "KS014", "weight": 20}), true),
        ("/water-administrations", json!({"subject": "KS014"}), true),
        ("/data-repository-type", json!({"name": "tape"}), true),
        ("/tags", json!({"name": "t"}), false),
    ] {
        let request = rig.client.post(format!("{}{path}", rig.sandbox.url())).json(&body);
        let answer = request.header("authorization", format!("Token {}", rig.token)).send().await.unwrap();
        assert_eq!(answer.status(), 201, "{path}");
        let location = answer.headers().get("location").map(|v| v.to_str().unwrap().to_owned());
        let record: Value = answer.json().await.unwrap();
        assert_eq!(location.is_some(), located, "{path}");
        assert_eq!(location.as_deref(), record["url"].as_str(), "{path}");
    }
}

#[tokio::test]
async fn the_root_and_the_manual_lead_on_and_there_are_no_tables_for_one() {
    let rig = Rig::new().await;
    let follow_none = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    for (path, status, location) in
        [("/", 302, "/admin"), ("/docs", 301, "/docs/"), ("/cache/info", 301, "/cache/info/")]
    {
        let answer = follow_none.get(format!("{}{path}", rig.sandbox.url())).send().await.unwrap();
        let found = answer.headers()["location"].to_str().unwrap();
        assert_eq!((answer.status().as_u16(), found), (status, location), "{path}");
    }
    assert!(rig.get("/docs/").await.as_str().unwrap().contains("/api/schema"));
    for (path, name) in [("/cache/info", "cache_info.json"), ("/cache.zip", "cache.zip")] {
        let (status, body) = rig.send("GET", path, Value::Null).await;
        let text = format!("[Errno 2] No such file or directory: '{name}'");
        assert_eq!((status, body["detail"].as_str()), (500, Some(text.as_str())), "{path}");
    }
}
