//! Whether a mapping's dead letters can go where its author wants them.

use super::spec::{ConnectorTraits, OnError};
use super::table::Mapping;
use connector::TopicFilter;

/// What is wrong with the topic of dead letters, and what to do.
pub(super) fn wrong(topic: &str, reads: &TopicFilter, traits: &ConnectorTraits) -> Option<(String, Option<String>)> {
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
