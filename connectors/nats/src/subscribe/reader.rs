//! Reads one stream for one subscription, for as long as the stream exists.
//!
//! A consumer lives at the server, in memory, for this reader alone, and gives messages only when asked: a reader whose
//! sink is full does not ask. The reader itself knows which sequence was the last. Whenever anything is not as it
//! should be (the connection broke, the consumer is gone, a message is missing in its count) it makes another consumer
//! from the next sequence on: nothing is missed, nothing comes twice.

use super::place::Place;
use super::{Wanted, record};
use crate::api::{Api, ApiError, Consumer, Origin, StreamInfo, nanoseconds};
use crate::link::{Connected, Trouble};
use crate::position::Delivered;
use async_nats::{Message, Subscriber};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connector::{Inbound, Position};
use futures_util::StreamExt as _;
use rand::Rng as _;
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How many messages are asked for ahead of the sink.
const AHEAD: u32 = 256;
/// How large, together, the messages asked for may be, unless one alone may be larger.
const AHEAD_SIZE: usize = 4 << 20;
/// How long one request for messages stands.
const STANDS: Duration = Duration::from_secs(20);
/// How often the server says that a request still stands.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Silence after which a consumer is given up.
const SILENCE: Duration = Duration::from_secs(5);
/// How often in a row a connection may end before the first message, until the message itself is suspected.
const SUSPECT_AFTER: u32 = 2;

/// How often in a row a consumer may be no good until that is said.
const WARN_AFTER: u32 = 3;
/// How often a slow reader looks whether the stream is emptied faster than it reads.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest pause between two consumers.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Reads one stream.
pub(super) struct Reader {
    pub api: Api,
    pub stream: String,
    pub place: Place,
    pub wanted: Wanted,
    pub sink: mpsc::Sender<Inbound>,
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

/// Whether the stream may be emptied faster than it is read.
#[derive(Debug, Default)]
pub(super) struct Lag {
    /// The sink was full since the last look.
    full: bool,
    /// When it was looked whether something is missed, and nothing was.
    looked: Option<Instant>,
    /// That something is missed was logged.
    told: bool,
}

impl Lag {
    /// Whether a look is due. Each is a question to the server.
    fn suspicious(&self) -> bool {
        self.full && self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY)
    }
}

/// A consumer at the server. Forgotten when its reading ends, in whatever way.
pub(super) struct Made {
    api: Api,
    connection: Connected,
    stream: String,
    consumer: Consumer,
}

impl Drop for Made {
    fn drop(&mut self) {
        self.api.forget_consumer(&self.connection, &self.stream, &self.consumer.name);
    }
}

