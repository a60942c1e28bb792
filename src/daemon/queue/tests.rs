use crate::daemon::queue::*;
use proptest::prelude::*;
use std::collections::HashMap;
use std::time::Duration;

fn stamp(number: u64) -> FlagStamp {
    FlagStamp { device: 1, inode: number, size: 0, mtime_ns: 0, ctime_ns: 0 }
}

fn flag(session: &str, number: u64) -> FlagFile {
    FlagFile { path: Path::new("/data").join(session).join("create_me.flag"), stamp: stamp(number) }
}

fn path(session: &str) -> PathBuf {
    flag(session, 0).path
}

/// Every data root has room.
fn all(_: &Path) -> Room {
    Room::Free
}

/// A queue, and a clock set by hand, in seconds.
struct World {
    queue: Queue<()>,
    start: Instant,
}

impl World {
    fn new() -> Self {
        Self { queue: Queue::default(), start: Instant::now() }
    }
    fn at(&self, second: u64) -> Instant {
        self.start + Duration::from_secs(second)
    }
    fn see(&mut self, session: &str, number: u64, second: u64) -> Enqueued {
        let at = self.at(second);
        self.queue.enqueue(flag(session, number), at, || ())
    }
    fn take(&mut self, second: u64) -> Option<(String, u32)> {
        let job = self.queue.take_due(all, self.at(second))?;
        let session = job.flag.session_folder().strip_prefix("/data").unwrap();
        Some((session.to_str().unwrap().to_owned(), job.attempt))
    }
    fn fail(&mut self, session: &str, second: u64) {
        let at = self.at(second);
        self.queue.finish(&path(session), Outcome::Retry { at });
    }
}

fn is(session: &str, attempt: u32) -> Option<(String, u32)> {
    Some((session.to_owned(), attempt))
}

#[test]
fn a_flag_that_is_seen_many_times_runs_once() {
    let mut world = World::new();
    assert_eq!(world.see("a", 1, 0), Enqueued::New);
    assert_eq!(world.see("a", 1, 0), Enqueued::Known);
    assert_eq!(world.take(0), is("a", 1));
    assert_eq!(world.see("a", 1, 1), Enqueued::Known);
    assert_eq!(world.take(9), None);
    world.queue.finish(&path("a"), Outcome::Done);
    assert_eq!(world.queue.counts(), Counts::default());
}

#[test]
fn the_earliest_due_runs_first_and_ties_run_in_order_of_arrival() {
    let mut world = World::new();
    let late = world.at(5);
    world.queue.enqueue(flag("late", 1), late, || ());
    for session in ["c", "a", "b"] {
        world.see(session, 1, 1);
    }
    assert_eq!(world.queue.next_due(all), Some(world.at(1)));
    assert_eq!(world.take(0), None);
    let order: Vec<_> = std::iter::from_fn(|| world.take(9)).map(|(session, _)| session).collect();
    assert_eq!(order, ["c", "a", "b", "late"]);
    assert_eq!(world.queue.next_due(all), None);
}

#[test]
fn a_rescan_does_not_shorten_a_back_off() {
    let mut world = World::new();
    world.see("a", 1, 0);
    world.take(0);
    world.fail("a", 100);
    assert_eq!(world.see("a", 1, 10), Enqueued::Known);
    assert_eq!(world.queue.next_due(all), Some(world.at(100)));
    assert_eq!(world.take(100), is("a", 2));
}

#[test]
fn touching_a_flag_that_needs_attention_runs_it_at_once_and_forgets_its_failures() {
    let mut world = World::new();
    world.see("a", 1, 0);
    world.take(0);
    let at = world.at(9999);
    world.queue.finish(&path("a"), Outcome::NeedsAttention { at });
    assert_eq!(world.queue.counts(), Counts { waiting: 1, needs_attention: 1, ..Counts::default() });
    assert_eq!(world.see("a", 2, 10), Enqueued::Touched);
    assert_eq!(world.queue.counts(), Counts { waiting: 1, ..Counts::default() });
    assert_eq!(world.take(10), is("a", 1));
}

