//! What a mapping's settings beside its templates need: replay a log, dead letters a topic, a schema something to publish.

use super::compile::Lint;
use super::spec::{ConnectorTraits, Envelope, Format, OnError};
use super::table::Mapping;
use connector::TopicFilter;
use std::time::Duration;

/// CometD's clients give up on a reply after this long.
const CLIENT_PATIENCE: Duration = Duration::from_secs(10);

impl Lint<'_> {
    /// Reading back needs a log, and something to deliver.
    pub(super) fn replay(&mut self, traits: &ConnectorTraits) {
        let spec = self.spec;
        if spec.replay.is_some() && !traits.capabilities.log {
            self.error("replay", format!("connector `{}` keeps no log to read back", spec.connector), None);
        }
        if spec.replay.is_some() && !spec.direction.is_egress() {
            self.error("replay", "nothing of an ingest mapping is delivered, so nothing can be read back", None);
        }
        if spec.envelope == Envelope::Salesforce && spec.replay.is_none() {
            let help = "add `replay: true`".to_owned();
            self.error("envelope", "the envelope carries the position to read on from", Some(help));
        }
    }

    pub(super) fn times(&mut self) {
        if !self.spec.direction.is_ingest() {
            return;
        }
        if self.spec.publish_timeout.is_zero() {
            self.error("publish_timeout", "no publish could ever be confirmed in no time", None);
        } else if self.spec.publish_timeout >= CLIENT_PATIENCE {
            let message = "CometD's clients give up on a reply after 10s, before the gateway would say how it went";
            self.warn("publish_timeout", message, Some("5s, the default, leaves room".to_owned()));
        }
    }

    /// Dead letters need a topic that is none of the mapping's.
    pub(super) fn dead_letters(&mut self, reads: &TopicFilter, traits: &ConnectorTraits) {
        if let OnError::DeadLetter(topic) = &self.spec.on_error
            && let Some((message, help)) = wrong(topic, reads, traits)
        {
            self.error("on_error.dead_letter.topic", message, help);
        }
    }

    /// A schema needs publishes, of JSON.
    pub(super) fn schema(&mut self) {
        if self.spec.schema.is_none() {
            return;
        }
        if !self.spec.direction.is_ingest() {
            self.error("schema_file", "a schema is for publishes, and this is an egress mapping", None);
        } else if self.spec.format == Format::Binary {
            self.error("schema_file", "bytes have no schema: the format is `binary`", None);
        }
    }
}

/// What is wrong with the topic of dead letters, and what to do.
fn wrong(topic: &str, reads: &TopicFilter, traits: &ConnectorTraits) -> Option<(String, Option<String>)> {
    let syntax = traits.syntax;
    if !traits.capabilities.headers {
        let help = "write `skip` or `stop`".to_owned();
        return Some(("the connector has no headers to hold the reason of a dead letter".to_owned(), Some(help)));
    }
    let wildcard = syntax.wildcards.iter().any(|(wildcard, _)| topic.contains(wildcard));
    if wildcard || topic.contains(['{', '}']) || topic.contains("**") {
        return Some(("dead letters go to one topic: it has no `{name}` and no wildcard".to_owned(), None));
    }
    if let Err(reason) = (syntax.check)(topic) {
        return Some((format!("the broker cannot have this topic: {reason}"), None));
    }
    if reads.matches(topic, syntax) {
        let help = "choose a topic outside of the mapping's own".to_owned();
        return Some((
            "the mapping itself has this topic: its dead letters would come back to it".to_owned(),
            Some(help),
        ));
    }
    None
}

/// The mappings whose dead letters come back to them by way of others that read them.
pub(super) fn circles(mappings: &[Mapping]) -> Vec<usize> {
    let next = |i: usize| {
        let from = &mappings[i];
        let topic = match &from.spec.on_error {
            OnError::DeadLetter(topic) => Some(topic),
            OnError::Skip | OnError::Stop => None,
        };
        mappings.iter().enumerate().filter_map(move |(j, to)| {
            let reads = to.spec.direction.is_egress() && to.spec.connector == from.spec.connector;
            (reads && to.filter.matches(topic?, to.traits.syntax)).then_some(j)
        })
    };
    let circle = |start: &usize| {
        let (mut open, mut seen) = (vec![*start], vec![false; mappings.len()]);
        while let Some(i) = open.pop() {
            for j in next(i) {
                if j == *start {
                    return true;
                }
                if !std::mem::replace(&mut seen[j], true) {
                    open.push(j);
                }
            }
        }
        false
    };
    (0..mappings.len()).filter(circle).collect()
}
