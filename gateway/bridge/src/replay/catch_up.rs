//! One reader who catches up: what it is still to get, whoever brings it.

use super::ring::Ring;
use connector::{Cursor, Place};

/// How far a reader is who is not live yet.
#[derive(Debug, Clone)]
pub(crate) struct CatchUp {
    cursor: Cursor,
}

/// What came of an attempt to join.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Join {
    /// It has all that the feed has read: it is live from the feed's next message on.
    Live,
    /// It has no room for more now.
    Full,
    /// The log must be read: the ring does not reach back so far, or the feed has not come so far.
    Behind,
}

impl CatchUp {
    /// A reader who has all up to `cursor`, and of logs that it does not name nothing.
    pub(crate) fn new(cursor: Cursor) -> Self {
        CatchUp { cursor }
    }

    /// How far it is.
    pub(crate) fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// A record of the log: whether it is the reader's. It counts as read from now on.
    pub(crate) fn take(&mut self, place: &Place) -> bool {
        self.cursor.advance(place)
    }

    /// Whether a record is still to come to this reader.
    pub(crate) fn wants(&self, place: &Place) -> bool {
        !self.cursor.covers(place)
    }

    /// Takes from the ring what is missing. `give` hands a message over, and says whether there was room for it; who
    /// gets [`Join::Live`] must be made live before the feed goes on.
    pub(crate) fn join<T>(&mut self, ring: &Ring<T>, mut give: impl FnMut(&Place, &T) -> bool) -> Join {
        if !ring.joins(&self.cursor) {
            return Join::Behind;
        }
        for entry in ring.after(&self.cursor.clone()) {
            if !give(&entry.place, &entry.item) {
                return Join::Full;
            }
            self.cursor.advance(&entry.place);
        }
        self.cursor = ring.cursor().clone();
        Join::Live
    }
}

#[cfg(test)]
mod tests;
