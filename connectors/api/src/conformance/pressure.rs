//! Slowness on either side.

use super::Fixture;
use super::kit::{Kit, number_of, numbered, within};
use crate::{PublishError, Start};
use std::time::{Duration, Instant};

/// A reader that takes nothing for a while makes the connector wait; it then gets everything, in order.
///
/// # Panics
/// When a record is missing, or counted as dropped.
pub async fn a_slow_reader_loses_nothing(fixture: &impl Fixture) {
    const COUNT: usize = 500;
    let kit = Kit::begin(fixture, "slow").await;
    if kit.can.back_pressure {
        let topic = kit.topic(fixture, &[], 1).await;
        let mut reader = kit.read_with(kit.exact(&topic), Start::Live, 1).await;
        let answers: Vec<_> = (0..COUNT).map(|n| kit.publish(numbered(&topic, n))).collect();
        for (n, answer) in answers.into_iter().enumerate() {
            if let Err(error) = within("a publish is answered while a reader is slow", answer).await {
                panic!("publish {n} failed because a reader is slow: {error:?}");
            }
        }
        // The records have long been at the connector; the reader begins only now.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let numbers = reader.numbers(COUNT, "a slow reader gets every record").await;
        assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>());
        assert_eq!(kit.connector.dropped(), 0, "records were dropped although the connector can wait");
    }
    kit.end().await;
}

/// A publish whose deadline is over, or nearly, is answered promptly, and the answer is true.
///
/// # Panics
/// When it is not answered, or was stored although the answer excludes that.
pub async fn a_deadline_is_kept(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "deadline").await;
    let topic = kit.topic(fixture, &[], 1).await;
    let mut reader = kit.read(kit.exact(&topic), Start::Live).await;
    let now = Instant::now();
    let deadlines = [now.checked_sub(Duration::from_secs(1)).unwrap_or(now), now, now + Duration::from_millis(1)];
    let mut stored = Vec::new();
    let mut excluded = Vec::new();
    for (n, deadline) in deadlines.into_iter().enumerate() {
        let mut sent = numbered(&topic, n);
        sent.deadline = deadline;
        match within("a publish with a short deadline is answered", kit.publish(sent)).await {
            Ok(_) => stored.push(n),
            Err(PublishError::OutcomeUnknown(_)) => {}
            Err(_) => excluded.push(n),
        }
    }
    kit.store(numbered(&topic, 99)).await;
    let mut got = Vec::new();
    while got.last() != Some(&99) {
        got.push(number_of(&reader.next("the record after the late ones arrives").await));
    }
    for n in stored {
        assert!(got.contains(&n), "publish {n} was confirmed, yet did not arrive");
    }
    for n in excluded {
        assert!(!got.contains(&n), "publish {n} was answered as not stored, yet arrived");
    }
    kit.end().await;
}
