//! What the bridge tells whoever exports metrics and traces.

use bytestring::ByteString;
use std::time::Duration;

/// How a publish, a record or a request ended; the word is the metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Stored, delivered, answered.
    Ok,
    /// Surely not stored; the publisher may try again (`503`).
    Unavailable,
    /// The confirmation did not come in time (`504`).
    Unknown,
    /// Refused for good (`4xx`).
    Refused,
    /// Refused for good, as its data violates the mapping's schema (`400`).
    Violation,
    /// A record that cannot become a message.
    Poison,
    /// A record whose channel belongs to an earlier mapping.
    Shadowed,
    /// A message in whose place a later one about the same went out.
    Conflated,
    /// A request whose backend failed or was not there.
    Failed,
    /// A request without an answer in time.
    Timeout,
    /// Too much at a time.
    Overloaded,
}

impl Outcome {
    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Unavailable => "unavailable",
            Outcome::Unknown => "unknown",
            Outcome::Refused => "refused",
            Outcome::Violation => "violation",
            Outcome::Poison => "poison",
            Outcome::Shadowed => "shadowed",
            Outcome::Conflated => "conflated",
            Outcome::Failed => "failed",
            Outcome::Timeout => "timeout",
            Outcome::Overloaded => "overloaded",
        }
    }
}

/// One step of a trace. Ending it is dropping it.
pub trait Span: Send + Sync {
    /// What goes along with the message, so that the next step is its child.
    fn traceparent(&self) -> Option<ByteString>;
    /// It failed, and why.
    fn fail(&self, reason: &str);
}

/// Which step of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A publish on its way to the broker.
    Publish,
    /// A record on its way to the browsers.
    Deliver,
    /// A request to a handler.
    Call,
}

/// Metrics and traces.
pub trait Observer: Send + Sync + 'static {
    /// A publish by the mapping of that index ended.
    fn ingested(&self, mapping: usize, outcome: Outcome, took: Duration);
    /// A record of the mapping of that index was dealt with; `age`: since the broker's timestamp.
    fn egressed(&self, mapping: usize, outcome: Outcome, age: Option<Duration>);
    /// A dead letter of the mapping of that index was stored, or could not be.
    fn dead_lettered(&self, mapping: usize, outcome: Outcome);
    /// A request of the service of that index ended.
    fn served(&self, service: usize, outcome: Outcome, took: Duration);
    /// Begins a step under `parent` (W3C traceparent); `None` when nothing is traced: then `parent` goes along as is.
    fn span(&self, step: Step, channel: &str, parent: Option<&str>) -> Option<Box<dyn Span>>;
}

/// Observes nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn ingested(&self, _: usize, _: Outcome, _: Duration) {}
    fn egressed(&self, _: usize, _: Outcome, _: Option<Duration>) {}
    fn dead_lettered(&self, _: usize, _: Outcome) {}
    fn served(&self, _: usize, _: Outcome, _: Duration) {}
    fn span(&self, _: Step, _: &str, _: Option<&str>) -> Option<Box<dyn Span>> {
        None
    }
}

/// The header of a record, and the field of `ext`, that carries a trace.
pub const TRACEPARENT: &str = "traceparent";

/// Whether a text is a W3C `traceparent` with the four fields of version 00; anything else is not passed on.
pub fn is_traceparent(text: &str) -> bool {
    let lengths = [2, 32, 16, 2];
    let mut parts = text.split('-');
    let good = lengths.iter().all(|len| {
        parts.next().is_some_and(|p| p.len() == *len && p.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
    });
    good && parts.next().is_none() && !text.starts_with("ff")
}

#[cfg(test)]
mod tests {
    use super::is_traceparent;

    #[test]
    fn only_a_well_formed_traceparent_is_passed_on() {
        assert!(is_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        for bad in [
            "",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "x",
            "00-1-2-3",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
        ] {
            assert!(!is_traceparent(bad), "{bad}");
        }
    }
}
