//! One partition that is being read, and how far each of its subscriptions is.

use crate::desk::Spot;
use crate::link::Listening;
use crate::position;
use crate::reader::code_of;
use crate::reading::Reading;
use crate::resolve::{Bounds, Key};
use crate::subscribe::millis;
use crate::trouble::Trouble;
use bytes::Bytes;
use connector::{Headers, Inbound, SubscribeError};
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc::error::TrySendError;

/// A record that must be the one it was, or else the topic was made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) offset: i64,
    /// Milliseconds since 1970; 0: the record had none, so that there is nothing to compare.
    pub(crate) timestamp: i64,
    /// A subscription is to begin after it: it waits for this, and fails where the record is another. Else reading
    /// starts over.
    pub(crate) begin: bool,
}

pub(crate) struct Cursor {
    pub(crate) reading: Arc<Reading>,
    /// The first offset that it has not got.
    pub(crate) next: i64,
}

/// What came of looking for the next record.
pub(crate) enum Progress {
    Nothing,
    Passed,
    /// These are full, and keep the partition waiting.
    Full(Vec<Arc<Reading>>),
    MadeAnew,
    /// Some subscription is over.
    Ended,
    Failed(Code),
}

pub(crate) struct Part {
    pub(crate) key: Key,
    pub(crate) cursors: Vec<Cursor>,
    /// Offset and time of the last record that all who wanted it have got.
    pub(crate) last: Option<(i64, i64)>,
    /// When it was first read, in milliseconds since 1970.
    began: i64,
    /// How often it failed since it was last read further.
    pub(crate) failures: u32,
    /// What does not work, until a record or the end has come.
    pub(crate) trouble: Option<Trouble>,
    /// Since when it is read without anything having come, not even that there is nothing.
    waits: Option<Instant>,
    /// Tells a task that looks at this partition whether it is still wanted.
    pub(crate) alive: Arc<()>,
    queue: Option<PartitionQueue<Listening>>,
    /// The offset that the queue goes on from.
    next: i64,
    held: Option<(i64, Inbound)>,
    check: Option<Check>,
}

impl Part {
    pub(crate) fn new(key: Key, check: Option<Check>) -> Self {
        let (cursors, alive) = (Vec::new(), Arc::new(()));
        Part {
            key,
            cursors,
            last: None,
            began: millis(SystemTime::now()),
            failures: 0,
            trouble: None,
            waits: None,
            alive,
            queue: None,
            next: 0,
            held: None,
            check,
        }
    }

    pub(crate) fn add(&mut self, reading: &Arc<Reading>, next: i64) {
        self.cursors.push(Cursor { reading: reading.clone(), next });
    }

    /// From where it is being read; `None` when it is not.
    pub(crate) fn reads_from(&self) -> Option<i64> {
        self.queue.as_ref().map(|_| self.held.as_ref().map_or(self.next, |(offset, _)| *offset))
    }

    pub(crate) fn begin(&mut self, queue: PartitionQueue<Listening>, from: i64) {
        (self.queue, self.next, self.held) = (Some(queue), from, None);
        self.waits = Some(Instant::now());
    }

    /// Whether it was being read.
    pub(crate) fn end(&mut self) -> bool {
        (self.held, self.waits) = (None, None);
        self.queue.take().is_some()
    }

    /// For how long it has been read without anything having come.
    pub(crate) fn waited(&self) -> Option<Duration> {
        self.waits.map(|since| since.elapsed())
    }

    /// It works.
    fn progressed(&mut self) {
        (self.failures, self.trouble) = (0, None);
    }

    /// Everything of it is new to everyone.
    pub(crate) fn start_over(&mut self) {
        (self.last, self.check) = (None, None);
        self.cursors.iter_mut().for_each(|cursor| cursor.next = 0);
    }

    /// Where a subscription would go on in another reader.
    pub(crate) fn spots_of<'a>(&'a self, reading: &'a Arc<Reading>) -> impl Iterator<Item = Spot> + 'a {
        let of_it = |cursor: &&Cursor| Arc::ptr_eq(&cursor.reading, reading);
        let spot = |cursor: &Cursor| Spot { key: self.key.clone(), from: cursor.next, check: None };
        self.cursors.iter().filter(of_it).map(spot)
    }

