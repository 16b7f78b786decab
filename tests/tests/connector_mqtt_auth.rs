//! The MQTT connector's logins and TLS, against a real Mosquitto.

mod connector_mqtt_common;

use connector::{ConnectorKind, PublishError, State};
use connector_mqtt::MqttFactory;
use connector_mqtt_common::*;
use gateway_tests::lab::{Broker, Kind};
use serde_json::{Value, json};

/// The reason that a connector with these settings gives for not being connected.
async fn refusal(broker: &Broker, settings: Value) -> String {
    let connector = connect_as(&unique("node"), &broker.url(), &settings);
    let mut health = connector.health();
    let told = within("a reason", health.wait_for(|h| h.reason != "not reached yet")).await.expect("it lives").clone();
    assert_eq!(told.state, State::Connecting, "{}", told.reason);
    told.reason
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_opens_what_the_broker_lets_it_and_a_wrong_one_is_told() {
    let broker = Broker::own(Kind::Mosquitto, &[("MQTT_AUTH", "1")]);
    let node = unique("node");
    let password = broker.dir().join("password");
    std::fs::write(&password, "gateway\n").expect("a file");
    let gateway = json!({"user": "gateway", "password_file": password});
    let gateway = up(connect_as(&node, &broker.url(), &gateway)).await;
    let reader = up(connect_as(&unique("node"), &broker.url(), &json!({"user": "reader", "password": "reader"}))).await;
    let mut public = Reader::of(&reader, "public/**").await;
    store(&gateway, "public/news", "hello").await;
    assert_eq!(public.payloads(1).await, ["hello"]);

    let denied = reader.publish(record("public/news", "not mine to say", PATIENCE)).await;
    assert!(matches!(denied, Err(PublishError::Denied(_))), "{denied:?}");
    store(&gateway, "public/news", "still here").await;
    assert_eq!(public.payloads(1).await, ["still here"]);

    for wrong in [json!({"user": "gateway", "password": "guess"}), json!({})] {
        let reason = refusal(&broker, wrong).await;
        assert!(reason.contains("check user and password"), "{reason}");
        assert!(!reason.contains("guess"), "{reason}");
    }
    gateway.close(PATIENCE).await;
    reader.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_trusts_the_given_authority_and_no_other() {
    let broker = Broker::own(Kind::Mosquitto, &[("MQTT_TLS", "1")]);
    assert!(broker.url().starts_with("mqtts://"));
    let ca = broker.dir().join("mosquitto/tls/ca.crt");
    let connector = up(connect_as(&unique("node"), &broker.url(), &json!({"tls": {"ca_file": ca}}))).await;
    let topic = format!("{}/a", unique("tls"));
    let mut reader = Reader::of(&connector, &topic).await;
    let answers: Vec<_> =
        (0..500).map(|n| connector.publish(record(&topic, format!("{n}:{}", "x".repeat(2000)), PATIENCE))).collect();
    for answer in answers {
        assert_eq!(within("a publish is answered", answer).await, Ok(None));
    }
    for n in 0..500 {
        assert!(text(&reader.next().await).starts_with(&format!("{n}:")));
    }
    connector.close(PATIENCE).await;

    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let other = broker.dir().join("other.crt");
    std::fs::write(&other, stranger.cert.pem()).expect("a file");
    let reason = refusal(&broker, json!({"tls": {"ca_file": other}})).await;
    assert!(reason.contains("TLS") && reason.contains("certificate"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_asks_for_our_certificate_gets_it() {
    let broker = Broker::own(Kind::Mosquitto, &[("MQTT_TLS", "2")]);
    let tls = broker.dir().join("mosquitto/tls");
    let ca = tls.join("ca.crt");
    let with = json!({"tls": {"ca_file": ca, "cert_file": tls.join("client.crt"), "key_file": tls.join("client.key")}});
    let connector = up(connect_as(&unique("node"), &broker.url(), &with)).await;
    store(&connector, &unique("mutual"), "x").await;
    connector.close(PATIENCE).await;
    let reason = refusal(&broker, json!({"tls": {"ca_file": ca}})).await;
    assert!(reason.contains("mqtts://"), "{reason}");

    // A key of another certificate is found before any socket is opened.
    let mixed = json!({"url": broker.url(),
        "tls": {"ca_file": ca, "cert_file": tls.join("client.crt"), "key_file": tls.join("server.key")}});
    let error = ConnectorKind::of::<MqttFactory>().plan(mixed).err().expect("they do not belong together");
    assert_eq!(error.path, ["tls", "cert_file"]);
}
