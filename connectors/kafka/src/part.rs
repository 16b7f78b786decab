//! One partition that is being read, and how far each of its subscriptions is.

use crate::desk::Spot;
use crate::link::{End, Listening};
use crate::reader::code_of;
use crate::reading::Reading;
use crate::record::{Item, inbound, place};
use crate::resolve::{Bounds, Key};
use crate::subscribe::millis;
use crate::taker::{Handed, Taker};
use crate::trouble::Trouble;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// A record that must be the one it was, or else the topic was made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) offset: i64,
    /// Milliseconds since 1970; 0: the record had none, so that there is nothing to compare.
    pub(crate) timestamp: i64,
    /// A subscription is to begin after it: it waits for this, and fails where the record is another, told what the
    /// partition holds. Else (`None`) reading starts over.
    pub(crate) begin: Option<Bounds>,
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
    pub(crate) takers: Vec<Taker>,
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
    /// What some full subscription still has to get.
    held: Option<Item>,
    /// The end, when it was come to and nothing was read since.
    ended: Option<i64>,
    check: Option<Check>,
}

impl Part {
    pub(crate) fn new(key: Key, check: Option<Check>) -> Self {
        let (takers, alive) = (Vec::new(), Arc::new(()));
        Part {
            key,
            takers,
            last: None,
            began: millis(SystemTime::now()),
            failures: 0,
            trouble: None,
            waits: None,
            alive,
            queue: None,
            next: 0,
            held: None,
            ended: None,
            check,
        }
    }

    pub(crate) fn add(&mut self, reading: &Arc<Reading>, next: i64) {
        self.takers.push(Taker::new(reading.clone(), next));
    }

    /// Tells the end once more, for whoever has joined at it: librdkafka tells it only once.
    pub(crate) fn repeat_end(&mut self, single: bool) {
        if let (Some(end), None) = (self.ended, &self.held) {
            self.held = Some(Item::End(end, place(&self.key, end, None, single)));
        }
    }

    /// From where it is being read; `None` when it is not.
    pub(crate) fn reads_from(&self) -> Option<i64> {
        let held = || match &self.held {
            Some(Item::Record(offset, _)) => *offset,
            _ => self.next,
        };
        self.queue.as_ref().map(|_| held())
    }

    pub(crate) fn begin(&mut self, queue: PartitionQueue<Listening>, from: i64) {
        (self.queue, self.next, self.held, self.ended) = (Some(queue), from, None, None);
        self.waits = Some(Instant::now());
    }

    /// Whether it was being read.
    pub(crate) fn end(&mut self) -> bool {
        (self.held, self.ended, self.waits) = (None, None, None);
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
        self.takers.iter_mut().for_each(|taker| taker.restart(0));
    }

    /// Where a subscription would go on in another reader.
    pub(crate) fn spots_of<'a>(&'a self, reading: &'a Arc<Reading>) -> impl Iterator<Item = Spot> + 'a {
        let of_it = |taker: &&Taker| Arc::ptr_eq(&taker.reading, reading);
        let spot = |taker: &Taker| Spot { key: self.key.clone(), from: taker.next, check: None };
        self.takers.iter().filter(of_it).map(spot)
    }

    /// Takes the next record, or tries once more with what is held. `end` tells where the end is that was just come to.
    pub(crate) fn advance(&mut self, single: bool, end: impl FnOnce() -> Option<End>) -> Progress {
        if let Some(item) = self.held.take() {
            return self.offer(item);
        }
        let Some(queue) = &self.queue else { return Progress::Nothing };
        let (offset, record) = match queue.poll(Duration::ZERO) {
            None => return Progress::Nothing,
            Some(Ok(message)) => (message.offset(), inbound(&message, &self.key, single)),
            Some(Err(KafkaError::PartitionEOF(_))) => {
                self.waits = None;
                self.progressed();
                return self.come_to(end().unwrap_or(End { next: self.next, high: self.next }), single);
            }
            Some(Err(error)) => return Progress::Failed(code_of(&error)),
        };
        (self.waits, self.ended) = (None, None);
        // The last one read once more tells nothing of what comes after it.
        if self.last.is_none_or(|(last, _)| offset > last) {
            self.progressed();
        }
        if let Some(check) = self.check
            && offset >= check.offset
        {
            let timestamp = record.timestamp.unwrap_or(0);
            if offset == check.offset && check.timestamp > 0 && timestamp != check.timestamp {
                return check.begin.map_or(Progress::MadeAnew, |bounds| self.refuse(bounds));
            }
            self.checked();
        }
        self.offer(Item::Record(offset, record))
    }

