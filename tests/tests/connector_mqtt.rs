//! The MQTT connector against a real Mosquitto.

mod connector_mqtt_common;

use bytes::Bytes;
use connector::conformance::{self, Fixture};
use connector::{Connector, PublishError, State};
use connector_mqtt_common::*;
use gateway_tests::lab::{Broker, Kind};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

struct Mosquitto {
    broker: Broker,
}

impl Fixture for Mosquitto {
    fn connector(&self) -> Arc<dyn Connector> {
        connect(&self.broker)
    }
    async fn create(&self, _: &str, _: u32) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connector_keeps_its_promises() {
    conformance::run(&Mosquitto { broker: Broker::shared(Kind::Mosquitto) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_publishes_reach_a_foreign_client_byte_for_byte_and_in_order() {
    const COUNT: usize = 10_000;
    let broker = Broker::shared(Kind::Mosquitto);
    let topic = format!("{}/a", unique("bytes"));
    let mut foreign = MosquittoSub::of(&broker, &topic);
    let connector = up(connect(&broker)).await;
    let payload = |n: usize| -> Vec<u8> {
        let odd: &[u8] = match n % 4 {
            0 => br#"{"b" : 1.50, "a":12345678901234567890.0e2}"#,
            1 => b"\0\xff\xfe\n\r",
            2 => "grüße ☃".as_bytes(),
            _ => b"",
        };
        [format!("{n}:").as_bytes(), odd].concat()
    };
    let answers: Vec<_> = (0..COUNT).map(|n| connector.publish(record(&topic, payload(n), PATIENCE))).collect();
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(within("a publish is answered", answer).await, Ok(None), "publish {n}");
    }
    for n in 0..COUNT {
        assert_eq!(foreign.next().await, payload(n), "record {n} was changed, lost or overtaken");
    }
    connector.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_foreign_client_publishes_arrives_once_with_its_properties_and_every_overlapping_filter_gets_it() {
    let broker = Broker::shared(Kind::Mosquitto);
    let base = unique("overlap");
    let topic = format!("{base}/kitchen/lamp");
    let connector = up(connect(&broker)).await;
    let mut exact = Reader::of(&connector, &topic).await;
    let mut below = Reader::of(&connector, &format!("{base}/**")).await;
    let mut same = Reader::of(&connector, &format!("{base}/**")).await;
    for n in 0..20 {
        mosquitto_pub(&broker, &["-t", &topic, "-m", &n.to_string(), "-D", "publish", "user-property", "unit", "K"]);
    }
    mosquitto_pub(&broker, &["-t", &base, "-m", "the parent is not below itself"]);
    mosquitto_pub(&broker, &["-t", &topic, "-m", "last"]);
    for reader in [&mut exact, &mut below, &mut same] {
        for n in 0..20 {
            let got = reader.next().await;
            assert_eq!((text(&got), &got.topic[..]), (n.to_string(), &topic[..]));
            assert_eq!(got.headers, [("unit".into(), Bytes::from_static(b"K"))]);
            assert!(!got.retained && !got.redelivered);
        }
        assert_eq!(text(&reader.next().await), "last");
        assert!(reader.records.try_recv().is_err());
    }
    connector.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retained_message_greets_each_new_subscriber_and_disturbs_no_other() {
    let broker = Broker::shared(Kind::Mosquitto);
    let topic = format!("{}/state", unique("retained"));
    mosquitto_pub(&broker, &["-t", &topic, "-m", "on", "-r"]);
    let connector = up(connect(&broker)).await;
    let mut first = Reader::of(&connector, &topic).await;
    let got = first.next().await;
    assert_eq!((text(&got), got.retained, got.redelivered), ("on".into(), true, false));
    let mut second = Reader::of(&connector, &topic).await;
    let got = second.next().await;
    assert_eq!((text(&got), got.retained, got.redelivered), ("on".into(), true, false));
    mosquitto_pub(&broker, &["-t", &topic, "-m", "off", "-r"]);
    for reader in [&mut first, &mut second] {
        let got = reader.next().await;
        assert_eq!((text(&got), got.retained), ("off".into(), false));
    }
    mosquitto_pub(&broker, &["-t", &topic, "-n", "-r"]);
    connector.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_and_headers_that_mosquitto_would_hang_up_on_disturb_nobody() {
    let broker = Broker::shared(Kind::Mosquitto);
    let topic = format!("{}/a", unique("poison"));
    let connector = up(connect(&broker)).await;
    let deep = vec!["x"; 300].join("/");
    for poison in ["a\u{85}b", "a//b", "a/+", &deep] {
        let answer = connector.publish(record(poison, "x", PATIENCE)).await;
        assert!(matches!(answer, Err(PublishError::TopicInvalid(_))), "{poison:?}: {answer:?}");
    }
    let mut with_header = record(&topic, "x", PATIENCE);
    with_header.headers.push(("line".into(), Bytes::from_static(b"a\nb")));
    let answer = connector.publish(with_header).await;
    assert!(matches!(answer, Err(PublishError::Rejected(_))), "{answer:?}");
    // What a value with such characters becomes is fine.
    let mut level = String::new();
    connector.syntax().encode("a\tb\u{7f}/+#$", true, None, &mut level);
    store(&connector, &format!("{topic}/{level}"), "x").await;
    assert_eq!(connector.health().borrow().state, State::Up);
    connector.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_broker_is_noticed_and_every_answer_given_meanwhile_is_true() {
    let broker = Broker::own(Kind::Mosquitto, &[]);
    let topic = format!("{}/a", unique("pause"));
    let mut foreign = MosquittoSub::of(&broker, &topic);
    let connector = up(connect(&broker)).await;
    let mut answers = Vec::new();
    let publish =
        |n: usize, within: Duration| (n, tokio::spawn(connector.publish(record(&topic, n.to_string(), within))));
    // A stream of publishes with the broker paused in its middle: some will be acknowledged, some are under way when
    // it stops, some begin while it stands still and give up, some begin then and outlast the pause.
    for n in 0..300 {
        answers.push(publish(n, PATIENCE));
        if n == 100 {
            broker.pause();
        }
    }
    for n in 300..400 {
        answers.push(publish(n, Duration::from_millis(500)));
    }
    until(&connector, State::Down).await;
    for n in 400..500 {
        answers.push(publish(n, Duration::from_millis(100)));
    }
    for n in 500..600 {
        answers.push(publish(n, PATIENCE));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    broker.resume();
    until(&connector, State::Up).await;
    for n in 600..700 {
        answers.push(publish(n, PATIENCE));
    }
    let mut outcomes = Vec::new();
    for (n, answer) in answers {
        outcomes.push((n, within("every publish is answered", answer).await.expect("it does not panic")));
    }
    store(&connector, &topic, "last").await;
    let received: Vec<usize> = foreign.until("last").await.iter().map(|p| p.parse().expect("a number")).collect();

    for (n, answer) in &outcomes {
        if answer.is_ok() {
            assert!(received.contains(n), "publish {n} was acknowledged and did not arrive");
        } else if surely_not_stored(answer) {
            assert!(!received.contains(n), "publish {n} arrived, yet the publisher was told {answer:?}");
        } else {
            assert!(matches!(answer, Err(PublishError::OutcomeUnknown(_))), "publish {n}: {answer:?}");
        }
    }
    for n in (0..300).chain(500..700) {
        assert!(outcomes[n].1.is_ok(), "publish {n} had time enough: {:?}", outcomes[n].1);
    }
    for (n, answer) in &outcomes[400..500] {
        assert!(surely_not_stored(answer), "publish {n} cannot have been sent: {answer:?}");
    }
    // Resends may repeat, but nothing overtakes.
    let mut seen = std::collections::BTreeSet::new();
    let firsts: Vec<usize> = received.into_iter().filter(|n| seen.insert(*n)).collect();
    assert!(firsts.is_sorted(), "overtaken: {firsts:?}");
    connector.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_comes_back_and_subscriptions_and_publishes_heal_by_themselves() {
    let broker = Broker::own(Kind::Mosquitto, &[]);
    let base = unique("kill");
    let connector = up(connect(&broker)).await;
    let mut exact = Reader::of(&connector, &format!("{base}/a")).await;
    let mut below = Reader::of(&connector, &format!("{base}/**")).await;
    store(&connector, &format!("{base}/a"), "before").await;
    assert_eq!(exact.payloads(1).await, ["before"]);
    assert_eq!(below.payloads(1).await, ["before"]);
    for round in 0..2 {
        broker.kill();
        let health = until(&connector, State::Down).await;
        assert!(health.was_up && !health.reason.is_empty(), "{health:?}");
        let answer = connector.publish(record(&format!("{base}/a"), "lost", Duration::from_millis(200))).await;
        assert!(surely_not_stored(&answer), "{answer:?}");
        let waits = connector.publish(record(&format!("{base}/a"), format!("waited {round}"), PATIENCE));
        broker.start();
        assert_eq!(within("a publish outlasts the outage", waits).await, Ok(None));
        until(&connector, State::Up).await;
        mosquitto_pub(&broker, &["-t", &format!("{base}/b"), "-m", &format!("after {round}")]);
        assert_eq!(exact.payloads(1).await, [format!("waited {round}")]);
        assert_eq!(below.payloads(2).await, [format!("waited {round}"), format!("after {round}")]);
    }
    connector.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_absent_at_the_start_is_waited_for() {
    let broker = Broker::own(Kind::Mosquitto, &[]);
    broker.kill();
    let connector = connect(&broker);
    let topic = format!("{}/a", unique("absent"));
    let mut health = connector.health();
    let refused = within("the reason", health.wait_for(|h| h.reason.contains("refused"))).await;
    assert_eq!(refused.expect("it lives").state, State::Connecting, "it was never up");
    assert!(connector.probe(Duration::from_millis(100)).await.is_err_and(|why| why.contains("refused")));
    let answer = connector.publish(record(&topic, "lost", Duration::from_millis(100))).await;
    assert!(surely_not_stored(&answer), "{answer:?}");
    let mut reader = Reader::begin(&connector, &topic, 100);
    broker.start();
    within("the subscription is ready", reader.subscription.ready()).await.expect("granted");
    store(&connector, &topic, "first").await;
    assert_eq!(reader.payloads(1).await, ["first"]);
    connector.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_slow_reader_holds_is_not_doubled_by_a_broken_connection() {
    let broker = Broker::own(Kind::Mosquitto, &[]);
    let base = unique("doubled");
    let connector = up(connect(&broker)).await;
    let mut slow = Reader::begin(&connector, &format!("{base}/slow"), 1);
    within("ready", slow.subscription.ready()).await.expect("granted");
    let mut other = Reader::of(&connector, &format!("{base}/other")).await;
    for n in 0..10 {
        mosquitto_pub(&broker, &["-t", &format!("{base}/slow"), "-m", &n.to_string()]);
    }
    // A reader that stands still stops neither publishes nor others.
    store(&connector, &format!("{base}/other"), "x").await;
    assert_eq!(other.payloads(1).await, ["x"]);
    broker.pause();
    until(&connector, State::Down).await;
    broker.resume();
    until(&connector, State::Up).await;
    for n in 10..40 {
        mosquitto_pub(&broker, &["-t", &format!("{base}/slow"), "-m", &n.to_string()]);
    }
    let expected: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    assert_eq!(slow.payloads(40).await, expected);
    store(&connector, &format!("{base}/slow"), "last").await;
    assert_eq!(slow.payloads(1).await, ["last"]);
    assert_eq!(connector.dropped(), 0);
    connector.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_while_the_connection_is_away_is_kept_for_a_running_subscription() {
    let broker = Broker::own(Kind::Mosquitto, &[]);
    let topic = format!("{}/a", unique("kept"));
    let node = unique("node");
    let connector = up(connect_as(&node, &broker.url(), &json!({}))).await;
    let mut reader = Reader::of(&connector, &topic).await;
    // Paused, the broker loses the connection; what it gets before we are back waits in the session.
    broker.pause();
    until(&connector, State::Down).await;
    let meanwhile = broker.command(&["pub", "-V", "5", "-q", "1", "-t", &topic, "-m", "meanwhile"]).spawn();
    broker.resume();
    assert_eq!(reader.payloads(1).await, ["meanwhile"]);
    assert!(meanwhile.and_then(|mut child| child.wait()).is_ok_and(|status| status.success()));
    until(&connector, State::Up).await;
    store(&connector, &topic, "after").await;
    assert_eq!(reader.payloads(1).await, ["after"]);
    connector.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_run_left_at_the_broker_troubles_nobody() {
    let broker = Broker::own(Kind::Mosquitto, &[]);
    let base = unique("crash");
    let node = unique("node");
    // This run ends without a word, as by a crash.
    let first = up(connect_as(&node, &broker.url(), &json!({}))).await;
    let reader = Reader::of(&first, &format!("{base}/**")).await;
    let mut health = first.health();
    std::mem::forget(reader.subscription); // a crash drops nothing in order
    drop(first);
    let _ = within("the run ends", health.wait_for(|h| h.reason.contains("closed"))).await;
    for n in 0..5 {
        mosquitto_pub(&broker, &["-t", &format!("{base}/a"), "-m", &format!("old {n}")]);
    }
    let second = connect_as(&node, &broker.url(), &json!({}));
    let mut reader = Reader::of(&second, &format!("{base}/a")).await;
    store(&second, &format!("{base}/a"), "new").await;
    assert_eq!(reader.payloads(1).await, ["new"]);
    second.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_under_one_client_id_are_told_so() {
    let broker = Broker::own(Kind::Mosquitto, &[]);
    let mine = json!({"client_id": "gateway"});
    let one = connect_as("one", &broker.url(), &mine);
    let two = connect_as("two", &broker.url(), &mine);
    let mut health = one.health();
    within("the reason", health.wait_for(|h| h.reason.contains("client id gateway"))).await.expect("it lives");
    two.close(PATIENCE).await;
    until(&one, State::Up).await;
    one.close(PATIENCE).await;
}
