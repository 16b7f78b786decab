//! The three transports over real sockets, as a client sees them.
#![allow(clippy::unwrap_used)]

use bayeux::delivery::{Delivery, DeliveryParts};
use bayeux::queue::{Overflow, QueueLimits};
use bayeux::session::{Options, SessionOptions};
use bayeux_server::hooks::{AllowAll, PlainBayeux};
use bayeux_server::{Server, ServerSettings, http, listener};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

struct Running {
    server: Server,
    port: u16,
    stop: CancellationToken,
}

impl Running {
    async fn start(settings: ServerSettings) -> Self {
        Running::start_with(settings, Arc::new(PlainBayeux)).await
    }

    async fn start_with(settings: ServerSettings, listener: Arc<dyn bayeux_server::hooks::Listener>) -> Self {
        let server = Server::new(settings, Arc::new(AllowAll), listener);
        let socket = listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = socket.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        let listening = listener::Listening {
            tls: None,
            max_connections: 1000,
            stats: Arc::clone(server.stats()),
            stop: stop.clone(),
        };
        tokio::spawn(listener::serve(socket, http::router(server.clone(), "/cometd"), listening));
        Running { server, port, stop }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/cometd", self.port)
    }

    async fn socket(&self) -> Socket {
        let (stream, _) = tokio_tungstenite::connect_async(self.url().replace("http", "ws")).await.unwrap();
        Socket(stream)
    }

