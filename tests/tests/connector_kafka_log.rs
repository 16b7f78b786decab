//! The ends of Kafka's logs, where they are no records: transactions that abort, transactions that are open, compaction.

#![allow(clippy::unwrap_used, reason = "a test panics where something must not be")]

use connector::{
    Connector, ConnectorKind, Context, Event, Log, Outbound, Place, Ready, Seen, Start, SubscribeError, Subscription,
    TopicFilter,
};
use connector_kafka::{KafkaFactory, SYNTAX};
use gateway_tests::kafka::{dump, new_topic, produce, unique};
use gateway_tests::lab::{Broker, Kind};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::block_in_place;

const PATIENCE: Duration = Duration::from_secs(60);

fn connect(broker: &Broker) -> Arc<dyn Connector> {
    let context = Context { name: "orders".into(), node: "test".into() };
    let settings = json!({ "brokers": [broker.url()] });
    ConnectorKind::of::<KafkaFactory>().plan(settings).unwrap().connect(context).unwrap()
}

async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, event).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain: {what}"))
}

struct Read {
    events: mpsc::Receiver<Event>,
    subscription: Subscription,
}

impl Read {
    fn begin(connector: &Arc<dyn Connector>, topic: &str, start: Start, capacity: usize) -> Read {
        let (sink, events) = mpsc::channel(capacity);
        let subscription = connector.subscribe(TopicFilter::exact(topic, &SYNTAX), start, sink).unwrap();
        Read { events, subscription }
    }

    async fn ready(&mut self) -> Ready {
        within("it begins", self.subscription.ready()).await.unwrap()
    }

    /// Where it stands at its beginning, in the topic's only partition.
    async fn begins(&mut self) -> u64 {
        let ready = self.ready().await;
        assert!(ready.sole && ready.cursor.len() == 1, "{ready:?}");
        ready.cursor.iter().next().unwrap().1.n
    }

    async fn refused(mut self) -> SubscribeError {
        self.subscription.ready().await.expect_err("it is refused")
    }

    async fn next(&mut self) -> Event {
        within("something arrives", self.events.recv()).await.expect("the subscription goes on")
    }

    /// Payloads and places until the end is told to be there. The places only grow.
    async fn until(&mut self, end: u64) -> Vec<(String, u64)> {
        let (mut records, mut newest) = (Vec::new(), None);
        loop {
            let place = match self.next().await {
                Event::Record(record) => {
                    let place = record.place.unwrap();
                    assert_eq!(place.at, record.timestamp);
                    records.push((String::from_utf8(record.payload.unwrap().to_vec()).unwrap(), place.n));
                    place
                }
                Event::Reached(place) => {
                    assert_eq!(place.at, None);
                    place
                }
            };
            assert!(newest < Some(place.n), "{} was told after {newest:?}", place.n);
            newest = Some(place.n);
            assert!(place.n <= end, "{} is beyond the end, {end}", place.n);
            if place.n == end {
                return records;
            }
        }
    }
}

fn after(topic: &str, n: u64, at: Option<i64>) -> Start {
    let log = Log { topic: topic.into(), partition: 0 };
    Start::After { cursor: [(log, Seen { n, at })].into_iter().collect(), others: None }
}

fn transactional(broker: &Broker) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.url()).set("transactional.id", unique("transaction"));
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer
}

