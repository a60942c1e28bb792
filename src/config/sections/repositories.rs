//! The repositories: which folder of this computer is which repository on Alyx.

use std::path::Path;

use serde_yaml::Value;

use crate::config::DataRoot;
use crate::config::document::Given;
use crate::config::findings::Findings;
use crate::config::sections::roots::absolute_path;
use crate::config::values::{FromYaml, Text, word};
use alyx_registration::{FollowMode, Mount};
use session_metadata::text::locate::{KeyPath, quoted};

impl FromYaml for Mount {
    /// `{path: /mnt/server/cortexlab/Subjects, name: flatiron_cortexlab}`.
    fn from_yaml(value: &Value) -> Result<Self, String> {
        const EXAMPLE: &str = "(example: {path: /mnt/server/cortexlab/Subjects, name: flatiron_cortexlab})";
        let entry = value.as_mapping().ok_or_else(|| format!("this is not a path and a name {EXAMPLE}"))?;
        let other = entry.keys().find(|key| !matches!(key.as_str(), Some("path" | "name")));
        if let Some(other) = other {
            let shown = serde_yaml::to_string(other).unwrap_or_default();
            return Err(format!(
                "{} is not a key here; the keys are path and name {EXAMPLE}",
                quoted(shown.trim())
            ));
        }
        let text = |key: &str| match entry.get(key) {
            None | Some(Value::Null) => Err(format!("the {key} is missing {EXAMPLE}")),
            Some(value) => Text::from_yaml(value).map(|text| text.0).map_err(|why| format!("{key}: {why}")),
        };
        Ok(Self { path: absolute_path(Path::new(&text("path")?))?, repository: text("name")? })
    }
}

impl FromYaml for FollowMode {
    fn from_yaml(value: &Value) -> Result<Self, String> {
        word(value, &[("md5", Self::Md5), ("size", Self::Size), ("off", Self::Off)])
    }
}

impl Findings {
    /// The folders that are repositories. None is listed twice, and no repository has two folders of which one holds the
    /// other: a file would have two paths in it.
    pub(crate) fn repositories(&mut self, given: Given<Vec<Mount>>) -> Vec<Mount> {
        let key = KeyPath::of("repositories");
        let mounts = self.take(&key, given).unwrap_or_default();
        for (i, mount) in mounts.iter().enumerate() {
            if let Some(why) = mounts.iter().take(i).find_map(|other| contradiction(mount, other)) {
                self.refuse(key.index(i), why);
            }
        }
        mounts
    }
}

impl Findings {
    /// Warns of folders whose repository the rest of the configuration contradicts.
    pub(crate) fn doubtful_repositories(
        &mut self,
        mounts: &[Mount],
        roots: &[DataRoot],
        everywhere: Option<&str>,
    ) {
        for mount in mounts {
            for root in roots {
                let named = root.datasets.repository.as_deref();
                let (name, key) = match (named, everywhere) {
                    (Some(named), _) => (named, "data_roots[].datasets.repository"),
                    (None, Some(everywhere)) => (everywhere, "datasets.repository"),
                    (None, None) => continue,
                };
                if overlap(&mount.path, &root.path) && name != mount.repository {
                    let warning = format!(
                        "repositories: {} is {}, but sessions in the data root {} are registered in {} ({key}); leave out the \
                         one that is wrong",
                        shown(&mount.path),
                        quoted(&mount.repository),
                        shown(&root.path),
                        quoted(name),
                    );
                    self.warnings.push(warning);
                }
            }
            let is_outside = |mount: &Mount| !roots.iter().any(|root| overlap(&mount.path, &root.path));
            let others = mounts.iter().take_while(|other| other.path != mount.path);
            for other in others.filter(|other| other.repository == mount.repository) {
                if is_outside(mount) || is_outside(other) {
                    let warning = format!(
                        "repositories: {} and {} are both {}, and a copy counts in either; keep the one whose files Alyx's \
                         data_url serves, or give each its own repository",
                        shown(&other.path),
                        shown(&mount.path),
                        quoted(&mount.repository),
                    );
                    self.warnings.push(warning);
                }
            }
        }
    }
}

/// Whether one folder holds the other.
fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn shown(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// Why a file would be in two repositories, or twice in one.
fn contradiction(mount: &Mount, other: &Mount) -> Option<String> {
    let is_nested = overlap(&mount.path, &other.path);
    if mount.path == other.path {
        Some(format!("{} occurs twice; a folder is in one repository", shown(&mount.path)))
    } else if is_nested && mount.repository == other.repository {
        Some(format!(
            "{} and {} are both {}, and one is inside the other; keep the one that paths on Alyx are relative to",
            shown(&other.path),
            shown(&mount.path),
            quoted(&mount.repository)
        ))
    } else {
        None
    }
}
