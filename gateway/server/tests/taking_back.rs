//! `handshake_reconnect`: a client that lost its connection takes its session back by a handshake that names it.
#![allow(clippy::unwrap_used)]

mod kit;

use bayeux::channel::ChannelName;
use bayeux::delivery::{Delivery, DeliveryParts};
use bayeux::reply::Refusal;
use bayeux::session::{Options, SessionOptions};
use bayeux_server::hooks::{Eventually, Handshake, Policy};
use bayeux_server::{Identity, Server, ServerSettings};
use kit::{Client, Running};
use serde_json::{Value, json};
use std::time::Duration;

/// Takes everybody by the name they give.
struct ByName;

impl Policy for ByName {
    fn handshake<'a>(&'a self, handshake: &'a Handshake<'a>) -> Eventually<'a, Result<Identity, Refusal>> {
        Ok(Identity { user: handshake.message.ext_string("name").map(Into::into), claims: None }).into()
    }
}

fn server(handshake_reconnect: bool) -> (Server, Running) {
    let options = Options { handshake_reconnect, max_interval: Duration::from_secs(60), ..Options::default() };
    let session = SessionOptions::same(options);
    let server = Server::builder(ServerSettings { session, ..ServerSettings::default() }).policy(ByName).build();
    let running = Running::start(&server);
    (server, running)
}

fn publish(server: &Server, channel: &str, data: u32) {
    let data = data.to_string();
    let delivery = Delivery::new(channel.into(), &DeliveryParts { data: data.as_bytes(), ..Default::default() });
    server.publish(&ChannelName::parse(&channel.into()).unwrap(), delivery);
}

/// Waits until so many WebSockets are open.
async fn sockets(server: &Server, count: u64) {
    while server.stats().websockets.get() != count {
        tokio::task::yield_now().await;
    }
}

fn hello(ext: Value) -> Value {
    json!({"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"],"ext":ext})
}

fn connect(ack: Value) -> Value {
    json!({"channel":"/meta/connect","connectionType":"websocket","ext":{"ack":ack}})
}

/// A client by that name, with a subscription to `/news`.
async fn reader(running: &Running, name: &str) -> Client {
    let mut client = running.client_with(json!({"name":name})).await.unwrap();
    assert_eq!(client.subscribe("/news").await["successful"], true);
    client
}

#[tokio::test]
async fn a_session_goes_on_with_its_subscriptions_and_what_waits_for_it() {
    let (server, running) = server(true);
    let lost = reader(&running, "ann").await;
    let id = lost.id.clone();
    drop(lost);
    sockets(&server, 0).await;
    publish(&server, "/news", 1);
    let mut back = running.open(&id).await;
    let reply = back.ask(hello(json!({"name":"ann"}))).await;
    assert_eq!((&reply["clientId"], &reply["successful"]), (&json!(id), &json!(true)), "{reply}");
    assert_eq!(reply["advice"], json!({"reconnect":"retry","interval":0,"timeout":20_000,"maxInterval":60_000}));
    assert!(!back.has_heard(), "nothing before the client knows that its session goes on");
    let first = back.ask(connect(json!(null))).await;
    assert_eq!(first["successful"], true, "answered at once, as after any handshake: {first}");
    assert_eq!(back.heard().await["data"], 1, "what came while it was away");
    publish(&server, "/news", 2);
    assert_eq!(back.heard().await["data"], 2, "and it is subscribed still");
    assert_eq!(server.session_count(), 1);
}

