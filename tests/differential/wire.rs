//! Bytes to and from a server, without a client's good manners.

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use gateway_tests::bayeux::Socket;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame as RawFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message as Frame};

/// How long any answer may take.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A request, written as it is.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A response, complete.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// One exchange on a connection of its own.
pub async fn exchange(port: u16, request: Request) -> io::Result<Response> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let (mut from, mut to) = stream.into_split();
    let mut head = format!("{} {} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n", request.method, request.target);
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !request.body.is_empty() || request.method == "POST" {
        head.push_str(&format!("Content-Length: {}\r\n", request.body.len()));
    }
    head.push_str("Connection: close\r\n\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&request.body);
    let mut got = Vec::new();
    // A server may answer before it has read all, and close: then writing fails, and the answer counts.
    let (_, read) = tokio::join!(to.write_all(&bytes), from.read_to_end(&mut got));
    match response(&got) {
        Some(response) => Ok(response),
        None => Err(read.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())),
    }
}

fn response(bytes: &[u8]) -> Option<Response> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let body = &bytes[end + 4..];
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = if chunked { dechunk(body)? } else { body.to_vec() };
    Some(Response { status, headers, body })
}

fn dechunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = bytes.windows(2).position(|w| w == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).ok()?.trim(), 16).ok()?;
        let from = end + 2;
        whole.extend_from_slice(bytes.get(from..from + size)?);
        if size == 0 {
            return Some(whole);
        }
        bytes = bytes.get(from + size + 2..)?;
    }
}

/// What a WebSocket's server did.
#[derive(Debug)]
pub enum Event {
    Text(String),
    Pong(Vec<u8>),
    Closed(Option<u16>),
    /// The connection ended without a close frame.
    Broken,
    Silence,
}

/// Opens a WebSocket; or the status that refused it.
pub async fn open(port: u16, path: &str, headers: &[(String, String)]) -> Result<Socket, u16> {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
    let mut request = format!("ws://127.0.0.1:{port}{path}").into_client_request().expect("a URL");
    for (name, value) in headers {
        let name: reqwest::header::HeaderName = name.parse().expect("a header's name");
        request.headers_mut().insert(name, value.parse().expect("a header's value"));
    }
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    stream.set_nodelay(true).expect("a socket option");
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(other) => panic!("no WebSocket: {other}"),
    }
}

/// A frame with any bytes. The server may be gone: what it said before is what counts.
pub async fn send(socket: &mut Socket, kind: Data, bytes: Vec<u8>) {
    let frame = Frame::Frame(RawFrame::message(bytes, OpCode::Data(kind), true));
    let _ = socket.send(frame).await;
}

/// The next thing that happens.
pub async fn next(socket: &mut Socket) -> Event {
    match tokio::time::timeout(PATIENCE, socket.next()).await {
        Err(_) => Event::Silence,
        Ok(frame) => event(frame),
    }
}

/// What has happened already.
pub fn now(socket: &mut Socket) -> Option<Event> {
    socket.next().now_or_never().map(event)
}

fn event(frame: Option<Result<Frame, Error>>) -> Event {
    match frame {
        Some(Ok(Frame::Text(text))) => Event::Text(text.to_string()),
        Some(Ok(Frame::Pong(bytes))) => Event::Pong(bytes.to_vec()),
        Some(Ok(Frame::Close(frame))) => Event::Closed(frame.map(|frame| frame.code.into())),
        Some(Ok(other)) => Event::Text(format!("unexpected: {other:?}")),
        Some(Err(_)) | None => Event::Broken,
    }
}
