//! One pass over the sessions whose copies are waited for, on a task of its own.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::daemon::status::{CopiesStatus, CopyProblem};
use crate::ledger::{FollowRow, FollowState, Ledger};
use alyx_client::backoff::Backoff;
use alyx_client::text::some_of;
use alyx_registration::{CopyKind, Error, FollowRules, FollowedSession, RegistrationClient};

/// How many sessions one pass looks at. The next one begins at once.
const SESSIONS: u32 = 200;
/// How many sessions that the poll finds are asked for in one pass, with one request each.
const ASKED: usize = 20;
/// The longest time between two looks at a session whose copies are not there.
const LONGEST: Duration = Duration::from_secs(6 * 3600);
/// After this time a session is no longer waited for; the poll finds it again if a copy comes.
const GIVEN_UP: Duration = Duration::from_secs(90 * 24 * 3600);
/// How many sessions with a problem the status names.
const PROBLEMS: u32 = 20;

/// A pass to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FollowPass {
    /// Whether Alyx is asked for files that are not known to be waited for.
    pub(crate) poll: bool,
}

/// A pass that has ended.
#[derive(Debug)]
pub(crate) struct EndedPass {
    /// What is waited for now, and what is wrong.
    pub(crate) status: CopiesStatus,
    /// Whether more sessions are due at once.
    pub(crate) has_more: bool,
    /// The failure that ended it early: an outage, or a refused login.
    pub(crate) error: Option<Error>,
}

/// What a pass works with.
pub(crate) struct FollowContext {
    pub(crate) client: RegistrationClient,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) rules: FollowRules,
    pub(crate) retry: Backoff,
    /// The shortest time between two looks at a session.
    pub(crate) every: Duration,
}

impl FollowContext {
    /// Looks at the sessions that are due.
    pub(crate) async fn run(self, pass: FollowPass) -> EndedPass {
        let mut status = CopiesStatus::default();
        let result = self.pass(pass, &mut status).await;
        let ledger = Arc::clone(&self.ledger);
        let read =
            tokio::task::spawn_blocking(move || (ledger.follow_counts(), ledger.follow_problems(PROBLEMS)));
        let (counts, problems) = read.await.unwrap_or_default();
        status.waiting = counts.waiting;
        status.differing = counts.differing;
        status.failed = counts.failed;
        status.problems = problems.into_iter().map(CopyProblem::from).collect();
        let (has_more, error) = match result {
            Ok(has_more) => (has_more, None),
            Err(error) => (false, Some(error)),
        };
        EndedPass { status, has_more, error }
    }

    /// # Errors
    /// What concerns every session: an outage, or a refused login.
    async fn pass(&self, pass: FollowPass, status: &mut CopiesStatus) -> Result<bool, Error> {
        let rules = self.available(status).await;
        if pass.poll {
            self.poll(&rules, status).await?;
        }
        if rules.repositories.is_empty() {
            return Ok(false);
        }
        let due = self.with_ledger(|ledger| ledger.follows_due(Timestamp::now(), SESSIONS)).await;
        let has_more = due.len() >= SESSIONS as usize;
        for row in due {
            let fails = self.look(row, &rules, status).await?;
            // A disk that went away meanwhile would hold up each of the others.
            if fails && self.available(&mut CopiesStatus::default()).await != rules {
                return Ok(false);
            }
        }
        Ok(has_more)
    }

    /// The rules with those repositories whose disks can be looked at now.
    async fn available(&self, status: &mut CopiesStatus) -> FollowRules {
        let mut rules = self.rules.clone();
        rules.repositories.clear();
        for repository in &self.rules.repositories {
            match repository.unavailable_within(self.rules.hangs_after).await {
                None => rules.repositories.push(repository.clone()),
                Some(why) => {
                    let (name, path) = (&repository.mount.repository, repository.mount.path.display());
                    status.unavailable.push(format!("{name}: {path}: {why}"));
                }
            }
        }
        rules
    }

