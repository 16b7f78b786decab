//! What an operator relies on: an orderly end, probes that tell the truth, metrics, and traces that go through.

use gateway_tests::bayeux::{Client, Transport, Window, answer, answer_within, handshake_body, http_client, messages};
use gateway_tests::gateway::{Gateway, Until};
use gateway_tests::kafka::{counts, dump, new_topic};
use gateway_tests::lab::{Broker, Kind, free_ports};
use gateway_tests::nats::Nats;
use gateway_tests::story::aside;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

fn config(kafka: &Broker, topic: &str) -> String {
    format!(
        "
connectors:
  orders: {{ kafka: {{ brokers: [\"{}\"] }} }}
mappings:
  - {{ channel: \"/orders/{{id}}\", connector: orders, topic: {topic}, key: \"{{id}}\", direction: both }}
services:
  - {{ channel: /service/echo, builtin: echo }}
",
        kafka.url()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_acknowledges_what_is_in_flight_releases_the_clients_and_exits_with_0() {
    let kafka = Broker::shared(Kind::Kafka);
    let topic = aside(|| new_topic(&kafka, "drain", 3));
    let mut gateway = Gateway::start(&config(&kafka, &topic));
    let held: Vec<Client> = vec![Client::websocket(&gateway.url()).await, Client::long_polling(&gateway.url()).await];
    let publisher = Client::websocket(&gateway.url()).await;
    assert!(answer(publisher.publish("/orders/a", r#""first""#)).await.ok());

    let in_flight: Vec<_> = (0..500).map(|n| publisher.publish("/orders/a", &n.to_string())).collect();
    tokio::time::sleep(Duration::from_millis(30)).await; // some are at the broker, some are not
    gateway.terminate();
    let mut acknowledged = Vec::new();
    for (n, pending) in in_flight.into_iter().enumerate() {
        if answer_within(pending, Duration::from_secs(20)).await.is_some_and(|reply| reply.ok()) {
            acknowledged.push(n.to_string());
        }
    }
    assert_eq!(aside(|| gateway.wait()), Some(0), "{}", gateway.log());

    let stored = aside(|| dump(&kafka, &topic));
    let counts = counts(&stored);
    for n in &acknowledged {
        assert_eq!(counts.get(n.as_str()), Some(&1), "{n} was acknowledged");
    }
    println!("{} of 500 in flight were acknowledged, {} are stored", acknowledged.len(), stored.len() - 1);
    assert_eq!(stored.len() - 1, acknowledged.len(), "what is stored was acknowledged before the end");

    for client in held {
        let fault = client.first_fault().await; // the line ends; no connect was refused before
        assert!(!fault.contains("connect refused"), "a held connect is released with success: {fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_connect_is_answered_when_the_gateway_drains_and_tells_the_client_to_retry() {
    let mut gateway = Gateway::start("{}");
    let http = http_client();
    let response = http.post(gateway.url()).body(handshake_body()).send().await.unwrap();
    let cookie = response.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let id = messages(&response.text().await.unwrap()).remove(0).client_id.unwrap();
    let connect = |advice: Value| {
        let mut message =
            json!({"channel": "/meta/connect", "id": "1", "clientId": id, "connectionType": "long-polling"});
        if !advice.is_null() {
            message["advice"] = advice;
        }
        http.post(gateway.url()).header("cookie", &cookie).body(json!([message]).to_string()).send()
    };
    connect(json!({"timeout": 0})).await.unwrap();
    let held = tokio::spawn(connect(Value::Null));
    tokio::time::sleep(Duration::from_millis(300)).await; // until it is held; nothing tells
    gateway.terminate();
    let body = held.await.unwrap().expect("an answer, not a broken line").text().await.unwrap();
    let reply = messages(&body).pop().unwrap();
    assert!(reply.ok(), "{body}");
    assert_eq!(reply.advice["reconnect"], "retry", "never `none`, or CometD's clients stay away: {body}");
    assert!(reply.advice["interval"].is_u64(), "spread over time: {body}");
    assert_eq!(aside(|| gateway.wait()), Some(0), "{}", gateway.log());
}

#[test]
fn the_probes_tell_each_connectors_state_and_reason() {
    let nats = Broker::own(Kind::Nats, &[]);
    let kafka_port = free_ports(1); // nobody there
    let yaml = format!(
        "
connectors:
  events: {{ nats: {{ servers: [\"{}\"] }} }}
  extra: {{ kafka: {{ brokers: [\"127.0.0.1:{kafka_port}\"] }}, required: false }}
mappings:
  - {{ channel: /events, connector: events, topic: events, direction: both }}
",
        nats.url()
    );
    let gateway = Gateway::start(&yaml);
    assert_eq!(gateway.admin_get("/livez").0, 200);
    let (status, body) = gateway.admin_get("/readyz");
    assert_eq!(status, 200, "what is not required may be absent: {body}");
    let ready: Value = serde_json::from_str(&body).expect("JSON");
    assert!(body.contains("events") && body.contains("extra"), "{ready}");

    nats.kill();
    let degraded = wait_for(&gateway, |status, ready| status == 200 && ready["status"] == "degraded");
    assert!(degraded.to_string().contains("events"), "names who: {degraded}");
    nats.start();
    wait_for(&gateway, |status, ready| status == 200 && !ready["connectors"]["events"].to_string().contains("down"));
}

#[test]
fn a_required_broker_that_was_never_there_keeps_it_from_being_ready() {
    let port = free_ports(1).to_string();
    let yaml = format!(
        "
connectors:
  events: {{ nats: {{ servers: [\"nats://127.0.0.1:{port}\"] }} }}
mappings:
  - {{ channel: /events, connector: events, topic: events, direction: both }}
"
    );
    let gateway = Gateway::start_when(Some(&yaml), Until::Live, &[]);
    let (status, body) = gateway.admin_get("/readyz");
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("events"), "{body}");
    // The broker appears; nobody touches the gateway.
    let monitor = free_ports(1).to_string();
    let _nats = Broker::own(Kind::Nats, &[("NATS_PORT", &port), ("NATS_MONITOR_PORT", &monitor)]);
    wait_for_text(&gateway, "ready", |status, _| status == 200);
}

fn wait_for(gateway: &Gateway, fits: impl Fn(u16, &Value) -> bool) -> Value {
    let body =
        wait_for_text(gateway, "the state", |status, body| fits(status, &serde_json::from_str(body).expect("JSON")));
    serde_json::from_str(&body).expect("JSON")
}

fn wait_for_text(gateway: &Gateway, what: &str, fits: impl Fn(u16, &str) -> bool) -> String {
    let limit = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let (status, body) = gateway.admin_get("/readyz");
        if fits(status, &body) {
            return body;
        }
        assert!(std::time::Instant::now() < limit, "waited for {what}: {status} {body}");
        std::thread::sleep(Duration::from_millis(50)); // a probe is asked, it does not tell by itself
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_sessions_and_messages_by_mapping() {
    let kafka = Broker::shared(Kind::Kafka);
    let topic = aside(|| new_topic(&kafka, "metrics", 1));
    let gateway = Gateway::start(&config(&kafka, &topic));
    let mut client = Client::websocket(&gateway.url()).await;
    client.subscribe("/orders/*").await;
    let mut window = Window::new(50);
    for n in 0..50 {
        window.add([client.publish("/orders/a", &n.to_string())]).await;
    }
    assert!(window.finish().await.iter().all(gateway_tests::bayeux::Message::ok));
    client.take(50).await;
    let (status, text) = gateway.admin_get("/metrics");
    assert_eq!(status, 200);
    let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let has = |word: &str, value: &str| samples.iter().any(|line| line.contains(word) && line.ends_with(value));
    assert!(has("session", " 1"), "one session:\n{text}");
    assert!(has("ingest", " 50"), "fifty into the broker:\n{text}");
    assert!(has("egress", " 50"), "fifty out of it:\n{text}");
    assert!(samples.iter().any(|line| line.contains("/orders/{id}")), "by mapping:\n{text}");
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_from_a_browser_through_kafka_and_back_to_browsers() {
    let kafka = Broker::shared(Kind::Kafka);
    let topic = aside(|| new_topic(&kafka, "trace", 1));
    let gateway = Gateway::start(&config(&kafka, &topic));
    for transport in [Transport::WebSocket, Transport::LongPolling] {
        let mut client = Client::connect(&gateway.url(), transport).await;
        client.subscribe("/orders/*").await;
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let message = json!({"channel": "/orders/a", "data": {"n": 1}, "ext": {"traceparent": parent}});
        assert!(answer(client.ask(message)).await.ok());
        let delivery = client.next().await;
        assert!(delivery.ext["traceparent"].as_str().is_some_and(|t| t.contains(TRACE)), "{delivery:?}");
    }
    for record in aside(|| dump(&kafka, &topic)) {
        assert!(record.headers.contains(&format!("traceparent=00-{TRACE}-")), "{}", record.headers);
        assert!(record.headers.contains("bayeux-channel=/orders/a"), "{}", record.headers);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_from_a_backend_through_kafka_to_browsers() {
    let kafka = Broker::shared(Kind::Kafka);
    let topic = aside(|| new_topic(&kafka, "trace", 1));
    let gateway = Gateway::start(&config(&kafka, &topic));
    let mut client = Client::websocket(&gateway.url()).await;
    client.subscribe("/orders/*").await;
    let header = format!("traceparent=00-{TRACE}-00f067aa0ba902b7-01");
    aside(|| kafka.run_with_input(&["produce", &topic, "-K:", "-H", &header], b"a:{\"n\":2}\n"));
    let delivery = client.next().await;
    assert_eq!(delivery.text(), r#"{"n":2}"#);
    assert!(delivery.ext["traceparent"].as_str().is_some_and(|t| t.contains(TRACE)), "{delivery:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_of_the_http_request_is_taken_when_the_message_has_none() {
    let nats = Broker::shared(Kind::Nats);
    let subject = gateway_tests::kafka::unique("trace");
    let mut tool = Nats::connect(&nats.url());
    tool.subscribe(&subject);
    let gateway = Gateway::start(&format!(
        "
connectors:
  events: {{ nats: {{ servers: [\"{}\"] }} }}
mappings:
  - {{ channel: /events, connector: events, topic: {subject}, direction: both }}
",
        nats.url()
    ));
    let http = http_client();
    let response = http.post(gateway.url()).body(handshake_body()).send().await.unwrap();
    let cookie = response.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let id = messages(&response.text().await.unwrap()).remove(0).client_id.unwrap();
    let publish = json!([{"channel": "/events", "id": "1", "clientId": id, "data": 1}]).to_string();
    let request = http.post(gateway.url()).header("cookie", &cookie);
    let request = request.header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"));
    let reply = request.body(publish).send().await.unwrap().text().await.unwrap();
    assert!(messages(&reply)[0].ok(), "{reply}");
    let message = aside(|| tool.next());
    assert!(message.headers.contains(&format!("traceparent: 00-{TRACE}-")), "{}", message.headers);
    assert!(message.headers.contains("bayeux-channel: /events"), "{}", message.headers);
}

#[test]
fn mosquitto_sub_sees_the_trace_as_a_user_property() {
    let mqtt = Broker::shared(Kind::Mosquitto);
    let prefix = gateway_tests::kafka::unique("trace");
    let gateway = Gateway::start(&format!(
        "
connectors:
  sensors: {{ mqtt: {{ url: \"{}\", client_id: {prefix} }} }}
mappings:
  - {{ channel: \"/sensors/{{id}}\", connector: sensors, topic: \"{prefix}/{{id}}\", direction: both }}
",
        mqtt.url()
    ));
    let arguments = ["sub", "-V", "5", "-q", "1", "-t", &format!("{prefix}/#"), "-C", "1", "-W", "20", "-F", "%P %p"];
    let mut command: Command = mqtt.command(&arguments);
    let witness = command.stdout(std::process::Stdio::piped()).spawn().expect("mosquitto_sub runs");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = Client::websocket(&gateway.url()).await;
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        // Until the witness has subscribed, which nothing tells.
        for n in 0..20 {
            let message = json!({"channel": "/sensors/a", "data": n, "ext": {"traceparent": parent}});
            assert!(answer(client.ask(message)).await.ok());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let output = witness.wait_with_output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.contains(&format!("traceparent:00-{TRACE}-")), "{printed}");
}
