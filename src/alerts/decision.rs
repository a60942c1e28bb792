//! The decision what is told, and when. Pure.
//!
//! A condition is told once for as long as it lasts. What comes while a message may not be sent yet goes into the next
//! one, unless it is over by then.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::daemon::status::{ObstacleStatus, SessionState, SessionStatus, Status};

/// For how long the daemon must have been stuck, or silent.
const STUCK_AFTER: SignedDuration = SignedDuration::from_mins(1);

/// When something is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// For how long Alyx must have been away.
    pub(super) away_after: Duration,
    /// At most one message in this time.
    pub(super) every: Duration,
    /// How long others are waited for that may belong into the same message.
    pub(super) gather: Duration,
}

/// Something that is worth a message.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    /// The queue makes no progress.
    Stuck(String),
    /// It does again.
    Unstuck,
    /// Alyx refuses the login since then.
    LoginRefused(Timestamp),
    /// It does not any more.
    LoginAccepted,
    /// Alyx has not answered since then.
    Away(Timestamp),
    /// It has answered again at the second time.
    Back(Timestamp, Timestamp),
    /// A session cannot be registered before somebody does something.
    NeedsAttention(SessionStatus),
    /// A flag has waited for too long.
    Old(SessionStatus),
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

/// A condition of the whole daemon, as it was seen last and as it was told last.
#[derive(Debug, Default)]
struct Condition {
    /// Since when it is so.
    since: Option<Timestamp>,
    /// Since when it was so, as it was told.
    told: Option<Timestamp>,
    /// When it was over that had been told.
    over: Option<Timestamp>,
}

impl Condition {
    fn seen(&mut self, since: Option<Timestamp>, now: Timestamp) {
        self.since = since;
        self.over = match (self.told, since) {
            (Some(_), None) => self.over.or(Some(now)),
            _ => None,
        };
    }

    /// It is so, for long enough, and was not told.
    fn news(&self, after: SignedDuration, now: Timestamp) -> Option<Timestamp> {
        self.since.filter(|since| self.told.is_none() && now.duration_since(*since) >= after)
    }

    /// It was told and is over: since when it was so, and when it was over.
    fn end(&self) -> Option<(Timestamp, Timestamp)> {
        Some((self.told?, self.over?))
    }
}

/// What has been told, and what is to be told.
#[derive(Debug)]
pub(super) struct Told {
    rules: Rules,
    stuck: Condition,
    why_stuck: String,
    refused: Condition,
    away: Condition,
    /// Flags whose sessions need attention, as told.
    people: BTreeSet<String>,
    /// Flags that are old, as told.
    old: BTreeSet<String>,
    /// Obstacles by their text, as told.
    obstacles: BTreeSet<String>,
    /// What is to be told.
    news: Option<Alert>,
    /// Since when there is something to be told.
    news_since: Option<Instant>,
    /// When a message was tried last.
    tried: Option<Instant>,
}

