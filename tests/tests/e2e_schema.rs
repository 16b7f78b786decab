//! What does not fit the schema of its mapping never reaches the broker, and its publisher can read why.

#![allow(clippy::unwrap_used)] // the helpers of a test are tests as well

use gateway_tests::bayeux::{Client, answer};
use gateway_tests::gateway::{Gateway, cli, printed, write_config};
use gateway_tests::kafka::{dump, new_topic};
use gateway_tests::lab::{Broker, Kind};
use gateway_tests::story::aside;
use serde_json::json;
use std::path::Path;

const ORDER: &str = r#"{
  "type": "object",
  "required": ["price"],
  "properties": {
    "price": { "type": "number", "exclusiveMinimum": 0 },
    "lines": { "type": "array", "items": { "type": "string", "pattern": "^(a+)+$" } }
  }
}"#;

fn schema(dir: &Path, text: &str) -> String {
    let path = dir.join("order.json");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_does_not_fit_is_refused_with_its_place_and_kept_as_a_dead_letter() {
    let kafka = Broker::shared(Kind::Kafka);
    let (topic, dead) = aside(|| (new_topic(&kafka, "fits", 1), new_topic(&kafka, "fits-dead", 1)));
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&format!(
        "
connectors:
  orders: {{ kafka: {{ brokers: [\"{}\"] }} }}
mappings:
  - channel: /orders/{{id}}
    connector: orders
    topic: {topic}
    key: \"{{id}}\"
    schema_file: {}
    on_error: {{ dead_letter: {{ topic: {dead} }} }}
  - {{ channel: /dead, connector: orders, topic: {dead}, direction: egress, key: any, include: [headers] }}
",
        kafka.url(),
        schema(dir.path(), ORDER)
    ));
    let client = Client::websocket(&gateway.url()).await;
    let mut keeper = Client::long_polling(&gateway.url()).await;
    keeper.subscribe("/dead").await;
    assert!(answer(client.publish("/orders/a", r#"{"price": 1.50}"#)).await.ok());
    for (data, path, reason) in [
        (r#"{"price":"none"}"#, "/price", "value is not of type \"number\""),
        (r#"{"price":1,"lines":["a","b"]}"#, "/lines/1", "does not match"),
        ("{}", "", "\"price\" is a required property"),
        ("null", "", "not of type \"object\""),
    ] {
        let refused = answer(client.publish("/orders/b", data)).await;
        assert_eq!(refused.error(), "400:/orders/b:schema_violation", "{data}");
        assert_eq!(refused.ext["violation"]["path"], path, "{data}");
        let told = refused.ext["violation"]["reason"].as_str().unwrap();
        assert!(told.contains(reason), "{data}: {told}");
        let letter = keeper.next().await;
        assert_eq!(letter.text(), data);
        let headers = &letter.ext["record"]["headers"];
        assert_eq!(headers["bayeux-dead-reason"], "schema_violation", "{headers}");
        assert_eq!(headers["bayeux-channel"], "/orders/b", "{headers}");
    }
    // A pattern that would run for ages in an engine that goes back and tries again.
    let evil = json!({"price": 1, "lines": [format!("{}!", "a".repeat(60_000))]}).to_string();
    assert_eq!(answer(client.publish("/orders/b", &evil)).await.error(), "400:/orders/b:schema_violation");
    assert!(answer(client.publish("/orders/c", r#"{"price":2,"lines":["aa"]}"#)).await.ok());

    let stored: Vec<String> = aside(|| dump(&kafka, &topic)).into_iter().map(|record| record.payload).collect();
    assert_eq!(stored, [r#"{"price": 1.50}"#, r#"{"price":2,"lines":["aa"]}"#], "byte for byte, and nothing else");
    let (_, metrics) = gateway.admin_get("/metrics");
    let count = metrics.lines().find(|line| line.contains("outcome=\"violation\"")).expect("a count");
    assert!(count.starts_with("bayeux_ingest_messages_total{") && count.ends_with(" 5"), "{count}");
}

#[test]
fn check_and_explain_know_the_schema_beside_the_config() {
    let dir = tempfile::tempdir().unwrap();
    schema(dir.path(), ORDER);
    let config = "connectors: { log: { memory: {} } }\nmappings:\n  - channel: /orders/{id}\n    connector: log\n    topic: orders.{id}\n    schema_file: order.json\n";
    let path = write_config(dir.path(), config);
    let run = |arguments: &[&str]| cli(&[arguments, &["--config", path.to_str().unwrap()]].concat());
    let good = run(&["check"]);
    assert_eq!(good.status.code(), Some(0), "{}", printed(&good));
    let fits = printed(&run(&["explain", "/orders/a", "--data", r#"{"price":1}"#]));
    assert!(!fits.contains("schema_violation"), "{fits}");
    let violates = printed(&run(&["explain", "/orders/a", "--data", r#"{"price":0}"#]));
    assert!(violates.contains("400:/orders/a:schema_violation (at /price: "), "{violates}");

    schema(dir.path(), "{\n  \"properties\": {\n    \"price\": { \"type\": \"numbr\" }\n  }\n}");
    let bad = run(&["check"]);
    assert_eq!(bad.status.code(), Some(1));
    let told = printed(&bad);
    assert!(told.contains("gateway.yaml:6:") && told.contains("order.json, line 3: "), "{told}");
    std::fs::remove_file(dir.path().join("order.json")).unwrap();
    assert!(printed(&run(&["check"])).contains("cannot read "), "a file that is not there");
}
