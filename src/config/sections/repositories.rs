//! The repositories: which folder of this computer is which repository on Alyx.

use std::path::Path;

use serde_yaml::Value;

use crate::config::document::Given;
use crate::config::findings::Findings;
use crate::config::sections::roots::absolute_path;
use crate::config::values::{FromYaml, Text};
use alyx_registration::Mount;
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

/// Why a file would be in two repositories, or twice in one.
fn contradiction(mount: &Mount, other: &Mount) -> Option<String> {
    let shown = |mount: &Mount| quoted(&mount.path.to_string_lossy());
    let is_nested = mount.path.starts_with(&other.path) || other.path.starts_with(&mount.path);
    if mount.path == other.path {
        Some(format!("{} occurs twice; a folder is in one repository", shown(mount)))
    } else if is_nested && mount.repository == other.repository {
        Some(format!(
            "{} and {} are both {}, and one is inside the other; keep the one that paths on Alyx are relative to",
            shown(other),
            shown(mount),
            quoted(&mount.repository)
        ))
    } else {
        None
    }
}
