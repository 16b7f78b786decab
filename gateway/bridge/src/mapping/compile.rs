//! From the config's words to a [`Table`], with every mistake found at once.

use super::finding::{Finding, Severity};
use super::pattern::{covers, intersects};
use super::render::has_control;
use super::settings;
use super::source::Source;
use super::spec::{ConnectorTraits, Direction, MappingSpec};
use super::table::{Key, Mapping, Table, Text, Topic};
use super::template::{self, Part};
use super::token::{Token, sample, split};
use bayeux::channel::{ChannelPattern, Segment};
use bytestring::ByteString;
use connector::{TopicFilter, TopicSyntax};
use std::collections::BTreeMap;

/// A table, and what one may doubt in it.
#[derive(Debug)]
pub struct Compiled {
    /// The table.
    pub table: Table,
    /// Findings of [`Severity::Warning`].
    pub warnings: Vec<Finding>,
}

impl Table {
    /// Compiles the mappings, in file order, against the connectors by name.
    ///
    /// # Errors
    /// All findings, warnings among them, when at least one is a [`Severity::Error`].
    pub fn compile(
        specs: &[MappingSpec],
        connectors: &BTreeMap<String, ConnectorTraits>,
    ) -> Result<Compiled, Vec<Finding>> {
        let mut findings = Vec::new();
        let mut earlier = Vec::new();
        let mut compiled: Vec<Option<Mapping>> = Vec::new();
        for (index, spec) in specs.iter().enumerate() {
            let mut lint = Lint { index, spec, findings: &mut findings };
            let pattern = lint.pattern();
            if let Some(pattern) = &pattern {
                lint.shadowed(pattern, &earlier);
                earlier.push((index, spec.direction, pattern.clone()));
            }
            compiled.push(lint.mapping(pattern, connectors));
        }
        findings.sort_by_key(|finding| finding.index);
        if findings.iter().any(|finding| finding.severity == Severity::Error) {
            return Err(findings);
        }
        let mut mappings: Vec<Mapping> = compiled.into_iter().flatten().collect();
        for i in 0..mappings.len() {
            let (before, from) = mappings.split_at_mut(i);
            let Some(mapping) = from.first_mut() else { continue };
            let earlier = before
                .iter()
                .filter(|m| m.spec.direction.is_egress() && intersects(&m.pattern, &mapping.pattern))
                .map(|m| m.index);
            mapping.earlier = earlier.collect();
        }
        for index in settings::circles(&mappings) {
            let message = "its dead letters come back to it: other mappings read them and bury them where it reads";
            let (key, severity) = ("on_error.dead_letter.topic".to_owned(), Severity::Error);
            findings.push(Finding { index, key, severity, message: message.to_owned(), help: None });
        }
        if findings.iter().any(|finding| finding.severity == Severity::Error) {
            return Err(findings);
        }
        Ok(Compiled { table: Table::new(mappings), warnings: findings })
    }
}

/// The look at one mapping.
pub(super) struct Lint<'a> {
    index: usize,
    pub(super) spec: &'a MappingSpec,
    findings: &'a mut Vec<Finding>,
}

