//! A server of this process behind real sockets, and a client that speaks Bayeux over a WebSocket.
#![allow(dead_code)] // each test file needs some of it

use bayeux_server::{Server, http, listener};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

pub struct Running {
    pub port: u16,
    stop: CancellationToken,
}

impl Running {
    pub fn start(server: &Server) -> Self {
        let socket = listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = socket.local_addr().unwrap().port();
        let (stats, stop) = (Arc::clone(server.stats()), CancellationToken::new());
        let listening = listener::Listening { tls: None, max_connections: 100, stats, stop: stop.clone() };
        tokio::spawn(listener::serve(socket, http::router(server.clone(), "/cometd"), listening));
        Running { port, stop }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/cometd", self.port)
    }

    /// A WebSocket on which nothing is said yet. `id`: what its client calls itself.
    pub async fn open(&self, id: &str) -> Client {
        let (socket, _) = tokio_tungstenite::connect_async(self.url().replace("http", "ws")).await.unwrap();
        Client { socket, id: id.to_owned(), heard: VecDeque::new(), count: 0 }
    }

    /// A client with a session and a held connect.
    pub async fn client(&self) -> Client {
        self.client_with(json!({})).await.expect("a session")
    }

    /// The same, by a handshake with that `ext`; else the reply that refused it.
    pub async fn client_with(&self, ext: Value) -> Result<Client, Value> {
        let mut client = self.open("").await;
        let types = json!(["websocket"]);
        let hello = json!({"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":types,"ext":ext});
        let reply = client.ask(hello).await;
        if reply["successful"] != true {
            return Err(reply);
        }
        client.id = reply["clientId"].as_str().unwrap().to_owned();
        let connect = json!({"channel":"/meta/connect","connectionType":"websocket"});
        client.ask(connect.clone()).await;
        client.say(connect).await;
        Ok(client)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub struct Client {
    socket: tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
    pub id: String,
    heard: VecDeque<Value>,
    count: u32,
}

impl Client {
    /// Sends a message with an id, and gives that.
    pub async fn say(&mut self, mut message: Value) -> String {
        self.count += 1;
        let id = self.count.to_string();
        message["id"] = json!(id);
        if !self.id.is_empty() {
            message["clientId"] = json!(self.id);
        }
        self.socket.send(Message::text(json!([message]).to_string())).await.unwrap();
        id
    }

    async fn frame(&mut self) -> Vec<Value> {
        loop {
            match tokio::time::timeout(Duration::from_secs(20), self.socket.next()).await.expect("a frame in time") {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The reply to that id; what else comes is heard later.
    pub async fn reply(&mut self, id: &str) -> Value {
        loop {
            let mut found = None;
            for message in self.frame().await {
                match message["id"] == id && !message["successful"].is_null() && message.get("data").is_none() {
                    true => found = Some(message),
                    false => self.heard.push_back(message),
                }
            }
            if let Some(reply) = found {
                return reply;
            }
        }
    }

    pub async fn ask(&mut self, message: Value) -> Value {
        let id = self.say(message).await;
        self.reply(&id).await
    }

    pub async fn subscribe(&mut self, channel: &str) -> Value {
        self.ask(json!({"channel":"/meta/subscribe","subscription":channel})).await
    }

    pub async fn unsubscribe(&mut self, channel: &str) -> Value {
        self.ask(json!({"channel":"/meta/unsubscribe","subscription":channel})).await
    }

    pub async fn publish(&mut self, channel: &str, data: Value) -> Value {
        self.ask(json!({"channel":channel,"data":data})).await
    }

    /// The next message that is no reply.
    pub async fn heard(&mut self) -> Value {
        loop {
            if let Some(message) = self.heard.pop_front() {
                return message;
            }
            let frame = self.frame().await;
            self.heard.extend(frame);
        }
    }

    /// Something came, and has not been looked at, with the replies up to now.
    pub fn has_heard(&self) -> bool {
        !self.heard.is_empty()
    }

    /// Nothing was heard up to now: whatever was on its way would have come before this reply.
    pub async fn heard_nothing(&mut self) {
        self.ask(json!({"channel":"/service/nothing","data":null})).await;
        assert!(self.heard.is_empty(), "{:?}", self.heard);
    }
}
