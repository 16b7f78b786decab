//! The laws of a session over real sockets: one client with a WebSocket and polls, used and cut at random, while others
//! publish. A run is made from its seed; how its tasks interleave is up to the machine.
//!
//! `LAWS_SEED=17 cargo test -p bayeux-server --test laws` repeats one, many times; `LAWS_RUNS=5000` runs so many seeds.
#![allow(clippy::unwrap_used)]

use bayeux::channel::ChannelName;
use bayeux::delivery::{Delivery, DeliveryParts};
use bayeux::session::{Options, SessionOptions};
use bayeux_server::hooks::{AllowAll, PlainBayeux};
use bayeux_server::{Server, ServerSettings, http, listener};
use client::{Client, Event};
use futures_util::{SinkExt, StreamExt};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;

#[path = "laws/client.rs"]
mod client;

/// How long anything may take that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn server(stop: &CancellationToken) -> (Server, String) {
    let session = SessionOptions::same(Options { max_interval: Duration::from_secs(120), ..Options::default() });
    let settings = ServerSettings { session, ..ServerSettings::default() };
    let server = Server::new(settings, Arc::new(AllowAll), Arc::new(PlainBayeux));
    let socket = listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    let listening =
        listener::Listening { tls: None, max_connections: 1000, stats: Arc::clone(server.stats()), stop: stop.clone() };
    tokio::spawn(listener::serve(socket, http::router(server.clone(), "/cometd"), listening));
    (server, format!("127.0.0.1:{port}/cometd"))
}

/// Another session, which publishes: each of its messages is answered before the next.
struct Publisher {
    stream: Stream,
    id: String,
}

