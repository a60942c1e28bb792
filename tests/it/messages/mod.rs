//! `docs/messages.md` lists every warning and error of the program, with cause and cure; none is missing, and none is
//! there that the program does not say. The sources are read for it, as tokens.
//!
//! A message that is new: `cargo test --test it messages::` prints its row; put it into the table where it belongs, with its
//! cause and its cure in place of the capitals.

mod manual;
mod sources;

use std::collections::{BTreeMap, BTreeSet};

use manual::{Row, rows, written};
use sources::{Kind, Said, of_file};

/// The files that say what another one has worded (`"{error}"`). Before one is added: is the wording found by `sources`?
/// Errors with `#[error("…")]` are.
const PASSES_ON: [&str; 16] = [
    "crates/alyx-client/src/error.rs",
    "crates/alyx-registration/src/error.rs",
    "src/cli/check.rs",
    "src/cli/init.rs",
    "src/cli/monitoring.rs",
    "src/cli/reload.rs",
    "src/cli/retry.rs",
    "src/cli/sandbox.rs",
    "src/cli/scan_roots.rs",
    "src/cli/state.rs",
    "src/cli/verbs/connect.rs",
    "src/cli/verbs/output.rs",
    // Among others the errors of the configuration, which are not looked for.
    "src/cli/wiring.rs",
    "src/config/credentials.rs",
    "src/daemon/run_loop/dispatcher/mod.rs",
    "src/ledger/mod.rs",
];

fn manual_text() -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/messages.md");
    std::fs::read_to_string(path).unwrap()
}

/// Every message of the program, how it is said, and where.
fn said() -> BTreeMap<String, (BTreeSet<Kind>, Vec<String>)> {
    let mut messages = BTreeMap::<String, (BTreeSet<Kind>, Vec<String>)>::new();
    for (file, said) in sources::all() {
        for one in said.into_iter().filter(|one| !one.passes_on()) {
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
fn every_message_stands_in_the_manual() {
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
fn the_manual_has_no_message_that_the_program_does_not_say() {
    let said = said();
    let stale: Vec<String> = rows(&manual_text())
        .iter()
        .filter(|row| said.get(&row.text).is_none_or(|(kinds, _)| words(kinds) != row.kinds))
        .map(|row| format!("docs/messages.md:{}: {} ({})", row.line, row.text, row.kinds))
        .collect();
    assert!(stale.is_empty(), "the program does not say this, or not in this way:\n{}", stale.join("\n"));
}

#[test]
fn every_message_has_one_row_with_a_cause_and_a_cure() {
    let mut seen = BTreeSet::new();
    for Row { text, cause, cure, line, .. } in rows(&manual_text()) {
        let told = |cell: &str| cell.len() > 2 && cell != "CAUSE" && cell != "CURE";
        assert!(told(&cause) && told(&cure), "docs/messages.md:{line}: no cause or no cure");
        assert!(seen.insert(text), "docs/messages.md:{line}: a second row");
    }
}

#[test]
fn what_is_passed_on_is_worded_where_it_is_looked_for() {
    let passing = sources::all().into_iter().filter(|(_, said)| said.iter().any(Said::passes_on));
    let passing: Vec<String> = passing.map(|(file, _)| file).collect();
    assert_eq!(passing, PASSES_ON);
}

#[test]
fn messages_are_found_wherever_they_are_said() {
    let source = r##"
        /// Errors "of this kind" are many.
        #[derive(Error)]
        enum Error {
            #[error("{path:?} is gone ({0}); look for {{it}}", .0.join("; "))]
            Gone(Vec<String>),
            #[error(transparent)]
            Other(#[from] io::Error),
        }
        fn complain(what: impl Display) {}
        fn work() {
            tracing::info!("all is well here");
            tokio::select! {
                a = b => tracing::warn!(root = %root.display(), "over \
                    two lines: {}", "not this"),
                c = d => { error!("{e}"); }
            }
            complain(format_args!("no {thing} can be had"));
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
