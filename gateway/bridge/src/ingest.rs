//! Ingest: a publish becomes a record, and its reply says what the broker said.

use crate::bridge::{Bridge, Tracked, origin};
use crate::letters::outcome;
use crate::load::Underway;
use crate::mapping::{MappingSpec, RenderError, Route, Sources, VIOLATION, Violation, chunk_record, record_payload};
use crate::observe::{Observer, Outcome, Step, TRACEPARENT, is_traceparent};
use bayeux::error::error;
use bayeux::message::Message;
use bayeux::reply::{Advice, Reconnect, Refusal};
use bayeux_server::hooks::{Accepted, Publish, PublishFlow};
use bytes::Bytes;
use bytestring::ByteString;
use connector::{Headers, Outbound, Place, PublishError};
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

/// The header that names where a record came from: `<node>/<session tag>`.
pub(crate) const ORIGIN_HEADER: &str = "bayeux-origin";
/// The header that names the publisher, set by the gateway only.
pub(crate) const USER_HEADER: &str = "bayeux-user";
/// What a publisher is advised when there is too much: milliseconds.
const OVERLOAD_INTERVAL: u64 = 1_000;

impl Bridge {
    /// Hands a publish to its mapping's connector. The record is in line when this returns; the reply follows when the
    /// broker has confirmed it.
    pub(crate) fn ingest(&self, route: &Route<'_, '_>, publish: &Publish) -> PublishFlow {
        let begun = Instant::now();
        let mapping = route.mapping;
        let index = mapping.index();
        let spec = mapping.spec();
        let channel = publish.channel.clone();
        let identity = publish.session.identity();
        let sources = Sources {
            data: publish.message.data.as_deref(),
            claims: identity.claims.as_deref(),
            user: identity.user.as_deref(),
        };
        let data = publish.message.data.as_ref();
        let value = match spec.binary_extension && is_binary(&publish.message) {
            true => chunk_record(spec, data),
            false => record_payload(spec.format, spec.tombstones, data).map(|payload| (payload, Headers::new())),
        };
        let rendered = value.and_then(|(payload, more)| match more.first() {
            Some((name, _)) if !mapping.capabilities().headers => Err(RenderError::HeaderInvalid(name.to_string())),
            _ => route.render(&sources).map(|rendered| (payload, more, rendered)),
        });
        let (payload, more, rendered) = match rendered {
            Ok(rendered) => rendered,
            Err(why) => {
                tracing::debug!(%channel, %why, "publish refused");
                self.observer.ingested(index, Outcome::Refused, begun.elapsed());
                return PublishFlow::Done(Err(Refusal::new(error(why.code(), channel.as_str(), why.text()))));
            }
        };
        let Some(connector) = self.connectors.get(&spec.connector) else {
            return PublishFlow::Done(Err(Refusal::new(error(503, channel.as_str(), "connector_missing"))));
        };
        let parent = publish.traceparent.as_deref().filter(|text| is_traceparent(text));
        let span = self.observer.span(Step::Publish, channel.as_str(), parent);
        let mut headers = rendered.headers;
        headers.extend(more);
        if mapping.capabilities().headers {
            let trace = match &span {
                Some(span) => span.traceparent(),
                None => parent.map(ByteString::from),
            };
            headers.push((ORIGIN_HEADER.into(), origin(&self.settings.node, &publish.session).into_bytes()));
            headers.extend(identity.user.as_ref().map(|user| (USER_HEADER.into(), user.clone().into_bytes())));
            headers.extend(trace.map(|trace| (TRACEPARENT.into(), trace.into_bytes())));
        }
        let bytes = payload.as_ref().map_or(0, Bytes::len);
        let underway = match self.load.admit(publish.session.key(), &spec.connector, bytes) {
            Ok(underway) => underway,
            Err(whose) => {
                tracing::debug!(%channel, ?whose, "publish refused: too much is on its way");
                self.observer.ingested(index, Outcome::Overloaded, begun.elapsed());
                return PublishFlow::Done(Err(overloaded(channel.as_str())));
            }
        };
        let record = Outbound {
            topic: rendered.topic,
            key: rendered.key,
            partition: rendered.partition,
            payload,
            headers,
            deadline: begun + spec.publish_timeout,
        };
        if let Some(violation) = violation(spec, data) {
            tracing::debug!(%channel, %violation, "publish refused");
            span.iter().for_each(|span| span.fail(VIOLATION));
            self.observer.ingested(index, Outcome::Violation, begun.elapsed());
            if let Some(letters) = self.letters.get(index).cloned().flatten() {
                let (tracked, detail) = (self.track(), violation.to_string());
                tokio::spawn(async move {
                    letters.refused(record, VIOLATION, &detail).await;
                    drop((tracked, underway)); // a drain waits for this, and there are not too many at a time
                });
            }
            return PublishFlow::Done(Err(violated(&violation, channel.as_str())));
        }
        let confirmed = match self.letters.get(index).cloned().flatten() {
            None => connector.publish(record),
            Some(letters) => letters.watch(connector.publish(record.clone()), record, self.track()),
        };
        let mut watched = Watched {
            observer: Arc::clone(&self.observer),
            mapping: index,
            begun,
            outcome: Outcome::Unknown,
            _underway: underway,
            _tracked: self.track(),
        };
        PublishFlow::Wait(Box::pin(async move {
            let result = confirmed.await;
            watched.outcome = result.as_ref().map_or_else(outcome, |_| Outcome::Ok);
            drop(watched);
            match result {
                Ok(place) => Ok(accepted(place.as_ref())),
                Err(why) => {
                    if let Some(span) = &span {
                        span.fail(&why.to_string());
                    }
                    tracing::debug!(%channel, %why, "publish not confirmed");
                    Err(refusal(&why, channel.as_str()))
                }
            }
        }))
    }
}

