//! Dead letters: what a mapping could not bring on is stored in a topic of its own, with the reason in headers.
//!
//! Both ways. A record that cannot become a message is stored there before the feed goes on past it, however long that takes.
//! A publish that the broker refuses for good is stored there too; its publisher is told of the refusal all the same, so
//! that one is tried once. `redrive.rs` sends letters again.

use crate::bridge::Tracked;
use crate::mapping::{Mapping, OnError, Poison};
use crate::observe::{Observer, Outcome};
use bytes::Bytes;
use bytestring::ByteString;
use connector::{BoxFuture, Connector, Headers, Inbound, Outbound, Place, PublishError};
use std::sync::Arc;
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::oneshot;

/// What all headers of a letter begin with that its record did not have.
pub(crate) const DEAD: &str = "bayeux-dead-";
/// Which mapping: its name, else its channel.
pub const MAPPING_HEADER: &str = "bayeux-dead-mapping";
/// `egress`: a record that cannot become a message; `ingest`: a publish that was refused.
pub const WAY_HEADER: &str = "bayeux-dead-way";
/// Why, in a word: `not_json`, `record_too_large`.
pub const REASON_HEADER: &str = "bayeux-dead-reason";
/// Why, in a sentence.
pub const DETAIL_HEADER: &str = "bayeux-dead-detail";
/// The topic where it was read, or where it should have gone.
pub const TOPIC_HEADER: &str = "bayeux-dead-topic";
/// The partition where it was read, where there are any.
pub const PARTITION_HEADER: &str = "bayeux-dead-partition";
/// Where it stands in its log, where there is a log: JetStream's sequence, Kafka's offset + 1.
pub const POSITION_HEADER: &str = "bayeux-dead-position";
/// When the letter was written: RFC 3339, UTC.
pub const AT_HEADER: &str = "bayeux-dead-at";
/// What a header of the record is called in a letter that the broker would take for an order, or does not take as it is.
const ORDER_HEADER: &str = "bayeux-dead-header-";

/// The longest sentence in a header: bytes.
const MAX_DETAIL: usize = 500;
/// Between attempts to store a letter: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// Where the letters of one mapping go.
pub(crate) struct Letters {
    mapping: usize,
    label: ByteString,
    topic: ByteString,
    timeout: Duration,
    connector: Arc<dyn Connector>,
    observer: Arc<dyn Observer>,
}

type Confirmed = BoxFuture<'static, Result<Option<Place>, PublishError>>;

impl Letters {
    /// `None` unless the mapping has `on_error: { dead_letter: … }`.
    pub(crate) fn new(
        mapping: &Mapping,
        connector: &Arc<dyn Connector>,
        observer: &Arc<dyn Observer>,
    ) -> Option<Arc<Self>> {
        let spec = mapping.spec();
        let OnError::DeadLetter(topic) = &spec.on_error else { return None };
        Some(Arc::new(Letters {
            mapping: mapping.index(),
            label: spec.label().into(),
            topic: topic.clone(),
            timeout: spec.publish_timeout,
            connector: Arc::clone(connector),
            observer: Arc::clone(observer),
        }))
    }

