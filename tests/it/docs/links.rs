//! Links between the manuals, and to other files of the repository.

use std::path::Path;

use super::{lines, manuals};

/// The targets of `[text](target)`, except other sites.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let ends = line.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target));
    ends.filter(|target| !target.contains("://"))
}

/// The anchor of a heading.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    words.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
}

fn has_heading(file: &Path, wanted: &str) -> bool {
    let text = std::fs::read_to_string(file).unwrap();
    lines(&text)
        .into_iter()
        .any(|(block, line)| block.is_none() && line.starts_with('#') && anchor(line) == wanted)
}

#[test]
fn every_link_has_a_target() {
    let mut looked_at = 0;
    for (manual, text) in manuals() {
        for (_, line) in lines(&text).into_iter().filter(|(block, _)| block.is_none()) {
            for target in targets(line) {
                let (file, heading) = target.split_once('#').unwrap_or((target, ""));
                let path = if file.is_empty() { manual.clone() } else { manual.with_file_name(file) };
                assert!(path.exists(), "{}: {target} is not there", manual.display());
                let there = heading.is_empty() || has_heading(&path, heading);
                assert!(there, "{}: {target}: no such heading", manual.display());
                looked_at += 1;
            }
        }
    }
    assert!(looked_at > 10, "{looked_at}");
}

#[test]
fn the_anchor_of_a_heading_is_lower_case() {
    assert_eq!(anchor("## What it may do"), "what-it-may-do");
    assert_eq!(anchor("### `alyx.ca_file`"), "alyxca_file");
    assert_eq!(
        targets("see [a](b.md#c), [d](https://e) and [f](g.md)").collect::<Vec<_>>(),
        ["b.md#c", "g.md"]
    );
}
