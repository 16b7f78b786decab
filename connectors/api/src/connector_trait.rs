//! The connector itself.

use crate::{Cursor, Event, Health, Outbound, Place, PublishError, SubscribeError, TopicFilter, TopicSyntax};
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, oneshot, watch};

/// A boxed future: the object-safe form of `async fn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a successful publish means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirm {
    /// The broker has it in a log, and a position is given (Kafka, JetStream, memory).
    Stored,
    /// The broker has taken responsibility (MQTT PUBACK).
    Accepted,
    /// It was handed to the connected socket (core NATS).
    Sent,
}

/// What a connector can do. Using what is not declared is a config error, found before anything starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// What a publish reply means.
    pub confirm: Confirm,
    /// There is a log to read back: [`Start::Earliest`], [`Start::After`], [`Start::At`], positions.
    pub log: bool,
    /// Records have keys.
    pub keys: bool,
    /// Topics have partitions.
    pub partitions: bool,
    /// Records have headers.
    pub headers: bool,
    /// Tombstones (a key without a value) exist.
    pub tombstones: bool,
    /// A `**` may stand in a topic.
    pub rest_topics: bool,
    /// The broker keeps the last message of a topic for new subscribers (MQTT): [`Subscription::ask_retained`].
    pub retained: bool,
    /// Slow readers can be made to wait without loss. Core NATS cannot: there drops are counted and reported.
    pub back_pressure: bool,
}

/// Where a subscription starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// All that is stored once [`Subscription::ready`] has resolved; where there is a log, also what is stored while the
    /// broker is absent after the call.
    Live,
    /// From the oldest kept.
    Earliest,
    /// Strictly after these places. A place must be in its log: at least the one before the oldest record that is kept, at
    /// most the newest; a record that stands there must have the time that is said with it. Else the subscription is
    /// refused by [`SubscribeError::PositionGone`], also when one of the logs is not there at all.
    After {
        /// How far each log is read.
        cursor: Cursor,
        /// Where logs begin that the filter matches and the cursor does not name: with the first record that is not older,
        /// or with their oldest.
        others: Option<SystemTime>,
    },
    /// From the first record that is not older.
    At(SystemTime),
}

/// One broker, reached or being reached.
pub trait Connector: Send + Sync + 'static {
    /// What it can do, fixed for its life.
    fn capabilities(&self) -> Capabilities;

    /// How its topics are written.
    fn syntax(&self) -> &'static TopicSyntax;

    /// Whether the broker is there. Follows the truth within five seconds.
    fn health(&self) -> watch::Receiver<Health>;

    /// Stores a record.
    ///
    /// The record takes its place in line *before this function returns*: two calls made one after the other by the
    /// same caller with the same topic and key are stored in that order. The future resolves when the broker has
    /// confirmed it ([`Confirm`]) or by [`Outbound::deadline`], whichever is first; dropping it does not take the
    /// record back. The line is bounded: when it is full the future resolves at once to
    /// [`PublishError::Overloaded`]. No topic, stream or subject is ever created by it.
    ///
    /// # Errors
    /// See [`PublishError`]: the caller learns whether the record is surely not stored.
    fn publish(&self, record: Outbound) -> BoxFuture<'static, Result<Option<Place>, PublishError>>;

    /// Starts handing the records of all topics that match `filter` to `sink`, in the broker's order per partition.
    ///
    /// Returns at once; [`Subscription::ready`] resolves when nothing stored from then on can be missed. When the
    /// broker is absent the subscription waits and heals, and still loses nothing where there is a log. Topics and
    /// partitions that appear later are read from their beginning. A full `sink` makes the connector wait
    /// ([`Capabilities::back_pressure`]), never drop silently. It ends when the [`Subscription`] is dropped or the
    /// receiver of `sink` is.
    ///
    /// # Errors
    /// Only for what can never work: a start that needs a log where there is none, a filter the broker cannot take.
    fn subscribe(
        &self,
        filter: TopicFilter,
        start: Start,
        sink: mpsc::Sender<Event>,
    ) -> Result<Subscription, SubscribeError>;

    /// Reaches the broker once and says what is there: for `check --connect`. Lines for a person to read.
    ///
    /// # Errors
    /// One sentence: what could not be reached, and what to do.
    fn probe(&self, timeout: Duration) -> BoxFuture<'_, Result<String, String>>;

    /// Whether `topic` is there to be published to, asked of the broker without creating it: for `check --connect`.
    ///
    /// # Errors
    /// One sentence, as for [`Connector::probe`].
    fn topic_exists(&self, topic: &str, timeout: Duration) -> BoxFuture<'_, Result<bool, String>>;

    /// What names of headers begin with that the broker takes for orders, whoever sends them (NATS: `Nats-`, such as the id
    /// by which JetStream leaves out a repeat). A record that is stored anew must not repeat them. Case does not matter.
    fn order_headers(&self) -> &'static [&'static str] {
        &[]
    }

    /// Records that the connector itself had to drop, by reason, since it began. Never reset.
    fn dropped(&self) -> u64 {
        0
    }

    /// Finishes what is in flight within `grace`, then closes.
    fn close(&self, grace: Duration) -> BoxFuture<'_, ()>;
}

/// Where a subscription begins, once that is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ready {
    /// The place in each log that there is now, just before the first record that may come. Where there is no log, empty.
    /// Logs that appear later are read from their beginning.
    pub cursor: Cursor,
    /// A single number says where a reader of this filter stands: there is one log, and the filter can match no other.
    pub sole: bool,
}

/// Ends its subscription when dropped.
pub trait SubscriptionGuard: Send + Sync + 'static {}
impl<T: Send + Sync + 'static> SubscriptionGuard for T {}

/// A running subscription: dropping it ends it.
pub struct Subscription {
    ready: oneshot::Receiver<Result<Ready, SubscribeError>>,
    retained: Option<Box<dyn Fn() + Send + Sync>>,
    _guard: Box<dyn SubscriptionGuard>,
}

impl Subscription {
    /// `ready` is told once the start has been resolved; `guard` ends the subscription by its own `Drop`.
    pub fn new(ready: oneshot::Receiver<Result<Ready, SubscribeError>>, guard: impl SubscriptionGuard) -> Self {
        Subscription { ready, retained: None, _guard: Box::new(guard) }
    }

    /// With what asks the broker once more for what it retains.
    pub fn asking_retained_by(mut self, ask: impl Fn() + Send + Sync + 'static) -> Self {
        self.retained = Some(Box::new(ask));
        self
    }

    /// Asks the broker once more for the messages that it retains under this filter: they come in the same stream, in
    /// order with the others, marked [`Inbound::retained`]. Those that may come unasked, because the link was lost
    /// meanwhile, are marked [`Inbound::redelivered`] as well. Does nothing where nothing is retained.
    pub fn ask_retained(&self) {
        if let Some(ask) = &self.retained {
            ask();
        }
    }

    /// Resolves when the start is resolved: where it is, and what is stored from then on arrives. Waits while the broker is absent.
    /// To be called once; later calls resolve at once to [`SubscribeError::Closed`].
    ///
    /// # Errors
    /// When the subscription can never begin, such as a position that is gone.
    pub async fn ready(&mut self) -> Result<Ready, SubscribeError> {
        match (&mut self.ready).await {
            Ok(result) => result,
            Err(_) => Err(SubscribeError::Closed),
        }
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Subscription")
    }
}
