//! Channels by their names: in shards, so that sessions do not wait for each other.
//!
//! A name is hashed segment by segment. So the hashes of all patterns that reach a channel come out of one pass over its
//! name: a long one with many segments, which any client may send, costs no more than many short ones.

use super::Channel;
use bayeux::channel::ChannelName;
use hashbrown::HashTable;
use parking_lot::RwLock;
use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};
use std::sync::Arc;

const SHARDS: usize = 64;

#[derive(Debug)]
pub(super) struct Names {
    shards: Vec<RwLock<HashTable<Arc<Channel>>>>,
    hasher: RandomState,
}

impl Names {
    pub(super) fn new() -> Self {
        Names { shards: (0..SHARDS).map(|_| RwLock::default()).collect(), hasher: RandomState::new() }
    }

    fn hash(&self, name: &str) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        feed(&mut hasher, name);
        hasher.finish()
    }

    /// The table takes its places from the low bits and its marks from the high ones: the shard is in between.
    fn shard(&self, hash: u64) -> &RwLock<HashTable<Arc<Channel>>> {
        &self.shards[(hash >> 40) as usize % SHARDS]
    }

    fn find(&self, hash: u64, name: &str) -> Option<Arc<Channel>> {
        self.shard(hash).read().find(hash, |channel| channel.name.as_str() == name).cloned()
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<Channel>> {
        self.find(self.hash(name), name)
    }

    /// Those that are there of the channel and the patterns that reach it, from `/**` to the channel itself.
    pub(super) fn for_each_reaching(&self, channel: &ChannelName, mut f: impl FnMut(Arc<Channel>)) {
        let mut parent = self.hasher.build_hasher();
        let mut fed = 0;
        channel.for_each_reaching(|name| {
            let end = name.rfind('/').unwrap_or(0); // of a parent, which is the one before or continues it
            feed(&mut parent, &name[fed..end]);
            fed = end;
            let mut hasher = parent.clone();
            feed(&mut hasher, &name[end..]);
            self.find(hasher.finish(), name).into_iter().for_each(&mut f);
        });
    }

    /// The channel of that name: this one, unless there is one already.
    pub(super) fn insert(&self, channel: &Arc<Channel>) -> Result<(), Arc<Channel>> {
        let name = channel.name.as_str();
        let hash = self.hash(name);
        let mut shard = self.shard(hash).write();
        if let Some(there) = shard.find(hash, |channel| channel.name.as_str() == name) {
            return Err(Arc::clone(there));
        }
        shard.insert_unique(hash, Arc::clone(channel), |channel| self.hash(channel.name.as_str()));
        Ok(())
    }

    pub(super) fn remove(&self, name: &str) {
        let hash = self.hash(name);
        if let Ok(entry) = self.shard(hash).write().find_entry(hash, |channel| channel.name.as_str() == name) {
            entry.remove();
        }
    }

    pub(super) fn all(&self) -> Vec<ChannelName> {
        let of = |shard: &RwLock<HashTable<Arc<Channel>>>| shard.read().iter().map(|c| c.name.clone()).collect();
        self.shards.iter().flat_map(|shard| -> Vec<_> { of(shard) }).collect()
    }
}

/// A name, or a part of it that begins with a slash: always in the same pieces, however it is parted.
fn feed(hasher: &mut DefaultHasher, part: &str) {
    let mut from = 0;
    for to in 1..=part.len() {
        if part.as_bytes().get(to).is_none_or(|byte| *byte == b'/') {
            hasher.write(&part.as_bytes()[from..to]);
            from = to;
        }
    }
}
