//! A refusal: why a file is not opened as data, and what to do.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::opener::private_paths::IS_PRIVATE;

/// Why a file is not opened as data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It is one of this program's own files.
    Private,
    /// It is a view of the kernel, such as in `/proc` or `/sys`.
    System,
    /// It lies outside the data roots and the folders of `links.allow`.
    Outside {
        /// Where it lies.
        target: PathBuf,
        /// The list of allowed folders that would include it; empty for a place that holds no data.
        allow: Vec<PathBuf>,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private => f.write_str(IS_PRIVATE),
            Self::System => {
                f.write_str("leads into /proc, /sys or the like, where no data is; remove the link")
            }
            Self::Outside { target, allow } if allow.is_empty() => {
                write!(f, "leads out of the data roots, to {target:?}; remove the link")
            }
            Self::Outside { target, allow } => write!(
                f,
                "leads out of the data roots, to {target:?}; if data is kept there, set {}, otherwise remove the link",
                allow_line(allow)
            ),
        }
    }
}

/// The setting that allows links into these folders. Pure.
pub fn allow_line(folders: &[impl AsRef<Path>]) -> String {
    let is_plain =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_.-".contains(&byte));
    let quoted = |folder: &Path| match folder.to_str() {
        Some(text) if is_plain(text) => text.to_owned(),
        _ => format!("{folder:?}"),
    };
    let folders: Vec<String> = folders.iter().map(|folder| quoted(folder.as_ref())).collect();
    format!("links.allow: [{}]", folders.join(", "))
}

/// Where links to data do not lead.
const SYSTEM: [&str; 12] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib64",
    "/proc",
    "/root",
    "/run/credentials",
    "/sbin",
    "/sys",
    "/usr",
];

/// The folder that would allow a target: its disk if that is a mount of its own, otherwise the highest folder that it
/// does not share with a data root. `mount`: where the target's file system is mounted. Pure.
pub(crate) fn allow_for(target: &Path, roots: &[PathBuf], mount: &Path) -> Option<PathBuf> {
    let is_secret = target.iter().any(|part| part == ".ssh" || part == ".gnupg");
    if is_secret || SYSTEM.iter().any(|folder| target.starts_with(folder)) {
        return None;
    }
    let top = Path::new("/");
    let folder = target.parent().filter(|folder| *folder != top)?;
    if mount != top && !roots.iter().any(|root| root.starts_with(mount)) {
        return Some(mount.to_owned());
    }
    let apart = |root: &PathBuf| {
        let shared =
            folder.ancestors().find(|above| root.starts_with(above)).filter(|shared| *shared != top)?;
        folder.ancestors().find(|above| above.parent() == Some(shared)).map(Path::to_owned)
    };
    Some(roots.iter().filter_map(apart).next().unwrap_or_else(|| folder.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_to_allow_is_a_disk_or_lies_beside_the_data_root() {
        let of = |target: &str, mount: &str| {
            allow_for(Path::new(target), &["/data/rig".into(), "/mnt/a/rig".into()], Path::new(mount))
        };
        for (target, mount, folder) in [
            ("/mnt/disk2/subjects/x/a.npy", "/mnt/disk2", Some("/mnt/disk2")),
            ("/data/other/x/a.npy", "/data", Some("/data/other")),
            ("/mnt/a/old/x/a.npy", "/mnt/a", Some("/mnt/a/old")),
            ("/data/a.npy", "/", Some("/data")),
            ("/srv/archive/x/a.npy", "/", Some("/srv/archive/x")),
            ("/a.npy", "/", None),
            ("/etc/shadow", "/", None),
            ("/proc/1/environ", "/proc", None),
            ("/home/rig/.ssh/id_ed25519", "/home", None),
        ] {
            assert_eq!(of(target, mount).as_deref(), folder.map(Path::new), "{target}");
        }
    }

    #[test]
    fn the_line_to_add_is_valid_yaml() {
        assert_eq!(allow_line(&["/mnt/disk2", "/srv/x y"]), "links.allow: [/mnt/disk2, \"/srv/x y\"]");
    }
}
