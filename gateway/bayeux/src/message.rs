//! What a client sends: an envelope of messages, read once, its values kept as the client wrote them.
//!
//! The envelope's own few fields are decoded; `data`, `ext` and every unknown field stay raw JSON text, shared slices
//! of the request's body. What a client sent is what a broker stores, byte for byte.

use bytes::Bytes;
use bytestring::ByteString;
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use thiserror::Error;

mod edit;
mod number;

/// The body is no envelope: not JSON, or not an array of objects (nor one object).
#[derive(Debug, Error)]
#[error("not a JSON array of Bayeux messages: {0}")]
pub struct Malformed(String);

/// A message id as the client sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageId {
    /// A valid one: letters and digits. CometD takes `7` and `true` too, and answers them as strings.
    Valid(ByteString),
    /// Anything else, as text: answered with `405::message_id_invalid` and that id. Numbers are as Java writes them:
    /// those without a point or an exponent have 64 bits and overflow, the others always have a point.
    Invalid(ByteString),
}

/// One message of an envelope. Absent fields are `None`; so are fields of JSON `null`, but for `ext`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// `channel`, if it is a string.
    pub channel: Option<ByteString>,
    /// `clientId`, if it is a string.
    pub client_id: Option<ByteString>,
    /// `id`.
    pub id: Option<MessageId>,
    /// `data`, raw JSON.
    pub data: Option<Bytes>,
    /// `ext`, raw JSON; a `null` too, as subscribers get what the publisher wrote.
    pub ext: Option<Bytes>,
    /// `advice`, raw JSON.
    pub advice: Option<Bytes>,
    /// `subscription`, raw JSON: a string or an array of strings.
    pub subscription: Option<Bytes>,
    /// Every other field, raw, in order.
    pub other: Vec<(ByteString, Bytes)>,
}

impl Message {
    /// A field of `ext`, raw JSON.
    pub fn ext_field(&self, name: &str) -> Option<Bytes> {
        let ext = self.ext.as_ref()?;
        let mut found = None;
        let mut deserializer = serde_json::Deserializer::from_slice(ext);
        let seed = FieldSeed { name, found: &mut found };
        seed.deserialize(&mut deserializer).ok()?;
        found.map(|raw: &RawValue| slice(ext, raw.get()))
    }

    /// A field of `ext` that is a string.
    pub fn ext_string(&self, name: &str) -> Option<String> {
        serde_json::from_slice(&self.ext_field(name)?).ok()
    }

    /// The client's `advice` numbers, in milliseconds: `timeout` and `interval`.
    pub fn client_advice(&self) -> Option<ClientAdvice> {
        self.advice.as_ref().map(|raw| serde_json::from_slice(raw).unwrap_or_default())
    }

    /// The channels of `subscription`; `None` when it is neither a string nor an array of strings.
    pub fn subscriptions(&self) -> Option<Vec<ByteString>> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum OneOrMany {
            One(String),
            Many(Vec<String>),
        }
        Some(match serde_json::from_slice(self.subscription.as_ref()?).ok()? {
            OneOrMany::One(one) => vec![one.into()],
            OneOrMany::Many(many) => many.into_iter().map(ByteString::from).collect(),
        })
    }
}

/// What a client advises for one connect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ClientAdvice {
    /// How long the server may hold this connect, in milliseconds.
    #[serde(deserialize_with = "lenient")]
    pub timeout: Option<u64>,
    /// How long the client will wait before the next, in milliseconds.
    #[serde(deserialize_with = "lenient")]
    pub interval: Option<u64>,
}

fn lenient<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str::<f64>(value.get()).ok().filter(|n| *n >= 0.0).map(|n| n as u64))
}

/// Reads an envelope: an array of messages, or one bare message.
///
/// # Errors
/// [`Malformed`] when any part of the body is not that.
pub fn parse(body: &Bytes) -> Result<Vec<Message>, Malformed> {
    let text = std::str::from_utf8(body).map_err(|e| Malformed(e.to_string()))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let messages = serde::Deserializer::deserialize_any(&mut deserializer, EnvelopeVisitor(body))
        .and_then(|messages| deserializer.end().map(|()| messages));
    messages.map_err(|e| Malformed(e.to_string()))
}

