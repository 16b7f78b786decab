//! The line of records to be published: bounded in records and bytes, first come, first sent; when full, new ones are
//! refused as overload.
//!
//! A record waits here until the link takes it. From then on nobody can say that the broker does not have it: at its
//! deadline a record that still waits is *surely not stored*, one that was taken is *unknown*.

use bytes::Bytes;
use bytestring::ByteString;
use connector::{Headers, Outbound, PublishError};
use parking_lot::Mutex;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The largest packet of the protocol.
const MAX_PACKET: usize = 268_435_455;

/// A full line is searched for records whose publishers left no more often than this: the search goes through all of it
/// while everyone waits.
const SWEEP_EVERY: Duration = Duration::from_millis(100);

/// What a publisher is told.
pub(crate) type Answer = Result<Option<connector::Place>, PublishError>;

/// A record on its way to the broker.
pub(crate) struct Entry {
    /// Its place in line: entries are sent in the order of their numbers.
    pub(crate) number: u64,
    pub(crate) topic: ByteString,
    pub(crate) payload: Bytes,
    headers: Vec<(String, String)>,
    /// It was sent before, on a connection that ended before the broker's answer came.
    pub(crate) resent: bool,
    /// Of the packet, in bytes.
    size: usize,
    deadline: Instant,
    answer: oneshot::Sender<Answer>,
    _room: Room,
}

impl Entry {
    /// What carries the headers.
    pub(crate) fn properties(&self) -> Option<PublishProperties> {
        properties(self.headers.clone())
    }

    /// Tells the publisher.
    pub(crate) fn finish(self, answer: Answer) {
        let _ = self.answer.send(answer); // it may have left
    }

    fn give_up(self, why: &str) {
        let error = if self.resent { unknown(why) } else { PublishError::Unavailable(format!("not sent: {why}")) };
        self.finish(Err(error));
    }
}

fn unknown(why: &str) -> PublishError {
    PublishError::OutcomeUnknown(format!("sent, but not acknowledged by the broker: {why}"))
}

/// The room that an entry takes, given back when it is dropped.
struct Room {
    used: Arc<Used>,
    bytes: usize,
}

#[derive(Default)]
struct Used {
    records: AtomicUsize,
    bytes: AtomicUsize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.used.records.fetch_sub(1, Ordering::Relaxed);
        self.used.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The line.
pub(crate) struct Line {
    waiting: Mutex<Waiting>,
    used: Arc<Used>,
    max_records: usize,
    max_bytes: usize,
}

#[derive(Default)]
struct Waiting {
    /// In the order of their numbers.
    entries: VecDeque<Entry>,
    next: u64,
    closed: bool,
    /// When the line was last searched for records whose deadline is over.
    swept: Option<Instant>,
}

/// A publisher's place in line.
pub(crate) struct Place {
    number: u64,
    deadline: Instant,
    answer: oneshot::Receiver<Answer>,
}

impl Line {
    pub(crate) fn new(max_records: usize, max_bytes: usize) -> Line {
        Line { waiting: Mutex::default(), used: Arc::default(), max_records, max_bytes }
    }

    /// Takes a place in line, before it returns.
    pub(crate) fn push(&self, record: Outbound) -> Result<Place, PublishError> {
        (crate::SYNTAX.check)(&record.topic).map_err(|why| PublishError::TopicInvalid(why.to_owned()))?;
        let (headers, size) = packet(&record)?;
        if size > MAX_PACKET {
            return Err(too_large(size, MAX_PACKET));
        }
        let now = Instant::now();
        if record.deadline <= now {
            return Err(PublishError::Unavailable("not sent: its deadline was over before it began".into()));
        }
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(PublishError::Unavailable("the connector is closed".into()));
        }
        if self.is_full(size) {
            // Those whose publisher left are only found here and when their turn comes.
            waiting.expire(now);
        }
        if self.is_full(size) {
            return Err(PublishError::Overloaded(format!(
                "{} publishes wait for the broker, no more are taken",
                self.used.records.load(Ordering::Relaxed)
            )));
        }
        // Only added to under the lock, so the bound holds.
        self.used.records.fetch_add(1, Ordering::Relaxed);
        self.used.bytes.fetch_add(size, Ordering::Relaxed);
        let (tell, answer) = oneshot::channel();
        let number = waiting.next;
        waiting.next += 1;
        waiting.entries.push_back(Entry {
            number,
            topic: record.topic,
            payload: record.payload.unwrap_or_default(),
            headers,
            resent: false,
            size,
            deadline: record.deadline,
            answer: tell,
            _room: Room { used: Arc::clone(&self.used), bytes: size },
        });
        Ok(Place { number, deadline: record.deadline, answer })
    }