    /// Takes the next record, or tries once more with the one that is held.
    pub(crate) fn advance(&mut self, single: bool) -> Progress {
        if let Some((offset, record)) = self.held.take() {
            return self.offer(offset, record);
        }
        let Some(queue) = &self.queue else { return Progress::Nothing };
        let (offset, record) = match queue.poll(Duration::ZERO) {
            None => return Progress::Nothing,
            Some(Ok(message)) => (message.offset(), inbound(&message, &self.key, single)),
            Some(Err(KafkaError::PartitionEOF(_))) => {
                // The record to be compared is not kept any more (compaction), and nothing came after it.
                self.waits = None;
                self.progressed();
                self.checked();
                return Progress::Passed;
            }
            Some(Err(error)) => return Progress::Failed(code_of(&error)),
        };
        self.waits = None;
        // The last one read once more tells nothing of what comes after it.
        if self.last.is_none_or(|(last, _)| offset > last) {
            self.progressed();
        }
        if let Some(check) = self.check
            && offset >= check.offset
        {
            let timestamp = record.timestamp.unwrap_or(0);
            if offset == check.offset && check.timestamp > 0 && timestamp != check.timestamp {
                return if check.begin { self.refuse() } else { Progress::MadeAnew };
            }
            self.checked();
        }
        self.offer(offset, record)
    }

    fn checked(&mut self) {
        if self.check.take().is_some_and(|check| check.begin) {
            self.cursors.iter().for_each(|cursor| cursor.reading.ready(Ok(())));
        }
    }

    fn refuse(&mut self) -> Progress {
        for cursor in &self.cursors {
            cursor.reading.fail(SubscribeError::PositionGone { first: None, last: None });
        }
        Progress::Ended
    }

    fn offer(&mut self, offset: i64, record: Inbound) -> Progress {
        let (mut full, mut ended) = (Vec::new(), false);
        for cursor in &mut self.cursors {
            if cursor.next > offset || cursor.reading.is_over() {
                continue;
            }
            match cursor.reading.sink.try_send(record.clone()) {
                Ok(()) => cursor.next = offset + 1,
                Err(TrySendError::Full(_)) => full.push(cursor.reading.clone()),
                Err(TrySendError::Closed(_)) => {
                    cursor.reading.end();
                    ended = true;
                }
            }
        }
        if !full.is_empty() {
            self.held = Some((offset, record));
            return Progress::Full(full);
        }
        self.next = offset + 1;
        self.last = Some((offset, record.timestamp.unwrap_or(0)));
        if ended { Progress::Ended } else { Progress::Passed }
    }

    /// What was there before is not younger than this, in milliseconds since 1970.
    pub(crate) fn time(&self) -> i64 {
        self.last.map_or(self.began, |(_, time)| time)
    }

