//! The watcher with a simulated source of events, for what no test can make a kernel do on demand.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use notify::event::{Event, EventKind, Flag};
use tokio_util::sync::DropGuard;

use crate::daemon::tree::layout::DEFAULT_MAX_DEPTH;
use crate::daemon::watch::source::{EventSink, WatchError, Watches};
use crate::daemon::watch::*;

/// Only ends a test that would hang.
const TOO_LONG: Duration = Duration::from_secs(30);
const NEVER: Duration = Duration::from_secs(3600);
const OFTEN: Duration = Duration::from_millis(20);

/// A kernel that delivers only the events that the test sends.
#[derive(Default)]
struct Kernel {
    sinks: Mutex<Vec<EventSink>>,
    /// Folders that were watched since this was last cleared.
    added: Mutex<Vec<PathBuf>>,
    /// Folders whose watch was removed.
    removed: Mutex<Vec<PathBuf>>,
    /// Watches granted per source.
    limit: AtomicUsize,
    /// Watches that were refused.
    refused: AtomicUsize,
    /// Sources granted.
    sources: AtomicUsize,
    /// No source can be opened.
    closed: AtomicBool,
    /// No folder may be watched.
    denied: AtomicBool,
    /// The thread of the sources has ended.
    ended: AtomicBool,
}

struct Source {
    kernel: Arc<Kernel>,
    granted: usize,
}

impl Watches for Source {
    fn add(&mut self, folder: &Path) -> Result<(), WatchError> {
        if self.kernel.ended.load(Ordering::SeqCst) {
            return Err(WatchError::Ended);
        }
        if self.kernel.denied.load(Ordering::SeqCst) {
            return Err(WatchError::Folder);
        }
        if self.granted >= self.kernel.limit.load(Ordering::SeqCst) {
            self.kernel.refused.fetch_add(1, Ordering::SeqCst);
            return Err(WatchError::Limit);
        }
        self.granted += 1;
        self.kernel.added.lock().unwrap().push(folder.to_owned());
        Ok(())
    }

    fn remove(&mut self, folder: &Path) {
        self.kernel.removed.lock().unwrap().push(folder.to_owned());
    }
}

impl Kernel {
    fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit: limit.into(), sources: usize::MAX.into(), ..Self::default() })
    }

    fn make(self: &Arc<Self>) -> MakeWatches {
        let kernel = self.clone();
        Arc::new(move |sink| {
            let open = kernel.sinks.lock().unwrap().len();
            if kernel.closed.load(Ordering::SeqCst) || open >= kernel.sources.load(Ordering::SeqCst) {
                return Err(notify::Error::generic("too many open files"));
            }
            kernel.sinks.lock().unwrap().push(sink);
            Ok(Box::new(Source { kernel: kernel.clone(), granted: 0 }))
        })
    }

    /// Sends an event through the newest source.
    fn says(&self, event: notify::Result<Event>) {
        self.sinks.lock().unwrap().last().unwrap()(event);
    }

    /// The folders that were watched since the last call, sorted.
    fn added(&self) -> Vec<PathBuf> {
        let mut added = std::mem::take(&mut *self.added.lock().unwrap());
        added.sort();
        added
    }

    fn overflows(&self) {
        self.says(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
    }
}

struct World {
    disk: tempfile::TempDir,
    kernel: Arc<Kernel>,
    events: mpsc::UnboundedReceiver<WatchEvent>,
    rescan: mpsc::UnboundedSender<()>,
    _running: DropGuard,
}

impl World {
    fn begin(kernel: Arc<Kernel>, mode: WatchMode, poll_interval: Duration) -> Self {
        let disk = tempfile::tempdir().unwrap();
        for session in ["KS014/2024-05-01/001", "KS014/2024-05-01/002"] {
            fs::create_dir_all(disk.path().join(session)).unwrap();
        }
        Self::on(disk, kernel, mode, poll_interval)
    }

    fn on(disk: tempfile::TempDir, kernel: Arc<Kernel>, mode: WatchMode, poll_interval: Duration) -> Self {
        Self::with(disk, kernel.make(), kernel, mode, poll_interval)
    }

