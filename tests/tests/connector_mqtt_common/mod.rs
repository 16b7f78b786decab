//! What the tests of the MQTT connector share.
#![allow(dead_code)] // each test binary uses its part

use bytes::Bytes;
use connector::{
    Connector, ConnectorKind, Context, Event, Health, Inbound, Outbound, PublishError, Start, State, Subscription,
    TopicFilter,
};
use connector_mqtt::{MqttFactory, SYNTAX};
use gateway_tests::lab::Broker;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// How long an event may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, event).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain: {what}"))
}

/// A name that no other test or run uses.
pub fn unique(name: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros());
    format!("{name}-{now:x}-{:x}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A connector with these settings beside the address, as the node of that name.
pub fn connect_as(node: &str, url: &str, more: &Value) -> Arc<dyn Connector> {
    let mut settings = json!({ "url": url });
    for (key, value) in more.as_object().into_iter().flatten() {
        settings[key] = value.clone();
    }
    let plan = ConnectorKind::of::<MqttFactory>().plan(settings).unwrap_or_else(|e| panic!("{:?}: {e}", e.path));
    let context = Context { name: "sensors".into(), node: node.into() };
    plan.connect(context).unwrap_or_else(|e| panic!("{e}"))
}

pub fn connect(broker: &Broker) -> Arc<dyn Connector> {
    connect_as(&unique("node"), &broker.url(), &json!({}))
}

pub async fn until(connector: &Arc<dyn Connector>, state: State) -> Health {
    let mut health = connector.health();
    let reached = within(state.as_str(), health.wait_for(|h| h.state == state)).await;
    reached.expect("the connector lives").clone()
}

pub async fn up(connector: Arc<dyn Connector>) -> Arc<dyn Connector> {
    until(&connector, State::Up).await;
    connector
}

pub fn record(topic: &str, payload: impl Into<Bytes>, within: Duration) -> Outbound {
    Outbound {
        topic: topic.into(),
        key: None,
        partition: None,
        payload: Some(payload.into()),
        headers: Vec::new(),
        deadline: Instant::now() + within,
    }
}

/// Publishes until the broker says yes, as a client does that is told to retry.
pub async fn store(connector: &Arc<dyn Connector>, topic: &str, payload: &str) {
    let result = within("a publish is answered", connector.publish(record(topic, payload.to_owned(), PATIENCE))).await;
    assert_eq!(result, Ok(None), "{topic}");
}

/// What the answer to a publish says about the broker's holding it.
pub fn surely_not_stored(answer: &Result<Option<connector::Place>, PublishError>) -> bool {
    matches!(answer, Err(PublishError::Unavailable(_) | PublishError::Overloaded(_)))
}

pub struct Reader {
    pub records: mpsc::Receiver<Event>,
    pub subscription: Subscription,
}

/// `a/b`, or `a/**` for all below.
pub fn filter(topic: &str) -> TopicFilter {
    match topic.strip_suffix("/**") {
        Some(parent) => TopicFilter { rest: true, ..TopicFilter::exact(parent, &SYNTAX) },
        None => TopicFilter::exact(topic, &SYNTAX),
    }
}

impl Reader {
    pub fn begin(connector: &Arc<dyn Connector>, topic: &str, capacity: usize) -> Reader {
        let (sink, records) = mpsc::channel(capacity);
        let subscription = connector.subscribe(filter(topic), Start::Live, sink).expect("a valid subscription");
        Reader { records, subscription }
    }

    pub async fn of(connector: &Arc<dyn Connector>, topic: &str) -> Reader {
        let mut reader = Reader::begin(connector, topic, 20_000);
        within("the subscription is ready", reader.subscription.ready()).await.expect("it is granted");
        reader
    }

    pub async fn next(&mut self) -> Inbound {
        match within("a record arrives", self.records.recv()).await.expect("the subscription goes on") {
            Event::Record(record) => record,
            Event::Reached(place) => panic!("MQTT has no log, yet {place:?} was told"),
        }
    }

    pub async fn payloads(&mut self, count: usize) -> Vec<String> {
        let mut payloads = Vec::new();
        while payloads.len() < count {
            payloads.push(text(&self.next().await));
        }
        payloads
    }
}

pub fn text(record: &Inbound) -> String {
    String::from_utf8(record.payload.clone().expect("a value").to_vec()).expect("text")
}

/// Publishes with Mosquitto's own client; waits until the broker has it.
pub fn mosquitto_pub(broker: &Broker, arguments: &[&str]) {
    let mut all = vec!["pub", "-V", "5", "-q", "1"];
    all.extend(arguments);
    broker.run(&all);
}

/// Mosquitto's own client with a session that outlasts its connection, subscribed at QoS 1. What it gets is one line each:
/// the payload in hexadecimal.
pub struct MosquittoSub {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
}

impl MosquittoSub {
    pub fn of(broker: &Broker, topic: &str) -> MosquittoSub {
        let id = unique("sub");
        let session = ["sub", "-V", "5", "-c", "-x", "3600", "-i", &id, "-q", "1", "-t", topic, "-F", "%x"];
        // Once only to make the subscription, so that nothing can be missed.
        broker.run(&[&session[..], &["-E"]].concat());
        let mut child = broker.command(&session).stdout(Stdio::piped()).spawn().expect("mosquitto_sub runs");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (tell, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        MosquittoSub { child, lines }
    }

    pub async fn next(&mut self) -> Vec<u8> {
        let line = within("mosquitto_sub gets a message", self.lines.recv()).await.expect("mosquitto_sub runs");
        (0..line.len()).step_by(2).map(|i| u8::from_str_radix(&line[i..i + 2], 16).expect("hexadecimal")).collect()
    }

    /// All up to and without this payload.
    pub async fn until(&mut self, last: &str) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            match String::from_utf8(self.next().await).expect("text") {
                payload if payload == last => return all,
                payload => all.push(payload),
            }
        }
    }
}

impl Drop for MosquittoSub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
