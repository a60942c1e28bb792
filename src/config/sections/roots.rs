//! The data roots: absolute paths, without duplicates, none inside another.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde_yaml::{Mapping, Value};

use crate::config::DataRoot;
use crate::config::document::{Given, RootDatasetsDocument, RootDocument, SessionDocument};
use crate::config::findings::Findings;
use crate::config::keys::Keys;
use crate::config::sections::watch::{ForAllRoots, marker};
use crate::config::values::{Section, Text};
use alyx_registration::{RootDatasets, SessionDetails, Versions};
use session_metadata::text::locate::{KeyPath, quoted};

/// Rewrites `- /data` as `- path: /data`, so that the rest handles only one form.
pub(crate) fn spell_out(document: &mut Value) {
    let Some(Value::Sequence(roots)) = document.get_mut("data_roots") else { return };
    for root in roots {
        if !matches!(root, Value::Mapping(_) | Value::Sequence(_) | Value::Tagged(_)) {
            let path = std::mem::take(root);
            *root = Value::Mapping(Mapping::from_iter([(Value::from("path"), path)]));
        }
    }
}

/// The roots of the file. Errors go to `findings`.
pub(crate) fn in_file(
    findings: &mut Findings,
    roots: Option<Vec<Option<RootDocument>>>,
    all: &ForAllRoots,
) -> Vec<DataRoot> {
    let list = KeyPath::of("data_roots");
    let roots = roots.unwrap_or_default();
    if roots.is_empty() {
        findings.missing(list.clone(), "no data root; name at least one folder that holds sessions");
    }
    let mut good: Vec<(KeyPath, DataRoot)> = Vec::new();
    for (i, root) in roots.into_iter().enumerate() {
        let at = list.index(i);
        let Some(root) = root else { continue };
        let watch = findings.take(&at.key("watch"), root.watch).unwrap_or(all.mode);
        let own = marker(findings, &at.key("require_marker"), root.require_marker, &all.flags);
        let require_marker = own.or_else(|| all.require_marker.clone());
        let all_devices = findings.take(&at.key("complete"), root.complete).is_some();
        let (session, earliest) = own_session(findings, &at.key("session"), root.session);
        let datasets = own_datasets(findings, &at.key("datasets"), root.datasets);
        match root.path.0 {
            Ok(None) => findings.missing(at, "the path of this data root is missing"),
            Ok(Some(typed)) => match absolute_path(Path::new(&typed.0)) {
                Ok(path) => {
                    let datasets = RootDatasets { path: path.clone(), ..datasets };
                    let root =
                        DataRoot { path, watch, require_marker, all_devices, session, earliest, datasets };
                    good.push((at, root));
                }
                Err(why) => findings.refuse(at, why),
            },
            Err(why) => findings.refuse(at, why),
        }
    }
    for (i, (at, root)) in good.iter().enumerate() {
        let others = good.iter().take(i).map(|(_, other)| other.path.as_path());
        if let Some(why) = collision(&root.path, others) {
            findings.refuse(at.clone(), why);
        }
    }
    good.into_iter().map(|(_, root)| root).collect()
}

/// A section with its keys checked.
fn checked<T: Default + for<'de> Deserialize<'de>>(
    findings: &mut Findings,
    at: &KeyPath,
    given: Given<Section>,
) -> T {
    let Some(Section(mut value)) = findings.take(at, given) else { return T::default() };
    Keys::of::<T>().prune(&mut value, at, &mut |path, why| findings.refuse(path, why));
    T::deserialize(value).unwrap_or_else(|err| {
        // Pruning leaves no errors here; if it did, they must not be lost.
        findings.refuse(at.clone(), err.to_string());
        T::default()
    })
}

fn own_session(
    findings: &mut Findings,
    at: &KeyPath,
    given: Given<Section>,
) -> (SessionDetails, Option<jiff::civil::Date>) {
    let mut document: SessionDocument = checked(findings, at, given);
    let earliest = findings.take(&at.key("earliest"), std::mem::take(&mut document.earliest));
    (findings.session(at, document), earliest)
}

