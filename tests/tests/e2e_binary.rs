//! CometD's binary extension: an ArrayBuffer goes from one unchanged npm client to another, and is these very bytes in
//! the broker between them.

#![allow(clippy::unwrap_used)] // the helpers of a test are tests as well

use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gateway_tests::bayeux::{Client, Message, answer};
use gateway_tests::gateway::Gateway;
use gateway_tests::kafka::{new_topic, unique};
use gateway_tests::lab::{Broker, Kind};
use gateway_tests::nats::Nats;
use gateway_tests::node;
use gateway_tests::story::aside;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

const ECHO: &str = "
services:
  - { channel: /service/echo, builtin: echo }
";

/// What a broker holds of one chunk: its bytes, and its headers in the broker's own writing.
struct Held {
    value: Vec<u8>,
    headers: String,
}

/// The bytes of the chunk of that length, as `binary.mjs` makes them.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from((length * 31 + i * 7) % 256).unwrap()).collect()
}

/// Two applications exchange chunks of up to `max` bytes and compare them: the lengths.
fn exchange(gateway: &Gateway, transport: &str, version: &str, channel: &str, max: usize, step: usize) -> Vec<usize> {
    let numbers = [max.to_string(), step.to_string()];
    let seen = node::run("binary.mjs", &[&gateway.url(), transport, version, channel, &numbers[0], &numbers[1]]);
    assert_eq!(seen["faults"], json!([]));
    assert_eq!(seen["echoed"], "as it was", "what the gateway echoes is as binary as the question");
    let lengths: Vec<usize> = serde_json::from_value(seen["lengths"].clone()).unwrap();
    assert_eq!(seen["heard"], lengths.len());
    lengths
}

/// The broker holds the bytes themselves, and `last` and `meta` beside them.
fn assert_held(lengths: &[usize], held: &[Held]) {
    assert_eq!(held.len(), lengths.len());
    for (&length, Held { value, headers }) in lengths.iter().zip(held) {
        assert_eq!(value, &bytes(length));
        let last = format!("bayeux-binary-last{{}}{}", length % 3 != 0);
        let written = |sign: &str| headers.contains(&last.replace("{}", sign));
        assert!([": ", "=", ":"].into_iter().any(written), "{length}: {headers}");
        let meta = format!(
            r#"{{"length":{length},"name":"gr\u00fcn \"\u20ac\" \ud83d\ude00\n","list":[1.5,{{"deep":null}}]}}"#
        );
        assert_eq!(headers.contains(&meta), length % 2 == 1, "{length}: {headers}");
        assert_eq!(headers.contains("bayeux-binary-meta"), length % 2 == 1, "{length}: {headers}");
    }
}

fn mapping(connector: &str, topic: &str, more: &str) -> String {
    format!(
        "
connectors:
  store: {connector}
mappings:
  - {{ channel: /chunks, connector: store, topic: {topic}, {more} }}
{ECHO}"
    )
}

fn kafka_connector(kafka: &Broker) -> String {
    format!("{{ kafka: {{ brokers: [\"{}\"] }} }}", kafka.url())
}