    fn come_to(&mut self, end: End, single: bool) -> Progress {
        match self.check {
            // A subscription is to begin behind this end.
            Some(Check { offset, begin: Some(bounds), .. }) if end.next <= offset => {
                if end.high <= offset {
                    return self.refuse(bounds);
                }
            }
            // The record to be compared is not kept any more (compaction), and nothing came after it.
            _ => self.checked(),
        }
        let next = end.next.max(self.next);
        self.offer(Item::End(next, place(&self.key, next, None, single)))
    }

    fn checked(&mut self) {
        if self.check.take().is_some_and(|check| check.begin.is_some()) {
            self.takers.iter().for_each(|taker| taker.reading.checked());
        }
    }

    fn refuse(&mut self, bounds: Bounds) -> Progress {
        self.takers.iter().for_each(|taker| taker.reading.fail(bounds.gone()));
        Progress::Ended
    }

    fn offer(&mut self, item: Item) -> Progress {
        let (mut full, mut ended) = (Vec::new(), false);
        for taker in &mut self.takers {
            match taker.hand(&item) {
                Handed::Over => {}
                Handed::Full => full.push(taker.reading.clone()),
                Handed::Ended => ended = true,
            }
        }
        if !full.is_empty() {
            self.held = Some(item);
            return Progress::Full(full);
        }
        self.next = item.next();
        match item {
            Item::Record(offset, record) => self.last = Some((offset, record.timestamp.unwrap_or(0))),
            Item::End(end, _) => self.ended = Some(end),
        }
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
        if let Some(check) = self.check.filter(|check| check.begin.is_some()) {
            if !(low..high).contains(&check.offset) {
                self.refuse(bounds);
            }
            return check.offset.max(low);
        }
        self.check = None;
        match self.last {
            Some((offset, timestamp)) if (low..high).contains(&offset) => {
                self.check = Some(Check { offset, timestamp, begin: None });
                return self.takers.iter().map(|taker| taker.next).fold(offset, i64::min);
            }
            // All that is there is younger than the last record, and its offsets are smaller.
            Some((offset, _)) if offset >= high && younger == Some(low) => {
                tracing::warn!(connector, %topic, partition, "the topic was made anew: reading it from its beginning");
                self.start_over();
            }
            Some((offset, _)) if offset >= high && high > 0 => {
                tracing::warn!(connector, %topic, partition, last = offset, high, "the log was cut: reading on from its end");
                self.takers.iter_mut().filter(|t| t.next > high).for_each(|taker| taker.restart(high));
            }
            // Nothing was read yet, though there were records before our first offset: now all that is there is younger.
            None if younger == Some(low) && self.takers.iter().any(|taker| taker.next > low) => {
                tracing::warn!(connector, %topic, partition, "the topic was made anew: reading it from its beginning");
                self.start_over();
            }
            // Never read from, or empty now: whoever is beyond the end had another log in mind.
            _ => self.takers.iter_mut().filter(|t| t.next > high).for_each(|taker| taker.restart(0)),
        }
        let first = self.takers.iter().map(|taker| taker.next).min().unwrap_or(0);
        if first < low && first > 0 {
            tracing::warn!(connector, %topic, partition, lost = low - first, "records were removed by retention before they were read");
            lost.fetch_add(low.abs_diff(first), Ordering::Relaxed);
            self.takers.iter_mut().for_each(|taker| taker.next = taker.next.max(low));
        }
        first.max(low)
    }
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
