//! Reading any file ends with a configuration, or with errors that name the file.

use std::path::Path;

use alyx_registrar::config::Config;
use proptest::prelude::*;

const SAMPLE: &str = include_str!("../../config/alyx-registrar.yaml");

/// Fragments with a meaning in YAML or in the configuration, to get past the first character.
const PIECES: [&str; 34] = [
    "data_roots",
    "alyx",
    "url",
    "flags",
    "session",
    "json",
    "workers",
    ":",
    ": ",
    "\n",
    "\n  ",
    "\n    ",
    "\r",
    "\u{2028}",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "&a ",
    "*a",
    "!t ",
    "? ",
    "---\n",
    "...\n",
    "\"",
    "'",
    "|\n",
    "#",
    "~",
    "/data",
    "5 min",
    "0",
];

/// Parses the text, and checks that every error is one line that begins with the name of the file.
fn judged(text: &str) -> Result<(), TestCaseError> {
    if let Err(errors) = Config::parse(text, Path::new("the-file.yaml")) {
        prop_assert!(errors.iter().count() > 0);
        for error in &errors {
            let message = error.to_string();
            prop_assert!(message.starts_with("the-file.yaml:"), "{message:?}");
            prop_assert!(!message.contains(['\n', '\r']), "{message:?}");
            prop_assert!(
                error.line.is_none_or(|line| line >= 1 && line <= text.split('\n').count() + 1),
                "{message:?}"
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn any_bytes_in_the_file_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        judged(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn any_text_is_judged(text in any::<String>()) {
        judged(&text)?;
    }

    #[test]
    fn any_row_of_yaml_pieces_is_judged(
        pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..40),
    ) {
        judged(&pieces.concat())?;
    }

    #[test]
    fn the_sample_with_a_few_bytes_changed_is_judged(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = SAMPLE.as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        judged(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn the_sample_with_a_line_gone_doubled_or_indented_is_judged(
        at in any::<prop::sample::Index>(),
        what in 0..3,
        piece in proptest::sample::select(&PIECES[..]),
    ) {
        let mut lines: Vec<String> =
            SAMPLE.lines().filter(|line| !line.trim_start().starts_with('#')).map(str::to_owned).collect();
        let at = at.index(lines.len());
        match what {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[at].clone()),
            _ => lines[at].insert_str(0, piece),
        }
        judged(&lines.join("\n"))?;
    }
}
