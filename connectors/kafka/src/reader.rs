//! Reading: a thread that owns a consumer and hands the records of its partitions to subscriptions.
//!
//! * Each partition has a queue of its own, which is simply not polled while one of its subscriptions is full:
//!   librdkafka's bounded prefetch fills, and fetching that partition pauses. Others go on.
//! * Each subscription keeps its own next offset per partition, and what is below it is dropped. So a partition can be
//!   read again from an earlier offset for whatever reason, and nobody gets a record twice.
//! * A partition that fails (its offset is out of range, its topic is gone) is given up and looked at anew: what it
//!   holds now is asked for, and the last record handed over is compared with the one now at its offset. Where they
//!   differ, the topic was made anew, and is read from its beginning.
//! * All live subscriptions share one reader. One that starts elsewhere has its own, and so gets one that holds others
//!   up on a partition that they share.

use crate::again::{self, not_allowed};
use crate::desk::{Command, Desk, Spot};
use crate::link::{Link, Listening};
use crate::part::{Part, Progress};
use crate::reading::Reading;
use crate::resolve::{Bounds, Key, Resolver};
use crate::trouble::Trouble;
use bytestring::ByteString;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;

pub(crate) type Consumer = BaseConsumer<Listening>;

/// How many records of a partition are handed over before the next one has its turn.
const TURN: usize = 256;
/// How often librdkafka's own events (logs, errors) are served when nothing else happens.
const IDLE: Duration = Duration::from_millis(250);
/// How long serving them may take.
const EVENTS: Duration = Duration::from_millis(1);
/// How long a full subscription may hold up others on the same partition.
const HOLD_UP: Duration = Duration::from_millis(100);
/// How long nothing may come of a partition that is read from anew, not even that there is nothing, before the health tells.
const SILENCE: Duration = Duration::from_secs(10);
/// How often a partition fails without being read further before the health tells.
const ROUNDS: u32 = 3;

/// What readers need.
pub(crate) struct Env {
    pub(crate) link: Arc<Link>,
    pub(crate) resolver: Resolver,
    pub(crate) config: ClientConfig,
    pub(crate) runtime: Handle,
}

/// Starts the reader that all live subscriptions share.
pub(crate) fn share(env: Arc<Env>, consumer: Arc<Consumer>) -> std::io::Result<Arc<Desk>> {
    let desk = Arc::<Desk>::default();
    let reader = Reader::new(env, desk.clone(), consumer, None);
    std::thread::Builder::new().name("kafka-read".into()).spawn(move || reader.run())?;
    Ok(desk)
}

