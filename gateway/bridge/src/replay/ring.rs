//! The newest messages of a mapping, and how far its feed has read: what joins those who catch up to what is live.
//!
//! A reader who has all up to a cursor may take the rest from the ring, if nothing of it has left the ring yet, and go on
//! live from there: nothing is missed and nothing comes twice, as long as taking and joining are one step for the feed.

use connector::{Cursor, Log, Place, Seen};
use std::collections::VecDeque;

/// How much a ring keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Messages.
    pub(crate) messages: usize,
    /// Bytes.
    pub(crate) bytes: usize,
}

/// A message with its place.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    /// Where its record stands.
    pub(crate) place: Place,
    /// The message.
    pub(crate) item: T,
    weight: usize,
}

/// The newest messages, oldest first.
#[derive(Debug)]
pub(crate) struct Ring<T> {
    limits: Limits,
    entries: VecDeque<Entry<T>>,
    bytes: usize,
    /// All messages behind these places are here.
    begins: Cursor,
    /// How far the feed has read.
    cursor: Cursor,
}

impl<T> Ring<T> {
    /// An empty one, for a feed that begins behind `cursor`; logs that the cursor does not name are read from their
    /// beginning.
    pub(crate) fn new(limits: Limits, cursor: Cursor) -> Self {
        Ring { limits, entries: VecDeque::new(), bytes: 0, begins: cursor.clone(), cursor }
    }

    /// How far the feed has read.
    pub(crate) fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// The feed has read up to here; a place that it had read before changes nothing.
    pub(crate) fn reached(&mut self, place: &Place) {
        self.cursor.advance(place);
    }

    /// The feed has read a record that became a message. False, and nothing is kept, when it had been read before.
    pub(crate) fn push(&mut self, place: Place, item: T, weight: usize) -> bool {
        if !self.cursor.advance(&place) {
            return false;
        }
        self.bytes += weight;
        self.entries.push_back(Entry { place, item, weight });
        while self.entries.len() > self.limits.messages || self.bytes > self.limits.bytes {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.weight;
            self.begins.advance(&oldest.place);
        }
        true
    }

    /// A reader at `from` can join: all that it has not read is here, and it has read nothing that the feed has not.
    pub(crate) fn joins(&self, from: &Cursor) -> bool {
        from.covers_all(&self.begins) && self.cursor.covers_all(from)
    }

    /// The messages behind `from`, oldest first. Looks from the newest backwards, as far as it needs to.
    pub(crate) fn after(&self, from: &Cursor) -> impl Iterator<Item = &Entry<T>> {
        // Logs in which the reader is behind; when all their messages are found, the rest is older.
        let mut behind: Vec<(&Log, Seen)> = self
            .cursor
            .iter()
            .filter(|(log, seen)| from.get(log).is_none_or(|mine| mine.n < seen.n))
            .map(|(log, _)| (log, from.get(log).unwrap_or(Seen { n: 0, at: None })))
            .collect();
        let mut first = self.entries.len();
        for (i, entry) in self.entries.iter().enumerate().rev() {
            if behind.is_empty() {
                break;
            }
            if let Some(at) = behind.iter().position(|(log, _)| **log == entry.place.log) {
                if entry.place.n > behind[at].1.n {
                    first = i;
                } else {
                    behind.swap_remove(at);
                }
            }
        }
        let from = from.clone();
        self.entries.range(first..).filter(move |entry| !from.covers(&entry.place))
    }
}
