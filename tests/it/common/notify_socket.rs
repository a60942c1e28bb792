//! The socket by which systemd hears from a daemon, and what it heard.
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::common::AT_MOST;

/// Stands for systemd.
pub struct NotifySocket {
    _folder: tempfile::TempDir,
    pub path: PathBuf,
    socket: UnixDatagram,
    /// Everything that was told so far, a message each.
    pub heard: Vec<String>,
}

impl NotifySocket {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { _folder: folder, path, socket, heard: Vec::new() }
    }

    /// The next message.
    pub fn next(&mut self) -> String {
        self.next_within(AT_MOST).unwrap_or_else(|| panic!("nothing more was told than {:#?}", self.heard))
    }

    fn next_within(&mut self, time: Duration) -> Option<String> {
        let mut bytes = [0; 4096];
        self.socket.set_read_timeout(Some(time.max(Duration::from_millis(1)))).unwrap();
        let length = self.socket.recv(&mut bytes).ok()?;
        let message = String::from_utf8(bytes[..length].to_vec()).unwrap();
        self.heard.push(message.clone());
        Some(message)
    }

    /// Waits for a message with a line that contains a text.
    pub fn wait_for(&mut self, text: &str) -> String {
        let end = Instant::now() + AT_MOST;
        while Instant::now() < end {
            let message = self.next();
            if message.lines().any(|line| line.contains(text)) {
                return message;
            }
        }
        panic!("never {text:?}, but {:#?}", self.heard);
    }

    /// Waits until nothing has been told for a second, and says whether that came to be.
    pub fn falls_silent(&mut self) -> bool {
        let end = Instant::now() + AT_MOST;
        while Instant::now() < end {
            if self.next_within(Duration::from_secs(1)).is_none() {
                return true;
            }
        }
        false
    }
}
