//! The names of sessions in text. Folders such as `1` and `001` of a day have the same name: then the folder is shown
//! too. Pure.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use alyx_client::text::printable;

/// The names that several of the listed folders have.
#[derive(Debug, Default)]
pub(super) struct SharedNames<'a>(HashSet<&'a str>);

impl<'a> SharedNames<'a> {
    /// Of sessions, each with its folder.
    pub(super) fn of(sessions: impl Iterator<Item = (&'a str, &'a Path)>) -> Self {
        let (mut first, mut shared) = (HashMap::new(), HashSet::new());
        for (name, folder) in sessions {
            if *first.entry(name).or_insert(folder) != folder {
                shared.insert(name);
            }
        }
        Self(shared)
    }

    /// The name of a session, and its folder where the name alone is not enough.
    pub(super) fn text(&self, name: &str, folder: &Path) -> String {
        match self.0.contains(name) {
            true => format!("{name} in {}", printable(&folder.to_string_lossy())),
            false => name.to_owned(),
        }
    }
}

/// The folder of a flag.
pub(super) fn folder_of(flag: &Path) -> &Path {
    flag.parent().unwrap_or(flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_shown_where_two_have_the_same_name() {
        let sessions = [("a/001", "/data/a/1"), ("b/001", "/data/b/001"), ("a/001", "/data/a/001")];
        let names = SharedNames::of(sessions.iter().map(|(name, folder)| (*name, Path::new(*folder))));
        assert_eq!(names.text("a/001", Path::new("/data/a/1")), "a/001 in /data/a/1");
        assert_eq!(names.text("b/001", Path::new("/data/b/001")), "b/001");
    }
}
