//! The tally: what an audit has compared and found, in numbers. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cli::exit::Exit;
use crate::humanize::count;
use alyx_registration::{AuditTotals, FindingKind};

/// The numbers of an audit, as JSON and in the state folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    sessions: u64,
    flagged: u64,
    datasets: u64,
    ok: u64,
    elsewhere: u64,
    /// Sessions, subjects, folders and roots that could not be compared.
    not_compared: u64,
    /// Every kind, by its name.
    findings: BTreeMap<String, u64>,
    /// Sessions that a flag would complete.
    flag_would_complete: u64,
    /// Flags that were put.
    flags_put: u64,
}

impl Default for Tally {
    fn default() -> Self {
        let kinds = FindingKind::ALL.into_iter().filter(|kind| !kind.needs_reading());
        let findings = kinds.map(|kind| (kind.name().to_owned(), 0)).collect();
        let (sessions, flagged, datasets, ok, elsewhere, not_compared) = Default::default();
        let (flag_would_complete, flags_put) = Default::default();
        Self {
            sessions,
            flagged,
            datasets,
            ok,
            elsewhere,
            not_compared,
            findings,
            flag_would_complete,
            flags_put,
        }
    }
}

impl Tally {
    pub(super) fn add(&mut self, totals: &AuditTotals) {
        self.sessions += totals.sessions;
        self.flagged += totals.flagged;
        self.datasets += totals.datasets;
        self.ok += totals.ok;
        self.elsewhere += totals.elsewhere;
        for (kind, n) in &totals.findings {
            *self.findings.entry(kind.name().to_owned()).or_default() += n;
        }
    }

    pub(super) fn not_compared(&mut self, n: usize) {
        self.not_compared += n as u64;
    }

    pub(super) fn could_be_flagged(&mut self) {
        self.flag_would_complete += 1;
    }

    pub(super) fn flag_put(&mut self) {
        self.flags_put += 1;
    }

    fn differences(&self) -> u64 {
        self.findings.values().sum()
    }

    /// The exit code of an audit that has reached its end.
    pub(super) fn exit(&self) -> Exit {
        if self.differences() + self.not_compared == 0 { Exit::Success } else { Exit::Incomplete }
    }

    /// The summary for people. `asks`: flags were asked for.
    pub(super) fn lines(&self, asks: bool) -> Vec<String> {
        let mut lines = vec![format!(
            "{} compared, with {}: {} as on disk, {} not expected here, {}",
            count(self.sessions, "session"),
            count(self.datasets, "dataset"),
            self.ok,
            self.elsewhere,
            count(self.differences(), "difference"),
        )];
        for kind in FindingKind::ALL {
            let n = self.findings.get(kind.name()).copied().unwrap_or_default();
            if n > 0 {
                lines.push(format!("  {:<26}{n:>9}", kind.to_string()));
            }
        }
        if self.flagged > 0 {
            let flagged = count(self.flagged, "session");
            lines.push(format!("{flagged} flagged: what registering will add is not listed"));
        }
        if self.not_compared > 0 {
            lines.push(format!("{} not compared, see above", self.not_compared));
        }
        if self.flag_would_complete > 0 && !asks {
            let sessions = count(self.flag_would_complete, "session");
            lines
                .push(format!("{sessions} would be completed by registering: audit --flag puts their flags"));
        }
        if self.flags_put > 0 {
            lines.push(format!("{} put", count(self.flags_put, "flag")));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_whether_all_is_as_alyx_says() {
        assert_eq!(Tally::default().exit(), Exit::Success);
        let mut differs = Tally::default();
        let findings = [(FindingKind::Missing, 2)].into();
        differs.add(&AuditTotals { sessions: 1, findings, ..AuditTotals::default() });
        assert_eq!(differs.exit(), Exit::Incomplete);
        let mut missed = Tally::default();
        missed.not_compared(1);
        assert_eq!(missed.exit(), Exit::Incomplete);
    }

    #[test]
    fn the_summary_lists_only_kinds_that_occur() {
        let mut tally = Tally::default();
        let findings = [(FindingKind::Missing, 2), (FindingKind::NoHash, 1)].into();
        tally.add(&AuditTotals { sessions: 3, datasets: 9, ok: 6, findings, ..AuditTotals::default() });
        let lines = tally.lines(false);
        assert_eq!(
            lines[0],
            "3 sessions compared, with 9 datasets: 6 as on disk, 0 not expected here, 3 differences"
        );
        assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["missing", "2"]);
        assert_eq!(lines.len(), 3);
    }
}
