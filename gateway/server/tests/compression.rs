//! permessage-deflate over real sockets: a client that negotiates it, beside one that does not.
#![allow(clippy::unwrap_used)]

use bayeux::delivery::{Delivery, DeliveryParts};
use bayeux_server::hooks::{AllowAll, PlainBayeux};
use bayeux_server::{Server, ServerSettings, WebSocketOptions, http, listener};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, DropGuard};

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

struct Running {
    server: Server,
    port: u16,
    _stop: DropGuard,
}

async fn start(settings: ServerSettings) -> Running {
    let server = Server::new(settings, Arc::new(AllowAll), Arc::new(PlainBayeux));
    let socket = listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    let stop = CancellationToken::new();
    let listening =
        listener::Listening { tls: None, max_connections: 100, stats: Arc::clone(server.stats()), stop: stop.clone() };
    tokio::spawn(listener::serve(socket, http::router(server.clone(), "/cometd"), listening));
    Running { server, port, _stop: stop.drop_guard() }
}

/// A WebSocket client that sees the frames themselves.
struct Client {
    stream: TcpStream,
    id: String,
}

/// A frame from the server: its first byte, its payload as it came, and the text in it.
struct Frame {
    first: u8,
    size: usize,
    text: String,
}

impl Frame {
    fn compressed(&self) -> bool {
        self.first & 0x40 != 0
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

impl Client {
    /// Upgrades. What the server answered in `Sec-WebSocket-Extensions`.
    async fn open(running: &Running, offer: &str) -> (Client, Option<String>) {
        let mut stream = TcpStream::connect(("127.0.0.1", running.port)).await.unwrap();
        let request = format!(
            "GET /cometd HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offer}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push(char::from(stream.read_u8().await.unwrap()));
        }
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let answer = head.lines().find_map(|line| line.strip_prefix("sec-websocket-extensions: "));
        (Client { stream, id: String::new() }, answer.map(str::to_owned))
    }

    /// Opens, handshakes and subscribes.
    async fn subscribed(running: &Running, offer: &str, channel: &str) -> Client {
        let (mut client, _) = Client::open(running, offer).await;
        let reply = client.ask(json!({"channel":"/meta/handshake","version":"1.0","id":"1"})).await.json();
        client.id = reply[0]["clientId"].as_str().unwrap().to_owned();
        let subscribe = json!({"channel":"/meta/subscribe","clientId":client.id,"subscription":channel,"id":"2"});
        assert_eq!(client.ask(subscribe).await.json()[0]["successful"], true);
        client
    }

    async fn ask(&mut self, message: Value) -> Frame {
        self.send(0x81, json!([message]).to_string().as_bytes()).await;
        self.next().await
    }

    /// Sends one frame; the mask is all zeros, so that the payload stands as it is.
    async fn send(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first];
        match u8::try_from(payload.len()) {
            Ok(short @ ..=125) => frame.push(0x80 | short),
            _ => {
                frame.push(0xFE);
                frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        self.stream.write_all(&frame).await.unwrap();
    }

    async fn next(&mut self) -> Frame {
        tokio::time::timeout(Duration::from_secs(10), self.read()).await.expect("a frame in time")
    }

    async fn read(&mut self) -> Frame {
        let first = self.stream.read_u8().await.unwrap();
        let size = match self.stream.read_u8().await.unwrap() {
            126 => usize::from(self.stream.read_u16().await.unwrap()),
            127 => usize::try_from(self.stream.read_u64().await.unwrap()).unwrap(),
            short => usize::from(short),
        };
        let mut payload = vec![0; size];
        self.stream.read_exact(&mut payload).await.unwrap();
        let text = match first & 0x40 {
            0 if first & 0x0F == 8 => format!("{}", u16::from_be_bytes([payload[0], payload[1]])),
            0 => String::from_utf8(payload).unwrap(),
            _ => {
                payload.extend([0, 0, 0xFF, 0xFF]);
                let mut text = Vec::with_capacity(1 << 20);
                // New for each message: the server must not need what was before.
                Decompress::new(false).decompress_vec(&payload, &mut text, FlushDecompress::Sync).unwrap();
                String::from_utf8(text).unwrap()
            }
        };
        Frame { first, size, text }
    }
}

fn deflated(text: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(text.len() + 1024);
    Compress::new(Compression::best(), false).compress_vec(text, &mut payload, FlushCompress::Sync).unwrap();
    payload.strip_suffix(&[0, 0, 0xFF, 0xFF]).unwrap().to_vec()
}

fn prices(count: u32) -> Value {
    (0..count).map(|i| json!({"symbol": format!("S{i}"), "price": 100 + i * 7 % 13, "currency": "EUR"})).collect()
}

#[tokio::test]
async fn one_message_reaches_clients_with_and_without_compression() {
    let running = start(ServerSettings::default()).await;
    let mut first = Client::subscribed(&running, OFFER, "/prices").await;
    let mut second = Client::subscribed(&running, OFFER, "/prices").await;
    let mut plain = Client::subscribed(&running, "", "/prices").await;
    let data = prices(100);
    let publish = json!({"channel":"/prices","clientId":first.id,"data":data,"id":"3"});
    first.send(0xC1, &deflated(json!([publish]).to_string().as_bytes())).await;

    let expected = json!([{"channel":"/prices","data":data}]);
    let plain = plain.next().await;
    assert_eq!((plain.compressed(), plain.json()), (false, expected.clone()));
    for client in [&mut first, &mut second] {
        let frame = client.next().await;
        assert_eq!((frame.compressed(), frame.json()), (true, expected.clone()));
        assert!(frame.size * 4 < plain.size, "{} bytes of {}", frame.size, plain.size);
    }
    let reply = first.next().await;
    assert!(!reply.compressed(), "a reply of {} bytes is not worth it", reply.size);
    assert_eq!(reply.json(), json!([{"channel":"/prices","id":"3","successful":true}]));
}

#[tokio::test]
async fn small_messages_go_as_they_are_and_large_replies_compressed() {
    let running = start(ServerSettings::default()).await;
    let mut client = Client::subscribed(&running, OFFER, "/a").await;
    let delivery = Delivery::new("/a".into(), &DeliveryParts { data: b"1", ..Default::default() });
    running.server.publish(&bayeux::channel::ChannelName::parse(&"/a".into()).unwrap(), delivery);
    let frame = client.next().await;
    assert_eq!((frame.compressed(), frame.json()), (false, json!([{"channel":"/a","data":1}])));

    let messages: Value = (0..20).map(|id| json!({"channel":"/b","clientId":client.id,"data":id,"id":id})).collect();
    client.send(0x81, messages.to_string().as_bytes()).await;
    let frame = client.next().await;
    assert!(frame.compressed(), "20 replies in {} bytes", frame.size);
    assert_eq!(frame.json().as_array().unwrap().len(), 20);
}

#[tokio::test]
async fn compression_is_agreed_on_only_if_both_want_it() {
    let on = start(ServerSettings::default()).await;
    let agreed = Client::open(&on, OFFER).await.1;
    assert_eq!(agreed.unwrap(), "permessage-deflate; server_no_context_takeover; client_no_context_takeover");
    assert_eq!(Client::open(&on, "").await.1, None);
    let narrow = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n";
    assert_eq!(Client::open(&on, narrow).await.1, None);

    let off = start(ServerSettings {
        websocket: WebSocketOptions { compression: false, ..WebSocketOptions::default() },
        ..ServerSettings::default()
    })
    .await;
    let (mut client, agreed) = Client::open(&off, OFFER).await;
    assert_eq!(agreed, None);
    client.send(0xC1, &deflated(b"[]")).await;
    assert_eq!(client.next().await.text, "1002", "a compressed message that was not agreed on");
}

#[tokio::test]
async fn a_compressed_message_that_is_damaged_or_a_bomb_closes_the_socket() {
    let running = start(ServerSettings::default()).await;
    for (payload, code) in [
        (deflated(&vec![b' '; 10 << 20]), "1009"),
        (deflated(b"[\"\xFF\"]"), "1007"),
        (deflated(json!([{"channel":"/a","data":prices(9)}]).to_string().as_bytes())[..50].to_vec(), "1007"),
    ] {
        let mut client = Client::subscribed(&running, OFFER, "/a").await;
        client.send(0xC1, &payload).await;
        assert_eq!(client.next().await.text, code);
    }
}
