//! A disk that does not answer costs its own data root only, and is named; and large sessions leave a place for small ones.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use alyx_registrar::daemon::run_loop::worker::AttemptResult;
use alyx_registrar::daemon::status::{ObstacleStatus, Status};
use alyx_registrar::daemon::tree::lock::{LockFolders, RootLock};
use alyx_registrar::daemon::watch::{RootOptions, WatchMode};
use alyx_registrar::daemon::{self, DaemonIo, Report, Requests, StatusClient};
use alyx_registration::{
    DataFolders, HashContext, ReadScheduler, ReadingOptions, RegistrationClient, RegistrationOptions,
    checksums,
};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::common::locking_fs::{Share, Silent};
use crate::common::program::{Configuration, Program, output, program};
use crate::common::{AT_MOST, Alyx, Rig, Session, until, with_files};

/// The daemon inside this process, with options that no configuration has.
pub struct Daemon {
    reports: mpsc::UnboundedReceiver<Report>,
    pub requests: StatusClient,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<bool>,
}

impl Daemon {
    fn start(alyx: &Alyx, roots: &[&Path]) -> Self {
        Self::start_with(alyx, roots, |_| {})
    }

    pub fn start_with(alyx: &Alyx, roots: &[&Path], set: impl FnOnce(&mut daemon::Options)) -> Self {
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
        set(&mut options);
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
    pub async fn registered(&mut self, sessions: &[&Session]) {
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
    pub async fn hanging(&self, number: usize) -> Vec<ObstacleStatus> {
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
    pub async fn stop(self) {
        self.shutdown.cancel();
        timeout(AT_MOST, self.task).await.expect("it ends in time").unwrap();
    }
}

/// A flagged session in a folder.
pub fn flagged(root: &Path, number: u32) -> Session {
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
    assert!(hanging[0].since > Some(status.daemon.unwrap().since));
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

/// Before its datasets are listed.
#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_cannot_be_read_hangs_its_own_data_root_and_is_named() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (behind, good) = (rig.beside("behind"), rig.root());
    flagged(&behind, 1).file("alyx-session.yaml", "narrative: far away\n");
    let Some(share) = Share::of(&behind) else { return };
    share.set(Silent::Reads);
    let mut daemon = Daemon::start(&alyx, &[share.path(), &good]);
    until("the sidecar is read", || share.waiting() == 1);
    daemon.registered(&[&flagged(&good, 101)]).await;
    let hanging = daemon.hanging(1).await;
    assert!(hanging[0].text.contains("metadata"), "{hanging:?}");
    assert_eq!(hanging[0].root, share.path().to_str().unwrap());
    share.set(Silent::Nothing);
    let own = share.path().join("cortexlab/Subjects/KS014/2024-05-01/001");
    daemon.registered(&[&Session { folder: own }]).await;
    daemon.stop().await;
}

/// A file of a session may lie on another disk, behind a link.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_reads_hang_stalls_no_other_file_that_is_hashed_at_the_same_time() {
    let rig = Rig::new();
    let behind = rig.beside("behind");
    std::fs::create_dir_all(&behind).unwrap();
    std::fs::write(behind.join("far.npy"), "abc").unwrap();
    let Some(share) = Share::of(&behind) else { return };
    let near = |number: usize| {
        let path = rig.beside(&format!("{number}.npy"));
        std::fs::write(&path, vec![7; number * 10_000]).unwrap();
        path
    };
    let mut files: Vec<PathBuf> = (0..100).map(near).collect();
    files.insert(10, share.path().join("far.npy"));
    share.set(Silent::Reads);
    let context = HashContext {
        max_md5_size: None,
        scheduler: ReadScheduler::new(2, &ReadingOptions::default()),
        progress: Arc::default(),
        cache: None,
        data: Arc::default(),
    };
    let progress = Arc::clone(&context.progress);
    let sums = tokio::spawn(async move { checksums(files, &context).await });
    until("all other files are hashed", || progress.files_done.load(Ordering::Relaxed) == 100);
    assert_eq!(share.waiting(), 1);
    share.set(Silent::Nothing);
    let sums = sums.await.unwrap();
    assert_eq!(sums.len(), 101);
    assert!(sums.iter().all(Result::is_ok), "{sums:?}");
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

/// A configuration of these data roots whose sessions run at once.
fn configuration(alyx: &Alyx, rig: &Rig, roots: &[&Path]) -> PathBuf {
    let (url, user, password) = (alyx.url.clone(), alyx.user.clone(), alyx.password.clone());
    let more =
        "watch:\n  settle: 0 s\n  settle_remote: 0 s\n  empty_grace: 0 s\n  poll_interval: 200 ms\n".into();
    let roots = roots.iter().map(|root| root.to_path_buf()).collect();
    Configuration { roots, url, user, password, more }.write(&rig.beside("etc"))
}

/// The session at the same place in a share.
pub fn in_share(share: &Share, behind: &Path, session: &Session) -> Session {
    Session { folder: share.path().join(session.folder.strip_prefix(behind).unwrap()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_answers_nothing_when_the_daemon_starts_is_locked_and_served_once_it_does() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (behind, good) = (rig.beside("behind"), rig.root());
    let late = flagged(&behind, 1);
    let session = flagged(&good, 101);
    let Some(share) = Share::of(&behind) else { return };
    let config = configuration(&alyx, &rig, &[share.path(), &good]);
    share.set(Silent::Everything);
    let mut daemon = Program::start(program().arg("run").arg("--config").arg(&config));
    // Answers before the program is waited for, if an assertion fails.
    let share = share;
    let line = daemon.wait_for("does not answer; it is watched as soon as it answers");
    assert!(line.contains(share.path().to_str().unwrap()), "{line}");
    let line = daemon.wait_for("outcome=\"registered\"");
    assert!(line.contains(&session.name()), "{line}");
    assert!(share.waiting() > 0 && late.is_flagged());
    share.set(Silent::Nothing);
    let line = daemon.wait_for("outcome=\"registered\"");
    assert!(line.contains(&in_share(&share, &behind, &late).name()), "{line}");
    let taken = output(program().arg("create-sessions").arg(share.path()));
    assert_ne!(taken.status.code(), Some(0));
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_stops_in_time_whose_share_answers_nothing_since_its_start() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (behind, good) = (rig.beside("behind"), rig.root());
    flagged(&behind, 1);
    let session = flagged(&good, 101);
    let Some(share) = Share::of(&behind) else { return };
    let config = configuration(&alyx, &rig, &[share.path(), &good]);
    share.set(Silent::Everything);
    let mut daemon = Program::start(program().arg("run").arg("--config").arg(&config));
    let share = share;
    daemon.wait_for("outcome=\"registered\"");
    assert!(!session.is_flagged());
    daemon.signal("TERM");
    daemon.wait_for("stopped");
    // It has ended, but the kernel keeps its name until the drive has answered.
    let stat = format!("/proc/{}/stat", daemon.id());
    until("the program ends", || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z ")));
    share.set(Silent::Nothing);
    daemon.wait();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_root_that_another_registrar_locked_while_its_disk_hung_is_not_served_until_that_one_ends() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (behind, good) = (rig.beside("behind"), rig.root());
    let late = flagged(&behind, 1);
    let Some(share) = Share::of(&behind) else { return };
    let config = configuration(&alyx, &rig, &[share.path(), &good]);
    let folders = LockFolders::of(Some(&rig.beside("etc/state")));
    let other = RootLock::acquire(share.path(), &folders).unwrap();
    share.set(Silent::Everything);
    let mut daemon = Program::start(program().arg("run").arg("--config").arg(&config));
    let share = share;
    daemon.wait_for("data root scanned");
    share.set(Silent::Nothing);
    let line = daemon.wait_for("is not watched: another alyx-registrar");
    assert!(line.contains(&format!("process {}", std::process::id())), "{line}");
    let status = output(program().args(["status", "--config"]).arg(&config));
    let text = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(text.contains("is not watched: another alyx-registrar"), "{text}");
    assert!(late.is_flagged() && alyx.control().sessions().is_empty());
    drop(other);
    daemon.wait_for("outcome=\"registered\"");
    assert!(!late.is_flagged());
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_name_a_data_root_that_answers_nothing_and_go_on_with_the_others() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (behind, good) = (rig.beside("behind"), rig.root());
    flagged(&behind, 1);
    let session = flagged(&good, 101);
    let Some(share) = Share::of(&behind) else { return };
    let config = configuration(&alyx, &rig, &[share.path(), &good]);
    share.set(Silent::Everything);
    let named = format!("{:?} does not answer", share.path());
    let run = |words: &[&str]| {
        let mut command = Program::start(program().args(words).arg("--config").arg(&config));
        let stat = format!("/proc/{}/stat", command.id());
        until("the program ends", || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z ")));
        share.set(Silent::Nothing);
        let code = command.wait().code();
        share.set(Silent::Everything);
        (code, command.text())
    };
    let (code, text) = run(&["status"]);
    assert!(code == Some(69) && text.contains(&named) && text.contains(&session.name()), "{code:?} {text}");
    let (code, text) = run(&["check", "--offline"]);
    assert!(code == Some(1) && text.contains(&named.replace('"', "")), "{code:?} {text}");
    assert!(text.contains(&format!("{}: 1 session, 1 flag", good.display())), "{text}");
    assert!(text.contains("not running"), "{text}");
    let (code, text) = run(&["check", "--before-start"]);
    assert!(code == Some(0) && text.contains(&named.replace('"', "")), "{code:?} {text}");
    let (code, text) = run(&["scan", "--dry-run"]);
    assert!(code == Some(1) && text.contains(&named) && text.contains(&session.name()), "{code:?} {text}");
    let (code, text) = run(&["scan"]);
    assert!(code == Some(1) && text.contains(&named), "{code:?} {text}");
    assert!(text.contains(&format!("ok      {}", session.name())) && !session.is_flagged(), "{text}");
    share.set(Silent::Nothing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_behind_a_link_is_registered_while_another_data_root_answers_nothing() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (behind, good, disk) = (rig.beside("behind"), rig.root(), rig.beside("disk"));
    std::fs::create_dir_all(behind.join("data")).unwrap();
    std::fs::create_dir_all(&disk).unwrap();
    let Some(share) = Share::of(&behind) else { return };
    std::fs::create_dir_all(good.join("cortexlab/Subjects")).unwrap();
    std::os::unix::fs::symlink(&disk, good.join("cortexlab/Subjects/KS014")).unwrap();
    let session = flagged(&good, 1);
    share.set(Silent::Everything);
    // Not the share itself, whose path is known without asking it.
    let mut daemon = Daemon::start(&alyx, &[&share.path().join("data"), &good]);
    daemon.registered(&[&session]).await;
    assert!(disk.join("2024-05-01/001/alf").exists());
    daemon.stop().await;
}

/// Whether a link leads into the other data root cannot be asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_leads_nowhere_allowed_is_refused_while_another_data_root_answers_nothing() {
    let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
    let (behind, good, disk) = (rig.beside("behind"), rig.root(), rig.beside("disk"));
    std::fs::create_dir_all(behind.join("data")).unwrap();
    std::fs::create_dir_all(&disk).unwrap();
    std::fs::write(disk.join("wheel.position.npy"), "abc").unwrap();
    let Some(share) = Share::of(&behind) else { return };
    let session = flagged(&good, 1);
    std::os::unix::fs::symlink(disk.join("wheel.position.npy"), session.folder.join("wheel.position.npy"))
        .unwrap();
    share.set(Silent::Everything);
    let daemon = Daemon::start(&alyx, &[&share.path().join("data"), &good]);
    let refused = async {
        let is_told = |status: Status| {
            status.sessions.iter().any(|session| {
                session.error.as_ref().is_some_and(|error| error.contains("wheel.position.npy"))
            })
        };
        while !is_told(daemon.status().await) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(AT_MOST, refused).await.expect("the link is refused");
    assert!(session.is_flagged());
    daemon.stop().await;
}
