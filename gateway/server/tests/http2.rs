//! HTTP/2 and HTTP/1.1 on one port, over real sockets.
#![allow(clippy::unwrap_used)]

use bayeux::channel::ChannelName;
use bayeux::delivery::{Delivery, DeliveryParts};
use bayeux_server::hooks::{AllowAll, PlainBayeux};
use bayeux_server::stats::Counter;
use bayeux_server::{HttpOptions, Server, ServerSettings, http, listener, tls};
use futures_util::{SinkExt, StreamExt};
use reqwest::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, COOKIE, ORIGIN, SET_COOKIE, VARY,
};
use reqwest::{Client, Response, Version};
use serde_json::{Value, json};
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

const HANDSHAKE: &str =
    r#"[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"],"id":"1"}]"#;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const NO_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

struct Running {
    server: Server,
    port: u16,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    certificate: rustls_pki_types::CertificateDer<'static>,
}

impl Running {
    async fn start(settings: ServerSettings, secure: bool) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();

        let server = Server::new(settings, Arc::new(AllowAll), Arc::new(PlainBayeux));
        let socket = listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = socket.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        let listening = listener::Listening {
            tls: secure.then(|| tls::server_config(&certificate, &key).unwrap()),
            max_connections: 100,
            stats: Arc::clone(server.stats()),
            stop: stop.clone(),
        };
        let serving = tokio::spawn(listener::serve(socket, http::router(server.clone(), "/cometd"), listening));
        Running { server, port, stop, serving, certificate: made.cert.der().clone() }
    }

    async fn plain() -> Self {
        Running::start(ServerSettings::default(), false).await
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/cometd", self.port)
    }

    async fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        socket.set_nodelay(true).unwrap();
        socket
    }

    /// What the server answers to these bytes until it closes.
    async fn answer(&self, bytes: &[u8]) -> String {
        let mut socket = self.connect().await;
        socket.write_all(bytes).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = soon(socket.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn publish(&self, channel: &str, data: &str) {
        let delivery = Delivery::new(channel.into(), &DeliveryParts { data: data.as_bytes(), ..Default::default() });
        self.server.publish(&ChannelName::parse(&channel.into()).unwrap(), delivery);
    }

    /// Until a gauge of the server has this value.
    async fn until(&self, gauge: impl Fn(&bayeux_server::stats::Stats) -> &Counter, value: u64) {
        soon(async {
            while gauge(self.server.stats()).get() != value {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
}

fn http2() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().http2_prior_knowledge().build().unwrap()
}

async fn post(client: &Client, url: &str, cookie: &str, body: impl ToString) -> Response {
    client.post(url).header(COOKIE, cookie).body(body.to_string()).send().await.unwrap()
}

async fn messages(response: Response) -> Vec<Value> {
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

fn cookie_of(response: &Response) -> String {
    response.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned()
}

/// A session over HTTP that has subscribed to `/a`: its id and its cookie.
async fn session(client: &Client, url: &str, cookie: &str) -> (String, String) {
    let response = post(client, url, cookie, HANDSHAKE).await;
    let cookie = if cookie.is_empty() { cookie_of(&response) } else { cookie.to_owned() };
    let id = messages(response).await[0]["clientId"].as_str().unwrap().to_owned();
    let connect = json!([{"channel":"/meta/connect","clientId":id,"connectionType":"long-polling",
        "advice":{"timeout":0}}]);
    assert_eq!(messages(post(client, url, &cookie, connect).await).await[0]["successful"], true);
    let subscribe = json!([{"channel":"/meta/subscribe","clientId":id,"subscription":"/a"}]);
    assert_eq!(messages(post(client, url, &cookie, subscribe).await).await[0]["successful"], true);
    (id, cookie)
}

fn poll(client: &Client, url: &str, (id, cookie): &(String, String)) -> JoinHandle<Response> {
    let (client, url, cookie) = (client.clone(), url.to_owned(), cookie.clone());
    let connect = json!([{"channel":"/meta/connect","clientId":id,"connectionType":"long-polling"}]);
    tokio::spawn(async move { post(&client, &url, &cookie, connect).await })
}

/// The next frame of an HTTP/2 connection: its type and payload; `None` when the server has closed.
async fn frame(socket: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    soon(socket.read_exact(&mut head)).await.ok()?;
    let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
    soon(socket.read_exact(&mut payload)).await.ok()?;
    Some((head[3], payload))
}

async fn websocket_works(stream: impl AsyncRead + AsyncWrite + Unpin, url: String) {
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    socket.send(Message::text(HANDSHAKE)).await.unwrap();
    let reply = soon(socket.next()).await.unwrap().unwrap();
    let reply: Value = serde_json::from_str(reply.to_text().unwrap()).unwrap();
    assert_eq!(reply[0]["successful"], true, "{reply}");
}

#[tokio::test]
async fn two_sessions_of_one_browser_are_both_held_over_http2_and_only_one_over_http1() {
    let running = Running::plain().await;
    let url = running.url();
    let client = http2();
    let first = session(&client, &url, "").await;
    let second = session(&client, &url, &first.1).await;
    assert_ne!(first.0, second.0);
    let (first_poll, second_poll) = (poll(&client, &url, &first), poll(&client, &url, &second));
    running.until(|stats| &stats.polls_held, 2).await;
    assert_eq!(running.server.stats().connections.get(), 1, "all over one connection");

    let third = session(&client, &url, &first.1).await;
    let over_http1 = soon(poll(&Client::new(), &url, &third)).await.unwrap();
    assert_eq!(over_http1.version(), Version::HTTP_11);
    let reply = messages(over_http1).await.remove(0);
    assert_eq!(reply["advice"]["multiple-clients"], true, "{reply}");

    running.publish("/a", "7");
    for poll in [first_poll, second_poll] {
        let response = soon(poll).await.unwrap();
        assert_eq!(response.version(), Version::HTTP_2);
        assert_eq!(messages(response).await[0]["data"], 7);
    }
}

#[tokio::test]
async fn sessions_of_one_browser_may_be_limited_over_http2_as_well() {
    let settings = ServerSettings {
        long_polling: HttpOptions { http2_max_sessions_per_browser: 1, ..Default::default() },
        ..Default::default()
    };
    let running = Running::start(settings, false).await;
    let client = http2();
    let first = session(&client, &running.url(), "").await;
    let second = session(&client, &running.url(), &first.1).await;
    let held = poll(&client, &running.url(), &first);
    running.until(|stats| &stats.polls_held, 1).await;
    let reply = messages(soon(poll(&client, &running.url(), &second)).await.unwrap()).await.remove(0);
    assert_eq!(reply["advice"]["multiple-clients"], true, "{reply}");
    held.abort();
    running.until(|stats| &stats.polls_held, 0).await; // a reset stream is a client that went away
}

#[tokio::test]
async fn under_tls_clients_choose_http2_or_http1_and_websockets_open_beside() {
    let running = Running::start(ServerSettings::default(), true).await;
    let url = format!("https://localhost:{}/cometd", running.port);
    let trusted = reqwest::Certificate::from_der(&running.certificate).unwrap();
    let client = |builder: reqwest::ClientBuilder| builder.tls_certs_only([trusted.clone()]).build().unwrap();
    for (client, version) in
        [(client(Client::builder()), Version::HTTP_2), (client(Client::builder().http1_only()), Version::HTTP_11)]
    {
        let response = post(&client, &url, "", HANDSHAKE).await;
        assert_eq!(response.version(), version);
        assert_eq!(messages(response).await[0]["successful"], true);
    }
    let mut roots = rustls::RootCertStore::empty();
    roots.add(running.certificate.clone()).unwrap();
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    for alpn in [vec![], vec![b"http/1.1".to_vec()]] {
        let mut tls = tls.clone();
        tls.alpn_protocols = alpn;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
        let stream = connector.connect("localhost".try_into().unwrap(), running.connect().await).await.unwrap();
        websocket_works(stream, url.replace("http", "ws")).await;
    }
}

#[tokio::test]
async fn in_the_clear_websockets_open_beside_http2() {
    let running = Running::plain().await;
    assert_eq!(post(&http2(), &running.url(), "", HANDSHAKE).await.version(), Version::HTTP_2);
    websocket_works(running.connect().await, running.url().replace("http", "ws")).await;
}

/// Something on the way that passes on a client's first bytes one at a time.
async fn dribble(to: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
        server.set_nodelay(true).unwrap();
        let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
            (client.into_split(), server.into_split());
        tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        for _ in 0..40 {
            to_server.write_u8(from_client.read_u8().await.unwrap()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tokio::io::copy(&mut from_client, &mut to_server).await
    });
    port
}

#[tokio::test]
async fn what_is_spoken_is_recognised_byte_by_byte() {
    let running = Running::plain().await;
    // POST begins as the preface does.
    for (client, version) in [(http2(), Version::HTTP_2), (Client::new(), Version::HTTP_11)] {
        let url = format!("http://127.0.0.1:{}/cometd", dribble(running.port).await);
        let response = soon(post(&client, &url, "", HANDSHAKE)).await;
        assert_eq!(response.version(), version);
        assert_eq!(messages(response).await[0]["successful"], true);
    }
    let port = dribble(running.port).await;
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    websocket_works(stream, format!("ws://127.0.0.1:{port}/cometd")).await;
}

#[tokio::test]
async fn old_and_broken_clients_get_a_clean_answer() {
    let running = Running::plain().await;
    let body = HANDSHAKE;
    let old = format!("POST /cometd HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let answer = running.answer(old.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.0 200 OK") && answer.contains("\"successful\":true"), "{answer}");
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"nonsense\r\n\r\n",
        b"PRI\r\n\r\n",
        b"PRINT /cometd HTTP/9.9\r\n\r\n",
    ] {
        let answer = running.answer(garbage).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{}: {answer}", String::from_utf8_lossy(garbage));
    }
    for unfinished in [&b""[..], b"P", &PREFACE[..23]] {
        let answer = running.answer(unfinished).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    assert_eq!(post(&http2(), &running.url(), "", HANDSHAKE).await.status(), 200, "others are served");
}

#[tokio::test]
async fn http2_is_bounded_and_has_no_extended_connect() {
    let running = Running::plain().await;
    let mut socket = running.connect().await;
    socket.write_all(&[PREFACE, NO_SETTINGS].concat()).await.unwrap();
    let (kind, settings) = frame(&mut socket).await.unwrap();
    assert_eq!(kind, 4, "settings come first");
    let setting = |id: u16| {
        let mut all = settings.chunks(6);
        all.find(|s| s[..2] == id.to_be_bytes()).map(|s| u32::from_be_bytes(s[2..].try_into().unwrap()))
    };
    assert_eq!(setting(3), Some(250), "streams at a time");
    assert_eq!(setting(6), Some(16 * 1024), "bytes of headers");
    assert!(setting(8).is_none_or(|connect| connect == 0), "browsers open WebSockets over HTTP/1.1");
}

#[tokio::test]
async fn a_page_and_its_cookies_are_known_over_http2() {
    let running = Running::plain().await;
    let (url, client) = (running.url(), http2());
    let from = |origin: String| client.post(&url).header(ORIGIN, origin).body(HANDSHAKE).send();
    let own = from(format!("http://127.0.0.1:{}", running.port)).await.unwrap();
    assert_eq!(own.status(), 200, "its own page, by the authority");
    assert_eq!(from("https://elsewhere.example".into()).await.unwrap().status(), 403);

    let cookie = cookie_of(&own);
    let id = messages(own).await[0]["clientId"].clone();
    let connect = json!([{"channel":"/meta/connect","clientId":id,"connectionType":"long-polling",
        "advice":{"timeout":0}}]);
    let crumbs = client.post(&url).header(COOKIE, "a=b").header(COOKIE, cookie).header(COOKIE, "c=d");
    let reply = messages(crumbs.body(connect.to_string()).send().await.unwrap()).await.remove(0);
    assert_eq!(reply["successful"], true, "{reply}");
}

#[tokio::test]
async fn a_drain_ends_http2_connections_after_their_last_answer() {
    let running = Running::plain().await;
    let client = http2();
    let session = session(&client, &running.url(), "").await;
    let held = poll(&client, &running.url(), &session);
    running.until(|stats| &stats.polls_held, 1).await;
    running.server.drain();
    let response = soon(held).await.unwrap();
    assert!(response.headers().get(CONNECTION).is_none(), "not a header of HTTP/2");
    assert_eq!(messages(response).await[0]["advice"]["reconnect"], "retry");
    running.until(|stats| &stats.connections, 0).await; // though the client would keep it
}

#[tokio::test]
async fn a_stop_lets_requests_end_and_closes_idle_and_unfinished_connections() {
    let mut running = Running::plain().await;
    let client = http2();
    let session = session(&client, &running.url(), "").await;
    let held = poll(&client, &running.url(), &session);
    running.until(|stats| &stats.polls_held, 1).await;
    let mut silent = running.connect().await;
    let mut begun = running.connect().await;
    begun.write_all(&PREFACE[..10]).await.unwrap();
    let mut idle = running.connect().await;
    idle.write_all(&[PREFACE, NO_SETTINGS].concat()).await.unwrap();
    assert_eq!(frame(&mut idle).await.unwrap().0, 4);
    running.until(|stats| &stats.connections, 4).await;

    running.stop.cancel();
    let mut frames = Vec::new();
    while let Some((kind, _)) = frame(&mut idle).await {
        frames.push(kind);
    }
    assert!(frames.contains(&7), "GOAWAY, and an end though this client says nothing: {frames:?}");
    for socket in [&mut silent, &mut begun] {
        assert_eq!(soon(socket.read(&mut [0])).await.unwrap(), 0);
    }
    assert!(!running.serving.is_finished());
    running.publish("/a", "7");
    assert_eq!(messages(soon(held).await.unwrap()).await[0]["data"], 7);
    soon(&mut running.serving).await.unwrap();
}

#[tokio::test]
async fn large_responses_are_packed_for_those_who_take_it_when_the_operator_says_so() {
    let long = format!("\"{}\"", "x".repeat(5000));
    for (gzip, take, packed) in [(true, "br, gzip;q=0.5", true), (true, "gzip;q=0", false), (false, "gzip", false)] {
        let running = Running::start(ServerSettings { gzip, ..Default::default() }, false).await;
        for client in [http2(), Client::new()] {
            let (id, cookie) = session(&client, &running.url(), "").await;
            let poll = || {
                let connect = json!([{"channel":"/meta/connect","clientId":id,"connectionType":"long-polling"}]);
                let request = client.post(running.url()).header(COOKIE, &cookie).header(ACCEPT_ENCODING, take);
                tokio::spawn(request.body(connect.to_string()).send())
            };
            for (data, packed) in [("1", false), (long.as_str(), packed)] {
                let held = poll();
                running.until(|stats| &stats.polls_held, 1).await;
                running.publish("/a", data);
                let response = soon(held).await.unwrap().unwrap();
                assert_eq!(response.headers().get(CONTENT_ENCODING).is_some(), packed, "{gzip} {take} {data}");
                assert_eq!(response.headers().get_all(VARY).iter().any(|v| v == "Accept-Encoding"), gzip);
                let length: usize = response.headers()[CONTENT_LENGTH].to_str().unwrap().parse().unwrap();
                let body = response.bytes().await.unwrap();
                assert_eq!(length, body.len());
                let mut text = String::new();
                if packed {
                    assert!(length < 1000, "{length}");
                    flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
                } else {
                    text.push_str(std::str::from_utf8(&body).unwrap());
                }
                let messages: Vec<Value> = serde_json::from_str(&text).unwrap();
                assert_eq!(messages[0]["data"].to_string(), data);
            }
        }
    }
}
