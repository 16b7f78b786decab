//! The accept loop: made for many idle connections. Each is HTTP/1.1 or HTTP/2 from its first bytes on, or as agreed in
//! its TLS handshake.

mod http2;
mod stream;

use crate::stats::Stats;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
pub use stream::{Stream, Unread};
use stream::{Version, begin};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// How long a connection may wait for its next request's head, or with HTTP/2 be without a request. Longer than clients
/// keep connections that they mean to use again, so that they are seldom closed under a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

// Linux's numbers for what accept(2) says when the machine has no more of something.
const ENOMEM: i32 = 12;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOBUFS: i32 = 105;

/// What an accept loop is made with.
#[derive(Clone)]
pub struct Listening {
    /// TLS, if any.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Connections above it are closed at once, counted.
    pub max_connections: usize,
    /// Counts connections.
    pub stats: Arc<Stats>,
    /// Ends the loop; open connections finish what they are at.
    pub stop: CancellationToken,
}

/// Binds an address for many clients: a deep backlog, and the address may be taken over after a restart.
///
/// # Errors
/// The system's.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4_096)?;
    TcpListener::from_std(socket.into())
}

/// Lets this process open as many files as the system allows it; how many that is.
///
/// # Errors
/// The system's.
pub fn raise_file_limit() -> io::Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX)
}

/// Accepts connections and serves `router` on them until told to stop; returns when the last HTTP connection is closed
/// (WebSockets have left by then, or end with the process).
pub async fn serve(listener: TcpListener, router: Router, listening: Listening) {
    let acceptor = listening.tls.clone().map(TlsAcceptor::from);
    let open = Arc::new(AtomicUsize::new(0));
    let tasks = TaskTracker::new();
    // A peer that is gone without a word is noticed within two minutes.
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    loop {
        let (stream, _peer) = tokio::select! {
            () = listening.stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of files or memory: give connections time to close rather than spin. Anything else is one
                    // connection's misfortune.
                    if matches!(error.raw_os_error(), Some(EMFILE | ENFILE | ENOMEM | ENOBUFS)) {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    continue;
                }
            },
        };
        let guard = Guard::new(&open, &listening.stats);
        if open.load(Ordering::Relaxed) > listening.max_connections {
            listening.stats.connections_refused.inc();
            continue; // closes it
        }
        let _ = stream.set_nodelay(true);
        let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        tasks.spawn(connection(stream, acceptor.clone(), router.clone(), listening.stop.clone(), guard));
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// One open connection. It goes along with every request, so that a WebSocket keeps it.
#[derive(Clone)]
pub(crate) struct Open {
    _guard: Arc<Guard>,
    secure: bool,
}

impl Open {
    /// It speaks TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.secure
    }
}

struct Guard(Arc<AtomicUsize>, Arc<Stats>);

impl Guard {
    fn new(open: &Arc<AtomicUsize>, stats: &Arc<Stats>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        stats.connections.inc();
        Guard(Arc::clone(open), Arc::clone(stats))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        self.1.connections.dec();
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    stop: CancellationToken,
    guard: Guard,
) {
    let (stream, version) = tokio::select! {
        biased;
        begun = begin(stream, acceptor) => match begun {
            Ok(begun) => begun,
            Err(error) => return tracing::debug!(%error, "a connection did not begin"),
        },
        () = stop.cancelled() => return, // it has not asked for anything
    };
    let open = Open { _guard: Arc::new(guard), secure: matches!(stream, Stream::Tls(_)) };
    if version == Version::Http2 {
        // In a box: it is larger than the other, and every connection's task has room for the largest of its states.
        return Box::pin(http2::serve(stream, router, open, stop)).await;
    }
    let service = hyper::service::service_fn(move |request: ::http::Request<hyper::body::Incoming>| {
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(open.clone());
        router.clone().oneshot(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(16 * 1024)
        .half_close(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut serving = std::pin::pin!(serving);
    let _ = tokio::select! {
        done = serving.as_mut() => done,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
}