    /// Stores a record that cannot become a message. Resolves when the broker has it: until then nothing behind it is
    /// delivered.
    pub(crate) async fn bury(&self, record: &Inbound, poison: &Poison) {
        let mut why = vec![(TOPIC_HEADER, record.topic.to_string())];
        why.extend(record.partition.map(|partition| (PARTITION_HEADER, partition.to_string())));
        why.extend(record.place.as_ref().map(|place| (POSITION_HEADER, place.n.to_string())));
        let mut headers = self.headers(&record.headers, "egress", poison.reason(), &poison.to_string(), why);
        let (mut pause, mut failures, mut as_text) = (BACKOFF.0, 0_u32, false);
        loop {
            let letter = self.letter(record.key.clone(), record.payload.clone(), headers.clone());
            match self.connector.publish(letter).await {
                Ok(_) => break,
                Err(why) => {
                    self.observer.dead_lettered(self.mapping, outcome(&why));
                    // It may be a header that the broker stores for others and does not take from us.
                    if matches!(why, PublishError::Rejected(_)) && !std::mem::replace(&mut as_text, true) {
                        headers = in_text(headers);
                        continue;
                    }
                    failures += 1;
                    if failures == 1 {
                        tracing::error!(
                            mapping = %self.label, topic = %self.topic, %why,
                            "a dead letter cannot be stored: the mapping waits until it can"
                        );
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
        self.observer.dead_lettered(self.mapping, Outcome::Ok);
        if failures > 0 {
            tracing::info!(mapping = %self.label, failures, "the dead letter is stored: the mapping goes on");
        }
    }

    /// Passes on what the broker says of a publish, and stores `record` as a letter if it is refused for good, also when
    /// its publisher is gone by then.
    pub(crate) fn watch(self: Arc<Self>, confirmed: Confirmed, record: Outbound, tracked: Tracked) -> Confirmed {
        let (told, outcome_known) = oneshot::channel();
        tokio::spawn(async move {
            let result = confirmed.await;
            let refused = result.as_ref().err().filter(|why| outcome(why) == Outcome::Refused).cloned();
            let _ = told.send(result);
            if let Some(why) = refused {
                self.refused(record, why.word(), &why.to_string()).await;
            }
            drop(tracked); // a drain waits for this
        });
        Box::pin(async move {
            let gone = |_| Err(PublishError::OutcomeUnknown("the gateway is stopping".into()));
            outcome_known.await.unwrap_or_else(gone)
        })
    }

    /// Stores a publish that was refused: once, as its publisher knows.
    pub(crate) async fn refused(&self, record: Outbound, reason: &str, detail: &str) {
        let why = vec![(TOPIC_HEADER, record.topic.to_string())];
        let headers = self.headers(&record.headers, "ingest", reason, detail, why);
        let stored = self.connector.publish(self.letter(record.key, record.payload, headers)).await;
        let outcome = stored.as_ref().map_or_else(outcome, |_| Outcome::Ok);
        self.observer.dead_lettered(self.mapping, outcome);
        if let Err(why) = stored {
            tracing::warn!(mapping = %self.label, topic = %self.topic, %why, "a refused publish is not kept as a dead letter");
        }
    }

    fn letter(&self, key: Option<Bytes>, payload: Option<Bytes>, headers: Headers) -> Outbound {
        let deadline = Instant::now() + self.timeout;
        Outbound { topic: self.topic.clone(), key, partition: None, payload, headers, deadline }
    }

    /// The record's own headers as they are, then ours. A letter that became one again has the new reason only.
    fn headers(
        &self,
        own: &Headers,
        way: &str,
        reason: &str,
        detail: &str,
        more: Vec<(&'static str, String)>,
    ) -> Headers {
        let orders = self.connector.order_headers();
        let is_order = |name: &str| {
            orders.iter().any(|order| name.get(..order.len()).is_some_and(|start| start.eq_ignore_ascii_case(order)))
        };
        let mut headers: Headers = own
            .iter()
            .filter(|(name, _)| !name.starts_with(DEAD))
            .map(|(name, value)| match is_order(name) {
                true => (format!("{ORDER_HEADER}{name}").into(), value.clone()),
                false => (name.clone(), value.clone()),
            })
            .collect();
        let at = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        let ours = [(MAPPING_HEADER, self.label.to_string()), (WAY_HEADER, way.to_owned())];
        let ours = ours.into_iter().chain([(REASON_HEADER, reason.to_owned()), (DETAIL_HEADER, detail.to_owned())]);
        for (name, value) in ours.chain(more).chain([(AT_HEADER, at)]) {
            headers.push((ByteString::from_static(name), line(&value).into()));
        }
        headers
    }
}

/// What every broker's headers hold: one line, not too long, without spaces around.
fn line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(MAX_DETAIL));
    for char in text.chars().map(|char| if char.is_control() { ' ' } else { char }) {
        if line.len() + char.len_utf8() > MAX_DETAIL {
            break;
        }
        line.push(char);
    }
    line.trim().to_owned()
}

/// Headers as every broker takes them: those that are not text on one line, or have an odd name, are so under another name.
fn in_text(headers: Headers) -> Headers {
    let plain = |(name, value): &(ByteString, Bytes)| {
        let named = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
        named && std::str::from_utf8(value).is_ok_and(|text| line(text) == text)
    };
    let replaced = |(name, value): (ByteString, Bytes)| {
        let name: String =
            name.chars().map(|char| if char.is_ascii_graphic() && char != ':' { char } else { '_' }).collect();
        (format!("{ORDER_HEADER}{name}").into(), line(&String::from_utf8_lossy(&value)).into())
    };
    headers.into_iter().map(|header| if plain(&header) { header } else { replaced(header) }).collect()
}

pub(crate) fn outcome(error: &PublishError) -> Outcome {
    match error {
        PublishError::Unavailable(_) => Outcome::Unavailable,
        PublishError::Overloaded(_) => Outcome::Overloaded,
        PublishError::OutcomeUnknown(_) => Outcome::Unknown,
        _ => Outcome::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_no_broker_takes_is_kept_as_text_under_another_name() {
        let header = |name: &str, value: &[u8]| (ByteString::from(name), Bytes::copy_from_slice(value));
        let all = vec![
            header("shop", "grün".as_bytes()),
            header("raw", b"\xff\r\nx: 1"),
            header("a b:", b"1"),
            header("wide", b" 1 "),
        ];
        let told: Vec<(String, String)> = in_text(all)
            .into_iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8(value.to_vec()).unwrap()))
            .collect();
        let expected = [
            ("shop", "grün"),
            ("bayeux-dead-header-raw", "\u{fffd}  x: 1"),
            ("bayeux-dead-header-a_b_", "1"),
            ("bayeux-dead-header-wide", "1"),
        ];
        assert_eq!(told, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
