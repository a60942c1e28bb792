//! The choice of a repository: named by the options, or else that of the mount on which a session is. Pure.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;

use crate::client::options::{FlaggedOptions, RegisterFilesOptions, RootDatasets};
use crate::repository::mount::Mount;
use crate::repository::placement::Placement;

impl FlaggedOptions {
    /// The options for sessions in a folder: without [`repository`](crate::RegisterFilesOptions::repository), their
    /// files are in the repository of the mount that they are on.
    pub(crate) fn for_folder(&self, folder: &Path) -> Cow<'_, Self> {
        let around = self.roots.iter().filter(|root| folder.starts_with(&root.path));
        let options = match around.max_by_key(|root| root.path.components().count()) {
            None => Cow::Borrowed(self),
            Some(root) => Cow::Owned(self.in_root(root)),
        };
        match Mount::of(folder, &self.mounts).filter(|_| options.files.repository.is_none()) {
            None => options,
            Some(mount) => {
                let mut options = options.into_owned();
                options.files.repository = Some(mount.repository.clone());
                Cow::Owned(options)
            }
        }
    }

    /// The options with those of a data root before them.
    fn in_root(&self, root: &RootDatasets) -> Self {
        let files = RegisterFilesOptions {
            repository: root.repository.clone().or_else(|| self.files.repository.clone()),
            server_only: root.server_only.unwrap_or(self.files.server_only),
            exists: root.exists.unwrap_or(self.files.exists),
            default: root.default.unwrap_or(self.files.default),
            versions: root.versions.clone().unwrap_or_else(|| self.files.versions.clone()),
            max_md5_size: root.max_md5_size.or(self.files.max_md5_size),
            protected: root.protected.unwrap_or(self.files.protected),
            ..self.files.clone()
        };
        Self {
            register_files: root.register_files.unwrap_or(self.register_files),
            files,
            exclude: root.exclude.clone().unwrap_or_else(|| self.exclude.clone()),
            on_refused: root.on_refused.unwrap_or(self.on_refused),
            on_left_out: root.on_left_out.unwrap_or(self.on_left_out),
            ..self.clone()
        }
    }

    /// Where the files of sessions in data roots are, one placement for each repository.
    pub fn placements<'a>(&self, roots: impl IntoIterator<Item = &'a Path>) -> BTreeSet<Placement> {
        let mut found = BTreeSet::new();
        for root in roots.into_iter().filter(|root| self.for_folder(root).register_files) {
            let inside = self.mounts.iter().map(|mount| mount.path.as_path());
            let inside: Vec<&Path> = inside.filter(|path| path.starts_with(root) && *path != root).collect();
            // A root with mounts inside is a folder of repositories, and none itself.
            let folders = if inside.is_empty() { vec![root] } else { inside };
            found.extend(folders.into_iter().map(|folder| self.placement_in(folder)));
        }
        found
    }

    /// Where the files of sessions in a folder are.
    ///
    /// ```
    /// use alyx_registration::{FlaggedOptions, Mount};
    ///
    /// let mount = |path: &str, name: &str| Mount { path: path.into(), repository: name.into() };
    /// let mounts = vec![mount("/mnt", "server"), mount("/mnt/rig", "rig_local")];
    /// let mut options = FlaggedOptions { mounts, ..FlaggedOptions::default() };
    /// let at = |options: &FlaggedOptions, folder: &str| options.placement_in(folder.as_ref()).repository;
    /// assert_eq!(at(&options, "/mnt/rig/Subjects").as_deref(), Some("rig_local"));
    /// assert_eq!(at(&options, "/mnt/rig2").as_deref(), Some("server"));
    /// assert_eq!(at(&options, "/data"), None);
    /// options.files.repository = Some("named".into());
    /// assert_eq!(at(&options, "/mnt/rig").as_deref(), Some("named"));
    /// ```
    pub fn placement_in(&self, folder: &Path) -> Placement {
        Placement::from(&self.for_folder(folder).files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_root_of_several_repositories_has_their_placements() {
        let mount = |path: &str, name: &str| Mount { path: path.into(), repository: name.into() };
        let mounts = vec![mount("/mnt/a", "lab_a"), mount("/mnt/b", "lab_b")];
        let options = FlaggedOptions { mounts, register_files: true, ..FlaggedOptions::default() };
        let names = |options: &FlaggedOptions, roots: &[&str]| -> Vec<Option<String>> {
            let placements = options.placements(roots.iter().map(Path::new));
            placements.into_iter().map(|placement| placement.repository).collect()
        };
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(names(&options, &["/mnt"]), [some("lab_a"), some("lab_b")]);
        assert_eq!(names(&options, &["/mnt/a/Subjects", "/data"]), [None, some("lab_a")]);
        let without_files = FlaggedOptions { register_files: false, ..options };
        assert!(names(&without_files, &["/mnt", "/data"]).is_empty());
    }
}
