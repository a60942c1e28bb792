//! Registration through a bad network: the outcome of each fault. Afterwards, in every case, there is one session, one
//! record per dataset, the right hashes, and no flag.

use crate::{common, fault_proxy, program, tls};
use std::sync::Arc;
use std::time::Duration;

use alyx_client::{Client, SessionSearch};
use alyx_registration::advice::Kind;
use alyx_registration::{RegistrationClient, RegistrationOptions};
use alyx_sandbox::{Fault, FaultRule};
use common::{AT_MOST, Alyx, MD5_OF_A, MD5_OF_ABC, Rig, Session, with_files};
use fault_proxy::{NetworkFault, Proxy, Rule};
use program::{Configuration, output, program};
use tls::Authority;

/// The outcome of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RunOutcome {
    Registered,
    Fails(Kind),
}

use RunOutcome::{Fails, Registered};

/// Each fault with its outcomes: when it happens once to a request that may be repeated, once to the creation of the
/// session, and always.
fn matrix() -> Vec<(NetworkFault, [RunOutcome; 3])> {
    let lost = Fails(Kind::Unreachable);
    let (busy, server, no_alyx) = (Fails(Kind::Busy), Fails(Kind::Server), Fails(Kind::NotAlyx));
    let ms = Duration::from_millis;
    vec![
        (NetworkFault::Latency(ms(5)), [Registered, Registered, Registered]),
        (NetworkFault::ResetBefore, [Registered, lost, lost]),
        (NetworkFault::ResetAfter, [Registered, lost, lost]),
        (NetworkFault::HalfBody, [Registered, lost, lost]),
        (NetworkFault::LengthTooLong, [Registered, lost, lost]),
        (NetworkFault::LengthTooShort, [no_alyx, no_alyx, no_alyx]),
        (NetworkFault::Html(200), [no_alyx, no_alyx, no_alyx]),
        (NetworkFault::Html(403), [no_alyx, no_alyx, no_alyx]),
        (NetworkFault::Html(404), [no_alyx, no_alyx, no_alyx]),
        // At the login the fault affects all sessions, so one attempt is enough.
        (NetworkFault::Html(500), [server, server, busy]),
        (NetworkFault::Html(502), [Registered, busy, busy]),
        (NetworkFault::Html(503), [Registered, busy, busy]),
        (NetworkFault::TooMany, [Registered, Registered, busy]),
        // Slower than the client's timeout in these cases.
        (NetworkFault::Drip(ms(200)), [Registered, lost, lost]),
        (NetworkFault::Redirect, [no_alyx, no_alyx, no_alyx]),
    ]
}

fn client(alyx: &Alyx, proxy: &Proxy, patience: Duration) -> RegistrationClient {
    let mut options = alyx.options();
    options.url = proxy.url();
    options.timeouts.request = patience;
    RegistrationClient::new(Client::new(options).unwrap(), RegistrationOptions::default())
}

fn two_datasets(rig: &Rig) -> Session {
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.clusters.npy", "a").file("alf/spikes.times.npy", "abc").flag();
    session
}

