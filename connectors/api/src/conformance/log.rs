//! The log, where there is one: positions and starts.

use super::Fixture;
use super::kit::{Kit, number_of, numbered, same_place};
use crate::{Cursor, Event, Log, Place, Seen, Start, SubscribeError};
use std::time::{Duration, UNIX_EPOCH};

/// Strictly after one place, and other logs from their beginning.
fn after(place: &Place) -> Start {
    Start::After { cursor: Cursor::from(place.clone()), others: None }
}

fn stored_place(place: Option<Place>) -> Place {
    match place {
        Some(place) => place,
        None => panic!("a publish to a log was answered without a place"),
    }
}

/// Without a log, a start that needs one is refused as such.
///
/// # Panics
/// When it is not.
pub async fn without_a_log_old_records_are_refused(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "nolog").await;
    if !kit.can.log {
        let topic = kit.topic(fixture, &[], 1).await;
        let cursor = Cursor::default();
        for start in [Start::Earliest, Start::After { cursor, others: None }, Start::At(UNIX_EPOCH)] {
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
            let before = stored_place(stored[i].1.clone());
            let mut reader = kit.read(kit.exact(&topic), after(&before)).await;
            let seen = reader.ready.cursor.get(&before.log).map(|seen| seen.n);
            assert_eq!(seen, Some(before.n), "a subscription begins where it was told to");
            assert!(reader.ready.sole, "a topic of one partition has one log: {:?}", reader.ready);
            let got = reader.next("the record after a position arrives").await;
            assert_eq!(number_of(&got), i + 1, "after {before:?}, which is record {i}, comes the next one");
            same_place(got.place.as_ref(), stored[i + 1].1.as_ref());
            assert_eq!(got.timestamp, got.place.and_then(|place| place.at), "a place has its record's time");
        }
        // After the newest: nothing old, and what is new.
        let newest = stored_place(stored[19].1.clone());
        let mut reader = kit.read(kit.exact(&topic), after(&newest)).await;
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
            positions.push(stored_place(kit.store(sent).await));
        }
        for i in [2usize, 14] {
            // What was seen last of each partition is all that a reader needs to keep.
            let cursor: Cursor = positions[i - 2..=i]
                .iter()
                .map(|place| (place.log.clone(), Seen { n: place.n, at: place.at }))
                .collect();
            let start = Start::After { cursor: cursor.clone(), others: None };
            let mut reader = kit.read(kit.exact(&topic), start).await;
            assert_eq!(reader.ready.cursor, cursor, "a subscription begins where it was told to");
            assert!(!reader.ready.sole, "three partitions are three logs");
            let mut missing: Vec<usize> = (i + 1..30).collect();
            while !missing.is_empty() {
                let got =
                    reader.next(&format!("all that is stored after record {i} arrives ({missing:?} do not)")).await;
                let n = number_of(&got);
                assert!(n > i, "reading after a position must not give its own record nor an older one, {n}");
                assert_eq!(got.partition, i32::try_from(n % 3).ok(), "record {n} came from another partition");
                same_place(got.place.as_ref(), Some(&positions[n]));
                missing.retain(|m| *m != n);
            }
        }
    }
    kit.end().await;
}

/// Logs that a cursor does not name are read from a time, if one is said, else from their beginning.
///
/// # Panics
/// When they are not.
pub async fn logs_that_a_cursor_does_not_name_begin_where_is_said(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "others").await;
    if kit.can.log && kit.can.partitions {
        let topic = kit.topic(fixture, &[], 2).await;
        let mut places = Vec::new();
        for n in 0..4usize {
            let mut sent = numbered(&topic, n);
            sent.partition = i32::try_from(n % 2).ok();
            places.push(stored_place(kit.store(sent).await));
            // Only to give the records different times; nothing is concluded from how long it takes.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let at = places[3].at.and_then(|at| u64::try_from(at).ok()).unwrap_or_default();
        let at = UNIX_EPOCH + Duration::from_millis(at);
        for (others, expected) in [(None, vec![1, 2, 3]), (Some(at), vec![2, 3])] {
            let start = Start::After { cursor: Cursor::from(places[0].clone()), others };
            let mut numbers =
                kit.read(kit.exact(&topic), start).await.numbers(expected.len(), "the rest arrives").await;
            numbers.sort_unstable();
            assert_eq!(numbers, expected, "others from {others:?}");
        }
    }
    kit.end().await;
}

