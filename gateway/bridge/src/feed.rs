//! A feed: the records of one egress mapping, read while somebody wants them.
//!
//! All subscriptions of a mapping share one feed. The first opens it, the last lets it close after a while, so that a
//! client that comes and goes does not cost the broker a subscription each time.

use crate::egress::{Reader, Verdict};
use crate::mapping::Table;
use crate::observe::Observer;
use bayeux::channel::ChannelName;
use bayeux::delivery::Delivery;
use bayeux_server::{LiveSession, Server};
use connector::{Connector, Start};
use parking_lot::Mutex;
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::AbortHandle;

/// How long a feed stays open without subscribers.
const LINGER: Duration = Duration::from_secs(30);
/// Records between a connector and the fan-out; behind it the connector waits.
const BUFFER: usize = 1_024;
/// Records dealt with in one go.
const BATCH: usize = 256;
/// Between two questions to the broker for what it retains, however many subscribers are new.
const ASK_EVERY: Duration = Duration::from_millis(250);
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
    newcomers: Mutex<Newcomers>,
    /// There are newcomers for whom the broker was not asked yet.
    ask: Notify,
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
            newcomers: Mutex::default(),
            ask: Notify::new(),
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

    /// A session is subscribed from now on: what the broker retains for new subscribers is asked for and goes to it
    /// alone.
    pub(crate) fn welcome(&self, session: &Arc<LiveSession>, channel: &ChannelName) {
        if self.connector.capabilities().retained {
            self.newcomers.lock().add(session, channel, Instant::now());
            self.ask.notify_one();
        }
    }

    async fn run(self: Arc<Self>) {
        loop {
            let reason = self.read().await;
            let mapping = self.table.get(self.mapping).map_or("", |m| m.spec().label());
            tracing::error!(mapping, %reason, "feed failed");
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
        let (mut asked, mut may_ask) = (false, tokio::time::Instant::now());
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
                () = self.ask.notified(), if !asked => {
                    asked = true;
                    continue;
                }
                () = tokio::time::sleep_until(may_ask), if asked && !opening => {
                    asked = false;
                    may_ask = tokio::time::Instant::now() + ASK_EVERY;
                    subscription.ask_retained();
                    continue;
                }
                count = records.recv_many(&mut batch, BATCH) => count,
            };
            if count == 0 {
                return Failure { text: "the connector ended the subscription".into(), stays: false };
            }
            for record in batch.drain(..) {
                // What is retained is for newcomers, unless the link was lost: then it may be news for all.
                let verdict = if record.retained && !record.redelivered {
                    reader.retained(&record, &mut self.newcomers.lock())
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

/// How long a newcomer waits for what the broker retains.
const WELCOME: Duration = Duration::from_secs(5);
/// Newcomers that wait at the same time; above it the ones that came first wait no longer.
const MAX_NEWCOMERS: usize = 10_000;

/// Sessions that have just subscribed and may get retained messages.
#[derive(Debug, Default)]
pub(crate) struct Newcomers(VecDeque<Newcomer>);

#[derive(Debug)]
struct Newcomer {
    session: Arc<LiveSession>,
    channel: ChannelName,
    until: Instant,
    /// Channels whose retained message it has: the broker may be asked again for others.
    seen: HashSet<ChannelName>,
}

impl Newcomers {
    fn add(&mut self, session: &Arc<LiveSession>, channel: &ChannelName, now: Instant) {
        self.0.retain(|newcomer| newcomer.until > now);
        if self.0.len() >= MAX_NEWCOMERS {
            tracing::warn!("too many new subscribers at a time: some get no retained messages");
            self.0.pop_front();
        }
        self.0.push_back(Newcomer {
            session: Arc::clone(session),
            channel: channel.clone(),
            until: now + WELCOME,
            seen: HashSet::new(),
        });
    }

    /// Nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Hands a retained message to those who are to get it.
    pub(crate) fn give(&mut self, channel: &ChannelName, delivery: &Arc<Delivery>) {
        let now = Instant::now();
        self.0.retain(|newcomer| newcomer.until > now);
        for newcomer in &mut self.0 {
            if newcomer.channel.reaches(channel.as_str()) && newcomer.seen.insert(channel.clone()) {
                newcomer.session.deliver(Arc::clone(delivery));
            }
        }
    }
}
