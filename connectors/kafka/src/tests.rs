//! Settings, as a user writes them, and what librdkafka was built with.

use crate::KafkaFactory;
use connector::{ConnectorKind, SettingsError};
use rdkafka::ClientConfig;
use serde_json::{Value, json};

fn plan(settings: Value) -> Result<(), SettingsError> {
    ConnectorKind::of::<KafkaFactory>().plan(settings).map(drop)
}

fn refused(settings: Value) -> (String, String) {
    let error = plan(settings.clone()).expect_err(&format!("{settings} should be refused"));
    (error.path.join("/"), error.message)
}

#[test]
fn librdkafka_has_tls_scram_and_zstd() {
    let config = ClientConfig::new().create_native_config().unwrap();
    let features = config.get("builtin.features").unwrap();
    for wanted in ["ssl", "sasl_scram", "sasl_plain", "zstd", "gzip", "lz4", "snappy"] {
        assert!(features.split(',').any(|feature| feature == wanted), "{wanted} is missing in {features}");
    }
}

#[test]
fn brokers_alone_are_enough_and_properties_pass_through() {
    plan(json!({ "brokers": ["localhost:9092"] })).unwrap();
    plan(json!({ "brokers": ["[::1]:9092", "kafka-1.example.com:9093"], "properties": {
        "security.protocol": "plaintext", "linger.ms": 20, "queue.buffering.max.ms": 20.5, "compression.type": "zstd",
        "socket.keepalive.enable": false, "partitioner": "consistent_random", "isolation.level": "read_uncommitted",
    }}))
    .unwrap();
    plan(json!({ "brokers": ["localhost:9092"], "create_topics": { "partitions": 3, "copies": -1, "max": 10 } }))
        .unwrap();
}

#[test]
fn a_mistake_is_told_where_it_is() {
    assert_eq!(refused(json!({ "brokers": [] })).0, "brokers");
    for broker in ["localhost", "http://localhost:9092", "localhost:0", ":9092", "a:9092,b:9092", "a b:9092"] {
        assert_eq!(refused(json!({ "brokers": ["ok:1", broker] })).0, "brokers/1", "{broker}");
    }
    assert!(refused(json!({})).1.contains("brokers"));
    let (path, message) = refused(json!({ "brokers": ["a:1"], "properties": { "linger.mss": 5 } }));
    assert_eq!(path, "properties/linger.mss");
    assert!(message.contains("linger.mss"), "{message}");
    let (path, message) = refused(json!({ "brokers": ["a:1"], "properties": { "linger.ms": "soon" } }));
    assert_eq!(path, "properties/linger.ms");
    assert!(message.contains("linger.ms"), "{message}");
    assert_eq!(refused(json!({ "brokers": ["a:1"], "properties": { "linger.ms": [1] } })).0, "properties/linger.ms");
    // Found only when librdkafka sees all of them together.
    let together = json!({ "max.in.flight": 10, "reconnect.backoff.ms": 5000 });
    let (path, message) = refused(json!({ "brokers": ["a:1"], "properties": together }));
    assert_eq!(path, "properties");
    assert!(message.contains("max.in.flight") || message.contains("reconnect.backoff"), "{message}");
    let create = json!({ "partitions": 0, "copies": 1, "max": 1 });
    assert_eq!(refused(json!({ "brokers": ["a:1"], "create_topics": create })).0, "create_topics/partitions");
    assert_eq!(refused(json!({ "brokers": ["a:1"], "max_in_flight": 0 })).0, "max_in_flight");
}

#[test]
fn properties_that_the_promises_rest_on_are_reserved() {
    for name in [
        "acks",
        "request.required.acks",
        "enable.idempotence",
        "group.id",
        "enable.auto.commit",
        "auto.offset.reset",
        "message.timeout.ms",
        "delivery.timeout.ms",
        "bootstrap.servers",
        "allow.auto.create.topics",
        "transactional.id",
    ] {
        let (path, message) = refused(json!({ "brokers": ["a:1"], "properties": { name: "1" } }));
        assert_eq!(path, format!("properties/{name}"));
        assert!(message.contains("reserved"), "{message}");
    }
}

#[test]
fn secrets_come_from_files_and_are_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "s3cret\n").unwrap();
    let base = json!({
        "brokers": ["a:1"], "password_file": file,
        "properties": { "security.protocol": "sasl_plaintext", "sasl.mechanism": "SCRAM-SHA-256", "sasl.username": "gw" },
    });
    plan(base.clone()).unwrap();
    let settings: crate::Settings = serde_json::from_value(base.clone()).unwrap();
    let made = crate::KafkaPlan::new(settings.clone()).unwrap();
    assert_eq!(made.producer(None).get("sasl.password"), Some("s3cret"));
    assert_eq!(made.consumer(None).get("sasl.password"), Some("s3cret"));
    let shown = format!("{made:?} {settings:?}");
    assert!(!shown.contains("s3cret") && !shown.contains("SCRAM"), "{shown}");

    let mut twice = base.clone();
    twice["properties"]["sasl.password"] = json!("other");
    assert!(refused(twice).1.contains("twice"));
    let mut missing = base;
    missing["password_file"] = json!("/nowhere/password");
    assert_eq!(refused(missing).0, "password_file");
    let reserved = json!({ "brokers": ["a:1"], "property_files": { "group.id": file } });
    assert_eq!(refused(reserved).0, "property_files/group.id");
}

#[test]
fn tls_sets_the_security_protocol() {
    let protocol = |settings: Value| {
        let settings: crate::Settings = serde_json::from_value(settings).unwrap();
        crate::KafkaPlan::new(settings).unwrap().producer(None).get("security.protocol").map(str::to_owned)
    };
    assert_eq!(protocol(json!({ "brokers": ["a:1"], "tls": {} })).as_deref(), Some("ssl"));
    let sasl = json!({ "sasl.mechanism": "PLAIN", "sasl.username": "a", "sasl.password": "b" });
    assert_eq!(protocol(json!({ "brokers": ["a:1"], "tls": {}, "properties": sasl })).as_deref(), Some("sasl_ssl"));
    let both = json!({ "brokers": ["a:1"], "tls": {}, "properties": { "security.protocol": "plaintext" } });
    assert_eq!(refused(both).0, "properties/security.protocol");
    assert_eq!(refused(json!({ "brokers": ["a:1"], "tls": { "ca_file": "/nowhere" } })).0, "tls/ca_file");
    assert_eq!(refused(json!({ "brokers": ["a:1"], "tls": { "cert_file": "/nowhere" } })).0, "tls");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.crt");
    std::fs::write(&file, "no certificate").unwrap();
    let (path, message) = refused(json!({ "brokers": ["a:1"], "tls": { "ca_file": file } }));
    assert_eq!(path, "properties");
    assert!(message.contains("ssl.ca.location"), "{message}");
}

mod cluster;
