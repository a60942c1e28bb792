//! The sandbox answers as the real server did: the test replays every recorded exchange with an Alyx 3.6.1, in order,
//! and compares the answers field by field. Ids, tokens and the server's own times are matched up.
use std::collections::HashMap;

use alyx_sandbox::{Sandbox, SandboxOptions, Seed};
use serde_json::{Map, Value, json};

/// Fields that are not compared, by endpoint.
const NOT_COMPARED: [(&str, &[&str]); 2] = [
    // Prose of the public fixtures, which the sandbox lacks.
    ("/dataset-types", &["description"]),
    // The same, and the names of functions that no client of registration reads.
    ("/data-formats", &["description", "json", "matlab_loader_function", "python_loader_function"]),
];
/// The day on which the exchanges were recorded: a time of that day is the server's own.
const RECORDED_ON: &str = "2026-11-22T";

/// The seed, trimmed to what the recorded server held.
fn recorded_world() -> Seed {
    let mut seed = Seed::default();
    let later = ["wheel", "trials.", "_iblrig_", "_ibl_experiment.", "lickPiezo.", "eye.", "zstack."];
    seed.dataset_types
        .retain(|t| t.name == "trials.probabilityLeft" || !later.iter().any(|p| t.name.starts_with(p)));
    seed.subjects.retain(|s| s.nickname != "ZM_1743");
    seed.labs.iter_mut().for_each(|lab| lab.timezone = "GB".into());
    for repository in &mut seed.repositories {
        repository.timezone = "UTC".into();
        repository.data_url =
            repository.data_url.as_ref().map(|u| u.replace("https://server.example.org", "https://x"));
    }
    seed.users.iter_mut().for_each(|user| {
        user.labs.clear();
        user.email = "a@example.com".into();
    });
    seed
}

struct Player {
    client: reqwest::Client,
    url: String,
    token: String,
    /// Recorded id to live id.
    ids: HashMap<String, String>,
}

struct Live {
    status: u16,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Live {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }
}

impl Player {
    async fn send(&self, method: &str, path: &str, body: &Value, authorization: Option<&str>) -> Live {
        let method = method.parse().unwrap();
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(token) = authorization {
            request = request.header("authorization", format!("Token {token}"));
        }
        request = match body {
            Value::Null => request,
            Value::String(text) => request.header("content-type", "application/json").body(text.clone()),
            other => request.json(other),
        };
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Live { status, headers, text: response.text().await.unwrap() }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let live = self.send("POST", path, &body, Some(&self.token)).await;
        assert_eq!(live.status, 201, "{}", live.text);
        live.json()
    }

    /// A recorded text with the live host, token, password and ids.
    fn translate(&self, text: &str) -> String {
        let mut text = text.replace("http://alyx.test", &self.url).replace("<password>", "TapetesBloc18");
        for (recorded, live) in &self.ids {
            text = text.replace(recorded, live);
        }
        text
    }

    async fn play(&self, exchange: &Value) -> Live {
        let text = |key: &str| exchange[key].as_str().unwrap();
        let body = match &exchange["request"] {
            Value::String(raw) => Value::String(raw.clone()),
            other => serde_json::from_str(&self.translate(&other.to_string())).unwrap(),
        };
        let authorization = match &exchange["authorization"] {
            Value::String(word) if word == "token" => Some(self.token.as_str()),
            Value::String(other) => Some(other.as_str()),
            _ => None,
        };
        self.send(text("method"), &self.translate(text("path")), &body, authorization).await
    }

    fn compare(&mut self, exchange: &Value, live: &Live) {
        let name = exchange["name"].as_str().unwrap();
        assert_eq!(live.status, exchange["status"].as_u64().unwrap() as u16, "{name}: {}", live.text);
        for (header, recorded) in exchange["headers"].as_object().unwrap() {
            let found = live.headers.get(header).and_then(|v| v.to_str().ok());
            // The wait depends on the time of the request.
            if header != "retry-after" {
                assert_eq!(found, recorded.as_str(), "{name}: header {header}");
            }
        }
        if let Value::String(page) = &exchange["response"] {
            // Django's page and the sandbox's differ in layout; the text is the same.
            assert!(page.contains("Not Found") && live.text.contains("Not Found"), "{name}");
            assert!(live.text.starts_with("<!doctype html>"), "{name}");
            return;
        }
        let path = exchange["path"].as_str().unwrap();
        let skip =
            NOT_COMPARED.iter().find(|(p, _)| path.starts_with(p)).map_or(&[][..], |(_, fields)| fields);
        self.same(name, "", &exchange["response"], &live.json(), skip);
    }

    fn same(&mut self, name: &str, at: &str, recorded: &Value, live: &Value, skip: &[&str]) {
        match (recorded, live) {
            (Value::Object(a), Value::Object(b)) => {
                let keys = |m: &Map<String, Value>| m.keys().cloned().collect::<Vec<_>>();
                assert_eq!(keys(a), keys(b), "{name}: fields of {at}");
                for (key, value) in a.iter().filter(|(k, _)| !skip.contains(&k.as_str())) {
                    self.same(name, &format!("{at}/{key}"), value, &b[key], skip);
                }
            }
            (Value::Array(a), Value::Array(b)) => {
                let (mut a, mut b) = (a.clone(), b.clone());
                // Recorded lists are cut to six items.
                if a.len() == 6 {
                    b.truncate(6);
                }
                // PostgreSQL returns file records in no fixed order.
                if at.ends_with("/file_records") {
                    let by = |v: &Value| v["data_repository"].as_str().unwrap_or_default().to_owned();
                    a.sort_by_key(by);
                    b.sort_by_key(by);
                }
                // Datasets are sorted by id, and ids are random.
                if name == "datasets of a session" && at == "/results" {
                    let by = |v: &Value| format!("{}/{}/{}", v["collection"], v["revision"], v["name"]);
                    a.sort_by_key(by);
                    b.sort_by_key(by);
                }
                assert_eq!(a.len(), b.len(), "{name}: length of {at}");
                for (i, (x, y)) in a.iter().zip(&b).enumerate() {
                    self.same(name, &format!("{at}/{i}"), x, y, skip);
                }
            }
            (Value::String(a), Value::String(b)) => self.same_text(name, at, a, b),
            _ => assert_eq!(recorded, live, "{name}: {at}"),
        }
    }

