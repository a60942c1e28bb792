//! Decides which alerts to send, and when. Pure.
//!
//! A condition is reported once while it lasts. A condition that arises before the next message may be sent is
//! included in that message, unless it has ended by then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::daemon::status::{
    GapStatus, NotLoadableStatus, ObstacleStatus, SessionState, SessionStatus, Status,
};

/// How long the daemon must be stuck, or not answer, before an alert.
const STUCK_AFTER: SignedDuration = SignedDuration::from_mins(1);

/// The shortest time between two alerts about gaps of the same kind.
const GAPS_EVERY: SignedDuration = SignedDuration::from_hours(24);

/// When to send alerts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// How long Alyx must be away before an alert.
    pub(super) away_after: Duration,
    /// The shortest time between two messages.
    pub(super) every: Duration,
    /// How long to wait for events that belong in the same message.
    pub(super) gather: Duration,
}

/// An event worth a message.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    /// The queue makes no progress.
    Stuck(String),
    /// The queue makes progress again.
    Unstuck,
    /// Alyx refuses the login since then.
    LoginRefused(Timestamp),
    /// Alyx accepts the login again.
    LoginAccepted,
    /// Alyx has not answered since then.
    Away(Timestamp),
    /// Alyx was away from the first time to the second.
    Back(Timestamp, Timestamp),
    /// A session needs attention.
    NeedsAttention(SessionStatus),
    /// A flag has waited for too long.
    StaleFlag(SessionStatus),
    /// A session was registered with gaps.
    Gap(GapStatus),
    /// A session was created twice.
    CreatedTwice(GapStatus),
    /// ONE does not load what is registered.
    NotLoadable(NotLoadableStatus),
    /// Something on disk keeps flags from being seen or removed.
    Obstacle(ObstacleStatus),
}

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Alert {
    pub(super) at: Timestamp,
    /// Never empty; the worst first.
    pub(super) events: Vec<Event>,
}

/// A condition of the whole daemon, as last seen and as last reported.
#[derive(Debug, Default)]
struct Condition {
    /// When it began, while it lasts.
    since: Option<Timestamp>,
    /// When it began, as reported.
    reported: Option<Timestamp>,
    /// When a reported condition ended.
    ended: Option<Timestamp>,
}

impl Condition {
    fn update(&mut self, since: Option<Timestamp>, now: Timestamp) {
        self.since = since;
        self.ended = match (self.reported, since) {
            (Some(_), None) => self.ended.or(Some(now)),
            _ => None,
        };
    }

    /// When it began, if that is long enough ago and unreported.
    fn unreported(&self, after: SignedDuration, now: Timestamp) -> Option<Timestamp> {
        self.since.filter(|since| self.reported.is_none() && now.duration_since(*since) >= after)
    }

    /// When it began and ended, if it was reported and has ended.
    fn end(&self) -> Option<(Timestamp, Timestamp)> {
        Some((self.reported?, self.ended?))
    }
}

/// A session with gaps, and their kind.
fn key(gap: &GapStatus) -> (String, String) {
    (gap.folder.clone(), gap.kind.clone())
}

/// Decides from each status which alert is due, and remembers what was reported.
#[derive(Debug)]
pub(super) struct AlertDecision {
    rules: Rules,
    stuck: Condition,
    why_stuck: String,
    refused: Condition,
    away: Condition,
    /// Flags whose sessions need attention, as reported.
    attention: BTreeSet<String>,
    /// Stale flags, as reported.
    stale: BTreeSet<String>,
    /// Sessions with gaps, by folder and kind, as reported, and when gaps of each kind were reported last.
    gaps: BTreeSet<(String, String)>,
    /// Sessions that were created twice, as reported, by our id.
    created_twice: BTreeSet<String>,
    gaps_reported: BTreeMap<String, Timestamp>,
    /// Reasons why ONE does not load what is registered, by their text, as reported.
    not_loadable: BTreeSet<String>,
    /// Obstacles by their text, as reported.
    obstacles: BTreeSet<String>,
    /// The next message.
    pending: Option<Alert>,
    /// Since when there has been something to send.
    pending_since: Option<Instant>,
    /// When a message was last tried.
    tried: Option<Instant>,
}