/// One session, one record per dataset, the right hashes, no flag.
async fn assert_registered_once(alyx: &Client, session: &Session, message: &str) {
    assert!(!session.is_flagged(), "{message}");
    let path = alf::SessionPath::parse(&session.folder).unwrap();
    let search = SessionSearch { subject: path.subject(), date: path.date(), number: path.number() };
    let sessions = alyx.sessions(&search).await.unwrap();
    assert_eq!(sessions.len(), 1, "{message}");
    let mut shown: Vec<_> = alyx
        .datasets_of_session(sessions[0].eid())
        .await
        .unwrap()
        .iter()
        .map(|d| (d.relative_path(), d.file_size, d.hash.clone().unwrap_or_default()))
        .collect();
    shown.sort();
    let wanted = [("alf/spikes.clusters.npy", 1, MD5_OF_A), ("alf/spikes.times.npy", 3, MD5_OF_ABC)];
    assert_eq!(
        shown,
        wanted.map(|(path, size, md5)| (path.to_owned(), Some(size), md5.to_owned())),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_network_fault_has_its_outcome_and_leaves_no_trace() {
    let alyx = Arc::new(Alyx::sandbox().await);
    let observer = alyx.alyx();
    let harmless =
        [("POST", "/auth-token"), ("GET", "/sessions"), ("POST", "/register-file"), ("GET", "/datasets")];
    // Some cases mostly wait.
    let limit = Arc::new(tokio::sync::Semaphore::new(8));
    let mut cases = tokio::task::JoinSet::new();
    for (fault, [once, at_creation, always]) in matrix() {
        let rule = |(method, path), times| Rule { method, path, times, fault: fault.clone() };
        let at_login = if fault == NetworkFault::Html(500) { always } else { once };
        let expected = |target: &(&str, &str)| if target.1 == "/auth-token" { at_login } else { once };
        let mut rows: Vec<_> = harmless.iter().map(|target| (rule(*target, 1), expected(target))).collect();
        rows.push((rule(("POST", "/sessions"), 1), at_creation));
        rows.push((rule(("", "/"), usize::MAX), always));
        for (rule, expected) in rows {
            let (alyx, limit, observer) = (Arc::clone(&alyx), Arc::clone(&limit), observer.clone());
            cases.spawn(async move {
                let _turn = limit.acquire().await;
                case(&alyx, &observer, rule, expected).await;
            });
        }
    }
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
}

async fn case(alyx: &Alyx, observer: &Client, rule: Rule, expected: RunOutcome) {
    let (proxy, rig) = (Proxy::start(&alyx.url).await, Rig::new());
    let session = two_datasets(&rig);
    let message = format!("{rule:?}");
    let slow = matches!(rule.fault, NetworkFault::Drip(_));
    let patience = if slow { Duration::from_secs(2) } else { AT_MOST };
    proxy.add(rule);
    let done = session.register(&client(alyx, &proxy, patience), &with_files()).await;
    let outcome = done.as_ref().map_or_else(|error| Fails(error.kind()), |_| Registered);
    assert_eq!(outcome, expected, "{message}: {done:?}");
    assert_eq!(session.is_flagged(), outcome != Registered, "{message}");
    proxy.clear();
    if outcome != Registered {
        session.register(&client(alyx, &proxy, AT_MOST), &with_files()).await.unwrap();
    }
    assert_registered_once(observer, &session, &message).await;
}

/// The web server cuts off long requests, and Alyx keeps none of their data.
#[tokio::test(flavor = "multi_thread")]
async fn batches_that_are_cut_off_shrink_until_they_succeed() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let proxy = Proxy::start(&alyx.url).await;
    // The size of about five files.
    let fault = NetworkFault::TooLong(800);
    proxy.add(Rule { method: "POST", path: "/register-file", times: usize::MAX, fault });
    let session = rig.session("cortexlab", "KS014");
    for n in 0..20 {
        session.file(&format!("alf/probe{n:02}/spikes.times.npy"), "abc");
    }
    session.flag();
    let mut options = alyx.options();
    options.url = proxy.url();
    options.retry.attempts = 1;
    let client = RegistrationClient::new(Client::new(options).unwrap(), RegistrationOptions::default());
    let mut cut_off = 0;
    let registered = loop {
        match session.register(&client, &with_files()).await {
            Ok(registered) => break registered,
            Err(error) => assert_eq!(error.kind(), Kind::Busy, "{error}"),
        }
        cut_off += 1;
        assert!(cut_off < 20, "it never went through");
    };
    assert!(cut_off > 1, "nothing was cut off");
    assert!(registered.n_files == 20 && !session.is_flagged());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_is_an_outage_and_nothing_was_done() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = two_datasets(&rig);
    let proxy = Proxy::start(&alyx.url).await;
    let client = client(&alyx, &proxy, AT_MOST);
    let address = proxy.address;
    drop(proxy);
    // The port is closed once connections fail.
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let error = session.register(&client, &with_files()).await.unwrap_err();
    assert!(error.kind() == Kind::Unreachable && error.is_outage(), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(session.is_flagged() && alyx.sessions(&session).await.is_empty());
    session.register(&alyx.client(), &with_files()).await.unwrap();
    assert_registered_once(&alyx.alyx(), &session, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_named_and_nothing_is_sent() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = two_datasets(&rig);
    let authority = Authority::new();
    let server = authority.expired(&alyx.url).await;
    let trusted = authority.write(rig.beside("authority.pem"));
    let (url, user, password) = (server.url.clone(), alyx.user.clone(), alyx.password.clone());
    let config = Configuration { roots: vec![rig.root()], url, user, password, more: String::new() }
        .write(&rig.beside("etc"));
    let mut command = program();
    command.arg("scan").arg("--config").arg(config).env("SSL_CERT_FILE", &trusted).env_remove("SSL_CERT_DIR");
    let output = tokio::task::spawn_blocking(move || output(&mut command)).await.unwrap();
    let message = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(69), "{message}");
    assert!(message.to_lowercase().contains("expired"), "{message}");
    assert!(session.is_flagged());
}

/// A proxy refuses what is too long for it before Alyx sees it; such a token is never found to have expired.
#[tokio::test]
async fn a_token_with_which_nothing_ever_succeeded_is_replaced() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let session = rig.session("cortexlab", "KS014");
    session.file("alf/spikes.times.npy", "abc").flag();
    let rule = |method: &str, path: &str, times, code, body: String| FaultRule {
        method: Some(method.into()),
        path_prefix: path.into(),
        times,
        fault: Fault::Status { code, body, content_type: "application/json".into(), retry_after: None },
    };
    let token = format!(r#"{{"token": "{}"}}"#, "a".repeat(4_000));
    alyx.control().add_fault(rule("POST", "/auth-token", 1, 200, token));
    alyx.control().add_fault(rule("GET", "/", 1, 431, "Request Header Fields Too Large".into()));
    session.register(&alyx.client(), &with_files()).await.unwrap();
    let logins = alyx.control().requests().iter().filter(|seen| seen.path == "/auth-token").count();
    assert_eq!(logins, 2);
}
