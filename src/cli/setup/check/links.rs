//! The check of links: which links in the sessions of a data root are refused, and the setting that allows them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::cli::setup::check::row::Row;
use alyx_registration::{DataFolders, Refusal, allow_line};

const CHECK: &str = "links";

/// The links of sessions that are refused. Blocks; what was found so far when `stop` is set.
pub(super) fn find(
    data: &DataFolders,
    sessions: &[PathBuf],
    stop: &dyn Fn() -> bool,
) -> Vec<(PathBuf, Refusal)> {
    sessions.iter().flat_map(|session| data.refused_links(session, stop)).collect()
}

/// The rows of the refused links, one for each reason. Pure.
pub(super) fn rows(root: &Path, refused: Vec<(PathBuf, Refusal)>) -> Vec<Row> {
    let mut out_of_roots: BTreeMap<Vec<PathBuf>, Vec<(PathBuf, PathBuf)>> = BTreeMap::new();
    let mut never = Vec::new();
    for (link, refusal) in refused {
        match refusal {
            Refusal::Outside { target, allow } => {
                out_of_roots.entry(allow).or_default().push((link, target));
            }
            Refusal::Private | Refusal::System => never.push((link, refusal)),
        }
    }
    let outside = out_of_roots.into_iter().filter_map(|(allow, links)| {
        let (link, target) = links.first()?;
        let found = format!(
            "{}: {} {} → {}",
            root.display(),
            match links.len() {
                1 => "1 dataset is a link that leads out of the data roots and is not followed:".to_owned(),
                n => format!(
                    "{n} datasets are links that lead out of the data roots and are not followed, such as"
                ),
            },
            link.display(),
            target.display()
        );
        Some(match allow.is_empty() {
            true => Row::warning(CHECK, found, "remove it"),
            false => Row::warning(CHECK, found, format!("if data is kept there, set {}", allow_line(&allow))),
        })
    });
    let never = never.first().map(|(link, refusal)| {
        Row::warning(CHECK, format!("{}: {} {refusal}", root.display(), link.display()), "")
    });
    outside.chain(never).collect()
}
