use crate::alerts::decision::*;
use crate::daemon::status::DaemonStatus;

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;

fn at(second: u64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second as i64).unwrap()
}

fn session(name: &str, state: SessionState, failures: u32) -> SessionStatus {
    SessionStatus {
        session: name.into(),
        flag: format!("/data/{name}/create_me.flag"),
        state,
        since: at(0),
        failures,
        next: None,
        error: None,
        kind: None,
        next_step: None,
        progress: None,
        flagged_at: None,
        stale: false,
    }
}

fn person(name: &str) -> SessionStatus {
    session(name, SessionState::NeedsAttention, 1)
}

fn status(sessions: Vec<SessionStatus>) -> Status {
    let daemon = DaemonStatus { alyx: "https://alyx.example.org".into(), ..DaemonStatus::default() };
    Status { daemon: Some(daemon), sessions, ..Status::default() }
}

fn away(since: u64) -> Status {
    let mut status = status(Vec::new());
    status.daemon.as_mut().unwrap().away_since = Some(at(since));
    status
}

/// A webhook that receives everything, or nothing.
struct World {
    decision: AlertDecision,
    start: Instant,
    dead: bool,
    got: Vec<(u64, Vec<Event>)>,
}

impl World {
    fn new() -> Self {
        let rules = Rules {
            away_after: Duration::from_secs(30 * MINUTE),
            every: Duration::from_secs(10 * MINUTE),
            gather: Duration::from_secs(30),
        };
        Self { decision: AlertDecision::new(rules), start: Instant::now(), dead: false, got: Vec::new() }
    }

    /// Processes a status every ten seconds.
    fn pass(&mut self, from: u64, to: u64, status: impl Fn(u64) -> Option<Status>) {
        for second in (from..to).step_by(10) {
            self.decision.update(status(second).as_ref(), at(second));
            if let Some(alert) = self.decision.due(self.start + Duration::from_secs(second)) {
                self.got.push((second, alert.events.clone()));
                if !self.dead {
                    self.decision.sent(&alert);
                }
            }
        }
    }

    fn times(&self) -> Vec<u64> {
        self.got.iter().map(|(second, _)| *second).collect()
    }
}

#[test]
fn many_sessions_share_one_message_and_each_is_reported_once() {
    let mut world = World::new();
    world.pass(0, 5 * HOUR, |second| {
        Some(status((0..100.min(second)).map(|n| person(&n.to_string())).collect()))
    });
    // The first after ten seconds, those that arrived during the wait, then the rest.
    assert_eq!(world.times(), [40, 640]);
    assert_eq!(world.got.iter().map(|(_, events)| events.len()).sum::<usize>(), 100);
}

#[test]
fn a_session_that_fails_again_every_hour_is_reported_once() {
    let mut world = World::new();
    world.pass(0, 24 * HOUR, |second| {
        let state = match second % HOUR {
            0..60 => SessionState::Running,
            60..120 => SessionState::Retrying,
            _ => SessionState::NeedsAttention,
        };
        Some(status(vec![session("a", state, 3)]))
    });
    assert_eq!(world.times(), [150]);
}

#[test]
fn a_session_that_fails_again_after_a_touch_is_reported_again() {
    let mut world = World::new();
    world.pass(0, HOUR, |_| Some(status(vec![person("a")])));
    world.pass(HOUR, HOUR + 20, |_| Some(status(vec![session("a", SessionState::Running, 0)])));
    world.pass(HOUR + 20, 2 * HOUR, |_| Some(status(vec![person("a")])));
    assert_eq!(world.times(), [30, HOUR + 50]);
}

