//! Asking for offsets: explicit ones, before a subscription is said to be ready.
//!
//! librdkafka answers a question about many partitions only when it has all answers. So each leader is asked on its
//! own, nobody is asked for partitions without one, and leaders that let a question's time pass are asked apart from the
//! others until they answer.

use crate::catalog::NO_LEADER;
use crate::link::Link;
use crate::reader::Consumer;
use crate::record::number;
use bytestring::ByteString;
use connector::SubscribeError;
use parking_lot::Mutex;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// A partition of a topic.
pub(crate) type Key = (ByteString, i32);
/// Each partition with its offset, or why there is none.
pub(crate) type Offsets = Vec<(Key, Result<i64, Code>)>;
type Answers = Vec<(Key, Result<Option<i64>, Code>)>;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many questions are asked at a time: each holds a thread.
const AT_ONCE: usize = 4;
/// The same for leaders that have not answered before.
const AT_ONCE_SILENT: usize = 2;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) low: i64,
    pub(crate) high: i64,
    /// The first record that is younger than a time asked for, if there is one.
    pub(crate) younger: Option<i64>,
}

impl Bounds {
    /// A position is not among what it holds.
    pub(crate) fn gone(self) -> SubscribeError {
        let held = self.low < self.high;
        let place = |next| held.then_some(number(next));
        SubscribeError::PositionGone { first: place(self.low + 1), last: place(self.high) }
    }
}

/// Asks by the shared consumer's client, never on a thread of the runtime.
pub(crate) struct Resolver {
    consumer: Weak<Consumer>,
    link: Arc<Link>,
    places: Arc<Semaphore>,
    places_for_silent: Arc<Semaphore>,
    /// Leaders that have not answered the last question.
    silent: Arc<Mutex<HashSet<i32>>>,
}

impl Resolver {
    pub(crate) fn new(consumer: &Arc<Consumer>, link: Arc<Link>) -> Self {
        Resolver {
            consumer: Arc::downgrade(consumer),
            link,
            places: Arc::new(Semaphore::new(AT_ONCE)),
            places_for_silent: Arc::new(Semaphore::new(AT_ONCE_SILENT)),
            silent: Arc::default(),
        }
    }

    /// The offsets of these partitions, in their order.
    pub(crate) async fn offsets(&self, keys: Vec<Key>, point: Point) -> Offsets {
        if let Point::Time(_) = point {
            // The end is asked for first: what is stored between the questions then comes after it.
            let ends = Box::pin(self.offsets(keys, Point::End)).await;
            let told = ends.iter().filter(|(_, end)| end.is_ok()).map(|(key, _)| key.clone()).collect();
            let mut times: HashMap<Key, _> = self.ask(told, point).await.into_iter().collect();
            let or_end = |(key, end): (Key, Result<i64, Code>)| {
                let time = times.remove(&key);
                let offset =
                    end.and_then(|end| time.map_or(Err(Code::NoOffset), |time| time.map(|t| t.unwrap_or(end))));
                (key, offset)
            };
            return ends.into_iter().map(or_end).collect();
        }
        let answers = self.ask(keys, point).await;
        answers.into_iter().map(|(key, offset)| (key, offset.and_then(|o| o.ok_or(Code::NoOffset)))).collect()
    }

    /// What these partitions hold, in their order.
    pub(crate) async fn held(&self, keys: Vec<Key>) -> Vec<(Key, Result<Bounds, Code>)> {
        let lows = self.offsets(keys.clone(), Point::First).await;
        let highs = self.offsets(keys, Point::End).await;
        let bounds = |low: Result<i64, Code>, high: Result<i64, Code>| {
            low.and_then(|low| high.map(|high| Bounds { low, high, younger: None }))
        };
        lows.into_iter().zip(highs).map(|((key, low), (_, high))| (key, bounds(low, high))).collect()
    }

    /// What a partition holds, and where what is younger than `time` begins.
    pub(crate) async fn bounds(&self, key: &Key, time: i64) -> Result<Bounds, Code> {
        let one = |point| async move {
            let answers = self.ask(vec![key.clone()], point).await;
            answers.into_iter().next().map_or(Err(Code::NoOffset), |(_, offset)| offset)
        };
        let low = one(Point::First).await?.ok_or(Code::NoOffset)?;
        let high = one(Point::End).await?.ok_or(Code::NoOffset)?;
        let younger = one(Point::Time(time.saturating_add(1))).await?;
        Ok(Bounds { low, high, younger })
    }

    async fn ask(&self, keys: Vec<Key>, point: Point) -> Answers {
        let catalog = self.link.topics();
        let mut by_leader: BTreeMap<i32, Vec<Key>> = BTreeMap::new();
        for key in &keys {
            by_leader.entry(catalog.leader(&key.0, key.1)).or_default().push(key.clone());
        }
        by_leader.remove(&NO_LEADER);
        let mut asked = JoinSet::new();
        for (leader, keys) in by_leader {
            asked.spawn(self.ask_leader(leader, keys, point));
        }
        let mut answers: HashMap<Key, _> = HashMap::with_capacity(keys.len());
        while let Some(answer) = asked.join_next().await {
            answers.extend(answer.unwrap_or_default());
        }
        let answer = |key: Key| {
            let offset = answers.remove(&key).unwrap_or(Err(Code::LeaderNotAvailable));
            (key, offset)
        };
        keys.into_iter().map(answer).collect()
    }

    fn ask_leader(&self, leader: i32, keys: Vec<Key>, point: Point) -> impl Future<Output = Answers> + Send + use<> {
        let (silent, link, consumer) = (self.silent.clone(), self.link.clone(), self.consumer.clone());
        let is_silent = silent.lock().contains(&leader);
        let places = if is_silent { &self.places_for_silent } else { &self.places }.clone();
        async move {
            let Ok(place) = places.acquire_owned().await else { return Vec::new() };
            let asked = tokio::task::spawn_blocking(move || {
                // The place is kept for as long as the thread, also when nobody waits for the answer any more.
                let _place = place;
                let Some(consumer) = consumer.upgrade() else { return Vec::new() };
                let mut unanswered = false;
                let answers = ask_some(&consumer, &link, keys, point, &mut unanswered);
                if unanswered {
                    silent.lock().insert(leader);
                    // Perhaps another leads by now.
                    link.refresh();
                } else {
                    silent.lock().remove(&leader);
                }
                answers
            });
            asked.await.unwrap_or_default()
        }
    }
}

/// What is wrong with one partition can fail the question for all: then the halves are asked for. Where the time has
/// passed without an answer, asking for less does not help.
fn ask_some(consumer: &Consumer, link: &Link, mut keys: Vec<Key>, point: Point, unanswered: &mut bool) -> Answers {
    let begun = Instant::now();
    match ask_now(consumer, &keys, point) {
        Ok(answers) => keys.into_iter().zip(answers).collect(),
        Err(code) => {
            *unanswered |= begun.elapsed() >= PATIENCE * 9 / 10;
            if keys.len() == 1 || *unanswered || !link.up() {
                return keys.into_iter().map(|key| (key, Err(code))).collect();
            }
            let second = keys.split_off(keys.len() / 2);
            let mut answers = ask_some(consumer, link, keys, point, unanswered);
            answers.extend(ask_some(consumer, link, second, point, unanswered));
            answers
        }
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
