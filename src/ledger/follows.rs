//! The sessions whose copies in other repositories are waited for, one row each until every copy is there.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::ledger::Ledger;

/// A session whose copies are waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowRow {
    /// Its UUID on Alyx.
    pub eid: String,
    /// `subject/date/number`, as in the paths of its files on Alyx.
    pub session: String,
    /// Since when.
    pub since: Timestamp,
    /// When it is looked at next.
    pub next: Timestamp,
    /// Looks in a row that ended with an error or a copy that differs.
    pub failures: u32,
    /// What the last look said.
    pub state: FollowState,
    /// What is wrong; empty while it waits.
    pub text: String,
}

impl FollowRow {
    /// A session that nobody has looked at yet.
    pub fn new(eid: String, session: String, since: Timestamp, next: Timestamp) -> Self {
        Self { eid, session, since, next, failures: 0, state: FollowState::Waits, text: String::new() }
    }
}

/// What the last look at the copies of a session said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FollowState {
    /// Copies are not there yet, or still written.
    Waits,
    /// A copy differs, or cannot be compared.
    Differs,
    /// A disk or Alyx could not be asked.
    Failed,
}

impl FollowState {
    const ALL: [(&'static str, Self); 3] =
        [("waits", Self::Waits), ("differs", Self::Differs), ("failed", Self::Failed)];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, state)| *state == self).map_or("waits", |(name, _)| name)
    }

    fn of(name: &str) -> Self {
        Self::ALL.iter().find(|(known, _)| *known == name).map_or(Self::Waits, |(_, state)| *state)
    }
}

/// How many sessions are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FollowCounts {
    /// Their copies are not there yet.
    pub waiting: u64,
    /// A copy differs, or cannot be compared.
    pub differing: u64,
    /// A disk or Alyx could not be asked.
    pub failed: u64,
}

/// How many sessions are waited for at most. The poll finds the others again.
const MAX_ROWS: u32 = 20_000;

impl Ledger {
    /// The sessions that are to be looked at now, those that have waited longest first.
    pub fn follows_due(&self, now: Timestamp, limit: u32) -> Vec<FollowRow> {
        self.follows("WHERE next <= ?1 ORDER BY next, eid LIMIT ?2", now.as_millisecond(), limit)
    }

    /// The sessions of which a copy differs or could not be looked at, the latest first.
    pub fn follow_problems(&self, limit: u32) -> Vec<FollowRow> {
        self.follows("WHERE state <> 'waits' AND ?1 = ?1 ORDER BY since DESC, eid LIMIT ?2", 0, limit)
    }

    fn follows(&self, tail: &str, first: i64, limit: u32) -> Vec<FollowRow> {
        let rows = self.with(|connection| {
            let mut query = connection.prepare_cached(&format!("SELECT * FROM follow {tail}"))?;
            query.query_map(params![first, limit], follow_row)?.collect::<rusqlite::Result<Vec<_>>>()
        });
        rows.unwrap_or_default()
    }

    /// Makes a session due that waits for its copies. Returns whether it is known: one with a problem keeps its time.
    pub fn make_follow_due(&self, session: &str, now: Timestamp) -> bool {
        let made = self.write(|connection| {
            let now = now.as_millisecond();
            connection.execute(
                "UPDATE follow SET next = min(next, ?2) WHERE session = ?1 AND state = 'waits'",
                params![session, now],
            )?;
            let known = "SELECT 1 FROM follow WHERE session = ?1";
            connection.query_row(known, [session], |_| Ok(())).optional()
        });
        made.flatten().is_some()
    }

    /// When the next session is to be looked at.
    pub fn next_follow(&self) -> Option<Timestamp> {
        let query = "SELECT min(next) FROM follow";
        let next: Option<i64> = self.with(|connection| connection.query_row(query, [], |row| row.get(0)))?;
        Timestamp::from_millisecond(next?).ok()
    }

