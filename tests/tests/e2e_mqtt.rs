//! Ten thousand messages into MQTT and out of it, judged by mosquitto's own tools.

use gateway_tests::bayeux::{Client, Transport};
use gateway_tests::gateway::Gateway;
use gateway_tests::kafka::unique;
use gateway_tests::lab::{Broker, Kind};
use gateway_tests::mqtt::Witness;
use gateway_tests::story::{Batch, aside, assert_same};
use std::collections::HashMap;
use std::time::Duration;

const COUNT: usize = 10_000;
const KEYS: usize = 100;

fn config(mqtt: &Broker, prefix: &str) -> String {
    format!(
        "
connectors:
  sensors: {{ mqtt: {{ url: \"{}\", client_id: {prefix} }} }}
mappings:
  - {{ channel: \"/sensors/{{id}}\", connector: sensors, topic: \"{prefix}/{{id}}\", direction: both }}
",
        mqtt.url()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_published_by_a_browser_reach_mosquitto_sub_in_order_per_topic() {
    let mqtt = Broker::shared(Kind::Mosquitto);
    let prefix = unique("sensors");
    let gateway = Gateway::start(&config(&mqtt, &prefix));
    let mut subscriber = Client::websocket(&gateway.url()).await;
    subscriber.subscribe("/sensors/*").await;
    let batch = Batch::new(COUNT, KEYS);
    for transport in [Transport::WebSocket, Transport::LongPolling] {
        let witness = aside(|| Witness::start(&mqtt, &prefix));
        let publisher = Client::connect(&gateway.url(), transport).await;
        let (_, seen) = tokio::join!(batch.publish(&publisher, "/sensors/"), subscriber.take(COUNT));
        batch.assert_delivered(&seen, "/sensors/");
        let lines = aside(|| witness.take(COUNT));
        let mut by_topic: HashMap<&str, Vec<&str>> = HashMap::new();
        for (topic, payload) in &lines {
            by_topic.entry(topic).or_default().push(payload);
        }
        assert_same(&batch.by_key(), &by_topic);
    }
    assert_eq!(subscriber.faults(), Vec::<String>::new());
}

/// One `mosquitto_pub` a topic, as many at once as a fleet of devices: each takes its time to say goodbye.
fn publish_by_mosquitto(mqtt: &Broker, prefix: &str, batch: &Batch) {
    std::thread::scope(|scope| {
        for (key, payloads) in batch.by_key() {
            scope.spawn(move || {
                let lines: String = payloads.iter().flat_map(|payload| [*payload, "\n"]).collect();
                let topic = format!("{prefix}/{key}");
                mqtt.run_with_input(&["pub", "-q", "1", "-l", "-t", &topic], lines.as_bytes());
            });
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_of_mosquitto_pub_reach_a_browser_once_and_in_order_per_topic() {
    let mqtt = Broker::shared(Kind::Mosquitto);
    let prefix = unique("devices");
    let gateway = Gateway::start(&config(&mqtt, &prefix));
    let mut subscribers = [Client::websocket(&gateway.url()).await, Client::long_polling(&gateway.url()).await];
    for subscriber in &subscribers {
        subscriber.subscribe("/sensors/*").await;
    }
    let batch = Batch::new(COUNT, KEYS);
    aside(|| publish_by_mosquitto(&mqtt, &prefix, &batch));
    for subscriber in &mut subscribers {
        batch.assert_delivered(&subscriber.take(COUNT).await, "/sensors/");
        assert_eq!(subscriber.until_quiet(Duration::from_secs(1)).await.len(), 0, "nothing came twice");
        assert_eq!(subscriber.faults(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_gets_the_retained_message_marked_as_such() {
    let mqtt = Broker::shared(Kind::Mosquitto);
    let prefix = unique("retained");
    aside(|| mqtt.run(&["pub", "-q", "1", "-r", "-t", &format!("{prefix}/lamp"), "-m", r#"{"on":true}"#]));
    let gateway = Gateway::start(&config(&mqtt, &prefix));
    for _ in 0..2 {
        let mut newcomer = Client::websocket(&gateway.url()).await;
        newcomer.subscribe("/sensors/lamp").await;
        let message = newcomer.next().await;
        assert_eq!(message.text(), r#"{"on":true}"#);
        assert_eq!(message.ext["retained"], true, "{message:?}");
    }
    aside(|| mqtt.run(&["pub", "-q", "1", "-r", "-n", "-t", &format!("{prefix}/lamp")]));
}
