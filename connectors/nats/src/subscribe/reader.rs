//! Reads one stream for one subscription, for as long as the stream exists.
//!
//! A consumer lives at the server, in memory, for this reader alone, and gives messages only when asked: a reader whose
//! sink is full does not ask. The reader itself knows which sequence was the last. Whenever anything is not as it
//! should be (the connection broke, the consumer is gone, a message is missing in its count) it makes another consumer
//! from the next sequence on: nothing is missed, nothing comes twice.

use super::look::{Lag, Tail};
use super::progress::Progress;
use super::pull::{Pull, caught_up};
use super::{Wanted, record};
use crate::api::{Api, ApiError, Consumer, Origin, StreamInfo, StreamState, nanoseconds};
use crate::link::{Connected, Trouble};
use crate::position::{self, Delivered};
use async_nats::Subscriber;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connector::{Event, Inbound, Log};
use futures_util::StreamExt as _;
use rand::Rng as _;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Silence after which a consumer is given up.
const SILENCE: Duration = Duration::from_secs(5);
/// How often in a row a connection may end before the first message, until the message itself is suspected.
const SUSPECT_AFTER: u32 = 2;

/// How often in a row a consumer may be no good until that is said.
const WARN_AFTER: u32 = 3;
/// The longest pause between two consumers.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Reads one stream.
pub(super) struct Reader {
    pub api: Api,
    pub stream: String,
    pub log: Log,
    pub progress: Progress,
    pub wanted: Wanted,
    pub sink: mpsc::Sender<Event>,
    /// How often in a row asking for messages ended with the connection.
    pub barren: u32,
    /// How often in a row a consumer was no good before it worked.
    pub failures: u32,
    /// The consumer to begin with.
    pub first: Option<Made>,
    /// Where it is said that the stream cannot be read.
    pub trouble: Trouble,
    pub lag: Lag,
}

/// A consumer at the server. Forgotten when its reading ends, in whatever way.
pub(super) struct Made {
    api: Api,
    connection: Connected,
    stream: String,
    pub consumer: Consumer,
    /// The stream as it was just before.
    state: StreamState,
}

impl Drop for Made {
    fn drop(&mut self) {
        self.api.forget_consumer(&self.connection, &self.stream, &self.consumer.name);
    }
}

/// Why a consumer is not used any longer.
pub(super) enum End {
    /// The stream is gone.
    Gone,
    /// The connection is gone, or the client.
    Lost,
    /// The consumer is no good any more.
    Stale(String),
}

impl From<ApiError> for End {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Missing => End::Gone,
            other => End::Stale(other.to_string()),
        }
    }
}

