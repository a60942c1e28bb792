//! The section `watch`: the times, and the defaults for data roots.

use std::sync::Arc;
use std::time::Duration;

use crate::config::document::{Given, WatchDocument};
use crate::config::findings::{DAY, Findings, HOUR, MINUTE, MS};
use crate::config::values::{Text, file_name_fault};
use crate::config::{WatchConfig, WatchMode};
use alyx_registration::{CopySign, QuietRules};
use session_metadata::text::locate::{KeyPath, quoted};

/// The defaults for data roots.
#[derive(Debug, Default)]
pub(crate) struct ForAllRoots {
    pub(crate) mode: WatchMode,
    pub(crate) require_marker: Option<String>,
    /// The names of flags, which a marker cannot have because flags are removed.
    pub(crate) flags: Vec<String>,
}

impl Findings {
    /// The section `watch`.
    pub(crate) fn watch(&mut self, from: WatchDocument, flags: &[String]) -> (WatchConfig, ForAllRoots) {
        let bounds = [100 * MS, DAY];
        let warn_after = self.time("watch.warn_after", from.warn_after, DAY, [Duration::ZERO, 365 * DAY]);
        let usual = QuietRules::default();
        let config = WatchConfig {
            rescan_interval: self.time("watch.rescan_interval", from.rescan_interval, 5 * MINUTE, bounds),
            poll_interval: self.time("watch.poll_interval", from.poll_interval, MINUTE, bounds),
            quiet: QuietRules {
                settle: self.time("watch.settle", from.settle, usual.settle, [Duration::ZERO, HOUR]),
                settle_remote: self.time(
                    "watch.settle_remote",
                    from.settle_remote,
                    usual.settle_remote,
                    [Duration::ZERO, HOUR],
                ),
                empty_grace: self.time(
                    "watch.empty_grace",
                    from.empty_grace,
                    usual.empty_grace,
                    [Duration::ZERO, DAY],
                ),
                copy_signs: self.copy_signs(from.copy_signs),
            },
            warn_after: Some(warn_after).filter(|after| !after.is_zero()),
            late_files: self.time("watch.late_files", from.late_files, 7 * DAY, [Duration::ZERO, 365 * DAY]),
            late_rate: self.count("watch.late_rate", from.late_rate, 200, 100_000),
        };
        let for_all_roots = ForAllRoots {
            mode: self.take(&KeyPath::of("watch.mode"), from.mode).unwrap_or_default(),
            require_marker: marker(self, &KeyPath::of("watch.require_marker"), from.require_marker, flags),
            flags: flags.to_vec(),
        };
        (config, for_all_roots)
    }
}

impl Findings {
    /// The signs of a copy in progress: those that are known, and those of the configuration.
    fn copy_signs(&mut self, given: Given<Vec<Text>>) -> Arc<[CopySign]> {
        let at = KeyPath::of("watch.copy_signs");
        let mut signs = QuietRules::default().copy_signs.to_vec();
        for (i, Text(pattern)) in self.take(&at, given).unwrap_or_default().into_iter().enumerate() {
            match CopySign::parse(&pattern) {
                Ok(sign) => signs.push(sign),
                Err(why) => self.refuse(at.index(i), format!("{} is not a pattern: {why}", quoted(&pattern))),
            }
        }
        signs.into()
    }
}

/// Validates the name of a marker file.
pub(crate) fn marker(
    findings: &mut Findings,
    at: &KeyPath,
    given: Given<Text>,
    flags: &[String],
) -> Option<String> {
    let Text(name) = findings.take(at, given)?;
    let is_flag = || format!("{} is also the name of a flag; give the marker another name", quoted(&name));
    match file_name_fault(&name).or_else(|| flags.contains(&name).then(is_flag)) {
        None => Some(name),
        Some(why) => {
            findings.refuse(at.clone(), why);
            None
        }
    }
}
