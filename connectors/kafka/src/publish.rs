//! Publishing: one idempotent producer, and before it a line of our own.
//!
//! librdkafka does not tell of a record that timed out whether it was ever sent. So a record is handed over only while
//! the cluster answers and the topic is known to exist; until then it waits in a *lane* of its topic, from where it
//! can be taken back: what the lane gives up on is surely not stored. A publish goes straight to the producer when its
//! topic has no lane; a lane is emptied in order before its topic goes straight again. Both happen under one lock, which
//! is what keeps the order of calls.
//!
//! The bound counts records from the call to librdkafka's last word, wherever they are.

use crate::catalog::Catalog;
use crate::create::Creator;
use crate::link::Link;
use crate::producer::{Answer, Pending, Producer, Waiting, hand_over, size};
use crate::tally::{Moments, Tally, Ticket};
use crate::topic;
use crate::trouble::Trouble;
use bytestring::ByteString;
use connector::{BoxFuture, Outbound, PublishError};
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaResult;
use rdkafka::metadata::Metadata;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How many records are handed over before the lock is let go for a moment.
const AT_ONCE: usize = 256;
/// In how many answers a topic must be missing before a publish to it is refused; the first may be older than the topic.
const MISSES: u32 = 2;
/// The same for a topic that we have just made.
const MISSES_OF_OURS: u32 = 25;
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The least time between two sweeps of a full line.
const SWEEP_APART: Duration = Duration::from_millis(100);
/// How long a record may be unconfirmed, while the cluster answers, before the health tells.
const UNCONFIRMED: Duration = Duration::from_secs(5);

/// The way to the broker.
pub(crate) struct Line {
    link: Arc<Link>,
    config: ClientConfig,
    creator: Option<Creator>,
    tally: Arc<Tally>,
    state: Mutex<State>,
}

struct State {
    producer: Arc<Producer>,
    lanes: HashMap<ByteString, Lane>,
    moments: Moments,
    unconfirmed: Option<Trouble>,
    /// When a full line was last swept.
    swept: Instant,
    closed: bool,
}

/// Records of one topic that wait for the cluster, or for the topic.
struct Lane {
    queue: VecDeque<Waiting>,
    since: Instant,
    misses: u32,
    /// We are making the topic, or have made it.
    making: Making,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Making {
    No,
    Asked,
    Made,
}

impl Line {
    pub(crate) fn new(
        link: Arc<Link>,
        config: ClientConfig,
        creator: Option<Creator>,
        max_records: usize,
        max_bytes: usize,
    ) -> KafkaResult<Arc<Self>> {
        let producer = Producer::new(&link, &config)?;
        let state = State {
            producer,
            lanes: HashMap::new(),
            moments: Moments::new(),
            unconfirmed: None,
            swept: Instant::now(),
            closed: false,
        };
        Ok(Arc::new(Line {
            link,
            config,
            creator,
            tally: Tally::new(max_records, max_bytes),
            state: Mutex::new(state),
        }))
    }

    /// Asks the cluster for a topic, or for all, without making any. Blocks for up to `patience`.
    pub(crate) fn metadata(&self, topic: Option<&str>, patience: Duration) -> KafkaResult<Metadata> {
        let producer = self.state.lock().producer.clone();
        producer.metadata(topic, patience)
    }

    /// Why the producer will never work again, if that is so.
    pub(crate) fn fatal(&self) -> Option<String> {
        let producer = self.state.lock().producer.clone();
        producer.fatal()
    }

    /// Takes the record's place in line, then waits for the answer.
    pub(crate) fn publish(self: &Arc<Self>, record: Outbound) -> BoxFuture<'static, Answer> {
        match self.enqueue(record) {
            Err(refusal) => Box::pin(std::future::ready(Err(refusal))),
            Ok((deadline, ticket, answer)) => Box::pin(self.clone().wait(deadline, ticket, answer)),
        }
    }

