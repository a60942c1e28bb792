//! Opening of files that another user may have replaced: only regular files are read.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a file to read, and says what it is: `None` for anything but a regular file. Does not wait for the writer of a
/// named pipe, which may never come.
///
/// # Errors
/// The file does not exist, or may not be read.
pub fn open_regular(path: &Path) -> io::Result<Option<(File, Metadata)>> {
    let file =
        OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    Ok(metadata.is_file().then_some((file, metadata)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    #[test]
    fn a_named_pipe_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let [pipe, file] = ["pipe", "file"].map(|name| folder.path().join(name));
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
        std::fs::write(&file, "abc").unwrap();
        for other in [pipe.as_path(), folder.path(), Path::new("/dev/zero")] {
            assert!(open_regular(other).unwrap().is_none(), "{other:?}");
        }
        assert_eq!(open_regular(&file).unwrap().unwrap().1.len(), 3);
        assert!(open_regular(&folder.path().join("none")).is_err());
    }
}
