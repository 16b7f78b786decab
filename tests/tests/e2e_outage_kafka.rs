//! Kafka is killed under load and comes back: nothing that was acknowledged is lost, nothing that was refused is stored,
//! subscribers go on as if nothing had been.

use gateway_tests::bayeux::{Client, Transport};
use gateway_tests::gateway::Gateway;
use gateway_tests::kafka::{by_key, counts, dump, make_topic, produce};
use gateway_tests::lab::{Broker, Kind};
use gateway_tests::outage::{Away, Load, account, outage};
use gateway_tests::story::{aside, assert_same};
use std::collections::HashMap;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn kafka_is_killed_under_load_and_every_answer_was_the_truth() {
    // After a SIGKILL the controller gives a broker its place back only when the old session has run out.
    let extra = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(extra.path(), "broker.session.timeout.ms=3000\nbroker.heartbeat.interval.ms=500\n").unwrap();
    let kafka = aside(|| Broker::own(Kind::Kafka, &[("KAFKA_EXTRA", extra.path().to_str().unwrap())]));
    aside(|| make_topic(&kafka, "orders", 6));
    let gateway = Gateway::start(&format!(
        "
connectors:
  orders: {{ kafka: {{ brokers: [\"{}\"] }} }}
mappings:
  - {{ channel: \"/orders/{{id}}\", connector: orders, topic: orders, key: \"{{id}}\", direction: both }}
",
        kafka.url()
    ));
    let mut subscribers = Vec::new();
    for transport in [Transport::WebSocket, Transport::LongPolling] {
        let subscriber = Client::connect(&gateway.url(), transport).await;
        subscriber.subscribe("/orders/*").await;
        subscribers.push(subscriber);
    }
    let backend = |part: &str| (0..200).map(|n| format!("kcat{}:\"{part} {n}\"\n", n % 10)).collect::<String>();

    let load = Load::start(&gateway.url(), "/orders/").await;
    let first_tick = Instant::now();
    tokio::time::sleep(Duration::from_secs(4)).await;
    aside(|| produce(&kafka, "orders", &backend("before")));
    let from = Instant::now();
    aside(|| kafka.kill());
    tokio::time::sleep(outage() - Duration::from_secs(5)).await; // starting takes longer than the rest
    aside(|| kafka.start());
    let away = Away { from, to: Instant::now() };
    aside(|| produce(&kafka, "orders", &backend("at once after")));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let last_tick = Instant::now();
    let publishes = load.finish().await;

    let stored = aside(|| dump(&kafka, "orders"));
    let counts = counts(&stored);
    let account = account(&publishes, &counts, away);
    account.print("kafka killed", away);
    account.assert_promises(first_tick, last_tick);
    assert_eq!(account.refused_but_stored, Vec::<String>::new(), "503 means surely not stored");
    assert_eq!(account.doubled, Vec::<String>::new(), "the producer is idempotent");

    // The subscribers saw the whole log, the records of kcat among it: each once, in order per key.
    for mut subscriber in subscribers {
        let seen = subscriber.take(stored.len()).await;
        let mut by_channel: HashMap<&str, Vec<&str>> = HashMap::new();
        for message in &seen {
            let key = message.channel.strip_prefix("/orders/").unwrap();
            by_channel.entry(key).or_default().push(message.text());
        }
        assert_same(&by_key(&stored), &by_channel);
        assert_eq!(subscriber.until_quiet(Duration::from_secs(1)).await.len(), 0, "nothing came twice");
        assert_eq!(subscriber.faults(), Vec::<String>::new(), "subscribers go on without a reconnect");
    }
}
