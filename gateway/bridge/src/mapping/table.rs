//! The table itself: the mappings in file order, and which of them takes a channel or a subscription.

use super::render::Route;
use super::source::Source;
use super::spec::{ConnectorTraits, Direction, MappingSpec};
use super::template::Part;
use super::token::{TEXT, Token};
use bayeux::channel::{ChannelName, ChannelPattern, Class};
use bytes::Bytes;
use bytestring::ByteString;
use connector::{Capabilities, TopicFilter, TopicSyntax};
use std::collections::HashMap;

/// All mappings, compiled. Immutable.
#[derive(Debug)]
pub struct Table {
    pub(super) mappings: Vec<Mapping>,
    ingest: Index,
    egress: Index,
}

/// One mapping, compiled.
#[derive(Debug)]
pub struct Mapping {
    pub(super) index: usize,
    pub(super) spec: MappingSpec,
    pub(super) traits: ConnectorTraits,
    pub(super) pattern: ChannelPattern,
    pub(super) topic: Topic,
    pub(super) key: Key,
    pub(super) headers: Vec<(ByteString, Text)>,
    pub(super) filter: TopicFilter,
    /// Earlier egress mappings that may take a channel of this one.
    pub(super) earlier: Vec<usize>,
}

/// How a topic is made.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) tokens: Vec<Token>,
    /// `**` follows the tokens.
    pub(super) rest: bool,
    /// The topic, when it is one.
    pub(super) fixed: Option<ByteString>,
    /// What is written must be read back before it is believed.
    pub(super) delicate: bool,
}

/// How a key is made.
#[derive(Debug)]
pub(super) enum Key {
    /// The broker has none.
    None,
    /// The channel, as none is configured.
    Channel,
    /// By a template.
    Template(Text),
}

/// How a key or a header is made.
#[derive(Debug)]
pub(super) enum Text {
    /// Always this.
    Literal(Bytes),
    /// One value and nothing else: raw.
    Raw(Source),
    /// Values between literals, escaped.
    Composite {
        token: Token,
        /// What is written must be read back before it is believed.
        delicate: bool,
    },
}

impl Text {
    pub(super) fn new(parts: Vec<Part>) -> Self {
        if let [Part::Value(source)] = &parts[..] {
            return Text::Raw(source.clone());
        }
        let token = Token { parts };
        if let Some(literal) = token.as_literal() {
            return Text::Literal(Bytes::copy_from_slice(literal.as_bytes()));
        }
        let delicate = token.is_delicate(&TEXT);
        Text::Composite { token, delicate }
    }

    /// Where its values come from.
    pub(super) fn sources(&self) -> Vec<&Source> {
        match self {
            Text::Literal(_) => Vec::new(),
            Text::Raw(source) => vec![source],
            Text::Composite { token, .. } => token.sources().collect(),
        }
    }
}

impl Mapping {
    /// Its place in the table, from 0, in file order.
    pub fn index(&self) -> usize {
        self.index
    }

    /// What its author wrote.
    pub fn spec(&self) -> &MappingSpec {
        &self.spec
    }

    /// Its channels.
    pub fn pattern(&self) -> &ChannelPattern {
        &self.pattern
    }

    /// What its connector can do.
    pub fn capabilities(&self) -> Capabilities {
        self.traits.capabilities
    }

    /// How its connector writes topics.
    pub fn syntax(&self) -> &'static TopicSyntax {
        self.traits.syntax
    }

    /// The topics to read for it. [`Table::egress`] checks each record again: the filter may let through a little more.
    pub fn filter(&self) -> &TopicFilter {
        &self.filter
    }

    /// Its topic, when its template has no value in it.
    pub fn fixed_topic(&self) -> Option<&ByteString> {
        self.topic.fixed.as_ref()
    }
}

/// Who takes a publish.
#[derive(Debug)]
pub enum IngestMatch<'t, 'c> {
    /// This mapping, with what its channel pattern bound: [`Route::render`] next.
    Mapping(Route<'t, 'c>),
    /// Only an egress mapping has the channel: `403:<channel>:publish_denied`.
    EgressOnly,
    /// No mapping in either direction: `unmapped_channels` says.
    Unmapped,
}