    fn same_text(&mut self, name: &str, at: &str, recorded: &str, live: &str) {
        if recorded == "<token>" {
            assert_eq!(live.len(), 40, "{name}: {at}");
            return;
        }
        if recorded.starts_with(RECORDED_ON) {
            assert!(live.len() >= 19 && live.as_bytes()[10] == b'T', "{name}: {at} is a time: {live}");
            return;
        }
        if name.starts_with("second session of the day, read") && at == "/parent_session" {
            // The order of random ids decides which session of the day becomes the parent.
            assert!(live.contains("/sessions/"), "{name}: {live}");
            return;
        }
        if name.starts_with("throttled") && at == "/detail" {
            assert!(live.starts_with("Request was throttled. Expected available in "), "{live}");
            return;
        }
        for (recorded, live) in uuids(recorded).into_iter().zip(uuids(live)) {
            self.ids.entry(recorded).or_insert(live);
        }
        assert_eq!(self.translate(recorded), live, "{name}: {at}");
    }
}

fn uuids(text: &str) -> Vec<String> {
    let is = |s: &str| {
        s.bytes()
            .enumerate()
            .all(|(i, b)| if matches!(i, 8 | 13 | 18 | 23) { b == b'-' } else { b.is_ascii_hexdigit() })
    };
    (0..text.len()).filter_map(|i| text.get(i..i + 36)).filter(|s| is(s)).map(str::to_owned).collect()
}

fn exchanges() -> Vec<Value> {
    let list: Vec<Value> = serde_json::from_str(include_str!("../fixtures/exchanges.json")).unwrap();
    assert_eq!(list.len(), 88);
    list
}

async fn player(url: &str) -> Player {
    let client = crate::http();
    let mut player = Player { client, url: url.to_owned(), token: String::new(), ids: HashMap::new() };
    let login = json!({"username": "test_user", "password": "TapetesBloc18"});
    let token = player.send("POST", "/auth-token", &login, None).await.json();
    player.token = token["token"].as_str().unwrap().to_owned();
    player
}

#[tokio::test]
async fn every_recorded_exchange_is_answered_alike() {
    let options = SandboxOptions { seed: recorded_world(), ..Default::default() };
    let sandbox = Sandbox::start(options).await.unwrap();
    let mut player = player(sandbox.url()).await;
    // The state of the server when the recording began.
    let day = "2024-03-01T10:00:00";
    let projects = ["ibl_neuropixel_brainwide_01"];
    player.post("/sessions", json!({"subject": "KS014", "start_time": day, "projects": projects})).await;
    player.post("/weighings", json!({"subject": "KS014", "date_time": day, "weight": 21.2})).await;
    let drink = json!({"subject": "KS014", "date_time": day, "water_administered": 1.2});
    player.post("/water-administrations", drink).await;

    for exchange in exchanges().iter().filter(|e| !e["name"].as_str().unwrap().starts_with("throttled")) {
        let name = exchange["name"].as_str().unwrap();
        let mut live = player.play(exchange).await;
        // The day's parent is the session with the smallest id; as in the recording, it must not be the second session.
        while name == "second session of the day"
            && has_smallest_id(&sandbox.control().sessions(), &live.json())
        {
            let path = format!("/sessions/{}", live.json()["id"].as_str().unwrap());
            player.send("DELETE", &path, &Value::Null, Some(&player.token)).await;
            live = player.play(exchange).await;
        }
        player.compare(exchange, &live);
        // The duplicate was deleted before the recording continued.
        if name == "session search after the duplicate" {
            let path = player.translate("/sessions/0773aba5-be54-43c0-acde-d465c6cd4076");
            let gone = player.send("DELETE", &path, &Value::Null, Some(&player.token)).await;
            assert_eq!(gone.status, 204);
        }
    }
    sandbox.stop().await;
}

fn has_smallest_id(sessions: &[Value], session: &Value) -> bool {
    sessions
        .iter()
        .filter(|s| {
            s["subject"] == session["subject"] && s["parent_session"].is_null() && s["id"] != session["id"]
        })
        .all(|s| session["id"].as_str() < s["id"].as_str())
}

#[tokio::test]
async fn the_recorded_throttling_is_answered_alike() {
    let options = SandboxOptions { seed: recorded_world(), throttle: Some(2), ..Default::default() };
    let sandbox = Sandbox::start(options).await.unwrap();
    let mut player = player(sandbox.url()).await;
    let recorded =
        exchanges().into_iter().find(|e| e["name"].as_str().unwrap().starts_with("throttled")).unwrap();
    for _ in 0..2 {
        assert_eq!(player.play(&recorded).await.status, 200);
    }
    let live = player.play(&recorded).await;
    player.compare(&recorded, &live);
    let wait: u64 = live.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert!(live.text.contains(&format!("in {wait} second")), "{}", live.text);
    sandbox.stop().await;
}
