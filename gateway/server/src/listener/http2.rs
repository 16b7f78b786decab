//! An HTTP/2 connection: many requests at a time, so that a browser's tabs all have their held poll.

use super::{HEAD_TIMEOUT, Open, Stream};
use ::http::Request;
use ::http::header::{self, HeaderMap, HeaderValue};
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Requests at a time. Clients open another connection, or wait, above it.
const MAX_STREAMS: u32 = 250;
/// What a client may send of one request's body before it is read: about the largest message, by default.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same of all requests together. It bounds what a connection can make the server keep.
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// What waits to be sent of one response; the rest stays where it is.
const SEND_BUFFER: usize = 64 * 1024;
/// All headers of a request, unpacked: as much as HTTP/1.1 may have.
const MAX_HEADERS: u32 = 16 * 1024;
/// When nothing was heard for so long, the client is asked whether it is there.
const PING: Duration = Duration::from_secs(30);
/// How long it may take to say so.
const PONG: Duration = Duration::from_secs(20);
/// How long a client that was told to leave may stay when nothing of it is being answered.
const LEAVING: Duration = Duration::from_secs(5);

/// Serves a connection until its client leaves, is gone, or had no request for a long time.
///
/// Resets in a row, which make a server work for nothing, end it with the bounds that the crate `h2` has by default.
/// Extended CONNECT stays off: a browser then opens its WebSockets over HTTP/1.1 (RFC 8441, 3).
pub(super) async fn serve(stream: Stream, router: Router, open: Open, stop: CancellationToken) {
    let (requests, mut watched) = watch::channel(Requests::default());
    let requests = Arc::new(requests);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        fill_in(&mut request);
        request.extensions_mut().insert(open.clone());
        let ongoing = Ongoing::new(&requests);
        let answering = router.clone().oneshot(request);
        async move {
            let Ok(mut response) = answering.await;
            // What HTTP/1.1 says with a header is a frame here (RFC 9113, 8.2.2).
            if response.headers_mut().remove(header::CONNECTION).is_some_and(|value| value == "close") {
                ongoing.0.send_modify(|requests| requests.last = true);
            }
            Ok::<_, Infallible>(response.map(|body| Answer { body, _ongoing: ongoing }))
        }
    });
    let serving = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEADERS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let mut said = watched.clone();
    tokio::select! {
        _ = serving.as_mut() => return,
        () = stop.cancelled() => {}
        () = unused(&mut watched, HEAD_TIMEOUT) => {}
        _ = said.wait_for(|requests| requests.last) => {}
    }
    serving.as_mut().graceful_shutdown();
    tokio::select! {
        _ = serving => {}
        () = unused(&mut watched, LEAVING) => {}
    }
}

/// A connection's requests.
#[derive(Debug, Default)]
struct Requests {
    /// So many are being answered.
    ongoing: usize,
    /// A response said that the connection is to be closed.
    last: bool,
}

/// A request, from its head to its response's last byte.
struct Ongoing(Arc<watch::Sender<Requests>>);

impl Ongoing {
    fn new(requests: &Arc<watch::Sender<Requests>>) -> Self {
        requests.send_modify(|requests| requests.ongoing += 1);
        Ongoing(Arc::clone(requests))
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.0.send_modify(|requests| requests.ongoing -= 1);
    }
}

/// Until there was no request for `time`.
async fn unused(requests: &mut watch::Receiver<Requests>, time: Duration) {
    loop {
        let busy = requests.borrow_and_update().ongoing > 0;
        let changed = requests.changed();
        let changed = if busy { Ok(changed.await) } else { tokio::time::timeout(time, changed).await };
        if !matches!(changed, Ok(Ok(()))) {
            return;
        }
    }
}

/// The rest of the server knows HTTP/1.1's headers: the host (RFC 9113, 8.3.1), and one of cookies, which HTTP/2 may
/// have split (8.2.3).
fn fill_in<B>(request: &mut Request<B>) {
    let host = request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    let headers = request.headers_mut();
    if let Some(host) = host {
        headers.insert(header::HOST, host);
    }
    if let Some(cookies) = joined(headers) {
        headers.insert(header::COOKIE, cookies);
    }
}

fn joined(headers: &HeaderMap) -> Option<HeaderValue> {
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    (crumbs.len() > 1).then(|| HeaderValue::from_bytes(&crumbs.join(&b"; "[..])).ok()).flatten()
}

/// A response's body.
struct Answer {
    body: Body,
    _ongoing: Ongoing,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
