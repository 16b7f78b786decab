//! A feed: the records of one egress mapping, read while somebody wants them.
//!
//! All subscriptions of a mapping share one feed. The first opens it, the last lets it close after a while, so that a
//! client that comes and goes does not cost the broker a subscription each time.

use crate::egress::{Reader, Verdict};
use crate::mapping::Table;
use crate::observe::Observer;
use bayeux::channel::ChannelName;
use bayeux::delivery::Delivery;
use bayeux_server::Server;
use connector::{Connector, Start};
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

/// How long a feed stays open without subscribers.
const LINGER: Duration = Duration::from_secs(30);
/// Records between a connector and the fan-out; behind it the connector waits.
const BUFFER: usize = 1_024;
/// Records dealt with in one go.
const BATCH: usize = 256;
/// How many topics' retained messages a feed keeps for new subscribers; the oldest make room.
const MAX_RETAINED: usize = 10_000;
/// Between attempts to open a feed that failed.
const RETRY: Duration = Duration::from_secs(2);

/// Where a feed stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedState {
    /// Nobody wants it.
    Closed,
    /// It waits for the broker.
    Opening,
    /// What is stored from now on arrives.
    Live,
    /// It cannot be opened, or was stopped by a poisonous record (`on_error: stop`).
    Failed(String),
}

/// The records of one mapping.
pub struct Feed {
    table: Arc<Table>,
    mapping: usize,
    connector: Arc<dyn Connector>,
    server: Arc<OnceLock<Server>>,
    observer: Arc<dyn Observer>,
    state: watch::Sender<FeedState>,
    holders: Mutex<Holders>,
    retained: Mutex<Retained>,
    this: Weak<Feed>,
}

#[derive(Debug, Default)]
struct Holders {
    count: usize,
    task: Option<AbortHandle>,
    /// Counts up at each change, so that a late closing sees that it is late.
    generation: u64,
}

impl Feed {
    pub(crate) fn new(
        table: &Arc<Table>,
        mapping: usize,
        connector: &Arc<dyn Connector>,
        server: &Arc<OnceLock<Server>>,
        observer: &Arc<dyn Observer>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Feed {
            table: Arc::clone(table),
            mapping,
            connector: Arc::clone(connector),
            server: Arc::clone(server),
            observer: Arc::clone(observer),
            state: watch::Sender::new(FeedState::Closed),
            holders: Mutex::default(),
            retained: Mutex::default(),
            this: Weak::clone(this),
        })
    }

    /// Where it stands.
    pub fn state(&self) -> FeedState {
        self.state.borrow().clone()
    }

    /// How many subscriptions hold it.
    pub fn holders(&self) -> usize {
        self.holders.lock().count
    }

    /// One more wants it: it is opened unless it is open.
    pub(crate) fn hold(self: &Arc<Self>) {
        let mut holders = self.holders.lock();
        holders.count += 1;
        holders.generation += 1;
        let failed = matches!(*self.state.borrow(), FeedState::Failed(_));
        if holders.task.is_none() || failed {
            if let Some(task) = holders.task.take() {
                task.abort();
            }
            self.state.send_replace(FeedState::Opening);
            holders.task = Some(tokio::spawn(Arc::clone(self).run()).abort_handle());
        }
    }

    /// One less wants it.
    pub(crate) fn release(self: &Arc<Self>) {
        let mut holders = self.holders.lock();
        holders.count = holders.count.saturating_sub(1);
        holders.generation += 1;
        if holders.count > 0 {
            return;
        }
        let generation = holders.generation;
        let feed = Weak::clone(&self.this);
        tokio::spawn(async move {
            tokio::time::sleep(LINGER).await;
            if let Some(feed) = feed.upgrade() {
                feed.close(generation);
            }
        });
    }

    fn close(&self, generation: u64) {
        let mut holders = self.holders.lock();
        if holders.generation == generation
            && let Some(task) = holders.task.take()
        {
            task.abort();
            self.state.send_replace(FeedState::Closed);
            *self.retained.lock() = Retained::default();
        }
    }

    /// Ends it for good, whoever holds it: the gateway stops.
    pub(crate) fn stop(&self) {
        if let Some(task) = self.holders.lock().task.take() {
            task.abort();
        }
        self.state.send_replace(FeedState::Closed);
    }

    pub(crate) fn is_live(&self) -> bool {
        *self.state.borrow() == FeedState::Live
    }

    /// Resolves when it is live.
    ///
    /// # Errors
    /// Why it never will be, unless something changes.
    pub(crate) async fn live(&self) -> Result<(), String> {
        let mut state = self.state.subscribe();
        let state = state.wait_for(|state| matches!(state, FeedState::Live | FeedState::Failed(_))).await;
        match state.as_deref() {
            Ok(FeedState::Failed(reason)) => Err(reason.clone()),
            _ => Ok(()),
        }
    }

    /// What the broker keeps for new subscribers. While the guard lives, nothing retained is fanned out.
    pub(crate) fn retained(&self) -> MutexGuard<'_, Retained> {
        self.retained.lock()
    }

    async fn run(self: Arc<Self>) {
        loop {
            let reason = self.read().await;
            tracing::error!(mapping = self.mapping, %reason, "feed failed");
            self.state.send_replace(FeedState::Failed(reason.text));
            if reason.stays {
                return;
            }
            tokio::time::sleep(RETRY).await;
            self.state.send_replace(FeedState::Opening);
        }
    }

    /// Reads until it cannot.
    async fn read(&self) -> Failure {
        let (Some(mapping), Some(server)) = (self.table.get(self.mapping), self.server.get()) else {
            return Failure { text: "the bridge was not started".into(), stays: true };
        };
        let (sink, mut records) = mpsc::channel(BUFFER);
        let mut subscription = match self.connector.subscribe(mapping.filter().clone(), Start::Live, sink) {
            Ok(subscription) => subscription,
            Err(error) => return Failure { text: error.to_string(), stays: true },
        };
        let mut reader = Reader::new(Arc::clone(&self.table), self.mapping, server.clone(), Arc::clone(&self.observer));
        let mut batch = Vec::new();
        let mut opening = true;
        loop {
            let count = tokio::select! {
                ready = subscription.ready(), if opening => {
                    opening = false;
                    match ready {
                        Ok(()) => { self.state.send_replace(FeedState::Live); }
                        Err(error) => return Failure { text: error.to_string(), stays: false },
                    }
                    continue;
                }
                count = records.recv_many(&mut batch, BATCH) => count,
            };
            if count == 0 {
                return Failure { text: "the connector ended the subscription".into(), stays: false };
            }
            for record in batch.drain(..) {
                let verdict = if record.retained {
                    reader.retained(&record, &mut self.retained.lock())
                } else {
                    reader.deliver(&record)
                };
                if let Verdict::Stop(text) = verdict {
                    return Failure { text, stays: true };
                }
            }
        }
    }
}