    fn with(
        disk: tempfile::TempDir,
        make: MakeWatches,
        kernel: Arc<Kernel>,
        mode: WatchMode,
        poll_interval: Duration,
    ) -> Self {
        let (events_in, events) = mpsc::unbounded_channel();
        let (rescan, commands) = mpsc::unbounded_channel();
        let shutdown = CancellationToken::new();
        let root = RootOptions { path: disk.path().to_owned(), mode, require_marker: None };
        let options = WatchOptions {
            flags: vec!["create_me.flag".into()],
            rescan_interval: NEVER,
            poll_interval,
            max_depth: DEFAULT_MAX_DEPTH,
        };
        tokio::spawn(watch_with(
            (make, Disks::default()),
            Vec::new(),
            vec![root],
            options,
            events_in,
            commands,
            shutdown.clone(),
        ));
        Self { disk, kernel, events, rescan, _running: shutdown.drop_guard() }
    }

    fn flag(&self, session: &str) -> PathBuf {
        let session = self.disk.path().join(session);
        fs::create_dir_all(&session).unwrap();
        fs::write(session.join("create_me.flag"), "").unwrap();
        session.join("create_me.flag")
    }

    async fn next(&mut self) -> WatchEvent {
        let event = tokio::time::timeout(TOO_LONG, self.events.recv()).await;
        event.expect("the watcher reports nothing").expect("the watcher has ended")
    }

    /// Waits for a scan with this reason; returns the problems and flags reported before it.
    async fn scanned(&mut self, reason: ScanReason) -> (ScanSummary, Vec<WatchProblem>, Vec<PathBuf>) {
        let (mut problems, mut flags) = (Vec::new(), Vec::new());
        loop {
            match self.next().await {
                WatchEvent::Scanned(summary) if summary.reason == reason => {
                    return (summary, problems, flags);
                }
                WatchEvent::Problem(problem) => problems.push(problem),
                WatchEvent::Flag(flag) => flags.push(flag.path),
                WatchEvent::Scanned(_) | WatchEvent::Gone(_) | WatchEvent::Obstacles { .. } => {}
            }
        }
    }
}

/// The root, the subject, the date, two sessions.
const FOLDERS: usize = 5;

#[tokio::test]
async fn flags_whose_events_were_lost_are_found_when_the_queue_overflows() {
    let mut world = World::begin(Kernel::new(99), WatchMode::Native, NEVER);
    world.scanned(ScanReason::Start).await;
    let known = world.flag("KS014/2024-05-01/001");
    let in_new_folder = world.flag("KS015/2024-05-01/001");
    world.kernel.overflows();
    let (summary, problems, mut flags) = world.scanned(ScanReason::EventsLost).await;
    flags.sort();
    assert_eq!(flags, [known, in_new_folder]);
    assert!(matches!(problems[..], [WatchProblem::EventsLost { .. }]), "{problems:?}");
    assert_eq!(summary.watched, FOLDERS + 3, "the new folders must have watches too");
}

#[tokio::test]
async fn a_storm_of_overflows_does_not_keep_the_watcher_scanning() {
    let mut world = World::begin(Kernel::new(99), WatchMode::Native, NEVER);
    world.scanned(ScanReason::Start).await;
    world.kernel.overflows();
    world.scanned(ScanReason::EventsLost).await;
    for _ in 0..100 {
        world.kernel.overflows();
    }
    world.rescan.send(()).unwrap();
    let next = loop {
        if let WatchEvent::Scanned(summary) = world.next().await {
            break summary.reason;
        }
    };
    assert_eq!(next, ScanReason::Command);
}

/// The real source drops a watch by path when it reads that the path was deleted, even if a new folder of that name
/// and inode has been watched since.
#[tokio::test]
async fn an_event_about_a_folder_renews_the_watches_of_all_that_is_in_it() {
    let mut world = World::begin(Kernel::new(99), WatchMode::Native, NEVER);
    world.scanned(ScanReason::Start).await;
    world.kernel.added();
    let date = world.disk.path().join("KS014/2024-05-01");
    let removed = EventKind::Remove(notify::event::RemoveKind::Folder);
    world.kernel.says(Ok(Event::new(removed).add_path(date.clone())));
    world.rescan.send(()).unwrap();
    world.scanned(ScanReason::Command).await;
    assert_eq!(world.kernel.added(), [date.clone(), date.join("001"), date.join("002")]);
}

