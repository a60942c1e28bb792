//! Each step of a session whose disk does not answer costs its own data root only, and is named in the log, in the status
//! and on the page.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use alyx_registrar::daemon::{self, StatusClient};
use alyx_registrar::ledger::{Ledger, LookChange, LookRow};
use alyx_registrar::web;
use alyx_registration::{LookPlan, ProtectedPolicy};
use alyx_sandbox::{Fault, FaultRule, Gate};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;

use crate::common::locking_fs::{Share, Silent};
use crate::common::{Alyx, Rig, Session, http, until, with_files};
use crate::hanging_disks::{Daemon, flagged, in_share};

/// The warnings and errors of all tests that run in this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn listen() -> Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        let begin = || {
            let log = Self::default();
            let writer = log.clone();
            let lines = tracing_subscriber::fmt().with_max_level(LevelFilter::WARN).with_ansi(false);
            lines.with_writer(move || writer.clone()).init();
            log
        };
        LOG.get_or_init(begin).clone()
    }

    /// The line with all of these texts.
    fn line(&self, texts: &[&str]) -> Option<String> {
        let text = String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned();
        text.lines().find(|line| texts.iter().all(|text| line.contains(text))).map(str::to_owned)
    }
}

/// A data root that may hang, and one that does not.
struct World {
    alyx: Alyx,
    rig: Rig,
    behind: PathBuf,
    share: Share,
    log: Log,
}

impl World {
    /// `None` where there can be no such share.
    async fn new() -> Option<Self> {
        let (alyx, rig) = (Alyx::sandbox().await, Rig::new());
        let behind = rig.beside("behind");
        std::fs::create_dir_all(&behind).unwrap();
        let share = Share::of(&behind)?;
        Some(Self { alyx, rig, behind, share, log: Log::listen() })
    }

    /// A flagged session behind the share, under its name there.
    fn session(&self) -> Session {
        in_share(&self.share, &self.behind, &flagged(&self.behind, 1))
    }

    fn daemon(&self, set: impl FnOnce(&mut daemon::Options)) -> Daemon {
        Daemon::start_with(&self.alyx, &[self.share.path(), &self.rig.root()], set)
    }

    /// While this step hangs at a path, the other data root is served, and the step is named everywhere.
    async fn costs_its_own_root_only(&self, daemon: &mut Daemon, step: &str, at: &Path) {
        until("a call hangs", || self.share.waiting() > 0);
        daemon.registered(&[&flagged(&self.rig.root(), 101)]).await;
        let hanging = daemon.hanging(1).await;
        let named = format!("{step} {at:?} hangs");
        assert!(hanging[0].text.contains(&named), "{hanging:?}");
        assert_eq!(hanging[0].root, self.share.path().to_str().unwrap());
        let line = self.log.line(&["WARN", &named, &format!("root={}", self.share.path().display())]);
        assert!(line.is_some(), "not in the log: {named}");
        let page = page(&self.rig, &self.alyx, daemon.requests.clone()).await;
        assert!(page.contains(&format!("{step} &quot;{}&quot; hangs", at.display())), "{page}");
        self.share.set(Silent::Nothing);
        daemon.hanging(0).await;
    }
}

