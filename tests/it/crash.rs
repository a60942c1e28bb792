//! The built daemon is killed (kill -9) at each step in turn, and started again. Afterwards there is one session, one
//! record per dataset, the right hashes, and no flag.
//!
//! Twenty kill points each time; two hundred random ones with `cargo test --test it crash:: -- --ignored`.

use crate::{common, fault_proxy, rng};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use alyx_client::{Client, SessionSearch};
use common::{AT_MOST, Alyx, MD5_OF_A, MD5_OF_ABC, MD5_OF_EMPTY, Rig, Session};
use fault_proxy::{Moment, Proxy};
use notify::Watcher;

/// When the daemon is killed.
#[derive(Debug, Clone, PartialEq)]
enum Point {
    /// At a moment of a request: method and path, its index (from 0), and a delay.
    Request(String, usize, Moment, Duration),
    /// After this delay, once the flag was removed: while the outcome is written into the ledger.
    FlagGone(Duration),
    /// After this delay, once the first folder appeared in the session: while a protected file moves.
    FolderMade(Duration),
}

/// An event of a daemon under test.
#[derive(Debug)]
enum Event {
    Killed,
    Said(String),
    Ended,
}

/// A running daemon that any thread may kill.
#[derive(Clone)]
struct Daemon {
    child: Arc<Mutex<Option<Child>>>,
    events: Sender<Event>,
}

impl Daemon {
    fn start(config: &Path) -> (Self, Receiver<Event>) {
        let (sender, events) = channel();
        let mut child = Command::new(env!("CARGO_BIN_EXE_alyx-registrar"))
            .args(["run", "--config"])
            .arg(config)
            .env("ALYX_REGISTRAR_MARKS", config.with_file_name("marks"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, says) = (BufReader::new(child.stderr.take().unwrap()).lines(), sender.clone());
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = says.send(Event::Said(line));
            }
            let _ = says.send(Event::Ended);
        });
        (Self { child: Arc::new(Mutex::new(Some(child))), events: sender }, events)
    }

    /// kill -9. Only once.
    fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
            let _ = self.events.send(Event::Killed);
        }
    }
}

/// Kills its daemon at the end of the test, even a failed one: clones may live on in listeners.
struct KillOnDrop(Daemon);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// Waits until the daemon was killed, or logs that a session is registered. Returns whether it was killed.
fn wait(events: &Receiver<Event>, point: Option<&Point>) -> bool {
    let end = Instant::now() + AT_MOST;
    let mut said = Vec::new();
    loop {
        let event = events.recv_timeout(end.saturating_duration_since(Instant::now()));
        if let Ok(Event::Said(line)) = &event {
            common::secrets::none_in(line, "a daemon");
        }
        match event {
            Ok(Event::Killed) => return true,
            Ok(Event::Said(line)) if line.contains("outcome=\"registered\"") => return false,
            Ok(Event::Said(line)) => said.push(line),
            Ok(Event::Ended) if point.is_some() => {}
            other => panic!("{point:?}: {other:?}; it said:\n{}", said.join("\n")),
        }
    }
}

/// The environment in which daemons are killed.
struct World {
    alyx: Alyx,
    proxy: Proxy,
    rig: Rig,
    config: PathBuf,
    looking: Client,
}

impl World {
    async fn new() -> Self {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let proxy = Proxy::start(&alyx.url).await;
        let password = rig.beside("password");
        std::fs::write(&password, &alyx.password).unwrap();
        let config = rig.beside("config.yaml");
        // After kill -9 the next daemon waits for this long before it creates a session.
        let text = format!(
            "data_roots: [{}]\nalyx:\n  timeouts: {{ request: 3 s }}\n  url: {}\n  username: {}\n  password_file: {}\nstate_dir: {}\n\
             watch:\n  settle: 0\n  empty_grace: 0 s\nretry:\n  initial: 20 ms\n  max: 100 ms\ndatasets:\n  batch_size: 2\n  protected: revise\n",
            rig.root().display(),
            proxy.url(),
            alyx.user,
            password.display(),
            rig.beside("state").display(),
        );
        std::fs::write(&config, text).unwrap();
        let looking = alyx.alyx();
        Self { alyx, proxy, rig, config, looking }
    }

    fn session(&self) -> Session {
        let session = self.rig.session("cortexlab", "KS014");
        session.file("alf/spikes.clusters.npy", "a").file("alf/spikes.depths.npy", "");
        session.file("alf/spikes.times.npy", "abc").flag();
        session
    }

