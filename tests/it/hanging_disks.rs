//! A disk that does not answer costs its own data root only, and is named; and large sessions leave a place for small ones.

use std::path::{Path, PathBuf};
use std::time::Duration;

use alyx_registrar::daemon::run_loop::worker::AttemptResult;
use alyx_registrar::daemon::status::{ObstacleStatus, Status};
use alyx_registrar::daemon::watch::{RootOptions, WatchMode};
use alyx_registrar::daemon::{self, DaemonIo, Report, Requests, StatusClient};
use alyx_registration::{DataFolders, RegistrationClient, RegistrationOptions};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::common::locking_fs::{Share, Silent};
use crate::common::program::{Configuration, Program, program};
use crate::common::{AT_MOST, Alyx, Rig, Session, until, with_files};

/// The daemon inside this process, with options that no configuration has.
struct Daemon {
    reports: mpsc::UnboundedReceiver<Report>,
    requests: StatusClient,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<bool>,
}

impl Daemon {
    fn start(alyx: &Alyx, roots: &[&Path]) -> Self {
        let root = |path: &&Path| RootOptions {
            path: path.to_path_buf(),
            mode: WatchMode::Auto,
            require_marker: None,
        };
        let mut options = daemon::Options {
            roots: roots.iter().map(root).collect(),
            flagged: with_files(),
            hangs_after: Duration::from_millis(300),
            ..daemon::Options::default()
        };
        options.watch.poll_interval = Duration::from_millis(50);
        let data = DataFolders {
            roots: roots.iter().map(|root| root.to_path_buf()).collect(),
            ..DataFolders::default()
        };
        let registration = RegistrationOptions { data: data.into(), ..RegistrationOptions::default() };
        let client = RegistrationClient::new(alyx.alyx(), registration);
        let (reports_in, reports) = mpsc::unbounded_channel();
        let (requests, shutdown) = (Requests::default(), CancellationToken::new());
        let client_of_requests = requests.client();
        let io = DaemonIo { reports: Some(reports_in), requests, ..DaemonIo::default() };
        let task = tokio::spawn(daemon::run(client, options, io, shutdown.clone()));
        Self { reports, requests: client_of_requests, shutdown, task }
    }

    /// Waits until each of these sessions is registered.
    async fn registered(&mut self, sessions: &[&Session]) {
        let mut left: Vec<PathBuf> = sessions.iter().map(|session| session.folder.clone()).collect();
        while !left.is_empty() {
            let Report::Attempt { attempt, .. } =
                timeout(AT_MOST, self.reports.recv()).await.expect("an attempt in time").unwrap()
            else {
                continue;
            };
            match &attempt.result {
                AttemptResult::Registered(_) => {
                    left.retain(|folder| attempt.flag.parent() != Some(folder));
                }
                AttemptResult::Failed(error) if error.wait_to_settle().is_none() => {
                    panic!("{}: {error}", attempt.session);
                }
                _ => {}
            }
        }
    }

    async fn status(&self) -> Status {
        self.requests.status(AT_MOST).await.expect("a status")
    }