/// Starts a reader for one subscription alone, and moves it there. `place` is kept until it ends.
pub(crate) fn alone(env: &Arc<Env>, reading: &Arc<Reading>, spots: Vec<Spot>, place: Option<OwnedSemaphorePermit>) {
    let desk = Arc::<Desk>::default();
    desk.attach(reading, spots);
    let (env, reader_desk, owner) = (env.clone(), desk.clone(), reading.clone());
    reading.move_to(desk);
    let body = move || {
        let _place = place;
        match env.config.create_with_context::<_, Consumer>(Listening::new(env.link.clone())) {
            Ok(consumer) => Reader::new(env, reader_desk, Arc::new(consumer), Some(owner)).run(),
            Err(error) => {
                tracing::error!(connector = %env.link.name, %error, "no Kafka consumer could be made");
                owner.fail(connector::SubscribeError::Closed);
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("kafka-read-one".into()).spawn(body) {
        tracing::error!(%error, "no thread for a Kafka consumer could be made");
        reading.fail(connector::SubscribeError::Closed);
    }
}

struct Reader {
    env: Arc<Env>,
    desk: Arc<Desk>,
    consumer: Arc<Consumer>,
    /// The only subscription, where this reader is not shared.
    owner: Option<Arc<Reading>>,
    parts: HashMap<u64, Part>,
    index: HashMap<Key, u64>,
    next_slot: u64,
    /// Partitions that have more than their turn allowed.
    again: VecDeque<u64>,
    /// Partitions with a record that a full subscription still has to get.
    held: HashSet<u64>,
    /// When librdkafka's own events were served.
    served: Instant,
    /// Subscriptions that were full, and since when.
    full: Vec<(Arc<Reading>, Instant)>,
}

impl Reader {
    fn new(env: Arc<Env>, desk: Arc<Desk>, consumer: Arc<Consumer>, owner: Option<Arc<Reading>>) -> Self {
        Reader {
            env,
            desk,
            consumer,
            owner,
            parts: HashMap::new(),
            index: HashMap::new(),
            next_slot: 0,
            again: VecDeque::new(),
            held: HashSet::new(),
            served: Instant::now(),
            full: Vec::new(),
        }
    }

    fn run(mut self) {
        loop {
            let wait = match (self.again.is_empty(), self.full.is_empty()) {
                (false, _) => None,
                (true, false) if self.owner.is_none() => Some(HOLD_UP / 2),
                (true, _) => Some(IDLE),
            };
            let inbox = self.desk.take(wait);
            if inbox.stop || self.owner.as_ref().is_some_and(|owner| owner.is_over()) {
                break;
            }
            for command in inbox.commands {
                match command {
                    Command::Attach(reading, spots) => self.attach(&reading, spots),
                    Command::Revive(slot, bounds, trouble) => self.revive(slot, bounds, trouble),
                    Command::Suspect(topic) => self.suspect(&topic),
                }
            }
            if inbox.sweep {
                self.let_go(|reading| reading.is_over());
            }
            if self.served.elapsed() >= IDLE {
                // Logs and errors, which go to the context; records come by the partitions' own queues. A poll without
                // patience would end after one of them.
                while self.consumer.poll(EVENTS).is_some() {}
                self.served = Instant::now();
                self.watch();
            }
            if inbox.room {
                self.again.extend(self.held.iter().copied());
            }
            let turns: Vec<u64> = self.again.drain(..).chain(inbox.nonempty).collect();
            for slot in turns {
                self.turn(slot);
            }
            self.relieve();
        }
        // Ends the subscriptions; then the consumer closes, on this thread.
        for part in self.parts.values() {
            part.takers.iter().for_each(|taker| taker.reading.over.cancel());
        }
    }

    fn attach(&mut self, reading: &Arc<Reading>, spots: Vec<Spot>) {
        if reading.is_over() {
            return;
        }
        let mut fresh = Vec::new();
        for spot in spots {
            match self.index.get(&spot.key).copied() {
                None => {
                    let slot = self.next_slot;
                    self.next_slot += 1;
                    self.index.insert(spot.key.clone(), slot);
                    let from = spot.check.map_or(spot.from, |check| check.offset);
                    let mut part = Part::new(spot.key, spot.check);
                    part.add(reading, spot.from);
                    self.parts.insert(slot, part);
                    fresh.push((slot, from));
                }
                Some(slot) => {
                    let Some(part) = self.parts.get_mut(&slot) else { continue };
                    part.add(reading, spot.from);
                    if part.reads_from().is_some_and(|next| spot.from < next) {
                        self.read_from(slot, spot.from);
                    } else {
                        part.repeat_end(self.env.link.topics().single(&spot.key.0));
                        self.again.push_back(slot);
                    }
                }
            }
        }
        self.assign(&fresh);
    }

    /// Begins to read partitions that are not being read.
    fn assign(&mut self, slots: &[(u64, i64)]) {
        let mut list = TopicPartitionList::with_capacity(slots.len());
        for &(slot, from) in slots {
            let Some(part) = self.parts.get_mut(&slot) else { continue };
            // The queue is split off before the partition is assigned: no record can then come by the common one.
            let Some(mut queue) = self.consumer.split_partition_queue(&part.key.0, part.key.1) else { continue };
            let desk = self.desk.clone();
            // Called with the queue's lock held: it only leaves a note.
            queue.set_nonempty_callback(move || desk.nonempty(slot));
            part.begin(queue, from);
            let offset = if from == 0 { Offset::Beginning } else { Offset::Offset(from) };
            let _ = list.add_partition_offset(&part.key.0, part.key.1, offset);
            self.again.push_back(slot);
        }
        if list.count() > 0
            && let Err(error) = self.consumer.incremental_assign(&list)
        {
            tracing::error!(connector = %self.env.link.name, %error, "Kafka partitions could not be assigned");
            for &(slot, _) in slots {
                self.give_up(slot, Code::Fail);
            }
        }
    }

    /// Stops reading a partition.
    fn unassign(&mut self, slot: u64) {
        self.held.remove(&slot);
        let Some(part) = self.parts.get_mut(&slot) else { return };
        if part.end() {
            let mut list = TopicPartitionList::with_capacity(1);
            list.add_partition(&part.key.0, part.key.1);
            if let Err(error) = self.consumer.incremental_unassign(&list) {
                tracing::debug!(connector = %self.env.link.name, %error, "a Kafka partition was not assigned");
            }
        }
    }

    fn read_from(&mut self, slot: u64, from: i64) {
        self.unassign(slot);
        self.assign(&[(slot, from)]);
    }

    /// Hands over what a partition has.
    fn turn(&mut self, slot: u64) {
        let single = self.parts.get(&slot).is_some_and(|part| self.env.link.topics().single(&part.key.0));
        for _ in 0..TURN {
            let Some(part) = self.parts.get_mut(&slot) else { return };
            match part.advance(single, || self.consumer.context().end()) {
                Progress::Nothing => return,
                Progress::Passed => {
                    self.held.remove(&slot);
                }
                Progress::Full(readings) => {
                    self.held.insert(slot);
                    for reading in readings {
                        reading.tell_of_room(&self.desk, &self.env.runtime);
                        if !self.full.iter().any(|(known, _)| Arc::ptr_eq(known, &reading)) {
                            self.full.push((reading, Instant::now()));
                        }
                    }
                    return;
                }
                Progress::MadeAnew => {
                    let topic = &part.key.0;
                    tracing::warn!(connector = %self.env.link.name, %topic, partition = part.key.1,
                        "the topic was made anew: reading it from its beginning");
                    part.start_over();
                    return self.read_from(slot, 0);
                }
                Progress::Ended => return self.let_go(|reading| reading.is_over()),
                Progress::Failed(code) => return self.give_up(slot, code),
            }
        }
        self.again.push_back(slot);
    }

    /// Gives a partition up, and looks at it anew after a while.
    fn give_up(&mut self, slot: u64, code: Code) {
        self.unassign(slot);
        let Some(part) = self.parts.get_mut(&slot) else { return };
        let (key, time) = (part.key.clone(), part.time());
        let pause = again::pause(part.failures);
        part.failures += 1;
        let alive = Arc::downgrade(&part.alive);
        tracing::debug!(connector = %self.env.link.name, topic = %key.0, partition = key.1, ?code, "looking at a Kafka partition anew");
        match code {
            Code::TopicAuthorizationFailed => {
                Trouble::tell(&mut part.trouble, &self.env.link, not_allowed(&key.0));
            }
            Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => part.trouble = None,
            _ if part.failures >= ROUNDS => {
                let text = format!("partition {} of Kafka topic {} cannot be read further: {code}", key.1, key.0);
                Trouble::tell(&mut part.trouble, &self.env.link, text);
            }
            _ => {}
        }
        let (env, desk) = (Arc::downgrade(&self.env), Arc::downgrade(&self.desk));
        self.env.runtime.spawn(again::look(env, desk, alive, slot, key, time, pause));
    }

    /// Reads a partition again that had been given up.
    fn revive(&mut self, slot: u64, bounds: Bounds, trouble: Option<Trouble>) {
        let Some(part) = self.parts.get_mut(&slot) else { return };
        if part.reads_from().is_some() {
            return;
        }
        // Only a record, or the end, shows that it can be read.
        part.trouble = part.trouble.take().or(trouble);
        let from = part.resume(bounds, &self.env.link.name, &self.env.link.lost);
        self.assign(&[(slot, from)]);
    }

    /// A leader may be unreachable although the cluster answers.
    fn watch(&mut self) {
        let Some(up_for) = self.env.link.up_for() else { return };
        let silent = |part: &Part| part.waited().is_some_and(|waited| waited.min(up_for) >= SILENCE);
        for part in self.parts.values_mut().filter(|part| part.trouble.is_none() && silent(part)) {
            let (topic, cause) = (&part.key.0, self.env.link.likely_cause());
            let text = format!("nothing comes from a leader of Kafka topic {topic}: {cause}");
            part.trouble = Some(Trouble::new(&self.env.link, text));
        }
    }

    fn suspect(&mut self, topic: &ByteString) {
        let of_topic = |(_, part): &(&u64, &Part)| part.key.0 == *topic && part.reads_from().is_some();
        let slots: Vec<u64> = self.parts.iter().filter(of_topic).map(|(slot, _)| *slot).collect();
        for slot in slots {
            self.give_up(slot, Code::UnknownTopic);
        }
    }

    /// Forgets subscriptions, and partitions that nobody reads any more.
    fn let_go(&mut self, gone: impl Fn(&Arc<Reading>) -> bool) {
        let mut unread = Vec::new();
        for (slot, part) in &mut self.parts {
            part.takers.retain(|taker| !gone(&taker.reading));
            if part.takers.is_empty() {
                unread.push(*slot);
            }
        }
        for slot in unread {
            self.unassign(slot);
            if let Some(part) = self.parts.remove(&slot) {
                self.index.remove(&part.key);
            }
        }
        self.full.retain(|(reading, _)| !gone(reading));
        // What the others still wait for behind it can go on.
        self.again.extend(self.held.iter().copied());
    }

    /// Moves subscriptions that hold up others to readers of their own.
    fn relieve(&mut self) {
        self.full.retain(|(reading, _)| reading.sink.capacity() * 2 < reading.sink.max_capacity());
        if self.owner.is_some() {
            return;
        }
        let late: Vec<_> =
            self.full.iter().filter(|(_, since)| since.elapsed() >= HOLD_UP).map(|(r, _)| r.clone()).collect();
        for reading in late {
            let reads = |part: &Part| part.takers.iter().any(|taker| Arc::ptr_eq(&taker.reading, &reading));
            if !self.parts.values().any(|part| part.takers.len() > 1 && reads(part)) {
                continue;
            }
            tracing::info!(connector = %self.env.link.name, "a slow subscription gets a Kafka consumer of its own");
            let spots = self.parts.values().flat_map(|part| part.spots_of(&reading)).collect();
            self.let_go(|other| Arc::ptr_eq(other, &reading));
            alone(&self.env, &reading, spots, None);
        }
    }
}

/// The code of an error that came by a partition's queue.
pub(crate) fn code_of(error: &KafkaError) -> Code {
    error.rdkafka_error_code().unwrap_or(Code::Fail)
}
