//! The packet ids of what is sent.

use std::collections::HashSet;

/// Foretells which packet id the event loop will give next, and knows which are in use: 1, 2, … up to the receive maximum and
/// again from 1. A request is only handed over when its id is free, as the event loop stops over one that is not.
pub(crate) struct PacketIds {
    last: u16,
    max: u16,
    used: HashSet<u16>,
}

impl PacketIds {
    pub(crate) fn up_to(max: u16) -> PacketIds {
        PacketIds { last: 0, max: max.max(1), used: HashSet::new() }
    }

    pub(crate) fn peek(&self) -> Option<u16> {
        let next = self.last + 1;
        (!self.used.contains(&next)).then_some(next)
    }

    pub(crate) fn take(&mut self, id: u16) {
        self.last = if id == self.max { 0 } else { id };
        self.used.insert(id);
    }

    /// The id that a request got is the foretold one, or this follows the event loop.
    pub(crate) fn settle(&mut self, foretold: u16, got: u16) {
        if foretold != got {
            self.used.remove(&foretold);
            self.take(got);
        }
    }

    pub(crate) fn free(&mut self, id: u16) {
        self.used.remove(&id);
    }
}
