//! The line of publishes: bounded, in the order of the calls.
//!
//! A call puts its record in the line before it returns. One task takes records from the line in order and hands them
//! to the client; for JetStream another collects the answers. From the hand-over on a record may be stored: who gives
//! up before that (the caller at its deadline, or the line) claims the record, so that it is not sent any more.

use crate::api::Api;
use crate::config::Plan;
use crate::headers;
use crate::link::{Connected, Link};
use async_nats::client::traits::Publisher as _;
use async_nats::connection::State;
use async_nats::header::HeaderMap;
use async_nats::message::OutboundMessage;
use bytes::Bytes;
use bytestring::ByteString;
use connector::{BoxFuture, Outbound, Place, PublishError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

mod acknowledge;

/// How many core publishes share one flush.
const BATCH: usize = 256;
/// How many records may be with JetStream without an answer; the rest waits in the line, where it is surely not
/// stored. Servers begin to refuse at 10,000 (`max_buffered_msgs`).
const UNANSWERED: usize = 4096;

type Answer = Result<Option<Place>, PublishError>;

/// Who has a record.
#[derive(Debug, Clone)]
struct Claim(Arc<AtomicU8>);

impl Claim {
    const WAITING: u8 = 0;
    const SENT: u8 = 1;
    const GIVEN_UP: u8 = 2;

    /// The line hands it over; `false` when the caller gave it up before.
    fn send(&self) -> bool {
        self.0.compare_exchange(Self::WAITING, Self::SENT, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
    /// The caller gives it up; `false` when it was handed over before.
    fn give_up(&self) -> bool {
        self.0.compare_exchange(Self::WAITING, Self::GIVEN_UP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// A record in the line.
struct Job {
    topic: ByteString,
    headers: Option<HeaderMap>,
    payload: Bytes,
    deadline: Instant,
    claim: Claim,
    answer: oneshot::Sender<Answer>,
    /// Its place within the bounds; given back when it is answered.
    _place: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl Job {
    fn answer(self, answer: Answer) {
        let _ = self.answer.send(answer);
    }
}

/// The line.
pub(crate) struct Line {
    link: Link,
    jetstream: bool,
    inbox_prefix: String,
    queue: mpsc::UnboundedSender<Job>,
    closing: AtomicBool,
    count: Arc<Semaphore>,
    places: u32,
    bytes: Arc<Semaphore>,
    size: usize,
}

impl Line {
    /// The line over a link; with JetStream its API is given.
    pub(crate) fn start(plan: &Plan, link: Link, api: Option<Api>) -> Self {
        // Unbounded in itself: each record in it holds places of the two semaphores, which bound it.
        let (queue, jobs) = mpsc::unbounded_channel();
        let size = plan.max_in_flight_size.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        let line = Line {
            jetstream: api.is_some(),
            inbox_prefix: plan.inbox_prefix.clone(),
            queue,
            closing: AtomicBool::new(false),
            count: Arc::new(Semaphore::new(plan.max_in_flight as usize)),
            places: plan.max_in_flight,
            bytes: Arc::new(Semaphore::new(size)),
            size,
            link: link.clone(),
        };
        let closed = link.closed().clone();
        tokio::spawn(async move {
            let run = async {
                match api {
                    None => send_core(&link, jobs).await,
                    Some(api) => acknowledge::send(&api, jobs).await,
                }
            };
            tokio::select! {
                () = run => {}
                () = closed.cancelled() => {}
            }
        });
        line
    }

    /// See [`connector::Connector::publish`].
    pub(crate) fn publish(&self, record: Outbound) -> BoxFuture<'static, Answer> {
        match self.join(record) {
            Err(error) => Box::pin(std::future::ready(Err(error))),
            Ok(waiting) => Box::pin(waiting.answered()),
        }
    }

    fn join(&self, record: Outbound) -> Result<Waiting, PublishError> {
        let invalid = |why: &str| PublishError::TopicInvalid(format!("{}: {why}", record.topic));
        (crate::topic::SYNTAX.check)(&record.topic).map_err(invalid)?;
        if let Some(why) = crate::topic::unpublishable(&record.topic, &self.inbox_prefix) {
            return Err(invalid(why));
        }
        let headers = headers::to_nats(&record.headers).map_err(PublishError::Rejected)?;
        if self.closing.load(Ordering::Acquire) {
            return Err(PublishError::Unavailable("the connector is closed".into()));
        }
        if !self.jetstream {
            // Core NATS keeps nothing: a record is sent now or not at all.
            self.link.current().map_err(|lost| PublishError::Unavailable(lost.0))?;
        }
        let payload = record.payload.unwrap_or_default();
        let full = |_| PublishError::Overloaded("too many publishes wait for NATS".into());
        // A record larger than the whole bound may still go alone.
        let size = (payload.len() + record.topic.len()).min(self.size);
        let place = (
            self.count.clone().try_acquire_owned().map_err(full)?,
            self.bytes.clone().try_acquire_many_owned(u32::try_from(size).unwrap_or(u32::MAX)).map_err(full)?,
        );
        let claim = Claim(Arc::new(AtomicU8::new(Claim::WAITING)));
        let deadline = Instant::from_std(record.deadline);
        let (answer, receiver) = oneshot::channel();
        let job = Job { topic: record.topic, headers, payload, deadline, claim, answer, _place: place };
        let waiting = Waiting { claim: job.claim.clone(), deadline, answer: receiver, link: self.link.clone() };
        self.queue.send(job).map_err(|_| PublishError::Unavailable("the connector is closed".into()))?;
        Ok(waiting)
    }

    /// Refuses new records from now on and waits until all that are in the line are answered, at most `grace`.
    pub(crate) async fn finish(&self, grace: Duration) {
        self.closing.store(true, Ordering::Release);
        if let Ok(Ok(all)) = tokio::time::timeout(grace, self.count.acquire_many(self.places)).await {
            all.forget();
        }
    }
}

/// The caller's side of a record in the line.
struct Waiting {
    claim: Claim,
    deadline: Instant,
    answer: oneshot::Receiver<Answer>,
    link: Link,
}

impl Waiting {
    async fn answered(mut self) -> Answer {
        match timeout_at(self.deadline, &mut self.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) if self.claim.give_up() => Err(self.unsent("the connection to NATS was lost")),
            Ok(Err(_)) => Err(PublishError::OutcomeUnknown("the connection ended before NATS answered".into())),
            Err(_) if self.claim.give_up() => Err(self.unsent("the line to NATS did not move in time")),
            Err(_) => Err(PublishError::OutcomeUnknown("NATS did not answer in time".into())),
        }
    }

    fn unsent(&self, otherwise: &str) -> PublishError {
        PublishError::Unavailable(self.link.current().err().map_or_else(|| otherwise.to_owned(), |lost| lost.0))
    }
}

fn out_of_time() -> PublishError {
    PublishError::Unavailable("the deadline was over before it could be sent".into())
}

fn too_large_or_lost(error: &async_nats::PublishError) -> PublishError {
    match error.kind() {
        async_nats::PublishErrorKind::MaxPayloadExceeded => PublishError::TooLarge(error.to_string()),
        async_nats::PublishErrorKind::InvalidSubject => PublishError::TopicInvalid(error.to_string()),
        // The client's task is gone, so nothing was taken.
        async_nats::PublishErrorKind::Send => PublishError::Unavailable(error.to_string()),
    }
}

/// Hands records over in batches; those of a batch are answered when the socket has taken it.
async fn send_core(link: &Link, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let mut batch = Vec::with_capacity(BATCH);
    while jobs.recv_many(&mut batch, BATCH).await > 0 {
        match link.current() {
            Err(lost) => {
                for job in batch.drain(..) {
                    job.claim.give_up();
                    job.answer(Err(PublishError::Unavailable(lost.0.clone())));
                }
            }
            Ok(connection) => flush(link, &connection, &mut batch).await,
        }
    }
}

async fn flush(link: &Link, connection: &Connected, batch: &mut Vec<Job>) {
    let client = &connection.client;
    let connects = || client.statistics().connects.load(Ordering::Relaxed);
    let before = connects();
    let mut sent = Vec::with_capacity(batch.len());
    let hand_over = async {
        for mut job in batch.drain(..) {
            if job.deadline <= Instant::now() {
                if job.claim.give_up() {
                    job.answer(Err(out_of_time()));
                }
            } else if client.connection_state() != State::Connected {
                if job.claim.give_up() {
                    job.answer(Err(PublishError::Unavailable("the connection to NATS was lost".into())));
                }
            } else if job.claim.send() {
                let message = OutboundMessage {
                    subject: job.topic.to_string().into(),
                    reply: None,
                    payload: std::mem::take(&mut job.payload),
                    headers: job.headers.take(),
                };
                match client.publish_message(message).await {
                    Ok(()) => sent.push(job),
                    Err(error) => job.answer(Err(too_large_or_lost(&error))),
                }
            }
        }
        client.flush().await.is_ok()
    };
    // A flush outlives a lost connection and would then confirm what died with it.
    let flushed = tokio::select! {
        flushed = hand_over => flushed && connects() == before && client.connection_state() == State::Connected,
        () = link.lost(connection) => false,
    };
    for job in sent {
        job.answer(if flushed {
            Ok(None)
        } else {
            Err(PublishError::OutcomeUnknown("the connection to NATS was lost while it was sent".into()))
        });
    }
}
