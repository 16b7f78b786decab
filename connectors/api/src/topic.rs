//! How a broker writes its topics: separator, escapes, wildcards. Data, so that the mapping knows no broker by name.
//!
//! The law (tested for every connector): for any value `v` that is one channel segment,
//! `decode(encode(v)) == v`, `encode(v)` holds no separator and no wildcard, and two values never share a token.

use std::fmt::Write as _;
use thiserror::Error;

/// The topic rules of one kind of broker.
#[derive(Debug)]
pub struct TopicSyntax {
    /// Between tokens: `.` for Kafka and NATS, `/` for MQTT.
    pub separator: u8,
    /// What an escape begins with; two upper-case hex digits follow: `_x` for Kafka, `%` for NATS and MQTT.
    pub introducer: &'static str,
    /// Whether this byte of a value may stand for itself; the flag says whether it is the first byte of its token.
    pub literal: fn(byte: u8, first: bool) -> bool,
    /// Whether a whole topic may be one: says why not. For text that the config's author wrote as well as for results.
    pub check: fn(topic: &str) -> Result<(), &'static str>,
    /// The broker's own wildcards with what to write instead, such as `("+", "{name}")`.
    pub wildcards: &'static [(&'static str, &'static str)],
    /// `**` may stand as the last token of a topic.
    pub rest: bool,
}

/// Why a topic cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TopicError {
    /// A value is empty, so that its token would be.
    #[error("a topic token would be empty")]
    EmptyToken,
    /// The broker's own rule.
    #[error("{0}")]
    Broken(&'static str),
}

impl TopicSyntax {
    /// Writes `value` as (part of) one token. `first`: nothing precedes it in its token. `cut`: a byte that must not
    /// appear because the template cuts there.
    pub fn encode(&self, value: &str, first: bool, cut: Option<u8>, out: &mut String) {
        let bytes = value.as_bytes();
        let mut plain = 0; // start of the run that stands for itself
        for (i, &byte) in bytes.iter().enumerate() {
            let fine = byte != self.separator
                && Some(byte) != cut
                && (self.literal)(byte, first && i == 0)
                && !self.escape_at(&bytes[i..]);
            if !fine {
                out.push_str(value.get(plain..i).unwrap_or_default());
                let _ = write!(out, "{}{byte:02X}", self.introducer);
                plain = i + 1;
            }
        }
        out.push_str(value.get(plain..).unwrap_or_default());
    }

    /// Reads a token (or the part of one that a value took) back; `None` when it is not UTF-8 after decoding. That
    /// `encode` gives the same token again is for the caller to check: a foreign name may not.
    pub fn decode(&self, token: &str) -> Option<String> {
        let bytes = token.as_bytes();
        let mut out = Vec::with_capacity(bytes.len());
        let mut i = 0;
        while i < bytes.len() {
            if self.escape_at(&bytes[i..]) {
                let at = i + self.introducer.len();
                out.push(hex(bytes[at])? << 4 | hex(bytes[at + 1])?);
                i = at + 2;
            } else {
                out.push(bytes[i]);
                i += 1;
            }
        }
        String::from_utf8(out).ok()
    }

    /// How many bytes at the start of `bytes` are one escape, else 0.
    pub fn escape_len(&self, bytes: &[u8]) -> usize {
        if self.escape_at(bytes) { self.introducer.len() + 2 } else { 0 }
    }

    fn escape_at(&self, bytes: &[u8]) -> bool {
        let n = self.introducer.len();
        bytes.len() >= n + 2
            && bytes.starts_with(self.introducer.as_bytes())
            && hex(bytes[n]).is_some()
            && hex(bytes[n + 1]).is_some()
    }

    /// The tokens of a topic.
    pub fn tokens<'a>(&self, topic: &'a str) -> std::str::Split<'a, char> {
        topic.split(char::from(self.separator))
    }
}

fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// One token of a filter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FilterToken {
    /// Exactly this.
    Literal(String),
    /// Any token that begins and ends so, with at least one byte between. Both empty: any token.
    Wild {
        /// It begins with.
        prefix: String,
        /// It ends with.
        suffix: String,
    },
}

impl FilterToken {
    /// Whether a token fits.
    pub fn matches(&self, token: &str) -> bool {
        match self {
            FilterToken::Literal(literal) => literal == token,
            FilterToken::Wild { prefix, suffix } => {
                token.len() > prefix.len() + suffix.len()
                    && token.starts_with(prefix.as_str())
                    && token.ends_with(suffix.as_str())
            }
        }
    }
}

/// Which topics to read: exact ones, or a family. The mapping checks each topic again by its template, so a filter may
/// match a little more than the template does, never less.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TopicFilter {
    /// The tokens, in order.
    pub tokens: Vec<FilterToken>,
    /// One or more further tokens follow (`**`).
    pub rest: bool,
}

impl TopicFilter {
    /// Exactly this topic.
    pub fn exact(topic: &str, syntax: &TopicSyntax) -> Self {
        TopicFilter { tokens: syntax.tokens(topic).map(|t| FilterToken::Literal(t.to_owned())).collect(), rest: false }
    }

    /// The topic, if the filter is one exact name.
    pub fn as_exact(&self, syntax: &TopicSyntax) -> Option<String> {
        let mut topic = String::new();
        for (i, token) in self.tokens.iter().enumerate() {
            let FilterToken::Literal(literal) = token else { return None };
            if i > 0 {
                topic.push(char::from(syntax.separator));
            }
            topic.push_str(literal);
        }
        (!self.rest).then_some(topic)
    }

    /// The filter in the broker's own notation: `any` for one token (`*`, `+`), `rest` for all that follow (`>`, `#`).
    pub fn native(&self, syntax: &TopicSyntax, any: &str, rest: &str) -> String {
        let mut tokens: Vec<&str> = self
            .tokens
            .iter()
            .map(|t| match t {
                FilterToken::Literal(literal) => literal.as_str(),
                FilterToken::Wild { .. } => any,
            })
            .collect();
        if self.rest {
            tokens.push(rest);
        }
        tokens.join(std::str::from_utf8(&[syntax.separator]).unwrap_or("."))
    }

    /// Whether a topic fits.
    pub fn matches(&self, topic: &str, syntax: &TopicSyntax) -> bool {
        let mut tokens = syntax.tokens(topic);
        for expected in &self.tokens {
            match tokens.next() {
                Some(token) if expected.matches(token) => {}
                _ => return false,
            }
        }
        tokens.next().is_some() == self.rest
    }
}
