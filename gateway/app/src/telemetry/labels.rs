//! Sets of labels, made once: counting a message makes none.

use bayeux_bridge::observe::Outcome;
use opentelemetry::KeyValue;

/// Every outcome there is.
pub(super) const OUTCOMES: [Outcome; 11] = [
    Outcome::Ok,
    Outcome::Unavailable,
    Outcome::Unknown,
    Outcome::Refused,
    Outcome::Violation,
    Outcome::Poison,
    Outcome::Shadowed,
    Outcome::Conflated,
    Outcome::Failed,
    Outcome::Timeout,
    Outcome::Overloaded,
];

/// The labels of one mapping or service: alone, and with each outcome.
#[derive(Debug)]
pub(super) struct Labels {
    plain: Vec<KeyValue>,
    with_outcome: Vec<Vec<KeyValue>>,
}

impl Labels {
    /// From the labels that tell it from the others.
    pub(super) fn new(plain: Vec<KeyValue>) -> Self {
        let with_outcome = OUTCOMES
            .iter()
            .map(|outcome| plain.iter().cloned().chain([KeyValue::new("outcome", outcome.as_str())]).collect())
            .collect();
        Labels { plain, with_outcome }
    }

    /// Without an outcome.
    pub(super) fn plain(&self) -> &[KeyValue] {
        &self.plain
    }

    /// With this outcome.
    pub(super) fn with(&self, outcome: Outcome) -> &[KeyValue] {
        let index = OUTCOMES.iter().position(|o| *o == outcome);
        index.and_then(|index| self.with_outcome.get(index)).map_or(&self.plain, |labels| labels)
    }
}
