//! The npm `cometd` client, unchanged, does all that an application does, over each transport. What becomes of it and of
//! other clients when the connection is bad is in `e2e_clients_all.rs`.

#![allow(clippy::unwrap_used)] // the helpers of a test are tests as well

use gateway_tests::gateway::Gateway;
use gateway_tests::kafka::new_topic;
use gateway_tests::lab::{Broker, Kind};
use gateway_tests::node;
use serde_json::json;

const ECHO: &str = "
services:
  - channel: /service/echo
    builtin: echo
";

fn core_story(gateway: &Gateway, transport: &str, version: &str) {
    let seen = node::run("core.mjs", &[&gateway.url(), transport, version]);
    assert_eq!(seen["version"].as_str().unwrap().split('.').next(), Some(version));
    assert_eq!(seen["transport"], transport, "no other transport was used");
    assert_eq!(seen["clientIdsDiffer"], true);
    let all = ["websocket", "long-polling", "callback-polling"];
    assert_eq!(seen["supported"], json!(all));
    assert_eq!(seen["unchanged"], true, "data arrives as it was sent");
    assert!(seen["publishReply"].get("data").is_none(), "a publish reply carries no data: {}", seen["publishReply"]);
    assert_eq!(seen["exact"], json!([0]), "/room/blue hears only its own");
    assert_eq!(seen["star"], json!([0, 1]), "/room/* hears one level");
    assert_eq!(seen["doubleStar"], json!([0, 1, 2]), "/room/** hears all levels");
    assert_eq!(seen["batch"], json!((0..50).collect::<Vec<_>>()), "a batch arrives in order");
    assert_eq!(seen["batchReplies"], json!(vec![true; 50]));
    assert_eq!(seen["exactAfterUnsubscribe"], 1, "nothing comes after unsubscribing");
    assert_eq!(seen["call"]["successful"], true, "{}", seen["call"]);
    assert_eq!(seen["callUnchanged"], true, "the echo answers what it was asked: {}", seen["call"]);
    assert_eq!(seen["nullCall"]["successful"], true, "{}", seen["nullCall"]);
    assert!(seen["nullCall"]["data"].is_null() && seen["nullCall"].get("data").is_some());
    assert_eq!(seen["calls"], json!((0..20).collect::<Vec<_>>()), "each of many calls gets its own answer");
    assert_eq!(seen["disconnected"], true);
}

#[test]
fn cometd_9_does_everything_over_websocket() {
    core_story(&Gateway::start(ECHO), "websocket", "9");
}

#[test]
fn cometd_9_does_everything_over_long_polling() {
    core_story(&Gateway::start(ECHO), "long-polling", "9");
}

#[test]
fn cometd_8_does_everything_over_websocket() {
    core_story(&Gateway::start(ECHO), "websocket", "8");
}

#[test]
fn cometd_8_does_everything_over_long_polling() {
    core_story(&Gateway::start(ECHO), "long-polling", "8");
}

#[test]
fn the_same_application_works_when_its_rooms_live_in_kafka() {
    let kafka = Broker::shared(Kind::Kafka);
    let topic = new_topic(&kafka, "rooms", 1);
    let yaml = format!(
        "
connectors:
  rooms: {{ kafka: {{ brokers: [\"{}\"] }} }}
mappings:
  - {{ channel: /room/**, connector: rooms, topic: {topic}, direction: both }}
{ECHO}",
        kafka.url()
    );
    let gateway = Gateway::start(&yaml);
    core_story(&gateway, "websocket", "9");
}