impl Publisher {
    async fn new(url: &str) -> Self {
        let (mut stream, _) = tokio_tungstenite::connect_async(format!("ws://{url}")).await.unwrap();
        let hello = json!([{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"]}]);
        let reply = ask(&mut stream, hello).await;
        Publisher { stream, id: reply["clientId"].as_str().unwrap().to_owned() }
    }

    async fn publish(&mut self, channel: &str, n: u64) {
        let reply = ask(&mut self.stream, json!([{"channel":channel,"clientId":self.id,"data":n}])).await;
        assert_eq!(reply["successful"], true, "{reply}");
    }
}

async fn ask(stream: &mut Stream, envelope: Value) -> Value {
    stream.send(Message::text(envelope.to_string())).await.unwrap();
    let frame = tokio::time::timeout(PATIENCE, stream.next()).await.expect("an answer").unwrap().unwrap();
    serde_json::from_str::<Value>(frame.to_text().unwrap()).unwrap()[0].take()
}

/// The client's connections. Each has a number of its own; each request over HTTP counts as one.
struct Connections {
    url: String,
    cookie: String,
    http: reqwest::Client,
    count: usize,
    events: mpsc::UnboundedSender<Event>,
    socket: Option<(usize, mpsc::UnboundedSender<Value>, tokio::task::AbortHandle)>,
    requests: HashMap<usize, tokio::task::AbortHandle>,
}

impl Connections {
    /// The WebSocket, opened if there is none.
    async fn socket(&mut self) -> usize {
        if let Some((number, sender, _)) = &self.socket
            && !sender.is_closed()
        {
            return *number;
        }
        self.count += 1;
        let (number, events) = (self.count, self.events.clone());
        let (stream, _) = tokio_tungstenite::connect_async(format!("ws://{}", self.url)).await.unwrap();
        let (sender, mut to_send) = mpsc::unbounded_channel::<Value>();
        let task = tokio::spawn(async move {
            let (mut write, mut read) = stream.split();
            let mut writes = true;
            loop {
                tokio::select! {
                    envelope = to_send.recv(), if writes => writes = match envelope {
                        Some(envelope) => write.send(Message::text(envelope.to_string())).await.is_ok(),
                        None => false, // read on until the server closes
                    },
                    frame = read.next() => match frame {
                        Some(Ok(Message::Text(text))) => {
                            let _ = events.send(Event::Frame(number, serde_json::from_str(&text).unwrap()));
                        }
                        Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                        Some(Ok(_)) => {}
                    },
                }
            }
            to_send.close(); // what is asked from now on goes by a new one
            let _ = events.send(Event::Closed(number));
        });
        self.socket = Some((number, sender, task.abort_handle()));
        number
    }

    fn send(&self, envelope: Value) {
        if let Some((_, sender, _)) = &self.socket {
            let _ = sender.send(envelope);
        }
    }

    fn post(&mut self, number: usize, envelope: Value) {
        let request = self.http.post(format!("http://{}", self.url)).header("cookie", &self.cookie);
        let (request, events) = (request.body(envelope.to_string()), self.events.clone());
        let task = tokio::spawn(async move {
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            let body = serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default();
            let _ = events.send(Event::Response(number, status, body));
        });
        self.requests.insert(number, task.abort_handle());
    }

    fn request(&mut self) -> usize {
        self.count += 1;
        self.count
    }

    /// Closes a connection without a word: what is on it is lost.
    fn cut(&mut self, rng: &mut StdRng) -> Option<usize> {
        self.requests.retain(|_, task| !task.is_finished());
        if rng.random() && self.socket.is_some() {
            let (number, _, task) = self.socket.take()?;
            task.abort();
            return Some(number);
        }
        let mut numbers: Vec<_> = self.requests.keys().copied().collect();
        numbers.sort_unstable();
        let number = *numbers.get(rng.random_range(0..numbers.len().max(1)))?;
        self.requests.remove(&number)?.abort();
        Some(number)
    }
}

/// `root`: the channel below which all of it happens.
async fn run(seed: u64, root: String, url: String) {
    let mut rng = StdRng::seed_from_u64(seed);
    // A patient client does not connect again before its connect is answered.
    let (acknowledges, cuts, patient) = (rng.random_bool(0.6), rng.random_bool(0.7), rng.random_bool(0.5));
    let (events, mut arriving) = mpsc::unbounded_channel();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let hello = json!([{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket","long-polling"],
        "ext":{"ack":acknowledges}}]);
    let response = http.post(format!("http://{url}")).body(hello.to_string()).send().await.unwrap();
    let cookie = response.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let reply: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    let id = reply[0]["clientId"].as_str().unwrap().to_owned();
    let mut client = Client::new(id, acknowledges);
    let mut publisher = Publisher::new(&url).await;
    let mut connections = Connections { url, cookie, http, count: 0, events, socket: None, requests: HashMap::new() };

    let number = connections.request();
    let subscribe = client.request(number, "/meta/subscribe", json!({"subscription": format!("{root}/**")}));
    connections.post(number, json!([subscribe]));
    while !client.idle() {
        client.take(arriving.recv().await.unwrap());
    }

    let mut published = [0; 3];
    for _ in 0..rng.random_range(20..60) {
        match rng.random_range(0..100) {
            0..30 => {
                let at = rng.random_range(0..published.len());
                for _ in 0..rng.random_range(1..4) {
                    published[at] += 1;
                    let channel = format!("{root}/{at}");
                    client.expect(&channel, published[at]);
                    publisher.publish(&channel, published[at]).await;
                }
            }
            30..75 if patient && client.connecting() => {}
            what @ 30..75 => {
                let timeout = [None, None, Some(0), Some(3), Some(15)][rng.random_range(0..5)];
                let poll = what < 50;
                let number = if poll { connections.request() } else { connections.socket().await };
                let mut envelope = vec![client.connect(number, poll, timeout)];
                if poll && rng.random_bool(0.3) {
                    envelope.insert(rng.random_range(0..2), client.publish(number, &format!("{root}/own/{number}")));
                }
                match poll {
                    true => connections.post(number, json!(envelope)),
                    false => connections.send(json!(envelope)),
                }
            }
            what @ 75..90 => {
                let poll = what < 82;
                let number = if poll { connections.request() } else { connections.socket().await };
                let channel = format!("{root}/own/{number}");
                let envelope: Vec<_> = (0..rng.random_range(1..4)).map(|_| client.publish(number, &channel)).collect();
                match poll {
                    true => connections.post(number, json!(envelope)),
                    false => connections.send(json!(envelope)),
                }
            }
            _ if cuts => {
                if let Some(number) = connections.cut(&mut rng) {
                    client.gone(number);
                }
            }
            _ => {}
        }
        // What arrives meanwhile, for some moments or none.
        let moment = tokio::time::sleep(Duration::from_micros(rng.random_range(0..6_000)));
        tokio::pin!(moment);
        loop {
            tokio::select! {
                biased;
                Some(event) = arriving.recv() => client.take(event),
                () = &mut moment => break,
            }
        }
    }

    // All that must be answered is: connects whose time is over, whatever else was asked.
    while let Some(waits) = client.must_be_answered(acknowledges || !cuts) {
        let event = tokio::time::timeout(PATIENCE, arriving.recv()).await;
        client.take(event.unwrap_or_else(|_| panic!("never answered: {waits}")).unwrap());
    }
    // Then it polls until it has everything.
    for round in 0.. {
        let number = connections.request();
        let connect = client.connect(number, true, Some(0));
        connections.post(number, json!([connect]));
        while client.waits_for(number) {
            let event = tokio::time::timeout(PATIENCE, arriving.recv()).await.expect("the last connects are answered");
            client.take(event.unwrap());
        }
        let complete = client.missing().is_none();
        if round >= 2 && (complete || (cuts && !acknowledges)) {
            break;
        }
        assert!(round < 200, "lost: {:?}", client.missing());
    }
    // With that, other connects are superseded: by a status, or by the end of the WebSocket.
    while let Some(waits) = client.unanswered() {
        let event = tokio::time::timeout(PATIENCE, arriving.recv()).await;
        client.take(event.unwrap_or_else(|_| panic!("never answered: {waits}")).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_laws_hold_over_real_sockets() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stop = CancellationToken::new();
    let (_, url) = server(&stop).await;
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (runs, one) = (number("LAWS_RUNS").unwrap_or(36), number("LAWS_SEED"));
    let seeds: Vec<_> = (1..=runs).map(|n| (n, one.unwrap_or(n))).collect();
    let failed = futures_util::stream::iter(seeds)
        .map(|(n, seed)| {
            let url = url.clone();
            async move {
                tokio::spawn(run(seed, format!("/laws/{n}"), url))
                    .await
                    .err()
                    .map(|error| format!("LAWS_SEED={seed}: {error}"))
            }
        })
        .buffer_unordered(6)
        .filter_map(std::future::ready)
        .collect::<Vec<_>>()
        .await;
    stop.cancel();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// With acknowledgement, a message ends a WebSocket's connect, as its time does. When both come at the same moment, one
/// of them has to answer it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connect_whose_time_is_over_just_when_a_message_comes_is_answered() {
    let stop = CancellationToken::new();
    let (server, url) = server(&stop).await;
    let session = |s: u64| {
        let (server, url) = (server.clone(), url.clone());
        async move {
            let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{url}")).await.unwrap();
            let hello = json!([{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"],
                "ext":{"ack":true}}]);
            let id = ask(&mut socket, hello).await["clientId"].take();
            let channel = format!("/moment/{s}");
            ask(&mut socket, json!([{"channel":"/meta/subscribe","clientId":id,"subscription":channel}])).await;
            let mut ack = json!(0);
            for n in 0..300 {
                let connect = json!([{"channel":"/meta/connect","clientId":id,"connectionType":"websocket",
                    "ext":{"ack":ack},"advice":{"timeout":3}}]);
                let publish = async {
                    tokio::time::sleep(Duration::from_micros(2_000 + (n * 37 + s * 101) % 2_500)).await;
                    let parts = DeliveryParts { data: b"1", ..Default::default() };
                    let delivery = Delivery::new(channel.as_str().into(), &parts);
                    server.publish(&ChannelName::parse(&channel.as_str().into()).unwrap(), delivery);
                };
                let answer = async {
                    let mut message = ask(&mut socket, connect).await;
                    while message["channel"] != "/meta/connect" {
                        let frame = tokio::time::timeout(PATIENCE, socket.next()).await.expect("an answer");
                        message = serde_json::from_str::<Value>(frame.unwrap().unwrap().to_text().unwrap()).unwrap()[0]
                            .take();
                    }
                    message["ext"]["ack"].take()
                };
                (_, ack) = tokio::join!(publish, answer);
            }
        }
    };
    let sessions: Vec<_> = (0..16).map(|s| tokio::spawn(session(s))).collect();
    for session in sessions {
        session.await.unwrap();
    }
    stop.cancel();
}
