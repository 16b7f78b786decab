//! The Kafka connector against a real broker, with kcat as the other side.

#![allow(clippy::unwrap_used, reason = "a test panics where something must not be")]

use bytes::Bytes;
use connector::conformance::{self, Fixture};
use connector::{
    Connector, ConnectorKind, Context, Cursor, Event, FilterToken, Inbound, Log, Outbound, Place, PublishError, Seen,
    Start, State, SubscribeError, Subscription, TopicFilter,
};
use connector_kafka::{KafkaFactory, SYNTAX};
use gateway_tests::kafka::{Stored, by_key, counts, dump, make_topic, new_topic, produce, unique};
use gateway_tests::lab::{Broker, Kind};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(60);

fn connect_with(brokers: &str, more: Value) -> Arc<dyn Connector> {
    let mut settings = json!({ "brokers": brokers.split(',').collect::<Vec<_>>(), "discover_every": "500ms" });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let context = Context { name: "orders".into(), node: "test".into() };
    ConnectorKind::of::<KafkaFactory>().plan(settings).unwrap().connect(context).unwrap()
}

fn connect(broker: &Broker) -> Arc<dyn Connector> {
    connect_with(&broker.url(), json!({}))
}

async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, event).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain: {what}"))
}

async fn up(connector: &Arc<dyn Connector>) {
    let mut health = connector.health();
    within("the connector is up", health.wait_for(|health| health.state == State::Up)).await.unwrap();
}

async fn not_up(connector: &Arc<dyn Connector>) -> String {
    let mut health = connector.health();
    let down = within("the outage shows", health.wait_for(|health| health.state == State::Down)).await.unwrap();
    down.reason.clone()
}

fn record(topic: &str, key: &str, payload: impl Into<Bytes>) -> Outbound {
    Outbound {
        topic: topic.into(),
        key: (!key.is_empty()).then(|| Bytes::copy_from_slice(key.as_bytes())),
        partition: None,
        payload: Some(payload.into()),
        headers: Vec::new(),
        deadline: Instant::now() + Duration::from_secs(5),
    }
}

struct Read {
    events: mpsc::Receiver<Event>,
    subscription: Subscription,
}

impl Read {
    fn begin(connector: &Arc<dyn Connector>, filter: TopicFilter, start: Start, capacity: usize) -> Read {
        let (sink, events) = mpsc::channel(capacity);
        let subscription = connector.subscribe(filter, start, sink).unwrap();
        Read { events, subscription }
    }
    async fn ready(mut self) -> Read {
        within("the subscription is ready", self.subscription.ready()).await.unwrap();
        self
    }
    async fn next(&mut self) -> Inbound {
        loop {
            match within("a record arrives", self.events.recv()).await.expect("the subscription goes on") {
                Event::Record(record) => return record,
                Event::Reached(_) => {}
            }
        }
    }
    async fn take(&mut self, count: usize) -> Vec<Inbound> {
        let mut got = Vec::with_capacity(count);
        while got.len() < count {
            got.push(self.next().await);
        }
        got
    }
}

fn exact(topic: &str) -> TopicFilter {
    TopicFilter::exact(topic, &SYNTAX)
}

fn family(prefix: &str) -> TopicFilter {
    let mut filter = exact(prefix);
    filter.tokens.push(FilterToken::Wild { prefix: String::new(), suffix: String::new() });
    filter
}

fn after(cursor: Cursor) -> Start {
    Start::After { cursor, others: None }
}

async fn live(connector: &Arc<dyn Connector>, filter: TopicFilter) -> Read {
    Read::begin(connector, filter, Start::Live, 20_000).ready().await
}

fn text(record: &Inbound) -> String {
    String::from_utf8(record.payload.clone().unwrap_or_default().to_vec()).unwrap()
}

fn key(record: &Inbound) -> String {
    String::from_utf8(record.key.clone().unwrap_or_default().to_vec()).unwrap()
}

struct Shared(Broker);

