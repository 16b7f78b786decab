//! What the stories share: connectors, records, readers with patience.

use connector::{
    Connector, ConnectorKind, Context, Cursor, Event, Inbound, Log, Outbound, Place, PublishError, Ready, Seen, Start,
    State, Subscription, TopicFilter,
};
use connector_nats::{NatsFactory, SYNTAX};
use gateway_tests::lab::Broker;
use serde_json::{Value, json};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Long, because nothing here measures speed.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain: {what}"),
    }
}

/// A connector from settings, as the gateway would make it; the server's address is added.
pub fn connect(nats: &Broker, settings: Value) -> Arc<dyn Connector> {
    let mut settings = settings;
    if settings.get("servers").is_none() {
        settings["servers"] = json!([nats.url()]);
    }
    let plan = ConnectorKind::of::<NatsFactory>().plan(settings).unwrap_or_else(|e| panic!("{:?}: {e}", e.path));
    plan.connect(Context { name: "events".into(), node: "test".into() }).expect("it starts")
}

pub fn jetstream(nats: &Broker) -> Arc<dyn Connector> {
    connect(nats, json!({ "jetstream": true }))
}

pub async fn until(connector: &Arc<dyn Connector>, state: State) {
    let mut health = connector.health();
    let what = format!("the health becomes {}", state.as_str());
    within(&what, health.wait_for(|h| h.state == state)).await.expect("health is told");
}

pub fn record(topic: &str, payload: impl Into<bytes::Bytes>) -> Outbound {
    Outbound {
        topic: topic.into(),
        key: None,
        partition: None,
        payload: Some(payload.into()),
        headers: Vec::new(),
        deadline: Instant::now() + Duration::from_secs(20),
    }
}

pub async fn store(connector: &Arc<dyn Connector>, topic: &str, payload: &str) -> u64 {
    let answer = connector.publish(record(topic, payload.to_owned())).await;
    match answer {
        Ok(Some(place)) => place.n,
        other => panic!("publishing {payload} to {topic}: {other:?}"),
    }
}

pub async fn refusal(connector: &Arc<dyn Connector>, record: Outbound) -> PublishError {
    match within("a publish is answered", connector.publish(record)).await {
        Err(error) => error,
        Ok(position) => panic!("it was taken, at {position:?}"),
    }
}

/// A filter as text: `*` any token, `**` at the end all that follow.
pub fn filter(text: &str) -> TopicFilter {
    let (text, rest) = match text.strip_suffix(".**") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let mut filter = TopicFilter::exact(text, &SYNTAX);
    filter.rest = rest;
    for token in &mut filter.tokens {
        if *token == connector::FilterToken::Literal("*".into()) {
            *token = connector::FilterToken::Wild { prefix: String::new(), suffix: String::new() };
        }
    }
    filter
}

/// Strictly after these sequences of streams; others from their beginning.
pub fn after(streams: &[(&str, u64)]) -> Start {
    let cursor: Cursor = streams.iter().map(|(stream, n)| (log(stream), Seen { n: *n, at: None })).collect();
    Start::After { cursor, others: None }
}

pub fn log(stream: &str) -> Log {
    Log { topic: stream.into(), partition: 0 }
}

pub struct Reader {
    pub events: mpsc::Receiver<Event>,
    pub subscription: Subscription,
}

/// Subscribes without waiting.
pub fn begin(connector: &Arc<dyn Connector>, topics: &str, start: Start, capacity: usize) -> Reader {
    let (sink, events) = mpsc::channel(capacity);
    let subscription = connector.subscribe(filter(topics), start, sink).expect("the filter is good");
    Reader { events, subscription }
}

/// Subscribes and waits until it is ready.
pub async fn read(connector: &Arc<dyn Connector>, topics: &str, start: Start) -> Reader {
    read_told(connector, topics, start).await.0
}

/// The same, and where it begins.
pub async fn read_told(connector: &Arc<dyn Connector>, topics: &str, start: Start) -> (Reader, Ready) {
    let mut reader = begin(connector, topics, start, 64);
    let ready = within("a subscription is ready", reader.subscription.ready()).await.expect("it can begin");
    (reader, ready)
}

/// The next record, whatever else comes before it.
pub async fn next(events: &mut mpsc::Receiver<Event>, what: &str) -> Inbound {
    loop {
        if let Event::Record(record) = within(what, events.recv()).await.expect("the subscription goes on") {
            return record;
        }
    }
}

impl Reader {
    pub async fn next(&mut self) -> Inbound {
        next(&mut self.events, "a record arrives").await
    }

    /// The next place that is told, be it a record's.
    pub async fn place(&mut self) -> Place {
        match within("a place is told", self.events.recv()).await.expect("the subscription goes on") {
            Event::Record(record) => record.place.expect("a record of a log has a place"),
            Event::Reached(place) => place,
        }
    }

    /// Reads until that sequence of the stream is reached: the texts of the records on the way.
    pub async fn until(&mut self, stream: &str, n: u64) -> Vec<String> {
        let mut texts = Vec::new();
        loop {
            let what = format!("{n} of {stream} is reached (the last was {:?})", texts.last());
            let event = within(&what, self.events.recv()).await.expect("the subscription goes on");
            let place = match event {
                Event::Record(record) => {
                    texts.push(text(&record));
                    record.place
                }
                Event::Reached(place) => Some(place),
            };
            if place.is_some_and(|place| place.log == log(stream) && place.n >= n) {
                return texts;
            }
        }
    }

    pub async fn text(&mut self) -> String {
        text(&self.next().await)
    }

    pub async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::with_capacity(count);
        while texts.len() < count {
            let what = format!("{count} records arrive ({} did, the last {:?})", texts.len(), texts.last());
            texts.push(text(&next(&mut self.events, &what).await));
        }
        texts
    }

    /// The texts of the records that have come and were not taken.
    pub fn left(&mut self) -> Vec<String> {
        let events = std::iter::from_fn(|| self.events.try_recv().ok());
        events.filter_map(|event| if let Event::Record(record) = event { Some(text(&record)) } else { None }).collect()
    }
}

pub fn text(record: &Inbound) -> String {
    String::from_utf8(record.payload.clone().expect("a value").to_vec()).expect("text")
}

pub fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}
