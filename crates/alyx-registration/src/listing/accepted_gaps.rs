//! Accepted gaps: those that a person has acknowledged. They no longer keep a flag. Pure.

use glob::Pattern;

use crate::listing::gap::Gap;

/// The gaps of a session that were acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AcceptedGaps {
    /// A gap is accepted if each of its files matches one of these.
    pub patterns: Vec<Pattern>,
    /// A gap that was acknowledged itself: its kind, and its files.
    pub gap: Option<(String, Vec<String>)>,
}

impl AcceptedGaps {
    /// Whether each of these files matches a pattern.
    pub fn cover(&self, files: &[String]) -> bool {
        let matches = |file: &String| self.patterns.iter().any(|pattern| pattern.matches(file));
        !files.is_empty() && files.iter().all(matches)
    }

    /// Whether a gap was acknowledged.
    pub fn accept(&self, gap: &Gap) -> bool {
        let files = gap.names();
        let is_same = |(kind, known): &(String, Vec<String>)| kind == gap.kind() && *known == files;
        self.cover(&files) || self.gap.as_ref().is_some_and(is_same)
    }
}