impl AlertDecision {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            stuck: Condition::default(),
            why_stuck: String::new(),
            refused: Condition::default(),
            away: Condition::default(),
            attention: BTreeSet::new(),
            stale: BTreeSet::new(),
            gaps: BTreeSet::new(),
            created_twice: BTreeSet::new(),
            gaps_reported: BTreeMap::new(),
            not_loadable: BTreeSet::new(),
            obstacles: BTreeSet::new(),
            pending: None,
            pending_since: None,
            tried: None,
        }
    }

    /// Processes a new status. `None`: the daemon does not answer.
    pub(super) fn update(&mut self, status: Option<&Status>, now: Timestamp) {
        let daemon = status.and_then(|status| status.daemon.as_ref());
        let stuck = match daemon {
            None => Some("it does not answer".to_owned()),
            Some(daemon) => daemon.stuck.clone(),
        };
        self.stuck.update(stuck.as_ref().map(|_| self.stuck.since.unwrap_or(now)), now);
        self.why_stuck = stuck.unwrap_or_default();
        if let Some(daemon) = daemon {
            self.refused.update(daemon.login_refused_since, now);
            self.away.update(daemon.away_since, now);
        }
        if let Some(Status { sessions, obstacles, gaps, created_twice, not_loadable, .. }) = status {
            self.not_loadable.retain(|text| not_loadable.iter().any(|reason| reason.text == *text));
            self.gaps.retain(|known| gaps.iter().any(|gap| key(gap) == *known));
            self.created_twice.retain(|eid| created_twice.iter().any(|session| session.eid == *eid));
            let lasting: BTreeSet<&str> = obstacles.iter().map(|obstacle| obstacle.text.as_str()).collect();
            self.obstacles.retain(|text| lasting.contains(text.as_str()));
            let with = |is_it: fn(&SessionStatus) -> bool| -> BTreeSet<&str> {
                sessions.iter().filter(|s| is_it(s)).map(|s| s.flag.as_str()).collect()
            };
            // Between two attempts a session runs; a touched flag has no failures and may be reported again.
            let waits = with(|s| s.state == SessionState::NeedsAttention || s.failures > 0);
            let stale = with(|s| s.stale);
            self.attention.retain(|flag| waits.contains(flag.as_str()));
            self.stale.retain(|flag| stale.contains(flag.as_str()));
        }
        let events = self.events(status, now);
        self.pending = (!events.is_empty()).then_some(Alert { at: now, events });
    }

    fn events(&self, status: Option<&Status>, now: Timestamp) -> Vec<Event> {
        let sessions = status.map(|status| status.sessions.as_slice()).unwrap_or_default();
        let away_after = SignedDuration::try_from(self.rules.away_after).unwrap_or(SignedDuration::MAX);
        let stuck = self.stuck.unreported(STUCK_AFTER, now).map(|_| Event::Stuck(self.why_stuck.clone()));
        let unstuck = self.stuck.end().map(|_| Event::Unstuck);
        let refused = self.refused.unreported(SignedDuration::ZERO, now).map(Event::LoginRefused);
        let accepted = self.refused.end().map(|_| Event::LoginAccepted);
        let away = self.away.unreported(away_after, now).map(Event::Away);
        let back = self.away.end().map(|(since, at)| Event::Back(since, at));
        let mut events: Vec<Event> =
            [stuck, unstuck, refused, accepted, away, back].into_iter().flatten().collect();
        let obstacles = status.into_iter().flat_map(|status| &status.obstacles);
        let unreported = obstacles.filter(|obstacle| !self.obstacles.contains(&obstacle.text));
        events.extend(unreported.cloned().map(Event::Obstacle));
        let attention = sessions.iter().filter(|session| {
            session.state == SessionState::NeedsAttention && !self.attention.contains(&session.flag)
        });
        events.extend(attention.cloned().map(Event::NeedsAttention));
        // A session that needs attention is reported only as such.
        let stale = sessions.iter().filter(|session| {
            session.stale
                && session.state != SessionState::NeedsAttention
                && !self.stale.contains(&session.flag)
        });
        events.extend(stale.cloned().map(Event::StaleFlag));
        let gaps = status.into_iter().flat_map(|status| &status.gaps).filter(|gap| {
            let last = self.gaps_reported.get(&gap.kind);
            !self.gaps.contains(&key(gap)) && last.is_none_or(|last| now.duration_since(*last) >= GAPS_EVERY)
        });
        events.extend(gaps.cloned().map(Event::Gap));
        let twice = status.into_iter().flat_map(|status| &status.created_twice);
        let unreported = twice.filter(|session| !self.created_twice.contains(&session.eid));
        events.extend(unreported.cloned().map(Event::CreatedTwice));
        let reasons = status.into_iter().flat_map(|status| &status.not_loadable);
        let unreported =
            reasons.filter(|reason| !reason.is_intended() && !self.not_loadable.contains(&reason.text));
        events.extend(unreported.cloned().map(Event::NotLoadable));
        events
    }

    /// The message that is due now, if any. If so, it counts as tried.
    pub(super) fn due(&mut self, now: Instant) -> Option<Alert> {
        if self.pending.is_none() {
            self.pending_since = None;
            return None;
        }
        let since = *self.pending_since.get_or_insert(now);
        let passed = |then: Instant| now.saturating_duration_since(then);
        let too_early = self.tried.is_some_and(|tried| passed(tried) < self.rules.every);
        if too_early || passed(since) < self.rules.gather {
            return None;
        }
        self.tried = Some(now);
        self.pending.clone()
    }

    /// Records that a message has arrived.
    pub(super) fn sent(&mut self, alert: &Alert) {
        for event in &alert.events {
            match event {
                Event::Stuck(_) => self.stuck.reported = Some(alert.at),
                Event::Unstuck => (self.stuck.reported, self.stuck.ended) = (None, None),
                Event::LoginRefused(since) => self.refused.reported = Some(*since),
                Event::LoginAccepted => (self.refused.reported, self.refused.ended) = (None, None),
                Event::Away(since) => self.away.reported = Some(*since),
                Event::Back(..) => (self.away.reported, self.away.ended) = (None, None),
                Event::NeedsAttention(session) => _ = self.attention.insert(session.flag.clone()),
                Event::StaleFlag(session) => _ = self.stale.insert(session.flag.clone()),
                Event::CreatedTwice(session) => _ = self.created_twice.insert(session.eid.clone()),
                Event::Gap(gap) => {
                    self.gaps.insert(key(gap));
                    self.gaps_reported.insert(gap.kind.clone(), alert.at);
                }
                Event::NotLoadable(reason) => _ = self.not_loadable.insert(reason.text.clone()),
                Event::Obstacle(obstacle) => _ = self.obstacles.insert(obstacle.text.clone()),
            }
        }
        (self.pending, self.pending_since) = (None, None);
    }
}

#[cfg(test)]
mod tests;
