//! Who is subscribed to what, and which sessions there are: both in shards, so that sessions do not wait for each other.

use crate::flush::Flusher;
use crate::session::LiveSession;
use bayeux::channel::ChannelName;
use bayeux::delivery::Delivery;
use bytestring::ByteString;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const SHARDS: usize = 64;

/// The subscribers of one channel name or pattern.
#[derive(Debug, Default)]
struct Subscribers {
    list: Vec<Arc<LiveSession>>,
    /// Session key to place in the list.
    index: HashMap<u64, usize, BuildHasherDefault<KeyHasher>>,
    /// It was empty and has left the registry: whoever still holds it looks again.
    gone: bool,
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
    fn add(&mut self, session: &Arc<LiveSession>) -> bool {
        if self.index.contains_key(&session.key()) {
            return false;
        }
        self.index.insert(session.key(), self.list.len());
        self.list.push(Arc::clone(session));
        true
    }

    fn remove(&mut self, key: u64) -> bool {
        let Some(at) = self.index.remove(&key) else { return false };
        self.list.swap_remove(at);
        if let Some(moved) = self.list.get(at) {
            self.index.insert(moved.key(), at);
        }
        true
    }
}

type ChannelShard = RwLock<HashMap<Box<str>, Arc<RwLock<Subscribers>>>>;

/// Channels and their subscribers. A publish looks up the channel and the few patterns that can reach it: hashing, no
/// tree (wildcards stand only at the end).
#[derive(Debug)]
pub(crate) struct Channels {
    shards: Vec<ChannelShard>,
    hasher: RandomState,
    wild: AtomicUsize,
    names: AtomicUsize,
}

impl Channels {
    pub(crate) fn new() -> Self {
        Channels {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hasher: RandomState::new(),
            wild: AtomicUsize::new(0),
            names: AtomicUsize::new(0),
        }
    }

    fn shard(&self, name: &str) -> &ChannelShard {
        &self.shards[self.hasher.hash_one(name) as usize % SHARDS]
    }

    pub(crate) fn subscribe(&self, channel: &ChannelName, session: &Arc<LiveSession>) {
        loop {
            let entry = {
                let mut shard = self.shard(channel.as_str()).write();
                let entry = shard.entry(channel.as_str().into()).or_insert_with(|| {
                    self.names.fetch_add(1, Ordering::Relaxed);
                    Arc::default()
                });
                Arc::clone(entry)
            };
            // Not under the shard's lock: a long fan-out on this channel may be reading the list.
            let mut subscribers = entry.write();
            if subscribers.gone {
                continue; // it was empty and has just left the registry
            }
            if subscribers.add(session) && channel.is_wild() {
                self.wild.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
    }

    pub(crate) fn unsubscribe(&self, channel: &ChannelName, key: u64) {
        let Some(entry) = self.subscribers(channel.as_str()) else { return };
        let mut subscribers = entry.write();
        if subscribers.remove(key) && channel.is_wild() {
            self.wild.fetch_sub(1, Ordering::Relaxed);
        }
        if subscribers.list.is_empty() && !subscribers.gone {
            subscribers.gone = true;
            drop(subscribers);
            self.shard(channel.as_str()).write().remove(channel.as_str());
            self.names.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn exists(&self, channel: &str) -> bool {
        self.shard(channel).read().contains_key(channel)
    }

    /// How many channel names and patterns have subscribers.
    pub(crate) fn len(&self) -> usize {
        self.names.load(Ordering::Relaxed)
    }

    fn subscribers(&self, name: &str) -> Option<Arc<RwLock<Subscribers>>> {
        self.shard(name).read().get(name).cloned()
    }

    /// Queues a message to every session that a subscription of it reaches, once each. Returns how many it was offered to,
    /// and those whose queue was full.
    pub(crate) fn publish(
        &self,
        channel: &ChannelName,
        delivery: &Arc<Delivery>,
        flusher: &Flusher,
    ) -> (u64, Vec<Arc<LiveSession>>) {
        let mut lists = Vec::new();
        if self.wild.load(Ordering::Relaxed) == 0 {
            lists.extend(self.subscribers(channel.as_str()));
        } else {
            channel.for_each_reaching(|name| lists.extend(self.subscribers(name)));
        }
        // Recursive reads: several lists are held at the same time, and no writer may come between.
        let mut lists: Vec<_> = lists.iter().map(|list| list.read_recursive()).collect();
        // A session that several lists have is served by the first; the longest goes last and looks into the short ones.
        lists.sort_by_key(|list| list.list.len());
        let mut reached = 0;
        let mut full = Vec::new();
        for (n, list) in lists.iter().enumerate() {
            for session in &list.list {
                if lists[..n].iter().any(|earlier| earlier.index.contains_key(&session.key())) {
                    continue;
                }
                reached += 1;
                if session.enqueue(delivery, flusher) {
                    full.push(Arc::clone(session));
                }
            }
        }
        (reached, full)
    }
}

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