#[tokio::test]
async fn a_rescan_gives_watches_to_folders_that_were_replaced_unnoticed() {
    let mut world = World::begin(Kernel::new(99), WatchMode::Native, NEVER);
    world.scanned(ScanReason::Start).await;
    world.kernel.added();
    for (folder, away) in [("KS014/2024-05-01/001", "KS014/aside"), ("KS014", "KS015")] {
        let (folder, away) = (world.disk.path().join(folder), world.disk.path().join(away));
        fs::rename(&folder, &away).unwrap();
        fs::create_dir(&folder).unwrap();
    }
    world.rescan.send(()).unwrap();
    let (summary, ..) = world.scanned(ScanReason::Command).await;
    let root = world.disk.path();
    let new =
        ["KS014", "KS015", "KS015/2024-05-01", "KS015/2024-05-01/001", "KS015/2024-05-01/002", "KS015/aside"];
    assert_eq!(world.kernel.added(), new.map(|folder| root.join(folder)));
    assert_eq!(summary.watched, 1 + new.len(), "folders that are gone are forgotten");
}

/// A root that is deleted and created again may have the inode of the old one, so it looks the same.
#[tokio::test]
async fn an_event_about_the_root_itself_sets_everything_up_again() {
    let mut world = World::begin(Kernel::new(99), WatchMode::Native, NEVER);
    world.scanned(ScanReason::Start).await;
    world.kernel.added();
    let removed = EventKind::Remove(notify::event::RemoveKind::Folder);
    world.kernel.says(Ok(Event::new(removed).add_path(world.disk.path().to_owned())));
    world.scanned(ScanReason::NewRoot).await;
    assert_eq!(world.kernel.added().len(), FOLDERS);
}

#[tokio::test]
async fn a_folder_that_may_be_watched_after_a_change_of_permissions_is_watched() {
    let kernel = Kernel::new(99);
    kernel.denied.store(true, Ordering::SeqCst);
    let mut world = World::begin(kernel, WatchMode::Native, NEVER);
    assert_eq!(world.scanned(ScanReason::Start).await.0.watched, 0);
    world.kernel.denied.store(false, Ordering::SeqCst);
    let flag = world.flag("KS014/2024-05-01/001");
    let session = flag.parent().unwrap().to_owned();
    let changed = EventKind::Modify(notify::event::ModifyKind::Metadata(notify::event::MetadataKind::Any));
    world.kernel.says(Ok(Event::new(changed).add_path(session.clone())));
    while !matches!(world.next().await, WatchEvent::Flag(found) if found.path == flag) {}
    assert_eq!(world.kernel.added(), [session]);
}

#[tokio::test]
async fn a_source_of_events_that_fails_is_replaced() {
    let mut world = World::begin(Kernel::new(99), WatchMode::Native, NEVER);
    world.scanned(ScanReason::Start).await;
    let lost = world.flag("KS014/2024-05-01/001");
    world.kernel.says(Err(notify::Error::generic("bad file descriptor")));
    let (_, problems, flags) = world.scanned(ScanReason::EventsLost).await;
    assert_eq!(flags, [lost]);
    assert!(problems[0].to_string().contains("bad file descriptor"), "{problems:?}");

    let flag = world.flag("KS014/2024-05-01/002");
    let kind = EventKind::Create(notify::event::CreateKind::File);
    world.kernel.says(Ok(Event::new(kind).add_path(flag.clone())));
    while !matches!(world.next().await, WatchEvent::Flag(found) if found.path == flag) {}
}

#[tokio::test]
async fn a_source_whose_thread_has_ended_is_replaced() {
    let kernel = Kernel::new(99);
    kernel.ended.store(true, Ordering::SeqCst);
    let mut world = World::begin(kernel, WatchMode::Native, NEVER);
    let (_, problems, _) = world.scanned(ScanReason::Start).await;
    assert!(matches!(problems[..], [WatchProblem::EventsFailed { .. }]), "{problems:?}");
    world.kernel.ended.store(false, Ordering::SeqCst);
    // The replacement may still meet the ended kernel; a rescan meets the working one.
    world.scanned(ScanReason::EventsLost).await;
    world.rescan.send(()).unwrap();
    assert_eq!(world.scanned(ScanReason::Command).await.0.watched, FOLDERS);
}