#[tokio::test]
async fn a_connection_that_is_half_open_gives_way() {
    let (server, running) = server(true);
    // The server does not know that nobody reads the old one.
    let old = reader(&running, "ann").await;
    let mut back = running.open(&old.id).await;
    publish(&server, "/news", 1);
    assert_eq!(back.ask(hello(json!({"name":"ann"}))).await["clientId"], json!(old.id));
    publish(&server, "/news", 2);
    let first = back.say(connect(json!(null))).await;
    let mut heard = vec![];
    while heard.last() != Some(&json!(2)) {
        heard.push(back.heard().await["data"].take());
    }
    assert!(heard == [json!(2)] || heard == [json!(1), json!(2)], "{heard:?}: the first went out or came back");
    assert_eq!(back.reply(&first).await["successful"], true);
    sockets(&server, 1).await;
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_if_acknowledgement_is_asked_for_again() {
    for again in [true, false] {
        let (server, running) = server(true);
        let mut client = running.open("").await;
        client.id = client.ask(hello(json!({"ack":true}))).await["clientId"].as_str().unwrap().to_owned();
        client.subscribe("/news").await;
        let first = client.ask(connect(json!(0))).await;
        publish(&server, "/news", 1);
        let reply = client.ask(connect(first["ext"]["ack"].clone())).await;
        assert_eq!((client.heard().await["data"].take(), &reply["ext"]["ack"]), (json!(1), &json!(2)), "{reply}");
        let mut back = running.open(&client.id).await;
        drop(client); // it has not said that it has seen batch 2
        sockets(&server, 1).await;
        publish(&server, "/news", 2);
        let reply = back.ask(hello(json!({"ack":again}))).await;
        assert_eq!((&reply["clientId"], reply["ext"]["ack"] == true), (&json!(back.id), again), "{reply}");
        let first = back.ask(connect(json!(0))).await;
        if again {
            assert_eq!(back.heard().await["data"], 1);
            assert_eq!(first["ext"]["ack"], 3, "{first}");
        }
        assert_eq!(back.heard().await["data"], 2);
        back.heard_nothing().await;
    }
}

#[tokio::test]
async fn the_same_socket_may_handshake_for_the_session_it_has_or_had() {
    let (server, running) = server(true);
    let mut client = reader(&running, "ann").await;
    let id = client.id.clone();
    assert_eq!(client.ask(hello(json!({"name":"ann"}))).await["clientId"], json!(id));
    assert_eq!(client.ask(connect(json!(null))).await["successful"], true, "nothing is held any more");
    client.id = String::new();
    let other = client.ask(hello(json!({"name":"ann"}))).await["clientId"].take();
    assert_ne!(other, json!(id));
    client.id = id.clone();
    assert_eq!(client.ask(hello(json!({"name":"ann"}))).await["clientId"], json!(id));
    assert_eq!(client.ask(connect(json!(null))).await["successful"], true);
    let held = client.say(connect(json!(null))).await;
    publish(&server, "/news", 7);
    assert_eq!(client.heard().await["data"], 7);
    client.heard_nothing().await;
    assert_eq!(server.session_count(), 2);
    client.ask(json!({"channel":"/meta/disconnect"})).await;
    assert_eq!(client.reply(&held).await["advice"]["reconnect"], "none");
}

#[tokio::test]
async fn a_new_session_begins_for_another_user_for_a_session_that_is_gone_and_without_the_option() {
    let (server_with, with) = server(true);
    let (_without_server, without) = server(false);
    let ann = reader(&with, "ann").await;
    let mut other = with.open(&ann.id).await;
    let reply = other.ask(hello(json!({"name":"bob"}))).await;
    assert!(reply["successful"] == true && reply["clientId"] != json!(ann.id), "{reply}");
    let mut stranger = with.open("nobody").await;
    let reply = stranger.ask(hello(json!({"name":"ann"}))).await;
    assert!(reply["successful"] == true && reply["clientId"] != "nobody", "{reply}");
    assert_eq!(server_with.session_count(), 3);
    let ann = reader(&without, "ann").await;
    let mut back = without.open(&ann.id).await;
    let reply = back.ask(hello(json!({"name":"ann"}))).await;
    assert!(reply["successful"] == true && reply["clientId"] != json!(ann.id), "{reply}");
    assert_eq!(reply["advice"].get("maxInterval"), None);
}

#[tokio::test]
async fn over_http_the_cookie_must_fit_and_a_held_connect_is_superseded() {
    let (server, running) = server(true);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = |browser: &str, message: Value| {
        let cookie = format!("BAYEUX_BROWSER={browser}");
        let request = http.post(running.url()).header("cookie", cookie).json(&json!([message]));
        async move {
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            (status, response.json::<Value>().await.unwrap_or_default())
        }
    };
    let id = post("mine", hello(json!({}))).await.1[0]["clientId"].take();
    let named = |mut message: Value| {
        message["clientId"] = id.clone();
        message
    };
    let poll = json!({"channel":"/meta/connect","connectionType":"long-polling"});
    post("mine", named(json!({"channel":"/meta/subscribe","subscription":"/news"}))).await;
    post("mine", named(poll.clone())).await;
    let held = tokio::spawn(post("mine", named(poll.clone())));
    while server.stats().polls_held.get() == 0 {
        tokio::task::yield_now().await;
    }
    assert_ne!(post("another", named(hello(json!({})))).await.1[0]["clientId"], id, "it lacks the cookie");
    assert_eq!(post("mine", named(hello(json!({})))).await.1[0]["clientId"], id);
    assert_eq!(held.await.unwrap().0, 500, "as by a newer connect");
    publish(&server, "/news", 1);
    let (_, messages) = post("mine", named(poll)).await;
    assert_eq!((&messages[0]["data"], &messages[1]["successful"]), (&json!(1), &json!(true)), "{messages}");
}