    fn enqueue(&self, record: Outbound) -> Result<(Instant, Arc<Ticket>, oneshot::Receiver<Answer>), PublishError> {
        (topic::SYNTAX.check)(&record.topic).map_err(|why| PublishError::TopicInvalid(why.to_owned()))?;
        if record.deadline <= Instant::now() {
            return Err(PublishError::Unavailable("the deadline was over before the record was sent".into()));
        }
        let bytes = size(&record);
        let seat = self.tally.take(bytes).or_else(|| {
            self.sweep_when_full();
            self.tally.take(bytes)
        });
        let Some(seat) = seat else {
            return Err(PublishError::Overloaded("too many records wait for Kafka".into()));
        };
        let (sender, answer) = oneshot::channel();
        let (deadline, ticket) = (record.deadline, Arc::<Ticket>::default());
        let pending = Pending::new(sender, seat);
        let waiting = Waiting { record, since: Instant::now(), ticket: ticket.clone(), pending };

        let mut state = self.state.lock();
        if state.closed {
            return Err(PublishError::Unavailable("the connector is closed".into()));
        }
        let name = &waiting.record.topic;
        let open = self.link.open();
        if let Some(lane) = state.lanes.get_mut(name) {
            lane.queue.push_back(waiting);
        } else if open && self.link.topics().partitions(name).is_some() {
            hand_over(&self.link, &state.producer, state.moments.now(), waiting);
        } else {
            let name = name.clone();
            let lane = Lane { queue: [waiting].into(), since: Instant::now(), misses: 0, making: Making::No };
            self.link.look_for(&name, Duration::ZERO);
            state.lanes.insert(name, lane);
        }
        Ok((deadline, ticket, answer))
    }

    async fn wait(
        self: Arc<Self>,
        deadline: Instant,
        ticket: Arc<Ticket>,
        mut answer: oneshot::Receiver<Answer>,
    ) -> Answer {
        let unknown = || Err(PublishError::OutcomeUnknown("Kafka did not confirm the record in time".into()));
        tokio::select! {
            biased;
            answer = &mut answer => answer.unwrap_or_else(|_| unknown()),
            () = tokio::time::sleep_until(deadline.into()) => {
                if ticket.take_back() {
                    return Err(PublishError::Unavailable(self.link.complaint()));
                }
                answer.try_recv().unwrap_or_else(|_| unknown())
            }
        }
    }

    /// Hands over what waits for nothing any more, and refuses what waits in vain.
    pub(crate) fn pump(self: &Arc<Self>) {
        while self.link.open() && self.pump_some() {}
    }

    /// Whether there may be more to do.
    fn pump_some(self: &Arc<Self>) -> bool {
        let catalog = self.link.topics();
        let mut state = self.state.lock();
        let State { producer, lanes, moments, .. } = &mut *state;
        let ready = lanes.keys().find(|name| catalog.partitions(name).is_some()).cloned();
        if let Some(lane) = ready.as_ref().and_then(|name| lanes.get_mut(name)) {
            for _ in 0..AT_ONCE {
                let Some(waiting) = lane.queue.pop_front() else { break };
                hand_over(&self.link, producer, moments.now(), waiting);
            }
            if lane.queue.is_empty() {
                lanes.retain(|name, _| Some(name) != ready.as_ref());
            }
            return true;
        }
        let mut refused = Vec::new();
        for (name, lane) in &mut *lanes {
            match self.link.asked_about(name) {
                Some(asked) if asked > lane.since => (lane.misses, lane.since) = (lane.misses + 1, Instant::now()),
                _ => continue,
            }
            let patience = if lane.making == Making::No { MISSES } else { MISSES_OF_OURS };
            if lane.making == Making::Asked {
                continue;
            } else if lane.misses < patience {
                self.link.look_for(name, LOOK_AGAIN);
            } else if lane.making == Making::No && self.make_topic(name, &catalog) {
                lane.making = Making::Asked;
            } else {
                refused.push(name.clone());
            }
        }
        for name in refused {
            refuse(lanes, &name, &PublishError::TopicUnknown(name.to_string()));
        }
        false
    }