#[tokio::test]
async fn at_the_watch_limit_the_fix_is_reported_the_rest_polled_and_it_recovers() {
    let mut world = World::begin(Kernel::new(3), WatchMode::Native, OFTEN);
    let flag = world.flag("KS014/2024-05-01/003");
    let (_, mut problems, mut flags) = world.scanned(ScanReason::Start).await;
    let (summary, more_problems, more_flags) = world.scanned(ScanReason::Poll).await;
    problems.extend(more_problems);
    flags.extend(more_flags);
    assert!(flags.contains(&flag));
    assert_eq!((summary.watched, summary.folders), (3, FOLDERS + 1));

    let [problem @ WatchProblem::WatchLimit { folders, unwatched, .. }] = problems.as_slice() else {
        panic!("{problems:?}");
    };
    assert_eq!(*folders, 3 + *unwatched);
    let text = problem.to_string();
    assert!(text.contains("sysctl fs.inotify.max_user_watches="), "{text}");

    world.kernel.refused.store(0, Ordering::SeqCst);
    let (_, problems, _) = world.scanned(ScanReason::Poll).await;
    assert!(problems.is_empty(), "reported twice: {problems:?}");
    assert!(
        world.kernel.refused.load(Ordering::SeqCst) <= 2,
        "one request per traversal, not one per folder"
    );

    world.kernel.limit.store(99, Ordering::SeqCst);
    while world.scanned(ScanReason::Poll).await.0.watched < FOLDERS + 1 {}
}

#[tokio::test]
async fn without_any_source_of_events_the_root_is_polled_until_there_is_one() {
    let kernel = Kernel::new(99);
    kernel.closed.store(true, Ordering::SeqCst);
    let mut world = World::begin(kernel, WatchMode::Auto, OFTEN);
    let (_, problems, _) = world.scanned(ScanReason::Start).await;
    assert!(matches!(problems[..], [WatchProblem::NoEvents { .. }]), "{problems:?}");
    let flag = world.flag("KS014/2024-05-01/001");
    loop {
        match world.next().await {
            WatchEvent::Flag(found) if found.path == flag => break,
            WatchEvent::Problem(problem) => panic!("reported twice: {problem}"),
            _ => {}
        }
    }
    world.kernel.closed.store(false, Ordering::SeqCst);
    while world.scanned(ScanReason::Poll).await.0.watched < FOLDERS {}
}

#[tokio::test]
async fn a_polled_root_opens_no_source_of_events() {
    let mut world = World::begin(Kernel::new(99), WatchMode::Poll, OFTEN);
    world.scanned(ScanReason::Start).await;
    world.scanned(ScanReason::Poll).await;
    assert!(world.kernel.sinks.lock().unwrap().is_empty());
}

