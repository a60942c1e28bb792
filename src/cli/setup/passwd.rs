//! The users of this computer, from `/etc/passwd`. Users of a directory service are named by their number.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::path::PathBuf;

/// A user of this computer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnixUser {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: PathBuf,
}

impl UnixUser {
    /// The user who runs this program.
    pub(crate) fn myself() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        listed(|user| user.uid == uid).unwrap_or_else(|| Self {
            name: format!("user {uid}"),
            uid,
            gid,
            home: std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default(),
        })
    }

    /// A user by name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        listed(|user| user.name == name)
    }

    pub(crate) fn is_root(&self) -> bool {
        self.uid == 0
    }
}

fn listed(wanted: impl Fn(&UnixUser) -> bool) -> Option<UnixUser> {
    let list = std::fs::read_to_string("/etc/passwd").ok()?;
    list.lines().filter_map(parse).find(wanted)
}

/// Parses a line: `name:x:uid:gid:comment:home:shell`.
fn parse(line: &str) -> Option<UnixUser> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, ..] = fields.as_slice() else { return None };
    let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
    Some(UnixUser { name: (*name).to_owned(), uid, gid, home: PathBuf::from(home) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_user_or_is_ignored() {
        let rig = UnixUser { name: "rig".into(), uid: 1000, gid: 100, home: "/home/rig".into() };
        assert_eq!(parse("rig:x:1000:100:Rig,,,:/home/rig:/bin/bash"), Some(rig));
        for odd in ["", "#rig:x", "+::::::", "rig:x:a:b::/:/"] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }
}
