//! Whether the cluster answers, and what it has: one thread that asks, and the state that all parts share.
//!
//! The *gate* is open while the cluster answers. It closes at once when librdkafka has lost every broker, and opens
//! again only by an answer: while it is closed, publishes wait on our side, where they are surely not stored.

mod ask;
mod listen;

pub(crate) use ask::run;
pub(crate) use listen::{End, Listening, log, producer_error};

use crate::catalog::Catalog;
use crate::trouble::Troubles;
use bytestring::ByteString;
use connector::{Context, Health, HealthCell};
use parking_lot::{Condvar, Mutex};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How many topics wait to be asked for; beyond, all are asked for.
const MOST_WANTED: usize = 1024;

/// How long a failed connection may be the cause of what does not work.
const RECENT: Duration = Duration::from_secs(30);

/// A producer that worked for so long counts as having worked.
const LASTED: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How much a failed connection tells: less than a name that does not resolve, a certificate or a password.
const FAILED_CONNECTION: u8 = 1;

/// What all parts of a connector share.
pub(crate) struct Link {
    /// The connector's name in the config, for logs.
    pub(crate) name: String,
    /// Records that retention removed before they were read.
    pub(crate) lost: AtomicU64,
    health: HealthCell,
    catalog: watch::Sender<Arc<Catalog>>,
    /// When topics were last asked for one by one, for a while.
    looks: watch::Sender<HashMap<ByteString, Instant>>,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    up: bool,
    was_up: bool,
    gate: bool,
    /// How often the gate was closed: an answer to a question older than that must not open it.
    closings: u64,
    /// The most telling error since the last answer.
    complaint: Option<(u8, String)>,
    /// Since when it answers.
    up_since: Option<Instant>,
    /// The last connection that failed, and when.
    failure: Option<(Instant, String)>,
    /// What does not work although the cluster answers.
    troubles: Troubles,
    refresh: Option<Instant>,
    /// Topics to be asked for, and when.
    wanted: HashMap<ByteString, Instant>,
    /// The producer failed for good, and when a new one is to be made.
    rebuild: Option<Instant>,
    /// When a new one was last made, and how long to wait if that does not work either.
    rebuilt: Option<(Instant, Duration)>,
    stop: bool,
}

impl Link {
    pub(crate) fn new(context: &Context) -> Arc<Self> {
        Arc::new(Link {
            name: context.name.clone(),
            lost: AtomicU64::new(0),
            health: HealthCell::default(),
            catalog: watch::Sender::new(Arc::default()),
            looks: watch::Sender::default(),
            state: Mutex::default(),
            wake: Condvar::new(),
        })
    }

    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// The catalog and its changes.
    pub(crate) fn catalog(&self) -> watch::Receiver<Arc<Catalog>> {
        self.catalog.subscribe()
    }

    /// The catalog now.
    pub(crate) fn topics(&self) -> Arc<Catalog> {
        self.catalog.borrow().clone()
    }

    /// Whether records may be handed to the client.
    pub(crate) fn open(&self) -> bool {
        self.state.lock().gate
    }

    /// Whether the cluster answers.
    pub(crate) fn up(&self) -> bool {
        self.state.lock().up
    }

    /// Why the cluster cannot be used now, in one sentence.
    pub(crate) fn complaint(&self) -> String {
        let state = self.state.lock();
        state.complaint.as_ref().map_or_else(|| "Kafka does not answer".to_owned(), |(_, text)| text.clone())
    }

    /// When topics were last asked for one by one. The catalog holds what was found before this tells.
    pub(crate) fn looks(&self) -> watch::Receiver<HashMap<ByteString, Instant>> {
        self.looks.subscribe()
    }

    /// When the newest answer about this topic was asked for.
    pub(crate) fn asked_about(&self, topic: &str) -> Option<Instant> {
        let alone = self.looks.borrow().get(topic).copied();
        alone.max(self.catalog.borrow().asked)
    }

    /// Asks for one topic after a while.
    pub(crate) fn look_for(&self, topic: &ByteString, delay: Duration) {
        let at = Instant::now() + delay;
        let mut state = self.state.lock();
        if state.wanted.len() >= MOST_WANTED && !state.wanted.contains_key(topic) {
            drop(state);
            return self.refresh_after(delay);
        }
        let due = state.wanted.entry(topic.clone()).or_insert(at);
        *due = at.min(*due);
        self.wake.notify_all();
    }

    /// Asks for all topics again, as soon as the cluster allows.
    pub(crate) fn refresh(&self) {
        self.refresh_after(Duration::ZERO);
    }

    /// The same after a while.
    pub(crate) fn refresh_after(&self, delay: Duration) {
        let at = Instant::now() + delay;
        let mut state = self.state.lock();
        if state.refresh.is_none_or(|earlier| at < earlier) {
            state.refresh = Some(at);
            self.wake.notify_all();
        }
    }

    /// Something does not work. Returns its number for [`Link::trouble_ends`].
    pub(crate) fn trouble_begins(&self, text: &str) -> u64 {
        let mut state = self.state.lock();
        let (id, new) = state.troubles.add(text);
        if new {
            tracing::warn!(connector = %self.name, "{text}");
        }
        self.say_troubles(&state);
        id
    }

