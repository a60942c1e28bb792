//! The dispatcher without tokio: events and moments in, effects out.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::events::Notification;
use super::pauses::LoginRefused;
use super::*;
use crate::daemon::messages::{Answer, Change, Command, Request};
use crate::daemon::queue::{Job, Outcome};
use crate::daemon::run_loop::credentials::{CredentialCheck, CredentialSource};
use crate::daemon::run_loop::late_look::{EndedLook, Look, LookResult};
use crate::daemon::run_loop::worker::{Attempt, AttemptResult};
use crate::daemon::tree::root::FolderStamp;
use crate::daemon::watch::{RootOptions, WatchMode};
use crate::ledger::{Acknowledged, LookChange};
use alf::SessionPath;
use alyx_client::{Client, ClientOptions, Credentials, Endpoint};
use alyx_registration::flag::{FlagFile, FlagStamp};
use alyx_registration::{Error, FlaggedOptions, Gap, QuietRules, RegistrationOptions, SessionSnapshot};

const SETTLE: Duration = Duration::from_secs(2);
const ONE: &str = "KS014/2024-05-01/001";
const OTHER: &str = "KS014/2024-05-01/002";

fn flag(session: &str, number: u64) -> FlagFile {
    let path = PathBuf::from("/data").join(session).join("create_me.flag");
    // Less than a day old: only one test is about stale flags.
    let mtime_ns = Timestamp::from_second(1_700_000_000).unwrap().as_nanosecond();
    FlagFile { path, stamp: FlagStamp { device: 1, inode: number, size: 0, mtime_ns, ctime_ns: 0 } }
}

fn client() -> RegistrationClient {
    let login = Credentials::Token { username: None, token: "t".into() };
    let alyx = Client::new(ClientOptions::new("http://127.0.0.1:9", login)).unwrap();
    RegistrationClient::new(alyx, RegistrationOptions::default())
}

fn options() -> Options {
    let root = RootOptions { path: "/data".into(), mode: WatchMode::Poll, require_marker: None };
    let quiet = QuietRules { settle: SETTLE, ..QuietRules::default() };
    let flagged = FlaggedOptions { quiet, ..FlaggedOptions::default() };
    Options { roots: vec![root], flagged, ..Options::default() }
}

fn unreachable(connected: bool) -> alyx_client::Error {
    let (url, reason) = ("http://127.0.0.1:9".to_owned(), "refused".to_owned());
    alyx_client::Error::Unreachable { url, reason, maybe_done: false, connected }
}

fn login_refused() -> Error {
    let (url, reason) = ("http://127.0.0.1:9".to_owned(), "no".to_owned());
    Error::Alyx(alyx_client::Error::Login { url, username: None, reason, advice: "" })
}

fn subject_missing() -> Error {
    Error::Missing(vec![MissingName {
        endpoint: Endpoint::Subjects,
        name: "KS014".into(),
        near: Vec::new(),
        from: None,
    }])
}

/// A dispatcher, and a clock set by hand.
struct World {
    dispatcher: Dispatcher,
    now: Moment,
}

impl World {
    fn new() -> Self {
        let now = Moment { instant: Instant::now(), wall: Timestamp::from_second(1_700_000_000).unwrap() };
        Self { dispatcher: Dispatcher::new(client(), options(), || 0.5, now), now }
    }

    fn wait(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.wall += time;
    }

    /// Handles an event. The next wake-up is always in the future.
    fn handle(&mut self, event: Event) -> Vec<Effect> {
        let effects = self.dispatcher.handle(event, self.now);
        assert!(self.dispatcher.next_wake().is_none_or(|wake| wake > self.now.instant), "a busy loop");
        effects
    }

    /// Advances to the next wake-up, and handles it.
    fn wake(&mut self) -> Vec<Effect> {
        let wake = self.dispatcher.next_wake().expect("nothing to wait for");
        self.wait(wake - self.now.instant);
        self.handle(Event::Tick)
    }

    /// Advances until a job or a query starts.
    fn wake_until_something_begins(&mut self) -> Vec<Effect> {
        for _ in 0..10_000 {
            let mut effects = self.wake();
            effects.retain(|effect| matches!(effect, Effect::Start { .. } | Effect::Query(..)));
            if !effects.is_empty() {
                return effects;
            }
        }
        panic!("nothing ever begins");
    }

    fn see(&mut self, flag: FlagFile) -> Vec<Effect> {
        self.handle(Event::Watch(WatchEvent::Flag(flag)))
    }

    /// Sees a new flag and starts its first attempt.
    fn start(&mut self, session: &str) -> Job {
        self.see(flag(session, 1));
        self.wait(SETTLE);
        let effects = self.handle(Event::Tick);
        let [job] = &started(&effects)[..] else { panic!("not started: {effects:?}") };
        job.clone()
    }

    fn end(&mut self, job: &Job, result: AttemptResult) -> Vec<Effect> {
        let generation = self.dispatcher.config.generation;
        self.end_in(generation, job, result)
    }

    fn end_in(&mut self, generation: u64, job: &Job, result: AttemptResult) -> Vec<Effect> {
        let (flag, session) = (job.flag.path.clone(), job.session_name());
        let attempt =
            Attempt { flag, session, attempt: job.attempt, took: Duration::ZERO, folder: None, result };
        self.done_in(generation, TaskResult::Attempt(Box::new(attempt)))
    }

    fn fail(&mut self, job: &Job, error: Error) -> Vec<Effect> {
        self.end(job, AttemptResult::Failed(error))
    }

    fn done(&mut self, result: TaskResult) -> Vec<Effect> {
        let generation = self.dispatcher.config.generation;
        self.done_in(generation, result)
    }

