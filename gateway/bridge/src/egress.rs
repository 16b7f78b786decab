//! Egress: a record becomes a message, serialized once and shared by all who are subscribed.

use crate::conflate::{About, Conflated, about};
use crate::envelope;
use crate::feed::Newcomers;
use crate::ingest::ORIGIN_HEADER;
use crate::mapping::{EgressError, Envelope, Include, LAST_HEADER, OnError, Poison, Table, chunk_data};
use crate::observe::{Observer, Outcome, Step, TRACEPARENT, is_traceparent};
use crate::replay::Replay;
use base64::Engine as _;
use bayeux::channel::ChannelName;
use bayeux::delivery::{Delivery, DeliveryParts};
use bayeux::session::EndReason;
use bayeux_server::Server;
use bytes::Bytes;
use bytestring::ByteString;
use connector::Inbound;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What became of a record.
pub(crate) enum Verdict {
    /// Dealt with.
    Done,
    /// The mapping is to stop, and why (`on_error: stop`).
    Stop(String),
    /// It goes to the dead letters, and then the feed goes on past it (`on_error: dead_letter`).
    Bury(Poison),
}

/// Why there is no message, and the feed does not just go on.
pub(crate) enum Broken {
    /// See [`Verdict::Stop`].
    Stop(String),
    /// See [`Verdict::Bury`].
    Bury(Poison),
}

impl From<Broken> for Verdict {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Stop(reason) => Verdict::Stop(reason),
            Broken::Bury(poison) => Verdict::Bury(poison),
        }
    }
}

/// A record that became a message.
pub(crate) struct Message {
    /// Where it is published.
    pub(crate) channel: ChannelName,
    /// What subscribers get.
    pub(crate) delivery: Arc<Delivery>,
    /// The tag of the session that published it, if one did.
    pub(crate) publisher: Option<ByteString>,
}

/// Turns the records of one mapping into messages.
#[derive(Clone)]
pub(crate) struct Reader {
    table: Arc<Table>,
    mapping: usize,
    server: Server,
    observer: Arc<dyn Observer>,
    replay: Option<Arc<Replay>>,
}

impl Reader {
    pub(crate) fn new(
        table: Arc<Table>,
        mapping: usize,
        server: Server,
        observer: Arc<dyn Observer>,
        replay: Option<Arc<Replay>>,
    ) -> Self {
        Reader { table, mapping, server, observer, replay }
    }

    /// A record that was stored while we listened.
    pub(crate) fn deliver(&self, record: &Inbound) -> Verdict {
        let message = match self.message(record) {
            Ok(message) => message,
            Err(broken) => return broken.into(),
        };
        match (&self.replay, message) {
            (Some(replay), message) => replay.fed(&self.server, record, message),
            (None, Some(message)) => self.send(message),
            (None, None) => {}
        }
        Verdict::Done
    }

    /// A record whose message waits for its time, unless a later one takes its place.
    pub(crate) fn conflate(
        &self,
        record: &Inbound,
        by: Option<&str>,
        conflated: &mut Conflated<About, Message>,
    ) -> Verdict {
        match self.message(record) {
            Ok(Some(message)) => {
                if conflated.put(about(&message, by), message, Instant::now()) {
                    self.send_conflated(conflated);
                }
                (0..conflated.take_replaced())
                    .for_each(|_| self.observer.egressed(self.mapping, Outcome::Conflated, None));
                Verdict::Done
            }
            Ok(None) => Verdict::Done,
            Err(broken) => broken.into(),
        }
    }

    /// The time has come for those that wait.
    pub(crate) fn send_conflated(&self, conflated: &mut Conflated<About, Message>) {
        conflated.take().for_each(|message| self.send(message));
    }

    fn send(&self, message: Message) {
        let Message { channel, delivery, publisher } = message;
        for session in self.server.publish_shared(publisher.as_deref(), &channel, &delivery) {
            self.server.end_session(&session, EndReason::Overflow);
        }
    }

    /// A record that was dealt with otherwise: the feed has read past it.
    pub(crate) fn pass_over(&self, record: &Inbound) {
        if let Some(replay) = &self.replay {
            replay.fed(&self.server, record, None);
        }
    }

    /// A record that the broker keeps for new subscribers. It is no news: it goes to the dead letters only when it comes live.
    pub(crate) fn retained(&self, record: &Inbound, newcomers: &mut Newcomers) -> Verdict {
        if newcomers.is_empty() {
            return Verdict::Done;
        }
        match self.message(record) {
            Ok(Some(message)) => {
                newcomers.give(&message.channel, &message.delivery);
                Verdict::Done
            }
            Ok(None) | Err(Broken::Bury(_)) => Verdict::Done,
            Err(broken) => broken.into(),
        }
    }

