//! Records: what goes to a broker and what comes from one.

use crate::Place;
use bytes::Bytes;
use bytestring::ByteString;
use std::time::Instant;

/// Record headers in order; a name may appear more than once. Kafka and NATS headers, MQTT user properties.
pub type Headers = Vec<(ByteString, Bytes)>;

/// A record to be stored.
#[derive(Debug, Clone)]
pub struct Outbound {
    /// The topic (NATS: subject), already escaped by the connector's [`crate::TopicSyntax`].
    pub topic: ByteString,
    /// Decides the partition where the broker has keys; ignored elsewhere.
    pub key: Option<Bytes>,
    /// A fixed partition, which overrides the key's.
    pub partition: Option<i32>,
    /// The value, byte for byte. `None` is a tombstone where the broker has them, else an empty value.
    pub payload: Option<Bytes>,
    /// Headers to store along.
    pub headers: Headers,
    /// By then the outcome must be known: later it is [`crate::PublishError::OutcomeUnknown`].
    pub deadline: Instant,
}

/// A record read from a topic.
#[derive(Debug, Clone)]
pub struct Inbound {
    /// The topic as the broker names it.
    pub topic: ByteString,
    /// The partition, where there are any.
    pub partition: Option<i32>,
    /// The key as stored.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub payload: Option<Bytes>,
    /// Headers as stored.
    pub headers: Headers,
    /// Milliseconds since 1970 UTC, as the broker tells.
    pub timestamp: Option<i64>,
    /// Where the record stands in its log, where there is a log.
    pub place: Option<Place>,
    /// The broker may have delivered this one before (MQTT DUP).
    pub redelivered: bool,
    /// The broker kept this one from before the subscription (MQTT retained).
    pub retained: bool,
}

impl Inbound {
    /// The first header of that name, exact case.
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }
}

/// What a subscription hands over.
#[derive(Debug, Clone)]
pub enum Event {
    /// The next record.
    Record(Inbound),
    /// All that the log has up to here and that the filter matches was handed over, though the last of it was no record
    /// for this filter: a transaction's marker, what compaction took, another subject of the stream. Comes when the end of
    /// the log is reached, so that a reader knows that there is no more; only where there is a log.
    Reached(Place),
}