    pub(crate) fn trouble_ends(&self, id: u64) {
        let mut state = self.state.lock();
        state.troubles.remove(id);
        self.say_troubles(&state);
    }

    /// For how long the cluster has answered; `None`: it does not.
    pub(crate) fn up_for(&self) -> Option<Duration> {
        let state = self.state.lock();
        state.up_since.filter(|_| state.up).map(|since| since.elapsed())
    }

    /// What may be the cause when some broker cannot be used although the cluster answers.
    pub(crate) fn likely_cause(&self) -> String {
        let state = self.state.lock();
        let failure =
            state.failure.as_ref().filter(|(at, _)| at.elapsed() < RECENT).map(|(_, text)| format!(" ({text})"));
        let failure = failure.unwrap_or_default();
        format!("the addresses that the brokers tell (advertised.listeners) must be reachable from here{failure}")
    }

    /// The producer will never work again: a new one is made, at once the first time, and after longer and longer breaks
    /// when the new ones do not last.
    pub(crate) fn producer_is_fatal(&self, reason: &str) {
        let mut state = self.state.lock();
        if state.rebuild.is_some() {
            return;
        }
        let (last, pause) = state.rebuilt.unwrap_or((Instant::now(), Duration::ZERO));
        let pause = if last.elapsed() > LASTED { Duration::ZERO } else { pause };
        state.rebuild = Some(Instant::now() + pause);
        state.rebuilt = Some((last, (pause * 2).clamp(Duration::from_secs(1), LONGEST_PAUSE)));
        state.gate = false;
        state.closings += 1;
        let text = format!("the Kafka producer failed for good and is made anew: {reason}");
        tracing::error!(connector = %self.name, "{text}");
        if state.up {
            self.health.degraded(text.clone());
        }
        state.complaint = Some((u8::MAX, text));
        self.wake.notify_all();
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.stop = true;
        state.gate = false;
        self.wake.notify_all();
    }

    fn say_troubles(&self, state: &State) {
        if state.up && state.rebuild.is_none() {
            self.say_up(state);
        }
    }

    fn say_up(&self, state: &State) {
        match state.troubles.first() {
            Some(trouble) => self.health.degraded(trouble),
            None => self.health.up(),
        }
    }

    /// An error that concerns a client as a whole. Only the producer's closes the gate.
    fn complain(&self, error: &KafkaError, reason: &str, producer: bool) {
        let Some(code) = error.rdkafka_error_code() else { return };
        let weight = match code {
            Code::AllBrokersDown => 0, // says nothing that the single failures do not say better
            Code::BrokerTransportFailure | Code::OperationTimedOut => FAILED_CONNECTION,
            Code::Resolve => 2,
            Code::SSL => 3,
            Code::Authentication | Code::SaslAuthenticationFailed => 4,
            // It may be one that the producer does not survive; librdkafka tells only when asked.
            _ if producer => return self.refresh(),
            // The consumers join no group, so that what the group's coordinator says does not matter.
            _ => return,
        };
        if code == Code::AllBrokersDown {
            let mut state = self.state.lock();
            if producer && state.gate {
                state.gate = false;
                state.closings += 1;
                self.wake.notify_all();
            }
            return;
        }
        self.note(weight, reason);
    }

    /// Keeps the most telling complaint.
    fn note(&self, weight: u8, reason: &str) {
        // How long it took and how often it was the same would make every attempt a change of the health.
        let reason = reason.split(" (after ").next().unwrap_or(reason);
        let mut state = self.state.lock();
        state.failure = Some((Instant::now(), reason.to_owned()));
        if state.complaint.as_ref().is_none_or(|(known, _)| weight >= *known) {
            let mut text = format!("Kafka cannot be reached: {reason}");
            if reason.contains("Disconnected") && !state.was_up {
                text.push_str("; it may want TLS or SASL: see tls and security.protocol");
            }
            if !state.up {
                self.health.down(text.clone());
            }
            state.complaint = Some((weight, text));
        }
    }

    fn answered(&self, closings: u64) {
        let mut state = self.state.lock();
        if state.stop {
            return;
        }
        if !state.up {
            (state.up, state.was_up, state.up_since) = (true, true, Some(Instant::now()));
            tracing::info!(connector = %self.name, "Kafka answers");
        }
        if state.rebuild.is_some() {
            let complaint = state.complaint.as_ref().map(|(_, text)| text.clone());
            return self.health.degraded(complaint.unwrap_or_default());
        }
        state.gate |= state.closings == closings;
        state.complaint = None;
        self.say_up(&state);
    }

    fn silent(&self, error: &KafkaError) {
        let mut state = self.state.lock();
        if state.gate {
            state.gate = false;
            state.closings += 1;
        }
        let complaint = state.complaint.get_or_insert_with(|| (0, format!("Kafka does not answer: {error}")));
        let text = complaint.1.clone();
        self.health.down(text.clone());
        if std::mem::take(&mut state.up) {
            tracing::warn!(connector = %self.name, reason = text, "Kafka does not answer");
        }
    }
}
