//! The tally of a verification: what was read and found, in numbers. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::verify::limits::Stopped;
use crate::humanize::{bytes, count};
use alyx_registration::{Finding, FindingKind};

/// The numbers of a verification, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    /// Sessions whose files were all looked at.
    pub(super) sessions: u64,
    /// Sessions that a limit left for the next run.
    pub(super) sessions_left: u64,
    /// Files that were read.
    pub(super) files: u64,
    /// Of these, those that are what Alyx holds.
    pub(super) equal: u64,
    /// Files that were verified recently, so that they were not read.
    pub(super) recent: u64,
    /// What was read.
    pub(super) bytes: u64,
    /// Sessions, subjects, files and roots that could not be compared.
    pub(super) not_compared: u64,
    findings: BTreeMap<&'static str, u64>,
    /// The limit that ended it.
    pub(super) stopped: Option<Stopped>,
}

impl Default for Tally {
    fn default() -> Self {
        let kinds = FindingKind::ALL.into_iter().filter(|kind| kind.doubts_copy());
        let findings = kinds.map(|kind| (kind.name(), 0)).collect();
        let (sessions, sessions_left, files, equal, recent, bytes, not_compared) = Default::default();
        Self { sessions, sessions_left, files, equal, recent, bytes, not_compared, findings, stopped: None }
    }
}

impl Tally {
    pub(super) fn add(&mut self, findings: &[Finding]) {
        for finding in findings {
            *self.findings.entry(finding.kind.name()).or_default() += 1;
        }
    }

    fn differences(&self) -> u64 {
        self.findings.values().sum()
    }

    /// The exit code, also after a limit: the rest is the next run's.
    pub(super) fn exit(&self) -> Exit {
        if self.differences() + self.not_compared == 0 { Exit::Success } else { Exit::Incomplete }
    }

    /// The summary for people.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{} verified, {} read ({}): {} as on Alyx, {}",
            count(self.sessions, "session"),
            count(self.files, "file"),
            bytes(self.bytes),
            self.equal,
            count(self.differences(), "difference"),
        )];
        for kind in FindingKind::ALL {
            let n = self.findings.get(kind.name()).copied().unwrap_or_default();
            if n > 0 {
                lines.push(format!("  {:<26}{n:>9}", kind.to_string()));
            }
        }
        if self.recent > 0 {
            lines.push(format!("{} verified recently, and unchanged since", count(self.recent, "file")));
        }
        if self.not_compared > 0 {
            lines.push(format!("{} not compared, see above", self.not_compared));
        }
        if let Some(stopped) = self.stopped {
            let left = count(self.sessions_left, "session");
            lines.push(format!(
                "stopped at {}: {left} left, with which the next run begins",
                stopped.option()
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_no_failure_and_the_summary_says_what_is_left() {
        let stopped = Some(Stopped::Bytes);
        let mut tally =
            Tally { sessions: 2, files: 5, equal: 5, sessions_left: 3, stopped, ..Tally::default() };
        assert_eq!(tally.exit(), Exit::Success);
        assert_eq!(tally.lines()[0], "2 sessions verified, 5 files read (0 B): 5 as on Alyx, 0 differences");
        assert!(tally.lines()[1].starts_with("stopped at --bytes: 3 sessions left"), "{:?}", tally.lines());
        tally.add(&[Finding::of_file(FindingKind::Rotten, "a")]);
        assert_eq!(tally.exit(), Exit::Incomplete);
        assert_eq!(tally.lines()[1].split_whitespace().collect::<Vec<_>>(), ["rotten", "1"]);
        let missed = Tally { not_compared: 1, ..Tally::default() };
        assert_eq!(missed.exit(), Exit::Incomplete);
    }
}
