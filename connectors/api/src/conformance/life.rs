//! Beginning and end: health, topics that are missing, subscriptions and connectors that end.

use super::Fixture;
use super::kit::{Kit, PATIENCE, numbered, record, within};
use crate::{Confirm, PublishError, Start};
use std::time::Duration;

/// The broker is there, and the connector says so.
///
/// # Panics
/// When it does not.
pub async fn health_is_up_and_the_probe_says_so(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "health").await;
    let health = kit.connector.health().borrow().clone();
    assert!(health.was_up && health.reason.is_empty(), "a connector that is up was up and needs no reason: {health:?}");
    match within("a probe is answered", kit.connector.probe(PATIENCE)).await {
        Ok(lines) => assert!(!lines.trim().is_empty(), "a probe tells what is there"),
        Err(error) => panic!("the probe of a broker that is there failed: {error}"),
    }
    let topic = kit.topic(fixture, &[], 1).await;
    let exists = within("topic_exists is answered", kit.connector.topic_exists(&topic, PATIENCE)).await;
    assert_eq!(exists, Ok(true), "{topic} was made, so it exists");
    kit.end().await;
}

/// A publish makes no topic.
///
/// # Panics
/// When it does, or when the error is another one.
pub async fn a_topic_that_is_missing_is_refused_and_not_made(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "missing").await;
    if let Some(topic) = fixture.missing_topic() {
        let exists = within("topic_exists is answered", kit.connector.topic_exists(&topic, PATIENCE)).await;
        assert_eq!(exists, Ok(false), "nobody made {topic}");
        let answer = within("a publish to a missing topic is answered", kit.publish(record(&topic, "1"))).await;
        assert!(matches!(answer, Err(PublishError::TopicUnknown(_))), "expected TopicUnknown, got {answer:?}");
        let exists = within("topic_exists is answered", kit.connector.topic_exists(&topic, PATIENCE)).await;
        assert_eq!(exists, Ok(false), "a publish made {topic}");
    }
    kit.end().await;
}

/// Dropping a subscription ends the stream of its reader, and no other.
///
/// # Panics
/// When the stream goes on, or another one ends.
pub async fn a_dropped_subscription_ends_its_receiver(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "unsubscribe").await;
    let topic = kit.topic(fixture, &[], 1).await;
    let mut stays = kit.read(kit.exact(&topic), Start::Live).await;
    let mut leaves = kit.read(kit.exact(&topic), Start::Live).await;
    kit.store(numbered(&topic, 0)).await;
    assert_eq!(leaves.numbers(1, "a record arrives before the end").await, [0]);
    leaves.end("a dropped subscription ends its stream").await;
    kit.store(numbered(&topic, 1)).await;
    assert_eq!(stays.numbers(2, "the other subscription goes on").await, [0, 1]);
    // A subscription that ends while its connector waits for room in the sink ends as well.
    let full = kit.read_with(kit.exact(&topic), Start::Live, 1).await;
    kit.store_numbered(&topic, 2..12).await;
    full.end("a dropped subscription with a full sink ends its stream").await;
    kit.end().await;
}

/// A receiver that is gone is no reason for anything to stop.
///
/// # Panics
/// When another subscription is disturbed.
pub async fn a_reader_that_left_disturbs_no_other(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "left").await;
    let topic = kit.topic(fixture, &[], 1).await;
    let mut stays = kit.read(kit.exact(&topic), Start::Live).await;
    let left = kit.read_with(kit.exact(&topic), Start::Live, 1).await;
    drop(left.records);
    kit.store_numbered(&topic, 0..50).await;
    let numbers = stays.numbers(50, "the other subscription gets all").await;
    assert_eq!(numbers, (0..50).collect::<Vec<_>>());
    kit.end().await;
}

/// What was taken before the end is finished; then subscriptions end, and publishes are refused.
///
/// # Panics
/// When a publish is left without an answer, or a stream without an end.
pub async fn closing_finishes_publishes_and_ends_subscriptions(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "close").await;
    let topic = kit.topic(fixture, &[], 1).await;
    let mut reader = kit.read(kit.exact(&topic), Start::Live).await;
    let answers: Vec<_> = (0..100).map(|n| kit.publish(numbered(&topic, n))).collect();
    within("the connector closes", kit.connector.close(Duration::from_secs(20))).await;
    for (n, answer) in answers.into_iter().enumerate() {
        let answer = within("a publish is answered although the connector closed", answer).await;
        if kit.can.confirm == Confirm::Stored {
            assert!(answer.is_ok(), "publish {n} was begun before the end, yet failed: {answer:?}");
        }
    }
    within("the end of the connector ends a stream", async { while reader.records.recv().await.is_some() {} }).await;
    let late = within("a publish after the end is answered", kit.publish(numbered(&topic, 100))).await;
    assert!(late.is_err(), "a closed connector took a record: {late:?}");
    within("closing twice is harmless", kit.connector.close(Duration::from_secs(1))).await;
}