    /// Asks Alyx for one page of the files that do not exist in each repository, and remembers the sessions of which there is
    /// a copy on disk. The next poll asks for the next page.
    async fn poll(&self, rules: &FollowRules, status: &mut CopiesStatus) -> Result<(), Error> {
        for repository in &rules.repositories {
            let name = &repository.mount.repository;
            let fact = format!("follow from {} {name}", repository.mount.path.display());
            let key = fact.clone();
            let offset = self.with_ledger(move |ledger| ledger.fact(&key)).await;
            let offset = offset.and_then(|text| text.parse().ok()).unwrap_or_default();
            let found = match self.client.absent_files(repository, offset, self.rules.hangs_after).await {
                Ok(found) => found,
                Err(error) if concerns_all(&error) => return Err(error),
                Err(error) => {
                    tracing::debug!("the file records of {name} cannot be listed: {error}");
                    continue;
                }
            };
            if let Some(why) = found.unavailable {
                status.unavailable.push(format!("{name}: {}: {why}", repository.mount.path.display()));
            }
            let mut asked = 0;
            for (session, dataset) in found.arrived {
                let known = session.clone();
                let known =
                    self.with_ledger(move |ledger| ledger.make_follow_due(&known, Timestamp::now())).await;
                if known || asked >= ASKED {
                    continue;
                }
                asked += 1;
                match self.client.session_of_dataset(&dataset).await {
                    Ok(Some(eid)) => {
                        let now = Timestamp::now();
                        let row = FollowRow::new(eid, session, now, now);
                        self.with_ledger(move |ledger| ledger.set_follow(&row)).await;
                    }
                    Ok(None) => {}
                    Err(error) if concerns_all(&error) => return Err(error),
                    Err(error) => tracing::debug!("the dataset {dataset} of {name} cannot be read: {error}"),
                }
            }
            let next = found.next.unwrap_or_default().to_string();
            self.with_ledger(move |ledger| ledger.set_fact(&fact, &next)).await;
        }
        Ok(())
    }

    /// Looks at a session. Returns whether a disk failed.
    async fn look(
        &self,
        row: FollowRow,
        rules: &FollowRules,
        status: &mut CopiesStatus,
    ) -> Result<bool, Error> {
        let followed = match self.client.has_copies(&row.session, rules).await {
            false => None,
            true => match self.client.follow_session(&row.eid, rules).await {
                Ok(followed) => Some(Ok(followed)),
                Err(error) if concerns_all(&error) => return Err(error),
                Err(error) => Some(Err(error)),
            },
        };
        if let Some(Ok(followed)) = &followed {
            let confirmed = followed.count(CopyKind::Confirmed);
            status.confirmed += confirmed as u64;
            if confirmed > 0 {
                let (session, eid) = (&row.session, &row.eid);
                tracing::info!(session, eid, confirmed, "copies confirmed: {}", repositories(followed));
            }
        }
        let now = Timestamp::now();
        let delay = |failures: u32| self.retry.delay(failures.max(1), alyx_client::jitter());
        let fails = matches!(&followed, Some(Ok(followed)) if followed.count(CopyKind::Unreadable) > 0);
        let is_partial = rules.repositories.len() < self.rules.repositories.len();
        match planned(&row, followed.as_ref(), is_partial, (self.every, delay), now) {
            None => self.with_ledger(move |ledger| ledger.end_follow(&row.eid)).await,
            Some(next) => {
                if next.text != row.text && next.state != FollowState::Waits {
                    let (session, eid) = (&next.session, &next.eid);
                    tracing::warn!(session, eid, "copies need attention: {}", next.text);
                }
                self.with_ledger(move |ledger| ledger.set_follow(&next)).await;
            }
        }
        Ok(fails)
    }

    async fn with_ledger<T: Default + Send + 'static>(
        &self,
        work: impl FnOnce(&Ledger) -> T + Send + 'static,
    ) -> T {
        let ledger = Arc::clone(&self.ledger);
        tokio::task::spawn_blocking(move || work(&ledger)).await.unwrap_or_default()
    }
}

/// Whether an error would meet every other session, too.
fn concerns_all(error: &Error) -> bool {
    error.is_outage() || error.next_step() == alyx_client::NextStep::NeedsCredentials
}

/// The repositories of the confirmed copies, each with their number.
fn repositories(followed: &FollowedSession) -> String {
    let mut counts = std::collections::BTreeMap::new();
    for copy in followed.copies.iter().filter(|copy| copy.kind == CopyKind::Confirmed) {
        *counts.entry(copy.repository.as_str()).or_insert(0_u64) += 1;
    }
    let counts: Vec<String> = counts.into_iter().map(|(name, n)| format!("{n} in {name}")).collect();
    counts.join(", ")
}

