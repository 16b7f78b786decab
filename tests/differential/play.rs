//! Tells a case to one server and writes down what it says.

use crate::script::{Case, Step, Until, of as script_step};
use crate::text::{self, hex, percent, sorted};
use crate::wire::{self, Event, PATIENCE, Request, Response};
use gateway_tests::bayeux::Socket;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;

#[derive(Default)]
struct Client {
    /// Every client id it was given.
    ids: Vec<String>,
    cookie: Option<String>,
    socket: Option<Socket>,
    held: VecDeque<JoinHandle<io::Result<Response>>>,
}

/// One telling.
pub struct Player {
    port: u16,
    /// What `/~/` stands for: every telling has channels of its own.
    tag: String,
    /// How long a server is given to begin to hold a request, which shows by nothing.
    settle: Duration,
    clients: BTreeMap<String, Client>,
    fences: usize,
}

/// The transcript: one line per step.
pub async fn play(case: &Case, port: u16, tag: &str, settle: Duration) -> Vec<String> {
    let tag = format!("/{tag}/");
    let mut player = Player { port, tag, settle, clients: BTreeMap::new(), fences: 0 };
    let mut lines = Vec::new();
    for step in &case.steps {
        let said = player.step(step).await;
        lines.push(player.plain(&said));
    }
    for client in player.clients.into_values() {
        client.held.iter().for_each(JoinHandle::abort);
    }
    lines
}

impl Player {
    async fn step(&mut self, step: &Step) -> String {
        let name = step.client.as_str();
        self.clients.entry(name.to_owned()).or_default();
        match step.verb.as_str() {
            "wait" => {
                tokio::time::sleep(Duration::from_millis(step.rest.parse().expect("milliseconds"))).await;
                "waited".to_owned()
            }
            "handshake" => {
                let step = script_step(name, "post", &step.options, "[{%handshake}]");
                self.post(&step).await
            }
            "session" => {
                // A session that is connected: the next connect is held.
                let handshake = self.post(&script_step(name, "post", &step.options, "[{%handshake}]")).await;
                let connect = self.post(&script_step(name, "post", &step.options, "[{%connect0}]")).await;
                format!("{handshake} then {connect}")
            }
            "jsonp-session" => {
                let handshake = "?jsonp=cb&message=[{%handshake}]";
                let handshake = self.post(&script_step(name, "get", &step.options, handshake)).await;
                let connect = "?jsonp=cb&message=[{%connect0}]";
                let connect = self.post(&script_step(name, "get", &step.options, connect)).await;
                format!("{handshake} then {connect}")
            }
            "ws-session" => {
                let open = self.open(step).await;
                let handshake = self.send(name, b"[{%handshake}]", true).await;
                let connect = self.send(name, b"[{%connect0}]", true).await;
                format!("{open} then {handshake} then {connect}")
            }
            "post" | "get" => self.post(step).await,
            "hold" => {
                let request = self.request(step);
                let exchange = tokio::spawn(wire::exchange(self.port, request));
                tokio::time::sleep(self.settle).await;
                let state = if exchange.is_finished() { "answered" } else { "held" };
                self.client(name).held.push_back(exchange);
                state.to_owned()
            }
            "held" => {
                let exchange = self.client(name).held.pop_front().expect("a request that is held");
                match tokio::time::timeout(PATIENCE, exchange).await {
                    Ok(done) => self.answered(name, done.expect("an exchange")),
                    Err(_) => "no answer".to_owned(),
                }
            }
            "still-held" => {
                tokio::time::sleep(self.settle).await;
                let waits = self.client(name).held.front().is_some_and(|exchange| !exchange.is_finished());
                if waits { "held" } else { "answered" }.to_owned()
            }
            "give-up" => {
                // The oldest held request's connection is closed.
                let exchange = self.client(name).held.pop_front().expect("a request that is held");
                exchange.abort();
                let _ = exchange.await;
                tokio::time::sleep(self.settle).await;
                "gave up".to_owned()
            }
            "cookie" => {
                let value = match step.rest.strip_prefix('$') {
                    Some(other) => self.clients.get(other).and_then(|client| client.cookie.clone()),
                    None => Some(step.rest.clone()).filter(|value| value != "none"),
                };
                self.client(name).cookie = value;
                "cookie".to_owned()
            }
            "open" => self.open(step).await,
            "send" => self.send(name, step.rest.as_bytes(), true).await,
            "push" => self.send(name, step.rest.as_bytes(), false).await,
            "binary" => self.raw(name, Data::Binary, hex(&step.rest)).await,
            "text" => self.raw(name, Data::Text, hex(&step.rest)).await,
            "ping" => {
                let Some(socket) = &mut self.client(name).socket else { return "closed".to_owned() };
                let _ = futures_util::SinkExt::send(socket, Frame::Ping(b"hello".to_vec().into())).await;
                match wire::next(socket).await {
                    Event::Pong(payload) => format!("pong {}", String::from_utf8_lossy(&payload)),
                    other => format!("{other:?}"),
                }
            }
            "recv" => self.receive(name, Until::Messages(step.rest.parse().expect("a number"))).await,
            "recv-any-order" => {
                let said = self.receive(name, Until::Messages(step.rest.parse().expect("a number"))).await;
                let mut frames: Vec<&str> = said.split(" | ").collect();
                frames.sort_unstable();
                frames.join(" | ")
            }
            "look" => self.look(name).await,
            "fence" => self.fence(name).await,
            "closed" => self.receive(name, Until::Closed).await,
            "close" => {
                if let Some(socket) = &mut self.client(name).socket {
                    let code = step.rest.parse::<u16>().ok();
                    let frame = code.map(|code| CloseFrame { code: code.into(), reason: "".into() });
                    let _ = socket.close(frame).await;
                }
                self.receive(name, Until::Closed).await
            }
            "drop" => {
                drop(self.client(name).socket.take());
                tokio::time::sleep(self.settle).await;
                "dropped".to_owned()
            }
            verb => panic!("no such step: {verb}"),
        }
    }

