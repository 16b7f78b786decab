//! The logs of all topics: append, retention, positions. Pure: the time is handed in, nothing waits.

use crate::config::Settings;
use crate::publish::Content;
use crate::reader::{Reader, Readers};
use crate::syntax::SYNTAX;
use bytestring::ByteString;
use connector::{Cursor, Inbound, Log as LogName, Place, PublishError, Seen, Start, SubscribeError, TopicFilter};
use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use tokio::sync::Notify;

/// Milliseconds since 1970 UTC.
pub(crate) type Millis = i64;

/// All topics. One lock guards it: it is held for the append of one record or the reading of one batch, and makes
/// positions grow in the order in which readers see the records, over all topics.
#[derive(Debug)]
pub(crate) struct Store {
    settings: Settings,
    /// The position before the first record of this process.
    base: u64,
    /// The position of the newest record; `base` before the first.
    last: u64,
    /// The time of the newest record: time does not run backwards in a log, whatever the clock does.
    last_time: Millis,
    bytes: usize,
    by_name: HashMap<ByteString, usize>,
    logs: Vec<Log>,
    readers: Readers,
    pub(crate) closed: bool,
}

/// One topic.
#[derive(Debug)]
pub(crate) struct Log {
    name: ByteString,
    records: VecDeque<Record>,
    /// How many records went: the number, counted in this log, of the oldest that is kept.
    pub(crate) evicted: u64,
    /// The position of the newest that went; 0 before the first.
    gone: u64,
    bytes: usize,
    /// Who reads it.
    pub(crate) readers: Vec<u64>,
}

#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) position: u64,
    time: Millis,
    content: Content,
}

impl Log {
    fn new(name: ByteString) -> Log {
        Log { name, records: VecDeque::new(), evicted: 0, gone: 0, bytes: 0, readers: Vec::new() }
    }

    /// The record of that number, counted in this log.
    pub(crate) fn get(&self, number: u64) -> Option<&Record> {
        self.records.get(usize::try_from(number.checked_sub(self.evicted)?).ok()?)
    }

    /// The number of the first record after a position.
    fn number_after(&self, position: u64) -> u64 {
        self.evicted + self.records.partition_point(|record| record.position <= position) as u64
    }

    /// As it is handed to a reader: references, no copies.
    pub(crate) fn inbound(&self, record: &Record) -> Inbound {
        Inbound {
            topic: self.name.clone(),
            partition: None,
            key: record.content.key.clone(),
            payload: record.content.payload.clone(),
            headers: record.content.headers.clone(),
            timestamp: Some(record.time),
            place: Some(place(record.position, Some(record.time))),
            redelivered: false,
            retained: false,
        }
    }

    /// Lets the oldest go while `more` says so of this log: the bytes that became free.
    fn evict(&mut self, more: impl Fn(&Log, &Record) -> bool) -> usize {
        let before = self.bytes;
        while let Some(oldest) = self.records.front() {
            if !more(self, oldest) {
                break;
            }
            self.gone = oldest.position;
            self.bytes -= oldest.content.size;
            self.evicted += 1;
            self.records.pop_front();
        }
        before - self.bytes
    }
}

impl Store {
    /// Positions begin after `base`: where that grows from process to process, a position of an earlier one is seen to be
    /// gone.
    pub(crate) fn new(settings: Settings, base: u64) -> Store {
        let topics = settings.topics.clone();
        let mut store = Store {
            settings,
            base,
            last: base,
            last_time: 0,
            bytes: 0,
            by_name: HashMap::new(),
            logs: Vec::new(),
            readers: Readers::default(),
            closed: false,
        };
        for topic in topics {
            store.make(&topic);
        }
        store
    }

    /// Whether a publish to that topic would find it, or make it.
    pub(crate) fn has_room_for(&self, topic: &str) -> bool {
        self.by_name.contains_key(topic) || (self.settings.create_topics && self.check_new(topic).is_ok())
    }

    /// Makes a topic if there is none of that name.
    ///
    /// # Errors
    /// When the name is not valid, or there are too many topics.
    pub(crate) fn declare(&mut self, topic: &str) -> Result<usize, PublishError> {
        if let Some(&log) = self.by_name.get(topic) {
            return Ok(log);
        }
        self.check_new(topic)?;
        Ok(self.make(topic))
    }

