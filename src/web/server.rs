//! The server: who may connect, what is at which address, and with which headers. It is small on purpose: a page must
//! never keep a recording from being registered, so that it has few connections, each for a short time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use prometheus_client::encoding::prometheus_text::CONTENT_TYPE as METRICS;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::daemon::status::{LAST_OUTCOMES, host};
use crate::web::page;
use crate::web::page::View;
use crate::web::snapshot::SnapshotCache;

/// How soon an address that cannot be used is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// Connections at the same time; others wait.
const AT_ONCE: usize = 32;
/// How long a request may take to arrive.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection may last.
const CONNECTED: Duration = Duration::from_secs(60);
/// How long the last answers may take when the daemon stops.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

const STYLE: &str = include_str!("style.css");
const REFRESH: &str = include_str!("refresh.js");
const ICON: &str = include_str!("icon.svg");

const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// What a browser may do with the page: show it, with our own style and script, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Listens at an address. A failure is reported once and retried until it succeeds.
pub(super) async fn listen(address: SocketAddr) -> TcpListener {
    let mut warned = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let at = listener.local_addr().unwrap_or(address);
                tracing::info!("the status page is at http://{at}/");
                return listener;
            }
            Err(error) if !warned => {
                warned = true;
                tracing::error!(
                    "the status page cannot be shown: http.listen {address} cannot be used ({error}). Sessions are \
                     registered all the same. Choose another port, or stop what listens there; it is tried again \
                     every minute"
                );
            }
            Err(error) => tracing::debug!("{address} still cannot be used: {error}"),
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

/// Serves until `shutdown`.
pub(super) async fn serve(listener: TcpListener, news: Arc<SnapshotCache>, shutdown: CancellationToken) {
    let router = router(news);
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(REQUEST_WITHIN);
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else { continue };
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            let _place = place;
            let _ = tokio::time::timeout(CONNECTED, connection).await;
        });
    }
    let _ = tokio::time::timeout(CLOSE_WITHIN, graceful.shutdown()).await;
}

type Place = tokio::sync::OwnedSemaphorePermit;

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<(tokio::net::TcpStream, Place)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::debug!("a connection could not be accepted: {error}");
            // Out of file handles: at once the same would come again.
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

fn router(news: Arc<SnapshotCache>) -> Router {
    Router::new()
        .route("/", get(status_page))
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .route("/status.json", get(status))
        .route("/style.css", get(|| async { text("text/css; charset=utf-8", STYLE) }))
        .route("/refresh.js", get(|| async { text("text/javascript; charset=utf-8", REFRESH) }))
        .route("/icon.svg", get(|| async { text("image/svg+xml", ICON) }))
        .fallback(|| async { (StatusCode::NOT_FOUND, text(TEXT, "there is nothing here; see /\n")) })
        .layer(axum::middleware::map_response(guarded))
        .with_state(news)
}

fn text(kind: &'static str, text: impl Into<String>) -> Response {
    ([(header::CONTENT_TYPE, kind)], text.into()).into_response()
}

/// Adds the headers that keep a browser from doing more than it should.
async fn guarded(mut response: Response) -> Response {
    const HEADERS: [(HeaderName, &str); 5] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    let headers: &mut HeaderMap = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn health(State(news): State<Arc<SnapshotCache>>) -> Response {
    match news.present().await.fault {
        None => text(TEXT, "ok\n"),
        Some(fault) => {
            (StatusCode::SERVICE_UNAVAILABLE, text(TEXT, format!("stuck: {fault}\n"))).into_response()
        }
    }
}

async fn metrics(State(news): State<Arc<SnapshotCache>>) -> Response {
    text(METRICS, news.metrics().await)
}

async fn status(State(news): State<Arc<SnapshotCache>>) -> Response {
    const JSON: &str = "application/json";
    let (present, past) = (news.present().await, news.past().await);
    match present.status {
        Some(status) => {
            let last = past.last.get(..LAST_OUTCOMES).unwrap_or(&past.last);
            text(JSON, format!("{}\n", status.json(last)))
        }
        None => {
            let body = json!({"error": present.fault}).to_string();
            (StatusCode::SERVICE_UNAVAILABLE, text(JSON, body)).into_response()
        }
    }
}

async fn status_page(State(news): State<Arc<SnapshotCache>>) -> Response {
    let (present, past) = (news.present().await, news.past().await);
    text(
        HTML,
        page::page(&View {
            host: &host(),
            now: Timestamp::now(),
            zone: &news.options.zone,
            status: present.status.as_deref(),
            fault: present.fault.as_deref(),
            past: &past,
        }),
    )
}
