//! Marks: what a command found to be missing or bad, said in the file records of this repository, and undone.
//!
//! A command hands over the findings of each session as it compares them. What is seen is remembered in the ledger, with
//! or without `--mark`; what was seen before, long enough ago and on the same disk, may be marked at the end.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

mod apply;
pub(super) mod report;
pub(super) mod undo_list;
pub(super) mod unmark;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::cli::exit::Exit;
use crate::cli::marks::report::Report;
use crate::cli::output::{Failure, exit_of};
use crate::cli::remembered::own_ledger;
use crate::config::Config;
use crate::humanize::count;
use crate::json::error_report::ErrorReport;
use crate::ledger::{Ledger, SightingRow};
use alyx_client::NextStep;
use alyx_registration::{
    AuditRules, Error, Evidence, Finding, MARKS_AT_ONCE, Mark, MarkDecision, MarkRoot, MarkTarget, NotMarked,
    RegistrationClient, SessionPair, Sighting, may_mark,
};

/// How many copies that are not marked are named.
const MAX_NAMED: usize = 20;

/// What a person asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct MarkOptions {
    /// `--mark`
    pub(super) wanted: bool,
    /// `--mark-many`
    pub(super) many: Option<u64>,
    /// `--undo-list`
    pub(super) undo_list: Option<PathBuf>,
}

/// What a run may mark.
pub(super) struct Marks<'a> {
    config: &'a Config,
    options: MarkOptions,
    /// The marks that this command gives.
    marks: &'static [Mark],
    report: Report,
    roots: Vec<MarkRoot>,
    hangs_after: Duration,
    found: Mutex<Found>,
}

/// What was found up to now.
#[derive(Default)]
struct Found {
    /// The ledger, once it is needed; as the error, why it cannot be used.
    ledger: Option<Result<Arc<Ledger>, String>>,
    /// The sessions with earlier sightings, by mark.
    sighted: HashMap<Mark, BTreeSet<String>>,
    /// The first copies that may be marked, as many as one run marks.
    ready: Vec<Ready>,
    n_ready: u64,
    /// Copies that were not seen early enough, and from when on the first of them may be marked.
    later: u64,
    not_before: Option<Timestamp>,
    /// The first copies that cannot be marked.
    not: Vec<NotMarked>,
    n_not: u64,
}

/// A copy that may be marked, and the disk on which it was seen twice.
struct Ready {
    target: MarkTarget,
    evidence: Evidence,
}

/// What marking has done, in numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct MarkTotals {
    pub(super) could_be_marked: u64,
    pub(super) marked: u64,
    pub(super) not_marked: u64,
    /// Why it ended early, or did not begin.
    pub(super) errors: Vec<ErrorReport>,
    /// The exit code of such an error.
    pub(super) exit: Option<Exit>,
}

impl Found {
    fn refuse(&mut self, not: NotMarked) {
        self.n_not += 1;
        if self.not.len() < MAX_NAMED {
            self.not.push(not);
        }
    }
}

