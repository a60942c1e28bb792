//! The control socket: how `status`, `retry` and `forget` speak to a running daemon. One line of JSON each way.

use std::io;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::daemon::messages::{Answer, Request, StatusClient};

/// Name of the socket in the state folder.
const NAME: &str = "daemon.sock";
/// A question is a line of a few hundred bytes.
const LONGEST: u64 = 64 * 1024;
/// How long one conversation may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many may ask at the same time; others wait.
const AT_ONCE: usize = 8;

/// The socket of a running daemon.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
}

/// The socket's address by way of the open folder: the path of a state folder may be longer than an address may be.
fn address(folder: &std::fs::File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd()))
}

impl Control {
    /// Makes the socket in a state folder; user and group may use it. The caller holds the folder's lock, so that
    /// a socket that is there was left by a daemon that is gone.
    ///
    /// # Errors
    /// As of the system, where the folder cannot be written.
    pub fn bind(state_dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(state_dir)?;
        match std::fs::remove_file(state_dir.join(NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let folder = std::fs::File::open(state_dir)?;
        let listener = UnixListener::bind(address(&folder))?;
        std::fs::set_permissions(state_dir.join(NAME), std::fs::Permissions::from_mode(0o660))?;
        Ok(Self { listener })
    }

    /// Answers until `shutdown`. Each question goes to the one task that knows.
    pub(crate) async fn serve(self, questions: StatusClient, shutdown: CancellationToken) {
        let places = std::sync::Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            let Ok(place) = std::sync::Arc::clone(&places).acquire_owned().await else { return };
            match accepted {
                Ok((stream, _)) => {
                    let questions = questions.clone();
                    tokio::spawn(async move {
                        let _place = place;
                        let _ = tokio::time::timeout(PATIENCE, converse(stream, questions)).await;
                    });
                }
                Err(error) => {
                    tracing::debug!("a question could not be accepted: {error}");
                    // Out of file handles: at once the same would come again.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn converse(mut stream: UnixStream, questions: StatusClient) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    tokio::io::BufReader::new(read.take(LONGEST)).read_line(&mut line).await?;
    let answer = match serde_json::from_str::<Request>(&line) {
        Ok(request) => {
            let answer = questions.ask(request).await;
            answer.unwrap_or_else(|| Answer::Refused("the daemon is stopping".to_owned()))
        }
        Err(error) => {
            Answer::Refused(format!("not understood: {error}; use the same version of both programs"))
        }
    };
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    write.write_all(text.as_bytes()).await
}

/// Asks the daemon of a state folder. `None`: none is running. Blocks.
///
/// # Errors
/// A line with what is wrong and what to do.
pub fn ask(state_dir: &Path, request: &Request) -> Result<Option<Answer>, String> {
    let path = state_dir.join(NAME);
    let connected = std::fs::File::open(state_dir)
        .and_then(|folder| std::os::unix::net::UnixStream::connect(address(&folder)));
    let stream = match connected {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(format!(
                "{} may not be used by this user; be in the group of the service's user, or use sudo",
                path.display()
            ));
        }
        Err(error) => return Err(format!("{} cannot be used: {error}", path.display())),
    };
    converse_blocking(&stream, request)
        .map(Some)
        .map_err(|error| format!("the daemon does not answer ({error}); look at its log"))
}

fn converse_blocking(mut stream: &std::os::unix::net::UnixStream, request: &Request) -> io::Result<Answer> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{}\n", serde_json::to_string(request)?).as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}
