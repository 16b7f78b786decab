//! The Kafka connector against a broker that demands TLS and SASL/SCRAM, and that enforces ACLs.

#![allow(clippy::unwrap_used, reason = "a test panics where something must not be")]

use connector::{
    Connector, ConnectorKind, Context, Event, Inbound, Outbound, PublishError, Start, State, SubscribeError,
    TopicFilter,
};
use connector_kafka::{KafkaFactory, SYNTAX};
use gateway_tests::lab::{Broker, Kind};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(60);

async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, event).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain: {what}"))
}

fn connect(settings: Value) -> Arc<dyn Connector> {
    let context = Context { name: "orders".into(), node: "test".into() };
    ConnectorKind::of::<KafkaFactory>().plan(settings).unwrap().connect(context).unwrap()
}

/// Why it does not come up, once the reason tells of `wanted`.
async fn reason(settings: Value, wanted: &str) -> String {
    let connector = connect(settings);
    let mut health = connector.health();
    let telling = health.wait_for(|health| health.reason.to_lowercase().contains(wanted));
    let health = within(&format!("a reason that tells of {wanted}"), telling).await.unwrap().clone();
    assert_eq!((health.state, health.was_up), (State::Connecting, false));
    let refused = connector.publish(record("orders", "x")).await;
    assert!(matches!(refused, Err(PublishError::Unavailable(_))), "{refused:?}");
    connector.close(Duration::from_secs(1)).await;
    health.reason
}

fn record(topic: &str, payload: &str) -> Outbound {
    Outbound {
        topic: topic.into(),
        key: None,
        partition: None,
        payload: Some(payload.to_owned().into()),
        headers: Vec::new(),
        deadline: Instant::now() + Duration::from_secs(5),
    }
}

/// The next record.
async fn next(events: &mut mpsc::Receiver<Event>) -> Inbound {
    loop {
        if let Event::Record(record) = within("a record arrives", events.recv()).await.unwrap() {
            return record;
        }
    }
}

/// Denies one operation on a topic, and allows all others: once a topic has a rule, what none allows is denied.
fn deny(broker: &Broker, operation: &str, topic: &str) {
    let server = broker.run(&["inside"]);
    let command = ["tool", "org.apache.kafka.tools.AclCommand", "--bootstrap-server", server.trim()];
    for rule in [["--deny-principal", "User:gateway", operation], ["--allow-principal", "User:*", "All"]] {
        let [principal, who, what] = rule;
        let rule = ["--add", principal, who, "--operation", what, "--topic", topic];
        broker.run(&[&command[..], &rule[..]].concat());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scram_over_tls_works_with_the_right_secrets_and_says_what_is_wrong_with_others() {
    let broker = Broker::own(Kind::Kafka, &[("KAFKA_SECURITY", "sasl_ssl")]);
    let tls = broker.dir().join("kafka/tls");
    let password = broker.dir().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    for topic in ["orders", "unwritable", "unreadable"] {
        broker.run(&["topic", topic, "1"]);
    }
    deny(&broker, "Write", "unwritable");
    deny(&broker, "Read", "unreadable");

    let url = broker.url();
    let right = json!({
        "brokers": [url], "tls": { "ca_file": tls.join("ca.crt") }, "password_file": password,
        "properties": { "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "gateway" },
    });
    let connector = connect(right.clone());
    let mut health = connector.health();
    within("it is up", health.wait_for(|health| health.state == State::Up)).await.unwrap();
    let (sink, mut records) = mpsc::channel(10);
    let filter = |topic: &str| TopicFilter::exact(topic, &SYNTAX);
    let mut orders = connector.subscribe(filter("orders"), Start::Live, sink.clone()).unwrap();
    within("it is ready", orders.ready()).await.unwrap();
    connector.publish(record("orders", "1")).await.unwrap();
    let got = next(&mut records).await;
    assert_eq!(got.payload.as_deref(), Some(&b"1"[..]));

    let denied = connector.publish(record("unwritable", "1")).await;
    assert!(matches!(&denied, Err(PublishError::Denied(why)) if why.contains("unwritable")), "{denied:?}");
    connector.publish(record("unreadable", "1")).await.unwrap();
    // Whoever may describe a topic may ask for its offsets: that reading is denied shows when it begins.
    let mut unreadable = connector.subscribe(filter("unreadable"), Start::Earliest, sink).unwrap();
    match within("it is ready or denied", unreadable.ready()).await {
        Err(error) => assert!(matches!(error, SubscribeError::Denied(_)), "{error:?}"),
        Ok(_) => {
            let degraded = health.wait_for(|health| health.state == State::Degraded);
            let health = within("the health tells of it", degraded).await.unwrap().clone();
            assert!(health.reason.contains("unreadable"), "{}", health.reason);
        }
    }
    connector.publish(record("orders", "2")).await.unwrap();
    let got = next(&mut records).await;
    assert_eq!(got.payload.as_deref(), Some(&b"2"[..]), "the others go on");
    connector.close(Duration::from_secs(5)).await;

    std::fs::write(&password, "guess\n").unwrap();
    let why = reason(right.clone(), "authentication").await;
    assert!(why.contains("SCRAM-SHA-512") && !why.contains("guess"), "{why}");
    std::fs::write(&password, "secret\n").unwrap();

    let mut distrustful = right.clone();
    distrustful["tls"] = json!({});
    let why = reason(distrustful, "certificate").await;
    assert!(why.to_lowercase().contains("ssl"), "{why}");

    let mut plain = right.clone();
    plain.as_object_mut().unwrap().remove("tls");
    plain["properties"]["security.protocol"] = json!("sasl_plaintext");
    let why = reason(plain, &url).await;
    assert!(why.contains("security.protocol"), "{why}");
}