impl<'a> Marks<'a> {
    /// Nothing is found yet. `marks`: those that this command gives.
    pub(super) fn begin(
        config: &'a Config,
        options: MarkOptions,
        marks: &'static [Mark],
        report: Report,
        hangs_after: Duration,
    ) -> Self {
        let root = |root: &crate::config::DataRoot| MarkRoot {
            path: root.path.clone(),
            marker: root.require_marker.clone(),
        };
        let roots = config.data_roots.iter().map(root).collect();
        Self { config, options, marks, report, roots, hangs_after, found: Mutex::default() }
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a session was marked as this by no finding, but may have been before.
    async fn was_sighted(&self, mark: Mark, eid: &str) -> bool {
        if !self.found().sighted.contains_key(&mark) {
            // A ledger that does not exist yet is created with the first sighting.
            let state_dir = self.config.state_dir.clone();
            let work = move || {
                let ledger = Ledger::open_existing(&state_dir, crate::ledger::Access::Read).ok().flatten();
                ledger.map(|ledger| ledger.sighted(mark.name())).unwrap_or_default()
            };
            let sighted = tokio::task::spawn_blocking(work).await.unwrap_or_default();
            self.found().sighted.insert(mark, sighted);
        }
        self.found().sighted.get(&mark).is_some_and(|sighted| sighted.contains(eid))
    }

    async fn ledger(&self) -> Result<Arc<Ledger>, String> {
        if let Some(ledger) = self.found().ledger.clone() {
            return ledger;
        }
        let config = self.config.clone();
        let opened = tokio::task::spawn_blocking(move || own_ledger(&config)).await;
        let opened = opened.unwrap_or_else(|error| Err(error.to_string())).map(Arc::new);
        self.found().ledger.get_or_insert(opened).clone()
    }

    /// Takes what was found in a session. What cannot be looked at is left to the next run.
    pub(super) async fn take(
        &self,
        client: &RegistrationClient,
        pair: &SessionPair,
        findings: &[Finding],
        rules: &AuditRules<'_>,
    ) {
        let Some(eid) = pair.eids.first() else { return };
        let targets = match client.mark_targets(pair, findings, rules).await {
            Ok(targets) => targets,
            Err(error) => {
                self.found().refuse(of_session(pair, &error));
                return;
            }
        };
        for mark in self.marks {
            let mut own = Vec::new();
            for target in &targets {
                match target {
                    Ok(target) if target.mark == *mark => own.push(target.clone()),
                    Ok(_) => {}
                    // Once, whatever the mark.
                    Err(not) if self.marks.first() == Some(mark) => self.found().refuse(not.clone()),
                    Err(_) => {}
                }
            }
            if own.is_empty() && !self.was_sighted(*mark, eid).await {
                continue;
            }
            match client.mark_evidence(&own, &self.roots, self.hangs_after).await {
                Ok(evidence) => self.sighted(eid, *mark, own.into_iter().zip(evidence)).await,
                Err(error) => self.found().refuse(of_session(pair, &error)),
            }
        }
    }

    /// Remembers what is seen of a session now, in place of what was seen before.
    async fn sighted(
        &self,
        eid: &str,
        mark: Mark,
        seen: impl Iterator<Item = (MarkTarget, Result<Evidence, String>)>,
    ) {
        let now = Timestamp::now();
        let mut there = Vec::new();
        for (target, evidence) in seen {
            match evidence {
                Ok(evidence) => there.push((target, evidence)),
                Err(why) => self.found().refuse(target.not_marked(why)),
            }
        }
        let ledger = match self.ledger().await {
            Ok(ledger) => ledger,
            Err(_) => return self.without_ledger(there),
        };
        let (of, targets) = (eid.to_owned(), there.clone());
        let work = move || {
            let earlier = ledger.sightings(&of, mark.name())?;
            let earlier = |target: &MarkTarget| {
                let is_it =
                    |row: &&SightingRow| row.path == target.path && row.repository == target.repository;
                let row = earlier.iter().find(is_it)?;
                Some(Sighting { first: row.first, evidence: Evidence::from(row.evidence.clone()) })
            };
            let sighting = |(target, evidence): &(MarkTarget, Evidence)| {
                Sighting::now(earlier(target), evidence.clone(), now)
            };
            let sightings: Vec<Sighting> = targets.iter().map(sighting).collect();
            let row = |((target, _), sighting): (&(MarkTarget, Evidence), &Sighting)| SightingRow {
                eid: of.clone(),
                repository: target.repository.clone(),
                path: target.path.clone(),
                mark: mark.name().to_owned(),
                session: target.session.clone(),
                evidence: sighting.evidence.as_str().to_owned(),
                first: sighting.first,
                last: now,
            };
            let rows: Vec<SightingRow> = targets.iter().zip(&sightings).map(row).collect();
            ledger.set_sightings(&of, mark.name(), &rows)?;
            Some(sightings)
        };
        let Some(sightings) = tokio::task::spawn_blocking(work).await.ok().flatten() else {
            return self.without_ledger(there);
        };
        let limit = self.options.many.unwrap_or(MARKS_AT_ONCE);
        let mut found = self.found();
        for ((target, evidence), sighting) in there.into_iter().zip(sightings) {
            match sighting.decide(now) {
                MarkDecision::Mark => {
                    found.n_ready += 1;
                    if found.n_ready <= limit {
                        found.ready.push(Ready { target, evidence });
                    }
                }
                MarkDecision::NotBefore(time) => {
                    found.later += 1;
                    found.not_before = Some(found.not_before.map_or(time, |first| first.min(time)));
                }
            }
        }
    }

    fn without_ledger(&self, targets: Vec<(MarkTarget, Evidence)>) {
        let mut found = self.found();
        let why = match &found.ledger {
            Some(Err(why)) => why.clone(),
            _ => "the ledger cannot be written; see the log".to_owned(),
        };
        for (target, _) in targets {
            found.refuse(target.not_marked(format!("it must be seen twice, and is not remembered: {why}")));
        }
    }

    /// Marks what may be marked, or says what could be. `compared`: how many datasets the run has compared.
    pub(super) async fn finish(
        &self,
        client: &RegistrationClient,
        compared: u64,
        shutdown: &CancellationToken,
    ) -> MarkTotals {
        let found = std::mem::take(&mut *self.found());
        let mut totals = MarkTotals { could_be_marked: found.n_ready, ..MarkTotals::default() };
        let is_too_many = !may_mark(found.n_ready, compared, self.options.many);
        if !self.options.wanted {
            for ready in &found.ready {
                self.report.would_mark(&ready.target);
            }
            self.report.hint(&found_numbers(&found), is_too_many);
            return totals;
        }
        totals.not_marked = found.n_not + found.n_ready;
        for not in &found.not {
            self.report.not_marked(not);
        }
        self.report.later(&found_numbers(&found));
        if is_too_many {
            totals.fail(self.too_many(found.n_ready, compared));
            return totals;
        }
        if let Err(failure) = self.mark(client, found.ready, shutdown, &mut totals).await {
            totals.fail(failure);
        }
        totals
    }

    fn too_many(&self, marks: u64, compared: u64) -> Failure {
        let files = count(marks, "file");
        match self.options.many {
            Some(many) => Failure::new(
                Exit::Incomplete,
                format!(
                    "{files} could be marked, more than --mark-many {many}: nothing is marked; look at them first, a disk may not be mounted"
                ),
            ),
            None => Failure::new(
                Exit::Incomplete,
                format!(
                    "{files} of {compared} could be marked, more than {MARKS_AT_ONCE} or more than 1 %: nothing is marked; \
                     if they are really gone, and no disk is missing, run it with --mark-many {marks}"
                ),
            ),
        }
    }
}

impl MarkTotals {
    fn fail(&mut self, failure: Failure) {
        self.exit = Some(failure.exit);
        self.errors.extend(failure.log().errors);
    }
}

/// The numbers of a run, for its report.
fn found_numbers(found: &Found) -> report::Numbers {
    report::Numbers {
        ready: found.n_ready,
        named: found.ready.len() as u64,
        later: found.later,
        not_before: found.not_before,
        not: found.n_not,
    }
}

fn of_session(pair: &SessionPair, error: &Error) -> NotMarked {
    NotMarked { session: pair.name.clone(), path: String::new(), repository: None, why: error.to_string() }
}

/// Whether all other requests would fail in the same way.
fn is_for_all(error: &Error) -> bool {
    error.is_outage() || error.next_step() == NextStep::NeedsCredentials
}

fn failed(error: &Error) -> Failure {
    let report = ErrorReport::from(error);
    let message = format!("marking ended early: {}", report.message);
    Failure::reported(exit_of(error), ErrorReport { message, ..report })
}
