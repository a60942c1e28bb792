//! The page of the built daemon: what it shows and to whom, and that it never delays the work.

use crate::{common, program};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use alyx_sandbox::{Fault, FaultRule, Gate};
use common::{AT_MOST, Alyx, Rig};
use program::{Configuration, Program, output, program};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// An address without a server.
const NOWHERE: &str = "http://127.0.0.1:9";
const ANYWHERE: &str = "http:\n  listen: 127.0.0.1:0\n";

/// Otherwise the page says that ONE finds nothing.
const LOADABLE: &str = "datasets: {repository: flatiron_cortexlab, exists: false}\n";

fn configuration(rig: &Rig, url: &str, more: &str) -> std::path::PathBuf {
    let (user, password) = ("test_user".to_owned(), common::secrets::PASSWORD.to_owned());
    Configuration { roots: vec![rig.root()], url: url.into(), user, password, more: more.into() }
        .write(&rig.beside("etc"))
}

/// A running daemon, and the address of its page.
fn daemon(rig: &Rig, url: &str, more: &str) -> (Program, String) {
    let config = configuration(rig, url, &format!("{ANYWHERE}{LOADABLE}{more}"));
    let mut daemon = Program::start(program().arg("run").arg("--config").arg(config));
    let line = daemon.wait_for("the status page is at http");
    let page = line.split_whitespace().last().unwrap().to_owned();
    (daemon, page)
}