struct Failure {
    text: String,
    /// Trying again changes nothing.
    stays: bool,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// The last retained message per channel, bounded: above the bound the one that came first makes room.
#[derive(Debug, Default)]
pub(crate) struct Retained {
    by_channel: BTreeMap<ChannelName, (u64, Arc<Delivery>)>,
    by_age: BTreeMap<u64, ChannelName>,
    next: u64,
}

impl Retained {
    pub(crate) fn keep(&mut self, channel: &ChannelName, delivery: Option<Arc<Delivery>>) {
        if let Some((age, _)) = self.by_channel.remove(channel) {
            self.by_age.remove(&age);
        }
        let Some(delivery) = delivery else { return };
        if self.by_channel.len() >= MAX_RETAINED
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.by_channel.remove(&oldest);
        }
        self.by_age.insert(self.next, channel.clone());
        self.by_channel.insert(channel.clone(), (self.next, delivery));
        self.next += 1;
    }

    pub(crate) fn reached_by(&self, subscription: &ChannelName) -> Vec<Arc<Delivery>> {
        if !subscription.is_wild() {
            return self.by_channel.get(subscription).map(|(_, d)| Arc::clone(d)).into_iter().collect();
        }
        let reached = self.by_channel.iter().filter(|(channel, _)| subscription.reaches(channel.as_str()));
        reached.map(|(_, (_, delivery))| Arc::clone(delivery)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bayeux::delivery::DeliveryParts;

    fn delivery(data: &str) -> Arc<Delivery> {
        Arc::new(Delivery::new("/x".into(), &DeliveryParts { data: data.as_bytes(), ..Default::default() }))
    }

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(&name.into()).unwrap()
    }

    #[test]
    fn a_new_subscriber_gets_the_last_of_each_channel_it_reaches() {
        let mut retained = Retained::default();
        retained.keep(&channel("/a/b"), Some(delivery("1")));
        retained.keep(&channel("/a/b"), Some(delivery("2")));
        retained.keep(&channel("/a/c"), Some(delivery("3")));
        retained.keep(&channel("/z"), Some(delivery("4")));
        assert_eq!(retained.reached_by(&channel("/a/*")).len(), 2);
        assert_eq!(retained.reached_by(&channel("/a/b"))[0].json(), delivery("2").json());
        retained.keep(&channel("/a/b"), None);
        assert_eq!(retained.reached_by(&channel("/**")).len(), 2);
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_goes_first() {
        let mut retained = Retained::default();
        for i in 0..=MAX_RETAINED {
            retained.keep(&channel(&format!("/a/{i}")), Some(delivery("0")));
        }
        assert_eq!(retained.reached_by(&channel("/**")).len(), MAX_RETAINED);
        assert!(retained.reached_by(&channel("/a/0")).is_empty());
    }
}
