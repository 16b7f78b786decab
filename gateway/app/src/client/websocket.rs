//! The link over a WebSocket.

use super::link::{INCOMING, Link, OUTGOING};
use super::options::{Options, TransportKind};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens a WebSocket.
///
/// # Errors
/// In words, why not.
pub(super) async fn open(options: &Options) -> Result<Link, String> {
    let url = options.url_for(TransportKind::Websocket);
    let mut request = url.as_str().into_client_request().map_err(words)?;
    request.headers_mut().extend(options.headers.clone());
    // Boxed: it is large, and would be part of every future that opens a client.
    let opening = Box::pin(connect_async_with_config(request, None, true));
    let opening = tokio::time::timeout(options.timeout, opening);
    let (socket, _) = match opening.await {
        Ok(opened) => opened.map_err(words)?,
        Err(_) => return Err("the WebSocket did not open in time".to_owned()),
    };
    let (sink, stream) = socket.split();
    let (requests, outgoing) = mpsc::channel(OUTGOING);
    let (inward, inbox) = mpsc::channel(INCOMING);
    let mut tasks = JoinSet::new();
    tasks.spawn(write(sink, outgoing));
    tasks.spawn(read(stream, inward));
    Ok(Link { kind: TransportKind::Websocket, connects: requests.clone(), requests, inbox, tasks })
}

async fn write(mut sink: SplitSink<Socket, Message>, mut outgoing: mpsc::Receiver<String>) {
    while let Some(envelope) = outgoing.recv().await {
        // A broken socket is told by the one who reads it, with its reason.
        if sink.send(Message::text(envelope)).await.is_err() {
            return;
        }
    }
    let _ = sink.close().await;
}

async fn read(mut stream: SplitStream<Socket>, inward: mpsc::Sender<Result<String, String>>) {
    loop {
        let envelope = match stream.next().await {
            Some(Ok(Message::Text(text))) => Ok(text.to_string()),
            Some(Ok(Message::Close(frame))) => Err(closed(frame.as_ref())),
            Some(Ok(_)) => continue,
            Some(Err(error)) => Err(words(error)),
            None => Err("the server closed the WebSocket".to_owned()),
        };
        let last = envelope.is_err();
        if inward.send(envelope).await.is_err() || last {
            return;
        }
    }
}

fn closed(frame: Option<&CloseFrame>) -> String {
    match frame {
        Some(CloseFrame { code, reason }) if !reason.is_empty() => {
            format!("the server closed the WebSocket: {} {reason}", u16::from(*code))
        }
        Some(CloseFrame { code, .. }) => format!("the server closed the WebSocket with code {}", u16::from(*code)),
        None => "the server closed the WebSocket".to_owned(),
    }
}

fn words(error: Error) -> String {
    match error {
        Error::Http(response) => {
            let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            let first_line = body.lines().next().filter(|line| !line.is_empty() && line.len() < 200);
            match first_line {
                Some(line) => format!("the server answered {} to the WebSocket: {line}", response.status()),
                None => format!("the server answered {} to the WebSocket", response.status()),
            }
        }
        Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}
