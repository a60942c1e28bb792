//! Alerts of the built daemon, sent to a receiver on this machine: a working one, a dead one, a slow one, and one that
//! refuses.

use crate::{common, fault_proxy, program};
use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{AT_MOST, Alyx, Rig};
use fault_proxy::{NetworkFault, Proxy, Rule};
use program::{Configuration, Program, program};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A part of the webhook's address that must never be logged.
const SECRET: &str = "T0123-s3cret-hook";

/// What a receiver does with a message.
#[derive(Clone, Copy)]
enum Answer {
    Status(u16),
    /// 429 with `Retry-After` in seconds.
    TooMany(u64),
    /// A redirect to another address.
    Redirect,
    /// No answer at all.
    Silence,
}

/// An HTTP server that receives the messages.
struct Receiver {
    address: String,
    messages: mpsc::UnboundedReceiver<Value>,
}

impl Receiver {
    /// Gives these answers in turn, then 200.
    async fn start(answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/services/{SECRET}", listener.local_addr().unwrap());
        let (received, messages) = mpsc::unbounded_channel();
        let answers = Arc::new(Mutex::new(VecDeque::from(answers.to_vec())));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve_connection(stream, received.clone(), Arc::clone(&answers)));
            }
        });
        Self { address, messages }
    }

    async fn next(&mut self) -> Value {
        tokio::time::timeout(AT_MOST, self.messages.recv()).await.expect("no message").unwrap()
    }

    /// The next message that contains an event of this kind.
    async fn next_with(&mut self, event: &str) -> Value {
        loop {
            let message = self.next().await;
            let events = message["events"].as_array().unwrap();
            if events.iter().any(|one| one["event"] == event) {
                return message;
            }
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    received: mpsc::UnboundedSender<Value>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut length, mut line) = (0, String::new());
        stream.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
        assert_eq!(line, format!("POST /services/{SECRET} HTTP/1.1\r\n"));
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
            if let Some(n) = line.to_lowercase().strip_prefix("content-length:") {
                length = n.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        let answer = answers.lock().unwrap().pop_front().unwrap_or(Answer::Status(200));
        // Recorded before the answer, so that what follows is recorded later.
        let _ = received.send(serde_json::from_slice(&body).unwrap());
        let head = match answer {
            Answer::Silence => std::future::pending().await,
            Answer::Status(status) => format!("HTTP/1.1 {status} So\r\n"),
            Answer::TooMany(seconds) => format!("HTTP/1.1 429 So\r\nretry-after: {seconds}\r\n"),
            Answer::Redirect => "HTTP/1.1 302 So\r\nlocation: http://127.0.0.1:9/x\r\n".to_owned(),
        };
        // Some servers repeat the address in their answer.
        let text = format!("{head}content-length: {}\r\n\r\n{SECRET}", SECRET.len());
        stream.write_all(text.as_bytes()).await.ok()?;
    }
}

/// A daemon that alerts without delay, in the JSON format.
fn daemon(alyx: &str, rig: &Rig, address: &str) -> Program {
    daemon_with_password(alyx, rig, address, "TapetesBloc18")
}

fn daemon_with_password(alyx: &str, rig: &Rig, address: &str, password: &str) -> Program {
    let hook = rig.beside("hook");
    std::fs::write(&hook, format!("{address}\n")).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o600)).unwrap();
    let config = Configuration {
        roots: vec![rig.root()],
        url: alyx.to_owned(),
        user: "test_user".into(),
        password: password.into(),
        more: format!(
            "datasets: {{repository: flatiron_cortexlab, exists: false}}\nalerts:\n  webhook_file: {}\n  kind: json\n  every: 1 s\n  away_after: 1 s\nlog:\n  level: debug\n",
            hook.display()
        ),
    }
    .write(&rig.beside("etc"));
    Program::start(program().arg("run").arg("--config").arg(config))
}