/// Who feeds a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscribeMatch {
    /// The exact channel is taken only by an ingest mapping: `403:<channel>:subscribe_denied`.
    IngestOnly,
    /// These mappings, in file order; for an exact channel the one that takes it, for a wildcard all that could.
    Egress(Vec<usize>),
    /// No mapping in either direction: `unmapped_channels` says.
    Unmapped,
}

impl Table {
    /// A table without mappings.
    pub fn empty() -> Self {
        Table::new(Vec::new())
    }

    pub(super) fn new(mappings: Vec<Mapping>) -> Self {
        let ingest = Index::new(&mappings, Direction::is_ingest);
        let egress = Index::new(&mappings, Direction::is_egress);
        Table { mappings, ingest, egress }
    }

    /// The mappings, in file order.
    pub fn mappings(&self) -> &[Mapping] {
        &self.mappings
    }

    /// The mapping of that index.
    pub fn get(&self, index: usize) -> Option<&Mapping> {
        self.mappings.get(index)
    }

    /// Who takes a publish on `channel`: the first ingest mapping that fits. Channels that end in a wildcard, and those
    /// of the protocol and of services, are nobody's.
    pub fn ingest<'t, 'c>(&'t self, channel: &'c ChannelName) -> IngestMatch<'t, 'c> {
        if !is_mappable(channel) {
            return IngestMatch::Unmapped;
        }
        for i in self.ingest.candidates(channel) {
            if let Some(captures) = self.mappings[i].pattern.captures(channel.as_str()) {
                return IngestMatch::Mapping(Route { mapping: &self.mappings[i], channel, captures });
            }
        }
        match self.first_egress(channel) {
            Some(_) => IngestMatch::EgressOnly,
            None => IngestMatch::Unmapped,
        }
    }

    /// Who feeds a subscription.
    pub fn subscribe(&self, subscription: &ChannelName) -> SubscribeMatch {
        if subscription.class() != Class::Broadcast {
            return SubscribeMatch::Unmapped;
        }
        if subscription.is_wild() {
            let meets = |m: &&Mapping| m.spec.direction.is_egress() && m.pattern.meets(subscription);
            let fed: Vec<usize> = self.mappings.iter().filter(meets).map(|m| m.index).collect();
            return if fed.is_empty() { SubscribeMatch::Unmapped } else { SubscribeMatch::Egress(fed) };
        }
        if let Some(first) = self.first_egress(subscription) {
            return SubscribeMatch::Egress(vec![first]);
        }
        if self.ingest.candidates(subscription).any(|i| self.mappings[i].pattern.matches(subscription.as_str())) {
            return SubscribeMatch::IngestOnly;
        }
        SubscribeMatch::Unmapped
    }

    pub(super) fn first_egress(&self, channel: &ChannelName) -> Option<usize> {
        self.egress.candidates(channel).find(|&i| self.mappings[i].pattern.matches(channel.as_str()))
    }
}

/// Whether mappings are for such a channel.
pub(super) fn is_mappable(channel: &ChannelName) -> bool {
    channel.class() == Class::Broadcast && !channel.is_wild()
}

/// Which mappings of one direction may take a channel, by its first segment.
#[derive(Debug)]
struct Index {
    by_first: HashMap<String, Vec<usize>>,
    any_first: Vec<usize>,
}

impl Index {
    fn new(mappings: &[Mapping], direction: fn(Direction) -> bool) -> Self {
        let mut index = Index { by_first: HashMap::new(), any_first: Vec::new() };
        for mapping in mappings.iter().filter(|m| direction(m.spec.direction)) {
            match mapping.pattern.segments().first() {
                Some(bayeux::channel::Segment::Literal(first)) => {
                    index.by_first.entry(first.clone()).or_default().push(mapping.index);
                }
                _ => index.any_first.push(mapping.index),
            }
        }
        index
    }

    /// In file order.
    fn candidates(&self, channel: &ChannelName) -> impl Iterator<Item = usize> {
        let first = channel.segments().next().unwrap_or_default();
        let mut named = self.by_first.get(first).map(Vec::as_slice).unwrap_or_default().iter().copied().peekable();
        let mut any = self.any_first.iter().copied().peekable();
        std::iter::from_fn(move || match (named.peek(), any.peek()) {
            (Some(a), Some(b)) if a < b => named.next(),
            (Some(_), None) => named.next(),
            _ => any.next(),
        })
    }
}
