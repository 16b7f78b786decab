//! A client's socket, and which HTTP it speaks.

use super::HEAD_TIMEOUT;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a client may take for a TLS handshake.
const TLS_TIMEOUT: Duration = Duration::from_secs(15);

/// What HTTP/2 begins with (RFC 9113, 3.4). In the clear, a client that knows the server sends it without asking (3.3).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client's connection.
#[derive(Debug)]
pub enum Stream {
    /// In the clear.
    Plain(TcpStream, Unread),
    /// With TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Bytes taken from a socket to see what it speaks, which are to be read first. They can only be HTTP/2's preface as far
/// as it came, so that nothing is stored but how many they are.
#[derive(Debug, Default)]
pub struct Unread {
    read: u8,
    taken: u8,
}

impl Unread {
    fn rest(&self) -> &'static [u8] {
        &PREFACE[usize::from(self.read)..usize::from(self.taken)]
    }
}

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

/// Does the TLS handshake if there is to be one, and learns what is spoken: by ALPN or, in the clear, by the first bytes.
///
/// # Errors
/// The socket's, TLS's, and [`io::ErrorKind::TimedOut`].
pub(super) async fn begin(socket: TcpStream, acceptor: Option<TlsAcceptor>) -> io::Result<(Stream, Version)> {
    let Some(acceptor) = acceptor else {
        let mut socket = socket;
        let (unread, version) = timeout(HEAD_TIMEOUT, recognise(&mut socket)).await??;
        return Ok((Stream::Plain(socket, unread), version));
    };
    let stream = timeout(TLS_TIMEOUT, acceptor.accept(socket)).await??;
    let version = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Version::Http2,
        _ => Version::Http1,
    };
    Ok((Stream::Tls(Box::new(stream)), version))
}

/// Looks at the first bytes until they are the preface or something else. Those that show it are left in the socket; a
/// part of the preface is taken out, as otherwise nothing would tell when more has come.
async fn recognise(socket: &mut TcpStream) -> io::Result<(Unread, Version)> {
    let mut taken = 0;
    let mut seen = [0; PREFACE.len()];
    loop {
        let rest = &PREFACE[taken..];
        let count = socket.peek(&mut seen[..rest.len()]).await?;
        let version = match rest.strip_prefix(&seen[..count]) {
            Some([]) => Some(Version::Http2),
            Some(_) if count > 0 => None,
            _ => Some(Version::Http1),
        };
        if let Some(version) = version {
            return Ok((Unread { read: 0, taken: taken as u8 }, version));
        }
        socket.read_exact(&mut seen[..count]).await?;
        taken += count;
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(_, unread) if !unread.rest().is_empty() => {
                let count = unread.rest().len().min(buf.remaining());
                buf.put_slice(&unread.rest()[..count]);
                unread.read += count as u8;
                Poll::Ready(Ok(()))
            }
            Stream::Plain(s, _) => Pin::new(s).poll_read(cx, buf),
            Stream::Tls(s) => Pin::new(s.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(s, _) => Pin::new(s).poll_write(cx, buf),
            Stream::Tls(s) => Pin::new(s.as_mut()).poll_write(cx, buf),
        }
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(s, _) => Pin::new(s).poll_write_vectored(cx, bufs),
            Stream::Tls(s) => Pin::new(s.as_mut()).poll_write_vectored(cx, bufs),
        }
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(s, _) => Pin::new(s).poll_flush(cx),
            Stream::Tls(s) => Pin::new(s.as_mut()).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(s, _) => Pin::new(s).poll_shutdown(cx),
            Stream::Tls(s) => Pin::new(s.as_mut()).poll_shutdown(cx),
        }
    }
}
