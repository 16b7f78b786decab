//! Asking for offsets: explicit ones, before a subscription is said to be ready.

use crate::link::Link;
use crate::reader::Consumer;
use bytestring::ByteString;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Semaphore;

/// A partition of a topic.
pub(crate) type Key = (ByteString, i32);
/// Each partition with its offset, or why there is none.
pub(crate) type Offsets = Vec<(Key, Result<i64, Code>)>;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many questions are asked at a time: each holds a thread.
const AT_ONCE: usize = 4;

/// Which offset of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// The oldest that is kept.
    First,
    /// The one that the next record will have (the last stable offset: before what is not committed yet).
    End,
    /// That of the first record that is not older, in milliseconds since 1970; the end where there is none.
    Time(i64),
}

/// What a partition holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) low: i64,
    pub(crate) high: i64,
    /// The first record that is younger than a time asked for, if there is one.
    pub(crate) younger: Option<i64>,
}

/// Asks by the shared consumer's client, never on a thread of the runtime.
pub(crate) struct Resolver {
    consumer: Weak<Consumer>,
    link: Arc<Link>,
    places: Semaphore,
}

impl Resolver {
    pub(crate) fn new(consumer: &Arc<Consumer>, link: Arc<Link>) -> Self {
        Resolver { consumer: Arc::downgrade(consumer), link, places: Semaphore::new(AT_ONCE) }
    }

    /// The offsets of these partitions, in their order.
    pub(crate) async fn offsets(&self, keys: Vec<Key>, point: Point) -> Offsets {
        if let Point::Time(_) = point {
            // The end is asked for first: what is stored between the questions then comes after it.
            let ends = Box::pin(self.offsets(keys.clone(), Point::End)).await;
            let times = self.ask(keys, point).await;
            let both = ends.into_iter().zip(times);
            return both.map(|((key, end), (_, time))| (key, time.and_then(|time| time.map_or(end, Ok)))).collect();
        }
        let answers = self.ask(keys, point).await;
        answers.into_iter().map(|(key, offset)| (key, offset.and_then(|o| o.ok_or(Code::NoOffset)))).collect()
    }

    /// What a partition holds, and where what is younger than `time` begins.
    pub(crate) async fn bounds(&self, key: &Key, time: Option<i64>) -> Result<Bounds, Code> {
        let one = |point| async move {
            let answers = self.ask(vec![key.clone()], point).await;
            answers.into_iter().next().map_or(Err(Code::NoOffset), |(_, offset)| offset)
        };
        let low = one(Point::First).await?.ok_or(Code::NoOffset)?;
        let high = one(Point::End).await?.ok_or(Code::NoOffset)?;
        let younger = match time {
            Some(time) => one(Point::Time(time.saturating_add(1))).await?,
            None => None,
        };
        Ok(Bounds { low, high, younger })
    }

    async fn ask(&self, keys: Vec<Key>, point: Point) -> Vec<(Key, Result<Option<i64>, Code>)> {
        if keys.is_empty() {
            return Vec::new();
        }
        let all_failed = |keys: Vec<Key>, code: Code| keys.into_iter().map(|key| (key, Err(code))).collect();
        let Ok(_place) = self.places.acquire().await else { return all_failed(keys, Code::BrokerDestroy) };
        let Some(consumer) = self.consumer.upgrade() else { return all_failed(keys, Code::BrokerDestroy) };
        let (link, spare) = (self.link.clone(), keys.clone());
        let asked = tokio::task::spawn_blocking(move || ask_some(&consumer, &link, keys, point));
        asked.await.unwrap_or_else(|_| all_failed(spare, Code::Fail))
    }
}

/// One partition without a leader fails the question for all: then the halves are asked for, as long as the cluster
/// answers at all.
fn ask_some(
    consumer: &Consumer,
    link: &Link,
    mut keys: Vec<Key>,
    point: Point,
) -> Vec<(Key, Result<Option<i64>, Code>)> {
    match ask_now(consumer, &keys, point) {
        Ok(answers) => keys.into_iter().zip(answers).collect(),
        Err(_) if keys.len() > 1 && link.up() => {
            let second = keys.split_off(keys.len() / 2);
            let mut answers = ask_some(consumer, link, keys, point);
            answers.extend(ask_some(consumer, link, second, point));
            answers
        }
        Err(code) => keys.into_iter().map(|key| (key, Err(code))).collect(),
    }
}

fn ask_now(consumer: &Consumer, keys: &[Key], point: Point) -> Result<Vec<Result<Option<i64>, Code>>, Code> {
    // In this question an offset is a time, and the two special times are written as the special offsets.
    let time = match point {
        Point::First => Offset::Beginning,
        Point::End => Offset::End,
        Point::Time(time) => Offset::Offset(time.max(0)),
    };
    let mut question = TopicPartitionList::with_capacity(keys.len());
    for (topic, partition) in keys {
        question.add_partition_offset(topic, *partition, time).map_err(|_| Code::InvalidArgument)?;
    }
    let answer = consumer
        .offsets_for_times(question, PATIENCE)
        .map_err(|error| error.rdkafka_error_code().unwrap_or(Code::Fail))?;
    let offset = |(topic, partition): &Key| {
        let found = answer.find_partition(topic, *partition).ok_or(Code::NoOffset)?;
        found.error().map_err(|error| error.rdkafka_error_code().unwrap_or(Code::Fail))?;
        Ok(match found.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        })
    };
    Ok(keys.iter().map(offset).collect())
}
