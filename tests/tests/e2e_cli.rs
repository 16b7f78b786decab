//! The command line, as a person at a terminal or a script uses it.

#![allow(clippy::unwrap_used)] // the helpers of a test are tests as well

use gateway_tests::gateway::{Gateway, cli, command, printed, write_config};
use gateway_tests::kafka::new_topic;
use gateway_tests::lab::{Broker, Kind, free_ports};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::process::{Output, Stdio};

const CONFIG: &str = "\
connectors:
  log: { memory: {} }
  orders: { kafka: { brokers: [\"127.0.0.1:1\"] } }
mappings:
  - channel: /orders/{region}/{id}
    connector: orders
    topic: orders.{region}
    key: \"{id}\"
    headers: { source: web, user: \"{claims.sub}\" }
    direction: both
  - channel: /audit/{name}
    connector: orders
    topic: audit
    key: \"{name}\"
    direction: ingest
services:
  - channel: /service/echo
    builtin: echo
";

fn with_config(yaml: &str, arguments: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let path = write_config(dir.path(), yaml);
    let mut all = arguments.to_vec();
    all.extend(["--config", path.to_str().unwrap()]);
    cli(&all)
}

#[test]
fn check_accepts_what_is_right_and_shows_what_is_wrong() {
    let good = with_config(CONFIG, &["check"]);
    assert_eq!(good.status.code(), Some(0), "{}", printed(&good));

    for (right, wrong, word) in [
        ("channel: /audit", "chanel: /audit", "channel"),
        ("direction: both", "direction: sideways", "sideways"),
        ("topic: orders.{region}", "topic: orders.{land}", "land"),
        ("key: \"{id}\"", "key: \"{region}\"", "id"),
        ("connector: orders", "connector: ordres", "orders"),
    ] {
        let bad = with_config(&CONFIG.replacen(right, wrong, 1), &["check"]);
        let printed = printed(&bad);
        assert_eq!(bad.status.code(), Some(1), "{wrong}: {printed}");
        assert!(printed.contains(word), "{wrong}: {printed}");
        assert!(printed.contains("gateway.yaml:"), "{wrong}: says where: {printed}");
    }
}

#[test]
fn check_refuses_what_is_not_built_yet_instead_of_ignoring_it() {
    let later = CONFIG.replacen("direction: both", "direction: both\n    partitioner: murmur2", 1);
    let output = with_config(&later, &["check"]);
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    assert!(printed(&output).contains("not available in this version"), "{}", printed(&output));
}

#[test]
fn check_connect_reaches_every_broker_or_says_which_it_cannot() {
    let (kafka, nats, mqtt) =
        (Broker::shared(Kind::Kafka), Broker::shared(Kind::Nats), Broker::shared(Kind::Mosquitto));
    let up = format!(
        "
connectors:
  log: {{ kafka: {{ brokers: [\"{}\"] }} }}
  events: {{ nats: {{ servers: [\"{}\"] }} }}
  sensors: {{ mqtt: {{ url: \"{}\" }} }}
",
        kafka.url(),
        nats.url(),
        mqtt.url()
    );
    let output = with_config(&up, &["check", "--connect"]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));

    let port = free_ports(1);
    let down = up.replace(&nats.url(), &format!("nats://127.0.0.1:{port}"));
    assert_eq!(with_config(&down, &["check"]).status.code(), Some(0), "without --connect nobody is asked");
    let output = with_config(&down, &["check", "--connect"]);
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    assert!(printed(&output).contains("events"), "names the connector: {}", printed(&output));
}

#[test]
fn explain_shows_the_way_of_a_message_and_back() {
    let output = with_config(CONFIG, &["explain", "/orders/eu/o-17", "--data", "{}", "--claims", r#"{"sub":"ann"}"#]);
    let there = printed(&output);
    assert_eq!(output.status.code(), Some(0), "{there}");
    for word in ["orders.eu", "o-17", "source", "web", "ann"] {
        assert!(there.contains(word), "{word} is missing: {there}");
    }

    let output = with_config(CONFIG, &["explain", "--topic", "orders.eu", "--key", "o-17"]);
    let back = printed(&output);
    assert_eq!(output.status.code(), Some(0), "{back}");
    assert!(back.contains("/orders/eu/o-17"), "{back}");

    let service = printed(&with_config(CONFIG, &["explain", "/service/echo"]));
    assert!(service.contains("echo"), "{service}");

    // Why nothing takes it is told as well.
    let nobody = printed(&with_config(CONFIG, &["explain", "/nowhere/x"]));
    for word in ["/orders/{region}/{id}", "/audit/{name}"] {
        assert!(nobody.contains(word), "why {word} does not take it: {nobody}");
    }
}

#[test]
fn schema_is_a_json_schema_of_the_whole_config() {
    let output = cli(&["schema"]);
    assert!(output.status.success());
    let schema: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(schema["$schema"].is_string(), "{schema}");
    for key in ["server", "admin", "bayeux", "connectors", "mappings", "services", "auth", "telemetry"] {
        assert!(schema["properties"].get(key).is_some(), "{key} is missing");
    }
}

#[test]
fn version_tells_what_is_inside() {
    let output = cli(&["version"]);
    let text = printed(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains(env!("CARGO_PKG_VERSION")), "{text}");
    for word in ["librdkafka", "memory", "kafka", "nats", "mqtt", "http"] {
        assert!(text.contains(word), "{word} is missing: {text}");
    }
}

#[test]
fn publish_subscribe_and_call_speak_one_json_a_line() {
    let gateway = Gateway::start("services: [{ channel: /service/echo, builtin: echo }]");
    let url = gateway.url();

    let mut subscriber = command(&["subscribe", &url, "/cli/a", "/cli/b", "--count", "3"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(subscriber.stdout.take().unwrap());
    // Published again and again, for nothing tells from outside when the subscriber has subscribed.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let publisher = std::thread::spawn({
        let url = url.clone();
        move || {
            while stopped.recv_timeout(std::time::Duration::from_millis(100)).is_err() {
                for (channel, data) in [("/cli/a", r#"{"from":"a"}"#), ("/cli/b", r#"["b", 1.50]"#)] {
                    let output = cli(&["publish", &url, channel, data]);
                    assert!(output.status.success(), "{}", printed(&output));
                }
            }
        }
    });
    let seen: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(&line.unwrap()).expect("one JSON a line")).collect();
    let _ = stop.send(());
    publisher.join().unwrap();
    assert!(subscriber.wait().unwrap().success());
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(seen.iter().any(|m| m["channel"] == "/cli/a" && m["data"] == json!({"from": "a"})), "{seen:?}");
    assert!(seen.iter().any(|m| m["channel"] == "/cli/b" && m["data"] == json!(["b", 1.5])), "{seen:?}");

    let output = cli(&["call", &url, "/service/echo", r#"{"n": 1.0}"#]);
    assert!(output.status.success(), "{}", printed(&output));
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(answer.contains(r#"{"n": 1.0}"#), "byte for byte: {answer}");
    serde_json::from_str::<Value>(answer.trim()).expect("one JSON line");

    let output = cli(&["publish", &url, "/meta/nonsense", "1"]);
    assert!(!output.status.success(), "a refusal is a failure: {}", printed(&output));
    let nobody = format!("http://127.0.0.1:{}/cometd", free_ports(1));
    let output = cli(&["publish", &nobody, "/cli/a", "1"]);
    assert!(!output.status.success(), "so is a gateway that is not there: {}", printed(&output));
}

#[test]
fn a_script_pipes_json_through_the_gateway_into_kafka() {
    let kafka = Broker::shared(Kind::Kafka);
    let topic = new_topic(&kafka, "cli", 1);
    let gateway = Gateway::start(&format!(
        "
connectors:
  log: {{ kafka: {{ brokers: [\"{}\"] }} }}
mappings:
  - {{ channel: /log, connector: log, topic: {topic}, direction: ingest }}
",
        kafka.url()
    ));
    let output = cli(&["publish", &gateway.url(), "/log", r#"{"one":1}"#]);
    assert!(output.status.success(), "{}", printed(&output));
    let stored = gateway_tests::kafka::dump(&kafka, &topic);
    assert_eq!(stored.iter().map(|s| s.payload.as_str()).collect::<Vec<_>>(), [r#"{"one":1}"#]);
}

#[test]
fn subscribe_prints_what_the_log_has_from_a_position_on() {
    let gateway = Gateway::start(
        "{connectors: {log: {memory: {}}}, mappings: [{channel: /news/**, connector: log, topic: news.**, replay: true}]}",
    );
    let url = gateway.url();
    for n in 0..5 {
        assert!(cli(&["publish", &url, "/news/a", &n.to_string()]).status.success());
    }
    let subscribe = |position: &str, count: &str| -> Vec<Value> {
        let output = cli(&["subscribe", &url, "/news/a", "--replay", position, "--count", count]);
        assert!(output.status.success(), "{}", printed(&output));
        String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let all = subscribe("-2", "5");
    assert_eq!(all.iter().map(|message| message["data"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    let rest = subscribe(&all[2]["ext"]["replay"].to_string(), "2");
    assert_eq!(rest, all[3..]);
    assert_eq!(subscribe("2026-01-01T00:00:00Z", "5"), all);

    let gone = cli(&["subscribe", &url, "/news/a", "--replay", "7"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(printed(&gone).contains("400::The replayId {7}"), "{}", printed(&gone));
    assert_eq!(cli(&["subscribe", &url, "/news/a", "--replay", "yesterday"]).status.code(), Some(2));
}
