//! The socket under a WebSocket, plain or with TLS: reading and writing as far as it goes, and the end of it.

use super::outlet::Outlet;
use bytes::BytesMut;
use std::io::ErrorKind;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

/// With TLS only the connection's task reads and writes; a plain socket is the outlet's.
pub(super) type Tls = Box<TlsStream<tokio::net::TcpStream>>;

/// How much is read at a time.
const READ: usize = 8 * 1024;
/// How long a closing socket may take for what waits.
const LINGER: Duration = Duration::from_secs(5);
/// How many bytes of a peer that was told to go are read and thrown away.
const DISCARD: usize = 32 << 20;

/// What the task has to do.
pub(super) enum Progress {
    /// Bytes have come.
    Read,
    /// The socket takes bytes again.
    Writable,
    /// It is closed, or broken.
    Closed,
}

/// Reads and writes as far as the socket goes without waiting; ready when there is something for the task to do.
pub(super) fn poll(
    outlet: &Outlet,
    tls: &mut Option<Tls>,
    buffer: &mut BytesMut,
    may_read: bool,
    cx: &mut std::task::Context<'_>,
) -> Poll<Progress> {
    if let Some(tls) = tls {
        let congested = outlet.congested();
        if let Poll::Ready(Err(_)) = poll_write(outlet, tls, cx) {
            return Poll::Ready(Progress::Closed);
        }
        if congested && !outlet.congested() {
            return Poll::Ready(Progress::Writable); // frames may wait in the buffer for this
        }
        if !may_read {
            return Poll::Pending;
        }
        return match poll_read(Pin::new(tls.as_mut()), buffer, cx) {
            Poll::Ready(Ok(n)) if n > 0 => Poll::Ready(Progress::Read),
            Poll::Ready(_) => Poll::Ready(Progress::Closed),
            Poll::Pending => Poll::Pending,
        };
    }
    let Some(plain) = outlet.plain() else { return Poll::Ready(Progress::Closed) };
    if outlet.blocked() {
        match plain.poll_write_ready(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(Progress::Writable),
            Poll::Ready(Err(_)) => return Poll::Ready(Progress::Closed),
            Poll::Pending => {}
        }
    }
    if !may_read {
        return Poll::Pending;
    }
    loop {
        match plain.poll_read_ready(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => return Poll::Ready(Progress::Closed),
            Poll::Ready(Ok(())) => {}
        }
        buffer.reserve(READ);
        match plain.try_read_buf(buffer) {
            Ok(0) => return Poll::Ready(Progress::Closed),
            Ok(_) => return Poll::Ready(Progress::Read),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if buffer.is_empty() {
                    *buffer = BytesMut::new();
                }
            }
            Err(_) => return Poll::Ready(Progress::Closed),
        }
    }
}

/// Sends what waits, in bounded time. `told`: the peer was told why it is closed, and should get to read it.
pub(super) async fn finish(outlet: &Outlet, tls: &mut Option<Tls>, told: bool) {
    let writing = std::future::poll_fn(|cx| {
        if let Some(tls) = tls.as_mut() {
            return match poll_write(outlet, tls, cx) {
                Poll::Ready(Ok(())) => Pin::new(tls).poll_shutdown(cx).map(|_| ()),
                Poll::Ready(Err(_)) => Poll::Ready(()),
                Poll::Pending => Poll::Pending,
            };
        }
        let Some(plain) = outlet.plain() else { return Poll::Ready(()) };
        while outlet.blocked() && !outlet.dead() {
            match plain.poll_write_ready(cx) {
                Poll::Ready(Ok(())) => {
                    outlet.unblock();
                    outlet.flush();
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    });
    let _ = tokio::time::timeout(LINGER, writing).await;
    // A socket that is closed with unread bytes is reset, and its peer may never read why: so the rest is read.
    if let Some(plain) = outlet.plain().filter(|_| told) {
        let _ = socket2::SockRef::from(plain).shutdown(std::net::Shutdown::Write);
        let _ = tokio::time::timeout(LINGER, discard(plain)).await;
    }
}

/// Reads what still comes, up to a bound, until the peer closes.
async fn discard(stream: &tokio::net::TcpStream) {
    let mut chunk = vec![0; READ];
    let mut left = DISCARD;
    while left > 0 && stream.readable().await.is_ok() {
        match stream.try_read(&mut chunk) {
            Ok(0) => return,
            Ok(n) => left = left.saturating_sub(n),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

fn poll_write(outlet: &Outlet, tls: &mut Tls, cx: &mut std::task::Context<'_>) -> Poll<std::io::Result<()>> {
    loop {
        let round = outlet.write_round(|slices| match Pin::new(tls.as_mut()).poll_write_vectored(cx, slices) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        });
        match round {
            Ok(true) => {}
            Ok(false) => return Pin::new(tls.as_mut()).poll_flush(cx),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

fn poll_read(
    stream: Pin<&mut impl AsyncRead>,
    buffer: &mut BytesMut,
    cx: &mut std::task::Context<'_>,
) -> Poll<std::io::Result<usize>> {
    let mut chunk = [0u8; READ / 4];
    let mut read = ReadBuf::new(&mut chunk);
    match stream.poll_read(cx, &mut read) {
        Poll::Ready(Ok(())) => {
            buffer.extend_from_slice(read.filled());
            Poll::Ready(Ok(read.filled().len()))
        }
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Pending => Poll::Pending,
    }
}