impl Told {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            stuck: Condition::default(),
            why_stuck: String::new(),
            refused: Condition::default(),
            away: Condition::default(),
            people: BTreeSet::new(),
            old: BTreeSet::new(),
            obstacles: BTreeSet::new(),
            news: None,
            news_since: None,
            tried: None,
        }
    }

    /// Takes note of how it goes. `None`: the service does not answer.
    pub(super) fn look(&mut self, status: Option<&Status>, now: Timestamp) {
        let daemon = status.and_then(|status| status.daemon.as_ref());
        let stuck = match daemon {
            None => Some("it does not answer".to_owned()),
            Some(daemon) => daemon.stuck.clone(),
        };
        self.stuck.seen(stuck.as_ref().map(|_| self.stuck.since.unwrap_or(now)), now);
        self.why_stuck = stuck.unwrap_or_default();
        if let Some(daemon) = daemon {
            self.refused.seen(daemon.login_refused_since, now);
            self.away.seen(daemon.away_since, now);
        }
        if let Some(Status { sessions, obstacles, .. }) = status {
            let lasting: BTreeSet<&str> = obstacles.iter().map(|obstacle| obstacle.text.as_str()).collect();
            self.obstacles.retain(|text| lasting.contains(text.as_str()));
            let with = |is_it: fn(&SessionStatus) -> bool| -> BTreeSet<&str> {
                sessions.iter().filter(|s| is_it(s)).map(|s| s.flag.as_str()).collect()
            };
            // Between two attempts it runs; a flag that was touched has no failures and may be told again.
            let waits = with(|s| s.state == SessionState::NeedsAttention || s.failures > 0);
            let old = with(|s| s.old);
            self.people.retain(|flag| waits.contains(flag.as_str()));
            self.old.retain(|flag| old.contains(flag.as_str()));
        }
        let events = self.events(status, now);
        self.news = (!events.is_empty()).then_some(Alert { at: now, events });
    }

    fn events(&self, status: Option<&Status>, now: Timestamp) -> Vec<Event> {
        let sessions = status.map(|status| status.sessions.as_slice()).unwrap_or_default();
        let away_after = SignedDuration::try_from(self.rules.away_after).unwrap_or(SignedDuration::MAX);
        let stuck = self.stuck.news(STUCK_AFTER, now).map(|_| Event::Stuck(self.why_stuck.clone()));
        let unstuck = self.stuck.end().map(|_| Event::Unstuck);
        let refused = self.refused.news(SignedDuration::ZERO, now).map(Event::LoginRefused);
        let accepted = self.refused.end().map(|_| Event::LoginAccepted);
        let away = self.away.news(away_after, now).map(Event::Away);
        let back = self.away.end().map(|(since, at)| Event::Back(since, at));
        let mut events: Vec<Event> =
            [stuck, unstuck, refused, accepted, away, back].into_iter().flatten().collect();
        let obstacles = status.into_iter().flat_map(|status| &status.obstacles);
        let untold = obstacles.filter(|obstacle| !self.obstacles.contains(&obstacle.text));
        events.extend(untold.cloned().map(Event::Obstacle));
        let people = sessions.iter().filter(|session| {
            session.state == SessionState::NeedsAttention && !self.people.contains(&session.flag)
        });
        events.extend(people.cloned().map(Event::NeedsAttention));
        // Of a session that needs attention it is known that it waits.
        let old = sessions.iter().filter(|session| {
            session.old && session.state != SessionState::NeedsAttention && !self.old.contains(&session.flag)
        });
        events.extend(old.cloned().map(Event::Old));
        events
    }

    /// The message that is to be sent now, if one is. Then it counts as tried.
    pub(super) fn due(&mut self, now: Instant) -> Option<Alert> {
        if self.news.is_none() {
            self.news_since = None;
            return None;
        }
        let since = *self.news_since.get_or_insert(now);
        let passed = |then: Instant| now.saturating_duration_since(then);
        let too_early = self.tried.is_some_and(|tried| passed(tried) < self.rules.every);
        if too_early || passed(since) < self.rules.gather {
            return None;
        }
        self.tried = Some(now);
        self.news.clone()
    }

    /// A message has arrived.
    pub(super) fn sent(&mut self, alert: &Alert) {
        for event in &alert.events {
            match event {
                Event::Stuck(_) => self.stuck.told = Some(alert.at),
                Event::Unstuck => (self.stuck.told, self.stuck.over) = (None, None),
                Event::LoginRefused(since) => self.refused.told = Some(*since),
                Event::LoginAccepted => (self.refused.told, self.refused.over) = (None, None),
                Event::Away(since) => self.away.told = Some(*since),
                Event::Back(..) => (self.away.told, self.away.over) = (None, None),
                Event::NeedsAttention(session) => _ = self.people.insert(session.flag.clone()),
                Event::Old(session) => _ = self.old.insert(session.flag.clone()),
                Event::Obstacle(obstacle) => _ = self.obstacles.insert(obstacle.text.clone()),
            }
        }
        (self.news, self.news_since) = (None, None);
    }
}

#[cfg(test)]
mod tests;
