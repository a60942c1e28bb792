//! Copies: files that other software copies into other repositories, and the file records that say so once they are complete.
//!
//! Python's labs have Globus jobs for this; with rsync, rclone or SMB nobody tells Alyx. [`copy`] decides, [`look`] looks at the
//! disk, and [`session`] asks Alyx and corrects `exists`, which is all that is ever changed.

pub(crate) mod copy;
pub(crate) mod look;
pub(crate) mod poll;
pub(crate) mod repositories;
pub(crate) mod session;