    fn done_in(&mut self, generation: u64, result: TaskResult) -> Vec<Effect> {
        self.handle(Event::TaskDone(Completed { generation, result }))
    }

    fn checked(&mut self, check: CredentialCheck) -> Vec<Effect> {
        let source = CredentialSource::new(None, Arc::new(|| Err(String::new())));
        self.done(TaskResult::CredentialsChecked(Box::new(source), check))
    }

    fn change(&mut self, options: Options) -> Vec<Effect> {
        let change = Change { client: client(), options, what: "a test".into() };
        self.handle(Event::Command(Command::Change(Box::new(change))))
    }

    fn is_stuck(&self) -> bool {
        self.dispatcher.is_due_but_not_started(self.now.instant)
    }

    /// The problems on disk that the status shows.
    fn obstacles(&mut self) -> Vec<crate::daemon::status::ObstacleStatus> {
        let effects = self.handle(Event::Request(1, Request::Status));
        let answer = effects.into_iter().find_map(|effect| match effect {
            Effect::Answer(1, Answer::Status(status)) => Some(status.obstacles),
            _ => None,
        });
        answer.expect("a status")
    }
}

fn started(effects: &[Effect]) -> Vec<Job> {
    let job = |effect: &Effect| match effect {
        Effect::Start { job, .. } => Some(job.clone()),
        _ => None,
    };
    effects.iter().filter_map(job).collect()
}

fn names(effects: &[Effect]) -> Vec<String> {
    started(effects).iter().map(Job::session_name).collect()
}

fn queries(effects: &[Effect]) -> Vec<Query> {
    let query = |effect: &Effect| match effect {
        Effect::Query(_, query) => Some(query.clone()),
        _ => None,
    };
    effects.iter().filter_map(query).collect()
}

/// The reported outcome of an attempt, and the wait before the next.
fn reported(effects: &[Effect]) -> (Outcome, Duration) {
    let report = effects.iter().find_map(|effect| match effect {
        Effect::Report(Report::Attempt { outcome, again_in, .. }) => {
            Some((*outcome, again_in.unwrap_or_default()))
        }
        _ => None,
    });
    report.unwrap_or_else(|| panic!("no attempt is reported: {effects:?}"))
}

#[test]
fn a_new_flag_starts_an_attempt_when_it_has_settled() {
    let mut world = World::new();
    assert!(started(&world.see(flag(ONE, 1))).is_empty());
    world.wait(SETTLE - Duration::from_millis(1));
    assert!(started(&world.handle(Event::Tick)).is_empty());
    assert_eq!(world.dispatcher.next_wake(), Some(world.now.instant + Duration::from_millis(1)));
    let effects = world.wake();
    assert_eq!(names(&effects), [ONE]);
    assert_eq!(started(&effects)[0].attempt, 1);
    // Seen again while it runs, and gone when it ends.
    assert!(started(&world.see(flag(ONE, 1))).is_empty());
    let job = started(&effects).remove(0);
    assert_eq!(reported(&world.end(&job, AttemptResult::Gone)).0, Outcome::Gone);
    assert_eq!(world.dispatcher.flags.queue.jobs().count(), 0);
}

#[test]
fn a_folder_that_is_not_a_session_is_named_by_its_path() {
    let mut world = World::new();
    let job = world.start("notes");
    assert_eq!(job.session_name(), "/data/notes");
    assert!(job.session.is_err());
}

#[test]
fn an_outage_pauses_all_jobs_and_its_end_resumes_them_in_order() {
    let mut world = World::new();
    let job = world.start(ONE);
    world.see(flag(OTHER, 1));
    let effects = world.fail(&job, unreachable(false).into());
    assert!(
        matches!(reported(&effects).0, Outcome::PutOff { .. }),
        "an outage is not a failure of a session"
    );
    // Nothing starts; the server is probed less and less often.
    let mut waits = Vec::new();
    for _ in 0..8 {
        let before = world.now.instant;
        let effects = world.wake_until_something_begins();
        assert_eq!((queries(&effects), names(&effects)), (vec![Query::Probe], Vec::new()));
        waits.push(world.now.instant - before);
        assert!(started(&world.done(TaskResult::Probed(Err(unreachable(false))))).is_empty());
    }
    assert!(waits[1] > waits[0] && waits[7] > waits[1], "{waits:?}");
    world.wake_until_something_begins();
    let effects = world.done(TaskResult::Probed(Ok(())));
    assert_eq!(names(&effects), [ONE, OTHER], "both continue, the one that was due first at the head");
    assert_eq!(started(&effects)[0].attempt, 1);
}

#[test]
fn only_an_answer_of_alyx_ends_an_outage() {
    let mut world = World::new();
    let (one, other, third) = (world.start(ONE), world.start(OTHER), world.start("KS014/2024-05-01/003"));
    world.fail(&one, unreachable(false).into());
    world.fail(&other, Error::Metadata(vec!["a broken sidecar".into()]));
    assert!(world.dispatcher.pauses.outage.is_active(), "the disk says nothing of Alyx");
    world.fail(&third, Error::NotConfirmed(vec!["a.b.npy".into()]));
    assert!(!world.dispatcher.pauses.outage.is_active());
}

#[test]
fn one_bad_answer_is_not_an_outage_and_three_cause_a_probe() {
    let mut world = World::new();
    let jobs = ["001", "002", "003"].map(|n| world.start(&format!("KS014/2024-05-01/{n}")));
    for job in &jobs[..2] {
        assert!(queries(&world.fail(job, unreachable(true).into())).is_empty());
    }
    assert_eq!(queries(&world.fail(&jobs[2], unreachable(true).into())), [Query::Probe]);
    assert!(!world.dispatcher.pauses.is_active());
    world.done(TaskResult::Probed(Err(unreachable(true))));
    assert!(world.dispatcher.pauses.is_active());
}