/// `part` is a slice of `whole`'s text, shared without a copy.
fn slice(whole: &Bytes, part: &str) -> Bytes {
    whole.slice_ref(part.as_bytes())
}

fn text(whole: &Bytes, raw: &RawValue) -> Option<ByteString> {
    let raw = raw.get();
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str::<String>(raw).ok().or_else(|| with_lone_surrogates(raw)).map(ByteString::from)
    } else {
        ByteString::try_from(slice(whole, inner)).ok()
    }
}

/// A JSON string that has halves of surrogate pairs, which are no characters: `?` in their place, as Java writes them.
fn with_lone_surrogates(raw: &str) -> Option<String> {
    struct Lossy;
    impl Visitor<'_> for Lossy {
        type Value = String;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }
        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<String, E> {
            // serde_json gives such a half as three bytes that are no UTF-8.
            let text = bytes.utf8_chunks().map(|chunk| match chunk.invalid() {
                [0xED] => [chunk.valid(), "?"].concat(),
                _ => chunk.valid().to_owned(),
            });
            Ok(text.collect())
        }
    }
    serde::Deserializer::deserialize_bytes(&mut serde_json::Deserializer::from_str(raw), Lossy).ok()
}

fn message_id(whole: &Bytes, raw: &RawValue) -> MessageId {
    let as_written = || ByteString::try_from(slice(whole, raw.get())).unwrap_or_default();
    let id = text(whole, raw).or_else(|| number::as_java_writes(raw.get())).unwrap_or_else(as_written);
    let good = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric());
    if good { MessageId::Valid(id) } else { MessageId::Invalid(id) }
}

struct EnvelopeVisitor<'a>(&'a Bytes);

impl<'de> Visitor<'de> for EnvelopeVisitor<'_> {
    type Value = Vec<Message>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut messages = Vec::with_capacity(1);
        while let Some(message) = seq.next_element_seed(MessageSeed(self.0))? {
            messages.push(message);
        }
        Ok(messages)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        MessageSeed(self.0).visit_map(map).map(|message| vec![message])
    }
}

struct MessageSeed<'a>(&'a Bytes);

impl<'de> DeserializeSeed<'de> for MessageSeed<'_> {
    type Value = Message;
    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Message, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MessageSeed<'_> {
    type Value = Message;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Message, A::Error> {
        let whole = self.0;
        let mut message = Message::default();
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let raw: &'de RawValue = map.next_value()?;
            let present = raw.get() != "null";
            let shared = || present.then(|| slice(whole, raw.get()));
            match &*key {
                "channel" => message.channel = text(whole, raw),
                "clientId" => message.client_id = text(whole, raw),
                "id" => message.id = present.then(|| message_id(whole, raw)),
                "data" => message.data = shared(),
                "ext" => message.ext = Some(slice(whole, raw.get())),
                "advice" => message.advice = shared(),
                "subscription" => message.subscription = shared(),
                _ => message.other.push((ByteString::from(&*key), slice(whole, raw.get()))),
            }
        }
        Ok(message)
    }
}

struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Cow<'de, str>;
    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = Cow<'de, str>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }
    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }
    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

struct FieldSeed<'n, 'f, 'de> {
    name: &'n str,
    found: &'f mut Option<&'de RawValue>,
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_, '_, 'de> {
    type Value = ();
    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for FieldSeed<'_, '_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let raw: &'de RawValue = map.next_value()?;
            if key == self.name {
                *self.found = Some(raw);
            }
        }
        Ok(())
    }
}

