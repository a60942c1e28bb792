//! The socket on which systemd receives notifications from a daemon.
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::common::AT_MOST;

/// A stand-in for systemd.
pub struct NotifySocket {
    _folder: tempfile::TempDir,
    pub path: PathBuf,
    socket: UnixDatagram,
    /// All messages so far.
    pub messages: Vec<String>,
}

impl NotifySocket {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { _folder: folder, path, socket, messages: Vec::new() }
    }

    /// The next message.
    pub fn next(&mut self) -> String {
        self.next_within(AT_MOST)
            .unwrap_or_else(|| panic!("nothing more was message than {:#?}", self.messages))
    }

    fn next_within(&mut self, time: Duration) -> Option<String> {
        let mut bytes = [0; 4096];
        self.socket.set_read_timeout(Some(time.max(Duration::from_millis(1)))).unwrap();
        let length = self.socket.recv(&mut bytes).ok()?;
        let message = String::from_utf8(bytes[..length].to_vec()).unwrap();
        self.messages.push(message.clone());
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
        panic!("never {text:?}, but {:#?}", self.messages);
    }

    /// Waits until no message has arrived for a second; returns whether that happened.
    pub fn becomes_silent(&mut self) -> bool {
        let end = Instant::now() + AT_MOST;
        while Instant::now() < end {
            if self.next_within(Duration::from_secs(1)).is_none() {
                return true;
            }
        }
        false
    }
}