#[test]
fn touching_a_flag_during_an_outage_probes_at_once() {
    let mut world = World::new();
    let job = world.start(ONE);
    world.fail(&job, unreachable(false).into());
    for _ in 0..6 {
        world.wake_until_something_begins();
        world.done(TaskResult::Probed(Err(unreachable(false))));
    }
    let wait = world.dispatcher.pauses.probe_at.unwrap() - world.now.instant;
    assert!(wait > 5 * SETTLE, "{wait:?}");
    assert_eq!(queries(&world.see(flag(ONE, 2))), [Query::Probe]);
    // Not twice while the probe is running.
    assert!(queries(&world.see(flag(ONE, 3))).is_empty());
    world.wait(SETTLE);
    assert_eq!(names(&world.done(TaskResult::Probed(Ok(())))), [ONE]);
}

#[test]
fn a_refused_login_makes_all_wait_until_changed_credentials_are_accepted() {
    let mut world = World::new();
    let job = world.start(ONE);
    let effects = world.fail(&job, login_refused());
    assert_eq!(queries(&effects), [Query::CheckCredentials { force: false }], "it may have changed by now");
    world.see(flag(OTHER, 1));
    world.checked(CredentialCheck::Same);
    for _ in 0..3 {
        let effects = world.wake_until_something_begins();
        assert_eq!(queries(&effects), [Query::CheckCredentials { force: false }]);
        assert!(started(&effects).is_empty());
        world.checked(CredentialCheck::Refused("still no".into()));
    }
    world.wake_until_something_begins();
    world.wait(Duration::from_secs(3600));
    assert_eq!(names(&world.checked(CredentialCheck::Accepted)), [OTHER, ONE]);
}

#[test]
fn a_refused_login_is_tried_in_any_case_once_an_hour() {
    let mut world = World::new();
    let job = world.start(ONE);
    world.fail(&job, login_refused());
    world.checked(CredentialCheck::Same);
    let start = world.now.instant;
    loop {
        let effects = world.wake_until_something_begins();
        let force = queries(&effects) == [Query::CheckCredentials { force: true }];
        world.checked(CredentialCheck::Same);
        if force {
            break;
        }
    }
    assert_eq!(world.now.instant - start, world.dispatcher.config.options.permanent);
}

#[test]
fn touching_a_flag_while_the_login_is_refused_tries_it_at_once() {
    let mut world = World::new();
    world.see(flag(ONE, 1));
    let later = world.now.instant + Duration::from_secs(86_400);
    let refused = LoginRefused { since: world.now.wall, check_at: Some(later), try_at: later };
    world.dispatcher.pauses.login_refused = Some(refused);
    assert_eq!(queries(&world.see(flag(ONE, 2))), [Query::CheckCredentials { force: true }]);
    // A check is already running: once more when it has ended.
    world.dispatcher.pauses.login_refused = Some(LoginRefused { check_at: None, ..refused });
    assert!(queries(&world.see(flag(ONE, 3))).is_empty());
    assert_eq!(queries(&world.checked(CredentialCheck::Same)), [Query::CheckCredentials { force: true }]);
}

#[test]
fn failures_back_off_longer_each_time_until_a_touch() {
    let mut world = World::new();
    let mut job = world.start(ONE);
    let mut waits = Vec::new();
    for attempt in 1..=9 {
        assert_eq!(job.attempt, attempt);
        let vanished = Error::Vanished { path: "/data/x".into() };
        let (outcome, wait) = reported(&world.fail(&job, vanished));
        assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
        waits.push(wait);
        let before = world.now.instant;
        job = started(&world.wake_until_something_begins()).remove(0);
        assert_eq!(world.now.instant - before, wait);
    }
    assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]) && waits[0] < waits[3], "{waits:?}");
    assert!(waits.iter().all(|wait| *wait <= world.dispatcher.config.options.retry.max()), "{waits:?}");
    world.fail(&job, Error::Vanished { path: "/data/x".into() });
    world.see(flag(ONE, 2));
    world.wait(SETTLE);
    assert_eq!(started(&world.handle(Event::Tick))[0].attempt, 1);
}

#[test]
fn a_session_that_waits_for_the_request_of_another_program_is_tried_again_without_failures_until_it_may_go_on()
 {
    let mut world = World::new();
    let mut job = world.start(ONE);
    let mut left = Duration::from_secs(3600);
    let mut waits = Vec::new();
    while !left.is_zero() {
        let doing = format!("creating session {ONE}");
        let (outcome, wait) = reported(&world.fail(&job, Error::SentElsewhere { doing, left }));
        assert!(matches!(outcome, Outcome::PutOff { .. }) && wait <= left, "{outcome:?}, {left:?}");
        left -= wait;
        waits.push(wait);
        job = started(&world.wake_until_something_begins()).remove(0);
        assert_eq!(job.attempt, 1);
    }
    // With growing delays, and at the end as soon as it may go on.
    assert!(waits.len() < 10 && waits[0] < waits[2], "{waits:?}");
}