/// Where a live subscription begins is the place of the newest record; what comes later is behind it.
///
/// # Panics
/// When the place is another.
pub async fn a_live_subscription_tells_where_it_begins(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "begins").await;
    if kit.can.log {
        let topic = kit.topic(fixture, &[], 1).await;
        let newest = stored_place(kit.store_numbered(&topic, 0..5).await.pop().and_then(|(_, place)| place));
        let mut live = kit.read(kit.exact(&topic), Start::Live).await;
        let begins = live.ready.cursor.get(&newest.log).map(|seen| seen.n);
        assert_eq!(begins, Some(newest.n), "all that was stored before is before the beginning");
        kit.store(numbered(&topic, 5)).await;
        assert_eq!(number_of(&live.next("what is new arrives").await), 5);
        let empty = kit.topic(fixture, &["empty"], 1).await;
        let earliest = kit.read(kit.exact(&empty), Start::Earliest).await;
        assert!(earliest.ready.cursor.len() <= 1, "an exact topic of one partition has one log");
    }
    kit.end().await;
}

/// The end of the log is told, also when the last of it is for others: a reader may know that there is no more.
///
/// # Panics
/// When it is not told.
pub async fn the_end_of_a_log_is_told(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "reached").await;
    if kit.can.log {
        let topic = kit.topic(fixture, &["a"], 1).await;
        let other = kit.topic(fixture, &["b"], 1).await;
        kit.store_numbered(&topic, 0..5).await;
        kit.store_numbered(&other, 0..5).await;
        let mut live = kit.read(kit.exact(&topic), Start::Live).await;
        let end = live.ready.cursor.clone();
        let mut reader = kit.read(kit.exact(&topic), Start::Earliest).await;
        let mut numbers = Vec::new();
        for (log, seen) in end.iter() {
            let place = Place { log: log.clone(), n: seen.n, at: None, sole: false };
            numbers.extend(reader.until(&place).await);
        }
        assert_eq!(numbers, (0..5).collect::<Vec<_>>(), "all of it, then its end");
        // A reader who is at the end learns of what is stored later as well, if only by its record.
        let newest = stored_place(kit.store(numbered(&topic, 5)).await);
        assert_eq!(reader.until(&newest).await, [5]);
        assert_eq!(live.until(&newest).await, [5]);
    }
    kit.end().await;
}

/// A reader who has nothing left to read, because of its filter or as it began at the end, is told so at once.
///
/// # Panics
/// When nothing is told.
pub async fn a_reader_with_nothing_to_read_is_told(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "nothing").await;
    if kit.can.log {
        let topic = kit.topic(fixture, &[], 1).await;
        let newest = stored_place(kit.store_numbered(&topic, 0..3).await.pop().and_then(|(_, place)| place));
        let mut reader = kit.read(kit.exact(&topic), after(&newest)).await;
        match reader.event("the end is told").await {
            Event::Reached(place) => assert_eq!((place.log, place.n), (newest.log, newest.n)),
            Event::Record(record) => panic!("there is no record to read, but {record:?} came"),
        }
    }
    kit.end().await;
}

/// A cursor that names a log which is not there is refused.
///
/// # Panics
/// When it is taken.
pub async fn a_cursor_of_another_log_is_refused(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "foreign").await;
    if kit.can.log {
        let topic = kit.topic(fixture, &[], 1).await;
        kit.store_numbered(&topic, 0..3).await;
        let log = Log { topic: "not-there".into(), partition: 77 };
        let error = kit.refusal(kit.exact(&topic), after(&Place { log, n: 1, at: None, sole: true })).await;
        let told = matches!(error, SubscribeError::PositionGone { .. });
        assert!(told, "a place in a log that is not there must be told as gone, not as {error:?}");
    }
    kit.end().await;
}

/// A position that the log does not hold any more, or not yet, is told, and so is one at which another record stands:
/// never a silent jump.
///
/// # Panics
/// When it is taken.
pub async fn a_position_that_is_gone_is_told(fixture: &impl Fixture) {
    let kit = Kit::begin(fixture, "gone").await;
    if kit.can.log {
        let topic = kit.topic(fixture, &[], 1).await;
        let stored = kit.store_numbered(&topic, 0..20).await;
        // Not every publish is told the time.
        let mut reader = kit.read(kit.exact(&topic), Start::Earliest).await;
        let mut newest = stored_place(stored[19].1.clone());
        while newest.at.is_none() {
            let place = stored_place(reader.next("a stored record arrives").await.place);
            newest.at = place.at.filter(|_| place.n == newest.n);
        }
        let beyond = Place { n: newest.n + 1_000_000, at: None, ..newest.clone() };
        let anew = Place { at: newest.at.map(|at| at + 12_345), ..newest };
        for (place, what) in [(&beyond, "beyond the newest"), (&anew, "of a record that is another now")] {
            let error = kit.refusal(kit.exact(&topic), after(place)).await;
            let told = matches!(error, SubscribeError::PositionGone { .. });
            assert!(told, "a position {what} must be told as not in the log, not as {error:?}");
        }
        let oldest = stored_place(stored[0].1.clone());
        if fixture.trim(&topic).await {
            let error = kit.refusal(kit.exact(&topic), after(&oldest)).await;
            let told = matches!(error, SubscribeError::PositionGone { .. });
            assert!(told, "a position that was removed must be told as gone, not as {error:?}");
        }
    }
    kit.end().await;
}
