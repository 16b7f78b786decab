//! What is wrong gets a clear error each time, and an honest session beside it never notices.

#![allow(clippy::unwrap_used)] // the helpers of a test are tests as well

use futures_util::{SinkExt as _, StreamExt as _};
use gateway_tests::bayeux::{
    self, Client, PATIENCE, Socket, answer, dial, handshake_body, handshake_over, http_client,
};
use gateway_tests::gateway::{Gateway, cli, printed, write_config};
use gateway_tests::honest::Honest;
use gateway_tests::kafka::{new_topic, unique};
use gateway_tests::lab::{Broker, Kind};
use gateway_tests::story::aside;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message as Frame;

/// An HTTP session by hand: answers with status and body, whatever they are.
struct Http {
    client: reqwest::Client,
    url: String,
    cookie: String,
    id: String,
}

impl Http {
    async fn handshake(url: &str) -> Http {
        let client = http_client();
        let response = client.post(url).body(handshake_body()).send().await.expect("an answer");
        let cookie = response.headers()["set-cookie"].to_str().expect("text").split(';').next().unwrap().to_owned();
        let reply = bayeux::messages(&response.text().await.expect("a body")).remove(0);
        Http { client, url: url.to_owned(), cookie, id: reply.client_id.expect("a client id") }
    }

    async fn post(&self, body: impl Into<reqwest::Body>) -> (u16, String) {
        let request = self.client.post(&self.url).header("content-type", "application/json");
        let response = request.header("cookie", &self.cookie).body(body).send().await.expect("an answer");
        (response.status().as_u16(), response.text().await.expect("a body"))
    }

    async fn message(&self, mut message: Value) -> bayeux::Message {
        message["clientId"] = self.id.clone().into();
        let (status, body) = self.post(json!([message]).to_string()).await;
        assert_eq!(status, 200, "{message}: {body}");
        bayeux::messages(&body).pop().unwrap_or_else(|| panic!("no reply to {message}"))
    }
}

