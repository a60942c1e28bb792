//! The systemd unit that runs a configuration, by its path: `alyx-registrar` for the default one, `alyx-registrar@NAME`
//! for others in the same folder. Pure.

use std::path::{Path, PathBuf};

use crate::config::DEFAULT_PATH;

/// The default state folder. Those of `alyx-registrar@.service` are inside it.
pub(super) const USUAL_STATE_DIR: &str = "/var/lib/alyx-registrar";

/// The shipped unit that runs the configuration at an absolute path, if any.
///
/// ```
/// use alyx_registrar::config::unit_of;
///
/// assert_eq!(unit_of("/etc/alyx-registrar/config.yaml".as_ref()).as_deref(), Some("alyx-registrar"));
/// assert_eq!(unit_of("/etc/alyx-registrar/rig2.yaml".as_ref()).as_deref(), Some("alyx-registrar@rig2"));
/// assert_eq!(unit_of("/home/rig/try.yaml".as_ref()), None);
/// ```
pub fn unit_of(config: &Path) -> Option<String> {
    if config == Path::new(DEFAULT_PATH) {
        return Some("alyx-registrar".to_owned());
    }
    instance(config).map(|name| format!("alyx-registrar@{name}"))
}

/// The state folder of the unit for the configuration at an absolute path, if it is not the default one. `status` runs
/// outside the unit, without `STATE_DIRECTORY`, and must find that unit's daemon.
pub(super) fn state_dir_of(config: &Path) -> Option<PathBuf> {
    instance(config).map(|name| Path::new(USUAL_STATE_DIR).join(name))
}

/// `rig2` of `/etc/alyx-registrar/rig2.yaml`.
fn instance(config: &Path) -> Option<&str> {
    let usual = Path::new(DEFAULT_PATH);
    let name = config.file_stem()?.to_str()?;
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    let is_beside = config.parent() == usual.parent() && config.extension() == usual.extension();
    (is_beside && is_plain && config != usual).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_configuration_next_to_the_default_one_has_its_own_state_folder() {
        let of = |config: &str| state_dir_of(Path::new(config));
        let own = PathBuf::from("/var/lib/alyx-registrar/rig2");
        assert_eq!(of("/etc/alyx-registrar/rig2.yaml"), Some(own));
        for other in [
            DEFAULT_PATH,
            "/tmp/rig2.yaml",
            "/etc/alyx-registrar/old/rig2.yaml",
            "/etc/alyx-registrar/a b.yaml",
            "/etc/alyx-registrar/rig2.yaml.old",
            "rig2.yaml",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
