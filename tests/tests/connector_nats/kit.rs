//! What the stories share: connectors, records, readers with patience.

use connector::{
    Connector, ConnectorKind, Context, Inbound, Outbound, Position, PublishError, Start, State, Subscription,
    TopicFilter,
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
        Ok(Some(Position::Number(sequence))) => sequence,
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

pub struct Reader {
    pub records: mpsc::Receiver<Inbound>,
    pub subscription: Subscription,
}

/// Subscribes without waiting.
pub fn begin(connector: &Arc<dyn Connector>, topics: &str, start: Start, capacity: usize) -> Reader {
    let (sink, records) = mpsc::channel(capacity);
    let subscription = connector.subscribe(filter(topics), start, sink).expect("the filter is good");
    Reader { records, subscription }
}

/// Subscribes and waits until it is ready.
pub async fn read(connector: &Arc<dyn Connector>, topics: &str, start: Start) -> Reader {
    let mut reader = begin(connector, topics, start, 64);
    within("a subscription is ready", reader.subscription.ready()).await.expect("it can begin");
    reader
}

impl Reader {
    pub async fn next(&mut self) -> Inbound {
        within("a record arrives", self.records.recv()).await.expect("the subscription goes on")
    }

    pub async fn text(&mut self) -> String {
        text(&self.next().await)
    }

    pub async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::with_capacity(count);
        while texts.len() < count {
            let what = format!("{count} records arrive ({} did, the last {:?})", texts.len(), texts.last());
            texts.push(text(&within(&what, self.records.recv()).await.expect("the subscription goes on")));
        }
        texts
    }
}

pub fn text(record: &Inbound) -> String {
    String::from_utf8(record.payload.clone().expect("a value").to_vec()).expect("text")
}

pub fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}