#[tokio::test]
async fn events_of_two_roots_are_kept_apart() {
    let disk = tempfile::tempdir().unwrap();
    let roots = ["one", "two"].map(|name| RootOptions {
        path: disk.path().join(name),
        mode: WatchMode::Native,
        require_marker: None,
    });
    fs::create_dir_all(roots[1].path.join("KS014")).unwrap();
    let (events_in, mut events) = mpsc::unbounded_channel();
    let (_rescan, commands) = mpsc::unbounded_channel();
    let shutdown = CancellationToken::new();
    let _running = shutdown.clone().drop_guard();
    let options = WatchOptions {
        flags: vec!["create_me.flag".into()],
        rescan_interval: NEVER,
        poll_interval: NEVER,
        max_depth: DEFAULT_MAX_DEPTH,
    };
    tokio::spawn(watch(roots.to_vec(), options, events_in, commands, shutdown));
    let (mut missing, mut scanned) = (None, None);
    while missing.is_none() || scanned.is_none() {
        match tokio::time::timeout(TOO_LONG, events.recv()).await.unwrap().unwrap() {
            WatchEvent::Problem(WatchProblem::RootMissing { root }) => missing = Some(root),
            WatchEvent::Scanned(summary) => scanned = Some(summary.root),
            WatchEvent::Obstacles { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((missing.as_ref(), scanned.as_ref()), (Some(&roots[0].path), Some(&roots[1].path)));
}

#[tokio::test]
async fn a_watcher_that_replaces_another_reports_flags_removed_in_between() {
    let folder = tempfile::tempdir().unwrap();
    let (root, away) = (folder.path().join("data"), folder.path().join("away"));
    let session = root.join("lab/Subjects/mouse/2024-05-01/001");
    std::fs::create_dir_all(&session).unwrap();
    std::fs::write(session.join("create_me.flag"), "").unwrap();
    let known = vec![
        session.join("create_me.flag"),
        session.join("other.flag"),
        away.join("lab/Subjects/mouse/2024-05-01/001/create_me.flag"),
    ];
    let roots = [&root, &away].map(|path| RootOptions {
        path: path.clone(),
        mode: WatchMode::Native,
        require_marker: None,
    });
    let options = WatchOptions {
        flags: vec!["create_me.flag".into(), "other.flag".into()],
        rescan_interval: NEVER,
        poll_interval: NEVER,
        max_depth: DEFAULT_MAX_DEPTH,
    };
    let (events_in, mut events) = mpsc::unbounded_channel();
    let (_rescan, commands) = mpsc::unbounded_channel();
    let shutdown = CancellationToken::new();
    let _stop = shutdown.clone().drop_guard();
    tokio::spawn(resume_watch(
        known.clone(),
        roots.to_vec(),
        options,
        Disks::default(),
        events_in,
        commands,
        shutdown,
    ));
    let (mut gone, mut there, mut scanned) = (BTreeSet::new(), BTreeSet::new(), false);
    while gone.len() < 2 || !scanned {
        match tokio::time::timeout(TOO_LONG, events.recv()).await.unwrap().unwrap() {
            WatchEvent::Gone(flag) => _ = gone.insert(flag),
            WatchEvent::Flag(flag) => _ = there.insert(flag.path),
            WatchEvent::Scanned(_) => scanned = true,
            WatchEvent::Problem(_) | WatchEvent::Obstacles { .. } => {}
        }
    }
    assert_eq!(gone, known[1..].iter().cloned().collect());
    assert_eq!(there, known[..1].iter().cloned().collect());
}

/// Enough dates for two sources.
const MANY_DATES: usize = 500;

fn many_dates(world: &tempfile::TempDir) -> usize {
    for number in 0..MANY_DATES {
        let (subject, month, day) = (number / 250, 1 + number % 250 / 25, 1 + number % 25);
        fs::create_dir_all(world.path().join(format!("S{subject}/2024-{month:02}-{day:02}/001"))).unwrap();
    }
    // Plus the root and the subjects.
    1 + MANY_DATES / 250 + 2 * MANY_DATES
}

#[tokio::test]
async fn a_large_root_is_watched_through_several_sources_and_all_their_events_arrive() {
    let disk = tempfile::tempdir().unwrap();
    let folders = many_dates(&disk);
    let mut world = World::on(disk, Kernel::new(9999), WatchMode::Native, NEVER);
    let (summary, problems, _) = world.scanned(ScanReason::Start).await;
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!((summary.watched, summary.folders, summary.sessions), (folders, folders, MANY_DATES));
    let added = world.kernel.added();
    assert_eq!(added.len(), folders);
    assert!(added.windows(2).all(|pair| pair[0] != pair[1]), "a folder was watched twice");

    let sources = world.kernel.sinks.lock().unwrap().len();
    assert_eq!(sources, 2);
    for source in 0..sources {
        let flag = world.flag(&format!("S{source}/2024-01-01/001"));
        let kind = EventKind::Create(notify::event::CreateKind::File);
        world.kernel.sinks.lock().unwrap()[source](Ok(Event::new(kind).add_path(flag.clone())));
        while !matches!(world.next().await, WatchEvent::Flag(found) if found.path == flag) {}
    }
    // An overflow of any source restarts all of them.
    world.kernel.sinks.lock().unwrap()[0](Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
    let (summary, ..) = world.scanned(ScanReason::EventsLost).await;
    assert_eq!((summary.watched, world.kernel.added().len()), (folders, folders));
}

#[tokio::test]
async fn at_the_watch_limit_of_a_large_root_no_folder_is_forgotten_in_the_count() {
    let disk = tempfile::tempdir().unwrap();
    let folders = many_dates(&disk);
    let mut world = World::on(disk, Kernel::new(300), WatchMode::Native, NEVER);
    let (summary, problems, _) = world.scanned(ScanReason::Start).await;
    let [WatchProblem::WatchLimit { folders: reported, unwatched, .. }] = problems[..] else {
        panic!("{problems:?}")
    };
    assert_eq!((reported, unwatched + summary.watched), (folders, folders));
    assert!(world.kernel.refused.load(Ordering::SeqCst) <= 2, "one question a source, not one a folder");
}

#[tokio::test]
async fn a_single_available_source_watches_everything() {
    let disk = tempfile::tempdir().unwrap();
    let folders = many_dates(&disk);
    let kernel = Kernel::new(9999);
    kernel.sources.store(1, Ordering::SeqCst);
    let mut world = World::on(disk, kernel, WatchMode::Native, NEVER);
    let (summary, problems, _) = world.scanned(ScanReason::Start).await;
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!((summary.watched, world.kernel.sinks.lock().unwrap().len()), (folders, 1));
}

#[tokio::test]
async fn watches_on_removed_folders_are_removed() {
    let mut world = World::begin(Kernel::new(99), WatchMode::Native, NEVER);
    world.scanned(ScanReason::Start).await;
    let subject = world.disk.path().join("KS014");
    let moved = world.disk.path().join("KS013");
    fs::rename(&subject, &moved).unwrap();
    let renamed = |mode| EventKind::Modify(notify::event::ModifyKind::Name(mode));
    world.kernel.added();
    world.kernel.says(Ok(Event::new(renamed(notify::event::RenameMode::From)).add_path(subject.clone())));
    world.kernel.says(Ok(Event::new(renamed(notify::event::RenameMode::To)).add_path(moved.clone())));
    world.rescan.send(()).unwrap();
    world.scanned(ScanReason::Command).await;
    // One watch may have both names: the old one must be removed before the new one is added.
    let removed = world.kernel.removed.lock().unwrap().clone();
    assert_eq!(removed.iter().filter(|folder| folder.starts_with(&subject)).count(), 4, "{removed:?}");
    assert!(!removed.iter().any(|folder| folder.starts_with(&moved)), "{removed:?}");
    let date = moved.join("2024-05-01");
    assert_eq!(world.kernel.added(), [moved, date.clone(), date.join("001"), date.join("002")]);
}

/// A kernel thread may die without notice.
#[tokio::test]
async fn a_source_that_dies_is_noticed_at_once_and_replaced() {
    let disk = tempfile::tempdir().unwrap();
    let session = disk.path().join("KS014/2024-05-01/001");
    fs::create_dir_all(&session).unwrap();
    let deadly = Arc::new(AtomicBool::new(false));
    let bullet = deadly.clone();
    let make: MakeWatches = Arc::new(move |sink| {
        let bullet = bullet.clone();
        source::inotify(Box::new(move |event| {
            assert!(!bullet.swap(false, Ordering::SeqCst), "for the sake of this test");
            sink(event);
        }))
    });
    let mut world = World::with(disk, make, Kernel::new(0), WatchMode::Native, NEVER);
    world.scanned(ScanReason::Start).await;
    deadly.store(true, Ordering::SeqCst);
    let lost = world.flag("KS014/2024-05-01/001");
    let (summary, problems, flags) = world.scanned(ScanReason::EventsLost).await;
    assert!(matches!(problems[..], [WatchProblem::EventsFailed { .. }]), "{problems:?}");
    assert_eq!((flags, summary.watched), (vec![lost], 4));
    let next = world.flag("KS014/2024-05-02/001");
    while !matches!(world.next().await, WatchEvent::Flag(found) if found.path == next) {}
}

/// notify panics in callers that use a watcher whose thread has ended.
#[test]
fn a_source_whose_thread_has_died_reports_its_end_and_can_be_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let (dies, died) = std::sync::mpsc::channel::<()>();
    let mut source = source::inotify(Box::new(move |_| {
        let _dies = &dies;
        panic!("for the sake of this test");
    }))
    .unwrap();
    source.add(folder.path()).unwrap();
    fs::write(folder.path().join("a"), "").unwrap();
    // The channel closes when the thread ends.
    assert!(died.recv_timeout(TOO_LONG).is_err());
    assert_eq!(source.add(folder.path()), Err(WatchError::Ended));
    source.remove(folder.path());
    drop(source);
}