/// Stops the daemon, and checks that it never logged the address.
fn stop(daemon: Program) -> Vec<String> {
    let said = daemon.stop();
    assert!(!said.iter().any(|line| line.contains(SECRET)), "{said:#?}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_need_attention_share_one_message_with_the_fix() {
    let (alyx, rig, mut receiver) = (Alyx::sandbox().await, Rig::new(), Receiver::start(&[]).await);
    for subject in ["nobody", "noone"] {
        rig.session("cortexlab", subject).file("alf/spikes.times.npy", "abc").flag();
    }
    let daemon = daemon(&alyx.url, &rig, &receiver.address);
    let mut sessions = Vec::new();
    // Both in one message, unless this machine is very slow.
    while sessions.len() < 2 {
        let message = receiver.next_with("needs_attention").await;
        assert_eq!(message["alyx"], alyx.url, "{message}");
        for event in message["events"].as_array().unwrap() {
            let session = &event["session"];
            assert!(session["next_step"].as_str().unwrap().contains("create it on Alyx"), "{message}");
            sessions.push(session["session"].as_str().unwrap().split('/').next().unwrap().to_owned());
        }
        let text = message["text"].as_str().unwrap();
        assert!(text.contains("needs attention") || text.contains("2 sessions need attention"), "{text}");
    }
    sessions.sort();
    assert_eq!(sessions, ["nobody", "noone"]);
    stop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_reported_and_so_is_its_end() {
    let (alyx, rig, mut receiver) = (Alyx::sandbox().await, Rig::new(), Receiver::start(&[]).await);
    let proxy = Proxy::start(&alyx.url).await;
    proxy.add(Rule { method: "", path: "/", times: usize::MAX, fault: NetworkFault::ResetBefore });
    rig.session("cortexlab", "KS014").file("alf/spikes.times.npy", "abc").flag();
    let mut daemon = daemon(&proxy.url(), &rig, &receiver.address);
    let message = receiver.next_with("alyx_away").await;
    assert!(message["text"].as_str().unwrap().contains("has not answered for"), "{message}");
    proxy.clear();
    let message = receiver.next_with("alyx_back").await;
    assert!(message["text"].as_str().unwrap().contains("is back after"), "{message}");
    daemon.wait_for("registered session");
    stop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_is_reported() {
    let (alyx, rig, mut receiver) = (Alyx::sandbox().await, Rig::new(), Receiver::start(&[]).await);
    rig.session("cortexlab", "KS014").file("alf/spikes.times.npy", "abc").flag();
    let daemon = daemon_with_password(&alyx.url, &rig, &receiver.address, "wrong");
    let message = receiver.next_with("login_refused").await;
    assert!(message["text"].as_str().unwrap().contains("correct the password"), "{message}");
    stop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_briefly_refused_is_sent_again() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let mut receiver = Receiver::start(&[Answer::Status(500), Answer::TooMany(3)]).await;
    rig.session("cortexlab", "nobody").flag();
    let began = Instant::now();
    let daemon = daemon(&alyx.url, &rig, &receiver.address);
    let (first, second, third) = (receiver.next().await, receiver.next().await, receiver.next().await);
    assert!(first["events"] == second["events"] && second["events"] == third["events"], "{third}");
    // The second wait is ours, because it is the longer one.
    assert!(began.elapsed() >= Duration::from_secs(12), "{:?}", began.elapsed());
    let said = stop(daemon);
    assert!(!said.iter().any(|line| line.contains("cannot be sent")), "{said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_gone_or_redirects_is_reported_once_and_its_return_is_logged() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let answers = [Answer::Status(404), Answer::Redirect, Answer::Status(400)];
    let mut receiver = Receiver::start(&answers).await;
    rig.session("cortexlab", "nobody").flag();
    let mut daemon = daemon(&alyx.url, &rig, &receiver.address);
    daemon.wait_for("alerts can be sent again");
    for _ in 0..=answers.len() {
        assert_eq!(receiver.next().await["events"][0]["event"], "needs_attention");
    }
    let said = stop(daemon);
    let warned: Vec<_> = said.iter().filter(|line| line.contains("an alert cannot be sent")).collect();
    assert!(warned.len() == 1 && warned[0].contains("create a new one"), "{said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_webhook_delays_nothing_and_is_reported_once() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    rig.session("cortexlab", "nobody").flag();
    let mut daemon = daemon(&alyx.url, &rig, &format!("http://{dead}/services/{SECRET}"));
    daemon.wait_for("an alert is sent again");
    let good = rig.session("cortexlab", "KS014");
    good.file("alf/spikes.times.npy", "abc").flag();
    daemon.wait_for(&format!("session=\"{}\" eid=", good.name()));
    daemon.wait_for("an alert cannot be sent: the webhook cannot be reached");
    let said = stop(daemon);
    assert_eq!(said.iter().filter(|line| line.contains("an alert cannot be sent")).count(), 1, "{said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_never_answers_delays_neither_work_nor_shutdown() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let mut receiver = Receiver::start(&[Answer::Silence; 100]).await;
    rig.session("cortexlab", "nobody").flag();
    let mut daemon = daemon(&alyx.url, &rig, &receiver.address);
    receiver.next().await;
    let good = rig.session("cortexlab", "KS014");
    good.file("alf/spikes.times.npy", "abc").flag();
    daemon.wait_for(&format!("session=\"{}\" eid=", good.name()));
    let began = Instant::now();
    stop(daemon);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_address_is_reported_at_the_start_and_can_be_fixed_while_the_daemon_runs() {
    let (alyx, rig, mut receiver) = (Alyx::sandbox().await, Rig::new(), Receiver::start(&[]).await);
    rig.session("cortexlab", "nobody").flag();
    let mut daemon = daemon(&alyx.url, &rig, &format!("hooks.example.org/{SECRET}"));
    let line = daemon.wait_for("no alert can be sent");
    assert!(line.contains("ERROR") && line.contains("starting with https://"), "{line}");
    // The same cause is not reported twice.
    daemon.wait_for("an alert still cannot be sent");
    std::fs::write(rig.beside("hook"), &receiver.address).unwrap();
    receiver.next_with("needs_attention").await;
    daemon.wait_for("alerts can be sent again");
    let said = stop(daemon);
    assert!(!said.iter().any(|line| line.contains("an alert cannot be sent")), "{said:#?}");
}
