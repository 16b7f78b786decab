//! The subscribers of one channel name or pattern.

use crate::session::LiveSession;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

#[derive(Debug, Default)]
pub(super) struct Subscribers {
    pub(super) list: Vec<Arc<LiveSession>>,
    /// Session key to place in the list.
    index: HashMap<u64, usize, BuildHasherDefault<KeyHasher>>,
    /// The channel has left the registry: whoever still holds it looks again.
    pub(super) gone: bool,
    /// The channel stands in the line of those that are looked at when their time is over.
    pub(super) watched: bool,
}

/// Session keys count up: they need no hashing.
#[derive(Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }
    fn write_u64(&mut self, key: u64) {
        self.0 = key.wrapping_mul(0x9E37_79B9_7F4A_7C15); // spreads them over the high bits too
    }
}

impl Subscribers {
    /// None yet, of a channel that stands in the line.
    pub(super) fn watched() -> Self {
        Subscribers { watched: true, ..Subscribers::default() }
    }

    pub(super) fn has(&self, key: u64) -> bool {
        self.index.contains_key(&key)
    }

    pub(super) fn add(&mut self, session: &Arc<LiveSession>) -> bool {
        if self.has(session.key()) {
            return false;
        }
        self.index.insert(session.key(), self.list.len());
        self.list.push(Arc::clone(session));
        true
    }

    pub(super) fn remove(&mut self, key: u64) -> bool {
        let Some(at) = self.index.remove(&key) else { return false };
        self.list.swap_remove(at);
        if let Some(moved) = self.list.get(at) {
            self.index.insert(moved.key(), at);
        }
        true
    }
}
