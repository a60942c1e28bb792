//! `docs/messages.md` lists every warning and error of the program, with cause and fix: none is missing, and none is
//! listed that the program cannot print. The test parses the sources into tokens.
//!
//! For a new message, `cargo test --test it messages::` prints its row; put it into the right table, and replace the
//! words in capitals by its cause and fix.

mod manual;
mod sources;

use std::collections::{BTreeMap, BTreeSet};

use manual::{Row, rows, written};
use sources::{Kind, Said, of_file};

/// Files that forward messages worded elsewhere (`"{error}"`). Before adding one, check that `sources` finds the
/// wording; it finds `#[error("…")]`.
const FORWARDING_FILES: [&str; 23] = [
    "crates/alyx-client/src/error.rs",
    "crates/alyx-registration/src/error/mod.rs",
    "crates/alyx-registration/src/hashing/lanes.rs",
    "src/cli/audit/flags.rs",
    "src/cli/audit/report.rs",
    "src/cli/follow/report.rs",
    "src/cli/output.rs",
    "src/cli/practice/sandbox.rs",
    "src/cli/reclaim/report.rs",
    "src/cli/rpc/mod.rs",
    "src/cli/scan/hangs.rs",
    "src/cli/scan/scan_roots.rs",
    "src/cli/service/monitoring.rs",
    "src/cli/service/reload.rs",
    // Including the errors of the configuration, which are not searched.
    "src/cli/service/wiring.rs",
    "src/cli/setup/init.rs",
    "src/cli/verbs/connect.rs",
    "src/cli/verbs/propose.rs",
    "src/config/sections/credentials.rs",
    "src/daemon/run_loop/dispatcher/hangs.rs",
    "src/daemon/run_loop/dispatcher/mod.rs",
    // Including the reasons of `NotLoadable`.
    "src/daemon/run_loop/loadability.rs",
    "src/ledger/mod.rs",
];

fn manual_text() -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/messages.md");
    std::fs::read_to_string(path).unwrap()
}

/// Every message of the program, its kinds, and where it is.
fn said() -> BTreeMap<String, (BTreeSet<Kind>, Vec<String>)> {
    let mut messages = BTreeMap::<String, (BTreeSet<Kind>, Vec<String>)>::new();
    for (file, said) in sources::all() {
        for one in said.into_iter().filter(|one| !one.forwards()) {
            let (kinds, places) = messages.entry(one.text).or_default();
            kinds.insert(one.kind);
            places.push(format!("{file}:{}", one.line));
        }
    }
    messages
}

fn words(kinds: &BTreeSet<Kind>) -> String {
    kinds.iter().map(|kind| kind.word()).collect::<Vec<_>>().join(", ")
}

#[test]
fn every_message_is_in_the_manual() {
    let manual = rows(&manual_text());
    let is_there = |text: &str, kinds: &str| manual.iter().any(|row| row.text == text && row.kinds == kinds);
    let missing: Vec<String> = said()
        .iter()
        .filter(|(text, (kinds, _))| !is_there(text, &words(kinds)))
        .map(|(text, (kinds, places))| format!("{}\n    {}", written(text, &words(kinds)), places.join(", ")))
        .collect();
    assert!(missing.is_empty(), "not in docs/messages.md, or said in another way:\n{}", missing.join("\n"));
}

#[test]
fn the_manual_has_no_message_that_the_program_does_not_print() {
    let said = said();
    let stale: Vec<String> = rows(&manual_text())
        .iter()
        .filter(|row| said.get(&row.text).is_none_or(|(kinds, _)| words(kinds) != row.kinds))
        .map(|row| format!("docs/messages.md:{}: {} ({})", row.line, row.text, row.kinds))
        .collect();
    assert!(stale.is_empty(), "the program does not say this, or not in this way:\n{}", stale.join("\n"));
}

#[test]
fn every_message_has_one_row_with_a_cause_and_a_fix() {
    let mut seen = BTreeSet::new();
    for Row { text, cause, cure, line, .. } in rows(&manual_text()) {
        let is_filled = |cell: &str| cell.len() > 2 && cell != "CAUSE" && cell != "CURE";
        assert!(is_filled(&cause) && is_filled(&cure), "docs/messages.md:{line}: no cause or no cure");
        assert!(seen.insert(text), "docs/messages.md:{line}: a second row");
    }
}

#[test]
fn forwarded_messages_are_worded_in_files_that_are_searched() {
    let passing = sources::all().into_iter().filter(|(_, said)| said.iter().any(Said::forwards));
    let passing: Vec<String> = passing.map(|(file, _)| file).collect();
    assert_eq!(passing, FORWARDING_FILES);
}

#[test]
fn messages_are_found_in_every_form() {
    let source = r##"
        /// Errors "of this kind" are many.
        #[derive(Error)]
        enum Error {
            #[error("{path:?} is gone ({0}); look for {{it}}", .0.join("; "))]
            Gone(Vec<String>),
            #[error(transparent)]
            Other(#[from] io::Error),
        }
        fn report_error(what: impl Display) {}
        fn work() {
            tracing::info!("all is well here");
            tokio::select! {
                a = b => tracing::warn!(root = %root.display(), "over \
                    two lines: {}", "not this"),
                c = d => { error!("{e}"); }
            }
            report_error(format_args!("no {thing} can be had"));
            self.warnings.push(format!("{file} is open to all"));
            Err(Error::Flag { reason: r#"no "such" thing there"#.into() })
        }
        #[cfg(test)]
        mod tests {
            fn in_a_test() { tracing::warn!("never said"); }
        }
    "##;
    let found: Vec<(&str, String)> =
        of_file("src/x.rs", source).into_iter().map(|one| (one.kind.word(), one.text)).collect();
    let expected = [
        ("reason", "… is gone (…); look for {it}"),
        ("warning", "over two lines: …"),
        ("error", "…"),
        ("terminal", "no … can be had"),
        ("reason", "… is open to all"),
        ("reason", "no \"such\" thing there"),
    ];
    assert_eq!(found, expected.map(|(kind, text)| (kind, text.to_owned())));
    assert_eq!(of_file("src/x/tests.rs", source), []);
}

#[test]
fn a_row_is_read_back_as_it_was_written() {
    for text in ["… is gone", "either | or {}", "flag it with `touch`"] {
        let row = &rows(&written(text, "error, terminal"))[0];
        assert_eq!((row.text.as_str(), row.kinds.as_str()), (text, "error, terminal"));
    }
}
