//! The built daemon is killed (kill -9) at every step in turn, and started again: then there is one session, one
//! record a dataset, the right hashes, and no flag.
//!
//! Twenty kill points each time; two hundred chosen by chance with `cargo test --test it crash:: -- --ignored`.

use crate::{chance, common, fault_proxy};
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
    /// At a moment of a request: method and path, which of those (counted from 0), and so long after it.
    Request(String, usize, Moment, Duration),
    /// So long after the flag was removed: while the outcome is written into the ledger.
    FlagGone(Duration),
    /// So long after the first folder appeared in the session: while a protected file moves.
    FolderMade(Duration),
}

/// What happens to a daemon.
#[derive(Debug)]
enum Event {
    Killed,
    Said(String),
    Ended,
}

/// A running daemon, which anybody may kill.
#[derive(Clone)]
struct Victim {
    child: Arc<Mutex<Option<Child>>>,
    events: Sender<Event>,
}

impl Victim {
    fn start(config: &Path) -> (Self, Receiver<Event>) {
        let (events, hears) = channel();
        let mut child = Command::new(env!("CARGO_BIN_EXE_alyx-registrar"))
            .args(["run", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, says) = (BufReader::new(child.stderr.take().unwrap()).lines(), events.clone());
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = says.send(Event::Said(line));
            }
            let _ = says.send(Event::Ended);
        });
        (Self { child: Arc::new(Mutex::new(Some(child))), events }, hears)
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

