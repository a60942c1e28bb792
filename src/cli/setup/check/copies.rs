//! The checks of the repositories in which copies are looked for: whether their disks are there, and are what they are said to be.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::path::{Path, PathBuf};

use crate::cli::exit::Exit;
use crate::cli::setup::check::labs::RootFolders;
use crate::cli::setup::check::row::Row;
use alyx_registration::{FollowMode, FollowedRepository};

const CHECK: &str = "copies";

/// The row of a repository. Blocks.
pub(super) fn row(repository: &FollowedRepository, roots: &[PathBuf], mode: FollowMode) -> Row {
    let (path, name) = (&repository.mount.path, &repository.mount.repository);
    let shown = path.display();
    if let Some(why) = repository.unavailable() {
        let found = format!("{name}: {shown}: {why}");
        return Row::warning(CHECK, found, "mount its disk; until then no copy is found there");
    }
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let is_it = |root: &&PathBuf| real(root) == real(path);
    if let Some(root) = roots.iter().find(is_it).filter(|_| !repository.is_own) {
        let found =
            format!("{name}: {shown} is the data root {} itself, so it holds no copies", root.display());
        return Row::problem(CHECK, Exit::Config, found, "correct its path in repositories, or leave it out");
    }
    if !repository.is_own && !path.ends_with("Subjects") && !RootFolders::load(path).labs.is_empty() {
        let found = format!(
            "{name}: {shown} holds the folders of labs, but no subjects: no copy will be found there"
        );
        return Row::warning(
            CHECK,
            found,
            "end its path in repositories with the lab and Subjects, as in /mnt/server/cortexlab/Subjects",
        );
    }
    let by = if mode == FollowMode::Size { "size alone (follow: size)" } else { "their MD5" };
    Row::ok(CHECK, format!("{name}: copies are looked for in {shown}, and compared by {by}"))
}
