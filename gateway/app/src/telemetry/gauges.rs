//! What is looked up rather than counted: the instruments that read the last [`Snapshot`].

use super::snapshot::Snapshot;
use connector::State;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use parking_lot::Mutex;
use std::sync::Arc;

/// The last look; none before there is something to look at.
pub(super) type Last = Arc<Mutex<Option<Snapshot>>>;

const STATES: [State; 4] = [State::Connecting, State::Up, State::Degraded, State::Down];
const FEED_STATES: [&str; 4] = ["closed", "opening", "live", "failed"];

/// A value with its labels.
type Sample = (u64, Vec<KeyValue>);

struct Registrar<'a> {
    meter: &'a Meter,
    last: &'a Last,
}

impl Registrar<'_> {
    fn gauge(&self, name: &'static str, unit: &'static str, help: &'static str, read: fn(&Snapshot) -> u64) {
        let last = Arc::clone(self.last);
        let gauge = self.meter.u64_observable_gauge(name).with_unit(unit).with_description(help);
        gauge.with_callback(move |o| last.lock().iter().for_each(|look| o.observe(read(look), &[]))).build();
    }

    fn gauges(&self, name: &'static str, help: &'static str, read: fn(&Snapshot) -> Vec<Sample>) {
        let last = Arc::clone(self.last);
        let gauge = self.meter.u64_observable_gauge(name).with_description(help);
        let observe = move |look: &Snapshot| read(look);
        gauge
            .with_callback(move |o| {
                let samples = last.lock().as_ref().map(&observe).unwrap_or_default();
                samples.iter().for_each(|(value, labels)| o.observe(*value, labels));
            })
            .build();
    }

    fn counter(&self, name: &'static str, help: &'static str, read: fn(&Snapshot) -> u64) {
        let last = Arc::clone(self.last);
        let counter = self.meter.u64_observable_counter(name).with_description(help);
        counter.with_callback(move |o| last.lock().iter().for_each(|look| o.observe(read(look), &[]))).build();
    }

    fn counters(&self, name: &'static str, help: &'static str, read: fn(&Snapshot) -> Vec<Sample>) {
        let last = Arc::clone(self.last);
        let counter = self.meter.u64_observable_counter(name).with_description(help);
        counter
            .with_callback(move |o| {
                let samples = last.lock().as_ref().map(read).unwrap_or_default();
                samples.iter().for_each(|(value, labels)| o.observe(*value, labels));
            })
            .build();
    }
}

/// Adds them all to the meter.
pub(super) fn register(meter: &Meter, last: &Last) {
    let add = Registrar { meter, last };
    add.gauge("bayeux.sessions", "", "Live sessions", |s| s.sessions);
    add.gauge("bayeux.channels", "", "Channel names and patterns with subscribers", |s| s.channels);
    add.gauge("bayeux.connections", "", "Open connections of browsers", |s| s.connections);
    add.gauge("bayeux.websockets", "", "Open WebSockets", |s| s.websockets);
    add.gauge("bayeux.polls.held", "", "Connects held over HTTP", |s| s.polls_held);
    add.gauge("bayeux.queue.messages", "", "Messages that wait in the queues of all sessions", |s| s.queue_messages);
    add.gauge("bayeux.queue", "By", "Bytes that wait in the queues of all sessions", |s| s.queue_bytes);
    add.gauge("bayeux.ingest.in_flight", "", "Publishes whose outcome is not known yet", |s| s.publishes_in_flight);
    add.gauge("bayeux.service.in_flight", "", "Requests that wait for their answer", |s| s.requests_in_flight);
    add.gauge("bayeux.draining", "", "1 while the gateway is on its way to its end", |s| s.draining);
    add.counter("bayeux.handshakes", "Handshakes accepted", |s| s.handshakes);
    add.counters("bayeux.sessions.ended", "Sessions that ended, by why", |s| {
        s.ended.iter().map(|(reason, count)| (*count, vec![KeyValue::new("reason", *reason)])).collect()
    });
    add.counter("bayeux.messages.received", "Messages received from browsers, of every kind", |s| s.received);
    add.counter("bayeux.messages.queued", "Messages put into a session's queue", |s| s.queued);
    add.counter("bayeux.messages.dropped", "Messages dropped from full queues (policy drop_oldest)", |s| s.dropped);
    add.counter("bayeux.malformed", "Requests and frames refused as malformed or too big", |s| s.malformed);
    add.counter("bayeux.connections.refused", "Connections refused because there were too many", |s| {
        s.connections_refused
    });
    connectors(&add);
    feeds(&add);
    process(&add);
}

fn connectors(add: &Registrar<'_>) {
    add.gauges("bayeux.connector.up", "1 while the broker is reached and works", |s| {
        s.connectors.iter().map(|c| (u64::from(c.state == State::Up), c.labels.clone())).collect()
    });
    add.gauges("bayeux.connector.state", "1 for the state that the connector is in, 0 for the others", |s| {
        let states = s.connectors.iter().flat_map(|c| STATES.map(|state| (c, state)));
        states.map(|(c, state)| (u64::from(c.state == state), with_state(&c.labels, state.as_str()))).collect()
    });
    add.counters("bayeux.connector.dropped", "Records that the connector had to drop", |s| {
        s.connectors.iter().map(|c| (c.dropped, c.labels.clone())).collect()
    });
}

fn feeds(add: &Registrar<'_>) {
    add.gauges("bayeux.feed.state", "1 for the state that the mapping's feed is in, 0 for the others", |s| {
        let states = s.feeds.iter().flat_map(|f| FEED_STATES.map(|state| (f, state)));
        states.map(|(f, state)| (u64::from(f.state == state), with_state(&f.labels, state))).collect()
    });
    add.gauges("bayeux.feed.subscriptions", "Subscriptions that the mapping's feed serves", |s| {
        s.feeds.iter().map(|f| (f.subscriptions, f.labels.clone())).collect()
    });
}

fn process(add: &Registrar<'_>) {
    let resident = add.meter.u64_observable_gauge("process.resident_memory").with_unit("By");
    let last = Arc::clone(add.last);
    resident
        .with_description("Memory in use")
        .with_callback(move |o| process_of(&last).iter().for_each(|p| o.observe(p.resident, &[])))
        .build();
    let cpu = add.meter.f64_observable_counter("process.cpu").with_unit("s");
    let last = Arc::clone(add.last);
    cpu.with_description("Processor time used")
        .with_callback(move |o| process_of(&last).iter().for_each(|p| o.observe(p.cpu, &[])))
        .build();
}

fn process_of(last: &Last) -> Option<super::process::Process> {
    last.lock().as_ref().and_then(|look| look.process)
}

fn with_state(labels: &[KeyValue], state: &'static str) -> Vec<KeyValue> {
    labels.iter().cloned().chain([KeyValue::new("state", state)]).collect()
}