/// Kills its victim when the test is done with it, also when it fails: clones may live on in listeners.
struct Leash(Victim);

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// Waits until it was killed or says that a session is registered. Returns whether it was killed.
fn wait(hears: &Receiver<Event>, point: Option<&Point>) -> bool {
    let end = Instant::now() + AT_MOST;
    let mut said = Vec::new();
    loop {
        let event = hears.recv_timeout(end.saturating_duration_since(Instant::now()));
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

/// The world in which daemons are killed.
struct Place {
    alyx: Alyx,
    proxy: Proxy,
    rig: Rig,
    config: PathBuf,
    looking: Client,
}

impl Place {
    async fn new() -> Self {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let proxy = Proxy::start(&alyx.url).await;
        let password = rig.beside("password");
        std::fs::write(&password, &alyx.password).unwrap();
        let config = rig.beside("config.yaml");
        // If the daemon dies between its note that it posts and the post itself, the next one waits for so long.
        let text = format!(
            "data_roots: [{}]\nalyx:\n  timeouts: {{ request: 20 s }}\n  url: {}\n  username: {}\n  password_file: {}\nstate_dir: {}\n\
             watch:\n  settle: 0\nretry:\n  initial: 20 ms\n  max: 100 ms\ndatasets:\n  batch_size: 2\n  protected: revise\n",
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

    /// Runs a daemon until it is killed at a point, or has passed it; then another one until all is done.
    fn kill_at(&self, point: &Point, session: &Session) -> bool {
        if matches!(point, Point::Request(what, ..) if what == LOGIN) {
            // A token of an earlier run would do without a login. Nothing is lost with the state folder.
            let _ = std::fs::remove_dir_all(self.rig.beside("state"));
        }
        let (victim, hears) = Victim::start(&self.config);
        let leash = Leash(victim.clone());
        let watcher = self.lie_in_wait(point, session, &victim);
        let killed = wait(&hears, Some(point)) || self.late_kill(point, &hears);
        self.proxy.listen(None);
        drop(watcher);
        drop(leash);
        if session.is_flagged() {
            let (second, hears) = Victim::start(&self.config);
            let _leash = Leash(second);
            wait(&hears, None);
        }
        killed
    }

    /// The line in the log may come before the kill.
    fn late_kill(&self, point: &Point, hears: &Receiver<Event>) -> bool {
        matches!(point, Point::FlagGone(_))
            && std::iter::from_fn(|| hears.recv_timeout(AT_MOST).ok()).any(|e| matches!(e, Event::Killed))
    }

    /// Sees to it that the daemon is killed.
    fn lie_in_wait(
        &self,
        point: &Point,
        session: &Session,
        victim: &Victim,
    ) -> Option<notify::RecommendedWatcher> {
        let victim = victim.clone();
        match point.clone() {
            Point::Request(wanted, nth, moment, after) => {
                let seen = AtomicUsize::new(0);
                self.proxy.listen(Some(Arc::new(move |_, what, m| {
                    let is_it = m == moment && plain(what) == wanted;
                    if is_it && seen.fetch_add(1, Ordering::SeqCst) == nth {
                        let victim = victim.clone();
                        if after.is_zero() {
                            victim.kill();
                        } else {
                            std::thread::spawn(move || {
                                std::thread::sleep(after);
                                victim.kill();
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
                        victim.kill();
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

    async fn all_is_well_after(&self, point: &Point, session: &Session) {
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
            self.all_is_well_after(point, &session).await;
        }
        killed
    }

    /// The requests of a run in which nothing happens.
    fn undisturbed(&self) -> Vec<String> {
        let _session = self.session();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&requests);
        self.proxy.listen(Some(Arc::new(move |_, what, moment| {
            if moment == Moment::Received {
                seen.lock().unwrap().push(plain(what).to_owned());
            }
        })));
        let (daemon, hears) = Victim::start(&self.config);
        let leash = Leash(daemon);
        assert!(!wait(&hears, None));
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
async fn killed_at_every_step_it_loses_nothing_and_doubles_nothing() {
    let place = Place::new().await;
    let requests = tokio::task::block_in_place(|| place.undisturbed());
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
    let killed = place.kill_at_each(&points).await;
    // A request is always caught; a delay may come too late.
    assert!(killed >= 18, "only {killed} of {} were killed", points.len());
    assert!(place.alyx.control().sessions().len() >= 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_protected_file_moves_it_keeps_both_versions() {
    let place = Place::new().await;
    for after in [0, 50, 150, 400, 1000, 3000] {
        let point = Point::FolderMade(Duration::from_micros(after));
        let session = place.rig.session("cortexlab", "KS014");
        session.file("alf/spikes.times.npy", "a").flag();
        let (daemon, hears) = Victim::start(&place.config);
        let leash = Leash(daemon);
        tokio::task::block_in_place(|| wait(&hears, None));
        drop(leash);
        for dataset in place.alyx.control().datasets() {
            let id = dataset["id"].as_str().or_else(|| dataset["url"].as_str()?.rsplit('/').next()).unwrap();
            assert!(place.alyx.control().protect_dataset(id));
        }
        session.file("alf/spikes.times.npy", "abc").flag();
        tokio::task::block_in_place(|| place.kill_at(&point, &session));
        assert!(!session.is_flagged(), "{point:?}");
        let shown = place.datasets(&session).await;
        assert_eq!(shown.len(), 2, "{point:?}: {shown:?}");
        let hashes: Vec<&str> = shown.iter().map(|(_, hash)| hash.as_str()).collect();
        assert!(hashes.contains(&MD5_OF_A) && hashes.contains(&MD5_OF_ABC), "{point:?}: {shown:?}");
        // On disk there is the new version once, where Alyx says that it is.
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
async fn killed_two_hundred_times_by_chance_it_loses_nothing_and_doubles_nothing() {
    let place = Place::new().await;
    let requests = tokio::task::block_in_place(|| place.undisturbed());
    let mut chance = chance::Chance::of("CRASH_SEED");
    let mut points = Vec::new();
    for _ in 0..200 {
        let after = Duration::from_micros(if chance.once_in(2) { 0 } else { chance.below(3000) as u64 });
        points.push(match chance.below(5) {
            0 => Point::FlagGone(after),
            _ => {
                let chosen = chance.below(requests.len());
                let what = requests[chosen].clone();
                let nth = requests[..chosen].iter().filter(|seen| **seen == what).count();
                Point::Request(what, nth, *chance.one_of(&MOMENTS), after)
            }
        });
    }
    let killed = place.kill_at_each(&points).await;
    println!("{killed} of {} were killed on their way", points.len());
    assert!(killed >= 150, "{killed}");
}