/// When a session is looked at next, from what this look said. `None`: never, it is complete or given up. `None` as `followed`:
/// its folder is on no disk yet. `is_partial`: not every repository could be looked at. Pure.
fn planned(
    row: &FollowRow,
    followed: Option<&Result<FollowedSession, Error>>,
    is_partial: bool,
    (every, delay): (Duration, impl Fn(u32) -> Duration),
    now: Timestamp,
) -> Option<FollowRow> {
    let after = |wait: Duration| {
        let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
        now.checked_add(wait).unwrap_or(Timestamp::MAX)
    };
    let age = Duration::try_from(now.duration_since(row.since)).unwrap_or_default();
    // The longer it has waited, the longer it probably will.
    let patience = (age / 8).clamp(every, LONGEST.max(every));
    let waits = FollowRow {
        next: after(patience),
        failures: 0,
        state: FollowState::Waits,
        text: String::new(),
        ..row.clone()
    };
    let failures = row.failures.saturating_add(1);
    let failed =
        |state, text| FollowRow { next: after(delay(failures)), failures, state, text, ..row.clone() };
    match followed {
        None => (age < GIVEN_UP).then_some(waits),
        Some(Err(error)) => (age < GIVEN_UP).then(|| failed(FollowState::Failed, error.to_string())),
        Some(Ok(followed)) if followed.is_complete() => is_partial.then_some(waits),
        Some(Ok(followed)) => {
            let wrong =
                followed.copies.iter().filter(|copy| !copy.kind.waits() && copy.kind != CopyKind::Confirmed);
            let texts: Vec<String> = wrong.clone().map(ToString::to_string).collect();
            let fails = wrong.clone().any(|copy| copy.kind == CopyKind::Unreadable);
            match followed.wait {
                // What is still written is looked at again as soon as it may be complete.
                Some(wait) => Some(FollowRow { next: after(wait.max(Duration::from_secs(1))), ..waits }),
                None if texts.is_empty() => (age < GIVEN_UP).then_some(waits),
                None if fails => Some(failed(FollowState::Failed, some_of(&texts, "; "))),
                None => Some(failed(FollowState::Differs, some_of(&texts, "; "))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alyx_registration::FollowedCopy;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn copies(kinds: &[CopyKind], wait: Option<u64>) -> Result<FollowedSession, Error> {
        let copy = |kind: &CopyKind| FollowedCopy {
            kind: *kind,
            path: "alf/a.x.npy".into(),
            repository: "server".into(),
            expected: None,
            found: None,
        };
        Ok(FollowedSession { copies: kinds.iter().map(copy).collect(), wait: wait.map(Duration::from_secs) })
    }

    /// The state, and the seconds until the next look, of a session that has been waited for since 0.
    fn next(
        followed: Option<Result<FollowedSession, Error>>,
        failures: u32,
        now: i64,
    ) -> Option<(FollowState, i64)> {
        let row =
            FollowRow { failures, ..FollowRow::new("eid".into(), "A/2024-05-01/001".into(), at(0), at(0)) };
        let delay = |failures| Duration::from_secs(u64::from(30 * failures));
        let planned = planned(&row, followed.as_ref(), false, (Duration::from_secs(60), delay), at(now));
        planned.map(|next| (next.state, next.next.as_second() - now))
    }

    #[test]
    fn a_session_waits_silently_and_the_longer_the_longer_until_every_copy_is_there() {
        use CopyKind::{Absent, Changing, Confirmed, Differs, NoCopy, Unreadable};
        use FollowState::{Failed, Waits};
        let day = 24 * 3600;
        let differs = FollowState::Differs;
        for (case, followed, failures, now, expected) in [
            ("no folder yet", None, 0, 10, Some((Waits, 60))),
            ("for a day", None, 0, day, Some((Waits, 10_800))),
            ("for a month", None, 0, 30 * day, Some((Waits, 21_600))),
            ("for ever", None, 0, 91 * day, None),
            ("some are there", Some(copies(&[Confirmed, Absent], None)), 0, 10, Some((Waits, 60))),
            ("all are there", Some(copies(&[Confirmed, Confirmed], None)), 3, 10, None),
            ("nothing was missing", Some(copies(&[], None)), 0, 10, None),
            ("still written", Some(copies(&[Changing, Absent], Some(2))), 0, day, Some((Waits, 2))),
            (
                "one differs, another is written",
                Some(copies(&[Changing, Differs], Some(2))),
                0,
                day,
                Some((Waits, 2)),
            ),
            ("one differs", Some(copies(&[Confirmed, Differs], None)), 0, day, Some((differs, 30))),
            ("it still does", Some(copies(&[Differs], None)), 4, day, Some((differs, 150))),
            ("the source itself", Some(copies(&[NoCopy], None)), 0, day, Some((differs, 30))),
            ("a disk fails", Some(copies(&[Differs, Unreadable], None)), 1, day, Some((Failed, 60))),
            ("Alyx refuses", Some(Err(Error::Invalid("no".into()))), 0, day, Some((Failed, 30))),
        ] {
            assert_eq!(next(followed, failures, now), expected, "{case}");
        }
    }
}
