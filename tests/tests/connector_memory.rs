//! The memory connector keeps the promises of a connector, with topics made by publishing and with declared ones.

#![allow(clippy::unwrap_used, reason = "a test panics where something must not be")]

use connector::conformance::{self, Fixture};
use connector::{ByteSize, Connector, ConnectorKind, Context, Event, Inbound, Outbound, Start, State, TopicFilter};
use connector_memory::{MemoryConnector, MemoryFactory, SYNTAX, Settings};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Memory has no tools but its own: topics are declared, and trimmed by publishing more than is kept.
struct Logs {
    settings: Settings,
    newest: Mutex<Option<MemoryConnector>>,
}

impl Logs {
    fn new(settings: Settings) -> Logs {
        Logs { settings, newest: Mutex::default() }
    }

    fn newest(&self) -> MemoryConnector {
        self.newest.lock().unwrap().clone().expect("a case has asked for a connector")
    }
}

impl Fixture for Logs {
    fn connector(&self) -> Arc<dyn Connector> {
        let connector = MemoryConnector::open(self.settings.clone()).unwrap();
        *self.newest.lock().unwrap() = Some(connector.clone());
        Arc::new(connector)
    }

    async fn create(&self, topic: &str, _: u32) {
        if !self.settings.create_topics {
            self.newest().declare(topic).unwrap();
        }
    }

    fn missing_topic(&self) -> Option<String> {
        (!self.settings.create_topics).then(|| "conformance.nobody-made-this".to_owned())
    }

    async fn trim(&self, topic: &str) -> bool {
        let connector = self.newest();
        for _ in 0..self.settings.max_messages {
            connector.publish(record(topic, "filler")).await.unwrap();
        }
        true
    }
}

fn record(topic: &str, payload: impl Into<bytes::Bytes>) -> Outbound {
    Outbound {
        topic: topic.into(),
        key: None,
        partition: None,
        payload: Some(payload.into()),
        headers: Vec::new(),
        deadline: Instant::now() + Duration::from_secs(5),
    }
}

fn all() -> TopicFilter {
    TopicFilter { tokens: Vec::new(), rest: true }
}

async fn next(records: &mut mpsc::Receiver<Event>) -> Inbound {
    loop {
        let event = tokio::time::timeout(Duration::from_secs(60), records.recv()).await;
        if let Event::Record(record) = event.expect("a record within a minute").expect("the subscription goes on") {
            return record;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_every_promise_with_topics_made_by_publishing() {
    conformance::run(&Logs::new(Settings { max_messages: 2000, ..Settings::default() })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_every_promise_with_declared_topics() {
    let settings = Settings {
        max_messages: 2000,
        topics: vec!["conformance.declared".into()],
        create_topics: false,
        ..Settings::default()
    };
    conformance::run(&Logs::new(settings)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_publishers_at_once_are_read_in_one_order_by_every_reader_of_all_topics() {
    const PUBLISHERS: usize = 8;
    const EACH: usize = 2000;
    let connector = MemoryConnector::open(Settings::default()).unwrap();
    let mut readers = Vec::new();
    for _ in 0..3 {
        let (sink, records) = mpsc::channel(16);
        let mut subscription = connector.subscribe(all(), Start::Live, sink).unwrap();
        let begins = subscription.ready().await.unwrap().cursor.iter().next().unwrap().1.n;
        readers.push((subscription, records, begins));
    }
    for publisher in 0..PUBLISHERS {
        let connector = connector.clone();
        tokio::spawn(async move {
            for n in 0..EACH {
                let topic = format!("topic-{}.x", (publisher + n) % 5);
                connector.publish(record(&topic, n.to_string())).await.unwrap();
                if n % 100 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        });
    }
    for (_subscription, mut records, begins) in readers {
        for expected in 1..=PUBLISHERS * EACH {
            let place = next(&mut records).await.place.unwrap();
            assert_eq!(place.n, begins + expected as u64);
        }
    }
    assert_eq!(connector.dropped(), 0);
}

#[tokio::test]
async fn a_reader_that_retention_overtakes_goes_on_with_what_is_kept_and_the_loss_is_counted() {
    let connector = MemoryConnector::open(Settings { max_messages: 100, ..Settings::default() }).unwrap();
    let (sink, mut records) = mpsc::channel(1);
    let _subscription = connector.subscribe(TopicFilter::exact("t", &SYNTAX), Start::Live, sink).unwrap();
    for n in 0..1000 {
        connector.publish(record("t", n.to_string())).await.unwrap();
        // The reader's task runs, and stands before a full sink.
        tokio::task::yield_now().await;
    }
    let mut read = 0u64;
    loop {
        let record = next(&mut records).await;
        read += 1;
        if record.payload.as_deref() == Some(b"999") {
            break;
        }
    }
    assert!(connector.dropped() > 0, "nothing was counted");
    assert_eq!(read + connector.dropped(), 1000, "each record was read or is counted");
}

#[tokio::test]
async fn the_registry_makes_a_connector_from_settings_and_points_at_a_mistake() {
    let kind = ConnectorKind::of::<MemoryFactory>();
    assert_eq!(kind.kind, "memory");
    let wrong = kind.plan(serde_json::json!({ "max_bytes": "16 apples" })).err().expect("a mistake");
    assert_eq!(wrong.path, ["max_bytes"]);
    assert!(wrong.message.contains("512B, 64KiB"), "{}", wrong.message);
    let unknown = kind.plan(serde_json::json!({ "max_mesages": 1 })).err().expect("a mistake");
    assert!(unknown.message.contains("max_mesages"), "{}", unknown.message);

    let settings = serde_json::json!({ "max_bytes": "64KiB", "max_age": "24h", "topics": ["orders.eu"] });
    let plan = kind.plan(settings).unwrap_or_else(|error| panic!("{error}"));
    let context = Context { name: "demo".into(), node: "test".into() };
    let connector = plan.connect(context).unwrap();
    assert_eq!(connector.health().borrow().state, State::Up);
    assert_eq!(connector.capabilities(), plan.capabilities());
    let probe = connector.probe(Duration::from_secs(1)).await.unwrap();
    assert_eq!(probe, "in this process: 1 topics, 0 records, 0 bytes");
    let large = connector.publish(record("orders.eu", vec![b'x'; ByteSize::from_kib(64).as_usize()])).await;
    assert!(matches!(large, Err(connector::PublishError::TooLarge(_))), "{large:?}");
}
