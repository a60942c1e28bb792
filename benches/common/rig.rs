//! A rig for benchmarks: sessions of ten small files.

use std::fs;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::Error;

/// Files of a session, relative to its folder.
pub const FILES: [&str; 10] = [
    "alf/probe00/spikes.times.npy",
    "alf/probe00/spikes.clusters.npy",
    "alf/probe00/spikes.amps.npy",
    "alf/probe00/spikes.depths.npy",
    "alf/probe00/spikes.samples.npy",
    "alf/probe00/spikes.templates.npy",
    "alf/probe00/clusters.amps.npy",
    "alf/probe00/clusters.channels.npy",
    "alf/probe00/clusters.depths.npy",
    "alf/probe00/clusters.peakToTrough.npy",
];
/// Subjects of `cortexlab` in the sandbox's built-in seed.
const SUBJECTS: [&str; 2] = ["KS014", "SWC_001"];

/// The folder of a session, different for each number.
pub fn session(root: &Path, number: usize) -> PathBuf {
    let (day, rest) = (1 + number % 28, number / 28);
    let (month, rest) = (1 + rest % 12, rest / 12);
    let subject = SUBJECTS[number % SUBJECTS.len()];
    root.join(format!("cortexlab/Subjects/{subject}/2024-{month:02}-{day:02}/{:03}", rest + 1))
}

/// Writes the files of a session, 1 kB each, all different.
pub fn write_files(session: &Path, number: usize) -> Result<(), Error> {
    for (nth, name) in FILES.iter().enumerate() {
        let path = session.join(name);
        fs::create_dir_all(path.parent().ok_or("no folder")?)?;
        let content: Vec<u8> = (0..1000).map(|byte| (byte * (nth + 1) + number) as u8).collect();
        fs::write(path, content)?;
    }
    Ok(())
}

/// Creates and closes a flag.
pub fn flag(session: &Path) -> Result<(), Error> {
    File::create(session.join("create_me.flag"))?;
    Ok(())
}

/// Creates flagged sessions in a root.
pub fn flagged_root(root: &Path, sessions: usize) -> Result<(), Error> {
    for number in 0..sessions {
        let session = session(root, number);
        write_files(&session, number)?;
        flag(&session)?;
    }
    Ok(())
}