    /// The message of a record; `None` when there is none and the feed goes on.
    pub(crate) fn message(&self, record: &Inbound) -> Result<Option<Message>, Broken> {
        let Some(mapping) = self.table.get(self.mapping) else { return Ok(None) };
        let spec = mapping.spec();
        let message = self.table.egress(self.mapping, record).and_then(|channel| {
            // Where messages are retained, an empty one takes the retained one away: nothing is left, as by a tombstone.
            // But a chunk may be of no bytes.
            let emptied = |payload: &&Bytes| {
                payload.is_empty() && mapping.capabilities().retained && record.header(LAST_HEADER).is_none()
            };
            let payload = record.payload.as_ref().filter(|payload| !emptied(payload));
            Ok((channel, chunk_data(spec, payload, record)?))
        });
        let (channel, (data, binary)) = match message {
            Ok(message) => message,
            Err(EgressError::OtherTopic) => return Ok(None),
            Err(EgressError::Shadowed { .. }) => {
                self.observer.egressed(self.mapping, Outcome::Shadowed, None);
                return Ok(None);
            }
            Err(EgressError::Poison(poison)) => {
                self.observer.egressed(self.mapping, Outcome::Poison, None);
                let place = place(record);
                tracing::warn!(mapping = spec.label(), %place, reason = poison.reason(), %poison, "poisonous record");
                return match spec.on_error {
                    OnError::Skip => Ok(None),
                    OnError::Stop => Err(Broken::Stop(format!("stopped by a poisonous record at {place}: {poison}"))),
                    OnError::DeadLetter(_) => Err(Broken::Bury(poison)),
                };
            }
        };
        let parent = record.header(TRACEPARENT).and_then(|raw| std::str::from_utf8(raw).ok());
        let parent = parent.filter(|text| is_traceparent(text));
        let span = self.observer.span(Step::Deliver, channel.as_str(), parent);
        let trace = match &span {
            Some(span) => span.traceparent(),
            None => parent.map(ByteString::from),
        };
        let mut ext: Vec<(ByteString, Bytes)> = Vec::new();
        if let Some(trace) = trace {
            ext.push((TRACEPARENT.into(), format!("\"{trace}\"").into()));
        }
        if binary {
            ext.push(("binary".into(), Bytes::from_static(b"{}")));
        }
        for (name, is) in [("retained", record.retained), ("redelivered", record.redelivered)] {
            if is {
                ext.push((name.into(), Bytes::from_static(b"true")));
            }
        }
        if spec.include != Include::default() {
            ext.push(("record".into(), surroundings(record, spec.include)));
        }
        let mut data = data;
        if let (Some(replay), Some(place)) = (&self.replay, &record.place) {
            let position = replay.position_of(place).to_json();
            match spec.envelope {
                Envelope::Plain => ext.push(("replay".into(), position.into())),
                Envelope::Salesforce => data = envelope::salesforce(&data, &position, record.timestamp),
            }
        }
        let parts = DeliveryParts { data: &data, ext: &ext, ..Default::default() };
        let delivery = Delivery::new(channel.as_bytestring().clone(), &parts);
        let delivery = Arc::new(self.server.lazily(&channel, delivery));
        self.observer.egressed(self.mapping, Outcome::Ok, age(record));
        let origin = record.header(ORIGIN_HEADER).and_then(|raw| std::str::from_utf8(raw).ok());
        let publisher = origin.and_then(|origin| origin.rsplit_once('/')).map(|(_, tag)| tag.into());
        Ok(Some(Message { channel, delivery, publisher }))
    }
}

fn age(record: &Inbound) -> Option<Duration> {
    let stored = Duration::from_millis(u64::try_from(record.timestamp?).ok()?);
    SystemTime::now().duration_since(UNIX_EPOCH).ok()?.checked_sub(stored)
}

/// Where a record is to be found, for people.
fn place(record: &Inbound) -> String {
    let mut place = format!("topic {}", record.topic);
    if let Some(partition) = record.partition {
        place.push_str(&format!(" partition {partition}"));
    }
    match &record.place {
        // In a partition the number is the offset + 1.
        Some(at) if record.partition.is_some() => place.push_str(&format!(" offset {}", at.n.saturating_sub(1))),
        Some(at) => place.push_str(&format!(" position {}", at.n)),
        None => {}
    }
    place
}

/// `ext.record`, as far as the mapping asks for it. Bytes that are not UTF-8 are shown as base64 under a name of their
/// own.
fn surroundings(record: &Inbound, include: Include) -> Bytes {
    let text = |bytes: &Bytes| match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "base64": base64::engine::general_purpose::STANDARD.encode(bytes) }),
    };
    let mut shown = serde_json::Map::new();
    if include.key {
        shown.insert("key".into(), record.key.as_ref().map_or(Value::Null, text));
    }
    if include.timestamp {
        shown.insert("timestamp".into(), json!(record.timestamp));
    }
    if include.headers {
        let headers: serde_json::Map<_, _> =
            record.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        shown.insert("headers".into(), headers.into());
    }
    Value::Object(shown).to_string().into()
}
