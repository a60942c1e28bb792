//! The systemd journal: each line has its fields, so that `journalctl ALYX_SESSION=…` finds them.
//!
//! Implements the journal's protocol instead of using `tracing-journald`, which sends the bare message:
//! `journalctl -u alyx-registrar` shows no fields, so "registered" would not say which session.

use std::fmt::{Debug, Write};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::layer::Context;

/// The journal's socket.
const SOCKET: &str = "/run/systemd/journal/socket";
/// Prefix of our fields, so that they do not collide with the journal's own.
const PREFIX: &str = "ALYX_";
/// Limit on a value, in bytes. A message must fit into one datagram, 200 kB by default.
const LONGEST: usize = 32 * 1024;
/// A message longer than this, in bytes, gets no more fields.
const ENOUGH: usize = 128 * 1024;
/// A line that the journal does not accept within this time is dropped: logging must not block the work.
const PATIENCE: Duration = Duration::from_secs(1);

/// A tracing layer that writes to the journal.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    /// The journal, if standard error is connected to it: systemd started this program, without a redirection.
    pub(super) fn behind_standard_error() -> Option<Self> {
        let stream = std::env::var("JOURNAL_STREAM").ok()?;
        let about = rustix::fs::fstat(io::stderr()).ok()?;
        if !is_stream(&stream, about.st_dev, about.st_ino) {
            return None;
        }
        Self::at(Path::new(SOCKET)).ok()
    }

    /// The journal that listens on a socket.
    fn at(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        // The journal drops an empty message; sending it shows whether the journal listens.
        socket.send_to(&[], path)?;
        Ok(Self { socket, path: path.to_owned() })
    }
}

/// Whether a file is the one that `JOURNAL_STREAM` names by device and inode.
fn is_stream(variable: &str, device: u64, inode: u64) -> bool {
    let named = variable.split_once(':').map(|(device, inode)| (device.parse(), inode.parse()));
    named == Some((Ok(device), Ok(inode)))
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // Addressed by path each time: a restarted journal has a new socket. A daemon that cannot log must not stop.
        let _ = self.socket.send_to(&message(event), &self.path);
    }
}

/// An event in the journal's format.
fn message(event: &Event<'_>) -> Vec<u8> {
    let mut text = String::new();
    // The same text as on a terminal, including the fields.
    let _ = DefaultFields::new().format_fields(Writer::new(&mut text), event);
    let mut message = Message(Vec::with_capacity(1024));
    message.put("MESSAGE", &text);
    message.about(event.metadata());
    event.record(&mut message);
    message.0
}

struct Message(Vec<u8>);

impl Message {
    fn about(&mut self, metadata: &Metadata<'_>) {
        self.put("PRIORITY", priority(*metadata.level()));
        self.put("SYSLOG_IDENTIFIER", env!("CARGO_PKG_NAME"));
        self.put("CODE_MODULE", metadata.target());
        if let (Some(file), Some(line)) = (metadata.file(), metadata.line()) {
            self.put("CODE_FILE", file);
            self.put("CODE_LINE", &line.to_string());
        }
    }

    /// Adds one field, with its length first, because a value may contain line breaks.
    fn put(&mut self, name: &str, value: &str) {
        let value = shortened(value);
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'\n');
        self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }

    fn put_ours(&mut self, field: &Field, value: &str) {
        if field.name() != "message" && self.0.len() < ENOUGH {
            let name: String =
                field.name().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            self.put(&format!("{PREFIX}{}", name.to_ascii_uppercase()), value);
        }
    }
}

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_ours(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        let _ = write!(text, "{value:?}");
        self.put_ours(field, &text);
    }
}

/// The syslog priority of a level.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

