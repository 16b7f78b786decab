//! From a publish to a record: topic, key, partition and headers.

use super::CHANNEL_HEADER;
use super::segment::decode_segment;
use super::source::{NoValue, Source, Sources};
use super::table::{Key, Mapping, Text};
use super::token::{TEXT, Token};
use bayeux::channel::{Captures, ChannelName};
use bytes::Bytes;
use bytestring::ByteString;
use connector::{Headers, TopicSyntax};
use std::borrow::Cow;
use thiserror::Error;

/// A publish and the mapping that takes it.
#[derive(Debug)]
pub struct Route<'t, 'c> {
    /// The mapping.
    pub mapping: &'t Mapping,
    /// The channel.
    pub channel: &'c ChannelName,
    /// What the mapping's pattern bound in it.
    pub captures: Captures<'c>,
}

/// Where a record goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The topic, escaped and found good.
    pub topic: ByteString,
    /// The key; `None` where the broker has none.
    pub key: Option<Bytes>,
    /// The configured partition.
    pub partition: Option<i32>,
    /// `bayeux-channel` and the configured headers; empty where the broker has none.
    pub headers: Headers,
}

/// Why a publish cannot become a record. All are the publisher's to mend: `400`, do not retry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RenderError {
    /// A template needs a value that the publish does not bring.
    #[error("{{{0}}} has no value: it is absent, empty, or neither text, number nor boolean")]
    ValueMissing(String),
    /// The broker cannot have a topic of that name.
    #[error("topic {topic:?} cannot be: {reason}")]
    TopicInvalid {
        /// As it came out.
        topic: String,
        /// The broker's rule.
        reason: &'static str,
    },
    /// A channel segment is not the canonical spelling of its value.
    #[error("channel segment {0:?} is another spelling of a value, and would share its topic")]
    ChannelInvalid(String),
    /// Two channels would share this key.
    #[error("key {0:?} reads back as another value")]
    KeyInvalid(String),
    /// A header's value holds control characters, or reads back as another value.
    #[error("header {0} cannot hold its value")]
    HeaderInvalid(String),
    /// The data is not what the mapping's format takes.
    #[error("data must be {0}")]
    DataInvalid(&'static str),
}

impl RenderError {
    /// The number of the error string.
    pub fn code(&self) -> u16 {
        400
    }

    /// The text of the error string.
    pub fn text(&self) -> &'static str {
        match self {
            RenderError::ValueMissing(_) => "value_missing",
            RenderError::TopicInvalid { .. } => "topic_invalid",
            RenderError::ChannelInvalid(_) => "channel_invalid",
            RenderError::KeyInvalid(_) => "key_invalid",
            RenderError::HeaderInvalid(_) => "header_invalid",
            RenderError::DataInvalid(_) => "data_invalid",
        }
    }

    /// The whole error string: `400:<channel>:topic_invalid`. The details are for the log ([`std::fmt::Display`]).
    pub fn error_string(&self, channel: &str) -> String {
        format!("{}:{channel}:{}", self.code(), self.text())
    }
}

impl Route<'_, '_> {
    /// Makes topic, key, partition and headers.
    ///
    /// # Errors
    /// See [`RenderError`].
    pub fn render(&self, sources: &Sources<'_>) -> Result<Rendered, RenderError> {
        let mapping = self.mapping;
        Ok(Rendered {
            topic: self.topic(sources)?,
            key: match &mapping.key {
                Key::None => None,
                Key::Channel => Some(self.channel.as_bytestring().as_bytes().clone()),
                Key::Template(text) => Some(self.text(text, sources, RenderError::KeyInvalid)?),
            },
            partition: mapping.spec.partition,
            headers: self.headers(sources)?,
        })
    }

