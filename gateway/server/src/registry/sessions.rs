//! Which sessions there are, by client id: in shards, so that sessions do not wait for each other.

use crate::session::LiveSession;
use bytestring::ByteString;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const SHARDS: usize = 64;

/// Sessions by client id.
#[derive(Debug)]
pub(crate) struct Sessions {
    shards: Vec<RwLock<HashMap<ByteString, Arc<LiveSession>>>>,
    hasher: RandomState,
    count: AtomicUsize,
}

impl Sessions {
    pub(crate) fn new() -> Self {
        Sessions {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hasher: RandomState::new(),
            count: AtomicUsize::new(0),
        }
    }

    fn shard(&self, id: &str) -> &RwLock<HashMap<ByteString, Arc<LiveSession>>> {
        &self.shards[self.hasher.hash_one(id) as usize % SHARDS]
    }

    pub(crate) fn insert(&self, session: Arc<LiveSession>) {
        let id = session.client_id().clone();
        if self.shard(&id).write().insert(id.clone(), session).is_none() {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self, id: &ByteString) -> Option<Arc<LiveSession>> {
        self.shard(id).read().get(id).cloned()
    }

    pub(crate) fn remove(&self, id: &ByteString) {
        let mut shard = self.shard(id).write();
        if shard.remove(id).is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
            if shard.capacity() > 64 && shard.len() < shard.capacity() / 4 {
                shard.shrink_to_fit();
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(crate) fn all(&self) -> Vec<Arc<LiveSession>> {
        let mut all = Vec::with_capacity(self.len());
        for shard in &self.shards {
            all.extend(shard.read().values().cloned());
        }
        all
    }
}