    /// Runs a daemon until it is killed at a point, or has passed it; then another one until everything is registered.
    fn kill_at(&self, point: &Point, session: &Session) -> bool {
        if matches!(point, Point::Request(what, ..) if what == LOGIN) {
            // With the token of an earlier run there would be no login. Deleting the state folder loses nothing.
            let _ = std::fs::remove_dir_all(self.rig.beside("state"));
        }
        let (daemon, events) = Daemon::start(&self.config);
        let leash = KillOnDrop(daemon.clone());
        let watcher = self.arm(point, session, &daemon);
        let killed = wait(&events, Some(point)) || self.wait_for_late_kill(point, &events);
        self.proxy.listen(None);
        drop(watcher);
        drop(leash);
        if session.is_flagged() {
            let (second, events) = Daemon::start(&self.config);
            let _leash = KillOnDrop(second);
            wait(&events, None);
        }
        killed
    }

    /// The log line may arrive before the kill.
    fn wait_for_late_kill(&self, point: &Point, events: &Receiver<Event>) -> bool {
        matches!(point, Point::FlagGone(_))
            && std::iter::from_fn(|| events.recv_timeout(AT_MOST).ok()).any(|e| matches!(e, Event::Killed))
    }

    /// Arranges that the daemon is killed at the point.
    fn arm(&self, point: &Point, session: &Session, daemon: &Daemon) -> Option<notify::RecommendedWatcher> {
        let daemon = daemon.clone();
        match point.clone() {
            Point::Request(wanted, nth, moment, after) => {
                let seen = AtomicUsize::new(0);
                self.proxy.listen(Some(Arc::new(move |_, what, m| {
                    let is_it = m == moment && plain(what) == wanted;
                    if is_it && seen.fetch_add(1, Ordering::SeqCst) == nth {
                        let daemon = daemon.clone();
                        if after.is_zero() {
                            daemon.kill();
                        } else {
                            std::thread::spawn(move || {
                                std::thread::sleep(after);
                                daemon.kill();
                            });
                        }
                    }
                })));
                None
            }
            Point::FlagGone(after) | Point::FolderMade(after) => {
                let flag_gone = matches!(point, Point::FlagGone(_));
                let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                    let event = event.unwrap();
                    let flag = event.paths.iter().any(|path| path.ends_with("create_me.flag"));
                    let is_it = if flag_gone {
                        event.kind.is_remove() && flag
                    } else {
                        event.kind.is_create() && !flag
                    };
                    if is_it {
                        std::thread::sleep(after);
                        daemon.kill();
                    }
                })
                .unwrap();
                let folder = if flag_gone { session.folder.clone() } else { session.folder.join("alf") };
                watcher.watch(&folder, notify::RecursiveMode::NonRecursive).unwrap();
                Some(watcher)
            }
        }
    }

    async fn datasets(&self, session: &Session) -> Vec<(String, String)> {
        let path = alf::SessionPath::parse(&session.folder).unwrap();
        let search = SessionSearch { subject: path.subject(), date: path.date(), number: path.number() };
        let sessions = self.looking.sessions(&search).await.unwrap();
        assert_eq!(sessions.len(), 1, "{sessions:?}");
        let datasets = self.looking.datasets_of_session(sessions[0].eid()).await.unwrap();
        let mut shown: Vec<_> =
            datasets.iter().map(|d| (d.relative_path(), d.hash.clone().unwrap_or_default())).collect();
        shown.sort();
        shown
    }

    async fn assert_registered_once_after(&self, point: &Point, session: &Session) {
        assert!(!session.is_flagged(), "{point:?}");
        let wanted = [
            ("alf/spikes.clusters.npy", MD5_OF_A),
            ("alf/spikes.depths.npy", MD5_OF_EMPTY),
            ("alf/spikes.times.npy", MD5_OF_ABC),
        ];
        let wanted = wanted.map(|(path, md5)| (path.to_owned(), md5.to_owned()));
        assert_eq!(self.datasets(session).await, wanted, "{point:?}");
    }

    /// Kills at these points, each time with a new session.
    async fn kill_at_each(&self, points: &[Point]) -> usize {
        let mut killed = 0;
        for point in points {
            let session = self.session();
            killed += usize::from(tokio::task::block_in_place(|| self.kill_at(point, &session)));
            self.assert_registered_once_after(point, &session).await;
        }
        killed
    }

    /// The requests of an undisturbed run.
    fn undisturbed(&self) -> Vec<String> {
        let _session = self.session();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&requests);
        self.proxy.listen(Some(Arc::new(move |_, what, moment| {
            if moment == Moment::Received {
                seen.lock().unwrap().push(plain(what).to_owned());
            }
        })));
        let (daemon, events) = Daemon::start(&self.config);
        let leash = KillOnDrop(daemon);
        assert!(!wait(&events, None));
        drop(leash);
        self.proxy.listen(None);
        requests.lock().unwrap().clone()
    }
}

/// The request that logs in.
const LOGIN: &str = "POST /auth-token";

/// Method and path without the query.
fn plain(what: &str) -> &str {
    what.split('?').next().unwrap()
}