    fn topic(&self, sources: &Sources<'_>) -> Result<ByteString, RenderError> {
        let topic = &self.mapping.topic;
        if let Some(fixed) = &topic.fixed {
            return Ok(fixed.clone());
        }
        let syntax = self.mapping.traits.syntax;
        let mut out = String::with_capacity(self.mapping.spec.topic.len() + self.channel.as_str().len());
        for (i, token) in topic.tokens.iter().enumerate() {
            if i > 0 {
                out.push(char::from(syntax.separator));
            }
            let start = out.len();
            token.render(syntax, |source| self.value(source, sources), &mut out)?;
            let written = out.get(start..).unwrap_or_default();
            if topic.delicate && !self.reads_back(token, syntax, written, sources) {
                return Err(RenderError::TopicInvalid { topic: out, reason: "it reads back as another value" });
            }
        }
        if topic.rest {
            for (i, segment) in self.captures.rest.unwrap_or_default().split('/').enumerate() {
                if i > 0 || !topic.tokens.is_empty() {
                    out.push(char::from(syntax.separator));
                }
                let value = decode_segment(segment).ok_or_else(|| RenderError::ChannelInvalid(segment.to_owned()))?;
                syntax.encode(&value, true, None, &mut out);
            }
        }
        match (syntax.check)(&out) {
            Ok(()) => Ok(out.into()),
            Err(reason) => Err(RenderError::TopicInvalid { topic: out, reason }),
        }
    }

    fn headers(&self, sources: &Sources<'_>) -> Result<Headers, RenderError> {
        if !self.mapping.traits.capabilities.headers {
            return Ok(Headers::new());
        }
        let configured = &self.mapping.headers;
        // Room for what the bridge adds: origin, user, trace.
        let mut headers = Headers::with_capacity(configured.len() + 5);
        headers.push((ByteString::from_static(CHANNEL_HEADER), self.channel.as_bytestring().as_bytes().clone()));
        for (name, text) in configured {
            let invalid = |_| RenderError::HeaderInvalid(name.to_string());
            let value = self.text(text, sources, invalid)?;
            if !matches!(text, Text::Literal(_)) && has_control(&value) {
                return Err(RenderError::HeaderInvalid(name.to_string()));
            }
            headers.push((name.clone(), value));
        }
        Ok(headers)
    }

    /// A key or a header; `invalid` tells what was written when it does not read back.
    fn text(
        &self,
        text: &Text,
        sources: &Sources<'_>,
        invalid: impl FnOnce(String) -> RenderError,
    ) -> Result<Bytes, RenderError> {
        match text {
            Text::Literal(bytes) => Ok(bytes.clone()),
            Text::Raw(source) => Ok(self.value(source, sources)?.into_owned().into()),
            Text::Composite { token, delicate } => {
                let mut out = String::with_capacity(64);
                token.render(&TEXT, |source| self.value(source, sources), &mut out)?;
                if *delicate && !self.reads_back(token, &TEXT, &out, sources) {
                    return Err(invalid(out));
                }
                Ok(out.into())
            }
        }
    }

    fn value<'v>(&'v self, source: &Source, sources: &'v Sources<'v>) -> Result<Cow<'v, str>, RenderError> {
        sources.value(source, &self.captures).map_err(|no| match (no, source) {
            (NoValue::NotCanonical, Source::Name(i)) => {
                RenderError::ChannelInvalid(self.captures.names.get(*i).copied().unwrap_or_default().to_owned())
            }
            _ => {
                let names: Vec<&str> = self.mapping.pattern.names().collect();
                RenderError::ValueMissing(source.describe(&names))
            }
        })
    }

    /// Whether each value is found again in what was written.
    fn reads_back(&self, token: &Token, syntax: &TopicSyntax, written: &str, sources: &Sources<'_>) -> bool {
        let same = |source: &Source, value: Cow<'_, str>| self.value(source, sources).is_ok_and(|v| v == value);
        token.invert(syntax, written, same).is_ok()
    }
}

/// Whether a header's value holds a control character, which could end the header early.
pub(super) fn has_control(value: &[u8]) -> bool {
    std::str::from_utf8(value).map_or(true, |text| text.chars().any(char::is_control))
}