#[test]
fn a_flag_touched_while_its_session_runs_makes_it_run_again_whatever_the_outcome() {
    for (number, outcome) in [Outcome::Done, Outcome::Gone].into_iter().enumerate() {
        let mut world = World::new();
        world.see("a", 1, 0);
        world.take(0);
        assert_eq!(world.see("a", 2, 3), Enqueued::RunsAgain, "{number}");
        assert_eq!(world.see("a", 2, 4), Enqueued::Known);
        assert_eq!(world.take(9), None, "it must not run twice at the same time");
        world.queue.finish(&path("a"), outcome);
        assert_eq!(world.take(3), is("a", 1));
    }
    let mut world = World::new();
    world.see("a", 1, 0);
    world.take(0);
    world.see("a", 2, 3);
    world.fail("a", 9999);
    assert_eq!(world.take(3), is("a", 1));
}

#[test]
fn a_stale_event_with_the_old_stamp_does_not_cancel_a_newer_one() {
    let mut world = World::new();
    world.see("a", 1, 0);
    world.take(0);
    world.see("a", 2, 3);
    assert_eq!(world.see("a", 1, 4), Enqueued::Known);
    world.queue.finish(&path("a"), Outcome::Done);
    assert_eq!(world.take(9), is("a", 1));
}

#[test]
fn a_flag_that_changed_under_the_worker_runs_again_without_a_failure() {
    let mut world = World::new();
    world.see("a", 1, 0);
    world.take(0);
    let at = world.at(2);
    world.queue.finish(&path("a"), Outcome::RunAgain { at });
    assert_eq!(world.take(1), None);
    assert_eq!(world.take(2), is("a", 1));
}

#[test]
fn a_removed_flag_does_not_run() {
    let mut world = World::new();
    world.see("a", 1, 0);
    assert!(world.queue.remove(&path("a")).is_some());
    assert!(world.queue.remove(&path("a")).is_none());
    assert_eq!((world.take(9), world.queue.next_due(all)), (None, None));
}

#[test]
fn a_flag_put_back_after_its_removal_but_before_the_worker_reports_runs_again() {
    let mut world = World::new();
    world.see("a", 1, 0);
    world.take(0);
    world.queue.remove(&path("a"));
    world.see("a", 2, 1);
    world.queue.finish(&path("a"), Outcome::Done);
    assert_eq!(world.take(1), is("a", 1));
}

#[test]
fn a_flag_touched_and_then_removed_during_the_run_leaves_nothing_behind() {
    let mut world = World::new();
    world.see("a", 1, 0);
    world.take(0);
    world.see("a", 2, 1);
    world.queue.remove(&path("a"));
    world.queue.finish(&path("a"), Outcome::Gone);
    assert_eq!(world.queue.jobs().count(), 0);
}

#[test]
fn a_flag_removed_during_its_run_leaves_the_queue_whatever_the_outcome() {
    let mut world = World::new();
    for outcome in [Outcome::Retry { at: world.at(9) }, Outcome::NeedsAttention { at: world.at(9) }] {
        world.see("a", 1, 0);
        world.take(0);
        world.queue.remove(&path("a"));
        assert!(world.queue.is_removed(&path("a")));
        world.queue.finish(&path("a"), outcome);
        assert_eq!(world.queue.jobs().count(), 0);
    }
}

#[test]
fn a_flag_whose_disk_was_briefly_unmounted_is_tried_again() {
    let mut world = World::new();
    world.see("a", 1, 0);
    world.take(0);
    world.queue.remove(&path("a"));
    assert_eq!(world.see("a", 1, 1), Enqueued::Known);
    world.fail("a", 9);
    assert_eq!(world.take(9), is("a", 2));
}