/// Why a consumer is not used any longer.
enum End {
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
    pub(super) async fn run(mut self) -> (String, Place) {
        loop {
            let connection = self.api.link.connected().await;
            match self.consume(&connection).await {
                End::Gone => {
                    tracing::info!(stream = self.stream, "the stream is gone");
                    return (self.stream, self.place);
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
                self.place(&info, replaced);
                if self.barren >= SUSPECT_AFTER {
                    self.step_over().await?;
                }
                self.make_consumer(connection).await?
            }
        };
        let consumer = &made.consumer;
        let inbox = self.api.link.own_subject();
        let messages = connection.client.subscribe(inbox.clone()).await.map_err(|_| End::Lost)?;
        let pull = Pull { subject: self.api.pull_subject(&self.stream, &consumer.name), inbox, open: 0, size: 0 };
        self.receive(connection, messages, pull, consumer).await
    }

    /// Makes a consumer from where to go on; from then on nothing can be missed.
    pub(super) async fn make_consumer(&mut self, connection: &Connected) -> Result<Made, ApiError> {
        let consumer = self.api.make_consumer(&self.stream, &self.wanted.subject, self.place.from).await?;
        self.place.start(consumer.next);
        let (api, stream) = (self.api.clone(), self.stream.clone());
        Ok(Made { api, connection: connection.clone(), stream, consumer })
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
        let Some((sequence, time)) = self.place.last else { return Ok(false) };
        if self.place.created != info.created || !(info.state.first_seq..=info.state.last_seq).contains(&sequence) {
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
    fn place(&mut self, info: &StreamInfo, replaced: bool) {
        if self.place.created != info.created {
            tracing::warn!(stream = self.stream, "the stream was made anew: reading it from its beginning");
        } else if let Some((sequence, _)) = self.place.last
            && (replaced || info.state.last_seq < sequence)
        {
            tracing::warn!(stream = self.stream, sequence, "the stream lost its end: going on by time");
        }
        let missed = self.place.follow(info, replaced);
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
        if !self.place.jumps_to(sequence) || !self.lag.suspicious() {
            return Ok(());
        }
        let info = self.api.stream(&self.stream).await?;
        let missed = self.place.overtaken(info.state.first_seq, sequence);
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
        consumer: &Consumer,
    ) -> Result<std::convert::Infallible, End> {
        tracing::debug!(stream = self.stream, consumer = consumer.name, from = consumer.next, "reading");
        let link = self.api.link.clone();
        let mut expected = 1;
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
                    self.place.reach(reached);
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
            let timestamp = delivered.time / 1_000_000;
            let record = record(message, Some(Position::Number(delivered.stream_sequence)), Some(timestamp));
            self.deliver(record, delivered.stream_sequence, delivered.time).await?;
        }
    }

    /// Waits for room in the sink. This is what holds the asking back.
    async fn deliver(&mut self, record: Inbound, sequence: u64, time: i64) -> Result<(), End> {
        let known = self.place.knows(sequence);
        if !known && !self.place.too_old(time) && self.wanted.matches(&record.topic) {
            self.lag.full |= self.sink.capacity() == 0;
            if self.sink.send(record).await.is_err() {
                // The subscription ends with its sink; this task with it.
                std::future::pending::<()>().await;
            }
        }
        if !known {
            self.place.pass(sequence, time);
        }
        Ok(())
    }

    /// Takes the next message by another way, one on which its headers are not read by the client.
    ///
    /// A message with headers against the rules ends the client's connection, or the client itself; it is still in the
    /// stream then, and would do so again and again.
    async fn step_over(&mut self) -> Result<(), End> {
        self.barren = 0;
        let Origin::Sequence(next) = self.place.from else { return Ok(()) };
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
            position: Some(Position::Number(stored.seq)),
            redelivered: false,
            retained: false,
        };
        tracing::debug!(stream = self.stream, sequence = stored.seq, "read a message by itself");
        self.deliver(record, stored.seq, time).await
    }
}

/// The sequence that a consumer has come to that has nothing to give now, as its heartbeat says; none while messages are
/// missing that it gave.
fn caught_up(heartbeat: &Message, expected: u64) -> Option<u64> {
    let number = |name: &str| heartbeat.headers.as_ref()?.get(name)?.as_str().parse::<u64>().ok();
    number("Nats-Last-Stream").filter(|_| number("Nats-Last-Consumer") == Some(expected - 1))
}

/// Requests for messages.
struct Pull {
    subject: String,
    inbox: String,
    /// How many messages are still to come for the requests that stand.
    open: u32,
    size: usize,
}

impl Pull {
    /// Asks for more as soon as half of it has come, so that the next ones are on their way meanwhile.
    async fn ask(&mut self, connection: &Connected) -> Result<(), End> {
        if self.open > AHEAD / 2 {
            return Ok(());
        }
        self.size = self.size.max(AHEAD_SIZE).max(2 * connection.client.max_payload());
        let request = json!({
            "batch": AHEAD - self.open,
            "max_bytes": self.size,
            "expires": STANDS.as_nanos(),
            "idle_heartbeat": HEARTBEAT.as_nanos(),
        });
        let body = request.to_string().into();
        let asked = connection.client.publish_with_reply(self.subject.clone(), self.inbox.clone(), body).await;
        self.open = AHEAD;
        asked.map_err(|_| End::Lost)
    }

    /// What the server says about a request.
    fn on_status(&mut self, status: u16, message: &Message) -> Result<(), End> {
        let text = message.description.as_deref().unwrap_or_default();
        match status {
            100 => return Ok(()), // it still stands
            408 | 404 => {}       // it has ended, as it should
            409 if text.contains("MaxBytes") => {
                // Perhaps one message alone is larger than that.
                self.size = self.size.saturating_mul(2).min(256 << 20);
            }
            _ => return Err(End::Stale(format!("{status} {text}"))),
        }
        let left = message.headers.as_ref().and_then(|h| h.get("Nats-Pending-Messages"));
        let left = left.and_then(|n| n.as_str().parse::<u32>().ok()).unwrap_or(self.open);
        self.open = self.open.saturating_sub(left);
        Ok(())
    }
}
