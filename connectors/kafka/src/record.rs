//! A Kafka record as others see it, and where it stands.

use crate::resolve::Key;
use bytes::Bytes;
use connector::{Event, Headers, Inbound, Log, Place};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use std::panic::AssertUnwindSafe;

/// What a partition has next.
pub(crate) enum Item {
    Record(i64, Inbound),
    /// The end of what can be read; the offset that the next record will have at least.
    End(i64, Place),
}

impl Item {
    /// The first offset that is not read once this one is handed over.
    pub(crate) fn next(&self) -> i64 {
        match self {
            Item::Record(offset, _) => offset + 1,
            Item::End(offset, _) => *offset,
        }
    }

    pub(crate) fn event(&self) -> Event {
        match self {
            Item::Record(_, record) => Event::Record(record.clone()),
            Item::End(_, place) => Event::Reached(place.clone()),
        }
    }
}

/// The place before the record at `next`. `single`: its topic has exactly one partition.
pub(crate) fn place(key: &Key, next: i64, at: Option<i64>, single: bool) -> Place {
    Place { log: log(key), n: number(next), at, sole: single }
}

pub(crate) fn log(key: &Key) -> Log {
    Log { topic: key.0.clone(), partition: key.1 }
}

/// Offsets are never below zero.
pub(crate) fn number(next: i64) -> u64 {
    u64::try_from(next).unwrap_or(0)
}

pub(crate) fn inbound(message: &BorrowedMessage<'_>, key: &Key, single: bool) -> Inbound {
    let timestamp = message.timestamp().to_millis();
    Inbound {
        topic: key.0.clone(),
        partition: Some(key.1),
        key: message.key().map(Bytes::copy_from_slice),
        payload: message.payload().map(Bytes::copy_from_slice),
        headers: headers(message),
        timestamp,
        place: Some(place(key, message.offset() + 1, timestamp, single)),
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