impl Lint<'_> {
    fn find(&mut self, severity: Severity, key: &str, message: String, help: Option<String>) {
        self.findings.push(Finding { index: self.index, key: key.to_owned(), severity, message, help });
    }

    pub(super) fn error(&mut self, key: &str, message: impl Into<String>, help: Option<String>) {
        self.find(Severity::Error, key, message.into(), help);
    }

    pub(super) fn warn(&mut self, key: &str, message: impl Into<String>, help: Option<String>) {
        self.find(Severity::Warning, key, message.into(), help);
    }

    fn pattern(&mut self) -> Option<ChannelPattern> {
        let pattern = match ChannelPattern::parse(&self.spec.channel) {
            Ok(pattern) => pattern,
            Err(error) => {
                self.error("channel", error.to_string(), None);
                return None;
            }
        };
        let first = match pattern.segments() {
            [Segment::Literal(first), _, ..] => first.as_str(),
            _ => "",
        };
        if first == "meta" {
            self.error("channel", "/meta channels are the protocol's own and cannot be mapped", None);
        } else if first == "service" {
            let help = "write it under `services`".to_owned();
            self.error("channel", "/service channels have handlers, not mappings", Some(help));
        } else if pattern.segments().contains(&Segment::Any) {
            let help = "write a name, such as `{name}`, which can then stand in topic, key and headers".to_owned();
            self.error("channel", "`*` in a mapping binds a value that nothing can use", Some(help));
        } else {
            return Some(pattern);
        }
        None
    }

    /// Says when earlier mappings leave this one nothing.
    fn shadowed(&mut self, pattern: &ChannelPattern, earlier: &[(usize, Direction, ChannelPattern)]) {
        for (direction, verb) in [(Direction::Ingest, "publish"), (Direction::Egress, "record")] {
            let same = |d: Direction| if direction == Direction::Ingest { d.is_ingest() } else { d.is_egress() };
            if !same(self.spec.direction) {
                continue;
            }
            if let Some((by, _, _)) = earlier.iter().find(|(_, d, wide)| same(*d) && covers(wide, pattern)) {
                let message = format!("no {verb} ever comes to this mapping: mappings[{by}] takes all its channels");
                let help = "put the narrower mapping first".to_owned();
                self.warn("channel", message, Some(help));
            }
        }
    }

    /// Compiles what can be, and tells all that cannot.
    fn mapping(
        &mut self,
        pattern: Option<ChannelPattern>,
        connectors: &BTreeMap<String, ConnectorTraits>,
    ) -> Option<Mapping> {
        let spec = self.spec;
        let traits = connectors.get(&spec.connector).copied();
        if traits.is_none() {
            let known: Vec<String> = connectors.keys().map(|name| format!("`{name}`")).collect();
            let help = if known.is_empty() { "none is configured".to_owned() } else { known.join(", ") };
            let help = format!("under `connectors` there is: {help}");
            self.error("connector", format!("there is no connector `{}`", spec.connector), Some(help));
        }
        self.times();
        let pattern = pattern?;
        let names: Vec<&str> = pattern.names().collect();
        let topic = self.template("topic", &spec.topic, &names);
        let key = spec.key.as_ref().map(|key| self.template("key", key, &names));
        let headers = self.headers(&names);
        let traits = traits?;
        self.capabilities(&traits);
        self.replay(&traits);
        self.schema();
        self.deliver();
        let topic = topic.and_then(|parts| self.topic(parts, &pattern, &traits));
        let key = match key {
            None if traits.capabilities.keys => Key::Channel,
            None => Key::None,
            Some(parts) => Key::Template(Text::new(parts?)),
        };
        let (topic, headers) = (topic?, headers?);
        self.inverts(&names, &topic, &key, &headers);
        let filter = TopicFilter { tokens: topic.tokens.iter().map(Token::filter).collect(), rest: topic.rest };
        self.dead_letters(&filter, &traits);
        drop(names);
        Some(Mapping {
            index: self.index,
            spec: spec.clone(),
            traits,
            pattern,
            topic,
            key,
            headers,
            filter,
            earlier: Vec::new(),
        })
    }

    /// What is conflated is no log any more.
    fn deliver(&mut self) {
        let Some(deliver) = &self.spec.deliver else { return };
        if !self.spec.direction.is_egress() {
            self.error("deliver", "nothing of an ingest mapping is delivered", None);
        }
        if self.spec.replay.is_some() {
            let help = "use two mappings, one with `replay` and one with `deliver`".to_owned();
            self.error("deliver", "with `replay` every record is delivered, none is left out", Some(help));
        }
        if deliver.every.is_zero() {
            self.error("deliver.every", "is the time between two deliveries, such as 250ms", None);
        }
        if deliver.conflate_by.as_ref().is_some_and(|pointer| !pointer.starts_with('/')) {
            let help = "write `/symbol` for the field `symbol`, or leave it out to go by the channel".to_owned();
            self.error("deliver.conflate_by", "is a JSON pointer into the data", Some(help));
        }
    }

    fn template(&mut self, key: &str, text: &str, names: &[&str]) -> Option<Vec<Part>> {
        let parts = match template::parse(text, names) {
            Ok(parts) => parts,
            Err(errors) => {
                for error in errors {
                    self.error(key, error.to_string(), error.help(names));
                }
                return None;
            }
        };
        if self.spec.direction.is_ingest() {
            return Some(parts);
        }
        let mut fine = true;
        for part in &parts {
            if let Part::Value(source) = part
                && source.is_dynamic()
            {
                fine = false;
                let message =
                    format!("only a publish has `{{{}}}`, and this is an egress mapping", source.describe(names));
                self.error(key, message, None);
            }
        }
        fine.then_some(parts)
    }

    fn headers(&mut self, names: &[&str]) -> Option<Vec<(ByteString, Text)>> {
        let mut headers: Vec<(ByteString, Text)> = Vec::new();
        let mut fine = true;
        for (name, text) in &self.spec.headers {
            let key = format!("headers.{name}");
            let lower = name.to_ascii_lowercase();
            let before = self.findings.len();
            if lower.starts_with("bayeux-") || lower == "traceparent" || lower == "tracestate" {
                self.error(&key, format!("the gateway itself sets `{name}`"), Some("choose another name".to_owned()));
            } else if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
                self.error(&key, "a header's name is made of visible ASCII characters other than `:`", None);
            } else if headers.iter().any(|(other, _)| other == name) {
                self.error(&key, "the header appears twice", None);
            }
            let text = self.template(&key, text, names).map(Text::new);
            if let Some(Text::Literal(value)) = &text
                && has_control(value)
            {
                self.error(&key, "a header's value cannot hold control characters", None);
            }
            fine &= self.findings.len() == before;
            if let Some(text) = text {
                headers.push((ByteString::from(name.as_str()), text));
            }
        }
        fine.then_some(headers)
    }

    fn capabilities(&mut self, traits: &ConnectorTraits) {
        let (spec, can) = (self.spec, traits.capabilities);
        let needs = [
            (spec.key.is_some() && !can.keys, "key", "keys"),
            (spec.partition.is_some() && !can.partitions, "partition", "partitions"),
            (!spec.headers.is_empty() && !can.headers, "headers", "headers"),
            (spec.tombstones && !can.tombstones, "tombstones", "tombstones"),
            (spec.include.key && !can.keys, "include", "keys"),
            (spec.include.headers && !can.headers, "include", "headers"),
        ];
        for (missing, key, what) in needs {
            if missing {
                self.error(key, format!("connector `{}` has no {what}", spec.connector), None);
            }
        }
        if spec.partition.is_some_and(|partition| partition < 0) {
            self.error("partition", "partitions are counted from 0", None);
        }
    }

    fn topic(&mut self, parts: Vec<Part>, pattern: &ChannelPattern, traits: &ConnectorTraits) -> Option<Topic> {
        let syntax = traits.syntax;
        let before = self.findings.len();
        let mut tokens = split(parts, syntax.separator);
        let rest = tokens.last().and_then(Token::as_literal) == Some("**");
        if rest {
            tokens.pop();
        }
        let can_rest = syntax.rest && traits.capabilities.rest_topics;
        if rest && !can_rest {
            let help = "use one fixed topic: the whole channel travels in the header bayeux-channel".to_owned();
            self.error(
                "topic",
                format!("`**` cannot stand in a topic of connector `{}`", self.spec.connector),
                Some(help),
            );
        } else if rest && !pattern.has_rest() {
            let help = "end the channel in `/**` too, or name what stands there".to_owned();
            self.error("topic", "`**` in the topic has nothing in the channel to stand for", Some(help));
        }
        self.wildcards(&tokens, syntax);
        if self.findings.len() == before
            && let Err(reason) = (syntax.check)(&sample(&tokens, rest, syntax))
        {
            self.error("topic", format!("the broker cannot have this topic: {reason}"), None);
        }
        if self.findings.len() == before && pattern.has_rest() && !rest && self.spec.direction.is_egress() {
            self.lost_rest(can_rest, traits.capabilities.headers);
        }
        if self.findings[before..].iter().any(|finding| finding.severity == Severity::Error) {
            return None;
        }
        let delicate = tokens.iter().any(|token| token.is_delicate(syntax));
        let fixed = TopicFilter { tokens: tokens.iter().map(Token::filter).collect(), rest }.as_exact(syntax);
        Some(Topic { tokens, rest, fixed: fixed.map(ByteString::from), delicate })
    }

    /// The topic does not hold what `**` in the channel stands for.
    fn lost_rest(&mut self, can_rest: bool, headers: bool) {
        let help = || Some("end the topic in `**`".to_owned());
        if !headers {
            self.error("topic", "no record could tell what `**` in the channel stands for", help());
        } else if can_rest {
            let message = "only the header bayeux-channel tells what `**` in the channel stands for: \
                           records of other producers must have it too";
            self.warn("topic", message, help());
        }
    }

    fn wildcards(&mut self, tokens: &[Token], syntax: &TopicSyntax) {
        let literals: Vec<&str> = tokens
            .iter()
            .flat_map(|token| &token.parts)
            .filter_map(|part| match part {
                Part::Literal(literal) => Some(literal.as_str()),
                Part::Value(_) => None,
            })
            .collect();
        if literals.iter().any(|literal| literal.contains("**")) {
            self.error("topic", "`**` may only be the whole last token of a topic", None);
            return;
        }
        for (wildcard, instead) in syntax.wildcards {
            if literals.iter().any(|literal| literal.contains(wildcard)) {
                let message = format!("`{wildcard}` is the broker's own wildcard");
                self.error("topic", message, Some(format!("write `{instead}`")));
            }
        }
    }

    /// Proves that records come back to channels: each name is in the topic, the key or a header.
    fn inverts(&mut self, names: &[&str], topic: &Topic, key: &Key, headers: &[(ByteString, Text)]) {
        if !self.spec.direction.is_egress() || matches!(key, Key::Channel) {
            return;
        }
        let mut bound = vec![false; names.len()];
        let mut bind = |source: &Source| {
            if let Source::Name(i) = source
                && let Some(bound) = bound.get_mut(*i)
            {
                *bound = true;
            }
        };
        topic.tokens.iter().flat_map(Token::sources).for_each(&mut bind);
        if let Key::Template(text) = key {
            text.sources().into_iter().for_each(&mut bind);
        }
        headers.iter().flat_map(|(_, text)| text.sources()).for_each(&mut bind);
        for (name, bound) in names.iter().zip(bound) {
            if !bound {
                let message = format!("no record could be brought back to its channel: nothing holds `{{{name}}}`");
                let help = format!("put `{{{name}}}` into topic, key or a header");
                self.error("topic", message, Some(help));
            }
        }
    }
}
