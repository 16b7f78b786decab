//! What the bridge tells us, counted and traced.

use super::instruments::Instruments;
use super::traces::Traces;
use bayeux_bridge::observe::{Observer, Outcome, Span, Step};
use std::time::Duration;

/// Counts always, traces where an endpoint is configured.
pub(super) struct Observations {
    pub(super) instruments: Instruments,
    pub(super) traces: Option<Traces>,
}

impl Observer for Observations {
    fn ingested(&self, mapping: usize, outcome: Outcome, took: Duration) {
        self.instruments.ingested(mapping, outcome, took);
    }

    fn egressed(&self, mapping: usize, outcome: Outcome, age: Option<Duration>) {
        self.instruments.egressed(mapping, outcome, age);
    }

    fn dead_lettered(&self, mapping: usize, outcome: Outcome) {
        self.instruments.dead_lettered(mapping, outcome);
    }

    fn served(&self, service: usize, outcome: Outcome, took: Duration) {
        self.instruments.served(service, outcome, took);
    }

    fn span(&self, step: Step, channel: &str, parent: Option<&str>) -> Option<Box<dyn Span>> {
        Some(Box::new(self.traces.as_ref()?.begin(step, channel, parent)?))
    }
}
