//! From a record to the channel of its message.

use super::CHANNEL_HEADER;
use super::pattern::assemble;
use super::segment::encode_segment;
use super::source::Source;
use super::table::{Key, Mapping, Table, Text, is_mappable};
use super::token::{Foreign, TEXT, read_value};
use bayeux::channel::ChannelName;
use bytestring::ByteString;
use connector::Inbound;
use std::borrow::Cow;
use thiserror::Error;

/// Why a record gives no message of a mapping.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EgressError {
    /// The topic is not one of the mapping's: the filter let a little more through. Pass over it in silence.
    #[error("the topic is not of this mapping")]
    OtherTopic,
    /// The earlier egress mapping of this index has the channel. Pass over it and count it.
    #[error("{channel} belongs to mapping {by}")]
    Shadowed {
        /// The channel.
        channel: ChannelName,
        /// The mapping that has it.
        by: usize,
    },
    /// The record cannot become a message: the mapping's `on_error` says what now.
    #[error(transparent)]
    Poison(#[from] Poison),
}

/// Why a record cannot become a message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Poison {
    /// No channel gives this topic by the mapping's template.
    #[error("no channel has this topic: a name in it is empty or not escaped as the gateway would")]
    Topic,
    /// No channel gives this key by the mapping's template.
    #[error("no channel has this key")]
    Key,
    /// No channel gives this header by the mapping's template, or it is not what the gateway writes there.
    #[error("no message has this value of the header {0}")]
    Header(String),
    /// A name has no value, as the record has no key or no such header.
    #[error("{{{0}}} has no value: the record lacks the key or the header that holds it")]
    Name(String),
    /// The mapping's topic does not hold what `**` stands for, and the record does not say.
    #[error("the record lacks a header {CHANNEL_HEADER} with a channel of this mapping")]
    Rest,
    /// The channel would be one of the protocol or of a service.
    #[error("{0} is not a broadcast channel")]
    NotBroadcast(String),
    /// The format is `json`, and the value is none.
    #[error("value is not JSON: {0}")]
    NotJson(String),
    /// The format is `text`, and the value is not UTF-8.
    #[error("value is not UTF-8 text")]
    NotText,
}

impl Poison {
    /// One word for a metric.
    pub fn reason(&self) -> &'static str {
        match self {
            Poison::Topic => "topic",
            Poison::Key => "key",
            Poison::Header(_) => "header",
            Poison::Name(_) => "name",
            Poison::Rest => "rest",
            Poison::NotBroadcast(_) => "not_broadcast",
            Poison::NotJson(_) => "not_json",
            Poison::NotText => "not_text",
        }
    }
}

impl Table {
    /// The channel of a record that was read for the mapping of that index.
    ///
    /// # Errors
    /// See [`EgressError`].
    pub fn egress(&self, index: usize, record: &Inbound) -> Result<ChannelName, EgressError> {
        let mapping = self.get(index).filter(|m| m.spec.direction.is_egress()).ok_or(EgressError::OtherTopic)?;
        let channel = mapping.channel_of(record)?;
        let earlier = mapping.earlier.iter().find(|&&i| self.mappings[i].pattern.matches(channel.as_str()));
        match earlier {
            Some(&by) => Err(EgressError::Shadowed { channel, by }),
            None => Ok(channel),
        }
    }
}

/// Segments of a channel, as far as a record tells them.
struct Bound<'r> {
    names: Vec<Option<Cow<'r, str>>>,
    rest: Option<String>,
}

impl<'r> Bound<'r> {
    /// Takes a value; `false` when another was taken before.
    fn take(&mut self, source: &Source, value: Cow<'r, str>) -> bool {
        let Source::Name(i) = source else { return true };
        let segment = match value {
            Cow::Borrowed(value) => encode_segment(value),
            Cow::Owned(value) => Cow::Owned(encode_segment(&value).into_owned()),
        };
        match self.names.get_mut(*i) {
            Some(Some(taken)) => *taken == segment,
            Some(free) => {
                *free = Some(segment);
                true
            }
            None => false,
        }
    }

    fn lacks_names(&self) -> bool {
        self.names.iter().any(Option::is_none)
    }

    /// Whether `channel` is one of the mapping's that fits what is bound.
    fn agrees(&self, mapping: &Mapping, channel: &ChannelName) -> bool {
        let Some(captures) = mapping.pattern.captures(channel.as_str()) else { return false };
        let names = self.names.iter().zip(&captures.names).all(|(a, b)| a.as_deref().is_none_or(|a| a == *b));
        names && self.rest.as_deref().is_none_or(|rest| captures.rest == Some(rest))
    }
}

