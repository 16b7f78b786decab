//! A subscriber that stops reading is cut off by the policy of its queue; it can come back, and the others never notice.

use futures_util::{SinkExt as _, StreamExt as _};
use gateway_tests::bayeux::{
    self, Client, Socket, Window, answer, dial, handshake_over, http_client, messages, next_messages,
};
use gateway_tests::gateway::Gateway;
use gateway_tests::honest::Honest;
use serde_json::json;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message as Frame;

/// 1500 messages of 32 KiB are 48 MiB: six times the default queue, and more than the kernel holds for one socket.
const COUNT: usize = 1500;
const SIZE: usize = 32 * 1024;

async fn send(socket: &mut Socket, message: serde_json::Value) {
    socket.send(Frame::text(json!([message]).to_string())).await.expect("an open socket");
}

/// Publishes all, at the pace of a reader that keeps up, and says that this one gets everything in order.
async fn flood(publisher: &Client, channel: &str, reader: &mut Client) {
    let filler = "x".repeat(SIZE);
    for first in (0..COUNT).step_by(50) {
        let mut window = Window::new(50);
        for n in first..first + 50 {
            window.add([publisher.publish(channel, &format!(r#"{{"n":{n},"filler":"{filler}"}}"#))]).await;
        }
        for reply in window.finish().await {
            assert!(reply.ok(), "the publisher is not held up by a slow subscriber: {reply:?}");
        }
        for (at, message) in reader.take(50).await.iter().enumerate() {
            assert_eq!(message.value()["n"], first + at, "a reader that keeps up gets everything in order");
        }
    }
}

/// A long-polling client that connects only when told to.
struct Poller {
    http: reqwest::Client,
    url: String,
    cookie: String,
    id: String,
}

impl Poller {
    async fn subscribed(url: &str, channel: &str) -> Poller {
        let (cookie, id) = (String::new(), String::new());
        let mut poller = Poller { http: http_client(), url: url.to_owned(), cookie, id };
        let types = ["long-polling"];
        let hello = json!({"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": types});
        poller.id = poller.post(hello).await.remove(0).client_id.expect("a client id");
        assert!(poller.connect().await[0].ok());
        let subscribe = json!({"channel": "/meta/subscribe", "clientId": poller.id, "subscription": channel});
        assert!(poller.post(subscribe).await[0].ok());
        poller
    }

    async fn connect(&mut self) -> Vec<bayeux::Message> {
        let advice = json!({"timeout": 0});
        self.post(json!({"channel": "/meta/connect", "clientId": self.id, "connectionType": "long-polling",
                         "advice": advice}))
            .await
    }

    async fn post(&mut self, message: serde_json::Value) -> Vec<bayeux::Message> {
        let request = self.http.post(&self.url).header("cookie", &self.cookie).body(json!([message]).to_string());
        let response = request.send().await.expect("an answer");
        if let Some(cookie) = response.headers().get("set-cookie") {
            self.cookie = cookie.to_str().expect("text").split(';').next().unwrap_or_default().to_owned();
        }
        messages(&response.text().await.expect("a body"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_stops_reading_is_cut_off_alone_and_can_come_back() {
    let gateway = Gateway::start("{}");
    let honest = Honest::start(&gateway.url(), "/honest").await;
    let mut fast = Client::websocket(&gateway.url()).await;
    fast.subscribe("/flood").await;

    let mut slow = dial(&gateway.url(), Some(64 * 1024)).await;
    let id = handshake_over(&mut slow).await.client_id.unwrap();
    send(
        &mut slow,
        json!({"channel": "/meta/connect", "id": "c1", "clientId": id, "connectionType": "websocket",
                           "advice": {"timeout": 0}}),
    )
    .await;
    assert!(next_messages(&mut slow).await[0].ok());
    send(&mut slow, json!({"channel": "/meta/subscribe", "id": "s1", "clientId": id, "subscription": "/flood"})).await;
    assert!(next_messages(&mut slow).await[0].ok());
    send(&mut slow, json!({"channel": "/meta/connect", "id": "c2", "clientId": id, "connectionType": "websocket"}))
        .await;
    // From here on it does not read.

    let publisher = Client::websocket(&gateway.url()).await;
    flood(&publisher, "/flood", &mut fast).await;

    // It looks again: what was on its way is there, then the end, and it learns why.
    let (mut received, mut told, mut close) = (0, None, None);
    while let Ok(Some(frame)) = tokio::time::timeout(bayeux::PATIENCE, slow.next()).await {
        match frame {
            Ok(Frame::Text(text)) => {
                for message in messages(text.as_str()) {
                    match message.channel.as_str() {
                        "/flood" => received += 1,
                        "/meta/connect" => told = Some(message),
                        other => panic!("unexpected on {other}"),
                    }
                }
            }
            Ok(Frame::Close(frame)) => close = frame.map(|f| (u16::from(f.code), f.reason.to_string())),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    println!("the slow one got {received} of {COUNT}, then {told:?}, close {close:?}");
    assert!(received < COUNT, "its queue is bounded");
    if let Some(told) = told {
        assert_eq!((told.error(), &told.advice["reconnect"]), ("402::session_unknown", &json!("handshake")));
    }
    if let Some((code, _)) = close {
        assert_eq!(code, 1008);
    }

    // Its session is gone, which a new socket is told in the words that make a client handshake again.
    let mut back = dial(&gateway.url(), None).await;
    send(&mut back, json!({"channel": "/meta/connect", "id": "c3", "clientId": id, "connectionType": "websocket"}))
        .await;
    let refused = next_messages(&mut back).await.remove(0);
    assert_eq!((refused.error(), &refused.advice["reconnect"]), ("402::session_unknown", &json!("handshake")));

    let mut again = Client::websocket(&gateway.url()).await;
    again.subscribe("/flood").await;
    assert!(answer(publisher.publish("/flood", r#"{"n":"after"}"#)).await.ok());
    assert_eq!(again.next().await.value()["n"], "after");

    assert_eq!(fast.next().await.value()["n"], "after");
    assert_eq!(fast.faults(), Vec::<String>::new());
    honest.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_polling_client_that_stops_asking_is_cut_off_alone_and_can_come_back() {
    // Its session would live on for a minute: it is the queue that ends it.
    let gateway = Gateway::start("bayeux: { max_interval: 60s }");
    let mut fast = Client::long_polling(&gateway.url()).await;
    fast.subscribe("/flood").await;

    let mut idle = Poller::subscribed(&gateway.url(), "/flood").await;
    // From here on it does not ask.

    let publisher = Client::websocket(&gateway.url()).await;
    flood(&publisher, "/flood", &mut fast).await;

    let replies = idle.connect().await;
    let refused = replies.last().unwrap();
    assert_eq!((refused.error(), &refused.advice["reconnect"]), ("402::session_unknown", &json!("handshake")));

    let mut again = Client::long_polling(&gateway.url()).await;
    again.subscribe("/flood").await;
    assert!(answer(publisher.publish("/flood", r#"{"n":"after"}"#)).await.ok());
    assert_eq!(again.next().await.value()["n"], "after");
    tokio::time::timeout(Duration::from_secs(30), fast.next()).await.expect("the others go on");
    assert_eq!(fast.faults(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_drop_oldest_it_stays_and_gets_the_newest() {
    let gateway = Gateway::start("bayeux: { queue: { max_messages: 100, overflow: drop_oldest }, max_interval: 60s }");
    let mut idle = Poller::subscribed(&gateway.url(), "/numbers").await;

    let publisher = Client::websocket(&gateway.url()).await;
    let mut window = Window::new(100);
    for n in 0..1000 {
        window.add([publisher.publish("/numbers", &n.to_string())]).await;
    }
    assert!(window.finish().await.iter().all(bayeux::Message::ok));

    let replies = idle.connect().await;
    let numbers: Vec<usize> = replies
        .iter()
        .filter(|message| message.channel == "/numbers")
        .map(|message| message.text().parse().unwrap())
        .collect();
    assert_eq!(numbers, (900..1000).collect::<Vec<_>>());
    assert!(replies.last().unwrap().ok(), "the session goes on");
}