    fn check_new(&self, topic: &str) -> Result<(), PublishError> {
        (SYNTAX.check)(topic).map_err(|why| PublishError::TopicInvalid(why.to_owned()))?;
        let max = self.settings.max_topics;
        if self.logs.len() >= max {
            return Err(PublishError::Rejected(format!("there are {max} topics already; `max_topics` allows no more")));
        }
        Ok(())
    }

    fn make(&mut self, topic: &str) -> usize {
        if let Some(&log) = self.by_name.get(topic) {
            return log;
        }
        let name = ByteString::from(topic);
        let index = self.logs.len();
        let mut log = Log::new(name.clone());
        self.readers.link_new_topic(index, &mut log.readers, topic);
        self.logs.push(log);
        self.by_name.insert(name, index);
        index
    }

    /// Stores a record: its place.
    ///
    /// # Errors
    /// When the topic is not there and none is made, or the record is larger than a topic may be.
    pub(crate) fn append(&mut self, topic: &str, content: Content, now: Millis) -> Result<Place, PublishError> {
        if self.closed {
            return Err(PublishError::Unavailable("the connector is closed".into()));
        }
        let max = self.settings.max_bytes;
        if content.size > max.as_usize() {
            return Err(PublishError::TooLarge(format!("the record is larger than a topic's `max_bytes`, {max}")));
        }
        let index = match self.by_name.get(topic) {
            Some(&index) => index,
            None if self.settings.create_topics => self.declare(topic)?,
            None => return Err(PublishError::TopicUnknown(topic.to_owned())),
        };
        self.last += 1;
        self.last_time = self.last_time.max(now);
        self.bytes += content.size;
        let log = &mut self.logs[index];
        log.bytes += content.size;
        log.records.push_back(Record { position: self.last, time: self.last_time, content });
        self.readers.wake(index, &log.readers, self.last);
        let max_messages = self.settings.max_messages;
        self.bytes -= log.evict(|log, _| log.records.len() > max_messages || log.bytes > max.as_usize());
        self.expire(index, now);
        if self.bytes > self.settings.max_total_bytes.as_usize() {
            self.level();
        }
        Ok(place(self.last, Some(self.last_time)))
    }

    /// Lets go what is too old in one log.
    fn expire(&mut self, index: usize, now: Millis) {
        if let Some(age) = self.settings.max_age {
            let age = Millis::try_from(age.get().as_millis()).unwrap_or(Millis::MAX);
            let oldest = now.saturating_sub(age);
            self.bytes -= self.logs[index].evict(|_, record| record.time < oldest);
        }
    }

    /// Too much over all topics: the largest are cut to one level, so that a tenth of the bound is free again and the
    /// next cut is far. What was just stored stays.
    fn level(&mut self) {
        let max = self.settings.max_total_bytes.as_usize();
        let excess = self.bytes - (max - max / 10);
        let mut sizes: Vec<usize> = self.logs.iter().map(|log| log.bytes).collect();
        sizes.sort_unstable_by_key(|&size| Reverse(size));
        let mut level = 0;
        let mut sum = 0;
        for (i, size) in sizes.iter().enumerate() {
            sum += size;
            level = sum.saturating_sub(excess) / (i + 1);
            if sizes.get(i + 1).is_none_or(|next| *next <= level) {
                break;
            }
        }
        let newest = self.last;
        for log in &mut self.logs {
            self.bytes -= log.evict(|log, record| log.bytes > level && record.position != newest);
        }
    }