    fn publish(&self, channel: &str, data: &str) {
        let delivery = Delivery::new(channel.into(), &DeliveryParts { data: data.as_bytes(), ..Default::default() });
        self.server.publish(&bayeux::channel::ChannelName::parse(&channel.into()).unwrap(), delivery);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Socket(tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>);

impl Socket {
    async fn send(&mut self, messages: Value) {
        self.0.send(Message::text(messages.to_string())).await.unwrap();
    }

    /// The next frame: an array of messages; `None` when the server has closed.
    async fn next(&mut self) -> Option<Vec<Value>> {
        loop {
            match tokio::time::timeout(Duration::from_secs(10), self.0.next()).await.expect("a frame in time") {
                Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    async fn ask(&mut self, message: Value) -> Value {
        self.send(json!([message])).await;
        self.next().await.expect("a reply").remove(0)
    }

    async fn handshake(&mut self) -> String {
        let reply = self
            .ask(json!({"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"],"id":"1"}))
            .await;
        assert_eq!(reply["successful"], true, "{reply}");
        reply["clientId"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_websocket_session_from_handshake_to_disconnect() {
    let running = Running::start(ServerSettings::default()).await;
    let mut socket = running.socket().await;
    let id = socket.handshake().await;
    let reply = socket
        .ask(json!({"channel":"/meta/connect","clientId":id,"connectionType":"websocket","id":"2",
        "advice":{"timeout":0}}))
        .await;
    assert_eq!(reply["advice"], json!({"reconnect":"retry","interval":0,"timeout":20000}));
    let reply =
        socket.ask(json!({"channel":"/meta/subscribe","clientId":id,"subscription":["/a/*","/a/b"],"id":"3"})).await;
    assert_eq!((&reply["successful"], &reply["subscription"]), (&json!(true), &json!(["/a/*", "/a/b"])));
    socket.send(json!([{"channel":"/meta/connect","clientId":id,"connectionType":"websocket","id":"4"}])).await;
    socket.send(json!([{"channel":"/a/b","clientId":id,"data":{"n":1},"id":"5","custom":true}])).await;
    assert_eq!(
        socket.next().await.unwrap(),
        [json!({"channel":"/a/b","data":{"n":1},"custom":true})],
        "once, for two subscriptions"
    );
    assert_eq!(socket.next().await.unwrap(), [json!({"channel":"/a/b","id":"5","successful":true})]);
    running.publish("/a/c", "[1, 2]");
    assert_eq!(socket.next().await.unwrap(), [json!({"channel":"/a/c","data":[1,2]})]);
    socket.send(json!([{"channel":"/meta/disconnect","clientId":id,"id":"6"}])).await;
    assert_eq!(socket.next().await.unwrap()[0]["channel"], "/meta/disconnect");
    let connect = socket.next().await.unwrap().remove(0);
    assert_eq!((&connect["id"], &connect["advice"]["reconnect"]), (&json!("4"), &json!("none")));
    assert_eq!(running.server.session_count(), 0);
    assert_eq!(running.server.channel_count(), 0);
}

#[tokio::test]
async fn what_waits_survives_the_loss_of_its_socket() {
    let running = Running::start(ServerSettings::default()).await;
    let mut socket = running.socket().await;
    let id = socket.handshake().await;
    socket.ask(json!({"channel":"/meta/connect","clientId":id,"connectionType":"websocket","id":"2"})).await;
    socket.ask(json!({"channel":"/meta/subscribe","clientId":id,"subscription":"/a","id":"3"})).await;
    drop(socket);
    while running.server.stats().websockets.get() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.publish("/a", "1");
    running.publish("/a", "2");
    let mut socket = running.socket().await;
    socket.send(json!([{"channel":"/meta/connect","clientId":id,"connectionType":"websocket","id":"4"}])).await;
    assert_eq!(socket.next().await.unwrap()[0]["data"], 1);
    assert_eq!(socket.next().await.unwrap()[0]["data"], 2);
}

#[tokio::test]
async fn malformed_text_closes_the_socket_with_a_reason_and_the_server_goes_on() {
    let running = Running::start(ServerSettings::default()).await;
    let mut socket = running.socket().await;
    socket.0.send(Message::text("[{")).await.unwrap();
    let mut closed = None;
    while let Some(Ok(message)) = socket.0.next().await {
        if let Message::Close(frame) = message {
            closed = frame.map(|f| u16::from(f.code));
        }
    }
    assert_eq!(closed, Some(1011));
    running.socket().await.handshake().await;
}

#[tokio::test]
async fn a_subscriber_that_stops_reading_is_ended_by_the_queue_policy_and_others_go_on() {
    let queue = QueueLimits { max_messages: 100, max_bytes: 1 << 20, overflow: Overflow::Disconnect };
    let session = SessionOptions::same(Options { queue, ..Options::default() });
    let running = Running::start(ServerSettings { session, ..ServerSettings::default() }).await;
    let (mut slow, mut quick) = (running.socket().await, running.socket().await);
    for socket in [&mut slow, &mut quick] {
        let id = socket.handshake().await;
        socket.ask(json!({"channel":"/meta/connect","clientId":id,"connectionType":"websocket","id":"2"})).await;
        socket.ask(json!({"channel":"/meta/subscribe","clientId":id,"subscription":"/a","id":"3"})).await;
    }
    let big = format!("\"{}\"", "x".repeat(9_000));
    let mut sent = 0;
    while running.server.stats().sessions_overflowed.get() == 0 {
        running.publish("/a", &big);
        sent += 1;
        assert_eq!(quick.next().await.unwrap()[0]["channel"], "/a");
        assert!(sent < 10_000, "the slow one was never cut off");
    }
    assert_eq!(running.server.session_count(), 1);
    let mut got = 0;
    while slow.next().await.is_some() {
        got += 1;
    }
    assert!(got < sent, "closed, with {got} of {sent}");
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn post(client: &reqwest::Client, url: &str, cookie: &str, body: Value) -> (u16, Option<String>, Value) {
    let request = client.post(url).header("cookie", cookie).body(body.to_string());
    let response = request.send().await.unwrap();
    let cookie =
        response.headers().get("set-cookie").map(|c| c.to_str().unwrap().split(';').next().unwrap().to_owned());
    (response.status().as_u16(), cookie, serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null))
}

#[tokio::test]
async fn a_long_polling_session_is_woken_by_a_message_and_bound_to_its_cookie() {
    let running = Running::start(ServerSettings::default()).await;
    let (client, url) = (client(), running.url());
    let hello = json!([{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}]);
    let (_, cookie, reply) = post(&client, &format!("{url}/handshake"), "", hello).await;
    let (cookie, id) = (cookie.unwrap(), reply[0]["clientId"].as_str().unwrap().to_owned());
    let connect = json!([{"channel":"/meta/connect","clientId":id,"connectionType":"long-polling","id":"1"}]);
    let (_, _, reply) = post(&client, &url, "", connect.clone()).await;
    assert_eq!(reply[0]["error"], "402::session_unknown", "without the cookie");
    assert_eq!(post(&client, &url, &cookie, connect.clone()).await.2[0]["successful"], true);
    post(&client, &url, &cookie, json!([{"channel":"/meta/subscribe","clientId":id,"subscription":"/a"}])).await;

    let held = tokio::spawn({
        let (client, url, cookie) = (client.clone(), url.clone(), cookie.clone());
        async move { post(&client, &url, &cookie, connect).await.2 }
    });
    while running.server.stats().polls_held.get() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.publish("/a", "7");
    let response = held.await.unwrap();
    assert_eq!(response[0], json!({"channel":"/a","data":7}));
    assert_eq!(response[1]["channel"], "/meta/connect", "the connect reply is last");

    // A publisher's own copy rides in the response of its publish, before the reply.
    let (_, _, response) =
        post(&client, &url, &cookie, json!([{"channel":"/a","clientId":id,"data":8,"id":"9"}])).await;
    assert_eq!(response, json!([{"channel":"/a","data":8},{"channel":"/a","id":"9","successful":true}]));
}

#[tokio::test]
async fn a_newer_connect_ends_the_older_and_a_disconnect_releases_it() {
    let running = Running::start(ServerSettings::default()).await;
    let (client, url) = (client(), running.url());
    let hello = json!([{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}]);
    let (_, cookie, reply) = post(&client, &url, "", hello).await;
    let (cookie, id) = (cookie.unwrap(), reply[0]["clientId"].as_str().unwrap().to_owned());
    let connect = json!([{"channel":"/meta/connect","clientId":id,"connectionType":"long-polling","id":"1"}]);
    post(&client, &url, &cookie, connect.clone()).await;
    let spawn = || {
        let (client, url, cookie, connect) = (client.clone(), url.clone(), cookie.clone(), connect.clone());
        tokio::spawn(async move { post(&client, &url, &cookie, connect).await })
    };
    let first = spawn();
    while running.server.stats().polls_held.get() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let second = spawn();
    assert_eq!(first.await.unwrap().0, 500);
    let disconnect = json!([{"channel":"/meta/disconnect","clientId":id}]);
    assert_eq!(post(&client, &url, &cookie, disconnect).await.2[0]["successful"], true);
    let released = second.await.unwrap().2;
    assert_eq!((&released[0]["successful"], &released[0]["advice"]["reconnect"]), (&json!(true), &json!("none")));
}

#[tokio::test]
async fn callback_polling_calls_the_callback_and_bad_requests_are_told_so() {
    let running = Running::start(ServerSettings::default()).await;
    let (client, url) = (client(), running.url());
    let hello = r#"%5B%7B%22channel%22%3A%22%2Fmeta%2Fhandshake%22%2C%22version%22%3A%221.0%22%7D%5D"#;
    let response = client.get(format!("{url}?jsonp=cb&message={hello}")).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/javascript;charset=UTF-8");
    let text = response.text().await.unwrap();
    assert!(text.starts_with("cb([{\"channel\":\"/meta/handshake\"") && text.ends_with("])"), "{text}");
    assert_eq!(client.get(&url).send().await.unwrap().status(), 400);
    assert_eq!(client.put(&url).send().await.unwrap().status(), 400);
    let (status, _, body) = post(&client, &url, "", json!("no message")).await;
    assert_eq!((status, body), (400, json!([{"successful":false,"error":"400::json_invalid"}])));
    let form = client.post(format!("{url}/")).header("content-type", "application/x-www-form-urlencoded");
    let text = form.body(r#"[{"channel":"/meta/handshake"}]"#).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("\"successful\":true"), "JSON is taken whatever its content type is: {text}");
    let big = client.post(&url).body("x".repeat(70_000)).send().await.unwrap();
    assert_eq!(big.status(), 413);
    let foreign = client.post(&url).header("origin", "https://evil.example").body("[]").send().await.unwrap();
    assert_eq!(foreign.status(), 403);
}

#[tokio::test]
async fn sessions_without_a_connect_expire() {
    let session = SessionOptions::same(Options { max_interval: Duration::from_millis(300), ..Options::default() });
    let running = Running::start(ServerSettings { session, ..ServerSettings::default() }).await;
    let mut socket = running.socket().await;
    let id = socket.handshake().await;
    while running.server.stats().sessions_expired.get() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(running.server.session_count(), 0);
    let reply = socket.ask(json!({"channel":"/meta/connect","clientId":id,"connectionType":"websocket"})).await;
    assert_eq!((&reply["error"], &reply["advice"]["reconnect"]), (&json!("402::session_unknown"), &json!("handshake")));
    socket.handshake().await;
}

#[tokio::test]
async fn draining_answers_what_is_held_and_refuses_newcomers() {
    let running = Running::start(ServerSettings::default()).await;
    let mut socket = running.socket().await;
    let id = socket.handshake().await;
    socket.ask(json!({"channel":"/meta/connect","clientId":id,"connectionType":"websocket","id":"2"})).await;
    socket.send(json!([{"channel":"/meta/connect","clientId":id,"connectionType":"websocket","id":"3"}])).await;
    socket.ask(json!({"channel":"/meta/subscribe","clientId":id,"subscription":"/a","id":"4"})).await;
    running.server.drain();
    let reply = socket.next().await.unwrap().remove(0);
    assert_eq!((&reply["id"], &reply["successful"]), (&json!("3"), &json!(true)));
    assert_eq!(reply["advice"]["reconnect"], "retry");
    assert!(socket.next().await.is_none(), "then the socket is closed");
    let hello = json!([{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}]);
    let reply = post(&client(), &running.url(), "", hello).await.2;
    assert_eq!((&reply[0]["error"], &reply[0]["advice"]["reconnect"]), (&json!("503::draining"), &json!("handshake")));
}

#[tokio::test]
async fn a_client_that_came_back_by_another_socket_is_served_there_and_the_old_one_is_closed() {
    let running = Running::start(ServerSettings::default()).await;
    let mut old = running.socket().await;
    let id = old.handshake().await;
    old.ask(json!({"channel":"/meta/connect","clientId":id,"connectionType":"websocket","id":"2"})).await;
    old.ask(json!({"channel":"/meta/subscribe","clientId":id,"subscription":"/a","id":"3"})).await;
    let mut new = running.socket().await;
    new.send(json!([{"channel":"/meta/connect","clientId":id,"connectionType":"websocket","id":"4"}])).await;
    assert!(old.next().await.is_none(), "nobody needs it any more");
    running.publish("/a", "1");
    assert_eq!(new.next().await.unwrap()[0]["data"], 1);
}

#[tokio::test]
async fn a_polling_client_is_held_while_its_other_request_takes_time() {
    struct Slow;
    impl bayeux_server::hooks::Listener for Slow {
        fn publish(&self, _: &bayeux_server::hooks::Publish) -> bayeux_server::hooks::PublishFlow {
            bayeux_server::hooks::PublishFlow::Wait(Box::pin(std::future::pending()))
        }
        fn service(&self, _: &bayeux_server::hooks::Publish) -> Result<(), bayeux::reply::Refusal> {
            Ok(())
        }
        fn subscribe(
            &self,
            _: &Arc<bayeux_server::LiveSession>,
            _: &bayeux::channel::ChannelName,
            _: &bayeux::message::Message,
        ) -> bayeux_server::hooks::SubscribeFlow {
            bayeux_server::hooks::SubscribeFlow::Accept(bayeux_server::hooks::Begin::Now)
        }
        fn unsubscribed(&self, _: &bayeux_server::LiveSession, _: &bayeux::channel::ChannelName) {}
    }
    let running = Running::start_with(ServerSettings::default(), Arc::new(Slow)).await;
    let (client, url) = (client(), running.url());
    let hello = json!([{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}]);
    let (_, cookie, reply) = post(&client, &url, "", hello).await;
    let (cookie, id) = (cookie.unwrap(), reply[0]["clientId"].as_str().unwrap().to_owned());
    let connect = json!([{"channel":"/meta/connect","clientId":id,"connectionType":"long-polling","id":"1"}]);
    post(&client, &url, &cookie, connect.clone()).await;
    post(&client, &url, &cookie, json!([{"channel":"/meta/subscribe","clientId":id,"subscription":"/a"}])).await;
    let request = client.post(&url).header("cookie", &cookie).body(json!([{"channel":"/x","clientId":id}]).to_string());
    let publishing = tokio::spawn(request.send());
    let before = running.server.stats().messages_in.get();
    while running.server.stats().messages_in.get() == before && before < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let held = tokio::spawn({
        let (client, url, cookie) = (client.clone(), url.clone(), cookie.clone());
        async move { post(&client, &url, &cookie, connect).await.2 }
    });
    while running.server.stats().polls_held.get() == 0 {
        assert!(!held.is_finished(), "a client whose connects are answered at once would ask without end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.publish("/a", "1");
    assert_eq!(held.await.unwrap()[0]["data"], 1);
    publishing.abort();
}

#[tokio::test]
async fn nothing_follows_the_close_frame_and_what_waits_stays_with_the_session() {
    let running = Running::start(ServerSettings::default()).await;
    let mut socket = running.socket().await;
    let id = socket.handshake().await;
    socket.ask(json!({"channel":"/meta/connect","clientId":id,"connectionType":"websocket","id":"2"})).await;
    socket.ask(json!({"channel":"/meta/subscribe","clientId":id,"subscription":"/a","id":"3"})).await;
    socket.0.send(Message::Close(None)).await.unwrap();
    let mut closed = false;
    for n in 0..200 {
        running.publish("/a", &n.to_string());
        tokio::task::yield_now().await;
    }
    let mut got = 0;
    while let Some(Ok(message)) = socket.0.next().await {
        assert!(!closed, "a frame after the close frame: {message:?}");
        match message {
            Message::Close(_) => closed = true,
            _ => got += 1,
        }
    }
    let mut again = running.socket().await;
    again.send(json!([{"channel":"/meta/connect","clientId":id,"connectionType":"websocket","id":"4"}])).await;
    assert_eq!(again.next().await.unwrap()[0]["data"], got, "the first that was not sent comes first");
}

#[tokio::test]
async fn with_acknowledgement_a_lost_socket_loses_nothing_and_doubles_nothing() {
    let running = Running::start(ServerSettings::default()).await;
    let mut socket = running.socket().await;
    let hello = json!({"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"],
        "ext":{"ack":true,"timesync":{"tc":1000,"l":0,"o":0}}});
    let reply = socket.ask(hello).await;
    assert_eq!(reply["ext"]["ack"], true);
    assert_eq!(reply["ext"]["timesync"]["tc"], 1000);
    let id = reply["clientId"].as_str().unwrap().to_owned();
    let connect = |n: u64, ack: u64| json!([{"channel":"/meta/connect","clientId":id,"connectionType":"websocket","id":n.to_string(),"ext":{"ack":ack}}]);
    socket.send(connect(1, 0)).await;
    assert_eq!(socket.next().await.unwrap()[0]["ext"]["ack"], 1);
    socket.ask(json!({"channel":"/meta/subscribe","clientId":id,"subscription":"/a","id":"3"})).await;
    socket.send(connect(4, 1)).await;
    running.publish("/a", "1");
    assert_eq!(socket.next().await.unwrap()[0]["data"], 1);
    assert_eq!(socket.next().await.unwrap()[0]["ext"]["ack"], 2);
    running.publish("/a", "2"); // waits, as no connect is held
    drop(socket);

    // The client had seen batch 1 when its connection was cut: it never got batch 2.
    let mut socket = running.socket().await;
    socket.send(connect(5, 1)).await;
    assert_eq!(socket.next().await.unwrap()[0]["data"], 1);
    assert_eq!(socket.next().await.unwrap()[0]["data"], 2);
    assert_eq!(socket.next().await.unwrap()[0]["ext"]["ack"], 3);
    socket.send(connect(6, 3)).await;
    running.publish("/a", "3");
    assert_eq!(socket.next().await.unwrap()[0]["data"], 3);
    assert_eq!(
        socket.next().await.unwrap()[0],
        json!({"channel":"/meta/connect","id":"6","successful":true,"ext":{"ack":4}})
    );
}

#[tokio::test]
async fn with_acknowledgement_polls_get_messages_with_connects_only_and_again_until_acknowledged() {
    let running = Running::start(ServerSettings::default()).await;
    let (client, url) = (client(), running.url());
    let hello = json!([{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"],
        "ext":{"ack":true}}]);
    let (_, cookie, reply) = post(&client, &url, "", hello).await;
    let (cookie, id) = (cookie.unwrap(), reply[0]["clientId"].as_str().unwrap().to_owned());
    let connect = |ack: u64| {
        json!([{"channel":"/meta/connect","clientId":id,"connectionType":"long-polling","ext":{"ack":ack},
            "advice":{"timeout":0}}])
    };
    post(&client, &url, &cookie, connect(0)).await;
    let mine = json!([{"channel":"/meta/subscribe","clientId":id,"subscription":"/a"},{"channel":"/a","clientId":id,"data":1}]);
    let reply = post(&client, &url, &cookie, mine).await.2;
    assert_eq!(reply.as_array().unwrap().len(), 2, "replies only: {reply}");
    for (ack, batch) in [(1, 2), (1, 3)] {
        let reply = post(&client, &url, &cookie, connect(ack)).await.2;
        assert_eq!((&reply[0]["data"], &reply[1]["ext"]["ack"]), (&json!(1), &json!(batch)));
    }
    let reply = post(&client, &url, &cookie, connect(3)).await.2;
    assert_eq!(reply.as_array().unwrap().len(), 1, "acknowledged: {reply}");
}
