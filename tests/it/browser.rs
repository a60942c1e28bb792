//! The page in a real browser: headless Chromium, if installed.

use crate::{common, fault_proxy, program};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use alyx_sandbox::{Fault, FaultRule, Gate};
use common::{AT_MOST, Alyx, Rig};
use fault_proxy::{Moment, NetworkFault, Proxy, Rule};
use program::{Configuration, Program, program};

/// The browser; if there is none, prints that.
fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = ["chromium", "chromium-browser", "google-chrome"].iter().find_map(|name| {
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
    });
    if found.is_none() {
        println!("SKIPPED: no Chromium here; apt-get install chromium");
    }
    found
}

/// Renders a page, and returns the resulting DOM.
fn render(browser: &Path, more: &[&str], url: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let mut child = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--hide-scrollbars", "--enable-logging=stderr"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(more)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let shown = std::thread::spawn(move || std::io::read_to_string(&mut out));
    let log = std::thread::spawn(move || std::io::read_to_string(&mut err));
    let end = Instant::now() + AT_MOST;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the browser does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let log = log.join().unwrap().unwrap();
    // The browser's console shows violations of the page's policy, and script errors.
    let complaints: Vec<_> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(complaints.iter().all(|line| line.contains("ERR_")), "{complaints:#?}");
    shown.join().unwrap().unwrap()
}

/// A daemon with one session registered, one that needs attention, and one in progress.
struct World {
    alyx: Alyx,
    _rig: Rig,
    daemon: Program,
    page: String,
    gate: Gate,
}

impl World {
    async fn new() -> Self {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let hostile = rig.session_at("lab/Subjects/<script>document.title='taken'<%2fscript>/2024-01-01/001");
        hostile.flag();
        rig.session("cortexlab", "KS014").file("alf/spikes.times.npy", "abc").flag();
        let (user, password) = (alyx.user.clone(), alyx.password.clone());
        let config = Configuration {
            roots: vec![rig.root()],
            url: alyx.url.clone(),
            user,
            password,
            more: "http:\n  listen: 127.0.0.1:0\n".into(),
        }
        .write(&rig.beside("etc"));
        let mut daemon = Program::start(program().arg("run").arg("--config").arg(config));
        let line = daemon.wait_for("the status page is at http");
        let page = line.split_whitespace().last().unwrap().to_owned();
        daemon.wait_for("n_files=1");
        let gate = Gate::default();
        alyx.control().add_fault(FaultRule {
            method: Some("GET".into()),
            path_prefix: "/datasets".into(),
            times: 1,
            fault: Fault::Hold(gate.clone()),
        });
        rig.session("mainenlab", "ZM_1085").file("alf/spikes.times.npy", "abc").flag();
        gate.reached().await;
        Self { alyx, _rig: rig, daemon, page, gate }
    }

    async fn stop(self) {
        self.gate.open();
        self.daemon.stop();
        drop(self.alyx);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_the_page_and_refreshes_it_without_a_reload() {
    let Some(browser) = chromium() else { return };
    let world = World::new().await;
    let proxy = Proxy::start(world.page.trim_end_matches('/')).await;
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let hear = Arc::clone(&asked);
    proxy.listen(Some(Arc::new(move |_, what, moment| {
        if moment == Moment::Received {
            hear.lock().unwrap().push(what.to_owned());
        }
    })));
    // The browser's virtual time passes as fast as possible.
    let dom = render(&browser, &["--virtual-time-budget=12000", "--dump-dom"], &format!("{}/", proxy.url()));
    for wanted in ["1 session needs attention", "<progress", "1 dataset, 3 B", "&lt;script&gt;", "<svg"] {
        assert!(dom.contains(wanted), "{wanted:?} is not in:\n{dom}");
    }
    assert!(!dom.contains("class=\"old\"") && !dom.contains("<title>taken"), "{dom}");
    let asked = asked.lock().unwrap().clone();
    let times = |what: &str| asked.iter().filter(|line| line.as_str() == what).count();
    assert!(times("GET /") >= 2, "{asked:?}");
    assert_eq!((times("GET /style.css"), times("GET /refresh.js")), (1, 1), "{asked:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_daemon_has_stopped_says_that_it_is_outdated() {
    let Some(browser) = chromium() else { return };
    let world = World::new().await;
    let proxy = Arc::new(Proxy::start(world.page.trim_end_matches('/')).await);
    let gone = Arc::downgrade(&proxy);
    proxy.listen(Some(Arc::new(move |_, what, moment| {
        if (what, moment) == ("GET /refresh.js", Moment::Delivered) {
            let rule = Rule { method: "", path: "/", times: usize::MAX, fault: NetworkFault::ResetBefore };
            gone.upgrade().unwrap().add(rule);
        }
    })));
    let dom = render(&browser, &["--virtual-time-budget=12000", "--dump-dom"], &format!("{}/", proxy.url()));
    assert!(dom.contains("the daemon does not answer any more"), "{dom}");
    // What was known is still shown.
    assert!(dom.contains("1 session needs attention"), "{dom}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_fits_phone_and_desktop_in_light_and_dark_mode() {
    let Some(browser) = chromium() else { return };
    let world = World::new().await;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut pictures = Vec::new();
    for (name, size, scheme) in
        [("phone", "390,1400", "1"), ("desk", "1280,1400", "1"), ("dark", "390,1400", "0")]
    {
        let file = folder.join(format!("page-{name}.png"));
        let _ = std::fs::remove_file(&file);
        let more = [
            format!("--window-size={size}"),
            format!("--blink-settings=preferredColorScheme={scheme}"),
            format!("--screenshot={}", file.display()),
        ];
        render(&browser, &more.each_ref().map(String::as_str), &world.page);
        let picture = std::fs::read(&file).unwrap();
        assert!(picture.starts_with(b"\x89PNG") && picture.len() > 20_000, "{name}: {} bytes", picture.len());
        pictures.push(picture);
    }
    println!("pictures of the page: {}/page-*.png", folder.display());
    assert_ne!(pictures[0], pictures[2], "dark is as light");
    world.stop().await;
}