    /// Waits until the status shows this number of disks that do not answer.
    async fn hanging(&self, number: usize) -> Vec<ObstacleStatus> {
        let wait = async {
            loop {
                let mut found = self.status().await.obstacles;
                found.retain(|obstacle| obstacle.text.contains("does not answer"));
                if found.len() == number {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(AT_MOST, wait).await.expect("as many disks that do not answer")
    }

    /// Stops the daemon, which must not wait for a disk.
    async fn stop(self) {
        self.shutdown.cancel();
        timeout(AT_MOST, self.task).await.expect("it ends in time").unwrap();
    }
}

/// A flagged session in a folder.
fn flagged(root: &Path, number: u32) -> Session {
    let folder = root.join(format!("cortexlab/Subjects/KS014/2024-05-01/{number:03}"));
    std::fs::create_dir_all(&folder).unwrap();
    let session = Session { folder };
    session.file("alf/spikes.times.npy", "abc").flag();
    session
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_hang_in_one_data_root_leave_the_other_in_service_and_are_named() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (behind, good) = (rig.beside("behind"), rig.root());
    // As many as run at once in a data root, and more.
    for number in 1..=20 {
        flagged(&behind, number);
    }
    let Some(share) = Share::of(&behind) else { return };
    share.set(Silent::Reads);
    let mut daemon = Daemon::start(&alyx, &[share.path(), &good]);
    // Of both permits.
    until("two reads hang", || share.waiting() == 2);
    let sessions: Vec<Session> = (101..=103).map(|number| flagged(&good, number)).collect();
    daemon.registered(&sessions.iter().collect::<Vec<_>>()).await;
    let hanging = daemon.hanging(1).await;
    assert_eq!(hanging[0].root, share.path().to_str().unwrap());
    assert!(
        hanging[0].text.contains("reading") && hanging[0].text.contains("spikes.times.npy"),
        "{hanging:?}"
    );
    let status = daemon.status().await;
    assert!(hanging[0].since > status.daemon.unwrap().since);
    assert_eq!(share.waiting(), 2);
    // Once the disk answers, its own sessions are registered.
    share.set(Silent::Nothing);
    let own: Vec<Session> = (1..=20)
        .map(|number| Session {
            folder: share.path().join(format!("cortexlab/Subjects/KS014/2024-05-01/{number:03}")),
        })
        .collect();
    daemon.registered(&own.iter().collect::<Vec<_>>()).await;
    daemon.hanging(0).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_stops_in_time_while_reads_hang() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let behind = rig.beside("behind");
    flagged(&behind, 1);
    let Some(share) = Share::of(&behind) else { return };
    share.set(Silent::Reads);
    let daemon = Daemon::start(&alyx, &[share.path()]);
    until("a read hangs", || share.waiting() == 1);
    daemon.stop().await;
    assert_eq!(share.waiting(), 1);
    assert!(behind.join("cortexlab/Subjects/KS014/2024-05-01/001/create_me.flag").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_answers_nothing_delays_neither_scan_nor_sessions_of_the_other_data_root() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (behind, good) = (rig.beside("behind"), rig.root());
    let first = flagged(&behind, 1);
    let Some(share) = Share::of(&behind) else { return };
    let mut daemon = Daemon::start(&alyx, &[share.path(), &good]);
    let seen = Session { folder: share.path().join(first.folder.strip_prefix(&behind).unwrap()) };
    daemon.registered(&[&seen]).await;
    share.set(Silent::Everything);
    // The polling scan.
    until("a call hangs", || share.waiting() > 0);
    flagged(&behind, 2);
    let other = flagged(&good, 101);
    daemon.registered(&[&other]).await;
    let hanging = daemon.hanging(1).await;
    assert!(hanging[0].text.contains("scanning"), "{hanging:?}");
    assert_eq!(hanging[0].root, share.path().to_str().unwrap());
    // Later sessions too.
    daemon.registered(&[&flagged(&good, 102)]).await;
    share.set(Silent::Nothing);
    let second = share.path().join("cortexlab/Subjects/KS014/2024-05-01/002");
    daemon.registered(&[&Session { folder: second }]).await;
    daemon.hanging(0).await;
    share.set(Silent::Everything);
    until("a call hangs", || share.waiting() > 0);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scan_registers_the_other_data_root_while_reads_hang_in_one_and_can_be_stopped() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (behind, good) = (rig.beside("behind"), rig.root());
    for number in 1..=5 {
        flagged(&behind, number);
    }
    let session = flagged(&good, 101);
    let Some(share) = Share::of(&behind) else { return };
    share.set(Silent::Reads);
    crate::program::stopped_cleanly(&rig.beside("etc/state"));
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    let more = "watch:\n  settle: 0 s\n  settle_remote: 0 s\n  empty_grace: 0 s\n".into();
    let roots = vec![share.path().to_owned(), good];
    let config = Configuration { roots, url, user, password, more }.write(&rig.beside("etc"));
    let mut scan = Program::start(program().arg("scan").arg("--config").arg(config));
    // Answers before the program is waited for, if an assertion fails.
    let share = share;
    scan.wait_for(&format!("ok      {}", session.name()));
    until("reads hang", || share.waiting() == 2);
    assert!(!session.is_flagged());
    scan.signal("TERM");
    // It has ended, but the kernel keeps its name until the drive has answered.
    let stat = format!("/proc/{}/stat", scan.id());
    until("the program ends", || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z ")));
    share.set(Silent::Nothing);
    scan.wait();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_session_begins_beside_many_of_terabytes() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let root = rig.root();
    for number in 1..=25 {
        let session = flagged(&root, number);
        let large = std::fs::File::create(session.folder.join("alf/spikes.times.npy")).unwrap();
        large.set_len(8 << 40).unwrap();
    }
    let mut daemon = Daemon::start(&alyx, &[&root]);
    // All of them have been looked at: those without a place wait.
    let all_seen = async {
        loop {
            let sessions = daemon.status().await.sessions;
            let running = sessions.iter().filter(|session| session.next.is_none()).count();
            if sessions.len() == 25 && running == 17 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(AT_MOST, all_seen).await.expect("17 run");
    let small = flagged(&root, 101);
    daemon.registered(&[&small]).await;
    daemon.stop().await;
}
