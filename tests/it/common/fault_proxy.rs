//! A proxy in front of the sandbox that simulates a bad network and bad proxies. It works on TCP and knows just enough
//! of HTTP to separate requests.
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What happens to a request or to its answer.
#[derive(Debug, Clone, PartialEq)]
pub enum NetworkFault {
    /// Request and answer are delayed.
    Latency(Duration),
    /// The connection is reset before the request is forwarded.
    ResetBefore,
    /// The request is forwarded and answered; then the connection is reset, and the answer is lost.
    ResetAfter,
    /// Half of the answer's body, then the connection closes.
    HalfBody,
    /// The answer announces more bytes than it has.
    LengthTooLong,
    /// The answer announces fewer bytes than it has: truncated JSON.
    LengthTooShort,
    /// A proxy's page with this status; the request is not forwarded.
    Html(u16),
    /// A proxy's 504 for a request with a larger body, which takes the server too long; it is not forwarded.
    TooLong(usize),
    /// 429 with `Retry-After: 0`.
    TooMany,
    /// The answer arrives byte by byte, with this pause in between.
    Drip(Duration),
    /// A redirect to another address.
    Redirect,
}

/// The requests that a fault applies to.
#[derive(Debug, Clone)]
pub struct Rule {
    /// `POST` …; empty: any.
    pub method: &'static str,
    /// The prefix of the path.
    pub path: &'static str,
    /// How many times.
    pub times: usize,
    pub fault: NetworkFault,
}

/// A moment in the life of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The proxy has the whole request; the server has not received it.
    Received,
    /// The server has answered; the client does not know yet.
    Answered,
    /// The client has the answer, or could have.
    Delivered,
}

/// Called at each moment with the number of the request, counted from 0, and its method and path.
pub type Listener = Arc<dyn Fn(usize, &str, Moment) + Send + Sync>;

/// A running proxy. It stops when it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    upstream: String,
    rules: Mutex<Vec<Rule>>,
    listener: Mutex<Option<Listener>>,
    count: Mutex<usize>,
}

impl Proxy {
    /// A proxy before `http://host:port`, on a free port.
    pub async fn start(upstream: &str) -> Self {
        let upstream = upstream.strip_prefix("http://").unwrap().to_owned();
        let shared = Arc::new(Shared {
            upstream,
            rules: Mutex::default(),
            listener: Mutex::default(),
            count: Mutex::default(),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            // Connections end with the proxy.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(connection(stream, Arc::clone(&serving)));
            }
        });
        Self { address, shared, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Applies a fault to matching requests. Of several matching rules, the first one applies.
    pub fn add(&self, rule: Rule) {
        self.shared.rules.lock().unwrap().push(rule);
    }

    /// Removes all rules.
    pub fn clear(&self) {
        self.shared.rules.lock().unwrap().clear();
    }

    /// Calls the listener for each request from now on, counted from 0 again.
    pub fn listen(&self, listener: Option<Listener>) {
        *self.shared.listener.lock().unwrap() = listener;
        *self.shared.count.lock().unwrap() = 0;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn fault(&self, method: &str, path: &str) -> Option<NetworkFault> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules.iter_mut().find(|rule| {
            rule.times > 0 && path.starts_with(rule.path) && (rule.method.is_empty() || rule.method == method)
        })?;
        rule.times = rule.times.saturating_sub(1);
        Some(rule.fault.clone())
    }

    fn notify(&self, number: usize, what: &str, moment: Moment) {
        let listener = self.listener.lock().unwrap().clone();
        if let Some(listener) = listener {
            listener(number, what, moment);
        }
    }
}

/// An HTTP/1.1 message: its head with the empty line, and its body.
struct Message {
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Message {
    /// `None`: the peer has closed the connection.
    async fn read(stream: &mut TcpStream) -> Option<Self> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let text = String::from_utf8_lossy(&head).to_lowercase();
        assert!(!text.contains("transfer-encoding"), "not made for chunks: {text}");
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await.ok()?;
        Some(Self { head, body })
    }

    fn first_line(&self) -> String {
        String::from_utf8_lossy(&self.head).lines().next().unwrap_or_default().to_owned()
    }