impl Reader {
    /// Reads until the stream is gone; returns its name, and where it was left.
    pub(super) async fn run(mut self) -> (String, Progress) {
        loop {
            let connection = self.api.link.connected().await;
            match self.consume(&connection).await {
                End::Gone => {
                    tracing::info!(stream = self.stream, "the stream is gone");
                    return (self.stream, self.progress);
                }
                // The next one waits for the connection itself.
                End::Lost => self.api.link.lost(&connection).await,
                End::Stale(why) => {
                    self.failures = self.failures.saturating_add(1);
                    tracing::debug!(stream = self.stream, "making another consumer: {why}");
                    if self.failures >= WARN_AFTER {
                        let reason = format!("the stream {} cannot be read: {why}", self.stream);
                        if self.failures == WARN_AFTER {
                            tracing::warn!(subject = self.wanted.subject, "{reason}");
                        }
                        self.trouble.tell(reason);
                    }
                    let longest = LONGEST_PAUSE.min(Duration::from_millis(100) * 2u32.pow(self.failures.min(6)));
                    let pause = longest.mul_f64(rand::rng().random_range(0.5..1.0));
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.api.link.lost(&connection) => {}
                    }
                }
            }
        }
    }

    /// Reads by one consumer until it is no good any more.
    async fn consume(&mut self, connection: &Connected) -> End {
        match self.try_consume(connection).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn try_consume(&mut self, connection: &Connected) -> Result<std::convert::Infallible, End> {
        let made = match self.first.take().filter(|made| made.connection.is(connection)) {
            Some(made) => made,
            None => {
                let info = self.api.stream(&self.stream).await?;
                let replaced = self.last_was_replaced(&info).await?;
                self.follow(&info, replaced);
                if self.barren >= SUSPECT_AFTER {
                    self.step_over().await?;
                }
                self.make_consumer(connection, &info.state).await?
            }
        };
        let inbox = self.api.link.own_subject();
        let messages = connection.client.subscribe(inbox.clone()).await.map_err(|_| End::Lost)?;
        let pull = Pull::new(self.api.pull_subject(&self.stream, &made.consumer.name), inbox);
        self.receive(connection, messages, pull, &made).await
    }

    /// Makes a consumer from where to go on; from then on nothing can be missed.
    pub(super) async fn make_consumer(
        &mut self,
        connection: &Connected,
        state: &StreamState,
    ) -> Result<Made, ApiError> {
        let consumer = self.api.make_consumer(&self.stream, &self.wanted.subject, self.progress.from).await?;
        self.progress.start(consumer.next);
        let (api, stream) = (self.api.clone(), self.stream.clone());
        Ok(Made { api, connection: connection.clone(), stream, consumer, state: state.clone() })
    }

    /// The server gives what it is asked for.
    fn works(&mut self) {
        self.failures = 0;
        if self.trouble.clear() {
            tracing::info!(subject = self.wanted.subject, stream = self.stream, "the stream can be read again");
        }
    }

    /// Whether the last message's sequence belongs to another one now: the server lost the end of the stream, and what
    /// came since has filled it again. Not known when the message was removed.
    async fn last_was_replaced(&self, info: &StreamInfo) -> Result<bool, ApiError> {
        let Some((sequence, time)) = self.progress.last else { return Ok(false) };
        if self.progress.created != info.created || !(info.state.first_seq..=info.state.last_seq).contains(&sequence) {
            return Ok(false);
        }
        match self.api.message(&self.stream, sequence, &self.wanted.subject).await {
            Ok(Some(stored)) if stored.seq == sequence && time > 0 => {
                Ok(nanoseconds(&stored.time).is_some_and(|stored| stored != i128::from(time)))
            }
            Ok(_) | Err(ApiError::Refused { .. } | ApiError::Denied(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Where to go on, given what the stream is now.
    fn follow(&mut self, info: &StreamInfo, replaced: bool) {
        if self.progress.created != info.created {
            tracing::warn!(stream = self.stream, "the stream was made anew: reading it from its beginning");
        } else if let Some((sequence, _)) = self.progress.last
            && (replaced || info.state.last_seq < sequence)
        {
            tracing::warn!(stream = self.stream, sequence, "the stream lost its end: going on by time");
        }
        let missed = self.progress.follow(info, replaced);
        self.count_missed(missed);
    }

    /// Counts what the stream's limits removed before it was read. It is logged once, since it will go on.
    fn count_missed(&mut self, missed: u64) {
        if missed == 0 {
            return;
        }
        self.api.link.dropped().fetch_add(missed, Ordering::Relaxed);
        if !std::mem::replace(&mut self.lag.told, true) {
            let (stream, subject) = (&self.stream, &self.wanted.subject);
            tracing::warn!(stream, subject, missed, "the stream removed messages before they were read");
        }
    }

    /// Finds out whether messages before this one are missing because the stream has removed them.
    async fn look_back(&mut self, sequence: u64) -> Result<(), ApiError> {
        if !self.progress.jumps_to(sequence) || !self.lag.suspicious() {
            return Ok(());
        }
        let info = self.api.stream(&self.stream).await?;
        let missed = self.progress.overtaken(info.state.first_seq, sequence);
        if missed == 0 {
            (self.lag.full, self.lag.looked) = (false, Some(Instant::now()));
        }
        self.count_missed(missed);
        Ok(())
    }

    async fn receive(
        &mut self,
        connection: &Connected,
        mut messages: Subscriber,
        mut pull: Pull,
        made: &Made,
    ) -> Result<std::convert::Infallible, End> {
        let Consumer { name, next, pending, .. } = &made.consumer;
        tracing::debug!(stream = self.stream, consumer = name, from = next, "reading");
        let link = self.api.link.clone();
        let mut expected = 1;
        let mut tail = Tail::default();
        if *pending == Some(0) {
            tail.seen = self.nothing_up_to(&made.state).await;
            self.tell_reached().await;
        }
        loop {
            pull.ask(connection).await?;
            let message = tokio::select! {
                biased; // what has arrived counts, also when the connection is lost meanwhile
                message = tokio::time::timeout(SILENCE, messages.next()) => message,
                () = link.lost(connection) => Ok(None),
            };
            let message = match message {
                Ok(Some(message)) => message,
                Ok(None) => {
                    self.barren += u32::from(expected == 1);
                    return Err(End::Lost);
                }
                Err(_) => return Err(End::Stale("the server is silent".into())),
            };
            if let Some(status) = message.status {
                pull.on_status(status.as_u16(), &message)?;
                if let Some(reached) = caught_up(&message, expected) {
                    self.progress.reach(reached);
                    self.tell_reached().await;
                }
                self.works();
                continue;
            }
            let delivered = message.reply.as_ref().and_then(|reply| Delivered::parse(reply));
            let Some(delivered) = delivered else {
                return Err(End::Stale(format!("not a JetStream delivery on {}", message.subject)));
            };
            if delivered.consumer_sequence != expected {
                return Err(End::Stale(format!("message {} where {expected} should be", delivered.consumer_sequence)));
            }
            expected += 1;
            pull.open = pull.open.saturating_sub(1);
            self.barren = 0;
            self.works();
            self.look_back(delivered.stream_sequence).await?;
            let place = position::place(&self.log, delivered.stream_sequence, Some(delivered.time / 1_000_000));
            self.deliver(record(message, Some(place)), delivered.stream_sequence, delivered.time).await;
            if delivered.pending == Some(0) && tail.due(&self.progress) {
                self.at_the_end(&mut tail).await;
            }
        }
    }

    /// Waits for room in the sink. This is what holds the asking back.
    async fn deliver(&mut self, record: Inbound, sequence: u64, time: i64) {
        let known = self.progress.knows(sequence);
        if !known && !self.progress.too_old(time) && self.wanted.matches(&record.topic) {
            self.lag.full |= self.sink.capacity() == 0;
            self.hand_over(Event::Record(record)).await;
            self.progress.told = Some(sequence);
        }
        if !known {
            self.progress.pass(sequence, time);
        }
    }

    async fn hand_over(&self, event: Event) {
        if self.sink.send(event).await.is_err() {
            // The subscription ends with its sink; this task with it.
            std::future::pending::<()>().await;
        }
    }

    /// Tells how far the stream is read, if that was not told yet.
    async fn tell_reached(&mut self) {
        if let Some(place) = self.progress.untold(&self.log) {
            self.progress.told = Some(place.n);
            self.hand_over(Event::Reached(place)).await;
        }
    }

    /// The consumer has nothing more to give. What is behind its last message is found out once; later heartbeats say
    /// it, which come when nothing else does.
    async fn at_the_end(&mut self, tail: &mut Tail) {
        tail.looked = Some(Instant::now());
        if !tail.seen
            && let Ok(info) = self.api.stream(&self.stream).await
            && info.created == self.progress.created
        {
            tail.seen = self.nothing_up_to(&info.state).await;
        }
        self.tell_reached().await;
    }

    /// Whether all is read up to the newest message of that state; if so, it is passed. The stream itself is asked: a
    /// consumer's own count may be behind, as it lives on a server of its own and hears of messages a little later.
    async fn nothing_up_to(&mut self, state: &StreamState) -> bool {
        let Some(passed) = self.progress.passed else { return false };
        let nothing = passed >= state.last_seq
            || match self.api.message(&self.stream, passed + 1, &self.wanted.subject).await {
                Ok(next) => next.is_none_or(|next| next.seq > state.last_seq),
                Err(_) => false, // a heartbeat will say it
            };
        if nothing {
            self.progress.newest = state.last_at().map(|at| (state.last_seq, at));
            self.progress.reach(state.last_seq);
        }
        nothing
    }

    /// Takes the next message by another way, one on which its headers are not read by the client.
    ///
    /// A message with headers against the rules ends the client's connection, or the client itself; it is still in the
    /// stream then, and would do so again and again.
    async fn step_over(&mut self) -> Result<(), End> {
        self.barren = 0;
        let Origin::Sequence(next) = self.progress.from else { return Ok(()) };
        let Some(stored) = self.api.message(&self.stream, next, &self.wanted.subject).await? else { return Ok(()) };
        let decode = |text: &str| STANDARD.decode(text).unwrap_or_default();
        let time = nanoseconds(&stored.time).and_then(|t| i64::try_from(t).ok()).unwrap_or_default();
        let record = Inbound {
            topic: stored.subject.into(),
            partition: None,
            key: None,
            payload: Some(decode(&stored.data).into()),
            headers: crate::headers::from_stored(&decode(&stored.hdrs)),
            timestamp: Some(time / 1_000_000),
            place: Some(position::place(&self.log, stored.seq, Some(time / 1_000_000))),
            redelivered: false,
            retained: false,
        };
        tracing::debug!(stream = self.stream, sequence = stored.seq, "read a message by itself");
        self.deliver(record, stored.seq, time).await;
        Ok(())
    }
}
