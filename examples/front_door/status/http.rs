//! HTTP: a few paths, read only.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::{Listening, Status, page, recent};

/// Maximum size of a request's header in octets. A body is not read.
const REQUEST: usize = 8 << 10;
/// Maximum number of concurrent connections. Further ones wait in the backlog.
const CONNECTIONS: usize = 16;
/// Time for a request's header.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// Time for a connection, including the response.
const CONNECTION_TIME: Duration = Duration::from_secs(15);
/// Pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_secs(1);

/// Maximum number of characters of a search.
const SEARCHED: usize = 200;

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves HTTP until the process ends.
pub(super) fn serve(listener: Listening, status: Arc<Status>) -> io::Result<()> {
    let is_local = listener.is_loopback()?;
    let listener = Listener::new(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    tokio::spawn(async move {
        while let Ok(place) = places.clone().acquire_owned().await {
            let Ok(stream) = listener.accept().await else {
                sleep(PAUSE).await;
                continue;
            };
            let status = status.clone();
            tokio::spawn(async move {
                // A client that is too slow is disconnected.
                let _ = timeout(CONNECTION_TIME, connection(stream, status, is_local)).await;
                drop(place);
            });
        }
    });
    Ok(())
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Listener {
    fn new(listener: Listening) -> io::Result<Self> {
        match listener {
            Listening::Tcp(listener) => TcpListener::from_std(listener).map(Self::Tcp),
            Listening::Unix(listener) => UnixListener::from_std(listener).map(Self::Unix),
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

async fn connection(stream: Box<dyn Stream>, status: Arc<Status>, is_local: bool) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let response = answer(&status, &request, is_local);
        async move { Ok::<_, Infallible>(response) }
    });
    // An error is the fault of the client, which has been disconnected.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .keep_alive(false)
        .max_buf_size(REQUEST)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

fn answer(status: &Status, request: &Request<Incoming>, is_local: bool) -> Response<String> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "expected GET or HEAD");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    if is_local && !is_local_name(request.headers()) {
        return text(
            StatusCode::MISDIRECTED_REQUEST,
            "expected an IP address or localhost as host",
        );
    }
    let path = request.uri().path();
    match path {
        "/healthz" => text(StatusCode::OK, "ok"),
        "/readyz" => {
            let (mut lines, remarks) = (status.obstacles(), status.remarks());
            let code = match lines.is_empty() {
                true => StatusCode::OK,
                false => StatusCode::SERVICE_UNAVAILABLE,
            };
            if lines.is_empty() {
                lines.push("ready".to_owned());
            }
            lines.extend(remarks);
            text(code, &lines.join("\n"))
        }
        "/metrics" => response(StatusCode::OK, METRICS, status.exported()),
        "/" => {
            let searched = searched(request);
            html(StatusCode::OK, |nonce| page::overview(status, &searched, nonce))
        }
        "/recent.json" => response(StatusCode::OK, JSON, recent::json(status, &searched(request))),
        _ => match path.strip_prefix("/why/").and_then(|reference| status.find(reference)) {
            Some(record) => html(StatusCode::OK, |nonce| page::why(&record, nonce)),
            None if path.starts_with("/why/") => html(StatusCode::NOT_FOUND, page::no_record),
            None => text(
                StatusCode::NOT_FOUND,
                "expected /, /recent.json, /metrics, /healthz or /readyz",
            ),
        },
    }
}

/// Returns the text that is searched for, truncated.
fn searched(request: &Request<Incoming>) -> String {
    let query = request.uri().query().unwrap_or_default().as_bytes();
    let searched = form_urlencoded::parse(query).find(|(key, _)| key == "q");
    searched.map(|(_, text)| text.chars().take(SEARCHED).collect()).unwrap_or_default()
}

/// Returns whether the host in the request is an address or `localhost`. Without this check, a web
/// page in a browser on this machine could read the status through a domain name that resolves to
/// this address (DNS rebinding).
fn is_local_name(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let host = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
    host.is_some_and(|host| {
        let name = host.host().trim_start_matches('[').trim_end_matches(']');
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
    })
}

fn text(status: StatusCode, line: &str) -> Response<String> {
    response(status, TEXT, format!("{line}\n"))
}

/// Returns a page. It may use only its own style, which has this nonce, and can send its form only
/// to this server.
fn html(status: StatusCode, page: impl FnOnce(&str) -> String) -> Response<String> {
    let mut octets = [0; 16];
    if getrandom::fill(&mut octets).is_err() {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "no random numbers");
    }
    let nonce: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    let mut response = response(status, HTML, page(&nonce));
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::try_from(policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