#[test]
fn a_session_that_needs_attention_waits_an_hour_or_until_alyx_knows_the_name() {
    let mut world = World::new();
    let job = world.start(ONE);
    let effects = world.fail(&job, subject_missing());
    let (outcome, wait) = reported(&effects);
    assert!(matches!(outcome, Outcome::NeedsAttention { .. }), "{outcome:?}");
    assert_eq!(wait, world.dispatcher.config.options.permanent);
    let is_row = |effect: &Effect| matches!(effect, Effect::Write(LedgerEntry::Outcome(_, Some(_))));
    assert!(effects.iter().any(is_row), "{effects:?}");
    let missing = vec![MissingName {
        endpoint: Endpoint::Subjects,
        name: "KS014".into(),
        near: Vec::new(),
        from: None,
    }];
    let effects = world.wake_until_something_begins();
    assert_eq!(queries(&effects), [Query::FindNames(missing.clone())]);
    assert!(names(&world.done(TaskResult::NamesFound(Vec::new()))).is_empty());
    world.wake_until_something_begins();
    let effects = world.done(TaskResult::NamesFound(missing));
    assert_eq!(started(&effects)[0].attempt, 2);
}

#[test]
fn sessions_that_lack_the_same_name_are_one_request_a_round() {
    let mut world = World::new();
    for path in [ONE, OTHER] {
        let job = world.start(path);
        world.fail(&job, subject_missing());
    }
    let missing = vec![MissingName {
        endpoint: Endpoint::Subjects,
        name: "KS014".into(),
        near: Vec::new(),
        from: None,
    }];
    for _ in 0..3 {
        let effects = world.wake_until_something_begins();
        assert_eq!(queries(&effects), [Query::FindNames(missing.clone())]);
        world.done(TaskResult::NamesFound(Vec::new()));
    }
    world.wake_until_something_begins();
    let effects = world.done(TaskResult::NamesFound(missing));
    assert_eq!(started(&effects).len(), 2);
}

#[test]
fn a_stale_event_with_the_old_stamp_does_not_cancel_a_newer_one() {
    let mut world = World::new();
    let job = world.start(ONE);
    world.see(flag(ONE, 2));
    world.see(flag(ONE, 1));
    world.wait(SETTLE);
    let effects = world.end(&job, AttemptResult::Gone);
    let [again] = &started(&effects)[..] else { panic!("the touched flag is lost: {effects:?}") };
    assert_eq!((again.flag.stamp.inode, again.attempt), (2, 1));
}

#[test]
fn a_flag_removed_during_its_failed_run_is_not_tried_again() {
    let mut world = World::new();
    let job = world.start(ONE);
    world.handle(Event::Watch(WatchEvent::Gone(job.flag.path.clone())));
    assert_eq!(reported(&world.fail(&job, subject_missing())).0, Outcome::Gone);
    assert_eq!(world.dispatcher.flags.queue.jobs().count(), 0);
}

#[test]
fn after_a_reload_late_results_of_the_earlier_generation_are_not_trusted() {
    let mut world = World::new();
    let job = world.start(ONE);
    let effects = world.change(Options { configuration: "new".into(), ..options() });
    assert!(matches!(effects[0], Effect::Reconfigure { earlier_workers: 2 }), "{effects:?}");
    // The refusal concerns the earlier login, and is not a failure.
    let effects = world.end_in(0, &job, AttemptResult::Failed(login_refused()));
    assert!(matches!(reported(&effects).0, Outcome::PutOff { .. }));
    assert!(!world.dispatcher.pauses.is_active());
    let generation = |effect: &Effect| matches!(effect, Effect::Start { generation: 1, .. });
    assert!(effects.iter().any(generation), "{effects:?}");
    // The same for the result of a probe.
    let job = started(&effects).remove(0);
    world.fail(&job, unreachable(false).into());
    world.wake_until_something_begins();
    assert_eq!(queries(&world.change(options())), [Query::Probe]);
    assert!(started(&world.done_in(1, TaskResult::Probed(Ok(())))).is_empty());
    assert!(world.dispatcher.pauses.is_active());
    assert_eq!(names(&world.done_in(2, TaskResult::Probed(Ok(())))), [ONE]);
}

#[test]
fn a_reload_with_other_roots_watches_them_and_removes_flags_of_the_old_ones() {
    let mut world = World::new();
    let job = world.start(ONE);
    world.see(flag(OTHER, 1));
    let effects = world.change(Options { roots: Vec::new(), ..options() });
    let rewatched = effects.iter().find_map(|effect| match effect {
        Effect::Rewatch(known) => Some(known.clone()),
        _ => None,
    });
    assert_eq!(rewatched, Some(vec![job.flag.path.clone()]), "the running one leaves when it ends");
    let effects = world.end_in(0, &job, AttemptResult::Failed(subject_missing()));
    assert_eq!(reported(&effects).0, Outcome::Gone);
}

#[test]
fn requests_are_answered_under_their_number() {
    let mut world = World::new();
    let job = world.start(ONE);
    world.fail(&job, subject_missing());
    let effects = world.handle(Event::Request(7, Request::Status));
    let Some(Effect::Answer(7, Answer::Status(status))) = effects.first() else { panic!("{effects:?}") };
    assert_eq!((status.sessions.len(), status.sessions[0].failures), (1, 1));
    let effects = world.handle(Event::Request(8, Request::Retry { session: Some(ONE.into()) }));
    assert!(matches!(effects[0], Effect::Answer(8, Answer::Done(1))), "{effects:?}");
    assert_eq!(started(&effects)[0].attempt, 2);
    let effects = world.handle(Event::Request(9, Request::Forget { session: ONE.into() }));
    assert!(matches!(effects[0], Effect::Answer(9, Answer::Refused(_))), "there is no ledger: {effects:?}");
}