#[test]
fn a_back_off_survives_a_restart_until_the_flag_is_touched() {
    let mut world = World::new();
    world.see("a", 1, 0);
    world.queue.restore(&path("a"), 3, true, world.at(100));
    assert_eq!(world.queue.counts().needs_attention, 1);
    assert_eq!(world.take(99), None);
    assert_eq!(world.see("a", 2, 50), Enqueued::Touched);
    assert_eq!(world.take(50), is("a", 1));
    world.fail("a", 60);
    assert!(world.queue.make_due_now(&path("a"), world.at(51)));
    assert_eq!(world.take(51), is("a", 2));
    assert!(!world.queue.make_due_now(&path("a"), world.at(51)));
}

#[test]
fn a_job_that_could_not_be_tried_does_not_count_as_a_failure() {
    let mut world = World::new();
    world.see("a", 1, 0);
    world.take(0);
    world.fail("a", 1);
    assert_eq!(world.take(1), is("a", 2));
    world.queue.finish(&path("a"), Outcome::PutOff { at: world.at(5) });
    assert_eq!(world.take(5), is("a", 2));
}

#[test]
fn retry_now_wakes_failed_jobs_and_leaves_settling_ones() {
    let mut world = World::new();
    world.see("failed", 1, 0);
    world.take(0);
    world.fail("failed", 9999);
    let (now, due) = (world.at(1), world.at(30));
    world.queue.enqueue(flag("settling", 1), due, || ());
    world.queue.retry_now(now);
    assert_eq!(world.take(1), is("failed", 2));
    assert_eq!(world.take(1), None);
}

#[test]
fn two_flags_of_one_session_do_not_run_at_the_same_time() {
    let mut world = World::new();
    let now = world.at(0);
    world.see("a", 1, 0);
    let other = FlagFile { path: "/data/a/extra.flag".into(), stamp: stamp(2) };
    world.queue.enqueue(other.clone(), now, || ());
    world.see("b", 1, 0);
    assert_eq!(world.take(0), is("a", 1));
    assert_eq!(world.take(0), is("b", 1));
    assert_eq!((world.take(0), world.queue.next_due(all)), (None, None));
    world.queue.finish(&path("a"), Outcome::Done);
    assert_eq!(world.queue.take_due(all, now).map(|job| job.flag), Some(other));
}

#[derive(Debug, Clone)]
enum Step {
    Put(usize),
    Touch(usize),
    Remove(usize),
    Notice(usize),
    Take,
    Finish(usize, u8),
    Wait(u64),
    RetryNow,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4usize).prop_map(Step::Put),
        (0..4usize).prop_map(Step::Touch),
        (0..4usize).prop_map(Step::Remove),
        (0..4usize).prop_map(Step::Notice),
        Just(Step::Take),
        (0..4usize, 0..5u8).prop_map(|(job, outcome)| Step::Finish(job, outcome)),
        (0..20u64).prop_map(Step::Wait),
        Just(Step::RetryNow),
    ]
}

