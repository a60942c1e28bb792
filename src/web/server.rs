//! The server: limits, routes and headers. It is small on purpose: the page must never delay a registration, so it
//! allows few connections, each for a short time. When there are too many, the slowest is closed.

#![expect(clippy::disallowed_methods, reason = "reads the clock")]

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1::Builder;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use prometheus_client::encoding::prometheus_text::CONTENT_TYPE as METRICS;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::daemon::outside::connections::{ConnectionPlaces, Place};
use crate::daemon::status::{LAST_OUTCOMES, host};
use crate::json::document::Document;
use crate::json::error_report::{CommandKind, ErrorReport};
use crate::web::host_names::HostNames;
use crate::web::page;
use crate::web::page::View;
use crate::web::snapshot::SnapshotCache;

/// How soon an address that cannot be used is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// How long a request may take to arrive; less if others wait for its connection.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may last.
const MAX_CONNECTION_TIME: Duration = Duration::from_secs(60);
/// How long the last responses may take when the daemon stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

const STYLE: &str = include_str!("style.css");
const REFRESH: &str = include_str!("refresh.js");
const ICON: &str = include_str!("icon.svg");

const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// What a browser may do with the page: show it with its own style and script, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Listens on an address. A failure is reported once and retried until it succeeds.
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
                    "the status page cannot be shown: http.listen {address} cannot be used ({error}). Registration \
                     continues. Choose another port, or stop the program that uses this one; the daemon tries again \
                     every minute"
                );
            }
            Err(error) => tracing::debug!("{address} still cannot be used: {error}"),
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

/// Serves until `shutdown`.
pub(super) async fn serve(listener: TcpListener, cache: Arc<SnapshotCache>, shutdown: CancellationToken) {
    let router = router(cache);
    let places = Arc::new(ConnectionPlaces::default());
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(REQUEST_TIMEOUT);
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else { continue };
        let (router, place) = (TowerToHyperService::new(router.clone()), Arc::new(place));
        let asked = Arc::clone(&place);
        let service = service_fn(move |request| {
            let (answer, place) = (router.call(request), Arc::clone(&asked));
            place.asked();
            async move {
                let answer = answer.await;
                place.answered();
                answer
            }
        });
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            tokio::select! {
                () = place.is_needed() => {}
                _ = tokio::time::timeout(MAX_CONNECTION_TIME, connection) => {}
            }
        });
    }
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, graceful.shutdown()).await;
}

/// Accepts a connection, and makes room for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<ConnectionPlaces<IpAddr>>,
) -> Option<(TcpStream, Place<IpAddr>)> {
    match listener.accept().await {
        Ok((stream, from)) => Some((stream, places.enter(network(from.ip())).await)),
        Err(error) => {
            tracing::debug!("a connection could not be accepted: {error}");
            // Out of file descriptors: accepting again at once would fail, too.
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// What one client can come from: an address, or a network of IPv6, of which each client has as many as it likes.
fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

fn router(cache: Arc<SnapshotCache>) -> Router {
    let names = Arc::new(HostNames::new(cache.options.listen, &cache.options.names));
    Router::new()
        .route("/", get(status_page))
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .route("/status.json", get(status))
        .route("/style.css", get(|| async { text("text/css; charset=utf-8", STYLE) }))
        .route("/refresh.js", get(|| async { text("text/javascript; charset=utf-8", REFRESH) }))
        .route("/icon.svg", get(|| async { text("image/svg+xml", ICON) }))
        .fallback(|| async { (StatusCode::NOT_FOUND, text(TEXT, "there is nothing here; see /\n")) })
        .layer(from_fn_with_state(names, check_host))
        .layer(axum::middleware::map_response(with_security_headers))
        .with_state(cache)
}

/// Answers only under the names of this computer, see [`HostNames`].
async fn check_host(State(names): State<Arc<HostNames>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or_default());
    if names.accept(host) {
        return next.run(request).await;
    }
    const REFUSAL: &str = "this page does not answer under this name; open it as http://localhost, or add the name to \
                           http.names in the configuration\n";
    (StatusCode::MISDIRECTED_REQUEST, text(TEXT, REFUSAL)).into_response()
}

fn text(kind: &'static str, text: impl Into<String>) -> Response {
    ([(header::CONTENT_TYPE, kind)], text.into()).into_response()
}

/// Adds the headers that restrict what a browser does with the page.
async fn with_security_headers(mut response: Response) -> Response {
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

async fn health(State(cache): State<Arc<SnapshotCache>>) -> Response {
    match cache.present().await.fault {
        None => text(TEXT, "ok\n"),
        Some(fault) => {
            (StatusCode::SERVICE_UNAVAILABLE, text(TEXT, format!("stuck: {fault}\n"))).into_response()
        }
    }
}

async fn metrics(State(cache): State<Arc<SnapshotCache>>) -> Response {
    text(METRICS, cache.metrics().await)
}

async fn status(State(cache): State<Arc<SnapshotCache>>) -> Response {
    const JSON: &str = "application/json";
    let (present, history) = (cache.present().await, cache.history().await);
    match present.status {
        Some(status) => {
            let last = history.last.get(..LAST_OUTCOMES).unwrap_or(&history.last);
            text(JSON, format!("{}\n", status.document(last)))
        }
        None => {
            let fault = present.fault.unwrap_or_default();
            let report = ErrorReport::command(CommandKind::Program, format!("the daemon is stuck: {fault}"));
            let body = Document::failed("status", vec![report]).line();
            (StatusCode::SERVICE_UNAVAILABLE, text(JSON, body)).into_response()
        }
    }
}

async fn status_page(State(cache): State<Arc<SnapshotCache>>) -> Response {
    let (present, history) = (cache.present().await, cache.history().await);
    text(
        HTML,
        page::page(&View {
            host: &host(),
            now: Timestamp::now(),
            zone: &cache.options.zone,
            status: present.status.as_deref(),
            fault: present.fault.as_deref(),
            history: &history,
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_of_ipv6_are_one_client() {
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(network(parse("2001:db8::1")), network(parse("2001:db8::ffff:1")));
        assert_ne!(network(parse("2001:db8::1")), network(parse("2001:db8:0:1::1")));
        assert_eq!(network(parse("::ffff:192.0.2.1")), parse("192.0.2.1"));
        assert_ne!(network(parse("192.0.2.1")), network(parse("192.0.2.2")));
    }
}
