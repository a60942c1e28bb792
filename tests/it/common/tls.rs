//! TLS in front of the sandbox: a private certificate authority, certificates signed by it, and a server that uses
//! one.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// A certificate authority that no system trusts.
pub struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut about = rcgen::CertificateParams::new(Vec::new()).unwrap();
        about.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = about.self_signed(&key).unwrap().pem();
        Self { issuer: rcgen::Issuer::new(about, key), pem }
    }

    /// Writes its certificate.
    pub fn write(&self, file: PathBuf) -> PathBuf {
        std::fs::create_dir_all(file.parent().unwrap_or(Path::new("/"))).unwrap();
        std::fs::write(&file, &self.pem).unwrap();
        file
    }

    /// A server before `http://host:port` with a certificate that ended long ago.
    pub async fn expired(&self, upstream: &str) -> Server {
        let year = rcgen::date_time_ymd;
        self.server(upstream, |about| {
            (about.not_before, about.not_after) = (year(2001, 1, 1), year(2002, 1, 1));
        })
        .await
    }

    /// A server before `http://host:port` with a certificate that is good for so long.
    pub async fn good_for(&self, upstream: &str, time: Duration) -> Server {
        self.server(upstream, |about| about.not_after = (SystemTime::now() + time).into()).await
    }

    async fn server(&self, upstream: &str, change: impl FnOnce(&mut rcgen::CertificateParams)) -> Server {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut about = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        change(&mut about);
        let certificate = about.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        Server::start(upstream, TlsAcceptor::from(Arc::new(config))).await
    }
}

/// Terminates TLS in front of a plain server. Stops when dropped.
pub struct Server {
    /// `https://localhost:port`.
    pub url: String,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(upstream: &str, acceptor: TlsAcceptor) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let upstream = upstream.trim_start_matches("http://").to_owned();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, upstream) = (acceptor.clone(), upstream.clone());
                tokio::spawn(async move {
                    // A client that rejects the certificate disconnects.
                    let Ok(mut inside) = acceptor.accept(stream).await else { return };
                    let Ok(mut outside) = TcpStream::connect(upstream).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
                });
            }
        });
        Self { url, task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