    fn client(&mut self, name: &str) -> &mut Client {
        self.clients.get_mut(name).expect("a client")
    }

    // HTTP

    async fn post(&mut self, step: &Step) -> String {
        let request = self.request(step);
        match tokio::time::timeout(PATIENCE, wire::exchange(self.port, request)).await {
            Ok(done) => self.answered(&step.client, done),
            Err(_) => "no answer".to_owned(),
        }
    }

    fn request(&mut self, step: &Step) -> Request {
        let option = |name: &str| step.options.get(name).cloned();
        let default = if step.verb == "get" { "GET" } else { "POST" };
        let method = option("method").unwrap_or_else(|| default.to_owned());
        let mut target = format!("/cometd{}", option("path").unwrap_or_default().replace('^', "%"));
        let mut headers = Vec::new();
        match option("type").as_deref() {
            None if method == "POST" => headers.push(("Content-Type", "application/json".to_owned())),
            None | Some("none") => {}
            // A space would end the option.
            Some(kind) => headers.push(("Content-Type", kind.replace('_', " "))),
        }
        let cookie = match option("cookie").as_deref() {
            None => self.client(&step.client).cookie.clone(),
            Some("none") => None,
            Some(value) => Some(format!("BAYEUX_BROWSER={value}")),
        };
        let cookie = option("jar").map(|jar| jar.replace(',', "; ")).or(cookie);
        if let Some(cookie) = cookie {
            let cookie = self.expand(cookie.as_bytes(), &step.client);
            headers.push(("Cookie", String::from_utf8(cookie).expect("text")));
        }
        let mut body = Vec::new();
        if option("raw").is_some() {
            // As a browser would send it; `^` is a percent sign.
            let query = self.expand(step.rest.as_bytes(), &step.client);
            for byte in query {
                match byte {
                    b'^' => target.push('%'),
                    b'"' | b'{' | b'}' | b'[' | b']' | b' ' => target.push_str(&percent(&[byte])),
                    _ => target.push(char::from(byte)),
                }
            }
        } else if step.verb == "get" {
            // `message=[…]` is given as it is, and encoded here.
            let query: Vec<String> = step
                .rest
                .trim_start_matches('?')
                .split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let Some((key, value)) = pair.split_once('=') else { return pair.to_owned() };
                    format!("{key}={}", percent(&self.expand(value.as_bytes(), &step.client)))
                })
                .collect();
            if !query.is_empty() {
                target = format!("{target}?{}", query.join("&"));
            }
        } else if let Some(digits) = step.rest.strip_prefix("hex:") {
            body = hex(digits);
        } else {
            body = self.expand(step.rest.as_bytes(), &step.client);
            if option("form").is_some() {
                body = format!("message={}", percent(&body)).into_bytes();
            }
        }
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Request { method, target, headers, body }
    }

    fn answered(&mut self, name: &str, done: io::Result<Response>) -> String {
        let Ok(response) = done else { return "no response".to_owned() };
        let mut said = response.status.to_string();
        let kind = response.header("content-type").unwrap_or("").to_ascii_lowercase().replace(' ', "");
        let text = String::from_utf8_lossy(&response.body).into_owned();
        if kind.starts_with("text/html")
            || kind.starts_with("text/plain")
            || (response.status >= 400 && kind.is_empty())
        {
            said.push_str(" page"); // for people: its words are not compared
            return said;
        }
        if !kind.is_empty() {
            said.push_str(&format!(" {kind}"));
        }
        if let Some(cookie) = response.header("set-cookie") {
            let mut parts = cookie.split(';').map(str::trim);
            let pair = parts.next().unwrap_or_default();
            self.client(name).cookie = Some(pair.to_owned());
            let mut attributes: Vec<&str> = parts.collect();
            attributes.sort_unstable();
            let key = pair.split('=').next().unwrap_or_default();
            said.push_str(&format!(" sets {key} {}", attributes.join("; ")));
        }
        if let Some((callback, call)) = text.split_once('(').filter(|_| kind.starts_with("text/javascript")) {
            let (json, tail) = call.rsplit_once(')').unwrap_or((call, "?"));
            said.push_str(&format!(" {callback}({}){tail}", self.messages(name, json)));
        } else if !text.is_empty() {
            said.push_str(&format!(" {}", self.messages(name, &text)));
        }
        said
    }

    // WebSocket

    async fn open(&mut self, step: &Step) -> String {
        let name = step.client.as_str();
        let path = format!("/cometd{}", step.options.get("path").map_or("", String::as_str));
        let headers: Vec<(String, String)> = step
            .options
            .get("protocol")
            .map(|value| ("sec-websocket-protocol".to_owned(), value.clone()))
            .into_iter()
            .collect();
        match wire::open(self.port, &path, &headers).await {
            Ok(socket) => {
                self.client(name).socket = Some(socket);
                "opened".to_owned()
            }
            Err(status) => format!("refused {status}"),
        }
    }

    async fn send(&mut self, name: &str, body: &[u8], fence: bool) -> String {
        let body = self.expand(body, name);
        let Some(socket) = &mut self.client(name).socket else { return "closed".to_owned() };
        wire::send(socket, Data::Text, body).await;
        if fence { self.fence(name).await } else { "sent".to_owned() }
    }

    async fn raw(&mut self, name: &str, kind: Data, bytes: Vec<u8>) -> String {
        let Some(socket) = &mut self.client(name).socket else { return "closed".to_owned() };
        wire::send(socket, kind, bytes).await;
        self.fence(name).await
    }

    /// Whatever came before the answer to a message of no consequence: one socket's frames are dealt with in order.
    async fn fence(&mut self, name: &str) -> String {
        self.fences += 1;
        let id = format!("fence{}", self.fences);
        let fence = format!(r#"[{{"channel":"/fence","id":"{id}"}}]"#);
        let Some(socket) = &mut self.client(name).socket else { return "closed".to_owned() };
        wire::send(socket, Data::Text, fence.into_bytes()).await;
        self.receive(name, Until::Reply(id)).await
    }

    /// Whether the server has closed the socket, which it was given the time for.
    async fn look(&mut self, name: &str) -> String {
        tokio::time::sleep(self.settle).await;
        let Some(socket) = &mut self.client(name).socket else { return "closed".to_owned() };
        match wire::now(socket) {
            None => "open".to_owned(),
            Some(Event::Closed(_) | Event::Broken) => "closed by the server".to_owned(),
            Some(other) => format!("{other:?}"),
        }
    }

    async fn receive(&mut self, name: &str, until: Until) -> String {
        let mut said = Vec::new();
        let mut count = 0;
        loop {
            let Some(socket) = &mut self.client(name).socket else {
                said.push("closed".to_owned());
                break;
            };
            match wire::next(socket).await {
                Event::Text(text) => {
                    let all: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
                    let fence = |message: &Value| matches!(&until, Until::Reply(id) if message["id"] == id.as_str());
                    let rest: Vec<Value> = all.iter().filter(|message| !fence(message)).cloned().collect();
                    count += rest.len();
                    if !rest.is_empty() || all.is_empty() {
                        let frame = Value::Array(rest).to_string();
                        said.push(self.messages(name, if all.is_empty() { &text } else { &frame }));
                    }
                    let done = match &until {
                        Until::Reply(_) => all.iter().any(fence),
                        Until::Messages(wanted) => count >= *wanted,
                        Until::Closed => false,
                    };
                    if done {
                        break;
                    }
                }
                Event::Pong(_) => {}
                Event::Closed(code) => {
                    said.push(format!("close {}", code.map_or("without code".to_owned(), |code| code.to_string())));
                    self.client(name).socket = None;
                    break;
                }
                Event::Broken => {
                    said.push("broken".to_owned());
                    self.client(name).socket = None;
                    break;
                }
                Event::Silence => {
                    said.push("nothing more".to_owned());
                    break;
                }
            }
        }
        if said.is_empty() { "nothing".to_owned() } else { said.join(" | ") }
    }

    // Texts

    /// The messages with sorted keys; new client ids are noted.
    fn messages(&mut self, name: &str, json: &str) -> String {
        let Ok(value) = serde_json::from_str::<Value>(json) else { return format!("no JSON: {json}") };
        for message in value.as_array().into_iter().flatten() {
            if let (Some("/meta/handshake"), Some(id)) = (message["channel"].as_str(), message["clientId"].as_str()) {
                self.client(name).ids.push(id.to_owned());
            }
        }
        sorted(&value).to_string()
    }

    fn expand(&self, text: &[u8], me: &str) -> Vec<u8> {
        let websocket = self.clients.get(me).is_some_and(|client| client.socket.is_some());
        let text = std::str::from_utf8(text).expect("text");
        let ids = |name: &str| self.clients.get(name).map_or(&[][..], |client| &client.ids);
        text::expand(text, me, websocket, ids).replace("/~/", &self.tag).into_bytes()
    }

    /// Without what differs from telling to telling.
    fn plain(&self, said: &str) -> String {
        let mut plain = said.replace(&self.tag, "/~/");
        for (name, client) in &self.clients {
            for (n, id) in client.ids.iter().enumerate() {
                plain = plain.replace(id.as_str(), &format!("${name}.{}", n + 1));
            }
        }
        plain
    }
}
