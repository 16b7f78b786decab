//! Subscribing: a task per subscription that finds where to begin, then follows the catalog for topics and partitions
//! that appear.
//!
//! A live subscription begins at the end that each partition has when it is asked. Where the cluster could not be asked at
//! once, it begins at the first record that is not older than the call, by the records' own times. So do partitions that
//! do not tell, for want of a leader or because it does not answer: they are left for later, and the others go on.

use crate::catalog::{Catalog, NO_LEADER};
use crate::desk::{Desk, Spot};
use crate::part::Check;
use crate::position::{self, Place};
use crate::reader::{self, Env, not_allowed};
use crate::reading::Reading;
use crate::resolve::{Key, Offsets, Point};
use crate::topic::SYNTAX;
use crate::trouble::Trouble;
use bytestring::ByteString;
use connector::{Inbound, Start, SubscribeError, Subscription, TopicFilter};
use rdkafka::error::RDKafkaErrorCode as Code;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How many consumers there may be besides the shared one; further subscriptions that need one wait for a place.
const OWN_READERS: usize = 64;
/// How long to wait before a question that failed is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(300);
/// After how long the health tells that some partitions could not be begun with.
const LASTING: Duration = Duration::from_secs(5);
/// After how many rounds to begin with the partitions that answer, and leave the others for later.
const ROUNDS: u32 = 3;

/// What subscriptions of one connector share.
pub(crate) struct Subscriptions {
    env: Arc<Env>,
    shared: Arc<Desk>,
    places: Arc<Semaphore>,
    closed: CancellationToken,
}

/// The call of `subscribe`.
struct Call {
    filter: TopicFilter,
    start: Start,
    at: Instant,
    /// Milliseconds since 1970.
    time: i64,
    /// The cluster answered at that moment.
    up: bool,
}

impl Subscriptions {
    pub(crate) fn new(env: Arc<Env>, shared: Arc<Desk>) -> Self {
        let (places, closed) = (Arc::new(Semaphore::new(OWN_READERS)), CancellationToken::new());
        Subscriptions { env, shared, places, closed }
    }

    pub(crate) fn subscribe(
        &self,
        filter: TopicFilter,
        start: Start,
        sink: mpsc::Sender<Inbound>,
    ) -> Result<Subscription, SubscribeError> {
        if self.closed.is_cancelled() {
            return Err(SubscribeError::Closed);
        }
        if let Start::After(position) = &start {
            position::parse(position)?;
            if filter.as_exact(&SYNTAX).is_none() {
                let why = "a Kafka position belongs to one topic, and the subscription is to a family of topics";
                return Err(SubscribeError::PositionInvalid(why.into()));
            }
        }
        let (ready_sender, ready) = oneshot::channel();
        let over = self.closed.child_token();
        let reading = Reading::new(sink, ready_sender, over.clone());
        let call = Call { filter, start, at: Instant::now(), time: millis(SystemTime::now()), up: self.env.link.up() };
        let follower = Follower {
            env: self.env.clone(),
            shared: self.shared.clone(),
            places: self.places.clone(),
            reading,
            call,
            known: HashMap::new(),
            suspected: HashSet::new(),
            pending: Vec::new(),
            asking: JoinSet::new(),
            troubles: HashMap::new(),
        };
        self.env.runtime.spawn(follower.run());
        let guard: DropGuard = over.drop_guard();
        Ok(Subscription::new(ready, guard))
    }

    /// Ends all.
    pub(crate) fn close(&self) {
        self.closed.cancel();
        self.shared.stop();
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        self.close();
    }
}

