//! The totals of an audit. Pure.

use std::collections::BTreeMap;

use crate::verify::finding::{Finding, FindingKind};

/// Datasets and findings, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditTotals {
    /// Sessions that were compared.
    pub sessions: u64,
    /// Those of them that have a flag: what registering will end is not reported.
    pub flagged: u64,
    /// Datasets on Alyx that were compared.
    pub datasets: u64,
    /// Datasets whose file is here as Alyx says.
    pub ok: u64,
    /// Datasets that need not be here: no record of this repository says so.
    pub elsewhere: u64,
    /// How many findings there are of each kind.
    pub findings: BTreeMap<FindingKind, u64>,
}

impl AuditTotals {
    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.flagged += other.flagged;
        self.datasets += other.datasets;
        self.ok += other.ok;
        self.elsewhere += other.elsewhere;
        for (kind, n) in &other.findings {
            *self.findings.entry(*kind).or_default() += n;
        }
    }

    /// Counts findings.
    pub(crate) fn count(&mut self, findings: &[Finding]) {
        for finding in findings {
            *self.findings.entry(finding.kind).or_default() += 1;
        }
    }

    /// How many findings there are.
    pub fn differences(&self) -> u64 {
        self.findings.values().sum()
    }
}
