//! Which channels there are and who is subscribed to them: in shards, so that sessions do not wait for each other.
//!
//! A channel is there while it has subscribers, while the server keeps it (persistent, or with listeners or authorizers),
//! and for some seconds after its last use (CometD's sweeper: three passes of about a second).

mod names;
mod sessions;
mod subscribers;

use crate::channel::ChannelSetup;
use crate::flush::Flusher;
use crate::session::{LiveSession, Offered};
use bayeux::channel::ChannelName;
use bayeux::delivery::Delivery;
use names::Names;
use parking_lot::{Mutex, RwLock};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use subscribers::Subscribers;

pub(crate) use sessions::Sessions;

/// How long a channel without subscribers is there after its last use, in ticks of the sweep (250 ms).
const LIFETIME: u32 = 12;

/// How many channels may be there for their last use only. Those beyond are forgotten at once.
const MAX_IDLE: usize = 65_536;

/// A channel or pattern that is there.
#[derive(Debug)]
pub(crate) struct Channel {
    name: ChannelName,
    subscribers: RwLock<Subscribers>,
    /// The tick of its last use.
    used: AtomicU32,
    setup: RwLock<Option<Arc<ChannelSetup>>>,
}

impl Channel {
    pub(crate) fn setup(&self) -> Option<Arc<ChannelSetup>> {
        self.setup.read().clone()
    }

    pub(crate) fn subscribers(&self) -> Vec<Arc<LiveSession>> {
        self.subscribers.read().list.clone()
    }
}

/// What a publish reached.
#[derive(Debug, Default)]
pub(crate) struct Reached {
    /// How many sessions the message was offered to.
    pub(crate) count: u64,
    /// Those whose queue was full.
    pub(crate) full: Vec<Arc<LiveSession>>,
    /// Those that have extensions or listeners of their own, and were not offered it yet.
    pub(crate) apart: Vec<Arc<LiveSession>>,
}

/// The channels. A publish looks up the channel and the few patterns that can reach it: hashing, no tree (wildcards
/// stand only at the end).
#[derive(Debug)]
pub(crate) struct Channels {
    names: Names,
    /// Subscriptions to patterns.
    wild: AtomicUsize,
    /// Channels with subscribers.
    subscribed: AtomicUsize,
    /// Channels that the server has set up.
    configured: AtomicUsize,
    tick: AtomicU32,
    /// Channels to look at, by the tick at which they may be gone.
    line: Mutex<VecDeque<(u32, Arc<Channel>)>>,
}