/// What is wrong with the data of a publish, by the mapping's schema. A tombstone has no data.
pub(crate) fn violation(spec: &MappingSpec, data: Option<&Bytes>) -> Option<Violation> {
    let schema = spec.schema.as_ref()?;
    let empty = data.is_none_or(|data| data[..] == *b"null");
    if spec.tombstones && empty { None } else { schema.check(data.map(|data| &data[..])).err() }
}

/// The publisher is told where and why, without the data.
fn violated(violation: &Violation, channel: &str) -> Refusal {
    let told = json!({ "path": violation.path, "reason": violation.reason }).to_string();
    Refusal::new(error(400, channel, VIOLATION)).with_ext("violation", told)
}

/// Whether a message is marked as one of CometD's binary extension.
pub(crate) fn is_binary(message: &Message) -> bool {
    message.ext_field("binary").is_some_and(|mark| mark[..] != *b"null")
}

/// A publish under way. However it ends it is counted, also when nobody waits for its outcome any more.
struct Watched {
    observer: Arc<dyn Observer>,
    mapping: usize,
    begun: Instant,
    outcome: Outcome,
    _underway: Underway,
    _tracked: Tracked,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.observer.ingested(self.mapping, self.outcome, self.begun.elapsed());
    }
}

fn accepted(place: Option<&Place>) -> Accepted {
    let ext = place.map(|place| (ByteString::from_static("position"), Bytes::from(place.position().to_json())));
    Accepted { ext: ext.into_iter().collect() }
}

/// Too much is on its way: surely not stored, to be sent again, more slowly.
fn overloaded(channel: &str) -> Refusal {
    let advice = Advice::new(Reconnect::Retry, OVERLOAD_INTERVAL);
    Refusal::new(error(503, channel, "overloaded")).with_advice(advice)
}

/// What the publisher is told: `503` surely not stored, `504` may be stored, `4xx` do not retry.
fn refusal(why: &PublishError, channel: &str) -> Refusal {
    let code = match why {
        PublishError::Unavailable(_) | PublishError::Overloaded(_) => 503,
        PublishError::OutcomeUnknown(_) => 504,
        PublishError::TopicUnknown(_) => 404,
        PublishError::TooLarge(_) => 413,
        PublishError::Denied(_) => 403,
        PublishError::TopicInvalid(_) | PublishError::Rejected(_) => 400,
    };
    match why {
        PublishError::Overloaded(_) => overloaded(channel),
        _ => Refusal::new(error(code, channel, why.word())),
    }
}