#[test]
fn the_flag_of_a_forgotten_session_is_tried_at_once_as_a_new_one() {
    let mut world = World::new();
    let job = world.start(ONE);
    world.fail(&job, subject_missing());
    let effects = world.handle(Event::Request(1, Request::Forget { session: ONE.into() }));
    let jobs = started(&effects);
    assert_eq!(jobs.iter().map(|job| job.attempt).collect::<Vec<_>>(), [1], "{effects:?}");
}

#[test]
fn nothing_starts_after_the_stop_and_results_are_still_recorded() {
    let mut world = World::new();
    let job = world.start(ONE);
    world.see(flag(OTHER, 1));
    world.dispatcher.stop();
    world.wait(SETTLE);
    let effects = world.dispatcher.handle(
        Event::TaskDone(Completed {
            generation: 0,
            result: TaskResult::Attempt(Box::new(Attempt {
                flag: job.flag.path.clone(),
                session: job.session_name(),
                attempt: 1,
                took: Duration::ZERO,
                folder: None,
                result: AttemptResult::Failed(subject_missing()),
            })),
        }),
        world.now,
    );
    assert!(matches!(reported(&effects).0, Outcome::NeedsAttention { .. }));
    assert!(started(&effects).is_empty());
}

#[test]
fn systemd_is_notified_after_the_first_scan_and_pinged_while_the_loop_turns() {
    let mut world = World::new();
    world.dispatcher.notify_systemd(Some(Duration::from_secs(30)), world.now);
    let is_ready = |effect: &Effect| matches!(effect, Effect::Notify(Notification::Ready(_)));
    let pings = |effects: &[Effect]| {
        effects.iter().filter(|effect| matches!(effect, Effect::Notify(Notification::Alive))).count()
    };
    let effects = world.handle(Event::Tick);
    assert!(!effects.iter().any(is_ready) && pings(&effects) == 1, "{effects:?}");
    let summary = ScanSummary {
        root: "/data".into(),
        reason: ScanReason::Start,
        flags: 0,
        sessions: 0,
        folders: 1,
        watched: 0,
        took: Duration::ZERO,
    };
    assert!(world.handle(Event::Watch(WatchEvent::Scanned(summary))).iter().any(is_ready));
    // A run that makes no progress for an hour.
    world.start(ONE);
    let start = world.now.instant;
    let mut sent = 0;
    while world.now.instant < start + Duration::from_secs(3600) {
        sent += pings(&world.wake());
    }
    assert!((355..365).contains(&sent), "{sent} pings");
}

#[test]
fn a_session_that_is_due_and_not_started_is_noticed() {
    let mut world = World::new();
    assert!(!world.is_stuck());
    world.see(flag(ONE, 1));
    world.wait(SETTLE);
    assert!(world.is_stuck());
    assert_eq!(names(&world.handle(Event::Tick)), [ONE]);
    assert!(!world.is_stuck());
}

#[test]
fn an_outage_without_a_probe_is_noticed() {
    let mut world = World::new();
    world.dispatcher.pauses.outage.failed(world.now.instant, true, None, 0.5);
    assert!(world.is_stuck());
    world.dispatcher.pauses.probe_at = Some(world.now.instant);
    assert!(!world.is_stuck());
    assert_eq!(queries(&world.handle(Event::Tick)), [Query::Probe]);
    assert!(!world.is_stuck());
}

#[test]
fn a_session_whose_files_never_come_to_rest_needs_attention_and_is_still_looked_at() {
    let mut world = World::new();
    let job = world.start(ONE);
    let changing = || Error::StillChanging {
        path: job.flag.session_folder().join("alf/rig.log"),
        wait: Duration::from_secs(1),
    };
    let effects = world.fail(&job, changing());
    assert!(matches!(reported(&effects).0, Outcome::RunAgain { .. }), "{effects:?}");
    let half = options().warn_after.unwrap() / 2;
    for expected_attention in [false, true] {
        world.now.instant += half;
        let effects = world.handle(Event::Tick);
        let job = started(&effects).remove(0);
        let effects = world.fail(&job, changing());
        let (outcome, again_in) = reported(&effects);
        assert_eq!(matches!(outcome, Outcome::NeedsAttention { .. }), expected_attention, "{outcome:?}");
        assert!(again_in < half, "{again_in:?}");
    }
    let status = world.handle(Event::Request(1, Request::Status));
    let Some(Effect::Answer(1, Answer::Status(status))) = status.first() else { panic!("{status:?}") };
    let error = status.sessions[0].error.as_deref().unwrap_or_default();
    assert!(error.contains("datasets.exclude: - \"alf/rig.log\""), "{error}");
}

#[test]
fn a_reload_that_skips_a_subject_removes_its_flags_and_one_that_does_not_any_more_finds_them() {
    let mut world = World::new();
    let job = world.start(ONE);
    world.fail(&job, Error::Internal("elsewhere".to_owned()));
    assert_eq!(world.dispatcher.flags.queue.jobs().count(), 1);
    let subject = ONE.split('/').next().unwrap().to_owned();
    world.change(Options { skip_subjects: vec![subject], ..options() });
    assert_eq!(world.dispatcher.flags.queue.jobs().count(), 0);
    let effects = world.change(options());
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Rewatch(_))), "{effects:?}");
}