    fn make_topic(self: &Arc<Self>, name: &ByteString, catalog: &Catalog) -> bool {
        let Some(creator) = &self.creator else { return false };
        let (line, name) = (self.clone(), name.clone());
        creator.make(name.clone(), catalog, move |made| line.topic_was_made(&name, made))
    }

    fn topic_was_made(&self, name: &ByteString, made: Result<(), PublishError>) {
        let mut state = self.state.lock();
        match made {
            Ok(()) => {
                if let Some(lane) = state.lanes.get_mut(name) {
                    (lane.making, lane.misses) = (Making::Made, 0);
                }
                self.link.look_for(name, Duration::ZERO);
            }
            Err(error) => refuse(&mut state.lanes, name, &error),
        }
    }

    /// Sweeping takes time by what waits, under the lock: publishes to a full line must not each do that.
    fn sweep_when_full(&self) {
        let mut state = self.state.lock();
        if state.swept.elapsed() >= SWEEP_APART {
            state.swept = Instant::now();
            drop(state);
            self.sweep();
        }
    }

    /// Forgets records that were taken back, and gives up on those whose time is over.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let mut late = Vec::new();
        self.state.lock().lanes.retain(|_, lane| {
            let (kept, gone): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut lane.queue)
                .into_iter()
                .partition(|waiting| !waiting.ticket.taken_back() && waiting.record.deadline > now);
            lane.queue = kept;
            late.push(gone);
            !lane.queue.is_empty()
        });
        for waiting in late.into_iter().flatten() {
            if waiting.ticket.take_back() {
                waiting.pending.answer(Err(PublishError::Unavailable(self.link.complaint())));
            }
        }
    }

    /// The cluster may answer by one address while the partitions' leaders cannot be reached by theirs: that shows in
    /// records that nobody confirms.
    pub(crate) fn watch(&self) {
        let mut state = self.state.lock();
        let oldest = state.moments.oldest();
        let waited = oldest.zip(self.link.up_for()).map(|(since, up_for)| since.elapsed().min(up_for));
        if waited.is_none_or(|waited| waited < UNCONFIRMED) {
            state.unconfirmed = None;
        } else if state.unconfirmed.is_none() {
            let cause = self.link.likely_cause();
            let text = format!(
                "Kafka answers, but has not confirmed records for more than 5 s: enough replicas must be in sync, and {cause}"
            );
            state.unconfirmed = Some(Trouble::new(&self.link, text));
        }
    }

    /// Puts a new producer in the place of one that failed for good. What the old one still holds is answered as
    /// "may be stored".
    pub(crate) fn rebuild(&self) {
        match Producer::new(&self.link, &self.config) {
            Ok(producer) => {
                self.state.lock().producer = producer;
                tracing::warn!(connector = %self.link.name, "a new Kafka producer is in place");
            }
            Err(error) => self.link.producer_is_fatal(&error.to_string()),
        }
    }

    /// Takes nothing more, and waits until all is answered.
    pub(crate) async fn close(&self, grace: Duration) {
        self.state.lock().closed = true;
        if tokio::time::timeout(grace, self.tally.emptied()).await.is_err() {
            tracing::warn!(connector = %self.link.name, "closed before Kafka had confirmed every record");
        }
        let lanes = std::mem::take(&mut self.state.lock().lanes);
        for waiting in lanes.into_values().flat_map(|lane| lane.queue) {
            if waiting.ticket.take_back() {
                waiting.pending.answer(Err(PublishError::Unavailable("the connector is closed".into())));
            }
        }
    }
}

fn refuse(lanes: &mut HashMap<ByteString, Lane>, name: &ByteString, error: &PublishError) {
    for waiting in lanes.remove(name).into_iter().flat_map(|lane| lane.queue) {
        if waiting.ticket.take_back() {
            waiting.pending.answer(Err(error.clone()));
        }
    }
}
