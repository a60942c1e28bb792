//! Patterns that stand for many file names: to count them by, and to exclude them with. Pure.

use std::collections::BTreeSet;
use std::path::Path;

use alf::{DatasetName, DatasetTypes};
use alyx_client::text::printable;

/// The number of `exclude` lines that a message proposes.
pub(crate) const MAX_EXCLUDES: usize = 5;

/// A text with a placeholder for each number: files of a series have one pattern.
pub(crate) fn with_numbers_as(text: &str, placeholder: &str) -> String {
    let mut pattern = String::new();
    let mut in_number = false;
    for c in text.chars() {
        if !c.is_ascii_digit() {
            pattern.push(c);
        } else if !in_number {
            pattern.push_str(placeholder);
        }
        in_number = c.is_ascii_digit();
    }
    pattern
}

fn without_numbers(text: &str) -> String {
    with_numbers_as(text, "*")
}

/// The pattern in which a file that is no dataset is counted: `*.bin`, or the name of a file without an extension.
pub(crate) fn counted_as(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => format!("*.{}", without_numbers(extension)),
        _ => without_numbers(&name),
    }
}

/// The kind of an ALF name without a dataset type: its object, attribute and extension, whatever numbers it has.
pub(crate) fn kind_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match DatasetName::parse(&name) {
        Ok(name) => without_numbers(&format!("{}.{}", name.object_attribute(), name.extension())),
        Err(_) => counted_as(path),
    }
}

/// The pattern of `datasets.exclude` that leaves out such files, and no dataset of another session.
pub(crate) fn exclude_line(path: &Path, types: &DatasetTypes) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match (name.rsplit_once('.'), DatasetName::parse(&name)) {
        (Some((stem, extension)), _) if !stem.is_empty() && !types.has_extension_of(&name) => {
            format!("*.{}", glob::Pattern::escape(extension))
        }
        (_, Ok(alf)) => {
            let series = with_numbers_as(&alf.object_attribute(), "[0-9]*");
            let (begin, rest) = name.split_once(&alf.object_attribute()).unwrap_or_default();
            // `spikes.time*` would leave out `spikes.times.npy`: only another timescale or part may follow.
            let rest = rest.strip_suffix(alf.extension()).unwrap_or(rest).trim_end_matches('.');
            let any = rest.chars().next().map(|separator| format!("{separator}*")).unwrap_or_default();
            format!("**/{begin}{series}{any}.{}", alf.extension())
        }
        _ => format!("**/{}", glob::Pattern::escape(&name)),
    }
}

/// An item of a YAML list, in one line: a file name may hold a newline that would look like another line of the log.
pub(crate) fn in_yaml(pattern: &str) -> String {
    let escaped = |letter: char| match letter {
        '\\' | '"' => format!("\\{letter}"),
        letter if printable(&letter.to_string()).starts_with('\\') => format!("\\u{:04x}", letter as u32),
        letter => letter.to_string(),
    };
    format!("- \"{}\"", pattern.chars().map(escaped).collect::<String>())
}

/// Items of a YAML list, as one piece of valid YAML: a single item as its line, several as a list in brackets.
pub(crate) fn yaml_list(lines: &[String]) -> String {
    match lines {
        [line] => line.clone(),
        lines => {
            let items: Vec<&str> = lines.iter().map(|line| line.trim_start_matches("- ")).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

/// The lines of `datasets.exclude` that leave out these files.
pub(crate) fn exclude_lines<'a>(paths: impl Iterator<Item = &'a Path>, types: &DatasetTypes) -> Vec<String> {
    let lines: BTreeSet<String> = paths.map(|path| in_yaml(&exclude_line(path, types))).collect();
    lines.into_iter().take(MAX_EXCLUDES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alf::DatasetType;

    fn types() -> DatasetTypes {
        let of = |pattern: &str| DatasetType { name: pattern.into(), filename_pattern: pattern.into() };
        DatasetTypes::new(vec![of("*Camera.raw*"), of("*spikes.times*")], vec![".mp4".into(), ".npy".into()])
    }

    #[test]
    fn a_proposed_line_excludes_the_file_and_never_a_dataset() {
        for (name, line) in [
            ("raw/leftCamera.raw.MP4", "*.MP4"),
            ("run/timestamps.npy", "**/timestamps.npy"),
            ("README", "**/README"),
            ("a/b[1].txt", "*.txt"),
            ("a/b[1].npy", "**/b[[]1[]].npy"),
            ("a/_x_run12.day3_clock.npy", "**/_x_run[0-9]*.day[0-9]*_*.npy"),
            ("a/nobody.knows.part1.npy", "**/nobody.knows.*.npy"),
            ("a/spikes.time.npy", "**/spikes.time.npy"),
            ("a/spikes2.times.npy", "**/spikes[0-9]*.times.npy"),
        ] {
            let proposed = exclude_line(Path::new(name), &types());
            assert_eq!(proposed, line);
            let pattern = glob::Pattern::new(&proposed).unwrap();
            assert!(pattern.matches(name) && !pattern.matches("alf/spikes.times.npy"), "{proposed}");
        }
    }

    #[test]
    fn several_lines_for_the_configuration_are_one_valid_list() {
        let lines = ["*.MP4", "**/a \"b\".npy"].map(in_yaml);
        assert_eq!(yaml_list(&lines[..1]), r#"- "*.MP4""#);
        assert_eq!(yaml_list(&lines), r#"["*.MP4", "**/a \"b\".npy"]"#);
    }

    #[test]
    fn a_line_for_the_configuration_is_one_line_whatever_a_file_is_called() {
        let line = in_yaml("**/x\u{1b}[31m\n2026 INFO registered \"a\\b\u{202e}");
        assert_eq!(line, r#"- "**/x\u001b[31m\u000a2026 INFO registered \"a\\b\u202e""#);
    }
}