impl Fixture for Shared {
    fn connector(&self) -> Arc<dyn Connector> {
        connect(&self.0)
    }
    async fn create(&self, topic: &str, partitions: u32) {
        make_topic(&self.0, topic, partitions);
    }
    fn missing_topic(&self) -> Option<String> {
        Some(unique("conformance.missing"))
    }
    async fn trim(&self, topic: &str) -> bool {
        let (_, high) = ends(&self.0, topic)[&0];
        let file = tempfile();
        let request = json!({ "version": 1, "partitions": [{ "topic": topic, "partition": 0, "offset": high - 2 }] });
        std::fs::write(&file, request.to_string()).unwrap();
        let server = self.0.url();
        let path = file.display().to_string();
        let class = "org.apache.kafka.tools.DeleteRecordsCommand";
        self.0.run(&["tool", class, "--bootstrap-server", &server, "--offset-json-file", &path]);
        std::fs::remove_file(file).unwrap();
        true
    }
}

fn tempfile() -> std::path::PathBuf {
    std::env::temp_dir().join(unique("kafka-request"))
}

/// First and next offset of each partition, by what is stored.
fn ends(broker: &Broker, topic: &str) -> HashMap<i32, (i64, i64)> {
    let mut ends = HashMap::new();
    for stored in dump(broker, topic) {
        let end = ends.entry(stored.partition).or_insert((stored.offset, 0));
        end.1 = stored.offset + 1;
    }
    ends
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_keeps_the_promises_of_a_connector() {
    conformance::run(&Shared(Broker::shared(Kind::Kafka))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_records_over_six_partitions_keep_their_order_per_key_and_their_places() {
    let broker = Broker::shared(Kind::Kafka);
    let topic = new_topic(&broker, "order", 6);
    let connector = connect(&broker);
    up(&connector).await;
    let mut reader = live(&connector, exact(&topic)).await;
    // The first publishes wait until the topic is known to exist; the rest goes straight: one order for all.
    let answers: Vec<_> = (0..10_000usize)
        .map(|n| connector.publish(record(&topic, &format!("k{}", n % 100), format!("{{\"n\": {n}, \"x\":1.50}}"))))
        .collect();
    let mut places = HashMap::new();
    for (n, answer) in answers.into_iter().enumerate() {
        let Place { log, n: place, at, sole } =
            within("a publish is confirmed", answer).await.unwrap().expect("a place");
        assert_eq!((&log.topic[..], sole), (&topic[..], false));
        assert!(places.insert((log.partition, place, at), n).is_none(), "two records were told the same place");
    }
    let stored = dump(&broker, &topic);
    assert_eq!(stored.len(), 10_000);
    for stored in &stored {
        let n = places[&(stored.partition, stored.offset as u64 + 1, Some(stored.timestamp))];
        assert_eq!(stored.payload, format!("{{\"n\": {n}, \"x\":1.50}}"), "the place of record {n} holds another");
    }
    let in_log = by_key(&stored);
    assert_eq!(in_log.len(), 100);
    for (key, values) in &in_log {
        let k: usize = key[1..].parse().unwrap();
        let expected: Vec<_> = (0..100).map(|i| format!("{{\"n\": {}, \"x\":1.50}}", i * 100 + k)).collect();
        assert_eq!(values, &expected, "{key} is out of order in the log");
    }
    let mut got: HashMap<String, Vec<String>> = HashMap::new();
    for record in reader.take(10_000).await {
        got.entry(key(&record)).or_default().push(text(&record));
    }
    for (key, values) in in_log {
        assert_eq!(got[key], values, "{key} arrived in another order than it is stored in");
    }
    connector.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_kcat_arrive_once_each_in_order_per_key() {
    let broker = Broker::shared(Kind::Kafka);
    let topic = new_topic(&broker, "foreign", 6);
    let connector = connect(&broker);
    let mut reader = live(&connector, exact(&topic)).await;
    let lines: String = (0..10_000).map(|n| format!("k{}:{n}\n", n % 50)).collect();
    produce(&broker, &topic, &lines);
    let got = reader.take(10_000).await;
    let mut newest: HashMap<String, i64> = HashMap::new();
    let mut seen = HashSet::new();
    for record in &got {
        let n: i64 = text(record).parse().unwrap();
        assert!(seen.insert(n), "{n} arrived twice");
        let before = newest.insert(key(record), n);
        assert!(before.is_none_or(|before| before < n), "{n} overtook {before:?}");
        assert!(record.timestamp.is_some() && record.partition.is_some());
    }
    connector.close(Duration::from_secs(5)).await;
    while let Some(event) = reader.events.recv().await {
        assert!(matches!(event, Event::Reached(_)), "nothing came beyond what was stored, but {event:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_can_be_named_and_one_that_is_not_there_is_refused() {
    let broker = Broker::shared(Kind::Kafka);
    let topic = new_topic(&broker, "named", 3);
    let connector = connect(&broker);
    let mut sent = record(&topic, "any", "1");
    sent.partition = Some(2);
    sent.headers = vec![("bayeux-channel".into(), "/orders/7".into()), ("empty".into(), Bytes::new())];
    let place = connector.publish(sent.clone()).await.unwrap().unwrap();
    let Stored { partition, payload, headers, .. } = dump(&broker, &topic).pop().unwrap();
    assert_eq!((partition, payload.as_str(), headers.as_str()), (2, "1", "bayeux-channel=/orders/7,empty="));
    assert_eq!((place.log, place.n), (Log { topic: topic.as_str().into(), partition: 2 }, 1));
    sent.partition = Some(3);
    let refused = connector.publish(sent).await;
    assert!(matches!(refused, Err(PublishError::Rejected(_))), "{refused:?}");
    connector.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_refused_and_neither_publishing_nor_asking_nor_reading_makes_it() {
    let broker = Broker::shared(Kind::Kafka); // it makes topics by their first use, when asked so
    let connector = connect(&broker);
    let missing = unique("missing");
    let mut reader = live(&connector, exact(&missing)).await;
    let answers: Vec<_> = (0..3).map(|n| connector.publish(record(&missing, "k", n.to_string()))).collect();
    for answer in answers {
        assert_eq!(within("the refusal comes", answer).await, Err(PublishError::TopicUnknown(missing.clone())));
    }
    assert_eq!(connector.topic_exists(&missing, PATIENCE).await, Ok(false));
    for (topic, valid) in [("__consumer_offsets", false), ("a/b", false), (missing.as_str(), true)] {
        let answer = within("the refusal comes", connector.publish(record(topic, "", "x"))).await;
        assert_eq!(matches!(answer, Err(PublishError::TopicInvalid(_))), !valid, "{topic}: {answer:?}");
    }
    assert!(!broker.run(&["topics"]).contains(&missing), "the topic was made");
    // Made by somebody, it works at once, and the subscription that waited for it reads it from its beginning.
    make_topic(&broker, &missing, 2);
    // With Java's partitioner, which is ours: the same key has the same partition, so there is one order.
    broker.run_with_input(&["produce", &missing, "-K:", "-X", "partitioner=murmur2_random"], b"a:1\n");
    connector.publish(record(&missing, "a", "2")).await.unwrap();
    assert_eq!(connector.topic_exists(&missing, PATIENCE).await, Ok(true));
    assert_eq!([text(&reader.next().await), text(&reader.next().await)], ["1", "2"]);
    assert!(connector.probe(PATIENCE).await.unwrap().contains("1 broker"));
    connector.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_made_where_the_settings_say_so_up_to_a_number() {
    let broker = Broker::shared(Kind::Kafka);
    let create = json!({ "create_topics": { "partitions": 4, "copies": 1, "max": 2 } });
    let connector = connect_with(&broker.url(), create);
    for _ in 0..2 {
        let topic = unique("made");
        let answers: Vec<_> = (0..10).map(|n| connector.publish(record(&topic, "k", n.to_string()))).collect();
        for answer in answers {
            let mut sent = within("the topic is made", answer).await;
            if matches!(sent, Err(PublishError::Unavailable(_))) {
                sent = connector.publish(record(&topic, "k", "late")).await; // a slow machine
            }
            sent.unwrap();
        }
        let values: Vec<_> = dump(&broker, &topic).into_iter().map(|stored| stored.payload).collect();
        assert_eq!(values, (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
        assert!(broker.run(&["topics"]).contains(&format!("\"{topic}\" with 4 partitions")));
    }
    let third = unique("made");
    assert_eq!(connector.publish(record(&third, "k", "x")).await, Err(PublishError::TopicUnknown(third)));
    connector.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_while_a_family_is_read_loses_no_record_and_others_are_left_alone() {
    let broker = Broker::shared(Kind::Kafka);
    let base = unique("orders");
    make_topic(&broker, &format!("{base}.eu"), 1);
    produce(&broker, &format!("{base}.eu"), "k:old\n");
    let connector = connect(&broker);
    let mut reader = live(&connector, family(&base)).await;
    produce(&broker, &format!("{base}.eu"), "k:eu\n");
    assert_eq!(text(&reader.next().await), "eu");
    for (name, partitions) in [("new", 3), ("new.deeper", 1)] {
        make_topic(&broker, &format!("{base}.{name}"), partitions);
        let lines: String = (0..1000).map(|n| format!("k{}:{name} {n}\n", n % 20)).collect();
        produce(&broker, &format!("{base}.{name}"), &lines);
    }
    let got: HashSet<_> = reader.take(1000).await.iter().map(text).collect();
    assert_eq!(got, (0..1000).map(|n| format!("new {n}")).collect());
    // More partitions than before: what is stored there is read from the beginning as well.
    let (server, topic) = (broker.url(), format!("{base}.new"));
    let class = "org.apache.kafka.tools.TopicCommand";
    broker.run(&["tool", class, "--bootstrap-server", &server, "--alter", "--topic", &topic, "--partitions", "6"]);
    broker.run_with_input(&["produce", &topic, "-p", "5"], b"late\n");
    let late = reader.next().await;
    assert_eq!((text(&late).as_str(), late.partition), ("late", Some(5)));
    connector.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_and_made_anew_is_read_from_its_beginning_and_its_old_places_are_gone() {
    let broker = Broker::shared(Kind::Kafka);
    let topic = new_topic(&broker, "anew", 2);
    let connector = connect(&broker);
    let mut reader = live(&connector, exact(&topic)).await;
    broker.run_with_input(&["produce", &topic, "-p", "1"], b"0\n1\n2\n");
    let old = reader.take(3).await;
    let (server, class) = (broker.url(), "org.apache.kafka.tools.TopicCommand");
    broker.run(&["tool", class, "--bootstrap-server", &server, "--delete", "--topic", &topic]);
    make_topic(&broker, &topic, 2);
    // More records than there were before: their offsets alone would not show it.
    broker.run_with_input(&["produce", &topic, "-p", "1"], b"a\nb\nc\nd\ne\n");
    let new: Vec<_> = reader.take(5).await.iter().map(text).collect();
    assert_eq!(new, ["a", "b", "c", "d", "e"]);
    for record in old {
        let start = after(Cursor::from(record.place.unwrap()));
        let mut again = Read::begin(&connector, exact(&topic), start, 10);
        let refused = within("the refusal comes", again.subscription.ready()).await;
        assert!(matches!(refused, Err(SubscribeError::PositionGone { .. })), "{refused:?}");
    }
    connector.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_family_is_read_after_the_places_it_is_given_and_the_rest_from_the_beginning_or_from_a_time() {
    let broker = Broker::shared(Kind::Kafka);
    let base = unique("places");
    let [a, b] = ["a", "b"].map(|name| format!("{base}.{name}"));
    make_topic(&broker, &a, 2);
    make_topic(&broker, &b, 1);
    broker.run_with_input(&["produce", &a, "-p", "1"], b"a0\na1\na2\n");
    produce(&broker, &b, "k:b0\nk:b1\n");
    produce(&broker, &b, "k:b2\n"); // by another process, so that it is younger
    let connector = connect(&broker);
    let log = |topic: &str, partition| Log { topic: topic.into(), partition };
    let second = dump(&broker, &a).into_iter().find(|stored| stored.payload == "a1").unwrap();
    let seen = Seen { n: 2, at: Some(second.timestamp) };
    let cursor: Cursor = [(log(&a, 1), seen)].into_iter().collect();
    let youngest = dump(&broker, &b).pop().unwrap().timestamp;
    let time = std::time::UNIX_EPOCH + Duration::from_millis(u64::try_from(youngest).unwrap());
    for (others, of_b, wanted) in [(None, 0, ["a2", "b0", "b1", "b2"].as_slice()), (Some(time), 2, &["a2", "b2"])] {
        let start = Start::After { cursor: cursor.clone(), others };
        let mut read = Read::begin(&connector, family(&base), start, 10);
        let ready = within("it begins", read.subscription.ready()).await.unwrap();
        let begins: Vec<_> = ready.cursor.iter().map(|(log, seen)| (log.clone(), seen)).collect();
        let none = |n| Seen { n, at: None };
        assert_eq!(begins, [(log(&a, 0), none(0)), (log(&a, 1), seen), (log(&b, 0), none(of_b))]);
        assert!(!ready.sole);
        let mut got: Vec<_> = read.take(wanted.len()).await.iter().map(text).collect();
        got.sort();
        assert_eq!(got, wanted);
    }
    // What the filter does not match, and what is not there.
    for log in [log(&unique("elsewhere"), 0), log(&a, 7), log(&base, 0)] {
        let cursor: Cursor = [(log, Seen { n: 0, at: None })].into_iter().collect();
        let mut read = Read::begin(&connector, family(&base), after(cursor), 10);
        let refused = within("the refusal comes", read.subscription.ready()).await;
        assert_eq!(refused, Err(SubscribeError::PositionGone { first: None, last: None }));
    }
    // Another record stands there: what is kept is told.
    let other: Cursor = [(log(&a, 1), Seen { n: 2, at: Some(12_345) })].into_iter().collect();
    let mut read = Read::begin(&connector, exact(&a), after(other), 10);
    let refused = within("the refusal comes", read.subscription.ready()).await;
    assert_eq!(refused, Err(SubscribeError::PositionGone { first: Some(1), last: Some(3) }));
    connector.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stopped_holds_up_no_other_not_even_on_the_same_partition() {
    let broker = Broker::shared(Kind::Kafka);
    let topic = new_topic(&broker, "stopped", 1);
    let other = new_topic(&broker, "stopped", 1);
    let connector = connect(&broker);
    let mut stopped = Read::begin(&connector, exact(&topic), Start::Live, 1).ready().await;
    let mut same = live(&connector, exact(&topic)).await;
    let mut elsewhere = live(&connector, exact(&other)).await;
    let lines: String = (0..5000).map(|n| format!("k:{n}\n")).collect();
    produce(&broker, &topic, &lines);
    produce(&broker, &other, &lines);
    let all: Vec<_> = (0..5000).map(|n| n.to_string()).collect();
    assert_eq!(same.take(5000).await.iter().map(text).collect::<Vec<_>>(), all);
    assert_eq!(elsewhere.take(5000).await.iter().map(text).collect::<Vec<_>>(), all);
    // It has lost nothing either.
    assert_eq!(stopped.take(5000).await.iter().map(text).collect::<Vec<_>>(), all);
    connector.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_line_is_overload_and_a_record_too_large_is_told() {
    let broker = Broker::shared(Kind::Kafka);
    let topic = new_topic(&broker, "bounds", 1);
    let connector = connect_with(&broker.url(), json!({ "max_in_flight": 50, "properties": { "linger.ms": 300 } }));
    up(&connector).await;
    let answers: Vec<_> = (0..200).map(|n| connector.publish(record(&topic, "k", n.to_string()))).collect();
    let mut confirmed = Vec::new();
    for (n, answer) in answers.into_iter().enumerate() {
        match within("an answer comes", answer).await {
            Ok(_) => confirmed.push(n.to_string()),
            Err(error) => assert!(matches!(error, PublishError::Overloaded(_)), "{error:?}"),
        }
    }
    assert!((50..150).contains(&confirmed.len()), "{} were taken", confirmed.len());
    let stored: Vec<_> = dump(&broker, &topic).into_iter().map(|stored| stored.payload).collect();
    assert_eq!(stored, confirmed, "what was refused as overload is not stored, the rest is, in order");
    let large = connector.publish(record(&topic, "k", vec![b'x'; 3_000_000])).await;
    assert!(matches!(large, Err(PublishError::TooLarge(_))), "{large:?}");
    connector.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn header_names_and_values_of_any_bytes_by_others_do_no_harm() {
    let broker = Broker::shared(Kind::Kafka);
    let topic = new_topic(&broker, "headers", 1);
    let connector = connect(&broker);
    let mut reader = live(&connector, exact(&topic)).await;
    let server = broker.url();
    let mut kcat = std::process::Command::new("kcat");
    kcat.args(["-b", &server, "-P", "-t", &topic, "-H", "fine=1"]);
    kcat.arg("-H").arg(std::ffi::OsString::from(String::from_utf8(b"broken".to_vec()).unwrap()));
    {
        use std::os::unix::ffi::OsStringExt as _;
        kcat.arg("-H").arg(std::ffi::OsString::from_vec(b"\xff\xfe=2".to_vec()));
    }
    let mut child = kcat.stdin(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"one\n").unwrap();
    assert!(child.wait().unwrap().success());
    let got = reader.next().await;
    assert_eq!(text(&got), "one");
    assert_eq!(got.header("fine").map(|v| &v[..]), Some(&b"1"[..]));
    produce(&broker, &topic, "k:two\n");
    assert_eq!(text(&reader.next().await), "two");
    connector.close(Duration::from_secs(5)).await;
}

/// What happened to each publish.
#[derive(Default)]
struct Accounts {
    stored: Vec<String>,
    refused: Vec<String>,
    unknown: Vec<String>,
}

async fn publish_steadily(
    connector: Arc<dyn Connector>,
    topic: String,
    mut stop: tokio::sync::watch::Receiver<bool>,
) -> Accounts {
    let mut waiting = tokio::task::JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(2));
    for n in 0u64.. {
        let name = format!("m{n}");
        let answer = connector.publish(record(&topic, &format!("k{}", n % 20), name.clone()));
        waiting.spawn(async move { (name, answer.await) });
        tokio::select! { _ = ticks.tick() => {} _ = stop.wait_for(|stop| *stop) => break }
    }
    let mut accounts = Accounts::default();
    while let Some(done) = waiting.join_next().await {
        match done.unwrap() {
            (name, Ok(_)) => accounts.stored.push(name),
            (name, Err(PublishError::Unavailable(_) | PublishError::Overloaded(_))) => accounts.refused.push(name),
            (name, Err(PublishError::OutcomeUnknown(_))) => accounts.unknown.push(name),
            (name, Err(error)) => panic!("{name}: {error:?}"),
        }
    }
    accounts
}

/// Every confirmed record is in the log, every refused one is not; nothing is there twice; and a subscriber that was
/// there throughout got exactly what is in the log.
async fn settle(broker: &Broker, topic: &str, accounts: &Accounts, reader: &mut Read) {
    let stored = dump(broker, topic);
    let counts = counts(&stored);
    for (payload, count) in &counts {
        assert_eq!(*count, 1, "{payload} is stored {count} times");
    }
    for name in &accounts.stored {
        assert!(counts.contains_key(name.as_str()), "{name} was confirmed and is not in the log");
    }
    for name in &accounts.refused {
        assert!(!counts.contains_key(name.as_str()), "{name} was refused as not stored and is in the log");
    }
    for values in by_key(&stored).values() {
        let numbers = values.iter().filter_map(|v| v.strip_prefix('m')).map(|v| v.parse::<u64>().unwrap());
        assert!(numbers.is_sorted(), "out of order: {values:?}");
    }
    let mut got: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    for record in reader.take(stored.len()).await {
        got.entry(record.partition.unwrap()).or_default().push(text(&record));
    }
    for (partition, got) in got {
        let log: Vec<_> = stored.iter().filter(|s| s.partition == partition).map(|s| s.payload.clone()).collect();
        assert_eq!(got, log, "partition {partition} arrived otherwise than it is stored");
    }
    println!(
        "confirmed {}, refused {}, unknown {}",
        accounts.stored.len(),
        accounts.refused.len(),
        accounts.unknown.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_comes_back_and_every_answer_was_true() {
    let broker = Broker::own(Kind::Kafka, &[]);
    let topic = new_topic(&broker, "killed", 3);
    let connector = connect(&broker);
    up(&connector).await;
    let mut reader = live(&connector, exact(&topic)).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let publisher = tokio::spawn(publish_steadily(connector.clone(), topic.clone(), stopped));
    tokio::time::sleep(Duration::from_secs(2)).await;
    tokio::task::block_in_place(|| broker.kill());
    let reason = not_up(&connector).await;
    assert!(reason.contains("127.0.0.1") || reason.contains("brokers are down"), "{reason}");
    tokio::time::sleep(Duration::from_secs(8)).await;
    tokio::task::block_in_place(|| broker.start());
    // Records of others, stored while we may still be on our way back.
    let lines: String = (0..500).map(|n| format!("k{}:foreign{n}\n", n % 20)).collect();
    tokio::task::block_in_place(|| produce(&broker, &topic, &lines));
    up(&connector).await;
    within("a publish is confirmed again", async {
        while connector.publish(record(&topic, "again", "again")).await.is_err() {}
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.send_replace(true);
    let accounts = publisher.await.unwrap();
    assert!(!accounts.refused.is_empty(), "during the outage some were refused");
    let unknown = accounts.unknown.len();
    assert!(unknown < 1000, "{unknown} were in flight when the broker died, or held back for too long");
    settle(&broker, &topic, &accounts, &mut reader).await;
    connector.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_broker_leaves_no_false_answer_and_nothing_twice() {
    let broker = Broker::own(Kind::Kafka, &[]);
    let topic = new_topic(&broker, "paused", 3);
    let connector = connect(&broker);
    up(&connector).await;
    let mut reader = live(&connector, exact(&topic)).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let publisher = tokio::spawn(publish_steadily(connector.clone(), topic.clone(), stopped));
    tokio::time::sleep(Duration::from_secs(1)).await;
    tokio::task::block_in_place(|| broker.pause());
    not_up(&connector).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    tokio::task::block_in_place(|| broker.resume());
    up(&connector).await;
    within("a publish is confirmed again", async {
        while connector.publish(record(&topic, "again", "again")).await.is_err() {}
    })
    .await;
    stop.send_replace(true);
    let accounts = publisher.await.unwrap();
    settle(&broker, &topic, &accounts, &mut reader).await;
    connector.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_that_starts_without_its_broker_waits_and_loses_nothing_stored_after_the_call() {
    let broker = Broker::own(Kind::Kafka, &[]);
    let topic = new_topic(&broker, "absent", 3);
    produce(&broker, &topic, "k:before\n");
    broker.kill();
    let connector = connect(&broker);
    let mut reader = Read::begin(&connector, exact(&topic), Start::Live, 1000);
    let late = connector.publish(record(&topic, "k", "refused"));
    let mut patient = record(&topic, "k", "patient");
    patient.deadline = Instant::now() + PATIENCE;
    let patient = connector.publish(patient);
    let refused = late.await;
    assert!(matches!(refused, Err(PublishError::Unavailable(_))), "{refused:?}");
    let health = connector.health().borrow().clone();
    assert_eq!((health.state, health.was_up), (State::Connecting, false));
    assert!(health.reason.contains("127.0.0.1"), "{}", health.reason);
    assert!(connector.probe(Duration::from_millis(500)).await.is_err());
    tokio::task::block_in_place(|| broker.start());
    tokio::task::block_in_place(|| produce(&broker, &topic, "k:after\n"));
    within("what waited is stored", patient).await.unwrap();
    reader = reader.ready().await;
    let got: HashSet<_> = reader.take(2).await.iter().map(text).collect();
    assert_eq!(got, HashSet::from(["after".to_owned(), "patient".to_owned()]));
    assert!(dump(&broker, &topic).iter().all(|stored| stored.payload != "refused"));
    connector.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_whose_leaders_change_loses_and_doubles_nothing() {
    let cluster = Broker::own(Kind::Kafka, &[("KAFKA_NODES", "3"), ("KAFKA_HEAP", "256m")]);
    let topic = unique("leaders");
    cluster.run(&["topic", &topic, "6", "3"]);
    let connector = connect(&cluster);
    up(&connector).await;
    let mut reader = live(&connector, exact(&topic)).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let publisher = tokio::spawn(publish_steadily(connector.clone(), topic.clone(), stopped));
    for node in ["2", "3"] {
        tokio::time::sleep(Duration::from_secs(1)).await;
        tokio::task::block_in_place(|| cluster.run(&["kill", node]));
        tokio::time::sleep(Duration::from_secs(4)).await;
        tokio::task::block_in_place(|| cluster.run(&["start", node]));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.send_replace(true);
    let accounts = publisher.await.unwrap();
    settle(&cluster, &topic, &accounts, &mut reader).await;
    connector.close(Duration::from_secs(5)).await;
}
