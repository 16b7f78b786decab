//! What cannot be brought on is kept with its reason, what stands behind it goes on, and `redrive` brings it back.

#![allow(clippy::unwrap_used)] // the helpers of a test are tests as well

use gateway_tests::bayeux::{Client, answer};
use gateway_tests::gateway::{Gateway, cli, printed, write_config};
use gateway_tests::kafka::{dump, make_topic, new_topic, unique};
use gateway_tests::lab::{Broker, Kind};
use gateway_tests::mqtt::Witness;
use gateway_tests::nats::Nats;
use gateway_tests::story::aside;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Runs `redrive` with this config: what it printed. Panics when it fails.
fn redrive(yaml: &str, arguments: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = write_config(dir.path(), yaml);
    let mut all = vec!["redrive", "--config", path.to_str().unwrap()];
    all.extend(arguments);
    let output = cli(&all);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The counter of dead letters of that outcome.
fn letters(gateway: &Gateway, outcome: &str) -> f64 {
    let (_, metrics) = gateway.admin_get("/metrics");
    let outcome = format!("outcome=\"{outcome}\"");
    let of = |line: &&str| line.starts_with("bayeux_dead_letters_total{") && line.contains(&outcome);
    metrics.lines().find(of).and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(-1.0)
}

/// The headers as kcat prints them, or as NATS sends them.
fn has(headers: &str, name: &str, value: &str) -> bool {
    let pair = |line: &str| line.split_once(['=', ':']).is_some_and(|(n, v)| n == name && v.trim() == value);
    headers.split([',', '\n']).any(|line| pair(line.trim()))
}

fn on_kafka(kafka: &Broker, topic: &str, dead: &str, format: &str) -> String {
    format!(
        "
connectors:
  orders: {{ kafka: {{ brokers: [\"{}\"] }} }}
mappings:
  - name: orders
    channel: /orders/{{id}}
    connector: orders
    topic: {topic}
    key: \"{{id}}\"
    format: {format}
    on_error: {{ dead_letter: {{ topic: {dead} }} }}
",
        kafka.url()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisonous_record_in_kafka_becomes_a_letter_and_comes_back_when_the_mapping_is_right() {
    let kafka = Broker::shared(Kind::Kafka);
    let (topic, dead) = aside(|| (new_topic(&kafka, "poison", 1), new_topic(&kafka, "dead", 1)));
    let wrong = on_kafka(&kafka, &topic, &dead, "json");
    let gateway = Gateway::start(&wrong);
    let mut subscriber = Client::websocket(&gateway.url()).await;
    subscriber.subscribe("/orders/*").await;
    aside(|| {
        let lines = "eu:1\neu:{ \"no, 3\neu:2\n";
        kafka.run_with_input(&["produce", &topic, "-K:", "-H", "shop=ü1", "-X", "acks=all"], lines.as_bytes());
    });
    let seen: Vec<String> = subscriber.take(2).await.iter().map(|m| m.text().to_owned()).collect();
    assert_eq!(seen, ["1", "2"]);

    let stored = aside(|| dump(&kafka, &dead));
    assert_eq!(stored.len(), 1, "{stored:?}");
    assert_eq!((stored[0].key.as_str(), stored[0].payload.as_str()), ("eu", "{ \"no, 3"));
    let headers = &stored[0].headers;
    assert!(headers.starts_with("shop=ü1,"), "{headers}");
    for (name, value) in [
        ("bayeux-dead-mapping", "orders"),
        ("bayeux-dead-way", "egress"),
        ("bayeux-dead-reason", "not_json"),
        ("bayeux-dead-topic", topic.as_str()),
        ("bayeux-dead-partition", "0"),
        ("bayeux-dead-position", "2"),
    ] {
        assert!(has(headers, name, value), "{name}: {value} in {headers}");
    }
    assert_eq!(letters(&gateway, "ok"), 1.0);

    let kept = redrive(&wrong, &["orders"]);
    assert!(kept.contains("kept") && kept.contains("0 sent, 1 kept"), "it is still poison: {kept}");

    let right = on_kafka(&kafka, &topic, &dead, "text");
    drop(gateway);
    let gateway = Gateway::start(&right);
    let mut subscriber = Client::websocket(&gateway.url()).await;
    subscriber.subscribe("/orders/*").await;
    let would = redrive(&right, &["/orders/{id}", "--dry-run"]);
    assert!(would.contains("1 would be sent"), "{would}");
    let sent = redrive(&right, &["orders"]);
    assert!(sent.contains("1 sent, 0 kept, 0 sent before"), "{sent}");
    let message = subscriber.next().await;
    assert_eq!((message.channel.as_str(), message.value()), ("/orders/eu", json!("{ \"no, 3")));
    let last = aside(|| dump(&kafka, &topic)).pop().unwrap();
    assert_eq!((last.key.as_str(), last.headers.as_str()), ("eu", "shop=ü1"), "as it was");

    let again = redrive(&right, &["orders"]);
    assert!(again.contains("0 sent, 0 kept, 1 sent before"), "{again}");
    let more = redrive(&right, &["orders", "--again", "--max", "1"]);
    assert!(more.contains("1 sent, 0 kept"), "{more}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_cannot_be_stored_holds_the_mapping_up_until_it_can() {
    let kafka = Broker::shared(Kind::Kafka);
    let (topic, dead) = (aside(|| new_topic(&kafka, "held", 1)), unique("held-dead"));
    let gateway = Gateway::start(&on_kafka(&kafka, &topic, &dead, "json"));
    let mut subscriber = Client::websocket(&gateway.url()).await;
    subscriber.subscribe("/orders/*").await;
    aside(|| kafka.run_with_input(&["produce", &topic, "-K:", "-X", "acks=all"], b"a:1\na:oops\na:2\n"));
    assert_eq!(subscriber.next().await.text(), "1");
    let limit = Instant::now() + Duration::from_secs(30);
    while letters(&gateway, "refused") < 2.0 {
        assert!(Instant::now() < limit, "it is tried again and counted:\n{}", gateway.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(subscriber.taken_now().is_empty(), "what stands behind it waits");
    assert_eq!(gateway.log().matches("a dead letter cannot be stored").count(), 1, "told once:\n{}", gateway.log());
    aside(|| make_topic(&kafka, &dead, 1));
    assert_eq!(subscriber.next().await.text(), "2");
    assert_eq!(aside(|| dump(&kafka, &dead)).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_keeps_a_letter_beside_its_record_though_both_had_one_message_id() {
    let nats = Broker::shared(Kind::Nats);
    let prefix = unique("js");
    let mut tool = Nats::connect(&nats.url());
    tool.make_stream(&prefix, &[&format!("{prefix}.>")]);
    let config = |format: &str| {
        format!(
            "
connectors:
  events: {{ nats: {{ servers: [\"{}\"] , jetstream: true }} }}
mappings:
  - {{ name: events, channel: \"/events/{{name}}\", connector: events, topic: \"{prefix}.live.{{name}}\", format: {format},
      replay: true, on_error: {{ dead_letter: {{ topic: {prefix}.dead }} }} }}
",
            nats.url()
        )
    };
    let gateway = Gateway::start(&config("json"));
    let mut subscriber = Client::websocket(&gateway.url()).await;
    subscriber.subscribe("/events/*").await;
    let subject = format!("{prefix}.live.a");
    for (id, payload) in [("one", "1"), ("two", "two words"), ("three", "3")] {
        tool.publish_with(&subject, &[&format!("Nats-Msg-Id: {id}"), "shop: x1"], payload);
    }
    tool.flush();
    let seen: Vec<String> = subscriber.take(2).await.iter().map(|m| m.text().to_owned()).collect();
    assert_eq!(seen, ["1", "3"]);
    let stored = aside(|| tool.stream_dump(&prefix));
    let letter = stored.iter().find(|m| m.subject == format!("{prefix}.dead")).expect("a letter");
    assert_eq!(letter.payload, "two words");
    for (name, value) in [
        ("shop", "x1"),
        ("bayeux-dead-header-Nats-Msg-Id", "two"),
        ("bayeux-dead-reason", "not_json"),
        ("bayeux-dead-topic", subject.as_str()),
        ("bayeux-dead-position", "2"),
    ] {
        assert!(has(&letter.headers, name, value), "{name}: {value} in {}", letter.headers);
    }

    drop(gateway);
    let gateway = Gateway::start(&config("text"));
    let mut subscriber = Client::websocket(&gateway.url()).await;
    subscriber.subscribe("/events/*").await;
    let sent = redrive(&config("text"), &["events"]);
    assert!(sent.contains("1 sent, 0 kept"), "{sent}");
    assert_eq!(subscriber.next().await.value(), json!("two words"));
    let again = redrive(&config("text"), &["events"]);
    assert!(again.contains("0 sent, 0 kept, 1 sent before"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_jetstream_refuses_for_good_is_an_error_and_a_letter() {
    let nats = Broker::shared(Kind::Nats);
    let (small, dead) = (unique("small"), unique("small-dead"));
    let mut tool = Nats::connect(&nats.url());
    let stream = |most: i64| {
        json!({"name": small, "subjects": [format!("{small}.>")], "storage": "file", "retention": "limits",
               "max_msg_size": most})
    };
    tool.jetstream(&format!("STREAM.CREATE.{small}"), &stream(400));
    tool.make_stream(&dead, &[&dead]);
    let config = format!(
        "
connectors:
  events: {{ nats: {{ servers: [\"{}\"] , jetstream: true }} }}
mappings:
  - {{ channel: \"/events/{{name}}\", connector: events, topic: \"{small}.{{name}}\",
      on_error: {{ dead_letter: {{ topic: {dead} }} }} }}
",
        nats.url()
    );
    let gateway = Gateway::start(&config);
    let client = Client::websocket(&gateway.url()).await;
    assert!(answer(client.publish("/events/a", "1")).await.ok());
    let large = json!("x".repeat(1000)).to_string();
    let refused = answer(client.publish("/events/b", &large)).await;
    assert_eq!(refused.error(), "413:/events/b:record_too_large");
    let limit = Instant::now() + Duration::from_secs(30);
    while letters(&gateway, "ok") < 1.0 {
        assert!(Instant::now() < limit, "no letter:\n{}", gateway.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let stored = aside(|| tool.stream_dump(&dead));
    assert_eq!(stored[0].payload, large);
    for (name, value) in [
        ("bayeux-channel", "/events/b"),
        ("bayeux-dead-way", "ingest"),
        ("bayeux-dead-reason", "record_too_large"),
        ("bayeux-dead-topic", &format!("{small}.b")),
    ] {
        assert!(has(&stored[0].headers, name, value), "{name}: {value} in {}", stored[0].headers);
    }

    let mut subscriber = Client::websocket(&gateway.url()).await;
    subscriber.subscribe("/events/b").await;
    let kept = redrive(&config, &["0"]);
    assert!(kept.contains("0 sent, 1 kept"), "{kept}");
    aside(|| tool.jetstream(&format!("STREAM.UPDATE.{small}"), &stream(-1)));
    let sent = redrive(&config, &["0"]);
    assert!(sent.contains("1 sent, 0 kept"), "{sent}");
    assert_eq!(subscriber.next().await.text(), large);
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_hands_letters_to_whoever_is_subscribed_and_has_none_to_send_again() {
    let mqtt = Broker::shared(Kind::Mosquitto);
    let prefix = unique("mqtt");
    let config = format!(
        "
connectors:
  sensors: {{ mqtt: {{ url: \"{}\", client_id: {prefix} }} }}
mappings:
  - {{ name: sensors, channel: \"/sensors/{{id}}\", connector: sensors, topic: \"{prefix}/live/{{id}}\",
      on_error: {{ dead_letter: {{ topic: {prefix}/dead/letters }} }} }}
  - {{ channel: \"/dead/{{id}}\", connector: sensors, topic: \"{prefix}/dead/{{id}}\", format: text, direction: egress,
      include: [headers] }}
",
        mqtt.url()
    );
    let gateway = Gateway::start(&config);
    let witness = aside(|| Witness::start(&mqtt, &format!("{prefix}/dead")));
    let mut subscriber = Client::websocket(&gateway.url()).await;
    subscriber.subscribe("/sensors/*").await;
    let mut keeper = Client::websocket(&gateway.url()).await;
    keeper.subscribe("/dead/*").await;
    aside(|| {
        let topic = format!("{prefix}/live/a");
        mqtt.run_with_input(&["pub", "-q", "1", "-l", "-t", &topic], b"1\n{ broken\n2\n");
    });
    let seen: Vec<String> = subscriber.take(2).await.iter().map(|m| m.text().to_owned()).collect();
    assert_eq!(seen, ["1", "2"]);
    assert_eq!(aside(|| witness.take(1)), [("letters".to_owned(), "{ broken".to_owned())]);
    let letter = keeper.next().await;
    assert_eq!(letter.value(), json!("{ broken"));
    let headers: &Value = &letter.ext["record"]["headers"];
    assert_eq!(headers["bayeux-dead-reason"], "not_json", "{headers}");
    assert_eq!(headers["bayeux-dead-topic"], format!("{prefix}/live/a"), "{headers}");

    let dir = tempfile::tempdir().unwrap();
    let path = write_config(dir.path(), &config);
    let none = cli(&["redrive", "sensors", "--config", path.to_str().unwrap()]);
    assert_eq!(none.status.code(), Some(1));
    assert!(printed(&none).contains("keeps no log"), "{}", printed(&none));
}