/// Stores these in the transaction, which must have begun.
fn store(producer: &BaseProducer, topic: &str, payloads: &[&str]) {
    for payload in payloads {
        // With a key: a compacted topic takes nothing without.
        let record = BaseRecord::to(topic).key("transaction").payload(*payload).partition(0);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

fn transaction(producer: &BaseProducer, topic: &str, payloads: &[&str], commit: bool) {
    producer.begin_transaction().unwrap();
    store(producer, topic, payloads);
    if commit {
        producer.commit_transaction(PATIENCE).unwrap();
    } else {
        producer.abort_transaction(PATIENCE).unwrap();
    }
}

fn texts(records: &[(&str, u64)]) -> Vec<(String, u64)> {
    records.iter().map(|(text, n)| ((*text).to_owned(), *n)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_is_told_beyond_markers_and_aborted_records_none_of_which_arrives() {
    let broker = Broker::shared(Kind::Kafka);
    let topic = new_topic(&broker, "transactions", 1);
    let connector = connect(&broker);
    let mut live = Read::begin(&connector, &topic, Start::Live, 100);
    assert_eq!(live.begins().await, 0);
    assert!(live.until(0).await.is_empty(), "an empty log's end is told");
    let producer = block_in_place(|| {
        let producer = transactional(&broker);
        transaction(&producer, &topic, &["a", "b"], true); // 0, 1, and a marker at 2
        transaction(&producer, &topic, &["no", "no"], false); // 3, 4, 5
        transaction(&producer, &topic, &["c"], true); // 6, 7
        producer
    });
    let all = texts(&[("a", 1), ("b", 2), ("c", 7)]);
    assert_eq!(live.until(8).await, all);
    let mut earliest = Read::begin(&connector, &topic, Start::Earliest, 100);
    assert_eq!((earliest.begins().await, earliest.until(8).await), (0, all.clone()));
    // With room for one at a time it is the same.
    let mut narrow = Read::begin(&connector, &topic, Start::Earliest, 1);
    assert_eq!((narrow.begins().await, narrow.until(8).await), (0, all));
    // An abort alone moves the end, and so do many.
    block_in_place(|| transaction(&producer, &topic, &["no"], false)); // 8, 9
    for reader in [&mut live, &mut earliest, &mut narrow] {
        assert!(reader.until(10).await.is_empty());
    }
    for n in 3..9 {
        // Places within what was aborted, and on markers, are places.
        let mut reader = Read::begin(&connector, &topic, after(&topic, n, None), 100);
        let rest = if n < 7 { texts(&[("c", 7)]) } else { Vec::new() };
        assert_eq!((reader.begins().await, reader.until(10).await), (n, rest));
    }
    for n in [11, 12, 1_000] {
        let refused =
            within("the refusal comes", Read::begin(&connector, &topic, after(&topic, n, None), 1).refused()).await;
        assert_eq!(refused, SubscribeError::PositionGone { first: Some(1), last: Some(10) }, "{n} is beyond the end");
    }
    // Who begins at the end learns that there is nothing; a live one that shares its consumer with another as well.
    for start in [after(&topic, 10, None), Start::Live] {
        let mut reader = Read::begin(&connector, &topic, start, 100);
        assert_eq!((reader.begins().await, reader.until(10).await), (10, Vec::new()));
    }
    connector.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_holds_back_what_is_behind_it_and_places_there_are_waited_for() {
    let broker = Broker::shared(Kind::Kafka);
    let topic = new_topic(&broker, "open", 1);
    let connector = connect(&broker);
    let (aborting, open) = block_in_place(|| {
        let (aborting, open) = (transactional(&broker), transactional(&broker));
        aborting.begin_transaction().unwrap();
        store(&aborting, &topic, &["no"]); // 0
        open.begin_transaction().unwrap();
        store(&open, &topic, &["held"]); // 1
        (aborting, open)
    });
    let mut live = Read::begin(&connector, &topic, Start::Live, 100);
    assert_eq!(live.begins().await, 0, "nothing can be read yet");
    block_in_place(|| aborting.abort_transaction(PATIENCE).unwrap()); // its marker, 2, is behind the open one
    assert!(live.until(1).await.is_empty(), "the end has moved, though nobody can read what moved it");
    let sent = Outbound {
        topic: topic.as_str().into(),
        key: None,
        partition: None,
        payload: Some("behind".into()),
        headers: Vec::new(),
        deadline: Instant::now() + Duration::from_secs(30),
    };
    let Place { n, at, sole, .. } = within("it is stored", connector.publish(sent)).await.unwrap().unwrap(); // 3
    assert_eq!((n, sole), (4, true));
    let mut waiting = Read::begin(&connector, &topic, after(&topic, n, at), 100);
    let mut earliest = Read::begin(&connector, &topic, Start::Earliest, 100);
    assert!(earliest.until(1).await.is_empty());
    block_in_place(|| open.commit_transaction(PATIENCE).unwrap()); // 4
    assert_eq!((waiting.begins().await, waiting.until(5).await), (4, Vec::new()));
    for reader in [&mut live, &mut earliest] {
        assert_eq!(reader.until(5).await, texts(&[("held", 2), ("behind", 4)]));
    }
    connector.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_compaction_took_is_passed_over_and_places_there_are_places() {
    let folder = tempfile::tempdir().unwrap();
    let extra = folder.path().join("server.properties");
    std::fs::write(&extra, "log.cleaner.backoff.ms=200\n").unwrap();
    let broker = Broker::own(Kind::Kafka, &[("KAFKA_EXTRA", extra.to_str().unwrap())]);
    let topic = unique("compacted");
    let (server, class) = (broker.url(), "org.apache.kafka.tools.TopicCommand");
    let make = ["tool", class, "--bootstrap-server", &server, "--create", "--topic", &topic, "--partitions", "1"];
    let mut make = make.to_vec();
    for setting in ["cleanup.policy=compact", "segment.bytes=1048576", "min.cleanable.dirty.ratio=0.001"] {
        make.extend(["--config", setting]);
    }
    broker.run(&make);
    let filling = "x".repeat(10_000);
    // Four segments of values for five keys; then what is aborted is the last of the log.
    for batch in 0..4 {
        let lines: String = (batch * 100..batch * 100 + 100).map(|n| format!("k{}:{n} {filling}\n", n % 5)).collect();
        produce(&broker, &topic, &lines);
    }
    let seventh = dump(&broker, &topic).into_iter().nth(6).unwrap();
    within("most of it is compacted", async {
        while block_in_place(|| dump(&broker, &topic)).len() > 200 {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    })
    .await;
    block_in_place(|| transaction(&transactional(&broker), &topic, &["no", "no"], false)); // 400, 401, 402
    let connector = connect(&broker);
    let mut earliest = Read::begin(&connector, &topic, Start::Earliest, 10);
    earliest.ready().await;
    let got = earliest.until(403).await;
    assert!(got.len() <= 200, "{} records are left", got.len());
    for key in 0..5 {
        let newest = 395 + key;
        assert!(got.iter().any(|(text, n)| text.starts_with(&format!("{newest} ")) && *n == newest + 1));
    }
    let all_in_order = got.iter().all(|(text, n)| text.split(' ').next() == Some(&(n - 1).to_string()));
    assert!(all_in_order && got.is_sorted_by_key(|(_, n)| *n), "each value is at its own place");
    // The record of that place is gone, so that nothing is compared; what follows comes.
    let n = u64::try_from(seventh.offset).unwrap() + 1;
    let mut later = Read::begin(&connector, &topic, after(&topic, n, Some(seventh.timestamp)), 10);
    assert_eq!(later.begins().await, n);
    let rest: Vec<_> = got.into_iter().filter(|(_, place)| *place > n).collect();
    assert_eq!(later.until(403).await.len(), rest.len());
    connector.close(Duration::from_secs(5)).await;
}
