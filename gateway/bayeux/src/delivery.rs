//! What the server sends unasked: a message to a subscriber, serialized once and shared by all of them.

use crate::message::{self, Message, MessageId};
use crate::reply::{object_field, string};
use bytes::Bytes;
use bytestring::ByteString;
use std::sync::OnceLock;
use std::time::Duration;

/// A message on its way to one or many sessions.
#[derive(Debug)]
pub struct Delivery {
    channel: ByteString,
    json: Bytes,
    lazy: Option<Duration>,
    framed: [OnceLock<Bytes>; 2],
    read: OnceLock<Box<Message>>,
}

impl PartialEq for Delivery {
    /// The same message, whatever framings were made of it.
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json && self.lazy == other.lazy
    }
}

/// In which of two framings a transport sends a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// As it is.
    Plain,
    /// Compressed, for the receivers that agreed to it.
    Compressed,
}

/// The parts of a delivery.
#[derive(Debug, Clone, Default)]
pub struct DeliveryParts<'a> {
    /// The request's id: only on an answer to one session.
    pub id: Option<&'a str>,
    /// `successful`: only on an answer to one session.
    pub successful: Option<bool>,
    /// Raw JSON; `null` when there is none, as clients take a message without `data` for a reply.
    pub data: &'a [u8],
    /// Fields of `ext`, raw JSON.
    pub ext: &'a [(ByteString, Bytes)],
    /// Further top-level fields, raw JSON.
    pub other: &'a [(ByteString, Bytes)],
    /// A lazy message wakes nobody: it goes out with the next that is not lazy, with the reply to anything its receiver
    /// sends, or after this time. Zero: after `max_lazy_timeout` of the receiver's transport (CometD `ServerChannel.setLazy`,
    /// `setLazyTimeout`). `None`: it is not lazy.
    pub lazy: Option<Duration>,
}

impl Delivery {
    /// Serializes it. Neither the publisher's `clientId` nor its `id` belongs in a broadcast (CometD
    /// `BayeuxServerImpl.publish`).
    pub fn new(channel: ByteString, parts: &DeliveryParts<'_>) -> Self {
        let mut out = Vec::with_capacity(32 + channel.len() + parts.data.len() + 64 * parts.ext.len());
        out.extend_from_slice(b"{\"channel\":");
        string(&channel, &mut out);
        if let Some(id) = parts.id {
            out.extend_from_slice(b",\"id\":");
            string(id, &mut out);
        }
        if let Some(successful) = parts.successful {
            out.extend_from_slice(if successful { b",\"successful\":true" } else { b",\"successful\":false" });
        }
        for (name, raw) in parts.other {
            out.push(b',');
            string(name, &mut out);
            out.push(b':');
            out.extend_from_slice(raw);
        }
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(if parts.data.is_empty() { b"null" } else { parts.data });
        object_field("ext", parts.ext, &mut out);
        out.push(b'}');
        Delivery { channel, json: out.into(), lazy: parts.lazy, framed: Default::default(), read: OnceLock::new() }
    }

    /// Serializes a message as it is, but for its `clientId`, which is nobody's business, and for what the client's own
    /// words for it are not (`id` unless it is a good one).
    pub fn of(message: &Message) -> Self {
        let id = match &message.id {
            Some(MessageId::Valid(id)) => Some(&**id),
            _ => None,
        };
        let named = [("advice", &message.advice), ("subscription", &message.subscription), ("ext", &message.ext)];
        let mut other = message.other.clone();
        other.extend(named.into_iter().filter_map(|(name, raw)| Some((name.into(), raw.clone()?))));
        let data = message.data.as_deref().unwrap_or_default();
        let channel = message.channel.clone().unwrap_or_default();
        Delivery::new(channel, &DeliveryParts { id, data, other: &other, ..Default::default() })
    }

    /// The same message, changed.
    pub fn changed(&self, message: &Message) -> Self {
        Delivery { lazy: self.lazy, ..Delivery::of(message) }
    }

    /// It as a message again, for extensions: read by the first who needs it.
    pub fn message(&self) -> &Message {
        self.read.get_or_init(|| {
            let read = message::parse(&self.json).ok().and_then(|mut messages| messages.pop());
            Box::new(read.unwrap_or_else(|| Message { channel: Some(self.channel.clone()), ..Message::default() }))
        })
    }

    /// A delivery whose JSON is known.
    pub(crate) fn fixed(channel: &'static str, json: &'static str) -> Self {
        let json = Bytes::from_static(json.as_bytes());
        Delivery {
            channel: ByteString::from_static(channel),
            json,
            lazy: None,
            framed: Default::default(),
            read: OnceLock::new(),
        }
    }

    /// The same, as lazy as that: see [`DeliveryParts::lazy`].
    pub fn with_lazy(self, lazy: Option<Duration>) -> Self {
        Delivery { lazy, ..self }
    }

    /// How long it may wait for company, if it may: see [`DeliveryParts::lazy`].
    pub fn lazy(&self) -> Option<Duration> {
        self.lazy
    }

    /// The channel it is on.
    pub fn channel(&self) -> &ByteString {
        &self.channel
    }

    /// The JSON object.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// What it counts against a queue's bound, in bytes.
    pub fn weight(&self) -> usize {
        self.json.len() + 64
    }

    /// The JSON object in a transport's framing, made by the first who needs it and shared by the rest.
    pub fn framed(&self, framing: Framing, frame: impl FnOnce(&[u8]) -> Bytes) -> &Bytes {
        self.framed[framing as usize].get_or_init(|| frame(&self.json))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_verbatim_and_never_missing() {
        let delivery = Delivery::new("/a".into(), &DeliveryParts { data: b"{\"x\" : 1.0}", ..Default::default() });
        assert_eq!(delivery.json(), &r#"{"channel":"/a","data":{"x" : 1.0}}"#);
        let empty = Delivery::new("/a".into(), &DeliveryParts::default());
        assert_eq!(empty.json(), &r#"{"channel":"/a","data":null}"#);
    }

    #[test]
    fn an_answer_has_the_id_and_outcome_that_remote_calls_look_for() {
        let answer = Delivery::new(
            "/service/x".into(),
            &DeliveryParts { id: Some("4"), successful: Some(false), data: b"\"no\"", ..Default::default() },
        );
        assert_eq!(answer.json(), &r#"{"channel":"/service/x","id":"4","successful":false,"data":"no"}"#);
    }
}
