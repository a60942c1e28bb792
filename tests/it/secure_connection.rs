//! The connection to the server: which certificates are trusted, which proxy is used, and what is reported about it.

use crate::{common, program, tls, verbs};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Alyx, Rig};
use program::{Configuration, program};
use tls::Authority;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use verbs::{Said, run};

const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

/// A configuration for an address, with more lines for its section `alyx`.
fn configuration(rig: &Rig, alyx: &Alyx, url: &str, more: &str) -> PathBuf {
    let (user, password) = (alyx.user.clone(), alyx.password.clone());
    // An empty root might be an unmounted disk.
    rig.session_at("cortexlab/Subjects/KS014/2024-05-01/001");
    let file =
        Configuration { roots: vec![rig.root()], url: url.into(), user, password, more: String::new() }
            .write(&rig.beside("etc"));
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("alyx:\n", &format!("alyx:\n{more}"), 1)).unwrap();
    file
}

/// Checks whether the server answers, without blocking the servers of the test.
async fn check(config: PathBuf, change: impl FnOnce(&mut Command)) -> Said {
    let mut command = program();
    command.args(["scan", "--dry-run", "--log-level", "trace", "--config"]).arg(config);
    change(&mut command);
    tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_is_trusted_if_configured() {
    let (alyx, rig, authority) = (Alyx::sandbox().await, Rig::new(), Authority::new());
    let server = authority.good_for(&alyx.url, MONTH).await;
    let unknown = check(configuration(&rig, &alyx, &server.url, ""), |_| ()).await.ends(69);
    assert!(unknown.err.contains("UnknownIssuer") && unknown.err.contains("alyx.ca_file"), "{unknown:?}");
    let file = authority.write(rig.beside("authority.pem"));
    let named = format!("  ca_file: {}\n", file.display());
    check(configuration(&rig, &alyx, &server.url, &named), |_| ()).await.ends(0);
    // The authority of another lab is not enough.
    Authority::new().write(file);
    check(configuration(&rig, &alyx, &server.url, &named), |_| ()).await.ends(69);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_authority_file_is_a_configuration_error() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    for (content, message) in [(None, "cannot be read"), (Some("hello"), "contains no certificate")] {
        let file = rig.beside("authority.pem");
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let config = configuration(&rig, &alyx, &alyx.url, &format!("  ca_file: {}\n", file.display()));
        let said = check(config, |_| ()).await.ends(78);
        assert!(said.err.contains(message), "{said:?}");
    }
}

/// A proxy that requires a password, and the hosts requested through it.
async fn proxy_with_password() -> (String, Arc<Mutex<Vec<String>>>) {
    // rig:proxy-secret
    const WANTED: &str = "proxy-authorization: basic cmlnonbyb3h5lxnly3jlda==";
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let for_task = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let asked = Arc::clone(&for_task);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let host = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap();
                if !head.to_lowercase().contains(WANTED) {
                    let refused = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
                    client.write_all(refused).await.unwrap();
                    return;
                }
                asked.lock().unwrap().push(host.to_owned());
                let mut server = TcpStream::connect(host).await.unwrap();
                client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (address, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_the_environment_is_used_and_its_password_is_not_shown() {
    let (alyx, rig, authority) = (Alyx::sandbox().await, Rig::new(), Authority::new());
    let server = authority.good_for(&alyx.url, MONTH).await;
    let file = authority.write(rig.beside("authority.pem"));
    let config = configuration(&rig, &alyx, &server.url, &format!("  ca_file: {}\n", file.display()));
    let (address, asked) = proxy_with_password().await;
    let by_proxy = |login: &str| format!("http://{login}@{address}");

    let through = by_proxy("rig:proxy-secret");
    let said = check(config.clone(), |c| _ = c.env("HTTPS_PROXY", &through)).await.ends(0);
    let host = server.url.trim_start_matches("https://").to_owned();
    assert_eq!(asked.lock().unwrap().first(), Some(&host), "it went another way");
    assert!(!said.err.contains("proxy-secret") && !said.err.contains("cmlnOn"), "{said:?}");

    let wrong = by_proxy("rig:mistyped-secret");
    let said = check(config.clone(), |c| _ = c.env("HTTPS_PROXY", &wrong)).await.ends(69);
    assert!(!said.err.contains("mistyped-secret"), "{said:?}");

    let before = asked.lock().unwrap().len();
    check(config, |c| _ = c.env("HTTPS_PROXY", &through).env("NO_PROXY", "localhost")).await.ends(0);
    assert_eq!(asked.lock().unwrap().len(), before, "NO_PROXY was not heeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_to_another_machine_is_a_warning_at_the_start() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let warns = |said: &Said| said.err.contains("WARN") && said.err.contains("without https");
    // An address reserved for documentation: no server answers there.
    let short = "  timeouts:\n    connect: 10 ms\n";
    let said = check(configuration(&rig, &alyx, "http://192.0.2.1", short), |_| ()).await;
    assert!(warns(&said), "{said:?}");
    let said = check(configuration(&rig, &alyx, &alyx.url, ""), |_| ()).await.ends(0);
    assert!(!warns(&said), "{said:?}");
}