/// Milliseconds since 1970.
pub(crate) fn millis(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Where to begin, and what is still to be asked for.
type First = (Vec<Spot>, Option<(Vec<Key>, Point)>);

struct Follower {
    env: Arc<Env>,
    shared: Arc<Desk>,
    places: Arc<Semaphore>,
    reading: Arc<Reading>,
    call: Call,
    /// Topics that fit, with how many of their partitions are being read.
    known: HashMap<ByteString, i32>,
    /// Those of them that the catalog does not hold any more.
    suspected: HashSet<ByteString>,
    /// Partitions that were there at the call, and whose offsets could not be told yet.
    pending: Vec<Key>,
    /// Questions for them.
    asking: JoinSet<Offsets>,
    /// Topics that some of them belong to, when that lasts.
    troubles: HashMap<ByteString, Option<Trouble>>,
}

impl Follower {
    async fn run(mut self) {
        let reading = self.reading.clone();
        tokio::select! {
            () = reading.over.cancelled() => {}
            () = reading.sink.closed() => {}
            result = Box::pin(self.follow()) => {
                if let Err(error) = result {
                    reading.fail(error);
                }
            }
        }
        reading.end();
    }

    async fn follow(&mut self) -> Result<(), SubscribeError> {
        let mut catalogs = self.env.link.catalog();
        let catalog = self.first_catalog().await?;
        let present = self.take_new(&catalog);
        let (spots, rest) = self.first_spots(&catalog, present).await?;
        let checked = spots.iter().any(|spot| spot.check.is_some());
        if self.call.start == Start::Live {
            self.reading.move_to(self.shared.clone());
            self.shared.attach(&self.reading, spots);
        } else {
            let place = self.places.clone().acquire_owned().await.map_err(|_| SubscribeError::Closed)?;
            reader::alone(&self.env, &self.reading, spots, Some(place));
        }
        if let Some((keys, point)) = rest {
            self.resolve(keys, point).await?;
        }
        if !checked {
            self.reading.ready(Ok(()));
        }
        loop {
            let catalog = catalogs.borrow_and_update().clone();
            self.keep_up(&catalog);
            self.ask_for_pending(&catalog);
            self.tell_of_pending();
            loop {
                tokio::select! {
                    changed = catalogs.changed() => break changed.map_err(|_| SubscribeError::Closed)?,
                    Some(answer) = self.asking.join_next() => self.late(answer.unwrap_or_default()),
                }
            }
        }
    }

    /// A catalog that tells what was there at the call.
    async fn first_catalog(&self) -> Result<Arc<Catalog>, SubscribeError> {
        let link = &self.env.link;
        let Some(topic) = self.call.filter.as_exact(&SYNTAX) else {
            link.refresh();
            let mut catalogs = link.catalog();
            let fresh = catalogs.wait_for(|catalog| catalog.asked.is_some_and(|asked| asked >= self.call.at)).await;
            return fresh.map(|catalog| catalog.clone()).map_err(|_| SubscribeError::Closed);
        };
        let (mut catalogs, mut looks) = (link.catalog(), link.looks());
        let there = || link.topics().partitions(&topic).is_some();
        let fresh = || link.asked_about(&topic).is_some_and(|asked| asked >= self.call.at);
        if !there() {
            link.look_for(&topic.as_str().into(), Duration::ZERO);
        }
        while !there() && !fresh() {
            let changed = tokio::select! {
                changed = catalogs.changed() => changed,
                changed = looks.changed() => changed,
            };
            changed.map_err(|_| SubscribeError::Closed)?;
        }
        Ok(link.topics())
    }

    /// The partitions that fit and were not known before.
    fn take_new(&mut self, catalog: &Catalog) -> Vec<Key> {
        let mut new = Vec::new();
        let Follower { known, call, .. } = self;
        for (topic, count) in catalog.topics().filter(|(topic, _)| call.filter.matches(topic, &SYNTAX)) {
            let before = known.get(topic).copied().unwrap_or(0);
            if count > before {
                new.extend((before..count).map(|partition| (topic.clone(), partition)));
                known.insert(topic.clone(), count);
            }
        }
        new
    }

    /// Where to begin, and for what this has still to be asked.
    async fn first_spots(&mut self, catalog: &Catalog, present: Vec<Key>) -> Result<First, SubscribeError> {
        let point = match &self.call.start {
            Start::Earliest => return Ok((present.into_iter().map(|key| spot(key, 0)).collect(), None)),
            Start::Live if self.call.up => Point::End,
            Start::Live => Point::Time(self.call.time),
            Start::At(time) => Point::Time(millis(*time)),
            Start::After(position) => {
                let place = position::parse(position)?;
                return self.after(place, catalog, present).await;
            }
        };
        Ok((Vec::new(), Some((present, point))))
    }

    async fn after(&self, place: Place, catalog: &Catalog, mut keys: Vec<Key>) -> Result<First, SubscribeError> {
        let gone = SubscribeError::PositionGone { first: None, last: None };
        let Some((topic, _)) = keys.first().cloned() else { return Err(gone) };
        match place {
            Place::Number(_) if !catalog.single(&topic) => Err(SubscribeError::PositionInvalid(format!(
                "topic {topic} has several partitions, and a number tells none of them"
            ))),
            Place::Number(number) => {
                let key = (topic, 0);
                let (low, high) = self.bounds(&key).await?;
                if !(low..=high).contains(&number) {
                    let number = |offset| Some(position::of(true, 0, offset, None));
                    let (first, last) = (number(low), number((high - 1).max(low)));
                    return Err(SubscribeError::PositionGone { first, last });
                }
                Ok((vec![spot(key, number)], None))
            }
            Place::Record { partition, offset, timestamp } => {
                let key = (topic, partition);
                if !keys.contains(&key) {
                    let why = format!("topic {} has no partition {partition}", key.0);
                    return Err(SubscribeError::PositionInvalid(why));
                }
                let (low, high) = self.bounds(&key).await?;
                // The record before the oldest may be gone: what follows it is all there.
                if !(low - 1..high).contains(&offset) {
                    return Err(gone);
                }
                let check = (offset >= low).then_some(Check { offset, timestamp, begin: true });
                keys.retain(|other| *other != key);
                Ok((vec![Spot { key, from: offset + 1, check }], Some((keys, Point::Time(timestamp)))))
            }
        }
    }

    async fn bounds(&self, key: &Key) -> Result<(i64, i64), SubscribeError> {
        loop {
            match self.env.resolver.bounds(key, None).await {
                Ok(bounds) => return Ok((bounds.low, bounds.high)),
                Err(Code::TopicAuthorizationFailed) => return Err(SubscribeError::Denied(not_allowed(&key.0))),
                Err(_) => tokio::time::sleep(ASK_AGAIN).await,
            }
        }
    }

    /// Begins where the leaders say, each as soon as it has answered. Partitions that do not tell are left for later.
    async fn resolve(&mut self, mut keys: Vec<Key>, mut point: Point) -> Result<(), SubscribeError> {
        for round in 1.. {
            let link = self.env.link.clone();
            let mut asking = JoinSet::new();
            for (leader, keys) in by_leader(&link.topics(), std::mem::take(&mut keys)) {
                if leader == NO_LEADER {
                    self.pending.extend(keys);
                } else {
                    asking.spawn(offsets(self.env.clone(), keys, point));
                }
            }
            while let Some(answer) = asking.join_next().await {
                let failed = self.begin(answer.unwrap_or_default());
                let exact = self.call.filter.as_exact(&SYNTAX).is_some();
                let denied = failed.iter().find(|(_, code)| *code == Code::TopicAuthorizationFailed);
                if let Some((key, _)) = denied.filter(|_| exact) {
                    return Err(SubscribeError::Denied(not_allowed(&key.0)));
                }
                self.tell_of_denied(&failed);
                keys.extend(failed.into_iter().map(|(key, _)| key));
            }
            if keys.is_empty() {
                break;
            }
            if point == Point::End {
                point = Point::Time(self.call.time);
            }
            if round >= ROUNDS && link.up() {
                self.pending.append(&mut keys);
                break;
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        Ok(())
    }

    /// Reads what has told where to begin. What has not, is told with the reason.
    fn begin(&mut self, offsets: Offsets) -> Vec<(Key, Code)> {
        let (mut spots, mut failed) = (Vec::new(), Vec::new());
        for (key, offset) in offsets {
            match offset {
                Ok(offset) => spots.push(spot(key, offset)),
                Err(code) => failed.push((key, code)),
            }
        }
        if let Some(home) = self.reading.home()
            && !spots.is_empty()
        {
            home.attach(&self.reading, spots);
        }
        failed
    }

    /// Asks, without waiting for the answers, for what could not be begun before.
    fn ask_for_pending(&mut self, catalog: &Catalog) {
        let time = match &self.call.start {
            Start::At(time) => millis(*time),
            Start::After(position) => match position::parse(position) {
                Ok(Place::Record { timestamp, .. }) => timestamp,
                _ => self.call.time,
            },
            _ => self.call.time,
        };
        for (leader, keys) in by_leader(catalog, std::mem::take(&mut self.pending)) {
            if leader == NO_LEADER {
                self.pending.extend(keys);
            } else {
                self.asking.spawn(offsets(self.env.clone(), keys, Point::Time(time)));
            }
        }
    }

    fn late(&mut self, offsets: Offsets) {
        let failed = self.begin(offsets);
        self.tell_of_denied(&failed);
        self.pending.extend(failed.into_iter().map(|(key, _)| key));
        self.tell_of_pending();
    }

    fn tell_of_denied(&mut self, failed: &[(Key, Code)]) {
        for (key, _) in failed.iter().filter(|(_, code)| *code == Code::TopicAuthorizationFailed) {
            let slot = self.troubles.entry(key.0.clone()).or_default();
            Trouble::tell(slot, &self.env.link, not_allowed(&key.0));
        }
    }

    /// Says what lasts, and forgets what is over.
    fn tell_of_pending(&mut self) {
        let link = &self.env.link;
        let catalog = link.topics();
        let topics: HashSet<&ByteString> =
            self.pending.iter().map(|(topic, _)| topic).filter(|topic| catalog.partitions(topic).is_some()).collect();
        if self.asking.is_empty() {
            self.troubles.retain(|topic, _| topics.contains(topic));
        }
        if self.call.at.elapsed() < LASTING {
            return;
        }
        for topic in topics {
            self.troubles.entry(topic.clone()).or_insert_with(|| {
                let leaderless = self.pending.iter().any(|(t, p)| t == topic && catalog.leader(t, *p) == NO_LEADER);
                let cause = if leaderless { "there is no leader".into() } else { link.likely_cause() };
                let text = format!("some partitions of Kafka topic {topic} cannot be read yet: {cause}");
                Some(Trouble::new(link, text))
            });
        }
    }

    /// Reads what is new, from its beginning.
    fn keep_up(&mut self, catalog: &Catalog) {
        let spots: Vec<Spot> = self.take_new(catalog).into_iter().map(|key| spot(key, 0)).collect();
        let Some(home) = self.reading.home() else { return };
        if !spots.is_empty() {
            home.attach(&self.reading, spots);
        }
        for topic in self.known.keys() {
            if catalog.partitions(topic).is_some() {
                self.suspected.remove(topic);
            } else if self.suspected.insert(topic.clone()) {
                home.suspect(topic.clone());
            }
        }
    }
}

fn by_leader(catalog: &Catalog, keys: Vec<Key>) -> BTreeMap<i32, Vec<Key>> {
    let mut by_leader: BTreeMap<i32, Vec<Key>> = BTreeMap::new();
    for key in keys {
        by_leader.entry(catalog.leader(&key.0, key.1)).or_default().push(key);
    }
    by_leader
}

async fn offsets(env: Arc<Env>, keys: Vec<Key>, point: Point) -> Offsets {
    env.resolver.offsets(keys, point).await
}

fn spot(key: Key, from: i64) -> Spot {
    Spot { key, from, check: None }
}
