//! A memory cgroup: a small machine on a large one.

use std::io;
use std::path::PathBuf;

/// A memory cgroup below that of this process (version 1) or at the top (version 2, where a group cannot have both
/// processes and subgroups). Removed at the end.
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Creates a group with a limit in bytes. Requires root.
    ///
    /// # Errors
    /// There is no memory controller, or this user cannot create groups.
    pub fn with_memory(name: &str, bytes: u64) -> io::Result<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mounts")?;
        let mounted = |kind: &str, option: &str| {
            mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find_map(|mount| match *mount {
                [_, at, this, options, ..] if this == kind && options.split(',').any(|o| o == option) => {
                    Some(PathBuf::from(at))
                }
                _ => None,
            })
        };
        let name = format!("alyx-registrar-{name}-{}", std::process::id());
        let (folder, limit) = if let Some(top) = mounted("cgroup", "memory") {
            let own = std::fs::read_to_string("/proc/self/cgroup")?;
            let own = own.lines().find_map(|line| line.split_once(":memory:/")).map_or("", |(_, own)| own);
            (top.join(own).join(name), "memory.limit_in_bytes")
        } else {
            let top = mounted("cgroup2", "rw").ok_or_else(|| io::Error::other("no cgroup file system"))?;
            (top.join(name), "memory.max")
        };
        std::fs::create_dir(&folder)?;
        let cgroup = Self(folder);
        std::fs::write(cgroup.0.join(limit), bytes.to_string())?;
        Ok(cgroup)
    }

    /// The file to which the id of a process is written that joins the group.
    pub fn processes(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // It stays until its last process ends.
        let _ = std::fs::remove_dir(&self.0);
    }
}
