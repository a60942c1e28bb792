//! A terminal without a person: the program asks, and the test answers.
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::common::secrets;

/// A program at a terminal of its own. Dropping it kills the program.
pub struct Terminal {
    child: Child,
    hand: File,
    screen: Receiver<String>,
    /// Everything printed on the screen so far.
    pub said: String,
}

impl Terminal {
    /// Starts a command with the terminal as its input and both its outputs.
    pub fn start(command: &mut Command) -> Self {
        let hand = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&hand).unwrap();
        unlockpt(&hand).unwrap();
        let name = ptsname(&hand, Vec::new()).unwrap().into_string().unwrap();
        let side = OpenOptions::new().read(true).write(true).open(name).unwrap();
        let end = || Stdio::from(OwnedFd::from(side.try_clone().unwrap()));
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        drop(side);
        let hand = File::from(hand);
        let mut eye = hand.try_clone().unwrap();
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut piece = [0; 1024];
            // Reading fails when the program has ended.
            while let Ok(n) = eye.read(&mut piece) {
                let _ = sender.send(String::from_utf8_lossy(&piece[..n]).into_owned());
            }
        });
        Self { child, hand, screen, said: String::new() }
    }

    /// Waits for a text that was not on the screen at the last wait.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        let from = self.said.len();
        let end = Instant::now() + crate::common::AT_MOST;
        while !self.said[from..].contains(text) {
            match self.screen.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(piece) => self.said += &piece,
                Err(_) => panic!("{text:?} was never asked, but:\n{}", self.said),
            }
        }
    }

    /// Types a line.
    pub fn answer(&mut self, line: &str) {
        self.hand.write_all(line.as_bytes()).unwrap();
        self.hand.write_all(b"\n").unwrap();
    }

    /// Whether typed characters are shown.
    pub fn echoes(&self) -> bool {
        tcgetattr(&self.hand).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    /// Sends Ctrl-C.
    pub fn interrupt(&self) {
        let status = Command::new("kill").arg("-INT").arg(self.child.id().to_string()).status();
        assert!(status.unwrap().success());
    }

    /// Waits for the program's end, and reads the rest of its output.
    pub fn end(&mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        while let Ok(piece) = self.screen.recv_timeout(std::time::Duration::from_millis(200)) {
            self.said += &piece;
        }
        status
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        secrets::none_in(&self.said, "a program at a terminal");
    }
}