#[test]
fn a_session_that_waited_for_files_does_not_wait_longer_because_they_have_come() {
    let mut world = World::new();
    let mut job = world.start(ONE);
    let wait = Duration::from_secs(1);
    let missing = || Error::Incomplete { missing: vec!["a.ap.bin".to_owned()], wait };
    let path = job.flag.session_folder().join("a.ap.bin");
    let changing = || Error::StillChanging { path: path.clone(), wait };
    for _ in 0..8 {
        let (_, again_in) = reported(&world.fail(&job, missing()));
        let status = world.handle(Event::Request(1, Request::Status));
        let Some(Effect::Answer(1, Answer::Status(status))) = status.first() else { panic!("{status:?}") };
        let error = status.sessions[0].error.as_deref().unwrap_or_default();
        assert!(error.contains("a.ap.bin"), "why it waits: {error:?}");
        world.now.instant += again_in;
        job = started(&world.handle(Event::Tick)).remove(0);
    }
    assert_eq!(reported(&world.fail(&job, changing())).1, wait);
    // A person who asks for a retry does not wait for what was before.
    for _ in 0..8 {
        let effects = world.handle(Event::Request(2, Request::Retry { session: Some(ONE.into()) }));
        job = started(&effects).remove(0);
        assert_eq!(reported(&world.fail(&job, changing())).1, wait);
    }
    // Something else holds it up.
    let effects = world.handle(Event::Request(3, Request::Retry { session: Some(ONE.into()) }));
    world.fail(&started(&effects).remove(0), Error::Internal("elsewhere".to_owned()));
    let status = world.handle(Event::Request(4, Request::Status));
    let Some(Effect::Answer(4, Answer::Status(status))) = status.first() else { panic!("{status:?}") };
    assert!(status.sessions[0].error.as_deref().is_some_and(|error| error.contains("elsewhere")));
}

#[test]
fn a_session_that_needs_attention_is_tried_again_when_its_folder_changes() {
    let mut world = World::new();
    let job = world.start(ONE);
    let folder = tempfile::tempdir().unwrap();
    let stamp = FolderStamp::load(folder.path());
    let attempt = Attempt {
        flag: job.flag.path.clone(),
        session: job.session_name(),
        attempt: job.attempt,
        took: Duration::ZERO,
        folder: stamp,
        result: AttemptResult::Failed(Error::Invalid("twins".into())),
    };
    world.done(TaskResult::Attempt(Box::new(attempt)));
    let mut checked = None;
    for _ in 0..10 {
        let effects = world.wake();
        checked = effects.into_iter().find_map(|effect| match effect {
            Effect::CheckFolders(_, root, folders) => Some((root, folders)),
            _ => None,
        });
        if checked.is_some() {
            break;
        }
    }
    let root = PathBuf::from("/data");
    assert_eq!(checked, Some((root.clone(), vec![(job.flag.path.clone(), stamp.unwrap())])));
    assert!(started(&world.done(TaskResult::FoldersChanged(root.clone(), Vec::new()))).is_empty());
    let effects = world.done(TaskResult::FoldersChanged(root, vec![job.flag.path.clone()]));
    assert_eq!(names(&effects), [ONE]);
}

// ---- one data root beside another

/// A dispatcher for the data roots `/a` and `/b`.
fn two_roots() -> World {
    let root = |path: &str| RootOptions { path: path.into(), mode: WatchMode::Poll, require_marker: None };
    let mut world = World::new();
    world.change(Options { roots: vec![root("/a"), root("/b")], ..options() });
    world
}

/// The flag of the session of this number in a data root.
fn flag_in(root: &str, number: u64) -> FlagFile {
    let path = PathBuf::from(format!("{root}/KS014/2024-05-01/{number:03}/create_me.flag"));
    FlagFile { path, ..flag(ONE, number) }
}

/// The started flags, each with the size from which it does not run.
fn places(effects: &[Effect]) -> Vec<(PathBuf, Option<u64>)> {
    let place = |effect: &Effect| match effect {
        Effect::Start { job, at_most, .. } => Some((job.flag.path.clone(), *at_most)),
        _ => None,
    };
    effects.iter().filter_map(place).collect()
}

#[test]
fn sessions_that_hang_in_one_data_root_leave_the_places_of_the_others_free() {
    let mut world = two_roots();
    for number in 1..=40 {
        world.see(flag_in("/a", number));
    }
    world.wait(SETTLE);
    let hanging = places(&world.handle(Event::Tick));
    assert_eq!(hanging.len(), 18, "{hanging:?}");
    assert!(started(&world.see(flag_in("/b", 1))).is_empty());
    world.see(flag_in("/b", 2));
    world.wait(SETTLE);
    let begun = places(&world.handle(Event::Tick));
    assert_eq!(begun, [(flag_in("/b", 1).path, None), (flag_in("/b", 2).path, None)]);
    assert!(!world.is_stuck());
}

#[test]
fn the_last_place_of_a_data_root_is_kept_for_a_small_session() {
    let mut world = two_roots();
    for number in 1..=20 {
        world.see(flag_in("/a", number));
    }
    world.wait(SETTLE);
    let begun = places(&world.handle(Event::Tick));
    assert_eq!(begun.len(), 18);
    assert!(begun[..17].iter().all(|(_, at_most)| at_most.is_none()));
    assert_eq!(begun[17], (flag_in("/a", 18).path, Some(1_000_000_000)));
    // Each turns out to be large, and makes way for the next.
    let job = |number| Job {
        flag: flag_in("/a", number),
        session: SessionPath::parse(flag_in("/a", number).session_folder()),
        attempt: 1,
    };
    for (large, next) in [(18, Some(19)), (19, Some(20)), (20, None)] {
        let begun = places(&world.end(&job(large), AttemptResult::TooLarge));
        assert_eq!(begun.first().map(|(path, _)| path.clone()), next.map(|next| flag_in("/a", next).path));
        assert!(!world.is_stuck());
    }
    // A small one has the place at once, and a large one waits for one of the others.
    world.see(flag_in("/a", 21));
    world.wait(SETTLE);
    let begun = places(&world.handle(Event::Tick));
    assert_eq!(begun, [(flag_in("/a", 21).path, Some(1_000_000_000))]);
    assert!(started(&world.end(&job(21), AttemptResult::Gone)).is_empty());
    let begun = places(&world.end(&job(1), AttemptResult::Gone));
    assert_eq!(begun, [(flag_in("/a", 18).path, None)]);
}