    /// Begins to read all topics that match: the reader, and where it begins.
    ///
    /// # Errors
    /// When the start cannot be found in the logs.
    pub(crate) fn subscribe(
        &mut self,
        filter: TopicFilter,
        start: &Start,
        wake: Arc<Notify>,
        now: Millis,
    ) -> Result<(u64, Cursor), SubscribeError> {
        if self.closed {
            return Err(SubscribeError::Closed);
        }
        let matching: Vec<usize> = match filter.as_exact(&SYNTAX) {
            Some(topic) => self.by_name.get(topic.as_str()).copied().into_iter().collect(),
            None => (0..self.logs.len()).filter(|&log| filter.matches(&self.logs[log].name, &SYNTAX)).collect(),
        };
        for &log in &matching {
            self.expire(log, now);
        }
        let seen = self.resolve(start, &matching)?;
        let after = seen.n;
        let mut reader = Reader::new(filter, wake);
        for &index in &matching {
            let log = &self.logs[index];
            let next = log.number_after(after);
            reader.link(index, next, log.get(next).map(|record| record.position));
        }
        let id = self.readers.insert(reader);
        for index in matching {
            self.logs[index].readers.push(id);
        }
        Ok((id, Cursor::from_iter([(log_name(), seen)])))
    }

    /// The position after which a start reads.
    fn resolve(&self, start: &Start, matching: &[usize]) -> Result<Seen, SubscribeError> {
        let logs = || matching.iter().map(|&log| &self.logs[log]);
        let n = match start {
            Start::Live => self.last,
            Start::Earliest | Start::After { others: None, .. } => self.base,
            // Time grows with the position over all topics: one position parts older from younger.
            Start::At(time) | Start::After { others: Some(time), .. } => {
                let time = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
                let older = |record: &Record| u128::try_from(record.time).unwrap_or(0) * 1_000_000 < time;
                let newest_older = logs().filter_map(|log| {
                    let count = log.records.partition_point(older);
                    log.records.get(count.checked_sub(1)?).map(|record| record.position)
                });
                newest_older.max().unwrap_or(self.base)
            }
        };
        let cursor = match start {
            Start::After { cursor, .. } if !cursor.is_empty() => cursor,
            _ => return Ok(Seen { n, at: None }),
        };
        let seen = cursor.get(&log_name()).filter(|_| cursor.len() == 1);
        let fits = |seen: &Seen| {
            (self.base..=self.last).contains(&seen.n)
                && logs().all(|log| log.gone <= seen.n)
                && seen.at.is_none_or(|at| self.time_of(seen.n).is_none_or(|time| time == at))
        };
        seen.filter(fits).ok_or_else(|| SubscribeError::PositionGone {
            first: logs().filter_map(|log| log.records.front()).map(|record| record.position).min(),
            last: logs().filter_map(|log| log.records.back()).map(|record| record.position).max(),
        })
    }

    /// The time of the record at that position, in whatever topic it is.
    fn time_of(&self, position: u64) -> Option<Millis> {
        self.logs.iter().find_map(|log| {
            let at = log.records.binary_search_by_key(&position, |record| record.position).ok()?;
            log.records.get(at).map(|record| record.time)
        })
    }

    /// The place of the newest record of all topics.
    pub(crate) fn end(&self) -> Place {
        place(self.last, None)
    }

    /// The next records of a reader, at most `max`, in the order of their positions; and how many it missed because
    /// they went before it came.
    pub(crate) fn read(&mut self, id: u64, max: usize, now: Millis, batch: &mut Vec<Inbound>) -> u64 {
        if self.settings.max_age.is_some() {
            for log in self.readers.unread_logs(id) {
                self.expire(log, now);
            }
        }
        self.readers.read(id, &self.logs, max, batch)
    }

    /// Ends a reader.
    pub(crate) fn unsubscribe(&mut self, id: u64) {
        for log in self.readers.remove(id) {
            self.logs[log].readers.retain(|reader| *reader != id);
        }
    }

    /// How many records readers missed.
    pub(crate) fn missed(&self) -> u64 {
        self.readers.missed
    }

    /// How many topics, records and bytes there are.
    pub(crate) fn size(&self) -> (usize, usize, usize) {
        (self.logs.len(), self.logs.iter().map(|log| log.records.len()).sum(), self.bytes)
    }
}

/// The one log that all topics share: positions grow over all of them.
fn log_name() -> LogName {
    LogName { topic: ByteString::new(), partition: 0 }
}

fn place(n: u64, at: Option<Millis>) -> Place {
    Place { log: log_name(), n, at, sole: true }
}

#[cfg(test)]
mod tests;
