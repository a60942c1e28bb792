//! The example of the demo: two labs and five finished sessions, some of them with problems.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::io;
use std::path::{Path, PathBuf};

/// One session of the example.
pub(super) struct ExampleSession {
    /// Relative to the data root.
    pub(super) folder: &'static str,
    /// What the session shows, in a few words.
    pub(super) about: &'static str,
    files: &'static [File],
}

/// One file: its path inside the session, and its content.
struct File(&'static str, Content);

enum Content {
    /// A NumPy array of this many 64-bit numbers.
    Array(usize),
    /// Pseudo-random bytes, this many.
    Raw(usize),
    /// Text.
    Text(&'static str),
}

/// The subject that Alyx does not know.
pub(super) const UNKNOWN: &str = "new_mouse";

pub(super) const SESSIONS: [ExampleSession; 5] = [
    ExampleSession {
        folder: "cortexlab/Subjects/KS014/2024-05-01/001",
        about: "a task session, described by its rig",
        files: &[
            File(
                "raw_behavior_data/_iblrig_taskSettings.raw.json",
                Content::Text(
                    r#"{"IBLRIG_VERSION": "8.12.3", "SUBJECT_NAME": "KS014", "SESSION_NUMBER": 1, "ALYX_USER": "test_user", "RIG_NAME": "rig1", "SESSION_START_TIME": "2024-05-01T10:36:10", "SESSION_END_TIME": "2024-05-01T11:24:51", "PYBPOD_PROTOCOL": "trainingChoiceWorld", "NTRIALS": 400, "NTRIALS_CORRECT": 312}"#,
                ),
            ),
            File("alf/_ibl_trials.probabilityLeft.npy", Content::Array(400)),
            File("alf/licks.times.npy", Content::Array(2_000)),
            File("alf/_ibl_leftCamera.times.npy", Content::Array(30_000)),
        ],
    },
    ExampleSession {
        folder: "cortexlab/Subjects/SWC_001/2024-05-01/001",
        about: "spikes of two probes",
        files: &[
            File("alf/probe00/spikes.times.npy", Content::Array(200_000)),
            File("alf/probe00/spikes.clusters.npy", Content::Array(200_000)),
            File("alf/probe00/spikes.amps.npy", Content::Array(200_000)),
            File("alf/probe00/clusters.depths.npy", Content::Array(300)),
            File("alf/probe01/spikes.times.npy", Content::Array(150_000)),
            File("alf/probe01/spikes.clusters.npy", Content::Array(150_000)),
            File(
                "alf/probes.description.json",
                Content::Text("[{\"label\": \"probe00\"}, {\"label\": \"probe01\"}]\n"),
            ),
        ],
    },
    ExampleSession {
        folder: "cortexlab/Subjects/SWC_001/2024-05-01/002",
        about: "raw recording, second of the day",
        files: &[
            File("raw_ephys_data/probe00/_spikeglx_ephysData_g0_t0.imec0.ap.cbin", Content::Raw(48_000_000)),
            File(
                "raw_ephys_data/probe00/_spikeglx_ephysData_g0_t0.imec0.ap.meta",
                Content::Text("imSampRate=30000\nfileCreateTime=2024-05-01T15:20:00\nfileTimeSecs=50.0\n"),
            ),
            File("raw_ephys_data/probe00/_spikeglx_sync.times.probe00.npy", Content::Array(5_000)),
        ],
    },
    ExampleSession {
        folder: "mainenlab/Subjects/ZM_1085/2024-05-02/001",
        about: "project from alyx-session.yaml; files that are no datasets",
        files: &[
            File("alf/licks.times.npy", Content::Array(1_500)),
            File("alf/._licks.times.npy", Content::Text("left behind by a Mac\n")),
            File("notes.txt", Content::Text("Animal was calm today.\n")),
            File("alf/figure final (2).png", Content::Raw(10_000)),
            // In the subject's folder: for all its sessions.
            File("../../alyx-session.yaml", Content::Text("projects: [practice]\n")),
        ],
    },
    ExampleSession {
        folder: "mainenlab/Subjects/new_mouse/2024-05-02/001",
        about: "its subject is not on Alyx",
        files: &[File("alf/licks.times.npy", Content::Array(1_000))],
    },
];

impl ExampleSession {
    /// `subject/date/number`.
    pub(super) fn name(&self) -> &'static str {
        self.folder.split_once("/Subjects/").map_or(self.folder, |(_, session)| session)
    }

    /// Where its flag goes.
    pub(super) fn flag(&self, root: &Path) -> PathBuf {
        root.join(self.folder).join("create_me.flag")
    }

    /// Writes the files of the session, without its flag.
    pub(super) fn write(&self, root: &Path) -> io::Result<()> {
        for (index, File(name, content)) in self.files.iter().enumerate() {
            let path = root.join(self.folder).join(name);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(path, content.bytes(index as u64))?;
        }
        Ok(())
    }
}

impl Content {
    fn bytes(&self, seed: u64) -> Vec<u8> {
        match self {
            Self::Array(length) => npy(*length, seed),
            Self::Raw(length) => noise(seed).flat_map(u64::to_le_bytes).take(*length).collect(),
            Self::Text(text) => text.as_bytes().to_vec(),
        }
    }
}

/// A NumPy file (format 1.0) with rising times.
fn npy(length: usize, seed: u64) -> Vec<u8> {
    let mut header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({length},), }}");
    // The data must start at a multiple of 64; magic, version and length take 10 bytes.
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    let mut time = 0.0f64;
    for random in noise(seed).take(length) {
        time += (random >> 40) as f64 / 1e9;
        bytes.extend(time.to_le_bytes());
    }
    bytes
}

/// Pseudo-random numbers, the same in every run (xorshift).
fn noise(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_a_numpy_file_with_aligned_data() {
        let bytes = npy(3, 1);
        assert_eq!(&bytes[..6], b"\x93NUMPY");
        let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        assert_eq!((10 + header) % 64, 0);
        assert_eq!(bytes.len(), 10 + header + 3 * 8);
    }
}
