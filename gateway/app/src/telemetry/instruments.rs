//! What is counted as it happens: publishes, records and requests, by mapping or service and outcome.

use super::labels::Labels;
use bayeux_bridge::mapping::{OnError, Table};
use bayeux_bridge::observe::Outcome;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};
use std::time::Duration;

/// Seconds: a broker on the same machine answers in less than the first, a publisher gives up at the last.
const LATENCY: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Seconds: from a record that is passed on at once (a broker's timestamps count milliseconds) to a backlog of hours.
const AGE: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0];

const INGEST_OUTCOMES: [Outcome; 5] =
    [Outcome::Ok, Outcome::Unavailable, Outcome::Unknown, Outcome::Refused, Outcome::Overloaded];
const EGRESS_OUTCOMES: [Outcome; 4] = [Outcome::Ok, Outcome::Poison, Outcome::Shadowed, Outcome::Conflated];
const SERVICE_OUTCOMES: [Outcome; 6] =
    [Outcome::Ok, Outcome::Refused, Outcome::Failed, Outcome::Unavailable, Outcome::Timeout, Outcome::Overloaded];

/// The counters and histograms.
pub(super) struct Instruments {
    mappings: Vec<Labels>,
    services: Vec<Labels>,
    ingested: Counter<u64>,
    ingest_latency: Histogram<f64>,
    egressed: Counter<u64>,
    egress_age: Histogram<f64>,
    dead_letters: Counter<u64>,
    served: Counter<u64>,
    service_latency: Histogram<f64>,
}

impl Instruments {
    /// For the mappings of `table` and the services with these channel patterns, in their order. Every counter that
    /// can ever count is there from the start, at zero, so that its first step up is seen as one.
    pub(super) fn new(meter: &Meter, table: &Table, services: &[String]) -> Self {
        let counter = |name, description| meter.u64_counter(name).with_description(description).build();
        let histogram = |name, description, buckets: &[f64]| {
            let builder = meter.f64_histogram(name).with_description(description).with_unit("s");
            builder.with_boundaries(buckets.to_vec()).build()
        };
        let instruments = Instruments {
            mappings: table
                .mappings()
                .iter()
                .map(|mapping| {
                    let spec = mapping.spec();
                    Labels::new(vec![
                        KeyValue::new("mapping", spec.label().to_owned()),
                        KeyValue::new("connector", spec.connector.clone()),
                    ])
                })
                .collect(),
            services: services.iter().map(|s| Labels::new(vec![KeyValue::new("service", s.clone())])).collect(),
            ingested: counter("bayeux.ingest.messages", "Publishes of browsers on mapped channels, by how they ended"),
            ingest_latency: histogram(
                "bayeux.ingest.latency",
                "From a publish's arrival to the broker's confirmation, of those that ended well",
                &LATENCY,
            ),
            egressed: counter("bayeux.egress.messages", "Records from brokers, by what became of them"),
            egress_age: histogram(
                "bayeux.egress.age",
                "From the broker's timestamp of a record to its fan-out, by the clocks of both",
                &AGE,
            ),
            dead_letters: counter("bayeux.dead_letters", "Attempts to store dead letters, by how they ended"),
            served: counter("bayeux.service.requests", "Requests of browsers to services, by how they ended"),
            service_latency: histogram(
                "bayeux.service.latency",
                "From a request to the answer, of those that ended well",
                &LATENCY,
            ),
        };
        for (labels, mapping) in instruments.mappings.iter().zip(table.mappings()) {
            let direction = mapping.spec().direction;
            let schema = mapping.spec().schema.iter().map(|_| &Outcome::Violation);
            let ingest = INGEST_OUTCOMES.iter().chain(schema).filter(|_| direction.is_ingest());
            ingest.for_each(|outcome| instruments.ingested.add(0, labels.with(*outcome)));
            let buried = matches!(mapping.spec().on_error, OnError::DeadLetter(_));
            let letters = INGEST_OUTCOMES.iter().filter(|_| buried);
            letters.for_each(|outcome| instruments.dead_letters.add(0, labels.with(*outcome)));
            let egress = EGRESS_OUTCOMES.iter().filter(|_| direction.is_egress());
            egress.for_each(|outcome| instruments.egressed.add(0, labels.with(*outcome)));
        }
        for labels in &instruments.services {
            SERVICE_OUTCOMES.iter().for_each(|outcome| instruments.served.add(0, labels.with(*outcome)));
        }
        instruments
    }

    pub(super) fn ingested(&self, mapping: usize, outcome: Outcome, took: Duration) {
        let Some(labels) = self.mappings.get(mapping) else { return };
        self.ingested.add(1, labels.with(outcome));
        if outcome == Outcome::Ok {
            self.ingest_latency.record(took.as_secs_f64(), labels.plain());
        }
    }

    pub(super) fn egressed(&self, mapping: usize, outcome: Outcome, age: Option<Duration>) {
        let Some(labels) = self.mappings.get(mapping) else { return };
        self.egressed.add(1, labels.with(outcome));
        if let (Outcome::Ok, Some(age)) = (outcome, age) {
            self.egress_age.record(age.as_secs_f64(), labels.plain());
        }
    }

    pub(super) fn dead_lettered(&self, mapping: usize, outcome: Outcome) {
        if let Some(labels) = self.mappings.get(mapping) {
            self.dead_letters.add(1, labels.with(outcome));
        }
    }

    pub(super) fn served(&self, service: usize, outcome: Outcome, took: Duration) {
        let Some(labels) = self.services.get(service) else { return };
        self.served.add(1, labels.with(outcome));
        if outcome == Outcome::Ok {
            self.service_latency.record(took.as_secs_f64(), labels.plain());
        }
    }
}