/// All that a topic of one partition holds, as kcat reads it.
fn kafka_holds(kafka: &Broker, topic: &str) -> Vec<Held> {
    let servers = kafka.url();
    let arguments = ["-b", &servers, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%S\t%h\t%s"];
    let output = Command::new("kcat").args(arguments).output().unwrap();
    assert!(output.status.success(), "kcat: {}", String::from_utf8_lossy(&output.stderr));
    let mut rest = &output.stdout[..];
    let mut held = Vec::new();
    while !rest.is_empty() {
        let mut field = || {
            let end = rest.iter().position(|byte| *byte == b'\t').unwrap();
            let text = String::from_utf8(rest[..end].to_vec()).unwrap();
            rest = &rest[end + 1..];
            text
        };
        // A tombstone has the length -1.
        let (length, headers) = (field().parse::<usize>().unwrap_or(0), field());
        held.push(Held { value: rest[..length].to_vec(), headers });
        rest = &rest[length..];
    }
    held
}

#[test]
fn bytes_go_from_browser_to_browser_over_a_plain_channel_with_or_without_the_option() {
    for (transport, version, extensions) in [("websocket", "9", "[binary]"), ("long-polling", "8", "[]")] {
        let gateway = Gateway::start(&format!("bayeux: {{ extensions: {extensions} }}\n{ECHO}"));
        assert_eq!(exchange(&gateway, transport, version, "/chunks", 1000, 97).len(), 17);
    }
}

#[test]
fn bytes_go_through_memory() {
    let gateway = Gateway::start(&mapping("{ memory: {} }", "chunks", "format: binary"));
    assert_eq!(exchange(&gateway, "websocket", "8", "/chunks", 1000, 1).len(), 1001);
}

#[test]
fn bytes_are_bytes_in_kafka() {
    let kafka = Broker::shared(Kind::Kafka);
    for (transport, version, step) in [("websocket", "9", 1), ("long-polling", "9", 53)] {
        let topic = new_topic(&kafka, "chunks", 1);
        let gateway = Gateway::start(&mapping(&kafka_connector(&kafka), &topic, "format: binary"));
        let lengths = exchange(&gateway, transport, version, "/chunks", 1000, step);
        assert_held(&lengths, &kafka_holds(&kafka, &topic));
    }
}

#[test]
fn bytes_are_bytes_in_jetstream() {
    let nats = Broker::shared(Kind::Nats);
    let subject = unique("chunks");
    let mut tool = Nats::connect(&nats.url());
    tool.make_stream(&subject, &[&subject]);
    let connector = format!("{{ nats: {{ servers: [\"{}\"], jetstream: true }} }}", nats.url());
    let gateway = Gateway::start(&mapping(&connector, &subject, "format: binary"));
    let lengths = exchange(&gateway, "websocket", "9", "/chunks", 1000, 1);
    let decoded = |text: &Value| STANDARD.decode(text.as_str().unwrap_or_default()).unwrap();
    let held: Vec<Held> = (1..=tool.stream_len(&subject))
        .map(|n| {
            let stored = &tool.jetstream(&format!("STREAM.MSG.GET.{subject}"), &json!({ "seq": n }))["message"];
            Held { value: decoded(&stored["data"]), headers: String::from_utf8(decoded(&stored["hdrs"])).unwrap() }
        })
        .collect();
    assert_held(&lengths, &held);
}

#[test]
fn bytes_are_bytes_in_mqtt_and_none_at_all_is_no_missing_message() {
    let mqtt = Broker::shared(Kind::Mosquitto);
    let prefix = unique("chunks");
    let connector = format!("{{ mqtt: {{ url: \"{}\", client_id: {prefix} }} }}", mqtt.url());
    let gateway = Gateway::start(&mapping(&connector, &format!("{prefix}/data"), "format: binary"));

    // A retained message is the sign that the witness is subscribed.
    let sign = format!("{prefix}/sign");
    mqtt.run(&["pub", "-q", "1", "-r", "-t", &sign, "-m", "ready"]);
    let filter = format!("{prefix}/#");
    let arguments = ["sub", "-V", "5", "-q", "1", "-k", "600", "-C", "1002", "-W", "60", "-t", &filter, "-F", "%x\t%P"];
    let mut witness = mqtt.command(&arguments).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(witness.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("7265616479\t"));

    let lengths = exchange(&gateway, "websocket", "9", "/chunks", 1000, 1);
    let held: Vec<Held> = lines
        .map(|line| {
            let (hex, headers) = line.split_once('\t').unwrap();
            let byte = |i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap();
            Held { value: (0..hex.len()).step_by(2).map(byte).collect(), headers: headers.to_owned() }
        })
        .collect();
    witness.wait().unwrap();
    mqtt.run(&["pub", "-q", "1", "-r", "-n", "-t", &sign]);
    assert_held(&lengths, &held);
}

#[test]
fn a_json_mapping_stores_the_text_and_clients_still_get_bytes() {
    let kafka = Broker::shared(Kind::Kafka);
    let topic = new_topic(&kafka, "json", 1);
    let gateway = Gateway::start(&mapping(&kafka_connector(&kafka), &topic, "format: json"));
    let lengths = exchange(&gateway, "websocket", "9", "/chunks", 300, 29);
    let held = kafka_holds(&kafka, &topic);
    assert_eq!(held.len(), lengths.len());
    for (length, Held { value, headers }) in lengths.iter().zip(held) {
        let stored: Value = serde_json::from_slice(&value).unwrap();
        assert_eq!(stored["data"].as_str().unwrap().len(), length + length.div_ceil(4));
        assert!(headers.contains("bayeux-binary=z85"), "{headers}");
    }
}

async fn publish(client: &Client, channel: &str, data: Value, ext: Value) -> Message {
    answer(client.ask(json!({ "channel": channel, "data": data, "ext": ext }))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backend_stores_and_what_an_old_client_publishes_arrive_as_chunks() {
    let kafka = Broker::shared(Kind::Kafka);
    let topic = aside(|| new_topic(&kafka, "backend", 1));
    let gateway = Gateway::start(&mapping(&kafka_connector(&kafka), &topic, "format: binary"));
    let mut client = Client::long_polling(&gateway.url()).await;
    client.subscribe("/chunks").await;

    aside(|| kafka.run_with_input(&["produce", &topic], b"\x86\x4f\xd2\x6f\xb5\x59\xf7\x5b\n"));
    let message = client.next().await;
    assert_eq!(message.text(), r#"{"data":"HelloWorld","last":true}"#);
    assert_eq!(message.ext["binary"], json!({}));

    // Base64 without the extension, which other clients decode as well.
    assert!(publish(&client, "/chunks", json!("hk/Sb7VZ9w=="), json!({})).await.ok());
    assert_eq!(client.next().await.text(), r#"{"data":"HelloWork","last":true}"#);
    // A tombstone of another producer is nothing, not an empty chunk.
    let tombstone = ["produce", &topic, "-K:", "-Z"];
    aside(|| kafka.run_with_input(&tombstone, b"key:\n"));
    let message = client.next().await;
    assert_eq!((message.text(), &message.ext["binary"]), ("null", &Value::Null));

    let held = aside(|| kafka_holds(&kafka, &topic));
    assert_eq!(held[1].value, b"\x86\x4f\xd2\x6f\xb5\x59\xf7");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_extension_a_binary_mapping_is_base64_both_ways() {
    let config = mapping("{ memory: {} }", "chunks", "format: binary");
    let gateway = Gateway::start(&format!("bayeux: {{ extensions: [ack] }}\n{config}"));
    let mut client = Client::websocket(&gateway.url()).await;
    client.subscribe("/chunks").await;
    assert!(publish(&client, "/chunks", json!("AP8="), json!({})).await.ok());
    let message = client.next().await;
    assert_eq!((message.text(), &message.ext["binary"]), (r#""AP8=""#, &Value::Null));
    let chunk = publish(&client, "/chunks", json!({ "data": "HelloWorld" }), json!({ "binary": {} })).await;
    assert_eq!(chunk.error(), "400:/chunks:data_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_z85_is_refused_and_reaches_nobody() {
    let gateway = Gateway::start(
        "
connectors:
  store: { memory: {} }
mappings:
  - { channel: /chunks, connector: store, topic: chunks, format: binary }
  - { channel: /json, connector: store, topic: json, format: json }
  - { channel: /text, connector: store, topic: text, format: text }
",
    );
    let mut client = Client::websocket(&gateway.url()).await;
    for channel in ["/chunks", "/json", "/text"] {
        client.subscribe(channel).await;
        for wrong in [
            json!({ "data": "Hello\"orld", "last": true }),
            json!({ "data": "HelloW", "last": true }),
            json!({ "data": "#####", "last": true }),
            json!({ "data": "HelloWorld", "last": "yes" }),
            json!({ "data": "HelloWorld", "last": true, "meta": 7 }),
            json!({ "last": true }),
            json!([]),
        ] {
            let reply = publish(&client, channel, wrong.clone(), json!({ "binary": {} })).await;
            assert_eq!(reply.error(), format!("400:{channel}:data_invalid"), "{wrong}");
        }
    }
    // A text mapping takes text only, also when the bytes are good.
    let good = json!({ "data": "HelloWorld", "last": true });
    assert!(!publish(&client, "/text", good.clone(), json!({ "binary": {} })).await.ok());
    assert!(publish(&client, "/chunks", good, json!({ "binary": {} })).await.ok());
    assert_eq!(client.next().await.text(), r#"{"data":"HelloWorld","last":true}"#, "the first that anybody hears");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_of_a_service_gets_the_z85_form_as_json() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let echo = post(|body: String| async { ([("content-type", "application/json")], body) });
    let backend = tokio::spawn(axum::serve(listener, axum::Router::new().route("/", echo)).into_future());
    let gateway = Gateway::start(&format!(
        "services:\n  - {{ channel: /service/bytes, http: {{ url: \"http://{address}/\" }}, timeout: 5s }}\n"
    ));
    let client = Client::websocket(&gateway.url()).await;
    let reply = client.call("/service/bytes", r#"{"data":"HelloWork","last":true}"#).await;
    assert_eq!(reply.text(), r#"{"data":"HelloWork","last":true}"#);
    backend.abort();
}
