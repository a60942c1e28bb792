//! What a log line says of the left-out files of a session: counts, patterns, and the most important names. Pure.

use std::collections::BTreeMap;
use std::fmt;

use crate::listing::left_out::{LeftOut, LeftOutClass, LeftOutReason};
use crate::listing::name_patterns::counted_as;
use alyx_client::text::printable;

/// Files that a summary keeps by name, and details that it shows of a reason.
const MAX_NAMED: usize = 20;
const MAX_DETAILS: usize = 5;

/// The files that were left out, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOutSummary {
    groups: BTreeMap<&'static str, Group>,
    named: Vec<LeftOut>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Group {
    n: usize,
    /// How many files have each pattern, or names.
    details: BTreeMap<String, usize>,
}

impl LeftOutSummary {
    /// Counts files by reason, and keeps the first names, the most important class first.
    pub fn of(left_out: &[LeftOut]) -> Self {
        let mut summary = Self::default();
        // A sidecar does its work where it is.
        for file in left_out.iter().filter(|file| file.reason != LeftOutReason::Sidecar) {
            let group = summary.groups.entry(file.reason.group()).or_default();
            group.n += 1;
            match file.reason.class() {
                LeftOutClass::Noise => {}
                LeftOutClass::NotADataset => {
                    *group.details.entry(counted_as(&file.path)).or_default() += 1;
                }
                _ => {
                    if group.details.len() < MAX_DETAILS {
                        group.details.insert(file.path.to_string_lossy().into_owned(), 1);
                    }
                }
            }
        }
        let mut named: Vec<&LeftOut> =
            left_out.iter().filter(|file| file.reason.class() != LeftOutClass::Noise).collect();
        named.sort_by_key(|file| file.reason.class());
        summary.named = named.into_iter().take(MAX_NAMED).cloned().collect();
        summary
    }

    /// Whether nothing was left out.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The first 20 files by name, near misses first; none that is only counted.
    pub fn named(&self) -> &[LeftOut] {
        &self.named
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut details: Vec<(&String, usize)> = self.details.iter().map(|(what, n)| (what, *n)).collect();
        details.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        let more = if details.len() > MAX_DETAILS || self.n > details.iter().map(|(_, n)| n).sum() {
            ", …"
        } else {
            ""
        };
        let shown = |(what, n): (&String, usize)| {
            if n == 1 { printable(what) } else { format!("{n} {}", printable(what)) }
        };
        let details: Vec<String> = details.into_iter().take(MAX_DETAILS).map(shown).collect();
        if details.is_empty() { Ok(()) } else { write!(f, " ({}{more})", details.join(", ")) }
    }
}

impl fmt::Display for LeftOutSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups: Vec<String> =
            self.groups.iter().map(|(reason, group)| format!("{} {reason}{group}", group.n)).collect();
        f.write_str(&groups.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use alf::dataset_type::NoDatasetType;

    const NO_TYPE: LeftOutReason = LeftOutReason::NoType(NoDatasetType::None);

    fn left_out(files: &[(&str, LeftOutReason)]) -> Vec<LeftOut> {
        files.iter().map(|(path, reason)| LeftOut { path: path.into(), reason: reason.clone() }).collect()
    }

    #[test]
    fn a_summary_counts_noise_patterns_and_names() {
        let mut files = left_out(&[
            (".git", LeftOutReason::Hidden),
            ("alyx-session.yaml", LeftOutReason::Sidecar),
            ("a.x.npy", NO_TYPE),
            ("leftCamera.raw.MP4", LeftOutReason::NearMiss("leftCamera.raw.mp4".into())),
            ("README", LeftOutReason::NotAlf),
        ]);
        files.extend(
            (0..30).map(|n| LeftOut { path: format!("{n}.nwb").into(), reason: LeftOutReason::NotAlf }),
        );
        let summary = LeftOutSummary::of(&files);
        assert_eq!(
            summary.to_string(),
            "1 almost a dataset (leftCamera.raw.MP4), 1 hidden, 31 no ALF name (30 *.nwb, README), 1 no dataset type \
             (a.x.npy)"
        );
        let named: Vec<&Path> = summary.named().iter().map(|file| file.path.as_path()).collect();
        assert_eq!(named[..3], [Path::new("leftCamera.raw.MP4"), Path::new("a.x.npy"), Path::new("README")]);
        assert_eq!(named.len(), MAX_NAMED);
    }
}