impl Channels {
    pub(crate) fn new() -> Self {
        Channels {
            names: Names::new(),
            wild: AtomicUsize::new(0),
            subscribed: AtomicUsize::new(0),
            configured: AtomicUsize::new(0),
            tick: AtomicU32::new(0),
            line: Mutex::default(),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Channel>> {
        self.names.get(name)
    }

    /// The channel, if it is there; that is a use of it.
    pub(crate) fn used(&self, name: &str) -> Option<Arc<Channel>> {
        let channel = self.get(name)?;
        let now = self.tick.load(Ordering::Relaxed);
        if channel.used.load(Ordering::Relaxed) != now {
            channel.used.store(now, Ordering::Relaxed); // seldom: others read this line of memory
        }
        Some(channel)
    }

    /// There are so many channels without subscribers that no more are remembered.
    pub(crate) fn full(&self) -> bool {
        self.line.lock().len() >= MAX_IDLE
    }

    /// The channel, and whether it was made by this call: set up so before anybody else sees it.
    pub(crate) fn ensure(
        &self,
        name: &ChannelName,
        setup: impl FnOnce() -> Option<ChannelSetup>,
    ) -> (Arc<Channel>, bool) {
        if let Some(channel) = self.used(name.as_str()) {
            return (channel, false);
        }
        let setup = setup().map(Arc::new);
        let configured = setup.is_some();
        let channel = Arc::new(Channel {
            name: name.detached(),
            subscribers: RwLock::new(Subscribers::watched()),
            used: AtomicU32::new(self.tick.load(Ordering::Relaxed)),
            setup: RwLock::new(setup),
        });
        if let Err(there) = self.names.insert(&channel) {
            return (there, false);
        }
        self.configured.fetch_add(usize::from(configured), Ordering::Relaxed);
        self.watch(&channel);
        (channel, true)
    }

    fn watch(&self, channel: &Arc<Channel>) {
        let due = self.tick.load(Ordering::Relaxed) + LIFETIME;
        self.line.lock().push_back((due, Arc::clone(channel)));
    }

    /// Changes how the channel is set up.
    pub(crate) fn configure<T>(&self, channel: &Arc<Channel>, change: impl FnOnce(&mut ChannelSetup) -> T) -> T {
        let outcome = {
            let mut setup = channel.setup.write();
            if setup.is_none() {
                self.configured.fetch_add(1, Ordering::Relaxed);
            }
            let mut changed = setup.as_deref().cloned().unwrap_or_default();
            let outcome = change(&mut changed);
            *setup = Some(Arc::new(changed));
            outcome
        };
        let mut subscribers = channel.subscribers.write();
        if subscribers.list.is_empty() && !subscribers.watched && !subscribers.gone {
            subscribers.watched = true; // it may have nothing that keeps it any more
            drop(subscribers);
            self.watch(channel);
        }
        outcome
    }

    /// Whether any channel has been set up by the server.
    pub(crate) fn configured(&self) -> bool {
        self.configured.load(Ordering::Relaxed) > 0
    }

    /// How the channels and patterns are set up that reach this one: from `/**` to the channel itself.
    pub(crate) fn reaching(&self, channel: &ChannelName) -> Vec<Arc<ChannelSetup>> {
        let mut setups = Vec::new();
        if self.configured() {
            self.names.for_each_reaching(channel, |channel| setups.extend(channel.setup()));
        }
        setups
    }

    /// `setup`: for a channel that is not there yet.
    pub(crate) fn subscribe(
        &self,
        name: &ChannelName,
        session: &Arc<LiveSession>,
        setup: impl Fn() -> Option<ChannelSetup>,
    ) {
        loop {
            let (channel, _) = self.ensure(name, &setup);
            // Not under the shard's lock: a long fan-out on this channel may be reading the list.
            let mut subscribers = channel.subscribers.write();
            if subscribers.gone {
                continue; // it has just left the registry
            }
            if subscribers.add(session) {
                if subscribers.list.len() == 1 {
                    self.subscribed.fetch_add(1, Ordering::Relaxed);
                }
                if name.is_wild() {
                    self.wild.fetch_add(1, Ordering::Relaxed);
                }
            }
            return;
        }
    }

    pub(crate) fn unsubscribe(&self, name: &ChannelName, key: u64) {
        let Some(channel) = self.used(name.as_str()) else { return };
        let mut subscribers = channel.subscribers.write();
        if !subscribers.remove(key) {
            return;
        }
        if name.is_wild() {
            self.wild.fetch_sub(1, Ordering::Relaxed);
        }
        if !subscribers.list.is_empty() {
            return;
        }
        self.subscribed.fetch_sub(1, Ordering::Relaxed);
        if subscribers.watched {
            return;
        }
        if self.full() && !channel.is_kept() {
            subscribers.gone = true;
            drop(subscribers);
            self.remove(&channel);
        } else {
            subscribers.watched = true;
            drop(subscribers);
            self.watch(&channel);
        }
    }

    fn remove(&self, channel: &Channel) {
        self.names.remove(channel.name.as_str());
        if channel.setup.read().is_some() {
            self.configured.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// One tick of time. The channels that are gone by it.
    pub(crate) fn sweep(&self) -> Vec<ChannelName> {
        let now = self.tick.fetch_add(1, Ordering::Relaxed) + 1;
        let mut gone = Vec::new();
        loop {
            let channel = match self.line.lock() {
                mut line if line.front().is_some_and(|(due, _)| *due <= now) => line.pop_front(),
                _ => None,
            };
            let Some((_, channel)) = channel else { break };
            let mut subscribers = channel.subscribers.write();
            if !subscribers.list.is_empty() || channel.is_kept() {
                subscribers.watched = false;
                continue;
            }
            if channel.used.load(Ordering::Relaxed) + LIFETIME > now {
                drop(subscribers);
                self.watch(&channel);
                continue;
            }
            subscribers.gone = true;
            drop(subscribers);
            self.remove(&channel);
            gone.push(channel.name.clone());
        }
        gone
    }

    /// The session of that tag, if a subscription of it reaches the channel. Looks at every subscriber.
    pub(crate) fn subscriber(&self, channel: &ChannelName, tag: &str) -> Option<Arc<LiveSession>> {
        let mut found = None;
        self.names.for_each_reaching(channel, |channel| {
            if found.is_none() {
                found = channel.subscribers.read().list.iter().find(|session| session.tag() == tag).cloned();
            }
        });
        found
    }

    /// All names.
    pub(crate) fn names(&self) -> Vec<ChannelName> {
        self.names.all()
    }

    /// How many channel names and patterns have subscribers.
    pub(crate) fn len(&self) -> usize {
        self.subscribed.load(Ordering::Relaxed)
    }

    /// Queues a message to every session that a subscription of it reaches, once each; to its publisher only if neither
    /// it nor the channel is against it.
    pub(crate) fn publish(
        &self,
        name: &ChannelName,
        exact: Option<Arc<Channel>>,
        from: Option<&LiveSession>,
        delivery: &Arc<Delivery>,
        flusher: &Flusher,
    ) -> Reached {
        let mut channels = Vec::new();
        if self.wild.load(Ordering::Relaxed) == 0 {
            channels.extend(exact.or_else(|| self.get(name.as_str())));
        } else {
            self.names.for_each_reaching(name, |channel| channels.push(channel));
        }
        // Recursive reads: several lists are held at the same time, and no writer may come between.
        let mut lists: Vec<_> =
            channels.iter().map(|channel| (channel, channel.subscribers.read_recursive())).collect();
        // A session that several lists have is served by the first; the longest goes last and looks into the short ones.
        lists.sort_by_key(|(_, list)| list.list.len());
        let configured = self.configured();
        let except = from.filter(|from| {
            let quiet = |channel: &Channel| configured && channel.setup().is_some_and(|s| !s.broadcast_to_publisher);
            from.is_quiet() || lists.iter().filter(|(_, list)| list.has(from.key())).all(|(channel, _)| quiet(channel))
        });
        let except = except.map_or(0, LiveSession::key); // no session has the key 0
        let mut reached = Reached::default();
        for (n, (_, list)) in lists.iter().enumerate() {
            for session in &list.list {
                let key = session.key();
                if key == except || lists[..n].iter().any(|(_, earlier)| earlier.has(key)) {
                    continue;
                }
                reached.count += 1;
                match session.offer(delivery, flusher) {
                    Offered::Taken | Offered::Vetoed => {}
                    Offered::Full => reached.full.push(Arc::clone(session)),
                    Offered::Apart => reached.apart.push(Arc::clone(session)),
                }
            }
        }
        reached
    }
}

impl Channel {
    fn is_kept(&self) -> bool {
        self.setup.read().as_ref().is_some_and(|setup| setup.keeps())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ChannelName {
        ChannelName::parse(&text.into()).unwrap()
    }

    #[test]
    fn a_channel_is_there_for_a_while_after_its_last_use_and_a_kept_one_for_good() {
        let channels = Channels::new();
        channels.ensure(&name("/used"), || None);
        channels.ensure(&name("/idle"), || None);
        let (kept, made) = channels.ensure(&name("/kept"), || {
            let mut setup = ChannelSetup::default();
            setup.persistent(true);
            Some(setup)
        });
        assert!(made && channels.configured());
        let mut gone = Vec::new();
        for _ in 0..LIFETIME {
            gone.extend(channels.sweep());
            channels.used("/used");
        }
        assert_eq!(gone, [name("/idle")]);
        channels.configure(&kept, |setup| *setup = ChannelSetup::default());
        for _ in 0..2 * LIFETIME {
            gone.extend(channels.sweep());
        }
        gone.sort();
        assert_eq!(gone, [name("/idle"), name("/kept"), name("/used")]);
        assert!(channels.names().is_empty() && !channels.configured());
    }

    #[test]
    fn a_channel_and_the_patterns_that_reach_it_are_found_from_the_root_to_itself() {
        let channels = Channels::new();
        let all = ["/**", "/a/**", "/a/b/**", "/a/b/*", "/a/b/c", "/a/*", "/a", "/a/b", "/ab/**", "/a/b/c/**"];
        all.iter().for_each(|text| drop(channels.ensure(&name(text), || None)));
        let reaching = |text: &str| {
            let mut found = Vec::new();
            channels.names.for_each_reaching(&name(text), |channel| found.push(channel.name.to_string()));
            found
        };
        assert_eq!(reaching("/a/b/c"), ["/**", "/a/**", "/a/b/**", "/a/b/*", "/a/b/c"]);
        assert_eq!(reaching("/a"), ["/**", "/a"]);
        assert_eq!(reaching("/a/b/**"), ["/**", "/a/**", "/a/b/**"]);
        assert_eq!(reaching("/ab/c/d"), ["/**", "/ab/**"]);
        assert_eq!(reaching(&"/a".repeat(30_000)), ["/**", "/a/**"]);
    }
}
