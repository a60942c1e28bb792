//! The output of commands about protected files that move into a revision folder.

use std::path::PathBuf;

use crate::json::path_text::MovedPath;
use alyx_client::text::printable;

/// A line for each move; `verb` is `moved` or `would move`.
pub(crate) fn moved_lines(moved: &[(PathBuf, PathBuf)], verb: &'static str) -> impl Iterator<Item = String> {
    moved.iter().map(move |(from, to)| {
        let [from, to] = [from, to].map(|path| printable(&path.to_string_lossy()));
        format!("{verb} {from} to {to}: its dataset is protected")
    })
}

/// The moves as JSON.
pub(crate) fn moved_json(moved: &[(PathBuf, PathBuf)]) -> Vec<MovedPath> {
    moved.iter().map(MovedPath::from).collect()
}