impl Mapping {
    fn channel_of(&self, record: &Inbound) -> Result<ChannelName, EgressError> {
        let mut bound = Bound { names: vec![None; self.pattern.names().count()], rest: None };
        self.bind_topic(&record.topic, &mut bound)?;
        if bound.lacks_names() {
            self.bind_key(record, &mut bound)?;
        }
        if bound.lacks_names() {
            self.bind_headers(record, &mut bound)?;
        }
        let named = record.header(CHANNEL_HEADER).and_then(|value| concrete(value));
        if let Some(channel) = named.filter(|channel| bound.agrees(self, channel)) {
            return Ok(channel);
        }
        if self.pattern.has_rest() && bound.rest.is_none() {
            return Err(Poison::Rest.into());
        }
        if let (true, Key::Channel, Some(key)) = (bound.lacks_names(), &self.key, &record.key) {
            let channel = concrete(key).filter(|channel| bound.agrees(self, channel));
            return channel.ok_or_else(|| Poison::Key.into());
        }
        let missing = self.pattern.names().zip(&bound.names).find(|(_, value)| value.is_none());
        if let Some((name, _)) = missing {
            return Err(Poison::Name(name.to_owned()).into());
        }
        let name = |i: usize| bound.names.get(i).and_then(Option::as_deref);
        let channel = assemble(&self.pattern, name, bound.rest.as_deref()).unwrap_or_default();
        concrete(channel.as_bytes()).ok_or_else(|| Poison::NotBroadcast(channel).into())
    }

    fn bind_topic<'r>(&self, topic: &'r ByteString, bound: &mut Bound<'r>) -> Result<(), EgressError> {
        if let Some(fixed) = &self.topic.fixed {
            return if fixed == topic { Ok(()) } else { Err(EgressError::OtherTopic) };
        }
        let syntax = self.traits.syntax;
        if !self.filter.matches(topic, syntax) {
            return Err(EgressError::OtherTopic);
        }
        let mut given = syntax.tokens(topic);
        for token in &self.topic.tokens {
            let text = given.next().ok_or(EgressError::OtherTopic)?;
            token.invert(syntax, text, |source, value| bound.take(source, value)).map_err(|Foreign| Poison::Topic)?;
        }
        if self.topic.rest {
            let mut rest = String::with_capacity(topic.len());
            for (i, text) in given.enumerate() {
                if i > 0 {
                    rest.push('/');
                }
                let value = read_value(syntax, text, true, None).map_err(|Foreign| Poison::Topic)?;
                rest.push_str(&encode_segment(&value));
            }
            bound.rest = Some(rest);
        }
        Ok(())
    }

    fn bind_key<'r>(&self, record: &'r Inbound, bound: &mut Bound<'r>) -> Result<(), Poison> {
        match (&self.key, &record.key) {
            (Key::Template(text), Some(key)) => bind_text(text, key, bound).map_err(|Foreign| Poison::Key),
            _ => Ok(()),
        }
    }

    fn bind_headers<'r>(&self, record: &'r Inbound, bound: &mut Bound<'r>) -> Result<(), Poison> {
        for (name, text) in &self.headers {
            let binds = !text.sources().iter().all(|source| source.is_dynamic());
            if let (true, Some(value)) = (binds, record.header(name)) {
                bind_text(text, value, bound).map_err(|Foreign| Poison::Header(name.to_string()))?;
            }
        }
        Ok(())
    }
}

/// Reads a key or a header back.
fn bind_text<'r>(text: &Text, written: &'r [u8], bound: &mut Bound<'r>) -> Result<(), Foreign> {
    let read = || std::str::from_utf8(written).map_err(|_| Foreign);
    match text {
        Text::Literal(_) => Ok(()),
        Text::Raw(source) => {
            let value = read()?;
            let fine = !value.is_empty() && bound.take(source, Cow::Borrowed(value));
            if fine { Ok(()) } else { Err(Foreign) }
        }
        Text::Composite { token, .. } => token.invert(&TEXT, read()?, |source, value| bound.take(source, value)),
    }
}

/// The channel of that name, if it is one that a mapping can have, written as it is.
fn concrete(name: &[u8]) -> Option<ChannelName> {
    let name = std::str::from_utf8(name).ok()?;
    let channel = ChannelName::parse(&ByteString::from(name)).ok()?;
    (channel.as_str() == name && is_mappable(&channel)).then_some(channel)
}