/// The status page.
async fn page(rig: &Rig, alyx: &Alyx, status_client: StatusClient) -> String {
    // Free again when this statement ends.
    let listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let zone = jiff::tz::TimeZone::UTC;
    let options = web::Options { listen, names: Vec::new(), state_dir: rig.beside("state"), zone };
    let metrics = Arc::new(web::Metrics::new(jiff::Timestamp::now()));
    let sources = web::Sources { status_client, client: alyx.client(), metrics };
    let shutdown = CancellationToken::new();
    let _stop = shutdown.clone().drop_guard();
    tokio::spawn(web::serve(options, sources, shutdown));
    until("the page is there", || std::net::TcpStream::connect(listen).is_ok());
    http().get(format!("http://{listen}/")).send().await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_whose_removal_hangs_costs_its_own_data_root_only_and_is_named() {
    let Some(world) = World::new().await else { return };
    let session = world.session();
    world.share.set(Silent::Removals);
    let mut daemon = world.daemon(|_| {});
    world.costs_its_own_root_only(&mut daemon, "removing", &session.folder.join("create_me.flag")).await;
    daemon.registered(&[&session]).await;
    daemon.stop().await;
    assert!(!session.is_flagged());
    assert_eq!(world.alyx.control().sessions().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_for_late_files_that_hangs_costs_its_own_data_root_only_and_is_named() {
    let Some(world) = World::new().await else { return };
    let session = world.session();
    let registered = session.register(&world.alyx.client(), &with_files()).await.unwrap();
    let ledger = Arc::new(Ledger::open(&world.rig.beside("state")));
    let folder = session.folder.clone();
    let (name, eid) = (session.path().to_string(), registered.eid.clone());
    let row = LookRow { folder: folder.clone(), session: name, eid, done: 0, due: jiff::Timestamp::now() };
    ledger.change_look(&LookChange::Set(row, Some(registered.snapshot.clone())));
    session.file("alf/clusters.depths.npy", "ab");
    world.share.set(Silent::Datasets);
    let mut daemon = world.daemon(|options| {
        options.ledger = Some(Arc::clone(&ledger));
        // The first is the last, which reads every folder.
        options.late.plan = LookPlan::within(Duration::from_secs(1));
    });
    world.costs_its_own_root_only(&mut daemon, "looking for late files in", &folder).await;
    let is_late = async {
        while daemon.requests.status(crate::common::AT_MOST).await.unwrap().gaps.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::common::AT_MOST, is_late).await.expect("the late file is found");
    daemon.stop().await;
}

/// All turns to talk to Alyx are taken when the share falls silent.
#[tokio::test(flavor = "multi_thread")]
async fn new_sessions_whose_share_hangs_after_they_were_looked_up_keep_no_other_from_alyx() {
    let Some(world) = World::new().await else { return };
    let own: Vec<Session> = (1..=3)
        .map(|number| {
            let session = flagged(&world.behind, number);
            session.file("alyx-session.yaml", "narrative: far away\n");
            in_share(&world.share, &world.behind, &session)
        })
        .collect();
    let gate = Gate::default();
    world.alyx.control().add_fault(FaultRule {
        method: Some("GET".into()),
        path_prefix: "/sessions".into(),
        times: 2,
        fault: Fault::Hold(gate.clone()),
    });
    let mut daemon = world.daemon(|options| options.workers = 2);
    for _ in 0..2 {
        gate.reached().await;
    }
    world.share.set(Silent::Everything);
    for _ in 0..2 {
        gate.open();
    }
    until("a call hangs", || world.share.waiting() > 0);
    daemon.registered(&[&flagged(&world.rig.root(), 101)]).await;
    world.share.set(Silent::Nothing);
    daemon.registered(&own.iter().collect::<Vec<_>>()).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_into_a_revision_folder_that_hangs_costs_its_own_data_root_only_and_is_named() {
    let Some(world) = World::new().await else { return };
    let session = world.session();
    session.register(&world.alyx.client(), &with_files()).await.unwrap();
    let dataset = world.alyx.datasets(&session).await[0].as_registered().id;
    assert!(world.alyx.control().protect_dataset(&dataset));
    session.file("alf/spikes.times.npy", "changed").flag();
    world.share.set(Silent::Moves);
    let mut daemon = world.daemon(|options| options.flagged.files.protected = ProtectedPolicy::Revise);
    world.costs_its_own_root_only(&mut daemon, "moving", &session.folder.join("alf/spikes.times.npy")).await;
    daemon.registered(&[&session]).await;
    daemon.stop().await;
    let paths = world.alyx.dataset_paths(&session).await;
    assert!(paths.iter().any(|path| path.starts_with("alf/#")), "{paths:?}");
    assert!(!session.folder.join("alf/spikes.times.npy").exists());
}
