//! The idempotent producer, and a record's way into it and back.

use crate::link::{self, Link};
use crate::outcome;
use crate::record::place;
use crate::resolve::Key;
use crate::tally::{Moment, Seat, Ticket};
use connector::{Outbound, Place, PublishError};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::metadata::Metadata;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long the first connection to a leader may take after the cluster has answered again.
const RECONNECT: Duration = Duration::from_secs(1);

/// What a publisher is told.
pub(crate) type Answer = Result<Option<Place>, PublishError>;

/// A producer. Dropping one waits for its threads, so that happens on a thread of its own.
pub(crate) struct Producer(Option<ThreadedProducer<Reports>>);

impl Producer {
    pub(crate) fn new(link: &Arc<Link>, config: &ClientConfig) -> KafkaResult<Arc<Self>> {
        config.create_with_context(Reports { link: link.clone() }).map(|made| Arc::new(Producer(Some(made))))
    }

    /// Asks the cluster for a topic, or for all, without making any. Blocks for up to `patience`.
    pub(crate) fn metadata(&self, topic: Option<&str>, patience: Duration) -> KafkaResult<Metadata> {
        self.0.as_ref().map_or(Err(KafkaError::Canceled), |made| made.client().fetch_metadata(topic, patience))
    }

    /// Why it will never work again, if that is so.
    pub(crate) fn fatal(&self) -> Option<String> {
        self.0.as_ref().and_then(|made| made.client().fatal_error()).map(|(_, reason)| reason)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let producer = self.0.take();
        let _ = std::thread::Builder::new().name("kafka-producer-end".into()).spawn(move || drop(producer));
    }
}

/// A record that was not handed over yet.
pub(crate) struct Waiting {
    pub(crate) record: Outbound,
    pub(crate) since: Instant,
    pub(crate) ticket: Arc<Ticket>,
    pub(crate) pending: Box<Pending>,
}

/// A publisher that waits for its answer.
pub(crate) struct Pending {
    answer: oneshot::Sender<Answer>,
    /// When it was handed over.
    handed: Option<Moment>,
    _seat: Seat,
}

impl Pending {
    pub(crate) fn new(answer: oneshot::Sender<Answer>, seat: Seat) -> Box<Self> {
        Box::new(Pending { answer, handed: None, _seat: seat })
    }

    pub(crate) fn answer(self, answer: Answer) {
        // A publisher that has left does not want to know.
        let _ = self.answer.send(answer);
    }
}

/// Takes librdkafka's delivery reports.
pub(crate) struct Reports {
    link: Arc<Link>,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        link::log(&self.link, level, facility, text);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        link::producer_error(&self.link, &error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Pending>;

    fn delivery(&self, result: &DeliveryResult<'_>, pending: Box<Pending>) {
        pending.answer(match result {
            // Of a record that was confirmed by the confirmation of a later one the offset is not told.
            Ok(message) => Ok((message.offset() >= 0).then(|| {
                let key: Key = (message.topic().into(), message.partition());
                let single = self.link.topics().single(&key.0);
                place(&key, message.offset() + 1, message.timestamp().to_millis(), single)
            })),
            Err((error, message)) => Err(match outcome::not_delivered(error, message.topic()) {
                // A broker that has just come back may not know the topic for a moment, and the record may have been
                // sent before that.
                PublishError::TopicUnknown(topic) if self.link.topics().partitions(&topic).is_some() => {
                    PublishError::OutcomeUnknown(format!("Kafka lost sight of topic {topic}"))
                }
                error => error,
            }),
        });
    }
}

/// Gives librdkafka a record, or refuses it where that would be too late.
pub(crate) fn hand_over(link: &Link, producer: &Producer, moment: Moment, waiting: Waiting) {
    let Waiting { record, since, ticket, mut pending } = waiting;
    // After an outage the connection to the partition's leader may take a moment more: what has not that long any more
    // is better refused, as surely not stored, than sent with an outcome that nobody will know in time.
    let now = Instant::now();
    let needed = now.duration_since(since).min(RECONNECT);
    if record.deadline <= now + needed || !ticket.hand() {
        if ticket.take_back() {
            pending.answer(Err(PublishError::Unavailable("the deadline was over before the record was sent".into())));
        }
        return;
    }
    pending.handed = Some(moment);
    let mut base = BaseRecord::<[u8], [u8], _>::with_opaque_to(&record.topic, pending);
    base.key = record.key.as_deref();
    base.payload = record.payload.as_deref();
    base.partition = record.partition;
    if !record.headers.is_empty() {
        let empty = OwnedHeaders::new_with_capacity(record.headers.len());
        base.headers = Some(
            record.headers.iter().fold(empty, |all, (key, value)| all.insert(Header { key, value: Some(&value[..]) })),
        );
    }
    let Some(producer) = &producer.0 else { return };
    if let Err((error, refused)) = producer.send(base) {
        let why = outcome::not_taken(&error, &record.topic);
        if error.rdkafka_error_code() == Some(rdkafka::error::RDKafkaErrorCode::Fatal) {
            link.producer_is_fatal(&error.to_string());
        }
        refused.delivery_opaque.answer(Err(why));
    }
}

/// How much of the bound on bytes it takes.
pub(crate) fn size(record: &Outbound) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    record.key.as_ref().map_or(0, bytes::Bytes::len) + record.payload.as_ref().map_or(0, bytes::Bytes::len) + headers
}