const MOMENTS: [Moment; 3] = [Moment::Received, Moment::Answered, Moment::Delivered];

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_step_the_daemon_loses_and_duplicates_nothing() {
    let world = World::new().await;
    let requests = tokio::task::block_in_place(|| world.undisturbed());
    let at = |what: &str, nth: usize, moment, after| {
        assert!(requests.iter().filter(|seen| *seen == what).count() > nth, "no {what} among {requests:?}");
        Point::Request(what.to_owned(), nth, moment, after)
    };
    let (micros, now) = (Duration::from_micros, Duration::ZERO);
    let mut points = vec![
        at(LOGIN, 0, Moment::Received, now),
        at(LOGIN, 0, Moment::Delivered, now),
        at("GET /sessions", 0, Moment::Answered, now),
        at("GET /sessions", 0, Moment::Delivered, now),
    ];
    // The creation, the first batch, between the batches, the second batch, the confirmation.
    let register = "POST /register-file";
    for (what, nth) in [("POST /sessions", 0), (register, 0), (register, 1), ("GET /datasets", 0)] {
        points.extend(MOMENTS.map(|moment| at(what, nth, moment, now)));
    }
    // Before and after the flag is removed, and while the ledger is written.
    points.push(at("GET /datasets", 0, Moment::Delivered, micros(700)));
    points.extend([0, 300, 1500].map(|after| Point::FlagGone(micros(after))));
    assert_eq!(points.len(), 20);
    // Each kill is followed by the time-out of a request, so several worlds wait at once.
    let mut in_worlds = tokio::task::JoinSet::new();
    for of_world in points.chunks(5).map(<[Point]>::to_vec) {
        in_worlds.spawn(async move {
            let world = World::new().await;
            let killed = world.kill_at_each(&of_world).await;
            assert!(world.alyx.control().sessions().len() >= of_world.len());
            killed
        });
    }
    let killed: usize = in_worlds.join_all().await.into_iter().sum();
    // A request is always caught; a delay may be too late.
    assert!(killed >= 18, "only {killed} of {} were killed", points.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_protected_file_moves_the_daemon_keeps_both_versions() {
    let world = World::new().await;
    for after in [0, 50, 150, 400, 1000, 3000] {
        let point = Point::FolderMade(Duration::from_micros(after));
        let session = world.rig.session("cortexlab", "KS014");
        session.file("alf/spikes.times.npy", "a").flag();
        let (daemon, events) = Daemon::start(&world.config);
        let leash = KillOnDrop(daemon);
        tokio::task::block_in_place(|| wait(&events, None));
        drop(leash);
        for dataset in world.alyx.control().datasets() {
            let id = dataset["id"].as_str().or_else(|| dataset["url"].as_str()?.rsplit('/').next()).unwrap();
            assert!(world.alyx.control().protect_dataset(id));
        }
        session.file("alf/spikes.times.npy", "abc").flag();
        tokio::task::block_in_place(|| world.kill_at(&point, &session));
        assert!(!session.is_flagged(), "{point:?}");
        let shown = world.datasets(&session).await;
        assert_eq!(shown.len(), 2, "{point:?}: {shown:?}");
        let hashes: Vec<&str> = shown.iter().map(|(_, hash)| hash.as_str()).collect();
        assert!(hashes.contains(&MD5_OF_A) && hashes.contains(&MD5_OF_ABC), "{point:?}: {shown:?}");
        // On disk the new version exists once, where Alyx says that it is.
        let on_disk: Vec<_> = walkdir::WalkDir::new(&session.folder)
            .into_iter()
            .map(Result::unwrap)
            .filter(|entry| entry.file_type().is_file())
            .map(|entry| entry.into_path())
            .collect();
        assert_eq!(on_disk.len(), 1, "{point:?}: {on_disk:?}");
        let revised = shown.iter().find(|(_, hash)| hash == MD5_OF_ABC).unwrap();
        assert_eq!(on_disk[0], session.folder.join(&revised.0), "{point:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: run by night"]
async fn killed_two_hundred_times_at_random_the_daemon_loses_and_duplicates_nothing() {
    let world = World::new().await;
    let requests = tokio::task::block_in_place(|| world.undisturbed());
    let mut rng = rng::SeededRng::of("CRASH_SEED");
    let mut points = Vec::new();
    for _ in 0..200 {
        let after = Duration::from_micros(if rng.one_in(2) { 0 } else { rng.below(3000) as u64 });
        points.push(match rng.below(5) {
            0 => Point::FlagGone(after),
            _ => {
                let chosen = rng.below(requests.len());
                let what = requests[chosen].clone();
                let nth = requests[..chosen].iter().filter(|seen| **seen == what).count();
                Point::Request(what, nth, *rng.one_of(&MOMENTS), after)
            }
        });
    }
    let killed = world.kill_at_each(&points).await;
    println!("{killed} of {} were killed on their way", points.len());
    assert!(killed >= 150, "{killed}");
}