/// The code of the close frame, whatever comes before it.
async fn close_code(socket: &mut Socket) -> (u16, String) {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("the end in time") {
            Some(Ok(Frame::Close(Some(frame)))) => return (frame.code.into(), frame.reason.to_string()),
            Some(Ok(Frame::Close(None))) => panic!("closed without a code"),
            Some(Ok(_)) => {}
            other => panic!("no close frame: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_json_is_a_400_or_the_end_of_the_socket() {
    let gateway = Gateway::start("{}");
    let honest = Honest::start(&gateway.url(), "/honest").await;
    let http = Http::handshake(&gateway.url()).await;
    for bad in ["", "[", "hello", "{\"channel\":", "[{\"channel\":\"/a\",}]", "[{}", "\"text\"", "17", "null", "[1]"] {
        let (status, body) = http.post(bad).await;
        assert_eq!(status, 400, "{bad:?} answered {body}");
        assert!(!body.is_empty(), "{bad:?}: the answer says what is wrong");
    }
    let deep = "[".repeat(50_000);
    assert_eq!(http.post(deep).await.0, 400, "fifty thousand brackets");
    // The session is as it was.
    assert!(http.message(json!({"channel": "/a", "id": "1", "data": 1})).await.ok());

    for bad in ["[", "hello", "{\"channel\":", "[{}"] {
        let mut socket = dial(&gateway.url(), None).await;
        handshake_over(&mut socket).await;
        socket.send(Frame::text(bad)).await.unwrap();
        let (code, reason) = close_code(&mut socket).await;
        assert_eq!(code, 1011, "{bad:?}: {reason}");
        assert!(!reason.is_empty(), "{bad:?}: the close frame says what is wrong");
    }
    honest.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_types_are_refused_one_by_one_and_never_crash() {
    let gateway = Gateway::start("{}");
    let honest = Honest::start(&gateway.url(), "/honest").await;
    let http = Http::handshake(&gateway.url()).await;
    let client = &http.id;
    // Fields of a type that the protocol does not know: an error either for the message or for the request.
    for bad in [
        json!({"channel": 5, "data": 1}),
        json!({"channel": ["/a"], "data": 1}),
        json!({"channel": null, "data": 1}),
        json!({"channel": {}, "data": 1}),
        json!({"data": 1}),
        json!({"channel": "/a", "id": {}, "data": 1}),
        json!({"channel": "/meta/subscribe", "subscription": 5}),
        json!({"channel": "/meta/subscribe", "subscription": [5]}),
        json!({"channel": "/meta/subscribe", "subscription": {"a": 1}}),
        json!({"channel": "/meta/subscribe"}),
        json!({"channel": "/meta/unsubscribe", "subscription": 7}),
    ] {
        let mut message = bad.clone();
        message["clientId"] = client.clone().into();
        let (status, body) = http.post(json!([message]).to_string()).await;
        if status == 200 {
            let reply = bayeux::messages(&body).pop().unwrap_or_else(|| panic!("{bad}: no reply"));
            assert_eq!(reply.successful, Some(false), "{bad}: {body}");
            let code = reply.error().split(':').next().unwrap_or_default();
            assert!(code.len() == 3 && code.starts_with('4'), "{bad}: {body}");
        } else {
            assert_eq!(status, 400, "{bad}: {body}");
        }
    }
    for (clients, what) in [(json!(5), "a number"), (json!("nobody"), "a stranger"), (json!(null), "nothing")] {
        let (status, body) = http.post(json!([{"channel": "/a", "data": 1, "clientId": clients}]).to_string()).await;
        assert!(status == 400 || body.contains("402::session_unknown"), "client id {what}: {status} {body}");
    }
    assert!(http.message(json!({"channel": "/a", "id": "1", "data": 1})).await.ok(), "the session is as it was");
    honest.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_channels_are_named_in_the_refusal() {
    let gateway = Gateway::start("bayeux: { unmapped_channels: deny, unmapped_services: refuse }");
    let http = Http::handshake(&gateway.url()).await;
    for (channel, code) in [("nowhere", "405:"), ("/", "405:"), ("/a//b", "405:"), ("/nowhere", "403:"), ("/a/*", "40")]
    {
        let reply = http.message(json!({"channel": channel, "id": "1", "data": 1})).await;
        assert_eq!(reply.successful, Some(false), "publish {channel}: {reply:?}");
        assert!(reply.error().starts_with(code), "publish {channel}: {}", reply.error());
    }
    for (channel, code) in [("/nowhere", "403:"), ("/a/*/b", "403:"), ("/meta/connect", "403:"), ("nowhere", "40")] {
        let reply = http.message(json!({"channel": "/meta/subscribe", "id": "1", "subscription": channel})).await;
        assert_eq!(reply.successful, Some(false), "subscribe {channel}: {reply:?}");
        assert!(reply.error().starts_with(code), "subscribe {channel}: {}", reply.error());
    }
    for channel in ["/service/nobody", "/meta/nothing"] {
        let reply = http.message(json!({"channel": channel, "id": "1", "data": 1})).await;
        assert_eq!(reply.successful, Some(false), "{channel}: {reply:?}");
        assert!(reply.error().starts_with("40"), "{channel}: {}", reply.error());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_megabytes_are_refused_unread_or_at_least_unharmed() {
    let gateway = Gateway::start("{}");
    let honest = Honest::start(&gateway.url(), "/honest").await;
    let http = Http::handshake(&gateway.url()).await;
    let huge = format!(r#"[{{"channel":"/a","clientId":"{}","data":"{}"}}]"#, http.id, "x".repeat(10_000_000));

    // The gateway may close before it has read all of it; then the client may see that instead of the status.
    let request = http.client.post(&http.url).header("cookie", &http.cookie).body(huge.clone());
    match request.send().await {
        Ok(response) => {
            assert_eq!(response.status().as_u16(), 413);
            assert!(!response.text().await.unwrap_or_default().is_empty(), "the answer says what is wrong");
        }
        Err(error) => assert!(error.is_request() || error.is_body(), "{error:?}"),
    }

    let mut socket = dial(&gateway.url(), None).await;
    handshake_over(&mut socket).await;
    let _ = socket.send(Frame::text(huge)).await; // may break off
    let mut code = None;
    while let Ok(Some(frame)) = tokio::time::timeout(PATIENCE, socket.next()).await {
        match frame {
            Ok(Frame::Close(frame)) => code = frame.map(|f| u16::from(f.code)),
            Ok(_) => {}
            Err(_) => break, // reset, as the rest of the ten megabytes was never read
        }
    }
    assert!(code.is_none_or(|code| code == 1009), "closed {code:?}");

    // Just too much is told for certain.
    let mut socket = dial(&gateway.url(), None).await;
    let id = handshake_over(&mut socket).await.client_id.unwrap();
    let data = "x".repeat(70 * 1024);
    let big = format!(r#"[{{"channel":"/a","clientId":"{id}","data":"{data}"}}]"#);
    socket.send(Frame::text(big.clone())).await.unwrap();
    assert_eq!(close_code(&mut socket).await.0, 1009);
    assert_eq!(http.post(big).await.0, 413);

    assert!(http.message(json!({"channel": "/a", "id": "1", "data": 1})).await.ok(), "the session is as it was");
    honest.finish().await;
}

#[test]
fn an_unknown_connector_in_the_config_is_shown_where_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let yaml = "\
connectors:
  orders: { memory: {} }
mappings:
  - channel: /orders/{id}
    connector: ordres
    topic: orders
    key: \"{id}\"
    direction: both
";
    let path = write_config(dir.path(), yaml);
    for arguments in [vec!["check", "--config"], vec!["--config"]] {
        let mut arguments = arguments;
        arguments.push(path.to_str().unwrap());
        let output = cli(&arguments);
        let printed = printed(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {printed}");
        assert!(printed.contains("ordres"), "names it: {printed}");
        assert!(printed.contains("gateway.yaml:5:") || printed.contains("gateway.yaml:5"), "says where: {printed}");
        assert!(printed.contains("connector: ordres"), "shows the line: {printed}");
        assert!(printed.contains("`orders`") || printed.contains("orders?"), "suggests: {printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_told_and_not_made() {
    let kafka = Broker::shared(Kind::Kafka);
    let (topic, missing) = aside(|| (new_topic(&kafka, "there", 1), unique("missing")));
    let gateway = Gateway::start(&format!(
        "
connectors:
  log: {{ kafka: {{ brokers: [\"{}\"] }} }}
mappings:
  - {{ channel: /there, connector: log, topic: {topic}, direction: both }}
  - {{ channel: /missing, connector: log, topic: {missing}, direction: ingest }}
  - {{ channel: \"/family/{{name}}\", connector: log, topic: \"{missing}.{{name}}\", direction: ingest }}
",
        kafka.url()
    ));
    let honest = Honest::start(&gateway.url(), "/there").await;
    let client = Client::websocket(&gateway.url()).await;
    for channel in ["/missing", "/family/member"] {
        let reply = answer(client.publish(channel, "1")).await;
        assert_eq!(reply.successful, Some(false));
        assert!(reply.error().starts_with(&format!("404:{channel}:topic_unknown")), "{channel}: {}", reply.error());
    }
    let long = format!("/family/{}", "n".repeat(249));
    let reply = answer(client.publish(&long, "1")).await;
    assert!(reply.error().starts_with(&format!("400:{long}:topic_invalid")), "{}", reply.error());
    honest.finish().await;
    assert!(!aside(|| kafka.run(&["topics"])).contains(&missing), "a browser's publish makes no topic");
}

/// A server that accepts, reads, and never answers.
async fn hanging_server() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            held.push(socket);
        }
    });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_hangs_fails_by_its_timeout_and_delays_nothing_else() {
    let gateway = Gateway::start(&format!(
        "
services:
  - {{ channel: /service/hang, http: {{ url: \"{}/\" }}, timeout: 3s }}
  - {{ channel: /service/gone, http: {{ url: \"http://127.0.0.1:9/\" }}, timeout: 3s }}
  - {{ channel: /service/echo, builtin: echo }}
",
        hanging_server().await
    ));
    let honest = Honest::start(&gateway.url(), "/honest").await;
    for client in [Client::websocket(&gateway.url()).await, Client::long_polling(&gateway.url()).await] {
        let begin = Instant::now();
        let hung: Vec<_> = (0..20).map(|n| client.start_call("/service/hang", &n.to_string())).collect();
        for n in 0..20 {
            // In the same session, behind twenty calls that hang.
            let reply = client.call("/service/echo", &n.to_string()).await;
            assert_eq!((reply.successful, reply.text()), (Some(true), n.to_string().as_str()));
        }
        assert!(begin.elapsed() < Duration::from_secs(3), "the echoes did not wait for the hung calls");
        for reply in hung {
            let reply = answer(reply).await;
            assert_eq!(reply.successful, Some(false), "{reply:?}");
            assert!(reply.error().starts_with("504:/service/hang:"), "says that it took too long: {reply:?}");
            assert_eq!(reply.value()["code"], 504, "for programs: {reply:?}");
        }
        let reply = client.call("/service/gone", "1").await;
        assert_eq!(reply.successful, Some(false), "{reply:?}");
        assert!(reply.error().starts_with("503:/service/gone:"), "says that nobody is there: {reply:?}");
    }
    honest.finish().await;
}