    /// Where to go on, given what the partition holds now, with what is younger than [`Part::time`]. Adds to `lost` what
    /// is not kept any more.
    pub(crate) fn resume(&mut self, bounds: Bounds, connector: &str, lost: &AtomicU64) -> i64 {
        let Bounds { low, high, younger } = bounds;
        let (topic, partition) = self.key.clone();
        if let Some(check) = self.check.filter(|check| check.begin) {
            if check.offset < low {
                self.refuse();
            }
            return check.offset.max(low);
        }
        self.check = None;
        match self.last {
            Some((offset, timestamp)) if (low..high).contains(&offset) => {
                self.check = Some(Check { offset, timestamp, begin: false });
                return self.cursors.iter().map(|cursor| cursor.next).fold(offset, i64::min);
            }
            // All that is there is younger than the last record, and its offsets are smaller.
            Some((offset, _)) if offset >= high && younger == Some(low) => {
                tracing::warn!(connector, %topic, partition, "the topic was made anew: reading it from its beginning");
                self.start_over();
            }
            Some((offset, _)) if offset >= high && high > 0 => {
                tracing::warn!(connector, %topic, partition, last = offset, high, "the log was cut: reading on from its end");
                self.cursors.iter_mut().for_each(|cursor| cursor.next = cursor.next.min(high));
            }
            // Nothing was read yet, though there were records before our first offset: now all that is there is younger.
            None if younger == Some(low) && self.cursors.iter().any(|cursor| cursor.next > low) => {
                tracing::warn!(connector, %topic, partition, "the topic was made anew: reading it from its beginning");
                self.start_over();
            }
            // Never read from, or empty now: whoever is beyond the end had another log in mind.
            _ => self.cursors.iter_mut().filter(|c| c.next > high).for_each(|cursor| cursor.next = 0),
        }
        let first = self.cursors.iter().map(|cursor| cursor.next).min().unwrap_or(0);
        if first < low && first > 0 {
            tracing::warn!(connector, %topic, partition, lost = low - first, "records were removed by retention before they were read");
            lost.fetch_add(low.abs_diff(first), Ordering::Relaxed);
            self.cursors.iter_mut().for_each(|cursor| cursor.next = cursor.next.max(low));
        }
        first.max(low)
    }
}

fn inbound(message: &BorrowedMessage<'_>, key: &Key, single: bool) -> Inbound {
    let timestamp = message.timestamp().to_millis();
    Inbound {
        topic: key.0.clone(),
        partition: Some(key.1),
        key: message.key().map(Bytes::copy_from_slice),
        payload: message.payload().map(Bytes::copy_from_slice),
        headers: headers(message),
        timestamp,
        position: Some(position::of(single, key.1, message.offset(), timestamp)),
        redelivered: false,
        retained: false,
    }
}

/// The record's headers. A null value is an empty one. A header whose name is not UTF-8 is left out: it cannot be told
/// by any name of ours, and the client library gives up on it by a panic.
fn headers(message: &BorrowedMessage<'_>) -> Headers {
    let Some(headers) = message.headers() else { return Headers::new() };
    let header = |i| {
        std::panic::catch_unwind(AssertUnwindSafe(|| {
            let header = headers.try_get(i)?;
            Some((header.key.into(), header.value.map_or_else(Bytes::new, Bytes::copy_from_slice)))
        }))
        .ok()
        .flatten()
    };
    (0..headers.count()).filter_map(header).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::{mpsc, oneshot};

    fn part(next: i64) -> Part {
        let reading = Reading::new(mpsc::channel(1).0, oneshot::channel().0, Default::default());
        let mut part = Part::new(("t".into(), 0), None);
        part.add(&reading, next);
        part
    }

    fn resumed(part: &mut Part, low: i64, high: i64, younger: Option<i64>) -> (i64, u64) {
        let lost = AtomicU64::new(0);
        let from = part.resume(Bounds { low, high, younger }, "orders", &lost);
        (from, lost.into_inner())
    }

    #[test]
    fn a_topic_made_anew_before_anything_was_read_is_read_from_its_beginning() {
        assert_eq!(resumed(&mut part(5), 0, 10, Some(0)), (0, 0));
        assert_eq!(resumed(&mut part(5), 0, 3, Some(0)), (0, 0));
        // The same log as before, with and without something new.
        assert_eq!(resumed(&mut part(5), 0, 5, None), (5, 0));
        assert_eq!(resumed(&mut part(5), 0, 10, Some(5)), (5, 0));
        assert_eq!(resumed(&mut part(5), 5, 10, Some(5)), (5, 0));
    }

    #[test]
    fn what_retention_removed_unread_is_counted_once() {
        let mut part = part(5);
        part.last = Some((4, 1));
        assert_eq!(resumed(&mut part, 8, 10, Some(8)), (8, 3));
        assert_eq!(resumed(&mut part, 8, 10, Some(8)), (8, 0));
        // What was there before the subscription began was not lost by it.
        assert_eq!(resumed(&mut self::part(0), 8, 10, Some(8)), (8, 0));
    }
}
