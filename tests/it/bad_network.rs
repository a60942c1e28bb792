//! The arrow through a bad network: for each trouble, what comes of it. Afterwards, in every case, there is one
//! session, one record a dataset, the right hashes, and no flag.

use crate::{common, fault_proxy, program, tls};
use std::sync::Arc;
use std::time::Duration;

use alyx_client::{Client, SessionSearch};
use alyx_registration::advice::Kind;
use alyx_registration::{RegistrationClient, RegistrationOptions};
use common::{AT_MOST, Alyx, MD5_OF_A, MD5_OF_ABC, Rig, Session, with_files};
use fault_proxy::{Proxy, Rule, Trouble};
use program::{Configuration, output, program};
use tls::Authority;

/// What comes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comes {
    Registered,
    Fails(Kind),
}

use Comes::{Fails, Registered};

/// Each trouble with what comes of it: when it happens once to a request that may be repeated, once to the creation
/// of the session, and always.
fn matrix() -> Vec<(Trouble, [Comes; 3])> {
    let lost = Fails(Kind::Unreachable);
    let (busy, server, no_alyx) = (Fails(Kind::Busy), Fails(Kind::Server), Fails(Kind::NotAlyx));
    let ms = Duration::from_millis;
    vec![
        (Trouble::Latency(ms(5)), [Registered, Registered, Registered]),
        (Trouble::ResetBefore, [Registered, lost, lost]),
        (Trouble::ResetAfter, [Registered, lost, lost]),
        (Trouble::HalfBody, [Registered, lost, lost]),
        (Trouble::LengthTooLong, [Registered, lost, lost]),
        (Trouble::LengthTooShort, [no_alyx, no_alyx, no_alyx]),
        (Trouble::Html(200), [no_alyx, no_alyx, no_alyx]),
        (Trouble::Html(403), [no_alyx, no_alyx, no_alyx]),
        (Trouble::Html(404), [no_alyx, no_alyx, no_alyx]),
        // At the login it goes wrong for all sessions, so that one attempt is enough.
        (Trouble::Html(500), [server, server, busy]),
        (Trouble::Html(502), [Registered, busy, busy]),
        (Trouble::Html(503), [Registered, busy, busy]),
        (Trouble::TooMany, [Registered, Registered, busy]),
        // Slower than the patience of the client in these cases.
        (Trouble::Drip(ms(200)), [Registered, lost, lost]),
        (Trouble::Redirect, [no_alyx, no_alyx, no_alyx]),
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

/// One session, one record a dataset, the right hashes, no flag.
async fn all_is_well(alyx: &Client, session: &Session, told: &str) {
    assert!(!session.is_flagged(), "{told}");
    let path = alf::SessionPath::parse(&session.folder).unwrap();
    let search = SessionSearch { subject: path.subject(), date: path.date(), number: path.number() };
    let sessions = alyx.sessions(&search).await.unwrap();
    assert_eq!(sessions.len(), 1, "{told}");
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
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_trouble_has_its_outcome_and_none_leaves_a_trace() {
    let alyx = Arc::new(Alyx::sandbox().await);
    let looking = alyx.alyx();
    let harmless =
        [("POST", "/auth-token"), ("GET", "/sessions"), ("POST", "/register-file"), ("GET", "/datasets")];
    // Some of them wait most of the time.
    let at_once = Arc::new(tokio::sync::Semaphore::new(8));
    let mut cases = tokio::task::JoinSet::new();
    for (trouble, [once, at_creation, always]) in matrix() {
        let rule = |(method, path), times| Rule { method, path, times, trouble: trouble.clone() };
        let at_login = if trouble == Trouble::Html(500) { always } else { once };
        let comes = |target: &(&str, &str)| if target.1 == "/auth-token" { at_login } else { once };
        let mut rows: Vec<_> = harmless.iter().map(|target| (rule(*target, 1), comes(target))).collect();
        rows.push((rule(("POST", "/sessions"), 1), at_creation));
        rows.push((rule(("", "/"), usize::MAX), always));
        for (rule, comes) in rows {
            let (alyx, at_once, looking) = (Arc::clone(&alyx), Arc::clone(&at_once), looking.clone());
            cases.spawn(async move {
                let _turn = at_once.acquire().await;
                case(&alyx, &looking, rule, comes).await;
            });
        }
    }
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
}

async fn case(alyx: &Alyx, looking: &Client, rule: Rule, comes: Comes) {
    let (proxy, rig) = (Proxy::start(&alyx.url).await, Rig::new());
    let session = two_datasets(&rig);
    let told = format!("{rule:?}");
    let slow = matches!(rule.trouble, Trouble::Drip(_));
    let patience = if slow { Duration::from_secs(2) } else { AT_MOST };
    proxy.add(rule);
    let done = session.register(&client(alyx, &proxy, patience), &with_files()).await;
    let came = done.as_ref().map_or_else(|error| Fails(error.kind()), |_| Registered);
    assert_eq!(came, comes, "{told}: {done:?}");
    assert_eq!(session.is_flagged(), came != Registered, "{told}");
    proxy.heal();
    if came != Registered {
        session.register(&client(alyx, &proxy, AT_MOST), &with_files()).await.unwrap();
    }
    all_is_well(looking, &session, &told).await;
}

/// The web server cuts off what takes long, and Alyx keeps nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn batches_that_are_always_cut_off_shrink_until_they_go_through() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let proxy = Proxy::start(&alyx.url).await;
    // About five files.
    let trouble = Trouble::TooLong(800);
    proxy.add(Rule { method: "POST", path: "/register-file", times: usize::MAX, trouble });
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
    // The port is closed when nobody can connect any more.
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let error = session.register(&client, &with_files()).await.unwrap_err();
    assert!(error.kind() == Kind::Unreachable && error.is_outage(), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(session.is_flagged() && alyx.sessions(&session).await.is_empty());
    session.register(&alyx.client(), &with_files()).await.unwrap();
    all_is_well(&alyx.alyx(), &session, "").await;
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
    let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(69), "{told}");
    assert!(told.to_lowercase().contains("expired"), "{told}");
    assert!(session.is_flagged());
}
