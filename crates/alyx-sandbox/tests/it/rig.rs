//! What the tests of the sandbox's answers begin with.
use alyx_sandbox::{RunningSandbox, Sandbox, SandboxOptions};
use serde_json::{Value, json};

/// A sandbox, and a client that is logged in.
pub struct Rig {
    pub sandbox: RunningSandbox,
    pub client: reqwest::Client,
    pub token: String,
}

impl Rig {
    pub async fn new() -> Rig {
        Rig::with(SandboxOptions::default()).await
    }

    pub async fn with(options: SandboxOptions) -> Rig {
        let sandbox = Sandbox::start(options).await.unwrap();
        let client = crate::http();
        let login = [("username", "test_user"), ("password", "TapetesBloc18")];
        let url = format!("{}/auth-token", sandbox.url());
        let body: Value = client.post(url).form(&login).send().await.unwrap().json().await.unwrap();
        Rig { sandbox, client, token: body["token"].as_str().unwrap().to_owned() }
    }

    pub async fn send(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let url =
            if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.sandbox.url()) };
        let request = self.client.request(method.parse().unwrap(), url);
        let request = request.header("authorization", format!("Token {}", self.token));
        let request = if body.is_null() { request } else { request.json(&body) };
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.send("GET", path, Value::Null).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub async fn session(&self, fields: Value) -> Value {
        let mut body = json!({"subject": "KS014", "start_time": "2024-05-01T00:00:00", "number": 1});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let (status, body) = self.send("POST", "/sessions", body).await;
        assert_eq!(status, 201, "{body}");
        body
    }

    pub async fn register(&self, fields: Value) -> (u16, Value) {
        let mut body = json!({"path": "KS014/2024-05-01/001", "filenames": ["alf/spikes.times.npy"]});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.send("POST", "/register-file", body).await
    }
}

pub fn id(record: &Value) -> &str {
    record["id"].as_str().unwrap()
}
