//! A feed: the records of one egress mapping, read while somebody wants them.
//!
//! All subscriptions of a mapping share one feed. The first opens it, the last lets it close after a while, so that a
//! client that comes and goes does not cost the broker a subscription each time.

use crate::conflate::Conflated;
use crate::egress::{Reader, Verdict};
use crate::letters::Letters;
use crate::mapping::Table;
use crate::observe::Observer;
use crate::replay::{Replay, Subs};
use bayeux::channel::ChannelName;
use bayeux::delivery::Delivery;
use bayeux_server::{LiveSession, Server};
use connector::{Connector, Event, Start, SubscribeError};
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
pub(crate) const RETRY: Duration = Duration::from_secs(2);

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
    replay: Option<Arc<Replay>>,
    letters: Option<Arc<Letters>>,
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
    /// Since when it waits for the broker; later subscribers do not wait anew.
    opening_since: Option<Instant>,
    /// A poisonous record stopped it, or it can never be opened: it stays so.
    stopped: bool,
    /// Somebody waits for the time to close it.
    lingering: bool,
    /// Counts up at each change, so that whoever lingers sees that there was one.
    generation: u64,
}

impl Feed {
    pub(crate) fn new(
        table: &Arc<Table>,
        mapping: usize,
        connector: &Arc<dyn Connector>,
        server: &Arc<OnceLock<Server>>,
        observer: &Arc<dyn Observer>,
        subs: &Arc<Subs>,
        letters: Option<Arc<Letters>>,
    ) -> Arc<Self> {
        let replay = Replay::new(table, mapping, connector, server, observer, subs);
        Arc::new_cyclic(|this| Feed {
            table: Arc::clone(table),
            mapping,
            connector: Arc::clone(connector),
            server: Arc::clone(server),
            observer: Arc::clone(observer),
            replay,
            letters,
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

    /// The replay of its mapping, if clients may read back.
    pub(crate) fn replay(&self) -> Option<&Arc<Replay>> {
        self.replay.as_ref()
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
        if holders.task.is_none() && !holders.stopped {
            self.state.send_replace(FeedState::Opening);
            holders.opening_since = Some(Instant::now());
            holders.task = Some(tokio::spawn(Arc::clone(self).run()).abort_handle());
        }
    }

    /// One less wants it.
    pub(crate) fn release(self: &Arc<Self>) {
        let mut holders = self.holders.lock();
        holders.count = holders.count.saturating_sub(1);
        holders.generation += 1;
        if holders.count == 0 && !std::mem::replace(&mut holders.lingering, true) {
            tokio::spawn(linger(Weak::clone(&self.this), holders.generation));
        }
    }

    /// Closes it if nobody has held it since `generation`; else says what to wait for, if anything.
    fn close(&self, generation: u64) -> Option<u64> {
        let mut holders = self.holders.lock();
        if holders.count == 0 && holders.generation != generation {
            return Some(holders.generation);
        }
        holders.lingering = false;
        if holders.count == 0
            && let Some(task) = holders.task.take()
        {
            task.abort();
            self.replay.iter().for_each(|replay| replay.closed());
            self.state.send_replace(FeedState::Closed);
        }
        None
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

    /// Resolves to true when it is live, to false when it is not after `patience` since it began to open: then the broker
    /// is not there, and the feed goes on by itself when it is back. Who comes later waits the less.
    ///
    /// # Errors
    /// Why it never will be, unless something changes.
    pub(crate) async fn live(&self, patience: Duration) -> Result<bool, String> {
        let since = self.holders.lock().opening_since.unwrap_or_else(Instant::now);
        let mut state = self.state.subscribe();
        let live = state.wait_for(|state| matches!(state, FeedState::Live | FeedState::Failed(_)));
        match tokio::time::timeout_at((since + patience).into(), live).await.as_ref().map(|state| state.as_deref()) {
            Ok(Ok(FeedState::Failed(reason))) => Err(reason.clone()),
            Ok(_) => Ok(true),
            Err(_) => Ok(false),
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
            self.holders.lock().stopped = reason.stays;
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
        let start = self.replay.as_ref().map_or(Start::Live, |replay| replay.start());
        let mut subscription = match self.connector.subscribe(mapping.filter().clone(), start, sink) {
            Ok(subscription) => subscription,
            Err(error) => return Failure { text: error.to_string(), stays: true },
        };
        let reader = match &self.replay {
            Some(replay) => replay.reader(server),
            None => {
                let observer = Arc::clone(&self.observer);
                Reader::new(Arc::clone(&self.table), self.mapping, server.clone(), observer, None)
            }
        };
        let mut conflated = mapping.spec().deliver.as_ref().map(|deliver| Conflated::new(deliver.every));
        let by = mapping.spec().deliver.as_ref().and_then(|deliver| deliver.conflate_by.as_deref());
        let mut batch = Vec::new();
        let mut opening = true;
        let (mut asked, mut may_ask) = (!self.newcomers.lock().is_empty(), tokio::time::Instant::now());
        loop {
            let count = tokio::select! {
                ready = subscription.ready(), if opening => {
                    opening = false;
                    match ready {
                        Ok(ready) => {
                            self.replay.iter().for_each(|replay| replay.begin(ready.clone()));
                            self.holders.lock().opening_since = None;
                            self.state.send_replace(FeedState::Live);
                        }
                        Err(error) => {
                            if let (Some(replay), SubscribeError::PositionGone { .. }) = (&self.replay, &error) {
                                replay.lost();
                            }
                            return Failure { text: error.to_string(), stays: false };
                        }
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
                () = until(conflated.as_ref().and_then(Conflated::due)) => {
                    conflated.iter_mut().for_each(|conflated| reader.send_conflated(conflated));
                    continue;
                }
                // With replay nothing is dealt with before it is known where it begins.
                count = records.recv_many(&mut batch, BATCH), if !opening || self.replay.is_none() => count,
            };
            if count == 0 {
                return Failure { text: "the connector ended the subscription".into(), stays: false };
            }
            for event in batch.drain(..) {
                let record = match event {
                    Event::Record(record) => record,
                    Event::Reached(place) => {
                        self.replay.iter().for_each(|replay| replay.reached(&place));
                        continue;
                    }
                };
                tokio::task::consume_budget().await; // a long fan-out lets others have their turn
                let verdict = match &mut conflated {
                    Some(conflated) if !record.retained => reader.conflate(&record, by, conflated),
                    // What is retained is for newcomers, unless the link was lost: then it may be news for all.
                    _ if record.retained && !record.redelivered => reader.retained(&record, &mut self.newcomers.lock()),
                    _ => reader.deliver(&record),
                };
                match (verdict, &self.letters) {
                    (Verdict::Done, _) => {}
                    (Verdict::Stop(text), _) => return Failure { text, stays: true },
                    (Verdict::Bury(poison), letters) => {
                        // What came before does not wait with it.
                        conflated.iter_mut().for_each(|conflated| reader.send_conflated(conflated));
                        if let Some(letters) = letters {
                            letters.bury(&record, &poison).await;
                        }
                        reader.pass_over(&record);
                    }
                }
            }
        }
    }
}

/// Resolves then; without a time never.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Waits until nobody has held the feed for a while, then closes it.
async fn linger(feed: Weak<Feed>, mut generation: u64) {
    loop {
        tokio::time::sleep(LINGER).await;
        match feed.upgrade().and_then(|feed| feed.close(generation)) {
            Some(newer) => generation = newer,
            None => return,
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
    session: Weak<LiveSession>,
    channel: ChannelName,
    until: Instant,
    /// Channels whose retained message it has: the broker may be asked again for others.
    seen: HashSet<ChannelName>,
}

impl Newcomers {
    fn add(&mut self, session: &Arc<LiveSession>, channel: &ChannelName, now: Instant) {
        self.forget(now);
        if self.0.len() >= MAX_NEWCOMERS {
            tracing::warn!("too many new subscribers at a time: some get no retained messages");
            self.0.pop_front();
        }
        self.0.push_back(Newcomer {
            session: Arc::downgrade(session),
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
        self.forget(Instant::now());
        for newcomer in &mut self.0 {
            if newcomer.channel.reaches(channel.as_str())
                && newcomer.seen.insert(channel.clone())
                && let Some(session) = newcomer.session.upgrade()
            {
                session.deliver(Arc::clone(delivery));
            }
        }
    }

    /// All wait equally long: those whose time is over are in front.
    fn forget(&mut self, now: Instant) {
        while self.0.front().is_some_and(|newcomer| newcomer.until <= now) {
            self.0.pop_front();
        }
    }
}
