//! The recordings: text files, one item a line where that is possible.

use std::fmt::Write as _;
use std::path::PathBuf;

/// The file of a recording.
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/0.1.0").join(name)
}

/// Whether recordings are to be replaced.
pub fn recording() -> bool {
    std::env::var("RECORD").is_ok_and(|value| value == "1")
}

/// Compares a text with its recording, or records it.
#[track_caller]
pub fn compare(name: &str, now: &str) {
    let now = format!("{}\n", now.trim_end());
    let file = path(name);
    if recording() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &now).unwrap();
        return;
    }
    let before = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        before == now,
        "{} differs (-: recorded, +: now). Where this is intended, record it anew: RECORD=1 cargo test --test it compatibility::\n{}",
        file.display(),
        difference(&before, &now)
    );
}

/// The lines that differ, each with its number in its own text.
fn difference(before: &str, now: &str) -> String {
    let (before, now): (Vec<&str>, Vec<&str>) = (before.lines().collect(), now.lines().collect());
    // The length of the longest common subsequence of what follows each pair of places.
    let mut common = vec![vec![0usize; now.len() + 1]; before.len() + 1];
    for i in (0..before.len()).rev() {
        for j in (0..now.len()).rev() {
            common[i][j] = if before[i] == now[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, String::new());
    while i < before.len() || j < now.len() {
        if i < before.len() && j < now.len() && before[i] == now[j] {
            (i, j) = (i + 1, j + 1);
        } else if i < before.len() && (j == now.len() || common[i + 1][j] >= common[i][j + 1]) {
            let _ = writeln!(out, "{:5} - {}", i + 1, before[i]);
            i += 1;
        } else {
            let _ = writeln!(out, "{:5} + {}", j + 1, now[j]);
            j += 1;
        }
    }
    out
}

#[test]
fn a_difference_shows_the_lines_that_differ_and_no_others() {
    assert_eq!(difference("a\nb\nc\n", "a\nx\nc\nd\n"), "    2 - b\n    2 + x\n    4 + d\n");
    assert_eq!(difference("a\nb\n", "a\nb\n"), "");
}
