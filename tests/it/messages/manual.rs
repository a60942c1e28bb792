//! The rows of `docs/messages.md`.

use super::sources::shown;

/// One row: a message, its kind, its cause and its fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub text: String,
    /// Such as `warning` or `error, terminal`.
    pub kinds: String,
    pub cause: String,
    pub cure: String,
    pub line: usize,
}

/// All rows of a manual, without table headers.
pub fn rows(manual: &str) -> Vec<Row> {
    let lines = manual.lines().enumerate().filter(|(_, line)| line.starts_with("| `"));
    lines.map(|(at, line)| row(line, at + 1)).collect()
}

fn row(line: &str, number: usize) -> Row {
    let cells = cells(line);
    let [text, kinds, cause, cure] = cells.as_slice() else {
        panic!("docs/messages.md:{number}: {} columns, not 4", cells.len());
    };
    Row { text: unquoted(text), kinds: kinds.clone(), cause: cause.clone(), cure: cure.clone(), line: number }
}

/// In the form used in the manual.
pub fn written(text: &str, kinds: &str) -> String {
    let quote = if text.contains('`') { "``" } else { "`" };
    let space = if text.contains('`') { " " } else { "" };
    format!("| {quote}{space}{}{space}{quote} | {kinds} | CAUSE | CURE |", text.replace('|', "\\|"))
}

fn cells(line: &str) -> Vec<String> {
    let inside = line.trim().trim_start_matches('|').trim_end_matches('|').replace("\\|", "\u{0}");
    inside.split('|').map(|cell| cell.replace('\u{0}', "|").trim().to_owned()).collect()
}

fn unquoted(cell: &str) -> String {
    shown(&cell.trim_matches('`').replace('{', "{{").replace('}', "}}"))
}