async fn get(page: &str, path: &str) -> (u16, String) {
    let answer = crate::common::http().get(format!("{page}{path}")).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Requests the page until the answer contains a text.
async fn get_until(page: &str, path: &str, wanted: &str) -> String {
    let end = Instant::now() + AT_MOST;
    loop {
        let (_, body) = get(page, path).await;
        if body.contains(wanted) {
            return body;
        }
        assert!(Instant::now() < end, "{wanted:?} never was in:\n{body}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_what_was_registered_and_what_needs_attention() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let good = rig.session("cortexlab", "KS014");
    let hostile = rig.session_at("cortexlab/Subjects/<img src=x onerror=alert(1)>/2024-01-01/001");
    good.file("alf/spikes.times.npy", "abc").flag();
    hostile.flag();
    let (daemon, page) = daemon(&rig, &alyx.url, "");

    let html = get_until(&page, "", "1 dataset, 3 B").await;
    let html =
        if html.contains("rename the folder") { html } else { get_until(&page, "", "rename the").await };
    assert!(html.contains(&good.name()) && html.contains("1 session needs attention"), "{html}");
    assert!(html.contains("&lt;img src=x onerror=alert(1)&gt;") && !html.contains("<img"), "{html}");
    assert!(html.contains("1 session, 3 B</title>"), "{html}");

    let (status, metrics) = get(&page, "metrics").await;
    assert_eq!(status, 200);
    for wanted in [
        "alyx_registrar_attempts_total{outcome=\"registered\"} 1\n",
        "alyx_registrar_attempts_total{outcome=\"needs_attention\"} 1\n",
        "alyx_registrar_registered_datasets_total 1\n",
        "alyx_registrar_registered_bytes_total 3\n",
        "alyx_registrar_hashed_bytes_total 3\n",
        "alyx_registrar_requests_total{method=\"POST\",endpoint=\"/sessions\",status=\"201\"} 1\n",
        "alyx_registrar_requests_total{method=\"POST\",endpoint=\"/register-file\",status=\"201\"} 1\n",
        "alyx_registrar_request_duration_seconds_count{method=\"POST\",endpoint=\"/sessions\"} 1\n",
        "alyx_registrar_queue_sessions{state=\"needs_attention\"} 1\n",
        "alyx_registrar_alyx_away 0\n",
        "alyx_registrar_healthy 1\n",
        concat!("alyx_registrar_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n"),
    ] {
        assert!(metrics.contains(wanted), "{wanted} is not in:\n{metrics}");
    }
    assert_eq!(get(&page, "healthz").await, (200, "ok\n".to_owned()));

    // The JSON equals the output of the command, apart from the time.
    let (status, json) = get(&page, "status.json").await;
    let json: Value = serde_json::from_str(&json).unwrap();
    let typed = output(program().args(["status", "--json", "--state-dir"]).arg(rig.beside("etc/state")));
    let typed: Value = serde_json::from_slice(&typed.stdout).unwrap();
    assert_eq!((status, &json["daemon"], &json["last"]), (200, &typed["daemon"], &typed["last"]));
    assert_eq!(json["sessions"][0]["session"], typed["sessions"][0]["session"]);
    assert_eq!(json["sessions"].as_array().map(Vec::len), Some(1));
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_are_what_prometheus_reads() {
    let rig = Rig::new();
    // Metrics of requests are exported from the first one on.
    rig.session("cortexlab", "KS014").file("alf/spikes.times.npy", "abc").flag();
    let (daemon, page) = daemon(&rig, NOWHERE, "");
    get_until(&page, "metrics", "alyx_registrar_requests_total{").await;
    let answer = crate::common::http().get(format!("{page}metrics")).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text().await.unwrap();
    let sample = regex::Regex::new(
        r#"^[a-z_]+(\{[a-z]+="[^"\\]*"(,[a-z]+="[^"\\]*")*\})? (-?[0-9.]+([eE][+-]?[0-9]+)?|NaN|\+Inf)$"#,
    );
    let sample = sample.unwrap();
    let comment = regex::Regex::new(r"^# (HELP [a-z_]+ .+|TYPE [a-z_]+ (counter|gauge|histogram))$").unwrap();
    for line in text.lines() {
        assert!(sample.is_match(line) || comment.is_match(line), "{line:?}");
    }
    assert!(text.ends_with('\n') && text.lines().count() > 50, "{text}");
    // Every metric is documented.
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/monitoring.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE alyx_registrar_")) {
        let name = line.split(' ').next().unwrap();
        assert!(manual.contains(&format!("`{name}`")), "{name} is not in docs/monitoring.md");
    }
    // And what the rules and the dashboard ask for is exported.
    let word = regex::Regex::new("alyx_registrar_[a-z_]+").unwrap();
    for file in ["prometheus/alerts.yaml", "grafana/alyx-registrar.json"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(file);
        let asked = std::fs::read_to_string(path).unwrap();
        for name in word.find_iter(&asked).map(|found| found.as_str().trim_end_matches("_bucket")) {
            assert!(text.contains(&format!("# TYPE {name} ")), "{file}: {name} is not exported");
        }
    }
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn during_an_outage_the_daemon_is_healthy_and_shows_it() {
    let rig = Rig::new();
    rig.session("cortexlab", "KS014").file("alf/spikes.times.npy", "abc").flag();
    let (daemon, page) = daemon(&rig, NOWHERE, "");
    let html = get_until(&page, "", "Alyx has not answered for").await;
    assert!(html.contains("<section id=\"summary\" class=\"waits\""), "{html}");
    assert_eq!(get(&page, "healthz").await.0, 200);
    let metrics = get(&page, "metrics").await.1;
    assert!(metrics.contains("alyx_registrar_alyx_away 1\n"), "{metrics}");
    assert!(metrics.contains("status=\"none\""), "{metrics}");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_whose_loop_is_blocked_fails_healthz_and_shows_it_on_the_page() {
    let rig = Rig::new();
    let config = configuration(
        &rig,
        NOWHERE,
        "watch:\n  settle: 1 h\n  empty_grace: 0 s\nlog:\n  level: debug\n  format: json\n",
    );
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = std::fs::read_to_string(&config).unwrap() + &format!("http:\n  listen: {free}\n");
    std::fs::write(&config, text).unwrap();
    let mut command = program();
    command.arg("run").arg("--config").arg(config);
    // The output is not read, so the loop, which logs every flag, blocks when the pipe is full.
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let page = format!("http://{free}/");
    let end = Instant::now() + AT_MOST;
    while crate::common::http().get(format!("{page}healthz")).send().await.is_err() {
        assert!(Instant::now() < end, "no page");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for number in 1..=999 {
        rig.session_at(&format!("lab/Subjects/{}/2024-05-01/{number:03}", "a".repeat(100))).flag();
    }
    let dead = async {
        while get(&page, "healthz").await.0 != 503 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(AT_MOST, dead).await.unwrap();
    let (_, html) = get(&page, "").await;
    assert!(html.contains("The daemon is stuck: it does not answer"), "{html}");
    assert_eq!(get(&page, "status.json").await.0, 503);
    assert!(get(&page, "metrics").await.1.contains("alyx_registrar_healthy 0\n"));
    // The output is read again.
    let mut says = child.stderr.take().unwrap();
    let reads = std::thread::spawn(move || std::io::copy(&mut says, &mut std::io::sink()));
    let well = get_until(&page, "healthz", "ok").await;
    assert_eq!(well, "ok\n");
    child.kill().unwrap();
    child.wait().unwrap();
    reads.join().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_address_causes_one_error_and_sessions_are_still_registered() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("http:\n  listen: {}\n", taken.local_addr().unwrap());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let config = configuration(&rig, &alyx.url, &listen);
    let mut daemon = Program::start(program().arg("run").arg("--config").arg(config));
    daemon.wait_for(&format!("session=\"{}\" eid=", session.name()));
    let said = daemon.stop();
    let errors: Vec<_> = said.iter().filter(|line| line.contains("ERROR")).collect();
    assert!(
        errors.len() == 1 && errors[0].contains("cannot be used") && errors[0].contains("port"),
        "{said:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_delay_neither_work_nor_page_nor_shutdown() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (mut daemon, page) = daemon(&rig, &alyx.url, "");
    let address = page.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let silent: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    daemon.wait_for(&format!("session=\"{}\" eid=", session.name()));
    // Idle connections are closed after a while, so that others get a place.
    assert_eq!(get(&page, "healthz").await.0, 200);
    let mut kept = TcpStream::connect(&address).unwrap();
    kept.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    kept.read_exact(&mut [0; 12]).unwrap();
    let began = Instant::now();
    daemon.stop();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop((silent, kept));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_send_their_requests_bit_by_bit_keep_no_other_from_the_page() {
    let rig = Rig::new();
    let (daemon, page) = daemon(&rig, NOWHERE, "");
    let address = page.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let (began, mut trickling) = (tokio::sync::Barrier::new(201), tokio::task::JoinSet::new());
    let began = std::sync::Arc::new(began);
    for _ in 0..200 {
        let (address, began) = (address.clone(), std::sync::Arc::clone(&began));
        trickling.spawn(async move {
            let mut first = Some(began);
            // Whoever is closed comes back at once.
            loop {
                let Ok(mut stream) = tokio::net::TcpStream::connect(&address).await else { continue };
                let request = b"GET / HTTP/1.1\r\nX-Slow: ".iter().copied().chain(std::iter::repeat(b'a'));
                if let Some(began) = first.take() {
                    began.wait().await;
                }
                for byte in request {
                    if stream.write_all(&[byte]).await.is_err() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        });
    }
    began.wait().await;
    for path in ["", "metrics", "status.json", "healthz"] {
        for _ in 0..3 {
            // Each on a connection of its own.
            assert_eq!(get(&page, path).await.0, 200, "{path}");
        }
    }
    trickling.shutdown().await;
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_end_is_not_waited_for() {
    let rig = Rig::new();
    let (daemon, page) = daemon(&rig, NOWHERE, "");
    let address = page.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let (mut read, mut write) = stream.split();
    let sends = async {
        while write.write_all(b"GET / HTTP/1.1\r\nX-Slow: aaa").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    // It is closed, or reset.
    let ends = async { while read.read(&mut [0; 100]).await.is_ok_and(|n| n > 0) {} };
    tokio::time::timeout(AT_MOST, async { tokio::join!(sends, ends) }).await.unwrap();
    assert_eq!(get(&page, "healthz").await.0, 200);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_may_only_show_the_page_and_no_request_changes_anything() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    rig.session("cortexlab", "nobody").flag();
    let (daemon, page) = daemon(&rig, &alyx.url, "");
    get_until(&page, "", "does not know subject").await;
    let client = crate::common::http();
    for path in ["", "style.css", "refresh.js", "icon.svg", "healthz", "metrics", "status.json", "nothing"] {
        let url = format!("{page}{path}");
        let answer = client.get(&url).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), if path == "nothing" { 404 } else { 200 }, "{path}");
        let policy = answer.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        // No secrets: neither the password nor the token.
        let body = answer.text().await.unwrap();
        let token = std::fs::read_dir(rig.beside("etc/state")).unwrap().filter_map(|entry| {
            let path = entry.unwrap().path();
            let is_token = path.file_name()?.to_str()?.contains("token");
            if is_token { std::fs::read_to_string(path).ok() } else { None }
        });
        let secrets: Vec<String> = token.chain([common::secrets::PASSWORD.to_owned()]).collect();
        assert!(secrets.len() > 1 && secrets.iter().all(|secret| !body.contains(secret.trim())), "{path}");
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let answer = client.request(method.parse().unwrap(), &url).send().await.unwrap();
            assert!([404, 405].contains(&answer.status().as_u16()), "{method} {path}");
        }
    }
    // Everything that the page needs comes from the page itself.
    let html = get(&page, "").await.1;
    assert!(!html.contains("//") || html.matches("//").count() == html.matches(&alyx.url).count(), "{html}");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_session_shows_its_progress() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let gate = Gate::default();
    alyx.control().add_fault(FaultRule {
        method: Some("GET".into()),
        path_prefix: "/datasets".into(),
        times: 1,
        fault: Fault::Hold(gate.clone()),
    });
    rig.session("cortexlab", "KS014").file("alf/spikes.times.npy", "abc").flag();
    let (daemon, page) = daemon(&rig, &alyx.url, "");
    gate.reached().await;
    let html = get_until(&page, "", "<progress").await;
    assert!(html.contains("<progress value=\"3\" max=\"3\""), "{html}");
    assert!(html.contains("1 file read, 3 B; registering on Alyx"), "{html}");
    gate.open();
    get_until(&page, "", "All is well: no sessions are waiting").await;
    daemon.stop();
}

/// A web site whose name leads to this computer could otherwise read the page through a browser here.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_answers_only_under_names_of_this_computer() {
    let rig = Rig::new();
    let config = configuration(&rig, NOWHERE, "http:\n  listen: 127.0.0.1:0\n  names: [rig1.lab.org]\n");
    let mut daemon = Program::start(program().arg("run").arg("--config").arg(config));
    let line = daemon.wait_for("the status page is at http");
    let page = line.split_whitespace().last().unwrap().to_owned();
    for (host, expected) in [("evil.example.com", 421), ("localhost:80", 200), ("rig1.lab.org", 200)] {
        for path in ["", "metrics", "status.json", "healthz"] {
            let request = crate::common::http().get(format!("{page}{path}")).header("Host", host);
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status().as_u16() == 421, expected == 421, "{host} {path}");
        }
    }
    daemon.stop();
}