#[test]
fn a_disk_that_does_not_answer_is_shown_with_what_hangs_and_since_when_and_stops_no_ping() {
    let mut world = two_roots();
    world.dispatcher.notify_systemd(Some(Duration::from_secs(30)), world.now);
    let steps = world.dispatcher.steps();
    let (reading, listing) =
        (steps.begin("reading", "/a/KS014/x.npy".as_ref()), steps.begin("listing", "/b/KS014".as_ref()));
    // The steps have read the clock later than the world.
    world.wait(Duration::from_secs(59));
    world.handle(Event::Tick);
    assert!(world.obstacles().is_empty());
    drop(listing);
    let wake = world.dispatcher.next_wake().expect("a wake-up");
    assert!(wake <= world.now.instant + Duration::from_secs(10), "pings come every 10 s");
    world.wait(Duration::from_secs(3600));
    let effects = world.handle(Event::Tick);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Notify(Notification::Alive))));
    let obstacles = world.obstacles();
    assert_eq!(obstacles.len(), 1, "{obstacles:?}");
    assert_eq!(obstacles[0].root, "/a");
    assert!(obstacles[0].text.contains("reading \"/a/KS014/x.npy\" hangs"), "{}", obstacles[0].text);
    let since = world.now.wall.duration_since(obstacles[0].since.unwrap()).as_secs();
    assert!((3655..3660).contains(&since), "{since}");
    drop(reading);
    assert!(world.obstacles().is_empty());
}

#[test]
fn folders_are_looked_at_by_data_root_and_one_that_hangs_does_not_delay_the_other() {
    let mut world = two_roots();
    let folder = tempfile::tempdir().unwrap();
    let stamp = FolderStamp::load(folder.path());
    for root in ["/a", "/b"] {
        world.see(flag_in(root, 1));
    }
    world.wait(SETTLE);
    for job in started(&world.handle(Event::Tick)) {
        let attempt = Attempt {
            flag: job.flag.path.clone(),
            session: job.session_name(),
            attempt: 1,
            took: Duration::ZERO,
            folder: stamp,
            result: AttemptResult::Failed(Error::Invalid("twins".into())),
        };
        world.done(TaskResult::Attempt(Box::new(attempt)));
    }
    let mut next = |answered: &[&str]| -> Vec<PathBuf> {
        for root in answered {
            world.done(TaskResult::FoldersChanged(root.into(), Vec::new()));
        }
        for _ in 0..10 {
            let effects = world.wake();
            let roots = effects.into_iter().filter_map(|effect| match effect {
                Effect::CheckFolders(_, root, _) => Some(root),
                _ => None,
            });
            let roots: Vec<PathBuf> = roots.collect();
            if !roots.is_empty() {
                return roots;
            }
        }
        Vec::new()
    };
    assert_eq!(next(&[]), [PathBuf::from("/a"), "/b".into()]);
    assert_eq!(next(&["/b"]), [PathBuf::from("/b")]);
    assert_eq!(next(&["/b"]), [PathBuf::from("/b")]);
    assert_eq!(next(&["/a", "/b"]), [PathBuf::from("/a"), "/b".into()]);
}

// ---- looks for late files

const HOUR: Duration = Duration::from_secs(3600);

fn look_row(session: &str, due: Timestamp) -> LookRow {
    let folder = PathBuf::from("/data").join(session);
    LookRow { folder, session: session.to_owned(), eid: "e".to_owned(), done: 0, due }
}

/// A world in which looks at these sessions are due at these times.
fn with_looks(rows: Vec<LookRow>) -> World {
    let mut world = World::new();
    let now = world.now;
    world.dispatcher.config.options.flagged.register_files = true;
    world.dispatcher.restore(Restored { looks: rows, ..Restored::default() }, true, now);
    world
}

fn looks(effects: &[Effect]) -> Vec<Look> {
    let look = |effect: &Effect| match effect {
        Effect::Look(_, look) => Some(look.clone()),
        _ => None,
    };
    effects.iter().filter_map(look).collect()
}

impl World {
    /// Advances until a look begins, for at most this long.
    fn wake_until_a_look(&mut self, at_most: Duration) -> Option<Look> {
        let end = self.now.instant + at_most;
        while self.now.instant <= end {
            if let Some(look) = looks(&self.wake()).pop() {
                return Some(look);
            }
        }
        None
    }

    fn seen(&mut self, look: Look) -> Vec<Effect> {
        let result = LookResult::Seen { snapshot: SessionSnapshot::default(), late: None, registered: None };
        self.look_ended(look, result)
    }

    fn look_ended(&mut self, look: Look, result: LookResult) -> Vec<Effect> {
        let Look { row, is_last, .. } = look;
        self.done(TaskResult::Looked(Box::new(EndedLook { row, is_last, result })))
    }
}

#[test]
fn a_session_is_looked_at_six_times_within_about_a_week() {
    let mut world = with_looks(vec![look_row(ONE, Timestamp::from_second(1_700_000_600).unwrap())]);
    let begin = world.now.instant;
    let mut lasts = Vec::new();
    while let Some(look) = world.wake_until_a_look(24 * 7 * HOUR) {
        lasts.push(look.is_last);
        world.seen(look);
        if lasts.last() == Some(&true) {
            break;
        }
    }
    assert_eq!(lasts, [false, false, false, false, false, true]);
    let took = world.now.instant - begin;
    assert!(took >= 24 * 7 * HOUR && took < 24 * 9 * HOUR, "{took:?}");
    assert!(world.wake_until_a_look(24 * HOUR).is_none());
}

