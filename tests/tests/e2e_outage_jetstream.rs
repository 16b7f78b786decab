//! NATS is killed under load and comes back: the stream holds all that was acknowledged and nothing that was refused.

use gateway_tests::bayeux::{Client, Transport};
use gateway_tests::gateway::Gateway;
use gateway_tests::lab::{Broker, Kind};
use gateway_tests::nats::Nats;
use gateway_tests::outage::{Away, Load, account, outage};
use gateway_tests::story::{aside, assert_same};
use std::collections::HashMap;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn nats_is_killed_under_load_and_every_answer_was_the_truth() {
    let nats = aside(|| Broker::own(Kind::Nats, &[]));
    Nats::connect(&nats.url()).make_stream("ORDERS", &["orders.>"]);
    let gateway = Gateway::start(&format!(
        "
connectors:
  orders: {{ nats: {{ servers: [\"{}\"], jetstream: true }} }}
mappings:
  - {{ channel: \"/orders/{{id}}\", connector: orders, topic: \"orders.{{id}}\", direction: both }}
",
        nats.url()
    ));
    let mut subscribers = Vec::new();
    for transport in [Transport::WebSocket, Transport::LongPolling] {
        let subscriber = Client::connect(&gateway.url(), transport).await;
        subscriber.subscribe("/orders/*").await;
        subscribers.push(subscriber);
    }
    let backend = |part: &str| (0..200).map(|n| format!("\"{part} {n}\"\n")).collect::<String>();
    let produce = |part: &str| {
        aside(|| nats.run_with_input(&["pub", "orders.backend"], backend(part).as_bytes()));
    };

    let load = Load::start(&gateway.url(), "/orders/").await;
    let first_tick = Instant::now();
    tokio::time::sleep(Duration::from_secs(4)).await;
    produce("before");
    let from = Instant::now();
    aside(|| nats.kill());
    tokio::time::sleep(outage()).await;
    aside(|| nats.start());
    let away = Away { from, to: Instant::now() };
    produce("at once after");
    tokio::time::sleep(Duration::from_secs(10)).await;
    let last_tick = Instant::now();
    let publishes = load.finish().await;

    let stored = aside(|| Nats::connect(&nats.url()).stream_dump("ORDERS"));
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut by_subject: HashMap<&str, Vec<&str>> = HashMap::new();
    for message in &stored {
        *counts.entry(&message.payload).or_default() += 1;
        by_subject.entry(message.subject.strip_prefix("orders.").unwrap()).or_default().push(&message.payload);
    }
    let account = account(&publishes, &counts, away);
    account.print("nats with jetstream killed", away);
    account.assert_promises(first_tick, last_tick);
    assert_eq!(account.refused_but_stored, Vec::<String>::new(), "503 means surely not stored");
    assert_eq!(account.doubled, Vec::<String>::new(), "no publish is sent twice");

    for mut subscriber in subscribers {
        let seen = subscriber.take(stored.len()).await;
        let mut by_channel: HashMap<&str, Vec<&str>> = HashMap::new();
        for message in &seen {
            by_channel.entry(message.channel.strip_prefix("/orders/").unwrap()).or_default().push(message.text());
        }
        assert_same(&by_subject, &by_channel);
        assert_eq!(subscriber.until_quiet(Duration::from_secs(1)).await.len(), 0, "nothing came twice");
        assert_eq!(subscriber.faults(), Vec::<String>::new(), "subscribers go on without a reconnect");
    }
}