    /// The bound in bytes lets a single record pass, however large: the broker's own limit is for the broker to say.
    fn is_full(&self, size: usize) -> bool {
        let records = self.used.records.load(Ordering::Relaxed);
        let bytes = self.used.bytes.load(Ordering::Relaxed);
        records >= self.max_records || records > 0 && bytes.saturating_add(size) > self.max_bytes
    }

    /// Waits for the broker's answer, at most until the deadline.
    pub(crate) async fn answer(&self, mut place: Place) -> Answer {
        match tokio::time::timeout_at(place.deadline.into(), &mut place.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(unknown("the connector ended")),
            Err(_) => self.withdraw(place),
        }
    }

    /// The deadline has come: out of the line, if it still stands there.
    fn withdraw(&self, mut place: Place) -> Answer {
        let entry = {
            let entries = &mut self.waiting.lock().entries;
            let at = entries.binary_search_by_key(&place.number, |entry| entry.number).ok();
            at.and_then(|at| entries.remove(at))
        };
        match entry {
            Some(entry) if entry.resent => Err(unknown("the connection broke and did not come back in time")),
            Some(_) => Err(PublishError::Unavailable("not sent: the broker could not be reached in time".into())),
            // Taken. The answer may have come this very moment.
            None => place.answer.try_recv().unwrap_or_else(|_| Err(unknown("no answer came in time"))),
        }
    }

    /// The next record to send, if any; those that cannot be sent are answered and left out.
    pub(crate) fn next(&self, max_packet: usize) -> Option<Entry> {
        let now = Instant::now();
        loop {
            let entry = self.waiting.lock().entries.pop_front()?;
            if entry.deadline <= now {
                entry.give_up("its deadline is over");
            } else if entry.size > max_packet {
                let error = too_large(entry.size, max_packet);
                entry.finish(Err(error));
            } else {
                return Some(entry);
            }
        }
    }

    /// Puts records back that were taken and not acknowledged: before all others, in their old order.
    pub(crate) fn put_back(&self, mut taken: Vec<Entry>) {
        taken.sort_unstable_by_key(|entry| entry.number);
        let mut waiting = self.waiting.lock();
        for mut entry in taken.into_iter().rev() {
            entry.resent = true;
            waiting.entries.push_front(entry);
        }
    }

    /// Nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.lock().entries.is_empty()
    }

    /// Takes no more records.
    pub(crate) fn close(&self) {
        self.waiting.lock().closed = true;
    }

    /// Answers all that still wait.
    pub(crate) fn clear(&self, why: &str) {
        let entries = std::mem::take(&mut self.waiting.lock().entries);
        for entry in entries {
            entry.give_up(why);
        }
    }
}

impl Waiting {
    /// Takes those out whose deadline is over, unless that was done a moment ago.
    fn expire(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now < swept + SWEEP_EVERY) {
            return;
        }
        self.swept = Some(now);
        if self.entries.iter().all(|entry| entry.deadline > now) {
            return;
        }
        let (over, rest) = std::mem::take(&mut self.entries).into_iter().partition(|entry| entry.deadline <= now);
        self.entries = rest;
        let over: VecDeque<Entry> = over;
        for entry in over {
            entry.give_up("its deadline is over");
        }
    }
}

fn too_large(size: usize, max: usize) -> PublishError {
    PublishError::TooLarge(format!("the record makes a packet of {size} bytes, the broker takes {max}"))
}

/// The headers as user properties, and the size of the whole packet.
fn packet(record: &Outbound) -> Result<(Vec<(String, String)>, usize), PublishError> {
    let properties = properties(user_properties(&record.headers)?);
    let payload = record.payload.clone().unwrap_or_default();
    let mut publish = Publish::new(&record.topic[..], QoS::AtLeastOnce, payload, properties);
    publish.pkid = 1; // the packet will have one, and it counts
    let size = publish.size();
    Ok((publish.properties.map(|properties| properties.user_properties).unwrap_or_default(), size))
}

fn properties(headers: Vec<(String, String)>) -> Option<PublishProperties> {
    (!headers.is_empty()).then(|| PublishProperties { user_properties: headers, ..PublishProperties::default() })
}

/// Headers travel as user properties, which are strings: what is none is refused, never changed.
fn user_properties(headers: &Headers) -> Result<Vec<(String, String)>, PublishError> {
    let mut properties = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let refuse = |why: &str| PublishError::Rejected(format!("the header {:?} {why}", &name[..]));
        let text =
            std::str::from_utf8(value).map_err(|_| refuse("is not UTF-8, which an MQTT user property must be"))?;
        if !crate::topic::is_text(name) || !crate::topic::is_text(text) {
            return Err(refuse("holds control characters, which brokers do not take in a user property"));
        }
        if name.len() > 65_535 || text.len() > 65_535 {
            return Err(refuse("is longer than 65535 bytes, the limit of an MQTT user property"));
        }
        properties.push((name.to_string(), text.to_owned()));
    }
    Ok(properties)
}
