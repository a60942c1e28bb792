//! Networks of their own, as of other computers and of containers: they share no address and no abstract socket, and reach
//! the Alyx of a test only.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::until;

/// A network in which nothing but an Alyx can be reached.
pub struct Network {
    /// Keeps it: it ends with this process.
    holder: Child,
    /// The address of the Alyx in it.
    pub url: String,
}

impl Network {
    /// Needs root, unshare and ip.
    ///
    /// Connections are accepted inside it and continued outside: a socket stays in the network in which it was made.
    pub fn reaching(alyx: &str) -> io::Result<Self> {
        let mut holder = Command::new("unshare");
        // It ends with its standard input, also if this process is killed.
        holder
            .args(["--net", "sh", "-c", "ip link set lo up && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let holder = holder.spawn()?;
        let server = alyx.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let (sender, connections) = channel::<TcpStream>();
        let (listening, ready) = channel();
        let namespace = format!("/proc/{}/ns/net", holder.id());
        let own = std::fs::read_link("/proc/self/ns/net")?;
        until("the network is there", || std::fs::read_link(&namespace).is_ok_and(|name| name != own));
        std::thread::spawn(move || {
            let listen = || {
                let network = std::fs::File::open(&namespace)?;
                move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
                TcpListener::bind("127.0.0.1:0")
            };
            let listener = match listen() {
                Ok(listener) => listener,
                Err(error) => {
                    _ = listening.send(Err(error));
                    return;
                }
            };
            _ = listening.send(listener.local_addr());
            for connection in listener.incoming().map_while(Result::ok) {
                if sender.send(connection).is_err() {
                    return;
                }
            }
        });
        std::thread::spawn(move || {
            for inside in connections {
                let Ok(outside) = TcpStream::connect(&server) else { continue };
                let ends = inside.try_clone().and_then(|i| Ok((i, outside.try_clone()?)));
                let Ok((inside_too, outside_too)) = ends else { continue };
                std::thread::spawn(move || relay(inside, outside));
                std::thread::spawn(move || relay(outside_too, inside_too));
            }
        });
        let address = ready.recv().map_err(io::Error::other)??;
        let network = Self { holder, url: format!("http://{address}") };
        until("its loopback device is up", || {
            network
                .command()
                .args(["sh", "-c", "ip link show lo | grep -q ,UP"])
                .status()
                .is_ok_and(|s| s.success())
        });
        Ok(network)
    }

    /// A command that runs in it; the program and its arguments follow.
    pub fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.holder.id())).arg("--");
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        _ = self.holder.kill();
        _ = self.holder.wait();
    }
}

fn relay(mut from: TcpStream, mut to: TcpStream) {
    _ = io::copy(&mut from, &mut to);
    _ = to.shutdown(std::net::Shutdown::Write);
}