fn own_datasets(findings: &mut Findings, at: &KeyPath, given: Given<Section>) -> RootDatasets {
    let from: RootDatasetsDocument = checked(findings, at, given);
    RootDatasets {
        path: PathBuf::new(),
        register_files: findings.take(&at.key("register"), from.register),
        repository: findings.take(&at.key("repository"), from.repository).map(|text| text.0),
        server_only: findings.take(&at.key("server_only"), from.server_only),
        exists: findings.take(&at.key("exists"), from.exists),
        default: findings.take(&at.key("default"), from.default),
        versions: findings
            .take(&at.key("versions"), from.versions)
            .map(|versions| Versions::of_list(versions.into_iter().map(|text| text.0).collect())),
        max_md5_size: findings.take(&at.key("max_md5_size"), from.max_md5_size).map(|size| size.0),
        protected: findings.take(&at.key("protected"), from.protected),
        exclude: findings.patterns(&at.key("exclude"), from.exclude),
        on_refused: findings.take(&at.key("on_refused"), from.on_refused),
        on_left_out: findings.take(&at.key("on_left_out"), from.on_left_out),
    }
}

/// The roots of the command line, which replace those of the file.
pub(crate) fn on_command_line(
    findings: &mut Findings,
    roots: &[PathBuf],
    all: &ForAllRoots,
) -> Vec<DataRoot> {
    let mut good: Vec<DataRoot> = Vec::new();
    for root in roots {
        let checked = absolute_path(root).and_then(|path| {
            let why = collision(&path, good.iter().map(|other| other.path.as_path()));
            why.map_or(Ok(path), Err)
        });
        match checked {
            Ok(path) => {
                let require_marker = all.require_marker.clone();
                let datasets = RootDatasets { path: path.clone(), ..RootDatasets::default() };
                good.push(DataRoot {
                    path,
                    watch: all.mode,
                    require_marker,
                    datasets,
                    ..DataRoot::default()
                });
            }
            Err(why) => findings.refuse_argument("--data-root", why),
        }
    }
    good
}

/// The folders into which links may lead. Errors go to `findings`.
pub(crate) fn allowed(findings: &mut Findings, given: Given<Vec<Text>>) -> Vec<PathBuf> {
    let list = KeyPath::of("links.allow");
    let typed = findings.take(&list, given).unwrap_or_default();
    let mut good = Vec::new();
    for (i, typed) in typed.iter().enumerate() {
        match absolute_path(Path::new(&typed.0)) {
            Ok(path) => good.push(path),
            Err(why) => findings.refuse(list.index(i), why),
        }
    }
    good
}

/// Why a session below `root` would be found twice.
fn collision<'a>(root: &Path, mut others: impl Iterator<Item = &'a Path>) -> Option<String> {
    let shown = |path: &Path| quoted(&path.to_string_lossy());
    others.find_map(|other| {
        if root == other {
            Some(format!("{} occurs twice", shown(root)))
        } else if root.starts_with(other) {
            Some(format!(
                "{} is inside the data root {}; its sessions would be registered twice; keep the outer one",
                shown(root),
                shown(other)
            ))
        } else if other.starts_with(root) {
            Some(format!(
                "{} has the data root {} inside it; sessions would be registered twice; keep the outer one",
                shown(root),
                shown(other)
            ))
        } else {
            None
        }
    })
}

/// Validates an absolute path other than `/`, without `..`; removes a trailing slash.
pub(crate) fn absolute_path(typed: &Path) -> Result<PathBuf, String> {
    let shown = quoted(&typed.to_string_lossy());
    if typed.starts_with("~") {
        return Err(format!("{shown}: ~ is not expanded here; write the absolute path"));
    }
    let variable = |part: &str| part.starts_with("${") || (part.starts_with('$') && part.len() > 1);
    if typed.components().any(|part| part.as_os_str().to_str().is_some_and(variable)) {
        return Err(format!("{shown}: variables are not expanded here; write the absolute path"));
    }
    if !typed.is_absolute() {
        return Err(format!("{shown} is not an absolute path; it must start with a slash"));
    }
    if typed.components().any(|part| part == Component::ParentDir) {
        return Err(format!("{shown} has .. in it; write the path without"));
    }
    let path: PathBuf = typed.components().collect();
    if path == Path::new("/") {
        return Err("the whole file system is too much; name a folder".to_owned());
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_or_refused() {
        assert_eq!(absolute_path(Path::new("/a//b/./c/")).unwrap(), Path::new("/a/b/c"));
        for bad in ["", "a", "./a", "~/a", "~bob/a", "/a/../b", "/", "//", "$HOME/a", "/data/${USER}"] {
            assert!(absolute_path(Path::new(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_folder_with_the_same_prefix_is_not_inside() {
        assert_eq!(collision(Path::new("/data2"), [Path::new("/data")].into_iter()), None);
        assert!(collision(Path::new("/data/x"), [Path::new("/data")].into_iter()).is_some());
        assert!(collision(Path::new("/"), [Path::new("/data")].into_iter()).is_some());
    }
}