    /// The head with another content length.
    fn head_with_length(&self, length: usize) -> Vec<u8> {
        let text = String::from_utf8_lossy(&self.head);
        let lines = text.trim_end().lines().map(|line| {
            if line.to_lowercase().starts_with("content-length:") {
                format!("content-length: {length}\r\n")
            } else {
                format!("{line}\r\n")
            }
        });
        (lines.collect::<String>() + "\r\n").into_bytes()
    }
}

fn page(status: u16) -> Vec<u8> {
    let html = format!("<html><body><h1>{status} of the proxy</h1></body></html>");
    let length = html.len();
    format!("HTTP/1.1 {status} So\r\ncontent-type: text/html\r\ncontent-length: {length}\r\n\r\n{html}")
        .into()
}

/// The peer sees a reset, not an orderly close.
fn reset(stream: TcpStream) {
    let _ = stream.set_zero_linger();
}

async fn connection(mut client: TcpStream, shared: Arc<Shared>) {
    let _ = client.set_nodelay(true);
    while let Some(request) = Message::read(&mut client).await {
        let line = request.first_line();
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let number = {
            let mut count = shared.count.lock().unwrap();
            *count += 1;
            *count - 1
        };
        let what = format!("{method} {path}");
        let fault = shared.fault(method, path);
        shared.notify(number, &what, Moment::Received);
        match &fault {
            Some(NetworkFault::ResetBefore) => return reset(client),
            Some(NetworkFault::Html(status)) => {
                if client.write_all(&page(*status)).await.is_err() {
                    return;
                }
                continue;
            }
            Some(NetworkFault::TooLong(bytes)) if request.body.len() > *bytes => {
                if client.write_all(&page(504)).await.is_err() {
                    return;
                }
                continue;
            }
            Some(NetworkFault::TooMany) => {
                let answer = "HTTP/1.1 429 So\r\nretry-after: 0\r\ncontent-length: 2\r\n\r\n{}";
                if client.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
                continue;
            }
            Some(NetworkFault::Redirect) => {
                let answer =
                    "HTTP/1.1 301 So\r\nlocation: https://elsewhere.example\r\ncontent-length: 0\r\n\r\n";
                if client.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
                continue;
            }
            Some(NetworkFault::Latency(time)) => tokio::time::sleep(*time).await,
            _ => {}
        }
        let Some(answer) = forward(&request, &shared.upstream).await else { return };
        shared.notify(number, &what, Moment::Answered);
        let (head, body) = (&answer.head, &answer.body);
        let sent = match fault {
            Some(NetworkFault::ResetAfter) => return reset(client),
            Some(NetworkFault::HalfBody) => {
                let _ = client.write_all(&[head, &body[..body.len() / 2]].concat()).await;
                return;
            }
            Some(NetworkFault::LengthTooLong) => {
                let _ =
                    client.write_all(&[&answer.head_with_length(body.len() + 9), &body[..]].concat()).await;
                return;
            }
            Some(NetworkFault::LengthTooShort) => {
                let cut = body.len().saturating_sub(3);
                client.write_all(&[&answer.head_with_length(cut), &body[..]].concat()).await
            }
            Some(NetworkFault::Drip(pause)) => drip(&mut client, &[&head[..], body].concat(), pause).await,
            Some(NetworkFault::Latency(time)) => {
                tokio::time::sleep(time).await;
                client.write_all(&[&head[..], body].concat()).await
            }
            _ => client.write_all(&[&head[..], body].concat()).await,
        };
        shared.notify(number, &what, Moment::Delivered);
        if sent.is_err() {
            return;
        }
    }
}

async fn drip(client: &mut TcpStream, bytes: &[u8], pause: Duration) -> std::io::Result<()> {
    for byte in bytes {
        client.write_all(&[*byte]).await?;
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

/// Forwards a request. Once sent it is carried out, even if the client disconnects.
async fn forward(request: &Message, upstream: &str) -> Option<Message> {
    let mut server = TcpStream::connect(upstream).await.ok()?;
    server.write_all(&[&request.head[..], &request.body].concat()).await.ok()?;
    Message::read(&mut server).await
}
