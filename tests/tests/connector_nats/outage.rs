//! Stories of a server that goes away and comes back.

use crate::kit::{begin, connect, jetstream, read, record, refusal, store, until, within};
use connector::{Connector, Outbound, PublishError, Start, State};
use gateway_tests::lab::{Broker, Kind};
use gateway_tests::nats::Nats;
use gateway_tests::story::aside;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn own() -> Broker {
    aside(|| Broker::own(Kind::Nats, &[]))
}

fn make(nats: &Broker, name: &str, subject: &str) {
    aside(|| Nats::connect(&nats.url()).make_stream(name, &[subject]));
}

fn soon(topic: &str, payload: String) -> Outbound {
    Outbound { deadline: Instant::now() + Duration::from_secs(2), ..record(topic, payload) }
}

/// Publishes 1000 a second until told to stop, as many callers would; what was answered, by payload.
async fn load(connector: Arc<dyn Connector>, stop: Arc<AtomicBool>) -> Vec<(String, Result<(), PublishError>)> {
    let mut answers = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let payload = format!("load {n}");
        let answer = connector.publish(soon("orders.load", payload.clone()));
        answers.push(tokio::spawn(async move { (payload, answer.await.map(|_| ())) }));
        n += 1;
    }
    let mut told = Vec::new();
    for answer in answers {
        told.push(within("a publish is answered", answer).await.unwrap());
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_under_load_loses_nothing_that_was_acknowledged_and_stores_nothing_that_was_refused() {
    let nats = own();
    make(&nats, "ORDERS", "orders.>");
    let connector = jetstream(&nats);
    let mut reader = read(&connector, "orders.*", Start::Live).await;
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = tokio::spawn(load(connector.clone(), stop.clone()));
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        aside(|| nats.kill());
        until(&connector, State::Down).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        aside(|| nats.start());
        aside(|| nats.run(&["pub", "orders.foreign", "at once after"]));
        until(&connector, State::Up).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.store(true, Ordering::Relaxed);
    let told = publisher.await.unwrap();
    let end = store(&connector, "orders.end", "end").await;

    let stored: Vec<String> =
        aside(|| Nats::connect(&nats.url()).stream_dump("ORDERS")).into_iter().map(|m| m.payload).collect();
    assert_eq!(stored.len() as u64, end);
    let set: BTreeSet<&str> = stored.iter().map(String::as_str).collect();
    let mut counts = [0; 3];
    for (payload, answer) in &told {
        match answer {
            Ok(()) => assert!(set.contains(payload.as_str()), "{payload} was acknowledged and is not in the stream"),
            Err(PublishError::Unavailable(_)) => {
                assert!(!set.contains(payload.as_str()), "{payload} was refused and is in the stream");
            }
            Err(PublishError::OutcomeUnknown(_)) => {}
            Err(other) => panic!("{payload}: {other:?}"),
        }
        counts[match answer {
            Ok(()) => 0,
            Err(PublishError::Unavailable(_)) => 1,
            Err(_) => 2,
        }] += 1;
    }
    println!("{} acknowledged, {} surely not stored, {} unknown", counts[0], counts[1], counts[2]);
    assert!(counts[0] > 1000 && counts[1] > 1000, "{counts:?}");
    let load: Vec<_> = stored.iter().filter(|p| p.starts_with("load")).collect();
    assert_eq!(load.iter().collect::<BTreeSet<_>>().len(), load.len(), "nothing is stored twice");
    // The subscriber has seen exactly what the stream holds, in its order.
    assert_eq!(reader.texts(stored.len()).await, stored);
    assert_eq!(reader.left(), [""; 0], "nothing came twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_absent_at_the_start_is_waited_for_and_nothing_is_missed() {
    let nats = own();
    make(&nats, "ORDERS", "orders.>");
    aside(|| nats.run(&["pub", "orders.a", "before"]));
    aside(|| nats.kill());
    let connector = jetstream(&nats);
    let mut live = begin(&connector, "orders.*", Start::Live, 64);
    let mut earliest = begin(&connector, "orders.*", Start::Earliest, 64);
    let patient = connector.publish(record("orders.a", "patient"));
    let hasty = refusal(&connector, soon("orders.a", "hasty".into())).await;
    assert!(matches!(&hasty, PublishError::Unavailable(why) if why.contains("not connected")), "{hasty:?}");
    assert_eq!(connector.health().borrow().state, State::Connecting);
    let probe = connector.probe(Duration::from_millis(100)).await;
    assert!(matches!(&probe, Err(why) if why.contains("127.0.0.1")), "{probe:?}");
    aside(|| nats.start());
    aside(|| nats.run(&["pub", "orders.b", "as soon as it is there"]));
    assert!(within("a patient publish is answered", patient).await.is_ok());
    within("it is ready", live.subscription.ready()).await.unwrap();
    let mut seen = live.texts(2).await;
    seen.sort();
    assert_eq!(seen, ["as soon as it is there", "patient"]);
    assert_eq!(earliest.texts(3).await[0], "before");
    store(&connector, "orders.a", "after").await;
    assert_eq!(live.text().await, "after");
    until(&connector, State::Up).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_freezes_is_noticed_and_one_that_thaws_is_used_again() {
    let nats = own();
    make(&nats, "ORDERS", "orders.>");
    for settings in [json!({}), json!({ "jetstream": true })] {
        let connector = connect(&nats, settings);
        let mut reader = read(&connector, "orders.*", Start::Live).await;
        aside(|| nats.pause());
        until(&connector, State::Down).await;
        let error = refusal(&connector, soon("orders.a", "frozen".into())).await;
        assert!(matches!(error, PublishError::Unavailable(_)), "{error:?}");
        aside(|| nats.resume());
        until(&connector, State::Up).await;
        connector.publish(record("orders.a", "thawed")).await.unwrap();
        assert_eq!(reader.text().await, "thawed");
        connector.close(Duration::from_secs(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn core_publishes_fail_at_once_while_the_server_is_away_and_subscriptions_come_back() {
    let nats = own();
    let connector = connect(&nats, json!({}));
    let mut reader = read(&connector, "prices.*", Start::Live).await;
    connector.publish(record("prices.a", "1")).await.unwrap();
    assert_eq!(reader.text().await, "1");
    aside(|| nats.kill());
    until(&connector, State::Down).await;
    let mut away = record("prices.a", "never");
    away.deadline = Instant::now() + Duration::from_secs(3600); // it must not wait for that
    assert!(matches!(refusal(&connector, away).await, PublishError::Unavailable(_)));
    aside(|| nats.start());
    until(&connector, State::Up).await;
    // The client subscribes again before it sends anything else.
    connector.publish(record("prices.a", "2")).await.unwrap();
    assert_eq!(reader.text().await, "2", "what was refused is not sent later");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_to_a_stream_in_memory_goes_on_when_the_stream_is_made_again() {
    let nats = own();
    let settings = json!({ "name": "M", "subjects": ["m.*"], "storage": "memory" });
    let make = || aside(|| Nats::connect(&nats.url()).jetstream("STREAM.CREATE.M", &settings));
    make();
    let connector = jetstream(&nats);
    let mut reader = read(&connector, "m.*", Start::Live).await;
    for n in 0..5 {
        store(&connector, "m.a", &n.to_string()).await;
    }
    assert_eq!(reader.texts(5).await, ["0", "1", "2", "3", "4"]);
    aside(|| nats.kill());
    aside(|| nats.start());
    let gone = aside(|| Nats::connect(&nats.url()).jetstream("STREAM.NAMES", &json!({})));
    if gone["total"] == json!(0) {
        make();
    }
    aside(|| nats.run(&["pub", "m.a", "5"]));
    assert_eq!(reader.text().await, "5");
}

/// As a crash of the machine may leave it: the data are what they were a while ago.
fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let done = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(done.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_after_a_crash_that_lost_the_end_of_a_stream_is_read() {
    let nats = own();
    make(&nats, "ORDERS", "orders.>");
    let publish = |texts: &[String]| {
        let lines: String = texts.iter().flat_map(|t| [t, "\n"]).collect();
        aside(|| nats.run_with_input(&["pub", "orders.a"], lines.as_bytes()));
    };
    let texts = |what: &str, count: usize| -> Vec<String> { (0..count).map(|n| format!("{what} {n}")).collect() };
    publish(&texts("before", 10));
    aside(|| nats.kill());
    let (data, kept) = (nats.dir().join("nats/data"), nats.dir().join("kept"));
    copy(&data, &kept);
    aside(|| nats.start());
    let connector = jetstream(&nats);
    let mut reader = read(&connector, "orders.*", Start::Live).await;
    publish(&texts("lost", 5));
    assert_eq!(reader.texts(5).await, texts("lost", 5));
    // Once the end is still missing when the reader is back; once others have filled it again, more or less.
    for (round, count) in [("few", 3), ("many", 20), ("again", 20)] {
        aside(|| nats.kill());
        until(&connector, State::Down).await;
        copy(&kept, &data);
        aside(|| nats.start());
        if round == "few" {
            until(&connector, State::Up).await;
        }
        publish(&texts(round, count));
        assert_eq!(reader.texts(count).await, texts(round, count));
    }
    assert_eq!(reader.left(), [""; 0], "nothing came twice");
}
