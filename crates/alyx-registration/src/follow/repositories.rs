//! The repositories in which copies are looked for. Pure.

use std::path::{Path, PathBuf};

use crate::client::options::FlaggedOptions;
use crate::repository::mount::Mount;

/// A repository on a disk of this computer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowedRepository {
    /// Where it is.
    pub mount: Mount,
    /// Whether sessions are registered in it from a data root there: then its files are no copies of others here.
    pub is_own: bool,
}

impl FollowedRepository {
    /// The repositories of these options in which copies are looked for.
    ///
    /// Not one from which files are registered with `exists: false`: that is meant to stay until other software changes it.
    ///
    /// ```
    /// use alyx_registration::{FlaggedOptions, FollowedRepository, Mount};
    ///
    /// let mount = |path: &str, name: &str| Mount { path: path.into(), repository: name.into() };
    /// let mounts = vec![mount("/data", "rig"), mount("/mnt/server", "server")];
    /// let mut options = FlaggedOptions { mounts, ..FlaggedOptions::default() };
    /// let followed = |options: &FlaggedOptions| -> Vec<(String, bool)> {
    ///     let all = FollowedRepository::of(options, &["/data".into()]);
    ///     all.into_iter().map(|one| (one.mount.repository, one.is_own)).collect()
    /// };
    /// options.files.exists = false;
    /// assert_eq!(followed(&options), [("server".to_owned(), false)]);
    /// options.files.exists = true;
    /// assert_eq!(followed(&options), [("rig".to_owned(), true), ("server".to_owned(), false)]);
    /// ```
    pub fn of(options: &FlaggedOptions, roots: &[PathBuf]) -> Vec<Self> {
        let mut followed = Vec::new();
        for mount in &options.mounts {
            let inside = roots.iter().filter_map(|root| common(root, &mount.path));
            let placements = inside.map(|folder| options.placement_in(folder));
            let own: Vec<_> = placements
                .filter(|placement| placement.repository.as_ref() == Some(&mount.repository))
                .collect();
            if own.iter().all(|placement| placement.exists) {
                followed.push(Self { mount: mount.clone(), is_own: !own.is_empty() });
            }
        }
        followed
    }
}

/// The inner one of two folders of which one holds the other.
fn common<'a>(one: &'a Path, other: &'a Path) -> Option<&'a Path> {
    match (one.starts_with(other), other.starts_with(one)) {
        (true, _) => Some(one),
        (_, true) => Some(other),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followed(mounts: &[(&str, &str)], named: Option<&str>, roots: &[&str]) -> Vec<(String, bool)> {
        let mount = |(path, name): &(&str, &str)| Mount { path: path.into(), repository: (*name).into() };
        let mut options =
            FlaggedOptions { mounts: mounts.iter().map(mount).collect(), ..FlaggedOptions::default() };
        options.files.repository = named.map(str::to_owned);
        let roots: Vec<PathBuf> = roots.iter().map(PathBuf::from).collect();
        let all = FollowedRepository::of(&options, &roots);
        all.into_iter().map(|one| (one.mount.repository, one.is_own)).collect()
    }

    #[test]
    fn a_repository_is_this_computers_own_only_if_its_data_root_registers_in_it() {
        let one = |name: &str, is_own| vec![(name.to_owned(), is_own)];
        assert_eq!(followed(&[("/data", "rig")], None, &["/data"]), one("rig", true));
        assert_eq!(followed(&[("/data", "rig")], None, &["/data/cortexlab/Subjects"]), one("rig", true));
        // A folder of repositories.
        assert_eq!(followed(&[("/data/a", "a")], None, &["/data"]), one("a", true));
        assert_eq!(followed(&[("/mnt/server", "server")], Some("rig"), &["/data"]), one("server", false));
        // The configuration contradicts itself: what is there is compared with the source, file by file.
        assert_eq!(followed(&[("/data", "server")], Some("rig"), &["/data"]), one("server", false));
    }
}
