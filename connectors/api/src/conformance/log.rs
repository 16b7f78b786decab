//! The log, where there is one: positions and starts.

use super::Fixture;
use super::kit::{Kit, number_of, numbered};
use crate::{Position, Start, SubscribeError};
use std::time::{Duration, UNIX_EPOCH};

/// Without a log, a start that needs one is refused as such.
///
/// # Panics
/// When it is not.
pub async fn without_a_log_old_records_are_refused(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "nolog").await;
    if !kit.can.log {
        let topic = kit.topic(fixture, &[], 1).await;
        for start in [Start::Earliest, Start::After(Position::Number(1)), Start::At(UNIX_EPOCH)] {
            let error = kit.refusal(kit.exact(&topic), start.clone()).await;
            assert_eq!(error, SubscribeError::NoLog, "a start from {start:?} needs a log, and there is none");
        }
    }
    kit.end().await;
}

/// The position that a publish was answered with is the record's own, and reading after it begins with the next one.
///
/// # Panics
/// When another record comes first.
pub async fn publish_positions_read_back(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "positions").await;
    if kit.can.log {
        let topic = kit.topic(fixture, &[], 1).await;
        let stored = kit.store_numbered(&topic, 0..20).await;
        for i in [0, 1, 9, 18] {
            let Some(before) = stored[i].1.clone() else {
                panic!("a publish to a log was answered without a position")
            };
            let mut reader = kit.read(kit.exact(&topic), Start::After(before.clone())).await;
            let got = reader.next("the record after a position arrives").await;
            assert_eq!(number_of(&got), i + 1, "after {before:?}, which is record {i}, comes the next one");
            assert_eq!(got.position, stored[i + 1].1, "a record read back has the position that its publish was told");
        }
        // After the newest: nothing old, and what is new.
        let Some(newest) = stored[19].1.clone() else { panic!("a publish to a log was answered without a position") };
        let mut reader = kit.read(kit.exact(&topic), Start::After(newest)).await;
        kit.store(numbered(&topic, 20)).await;
        assert_eq!(number_of(&reader.next("the record after the newest arrives").await), 20);
    }
    kit.end().await;
}

/// From the oldest kept, in order, and on into what is new.
///
/// # Panics
/// When a record is missed, doubled or overtaken.
pub async fn earliest_gives_all_that_is_kept(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "earliest").await;
    if kit.can.log {
        let topic = kit.topic(fixture, &[], 1).await;
        kit.store_numbered(&topic, 0..50).await;
        let mut reader = kit.read(kit.exact(&topic), Start::Earliest).await;
        kit.store_numbered(&topic, 50..60).await;
        let numbers = reader.numbers(60, "all that is kept and what is new arrives").await;
        assert_eq!(numbers, (0..60).collect::<Vec<_>>());
    }
    kit.end().await;
}

/// A start at a record's own time begins with the first record of that time.
///
/// # Panics
/// When another record comes first.
pub async fn starting_at_a_time_skips_what_is_older(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "time").await;
    if kit.can.log {
        let topic = kit.topic(fixture, &[], 1).await;
        for n in 0..6 {
            kit.store(numbered(&topic, n)).await;
            // Only to give the records different times; nothing is concluded from how long it takes.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut reader = kit.read(kit.exact(&topic), Start::Earliest).await;
        let mut times = Vec::new();
        for _ in 0..6 {
            let got = reader.next("a stored record arrives").await;
            let Some(time) = got.timestamp else { panic!("a record of a log has no time") };
            times.push(time);
        }
        for (i, time) in times.iter().enumerate() {
            let first = times.iter().position(|t| t >= time).unwrap_or(i);
            let at = UNIX_EPOCH + Duration::from_millis(u64::try_from(*time).unwrap_or_default());
            let mut reader = kit.read(kit.exact(&topic), Start::At(at)).await;
            let got = number_of(&reader.next("a record that is not older arrives").await);
            assert_eq!(got, first, "the times are {times:?}, the start was {time}");
        }
    }
    kit.end().await;
}

/// With partitions, reading after a position gives all that was stored later in any of them, and not the record itself.
///
/// # Panics
/// When a later record is missed.
pub async fn positions_of_many_partitions_lose_nothing(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "partitions").await;
    if kit.can.log && kit.can.partitions {
        let topic = kit.topic(fixture, &[], 3).await;
        let mut positions = Vec::new();
        for n in 0..30usize {
            let mut sent = numbered(&topic, n);
            sent.partition = i32::try_from(n % 3).ok();
            let Some(position) = kit.store(sent).await else { panic!("a publish was answered without a position") };
            positions.push(position);
        }
        for i in [0usize, 14] {
            let mut reader = kit.read(kit.exact(&topic), Start::After(positions[i].clone())).await;
            let mut missing: Vec<usize> = (i + 1..30).collect();
            while !missing.is_empty() {
                let got =
                    reader.next(&format!("all that is stored after record {i} arrives ({missing:?} do not)")).await;
                let n = number_of(&got);
                assert_ne!(n, i, "reading after a position must not give its own record");
                assert_eq!(got.partition, i32::try_from(n % 3).ok(), "record {n} came from another partition");
                assert_eq!(got.position.as_ref(), Some(&positions[n]), "record {n} has another position than before");
                missing.retain(|m| *m != n);
            }
        }
    }
    kit.end().await;
}

/// A position that no connector of this kind made is invalid.
///
/// # Panics
/// When it is taken, or called gone.
pub async fn a_position_of_another_making_is_invalid(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "foreign").await;
    if kit.can.log {
        let topic = kit.topic(fixture, &[], 1).await;
        kit.store_numbered(&topic, 0..3).await;
        for token in ["not-ours", "", ":", "99999999999999999999999"] {
            let start = Start::After(Position::Token(token.into()));
            let error = kit.refusal(kit.exact(&topic), start).await;
            let told = matches!(error, SubscribeError::PositionInvalid(_));
            assert!(told, "the position {token:?} is not of this connector's making, yet the error is {error:?}");
        }
    }
    kit.end().await;
}

/// A position that the log does not hold any more, or not yet, is told: never a silent jump.
///
/// # Panics
/// When it is taken, or called invalid.
pub async fn a_position_that_is_gone_is_told(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "gone").await;
    if kit.can.log {
        let topic = kit.topic(fixture, &[], 1).await;
        let stored = kit.store_numbered(&topic, 0..20).await;
        if let Some(Position::Number(newest)) = stored[19].1 {
            let start = Start::After(Position::Number(newest + 1_000_000));
            let error = kit.refusal(kit.exact(&topic), start).await;
            let told = matches!(error, SubscribeError::PositionGone { .. });
            assert!(told, "a position beyond the newest must be told as not in the log, not as {error:?}");
        }
        let Some(oldest) = stored[0].1.clone() else { panic!("a publish to a log was answered without a position") };
        if fixture.trim(&topic).await {
            let error = kit.refusal(kit.exact(&topic), Start::After(oldest)).await;
            let told = matches!(error, SubscribeError::PositionGone { .. });
            assert!(told, "a position that was removed must be told as gone, not as {error:?}");
        }
    }
    kit.end().await;
}
