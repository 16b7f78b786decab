//! Ten thousand messages into Kafka and ten thousand out of it: all of them, once, in order, byte for byte, judged by
//! kcat.

use connector::{Log, Place, Position};
use gateway_tests::bayeux::{Client, Message, Transport, answer};
use gateway_tests::gateway::Gateway;
use gateway_tests::kafka::{Stored, by_key, dump, make_topic, new_topic, produce, unique};
use gateway_tests::lab::{Broker, Kind};
use gateway_tests::story::{Batch, aside, assert_same, number, payload};
use std::collections::HashMap;
use std::time::Duration;

const COUNT: usize = 10_000;
const KEYS: usize = 100;

fn config(kafka: &Broker, topic: &str) -> String {
    format!(
        "
connectors:
  orders: {{ kafka: {{ brokers: [\"{}\"] }} }}
mappings:
  - {{ channel: \"/orders/{{id}}\", connector: orders, topic: {topic}, key: \"{{id}}\", direction: both }}
",
        kafka.url()
    )
}

/// Each reply's position is where kcat finds that very message.
fn assert_positions(topic: &str, replies: &[Message], batch: &Batch, stored: &[Stored]) {
    let token = |record: &Stored| {
        let log = Log { topic: topic.into(), partition: record.partition };
        let n = u64::try_from(record.offset).expect("an offset") + 1;
        match (Place { log, n, at: Some(record.timestamp), sole: false }).position() {
            Position::Token(token) => token.to_string(),
            Position::Number(n) => panic!("{n} in a topic of many partitions"),
        }
    };
    let at: HashMap<String, &Stored> = stored.iter().map(|record| (token(record), record)).collect();
    for (reply, (key, payload)) in replies.iter().zip(&batch.0) {
        let position = reply.ext["position"].as_str().unwrap_or_else(|| panic!("no position: {reply:?}"));
        let record = at.get(position).unwrap_or_else(|| panic!("kcat knows no {position}"));
        assert_eq!((&record.key, &record.payload), (key, payload), "at {position}");
    }
}

async fn ten_thousand_into_six_partitions(transport: Transport) {
    let kafka = Broker::shared(Kind::Kafka);
    let topic = aside(|| new_topic(&kafka, "orders", 6));
    let gateway = Gateway::start(&config(&kafka, &topic));
    let mut socket = Client::websocket(&gateway.url()).await;
    let mut poller = Client::long_polling(&gateway.url()).await;
    socket.subscribe("/orders/*").await;
    poller.subscribe("/orders/*").await;

    let batch = Batch::new(COUNT, KEYS);
    let publisher = Client::connect(&gateway.url(), transport).await;
    let (replies, seen_by_socket, seen_by_poller) =
        tokio::join!(batch.publish(&publisher, "/orders/"), socket.take(COUNT), poller.take(COUNT));

    let stored = aside(|| dump(&kafka, &topic));
    assert_eq!(stored.len(), COUNT);
    assert_same(&batch.by_key(), &by_key(&stored));
    let partitions: std::collections::BTreeSet<i32> = stored.iter().map(|record| record.partition).collect();
    assert_eq!(partitions.len(), 6, "the keys spread over all partitions");
    assert_positions(&topic, &replies, &batch, &stored);
    batch.assert_delivered(&seen_by_socket, "/orders/");
    batch.assert_delivered(&seen_by_poller, "/orders/");
    for mut subscriber in [socket, poller] {
        assert_eq!(subscriber.taken_now().len(), 0, "nothing came twice");
        assert_eq!(subscriber.faults(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_pipelined_over_a_websocket_are_in_kafka_in_order_per_key() {
    ten_thousand_into_six_partitions(Transport::WebSocket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_batched_over_long_polling_are_in_kafka_in_order_per_key() {
    ten_thousand_into_six_partitions(Transport::LongPolling).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_one_partition_has_positions_that_are_numbers() {
    let kafka = Broker::shared(Kind::Kafka);
    let topic = aside(|| new_topic(&kafka, "single", 1));
    let gateway = Gateway::start(&config(&kafka, &topic));
    let publisher = Client::websocket(&gateway.url()).await;
    for n in 0..5 {
        let reply = answer(publisher.publish("/orders/a", &n.to_string())).await;
        // One more than the offset, so that 0 can mean "from the beginning".
        assert_eq!(reply.ext["position"], n + 1, "{reply:?}");
    }
    let stored = aside(|| dump(&kafka, &topic));
    assert_eq!(stored.iter().map(|r| r.payload.as_str()).collect::<Vec<_>>(), ["0", "1", "2", "3", "4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_records_of_kcat_reach_a_browser_once_and_in_order_per_key() {
    let kafka = Broker::shared(Kind::Kafka);
    let topic = aside(|| new_topic(&kafka, "backend", 6));
    let gateway = Gateway::start(&config(&kafka, &topic));
    let mut subscribers = [Client::websocket(&gateway.url()).await, Client::long_polling(&gateway.url()).await];
    for subscriber in &subscribers {
        subscriber.subscribe("/orders/*").await;
    }
    let batch = Batch::new(COUNT, KEYS);
    let lines: String = batch.0.iter().map(|(key, payload)| format!("{key}:{payload}\n")).collect();
    aside(|| produce(&kafka, &topic, &lines));
    for subscriber in &mut subscribers {
        batch.assert_delivered(&subscriber.take(COUNT).await, "/orders/");
        assert_eq!(subscriber.until_quiet(Duration::from_secs(1)).await.len(), 0, "nothing came twice");
        assert_eq!(subscriber.faults(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_while_running_loses_no_record() {
    let kafka = Broker::shared(Kind::Kafka);
    let family = unique("family");
    aside(|| make_topic(&kafka, &format!("{family}.eu"), 3));
    let gateway = Gateway::start(&format!(
        "
connectors:
  orders: {{ kafka: {{ brokers: [\"{}\"], discover_every: 1s }} }}
mappings:
  - {{ channel: \"/orders/{{region}}\", connector: orders, topic: \"{family}.{{region}}\", direction: both }}
",
        kafka.url()
    ));
    let mut subscriber = Client::websocket(&gateway.url()).await;
    subscriber.subscribe("/orders/*").await;
    let publisher = Client::websocket(&gateway.url()).await;
    let reply = answer(publisher.publish("/orders/new", "0")).await;
    assert!(reply.error().starts_with("404:/orders/new:topic_unknown"), "not there yet: {reply:?}");
    assert!(answer(publisher.publish("/orders/eu", r#""before""#)).await.ok());
    let message = subscriber.next().await;
    assert_eq!((message.channel.as_str(), message.text()), ("/orders/eu", r#""before""#));

    // Somebody makes the topic and writes at once, long before the gateway can know of it.
    let new = format!("{family}.new");
    let count = 500;
    let lines: String = (0..count).map(|n| format!("k{}:{}\n", n % 7, payload(n))).collect();
    aside(|| {
        make_topic(&kafka, &new, 3);
        produce(&kafka, &new, &lines);
    });
    let mut seen: Vec<usize> = subscriber
        .take(count)
        .await
        .iter()
        .map(|message| {
            assert_eq!(message.channel, "/orders/new");
            number(message.text())
        })
        .collect();
    for key in 0..7 {
        let of_key: Vec<usize> = seen.iter().copied().filter(|n| n % 7 == key).collect();
        assert!(of_key.is_sorted(), "key {key} is in order: {of_key:?}");
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..count).collect::<Vec<_>>(), "each once");

    // And browsers can publish to it, once it is known.
    let reply = answer(publisher.publish("/orders/new", r#""from a browser""#)).await;
    assert!(reply.ok(), "{reply:?}");
    assert_eq!(subscriber.next().await.text(), r#""from a browser""#);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_show_the_same_messages_in_the_same_order_per_partition() {
    let kafka = Broker::shared(Kind::Kafka);
    let topic = aside(|| new_topic(&kafka, "shared", 6));
    let gateways = [Gateway::start(&config(&kafka, &topic)), Gateway::start(&config(&kafka, &topic))];
    let mut subscribers = Vec::new();
    let mut publishers = Vec::new();
    for gateway in &gateways {
        for transport in [Transport::WebSocket, Transport::LongPolling] {
            let subscriber = Client::connect(&gateway.url(), transport).await;
            subscriber.subscribe("/orders/*").await;
            subscribers.push(subscriber);
        }
        publishers.push(Client::websocket(&gateway.url()).await);
    }

    // Both sides publish at once, on the same keys.
    let count = 1000;
    let publish = async |client: &Client, side: usize| {
        let mut window = gateway_tests::bayeux::Window::new(100);
        for n in 0..count {
            let data = format!(r#"{{"side":{side},"n":{n}}}"#);
            window.add([client.publish(&format!("/orders/key{}", n % 20), &data)]).await;
        }
        assert!(window.finish().await.iter().all(Message::ok));
    };
    tokio::join!(publish(&publishers[0], 0), publish(&publishers[1], 1));

    let stored = aside(|| dump(&kafka, &topic));
    assert_eq!(stored.len(), 2 * count);
    let place: HashMap<&str, (i32, i64)> =
        stored.iter().map(|record| (record.payload.as_str(), (record.partition, record.offset))).collect();
    for subscriber in &mut subscribers {
        let deliveries = subscriber.take(2 * count).await;
        let mut last: HashMap<i32, i64> = HashMap::new();
        for message in &deliveries {
            let (partition, offset) = place[message.text()];
            let before = last.insert(partition, offset).unwrap_or(-1);
            assert!(before < offset, "partition {partition}: {offset} came after {before}");
        }
        assert_eq!(last.len(), place.values().map(|p| p.0).collect::<std::collections::HashSet<_>>().len());
        assert_eq!(subscriber.taken_now().len(), 0, "nothing came twice");
    }
}