#[test]
fn an_obstacle_is_reported_once_while_it_lasts() {
    let mut world = World::new();
    let obstacle =
        |text: &str| ObstacleStatus { root: "/data".into(), since: Some(at(0)), text: text.into() };
    let with = |texts: &[&str]| {
        let obstacles = texts.iter().map(|text| obstacle(text)).collect();
        Some(Status { obstacles, ..status(Vec::new()) })
    };
    world.pass(0, HOUR, |_| with(&["/data is missing"]));
    world.pass(HOUR, 2 * HOUR, |_| with(&["/data is missing", "a flag lies in the wrong folder"]));
    // Fixed before a message: never reported. Recurring after a fix: reported again.
    world.pass(2 * HOUR, 2 * HOUR + 20, |_| with(&["/data is read-only"]));
    world.pass(2 * HOUR + 20, 3 * HOUR, |_| with(&["/data is missing"]));
    assert_eq!(world.times(), [30, HOUR + 30, 2 * HOUR + 30]);
    let reported = |n: usize| match &world.got[n].1[..] {
        [Event::Obstacle(obstacle)] => obstacle.text.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        [reported(0), reported(1), reported(2)],
        ["/data is missing", "a flag lies in the wrong folder", "/data is missing"]
    );
}

#[test]
fn a_condition_that_ends_before_the_next_message_is_never_reported() {
    let mut world = World::new();
    world.pass(0, 60, |_| Some(status(vec![person("a")])));
    world.pass(60, 300, |_| Some(status(vec![person("a"), person("b")])));
    world.pass(300, HOUR, |_| Some(status(vec![person("a")])));
    assert_eq!(world.times(), [30]);
}

#[test]
fn a_long_outage_is_reported_once_and_so_is_its_end() {
    let mut world = World::new();
    world.pass(0, 20 * MINUTE, |_| Some(away(0)));
    world.pass(20 * MINUTE, HOUR, |_| Some(status(Vec::new())));
    assert_eq!(world.got, []);
    world.pass(HOUR, 50 * HOUR, |_| Some(away(HOUR)));
    world.pass(50 * HOUR, 52 * HOUR, |_| Some(status(Vec::new())));
    let (begin, end) = (at(HOUR), at(50 * HOUR));
    let reported: Vec<_> = world.got.iter().map(|(_, events)| events.clone()).collect();
    assert_eq!(reported, [vec![Event::Away(begin)], vec![Event::Back(begin, end)]]);
    assert_eq!(world.times(), [HOUR + 30 * MINUTE + 30, 50 * HOUR + 30]);
}

#[test]
fn an_alyx_that_comes_and_goes_every_minute_does_not_flood_the_channel() {
    let mut world = World::new();
    world.pass(0, 2 * HOUR, |_| Some(away(0)));
    world.pass(2 * HOUR, 26 * HOUR, |second| {
        let minute = second / MINUTE * MINUTE;
        Some(if minute.is_multiple_of(2 * MINUTE) { away(minute) } else { status(Vec::new()) })
    });
    // One outage, and its first lasting end.
    assert!(world.got.len() <= 2, "{:?}", world.times());
}

#[test]
fn a_dead_webhook_is_tried_at_most_every_ten_minutes_and_later_gets_what_still_holds() {
    let mut world = World::new();
    world.dead = true;
    world.pass(0, 2 * HOUR, |second| {
        let mut sessions = vec![person("a")];
        sessions.extend((second < HOUR).then(|| person("b")));
        Some(status(sessions))
    });
    assert_eq!(world.got.len(), 12);
    world.dead = false;
    world.pass(2 * HOUR, 5 * HOUR, |_| Some(status(vec![person("a")])));
    assert_eq!(world.got.len(), 13);
    assert_eq!(world.got[12].1, [Event::NeedsAttention(person("a"))]);
}

#[test]
fn a_daemon_that_is_stuck_or_silent_for_a_minute_is_reported_with_its_recovery() {
    let mut world = World::new();
    // A short silence is not reported.
    world.pass(0, 30, |_| None);
    world.pass(30, HOUR, |_| Some(status(Vec::new())));
    assert_eq!(world.got, []);
    world.pass(HOUR, 2 * HOUR, |_| None);
    world.pass(2 * HOUR, 3 * HOUR, |_| Some(status(Vec::new())));
    let reported: Vec<_> = world.got.iter().flat_map(|(_, events)| events.clone()).collect();
    assert_eq!(reported, [Event::Stuck("it does not answer".into()), Event::Unstuck]);
}