#[test]
fn a_data_root_has_one_look_at_a_time_and_none_while_its_sessions_run() {
    let due = Timestamp::from_second(1_700_000_000).unwrap();
    let mut world =
        with_looks(vec![look_row("KS014/2024-05-01/003", due), look_row("KS014/2024-05-01/004", due)]);
    let first = world.wake_until_a_look(HOUR).unwrap();
    assert!(world.wake_until_a_look(HOUR).is_none(), "two looks at once");
    // A session begins: the look ends, and is repeated when the session has ended.
    let job = world.start(ONE);
    assert!(first.stop.is_cancelled());
    assert_eq!(looks(&world.look_ended(first, LookResult::Stopped)).len(), 0);
    assert!(world.wake_until_a_look(HOUR).is_none(), "a look while a session runs");
    let effects = world.end(&job, AttemptResult::Gone);
    let [look] = &looks(&effects)[..] else { panic!("{effects:?}") };
    assert_eq!(looks(&world.seen(look.clone())).len(), 1);
}

#[test]
fn a_clock_that_was_set_makes_looks_neither_never_nor_all_at_once() {
    // The clock was a year ahead when they were planned.
    let mut world = with_looks(vec![look_row(ONE, Timestamp::from_second(1_731_536_000).unwrap())]);
    assert!(world.wake_until_a_look(HOUR).is_some(), "never");
    // It is a year ahead now.
    let due = Timestamp::from_second(1_668_464_000).unwrap();
    let rows: Vec<LookRow> = (1..100).map(|n| look_row(&format!("KS014/2024-05-01/{n:03}"), due)).collect();
    let mut world = with_looks(rows);
    let look = world.wake_until_a_look(HOUR).unwrap();
    // The next looks at it keep their distance, and are planned from now on.
    let folder = look.row.folder.clone();
    let effects = world.seen(look);
    let next = effects.iter().find_map(|effect| match effect {
        Effect::Write(LedgerEntry::Look(LookChange::Set(row, _))) if row.folder == folder => {
            Some(row.clone())
        }
        _ => None,
    });
    let next = next.unwrap();
    assert_eq!(next.done, 1);
    assert!(next.due.duration_since(world.now.wall) >= jiff::SignedDuration::from_mins(50), "{next:?}");
}

#[test]
fn a_look_waits_for_alyx_and_counts_when_its_folder_is_gone() {
    let due = Timestamp::from_second(1_700_000_000).unwrap();
    let mut world = with_looks(vec![look_row(ONE, due)]);
    let look = world.wake_until_a_look(HOUR).unwrap();
    world.look_ended(look, LookResult::Failed(unreachable(false).into()));
    assert!(world.dispatcher.pauses.away_since.is_some(), "it would not be in the log");
    world.done(TaskResult::Probed(Ok(())));
    let look = world.wake_until_a_look(2 * HOUR).unwrap();
    assert_eq!(look.row.done, 0, "it counts although Alyx was not asked");
    let gone = Error::Vanished { path: look.row.folder.clone() };
    let mut look = look;
    look.is_last = true;
    let effects = world.look_ended(look, LookResult::Failed(gone));
    let is_removed =
        |effect: &Effect| matches!(effect, Effect::Write(LedgerEntry::Look(LookChange::Remove(_))));
    assert!(effects.iter().any(is_removed), "{effects:?}");
    assert!(world.wake_until_a_look(24 * HOUR).is_none());
}

#[test]
fn a_flagged_session_is_not_looked_at_and_a_forgotten_one_neither() {
    let due = Timestamp::from_second(1_700_000_000).unwrap();
    let mut world = with_looks(vec![look_row(ONE, due)]);
    let job = world.start(ONE);
    world.end(&job, AttemptResult::Failed(subject_missing()));
    assert!(world.wake_until_a_look(HOUR / 2).is_none());
    world.handle(Event::Watch(WatchEvent::Gone(job.flag.path)));
    assert!(world.wake_until_a_look(HOUR).is_some());
    let mut world = with_looks(vec![look_row(ONE, due)]);
    world.handle(Event::Request(1, Request::Forget { session: ONE.to_owned() }));
    assert!(world.wake_until_a_look(24 * HOUR).is_none());
}

#[test]
fn gaps_that_keep_a_flag_can_be_acknowledged_and_it_is_tried_at_once() {
    let mut world = World::new();
    world.dispatcher.notify_systemd(Some(Duration::from_secs(30)), world.now);
    let job = world.start(ONE);
    world.fail(&job, Error::Gaps(Gap::NoFile));
    let line = |Dispatcher { flags, gaps, pauses, config, reporting, .. }: &Dispatcher| {
        reporting.status_line(flags.queue.counts(), gaps.open().count(), pauses, config)
    };
    let with_gaps = "0 waiting, 0 running, 1 needs attention; 1 session registered with gaps";
    assert_eq!(line(&world.dispatcher), with_gaps);
    let request = Request::Acknowledge(Acknowledged::Session(ONE.to_owned()));
    let effects = world.handle(Event::Request(1, request));
    let accepted = effects.iter().find_map(|effect| match effect {
        Effect::Start { accepted_gaps, .. } => Some(accepted_gaps.clone()),
        _ => None,
    });
    assert!(accepted.expect("it is tried at once").accept(&Gap::NoFile));
    assert_eq!(line(&world.dispatcher), "0 waiting, 1 running, 0 need attention");
}
