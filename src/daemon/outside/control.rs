//! The control socket: how `status`, `retry` and `forget` talk to a running daemon. One line of JSON each way.

#![expect(clippy::disallowed_methods, reason = "works on the disk")]

use std::io;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::daemon::messages::{Answer, Request, StatusClient};
use crate::daemon::outside::connections::{ConnectionPlaces, Place};

/// Name of the socket in the state folder.
const NAME: &str = "daemon.sock";
/// The longest request, in bytes. Most have a few hundred; one with the gaps of a session names up to 1000 files.
const MAX_REQUEST: u64 = 1024 * 1024;
/// How long one exchange may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How many clients are answered at the same time; others wait.
const MAX_CLIENTS: usize = 8;
/// How much of an answer is written before its client counts as one that reads, in bytes.
const PART: usize = 16 * 1024;
/// How often the socket is looked for on disk: it may be deleted, alone or with its folder.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// The socket of a running daemon.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    state_dir: PathBuf,
    /// The permissions of the state folder.
    folder_mode: u32,
}

/// The socket's address through the open folder: the path of the state folder may exceed the limit of an address.
fn address(folder: &std::fs::File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd()))
}

impl Control {
    /// Creates the socket in a state folder, usable by user and group. The caller holds the folder's lock, so an
    /// existing socket was left by a daemon that has ended.
    ///
    /// # Errors
    /// The system's error if the folder cannot be written.
    pub fn bind(state_dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(state_dir)?;
        match std::fs::remove_file(state_dir.join(NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let folder_mode = std::fs::metadata(state_dir)?.permissions().mode() & 0o7777;
        Ok(Self { listener: bind(state_dir)?, state_dir: state_dir.to_owned(), folder_mode })
    }

    /// Makes the socket again if it was deleted. Blocks.
    fn restored(self) -> Self {
        match std::fs::symlink_metadata(self.state_dir.join(NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            _ => return self,
        }
        // Fails if only the socket is gone.
        let _ = std::fs::DirBuilder::new().mode(self.folder_mode).create(&self.state_dir);
        match bind(&self.state_dir) {
            Ok(listener) => {
                tracing::info!("the socket in {} was deleted; there is a new one", self.state_dir.display());
                Self { listener, ..self }
            }
            Err(error) => {
                tracing::debug!("no new socket in {}: {error}", self.state_dir.display());
                self
            }
        }
    }

    /// Serves requests until `shutdown`. Each goes to the run loop.
    pub(crate) async fn serve(mut self, client: StatusClient, shutdown: CancellationToken) {
        let slots = Arc::new(Semaphore::new(MAX_CLIENTS));
        let places = Arc::new(ConnectionPlaces::default());
        let mut check = tokio::time::interval(CHECK_EVERY);
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => return,
                accepted = self.listener.accept() => accepted,
                _ = check.tick() => match tokio::task::spawn_blocking(|| self.restored()).await {
                    Ok(control) => {
                        self = control;
                        continue;
                    }
                    Err(_) => return,
                },
            };
            match accepted {
                Ok((stream, _)) => {
                    // Each user on his own.
                    let user = stream.peer_cred().map_or(u32::MAX, |peer| peer.uid());
                    let place = tokio::select! {
                        () = shutdown.cancelled() => return,
                        place = places.enter(user) => place,
                    };
                    let (client, slots) = (client.clone(), Arc::clone(&slots));
                    tokio::spawn(async move {
                        let exchanged = exchange(stream, client, &slots, &place);
                        tokio::select! {
                            () = place.is_needed() => {}
                            _ = tokio::time::timeout(TIMEOUT, exchanged) => {}
                        }
                    });
                }
                Err(error) => {
                    tracing::debug!("a question could not be accepted: {error}");
                    // Out of file descriptors: accepting again at once would fail, too.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// A socket in a state folder, usable by user and group.
fn bind(state_dir: &Path) -> io::Result<UnixListener> {
    let folder = std::fs::File::open(state_dir)?;
    let listener = UnixListener::bind(address(&folder))?;
    std::fs::set_permissions(state_dir.join(NAME), std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

async fn exchange(
    mut stream: UnixStream,
    client: StatusClient,
    slots: &Semaphore,
    place: &Place<u32>,
) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    let mut read = tokio::io::BufReader::new(read.take(MAX_REQUEST));
    read.read_line(&mut line).await?;
    place.asked();
    let Ok(slot) = slots.acquire().await else { return Ok(()) };
    let answer = match serde_json::from_str::<Request>(&line) {
        Ok(request) => {
            let answer = client.ask(request).await;
            answer.unwrap_or_else(|| Answer::Refused("the daemon is stopping".to_owned()))
        }
        Err(error) => {
            Answer::Refused(format!("not understood: {error}; use the same version of both programs"))
        }
    };
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    drop(slot);
    for part in text.as_bytes().chunks(PART) {
        // Its client may read no more.
        place.answered();
        write.write_all(part).await?;
    }
    Ok(())
}

/// Sends a request to the daemon of a state folder. `None`: none is running. Blocks.
///
/// # Errors
/// One line with the problem and what to do.
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
                "this user may not use {}; join the group of the service user, or use sudo",
                path.display()
            ));
        }
        Err(error) => return Err(format!("{} cannot be used: {error}", path.display())),
    };
    exchange_blocking(&stream, request)
        .map(Some)
        .map_err(|error| format!("the daemon does not answer ({error}); look at its log"))
}

fn exchange_blocking(mut stream: &std::os::unix::net::UnixStream, request: &Request) -> io::Result<Answer> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(format!("{}\n", serde_json::to_string(request)?).as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}