#[cfg(any(test, feature = "fuzzing"))]
pub mod property;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Fuzzing that needs no special toolchain: the fuzz target's property over its corpus, each of its beginnings, and
    /// each with one byte changed.
    #[test]
    fn the_property_holds_for_the_corpus_and_what_is_near_it() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/envelope");
        let files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|f| std::fs::read(f.unwrap().path()).unwrap()).collect();
        assert!(files.len() >= 15, "the corpus has {} files", files.len());
        for input in files {
            for end in 0..=input.len() {
                property::check(&input[..end]);
            }
            for at in 0..input.len() {
                for with in [b'"', b'\\', b'{', b'0', 0xFF] {
                    let mut changed = input.clone();
                    changed[at] = with;
                    property::check(&changed);
                }
            }
        }
    }

    fn one(text: &str) -> Message {
        parse(&Bytes::copy_from_slice(text.as_bytes())).unwrap().remove(0)
    }

    #[test]
    fn data_stays_as_the_client_wrote_it() {
        let message = one(r#"[{"channel":"/a","data": {"b" : 1.10, "a":[1 ,2], "a":3},"clientId":"x","id":7}]"#);
        assert_eq!(message.data.unwrap(), r#"{"b" : 1.10, "a":[1 ,2], "a":3}"#);
        assert_eq!(message.id, Some(MessageId::Valid("7".into())));
    }

    #[test]
    fn fields_of_a_wrong_type_are_absent_and_ids_are_checked() {
        let message = one(r#"{"channel":5,"clientId":[],"id":"id-1","data":null}"#);
        assert_eq!(message.channel, None);
        assert_eq!(message.client_id, None);
        assert_eq!(message.id, Some(MessageId::Invalid("id-1".into())));
        assert_eq!(message.data, None);
    }

    #[test]
    fn an_ext_of_null_is_kept() {
        let message = one(r#"{"channel":"/a","ext": null}"#);
        assert_eq!(message.ext.as_deref(), Some(&b"null"[..]));
        assert_eq!(message.ext_field("ack"), None);
    }

    #[test]
    fn escapes_in_names_and_values_are_read() {
        let message = one(r#"[{"chann\u0065l":"\/a\u002fb","x":1}]"#);
        assert_eq!(message.channel.unwrap(), "/a/b");
        assert_eq!(message.other[0].0, "x");
    }

    #[test]
    fn halves_of_surrogate_pairs_are_question_marks() {
        let message = one(r#"{"channel":"/\ud800a\udc00","id":"\ud83d\ude00\udbff"}"#);
        assert_eq!(message.channel.unwrap(), "/?a?");
        assert_eq!(message.id, Some(MessageId::Invalid("\u{1F600}?".into())));
    }

    #[test]
    fn what_is_no_envelope_is_malformed() {
        for bad in ["", "[", "[1]", "1", "\"x\"", "[{}] x", "[{\"a\":}]", "[{}{}]", "[[{}]]"] {
            assert!(parse(&Bytes::copy_from_slice(bad.as_bytes())).is_err(), "{bad}");
        }
        assert!(parse(&Bytes::from_static(b"[]")).unwrap().is_empty());
        assert!(parse(&Bytes::from_static(b"\xff")).is_err());
    }

    #[test]
    fn a_very_deep_value_is_skipped_without_recursion() {
        let deep = format!("[{{\"channel\":\"/a\",\"data\":{}{}}}]", "[".repeat(50_000), "]".repeat(50_000));
        let _ = parse(&Bytes::from(deep));
    }

    #[test]
    fn ext_fields_and_advice_are_found() {
        let message =
            one(r#"{"ext":{"ack":true,"s":"x"},"advice":{"timeout":0,"interval":"no"},"subscription":["/a","/b"]}"#);
        assert_eq!(message.ext_field("ack").unwrap(), "true");
        assert_eq!(message.ext_string("s").unwrap(), "x");
        assert_eq!(message.ext_field("none"), None);
        assert_eq!(message.client_advice().unwrap(), ClientAdvice { timeout: Some(0), interval: None });
        assert_eq!(message.subscriptions().unwrap().len(), 2);
        assert_eq!(one(r#"{"subscription":[1]}"#).subscriptions(), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&Bytes::from(body));
        }
    }
}