#[test]
fn a_silent_daemon_does_not_cause_repeated_reports() {
    let mut world = World::new();
    let people = |_| Some(status(vec![person("a")]));
    world.pass(0, HOUR, people);
    world.pass(HOUR, HOUR + 40, |_| None);
    world.pass(HOUR + 40, 3 * HOUR, people);
    assert_eq!(world.times(), [30]);
}

#[test]
fn a_refused_login_is_reported_at_once_and_a_stale_flag_once() {
    let mut world = World::new();
    let mut stale = session("a", SessionState::Retrying, 9);
    stale.stale = true;
    // Needing attention takes precedence over waiting too long.
    let mut needs = person("b");
    needs.stale = true;
    world.pass(0, 24 * HOUR, |_| {
        let mut status = status(vec![needs.clone(), stale.clone()]);
        status.daemon.as_mut().unwrap().login_refused_since = Some(at(0));
        Some(status)
    });
    let events = vec![
        Event::LoginRefused(at(0)),
        Event::NeedsAttention(needs.clone()),
        Event::StaleFlag(stale.clone()),
    ];
    assert_eq!(world.got, [(30, events)]);
    world.pass(24 * HOUR, 25 * HOUR, |_| Some(status(Vec::new())));
    assert_eq!(world.got[1..], [(24 * HOUR + 30, vec![Event::LoginAccepted])]);
}

#[test]
fn a_session_that_was_created_twice_causes_one_message_until_it_is_acknowledged() {
    let mut world = World::new();
    let twice = |n: u64| GapStatus {
        session: format!("mouse/2024-05-01/{n}"),
        at: at(0),
        folder: format!("/data/{n}"),
        eid: n.to_string(),
        kind: "created_twice".into(),
        text: String::new(),
        files: Vec::new(),
    };
    world.pass(0, 3 * HOUR, |second| {
        let created_twice = (0..=second / HOUR).map(twice).collect();
        Some(Status { created_twice, ..status(Vec::new()) })
    });
    let got: Vec<Vec<Event>> = world.got.into_iter().map(|(_, events)| events).take(3).collect();
    assert_eq!(got, [0, 1, 2].map(|n| vec![Event::CreatedTwice(twice(n))]));
}

#[test]
fn gaps_of_one_kind_cause_one_message_a_day() {
    let mut world = World::new();
    let gap = |session: u64, kind: &str| GapStatus {
        session: format!("mouse/2024-05-01/{session}"),
        at: at(0),
        folder: format!("/data/{session}"),
        eid: String::new(),
        kind: kind.into(),
        text: String::new(),
        files: Vec::new(),
    };
    // A session an hour for two days, and one of another kind.
    world.pass(0, 50 * HOUR, |second| {
        let mut gaps: Vec<GapStatus> = (0..=second / HOUR).map(|n| gap(n, "near_miss")).collect();
        gaps.extend((second > 12 * HOUR).then(|| gap(999, "no_dataset")));
        Some(Status { gaps, ..status(Vec::new()) })
    });
    let kinds: Vec<(u64, usize, String)> = world
        .got
        .iter()
        .map(|(second, events)| match events.first() {
            Some(Event::Gap(gap)) => (second / HOUR, events.len(), gap.kind.clone()),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [(0, 1, "near_miss"), (12, 1, "no_dataset"), (24, 24, "near_miss"), (48, 24, "near_miss")];
    assert_eq!(kinds, expected.map(|(hour, n, kind)| (hour, n, kind.to_owned())));
}

#[test]
fn what_one_cannot_load_causes_one_message_unless_it_is_copied_later() {
    let mut world = World::new();
    let because = |reason: &str| {
        let not_loadable =
            NotLoadableStatus { reason: reason.into(), text: reason.into(), what_to_do: "set it".into() };
        Some(Status { not_loadable: vec![not_loadable], ..status(Vec::new()) })
    };
    world.pass(0, HOUR, |_| because("until_copied"));
    world.pass(HOUR, 3 * HOUR, |_| because("no_address"));
    assert_eq!(world.times(), [HOUR + 30]);
}