proptest! {
    /// A disk with four sessions, a worker that follows the rules, and a watcher that notices late. In the end every
    /// flag is handled, and none ran twice at the same time.
    #[test]
    fn no_flag_is_lost_and_none_runs_twice_at_once(steps in prop::collection::vec(step(), 0..120)) {
        let names = ["a", "b", "c", "d"];
        let mut world = World::new();
        let mut clock = 0;
        let mut stamps = 0;
        let mut disk: HashMap<PathBuf, u64> = HashMap::new();
        // What the worker loaded when the run began.
        let mut running: HashMap<PathBuf, Option<u64>> = HashMap::new();

        for step in steps {
            match step {
                Step::Put(n) | Step::Touch(n) => {
                    stamps += 1;
                    if matches!(step, Step::Put(_)) || disk.contains_key(&path(names[n])) {
                        disk.insert(path(names[n]), stamps);
                    }
                }
                Step::Remove(n) => _ = disk.remove(&path(names[n])),
                Step::Notice(n) => match disk.get(&path(names[n])) {
                    Some(stamp) => _ = world.see(names[n], *stamp, clock),
                    None => _ = world.queue.remove(&path(names[n])),
                },
                Step::Take => {
                    if let Some(job) = world.queue.take_due(all, world.at(clock)) {
                        let loaded = disk.get(&job.flag.path).copied();
                        prop_assert!(running.insert(job.flag.path, loaded).is_none(), "twice at once");
                    }
                }
                Step::Finish(n, outcome) => {
                    if let Some(loaded) = running.remove(&path(names[n])) {
                        finish(&mut world, &mut disk, &path(names[n]), loaded, outcome, clock);
                    }
                }
                Step::Wait(seconds) => clock += seconds,
                Step::RetryNow => { let now = world.at(clock); world.queue.retry_now(now); }
            }
            let counts = world.queue.counts();
            prop_assert_eq!(counts.running, running.len());
            prop_assert_eq!(counts.waiting, world.queue.order.values().map(BTreeMap::len).sum::<usize>());
            prop_assert_eq!(counts.running + counts.waiting, world.queue.jobs().count());
        }

        for (path, loaded) in running.drain().collect::<Vec<_>>() {
            finish(&mut world, &mut disk, &path, loaded, 0, clock);
        }
        for (path, stamp) in disk.clone() {
            let at = world.at(clock);
            world.queue.enqueue(FlagFile { path, stamp: crate::daemon::queue::tests::stamp(stamp) }, at, || ());
        }
        while let Some(due) = world.queue.next_due(all) {
            let job = world.queue.take_due(all, due).expect("a job that is due can be taken");
            let loaded = disk.get(&job.flag.path).copied();
            finish(&mut world, &mut disk, &job.flag.path, loaded, 0, clock);
        }
        prop_assert!(disk.is_empty(), "lost: {:?}", disk);
        prop_assert_eq!(world.queue.jobs().count(), 0);
    }
}

/// What a worker does at the end of a run.
fn finish(
    world: &mut World,
    disk: &mut HashMap<PathBuf, u64>,
    path: &Path,
    loaded: Option<u64>,
    outcome: u8,
    clock: u64,
) {
    let at = world.at(clock + u64::from(outcome) * 7);
    let outcome = match (loaded, outcome) {
        (None, _) => Outcome::Gone,
        (_, 3) => Outcome::Retry { at },
        (_, 4) => Outcome::NeedsAttention { at },
        (Some(_), _) if !disk.contains_key(path) => Outcome::Gone,
        (Some(stamp), _) if disk[path] != stamp => Outcome::RunAgain { at },
        (Some(_), _) => {
            disk.remove(path);
            Outcome::Done
        }
    };
    world.queue.finish(path, outcome);
}

#[test]
fn each_data_root_has_an_order_of_its_own_and_a_full_one_holds_up_no_other() {
    let mut world = World::new();
    for (session, second) in [("a/one", 0), ("b/one", 1), ("a/two", 2)] {
        world.see(session, 1, second);
    }
    world.queue.set_roots(vec!["/data/a".into(), "/data/b".into()]);
    assert_eq!(world.queue.root_of(&path("a/one")), Path::new("/data/a"));
    let full =
        |full: &'static str| move |root: &Path| if root == Path::new(full) { Room::Full } else { Room::Free };
    let take = |world: &mut World, room: &dyn Fn(&Path) -> Room| {
        world.queue.take_due(room, world.at(9)).map(|job| job.flag.path)
    };
    assert_eq!(world.queue.next_due(full("/data/a")), Some(world.at(1)));
    assert_eq!(take(&mut world, &full("/data/a")), Some(path("b/one")));
    assert_eq!(take(&mut world, &full("/data/a")), None);
    // A large session does not take the place of a small one; once its flag is touched, it may be small.
    world.queue.set_large(&path("a/one"));
    assert_eq!(take(&mut world, &|_| Room::ForSmall), Some(path("a/two")));
    assert_eq!(world.queue.next_due(|_| Room::ForSmall), None);
    world.see("a/one", 2, 3);
    assert_eq!(take(&mut world, &|_| Room::ForSmall), Some(path("a/one")));
}
