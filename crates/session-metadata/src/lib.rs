//! What rig files and sidecars say of a session: its users, times, protocol, trials, weight and water, each with the
//! file it was read from.
//!
//! Bytes in, values with their sources out. Nothing here works on the disk, reads the clock or asks Alyx: the files come
//! through [`SessionFiles`]. Every reader states how many bytes it reads at most, and no content makes it panic.
//!
//! - [`describe`] reads the sidecars and the rig files of one session and merges them, strongest source first, with the
//!   command line and the configuration.
//! - [`update::plan_update`] decides what of it is sent for a session that Alyx holds already. Nothing is ever erased.
//! - [`completeness::missing`] names what has not arrived yet.
//!
//! ```
//! use std::path::Path;
//! use session_metadata::{Field, Input, MapFiles, Options, describe};
//!
//! let session = alf::SessionPath::parse(Path::new("/data/Subjects/KS014/2024-05-01/001"))?;
//! let settings = r#"{"IBLRIG_VERSION": "8.5.0", "SUBJECT_NAME": "KS014", "SESSION_NUMBER": 1, "ALYX_USER": "ana",
//!     "RIG_NAME": "rig_2", "SESSION_START_TIME": "2024-05-01T10:00:00", "SESSION_END_TIME": "2024-05-01T11:00:00",
//!     "PYBPOD_PROTOCOL": "trainingChoiceWorld"}"#;
//! let files = MapFiles::from_iter([("raw_behavior_data/_iblrig_taskSettings.raw.json", settings)]);
//! let metadata = describe(&Input::new(&session, &files), &Options::default());
//! assert!(metadata.problems.is_empty());
//! assert_eq!(metadata.text(Field::TaskProtocol), Some("trainingChoiceWorld8.5.0"));
//! # Ok::<(), alf::session_path::SessionPathError>(())
//! ```

pub mod completeness;
pub mod files;
pub mod layer;
pub mod merge;
pub mod metadata;
pub mod options;
pub mod problem;
pub mod readers;
pub mod selection;
pub mod sidecar;
pub mod source;
pub mod text;
pub mod update;

pub use crate::files::{Entry, MapFiles, SessionFiles, Unusable};
pub use crate::layer::{Field, Layer, Measurement, Water, Weight};
pub use crate::merge::{Input, describe};
pub use crate::metadata::SessionMetadata;
pub use crate::options::Options;
pub use crate::problem::{Missing, Problem, ProblemKind};
pub use crate::readers::READERS;
pub use crate::selection::Selection;
pub use crate::sidecar::SidecarFile;
pub use crate::source::{Origin, Source, Sourced};
