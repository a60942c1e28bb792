//! The sandbox's handle: injected faults, invalidated tokens, recorded requests.
use std::time::Duration;

use alyx_sandbox::{Fault, FaultRule, RunningSandbox, Sandbox, SandboxOptions};
use serde_json::{Value, json};

async fn start() -> (RunningSandbox, reqwest::Client, String) {
    let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
    let client = crate::http();
    let token = log_in(&sandbox, &client, "test_user", "TapetesBloc18").await;
    sandbox.control().clear_requests();
    (sandbox, client, token)
}

async fn log_in(sandbox: &RunningSandbox, client: &reqwest::Client, name: &str, password: &str) -> String {
    let login = json!({"username": name, "password": password});
    let answer = client.post(format!("{}/auth-token", sandbox.url())).json(&login).send().await.unwrap();
    answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned()
}

fn post_session(sandbox: &RunningSandbox, client: &reqwest::Client, token: &str) -> reqwest::RequestBuilder {
    let body = json!({"subject": "KS014", "number": 1, "start_time": "2024-05-01T00:00:00"});
    client
        .post(format!("{}/sessions", sandbox.url()))
        .header("authorization", format!("Token {token}"))
        .json(&body)
}

#[tokio::test]
async fn a_dropped_request_does_nothing_and_a_lost_answer_has_done_its_work() {
    let (sandbox, client, token) = start().await;
    sandbox.control().fail_next(Fault::Drop);
    let error = post_session(&sandbox, &client, &token).send().await.unwrap_err();
    assert!(error.is_request() || error.is_connect(), "{error:?}");
    assert!(sandbox.control().sessions().is_empty());

    sandbox.control().fail_next(Fault::ApplyThenDrop);
    post_session(&sandbox, &client, &token).send().await.unwrap_err();
    assert_eq!(sandbox.control().sessions().len(), 1);

    assert_eq!(post_session(&sandbox, &client, &token).send().await.unwrap().status(), 201, "once is once");
    let statuses: Vec<u16> = sandbox.control().requests().iter().map(|r| r.status).collect();
    assert_eq!(statuses, [0, 0, 201]);
}

#[tokio::test]
async fn an_injected_status_and_a_proxys_page_are_sent() {
    let (sandbox, client, token) = start().await;
    let fault = Fault::Status {
        code: 503,
        body: "{}".into(),
        content_type: "application/json".into(),
        retry_after: Some(7),
    };
    let method = Some("post".to_owned());
    sandbox.control().add_fault(FaultRule { method, path_prefix: "/sessions".into(), times: 2, fault });
    let page = client.get(format!("{}/api/schema", sandbox.url())).send().await.unwrap();
    assert_eq!(page.status(), 200, "another path is left alone");
    for _ in 0..2 {
        let answer = post_session(&sandbox, &client, &token).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["retry-after"]),
            (503, &"7".parse().unwrap())
        );
    }
    sandbox.control().fail_next(Fault::Html(502));
    let answer = post_session(&sandbox, &client, &token).send().await.unwrap();
    assert_eq!(answer.status(), 502);
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(answer.text().await.unwrap().contains("502 Bad Gateway"));
    assert!(sandbox.control().sessions().is_empty());
}

#[tokio::test]
async fn a_hanging_request_is_recorded_and_does_not_delay_a_stop() {
    let (sandbox, client, token) = start().await;
    sandbox.control().fail_next(Fault::Hang);
    let request = post_session(&sandbox, &client, &token);
    let hanging = tokio::spawn(request.send());
    let seen = sandbox.control().wait_for(|seen| seen.path == "/sessions").await;
    assert_eq!(seen.status, 0);
    assert!(!hanging.is_finished());
    let control = sandbox.control().clone();
    sandbox.stop().await;
    assert!(hanging.await.unwrap().is_err());
    assert!(control.sessions().is_empty());
}

#[tokio::test]
async fn a_delayed_request_is_answered_in_the_end() {
    let (sandbox, client, token) = start().await;
    sandbox.control().fail_next(Fault::Delay(Duration::from_millis(1)));
    assert_eq!(post_session(&sandbox, &client, &token).send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn an_invalidated_token_is_refused_and_a_new_login_returns_another() {
    let (sandbox, client, token) = start().await;
    assert!(sandbox.control().invalidate_tokens());
    let refused = post_session(&sandbox, &client, &token).send().await.unwrap();
    assert_eq!(refused.status(), 403);
    assert_eq!(refused.json::<Value>().await.unwrap()["detail"], "Invalid token.");
    let fresh = log_in(&sandbox, &client, "test_user", "TapetesBloc18").await;
    assert_ne!(fresh, token);
    assert_eq!(post_session(&sandbox, &client, &fresh).send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn requests_are_recorded_with_bodies_except_a_login() {
    let (sandbox, client, token) = start().await;
    assert!(sandbox.control().add_user("guest", "guest-password"));
    log_in(&sandbox, &client, "guest", "guest-password").await;
    post_session(&sandbox, &client, &token).query(&[("a", "b c")]).send().await.unwrap();
    let [login, post] = sandbox.control().requests().try_into().unwrap();
    assert_eq!((login.path.as_str(), login.status, login.body), ("/auth-token", 200, None));
    assert_eq!((post.method.as_str(), post.query.as_str(), post.status), ("POST", "a=b+c", 201));
    assert_eq!(post.body.unwrap()["subject"], "KS014");
    assert_eq!(sandbox.control().count_requests(), 2);
    sandbox.control().clear_requests();
    assert_eq!(sandbox.control().count_requests(), 0);
}

#[tokio::test]
async fn a_request_from_before_the_wait_counts() {
    let (sandbox, client, token) = start().await;
    post_session(&sandbox, &client, &token).send().await.unwrap();
    let seen = sandbox.control().wait_for(|seen| seen.status == 201).await;
    assert_eq!(seen.path, "/sessions");
}

#[tokio::test]
async fn an_unknown_dataset_cannot_be_protected() {
    let (sandbox, ..) = start().await;
    assert!(!sandbox.control().protect_dataset("00000000-0000-4000-8000-000000000000"));
}

#[tokio::test]
async fn a_stopped_sandbox_frees_its_port() {
    let (sandbox, client, token) = start().await;
    let request = post_session(&sandbox, &client, &token);
    let address = sandbox.url().trim_start_matches("http://").to_owned();
    sandbox.stop().await;
    assert!(request.send().await.unwrap_err().is_connect());
    tokio::net::TcpListener::bind(address).await.unwrap();
}