fn shortened(value: &str) -> &str {
    let mut end = value.len().min(LONGEST);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    value.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// A fake journal.
    struct Fake {
        folder: tempfile::TempDir,
        socket: UnixDatagram,
    }

    impl Fake {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let socket = UnixDatagram::bind(folder.path().join("socket")).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            Self { folder, socket }
        }

        fn gets(&self, write: impl FnOnce()) -> HashMap<String, String> {
            let journal = Journal::at(&self.folder.path().join("socket")).unwrap();
            assert!(self.next().is_empty());
            tracing::subscriber::with_default(tracing_subscriber::registry().with(journal), write);
            fields(&self.next())
        }

        fn next(&self) -> Vec<u8> {
            let mut bytes = vec![0; 1 << 20];
            let length = self.socket.recv(&mut bytes).unwrap();
            bytes.truncate(length);
            bytes
        }
    }

    /// Parses a message as the journal does.
    fn fields(mut bytes: &[u8]) -> HashMap<String, String> {
        let mut fields = HashMap::new();
        while !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
            let (name, rest) = (String::from_utf8(bytes[..end].to_vec()).unwrap(), &bytes[end + 1..]);
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let value = String::from_utf8(rest[8..8 + length].to_vec()).unwrap();
            assert_eq!(rest[8 + length], b'\n');
            assert_eq!(fields.insert(name, value), None);
            bytes = &rest[9 + length..];
        }
        fields
    }

    #[test]
    fn a_line_has_its_fields_and_repeats_them_in_its_text() {
        let left_out: Option<&str> = None;
        let got = Fake::new().gets(|| {
            let took = Duration::from_millis(1500);
            tracing::info!(session = "KS014/2024-05-01/001", n_files = 3, ?took, left_out, "registered");
        });
        assert_eq!(got["MESSAGE"], "registered session=\"KS014/2024-05-01/001\" n_files=3 took=1.5s");
        assert_eq!(got["ALYX_SESSION"], "KS014/2024-05-01/001");
        assert_eq!((got["ALYX_N_FILES"].as_str(), got["ALYX_TOOK"].as_str()), ("3", "1.5s"));
        assert_eq!((got["PRIORITY"].as_str(), got["SYSLOG_IDENTIFIER"].as_str()), ("6", "alyx-registrar"));
        assert!(got["CODE_FILE"].ends_with("journald.rs") && got["CODE_LINE"].parse::<u32>().is_ok());
        assert!(!got.contains_key("ALYX_LEFT_OUT") && !got.contains_key("ALYX_MESSAGE"), "{got:?}");
    }

    #[test]
    fn the_level_becomes_the_priority() {
        let fake = Fake::new();
        assert_eq!(fake.gets(|| tracing::error!("a"))["PRIORITY"], "3");
        assert_eq!(fake.gets(|| tracing::warn!("a"))["PRIORITY"], "4");
        assert_eq!(fake.gets(|| tracing::debug!("a"))["PRIORITY"], "7");
    }

    #[test]
    fn no_value_can_forge_another_field_and_a_huge_one_is_cut() {
        let fake = Fake::new();
        let got = fake.gets(|| tracing::warn!(reason = "a\nPRIORITY=0\nMESSAGE=forged", "line\nbreak"));
        assert_eq!(got["ALYX_REASON"], "a\nPRIORITY=0\nMESSAGE=forged");
        assert_eq!(got["PRIORITY"], "4");
        let huge = "µ".repeat(1 << 20);
        let got = fake.gets(|| tracing::warn!(a = huge, b = huge, c = huge, d = huge, e = huge, "huge"));
        assert!(got["MESSAGE"].starts_with("huge a="));
        assert!(got.values().all(|value| value.len() <= LONGEST), "{:?}", got.keys());
    }

    #[test]
    fn a_journal_that_goes_away_does_not_block() {
        let fake = Fake::new();
        let path = fake.folder.path().join("socket");
        let journal = Journal::at(&path).unwrap();
        drop(fake);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(journal), || {
            tracing::info!("lost");
        });
        assert!(Journal::at(&path).is_err());
    }

    #[test]
    fn standard_error_is_the_journal_only_if_device_and_inode_match() {
        assert!(is_stream("9:123", 9, 123));
        for other in ["9:124", "8:123", "123", "", "9:123:1", "a:b"] {
            assert!(!is_stream(other, 9, 123), "{other:?}");
        }
    }
}
