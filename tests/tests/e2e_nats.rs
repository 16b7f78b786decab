//! Ten thousand messages into NATS and out of it, with and without JetStream, judged by the server itself and by a
//! plain-text client.

#![allow(clippy::unwrap_used)] // the helpers of a test are tests as well

use gateway_tests::bayeux::{Client, Transport};
use gateway_tests::gateway::{Gateway, http_get};
use gateway_tests::kafka::unique;
use gateway_tests::lab::{Broker, Kind};
use gateway_tests::nats::Nats;
use gateway_tests::story::{Batch, aside, assert_same, payload};
use std::collections::HashMap;
use std::process::{Child, Stdio};
use std::time::Duration;

const COUNT: usize = 10_000;
const KEYS: usize = 100;

fn config(nats: &Broker, prefix: &str, jetstream: bool) -> String {
    format!(
        "
connectors:
  events: {{ nats: {{ servers: [\"{}\"], jetstream: {jetstream} }} }}
mappings:
  - {{ channel: \"/events/{{name}}\", connector: events, topic: \"{prefix}.{{name}}\", direction: both }}
",
        nats.url()
    )
}

async fn ten_thousand_into_a_stream(transport: Transport) {
    let nats = Broker::shared(Kind::Nats);
    let prefix = unique("js");
    let mut tool = Nats::connect(&nats.url());
    tool.make_stream(&prefix, &[&format!("{prefix}.>")]);
    let gateway = Gateway::start(&config(&nats, &prefix, true));
    let mut subscriber = Client::websocket(&gateway.url()).await;
    subscriber.subscribe("/events/*").await;

    let batch = Batch::new(COUNT, KEYS);
    let publisher = Client::connect(&gateway.url(), transport).await;
    let (replies, seen) = tokio::join!(batch.publish(&publisher, "/events/"), subscriber.take(COUNT));

    let stored = aside(|| tool.stream_dump(&prefix));
    assert_eq!(stored.len(), COUNT);
    let mut by_subject: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut at: HashMap<u64, (&str, &str)> = HashMap::new();
    for message in &stored {
        let key = message.subject.strip_prefix(&prefix).unwrap().strip_prefix('.').unwrap();
        by_subject.entry(key).or_default().push(&message.payload);
        at.insert(message.sequence(), (key, &message.payload));
    }
    assert_same(&batch.by_key(), &by_subject);
    for (reply, (key, payload)) in replies.iter().zip(&batch.0) {
        let position = reply.ext["position"].as_u64().unwrap_or_else(|| panic!("no position: {reply:?}"));
        assert_eq!(at[&position], (key.as_str(), payload.as_str()), "at {position}");
    }
    batch.assert_delivered(&seen, "/events/");
    assert_eq!(subscriber.taken_now().len(), 0, "nothing came twice");
    assert_eq!(subscriber.faults(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_pipelined_over_a_websocket_are_in_the_stream_in_order() {
    ten_thousand_into_a_stream(Transport::WebSocket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_batched_over_long_polling_are_in_the_stream_in_order() {
    ten_thousand_into_a_stream(Transport::LongPolling).await;
}

/// Publishes every message by the `nats` script, one connection a subject.
fn publish_by_script(nats: &Broker, prefix: &str, batch: &Batch) {
    for (key, payloads) in batch.by_key() {
        let lines: String = payloads.iter().flat_map(|payload| [*payload, "\n"]).collect();
        nats.run_with_input(&["pub", &format!("{prefix}.{key}")], lines.as_bytes());
    }
}

async fn ten_thousand_out_of_nats(jetstream: bool) {
    let nats = Broker::shared(Kind::Nats);
    let prefix = unique("backend");
    if jetstream {
        Nats::connect(&nats.url()).make_stream(&prefix, &[&format!("{prefix}.>")]);
    }
    let gateway = Gateway::start(&config(&nats, &prefix, jetstream));
    let mut subscribers = [Client::websocket(&gateway.url()).await, Client::long_polling(&gateway.url()).await];
    for subscriber in &subscribers {
        subscriber.subscribe("/events/*").await;
    }
    let batch = Batch::new(COUNT, KEYS);
    aside(|| publish_by_script(&nats, &prefix, &batch));
    for subscriber in &mut subscribers {
        batch.assert_delivered(&subscriber.take(COUNT).await, "/events/");
        assert_eq!(subscriber.until_quiet(Duration::from_secs(1)).await.len(), 0, "nothing came twice");
        assert_eq!(subscriber.faults(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_of_a_stream_reach_a_browser_once_and_in_order() {
    ten_thousand_out_of_nats(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_plain_nats_messages_reach_a_browser_once_and_in_order() {
    ten_thousand_out_of_nats(false).await;
}

/// The script's subscriber, once the server says that it has subscribed.
fn subscriber_by_script(nats: &Broker, subject: &str, count: usize) -> Child {
    let mut command = nats.command(&["sub", subject, &count.to_string()]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the script runs");
    let port: u16 = nats.url().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let shown = subject.replace('>', "\\u003e"); // as the server's JSON writes it
    for _ in 0..1000 {
        let (_, connections) = http_get(port + 4000, "/connz?subs=1").expect("the monitor answers");
        if connections.contains(&shown) {
            return child;
        }
        std::thread::sleep(Duration::from_millis(20)); // another process: there is no event to wait for
    }
    let _ = child.kill();
    let _ = child.wait();
    panic!("nobody subscribed to {subject}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_published_by_a_browser_reach_a_plain_nats_subscriber_in_order() {
    let nats = Broker::shared(Kind::Nats);
    let prefix = unique("core");
    let gateway = Gateway::start(&config(&nats, &prefix, false));
    let mut subscriber = Client::websocket(&gateway.url()).await;
    subscriber.subscribe("/events/*").await;
    let batch = Batch::new(COUNT, KEYS);
    for transport in [Transport::WebSocket, Transport::LongPolling] {
        let witness = aside(|| subscriber_by_script(&nats, &format!("{prefix}.>"), COUNT));
        let output = tokio::task::spawn_blocking(move || witness.wait_with_output().expect("the script ends"));
        let publisher = Client::connect(&gateway.url(), transport).await;
        let (_, seen) = tokio::join!(batch.publish(&publisher, "/events/"), subscriber.take(COUNT));
        batch.assert_delivered(&seen, "/events/");
        let printed = String::from_utf8(output.await.unwrap().stdout).unwrap();
        // One connection took them all, so that the whole order is the order of publishing.
        let lines: Vec<&str> = printed.lines().collect();
        let expected: Vec<&str> = batch.0.iter().map(|(_, payload)| payload.as_str()).collect();
        assert_same(&HashMap::from([("all", expected)]), &HashMap::from([("all", lines)]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_there_is_told_and_not_made() {
    let nats = Broker::shared(Kind::Nats);
    let prefix = unique("nowhere");
    let gateway = Gateway::start(&config(&nats, &prefix, true));
    let client = Client::websocket(&gateway.url()).await;
    let reply = gateway_tests::bayeux::answer(client.publish("/events/x", &payload(1))).await;
    assert!(reply.error().starts_with("404:/events/x:topic_unknown"), "{reply:?}");
}