    /// How many sessions are waited for. A ledger of an earlier version has none.
    pub fn follow_counts(&self) -> FollowCounts {
        let mut counts = FollowCounts::default();
        let rows = self.with(|connection| {
            let has_table = "SELECT 1 FROM sqlite_master WHERE name = 'follow'";
            if connection.query_row(has_table, [], |_| Ok(())).optional()?.is_none() {
                return Ok(Vec::new());
            }
            let mut query = connection.prepare_cached("SELECT state, count(*) FROM follow GROUP BY state")?;
            let row = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
            query.query_map([], row)?.collect::<rusqlite::Result<Vec<_>>>()
        });
        for (state, n) in rows.unwrap_or_default() {
            let n = u64::try_from(n).unwrap_or_default();
            match FollowState::of(&state) {
                FollowState::Waits => counts.waiting += n,
                FollowState::Differs => counts.differing += n,
                FollowState::Failed => counts.failed += n,
            }
        }
        counts
    }

    /// Remembers that the copies of a session are waited for. A session that is known keeps the time since which it is.
    pub fn set_follow(&self, row: &FollowRow) {
        self.write(|connection| {
            connection
                .prepare_cached(
                    "INSERT INTO follow VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                     ON CONFLICT (eid) DO UPDATE SET session = ?2, next = ?4, failures = ?5, state = ?6, text = ?7",
                )?
                .execute(params![
                    row.eid,
                    row.session,
                    row.since.as_millisecond(),
                    row.next.as_millisecond(),
                    row.failures,
                    row.state.name(),
                    row.text,
                ])?;
            connection
                .execute(
                    "DELETE FROM follow WHERE since < (SELECT since FROM follow ORDER BY since DESC LIMIT 1 OFFSET ?1)",
                    [MAX_ROWS],
                )
                .map(drop)
        });
    }

    /// The copies of a session are no longer waited for.
    pub fn end_follow(&self, eid: &str) {
        self.write(|connection| connection.execute("DELETE FROM follow WHERE eid = ?1", [eid]).map(drop));
    }
}

fn follow_row(row: &Row<'_>) -> rusqlite::Result<FollowRow> {
    let time = |column| -> rusqlite::Result<Timestamp> {
        Ok(Timestamp::from_millisecond(row.get(column)?).unwrap_or(Timestamp::UNIX_EPOCH))
    };
    Ok(FollowRow {
        eid: row.get("eid")?,
        session: row.get("session")?,
        since: time("since")?,
        next: time("next")?,
        failures: row.get("failures")?,
        state: FollowState::of(&row.get::<_, String>("state")?),
        text: row.get("text")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_waited_for_until_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path());
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let row = |eid: &str, next, state, text: &str| FollowRow {
            eid: eid.into(),
            session: "KS014/2024-05-01/001".into(),
            since: at(1),
            next: at(next),
            failures: 0,
            state,
            text: text.into(),
        };
        let (one, two) = (row("a", 20, FollowState::Waits, ""), row("b", 10, FollowState::Waits, ""));
        for row in [&one, &two] {
            ledger.set_follow(row);
        }
        assert_eq!(ledger.follows_due(at(9), 10), []);
        assert_eq!(ledger.follows_due(at(20), 10), [two.clone(), one.clone()]);
        assert_eq!(ledger.follows_due(at(20), 1), [two]);
        assert_eq!(ledger.next_follow(), Some(at(10)));
        let again = FollowRow { since: at(99), ..row("b", 30, FollowState::Differs, "MD5") };
        ledger.set_follow(&again);
        assert_eq!(ledger.follow_problems(10), [FollowRow { since: at(1), ..again }]);
        let counts = FollowCounts { waiting: 1, differing: 1, failed: 0 };
        assert_eq!(ledger.follow_counts(), counts);
        ledger.end_follow("b");
        assert_eq!((ledger.follow_problems(10), ledger.next_follow()), (Vec::new(), Some(at(20))));
    }
}
