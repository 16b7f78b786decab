//! A task per subscription that finds where to begin, then follows the catalog for topics and partitions that appear.
//!
//! A live subscription begins at the end that each partition has when it is asked. Where the cluster could not be asked at
//! once, it begins at the first record that is not older than the call, by the records' own times. So do partitions that
//! do not tell, for want of a leader or because it does not answer: they are left for later, and the others go on.

use crate::after;
use crate::again::not_allowed;
use crate::catalog::{Catalog, NO_LEADER};
use crate::desk::{Desk, Spot};
use crate::reader::{self, Env};
use crate::reading::Reading;
use crate::record::{log, number};
use crate::resolve::{Key, Offsets, Point};
use crate::subscribe::{Call, millis};
use crate::topic::SYNTAX;
use crate::trouble::Trouble;
use bytestring::ByteString;
use connector::{Cursor, Ready, Seen, Start, SubscribeError};
use rdkafka::error::RDKafkaErrorCode as Code;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How long to wait before a question that failed is asked again.
pub(crate) const ASK_AGAIN: Duration = Duration::from_millis(300);
/// After how long the health tells that some partitions could not be begun with.
const LASTING: Duration = Duration::from_secs(5);
/// After how many rounds to begin with the partitions that answer, and leave the others for later.
const ROUNDS: u32 = 3;

impl Call {
    /// Where partitions begin that the start does not name.
    fn point(&self) -> Point {
        match &self.start {
            Start::Live if self.up => Point::End,
            Start::Live => Point::Time(self.time),
            Start::Earliest | Start::After { others: None, .. } => Point::First,
            Start::At(time) | Start::After { others: Some(time), .. } => Point::Time(millis(*time)),
        }
    }

    /// The same when the question could not be answered at once.
    fn late_point(&self) -> Point {
        match self.point() {
            Point::End => Point::Time(self.time),
            point => point,
        }
    }
}

/// The task of one subscription.
pub(crate) struct Follower {
    env: Arc<Env>,
    shared: Arc<Desk>,
    places: Arc<Semaphore>,
    reading: Arc<Reading>,
    call: Call,
    /// Topics that fit, with how many of their partitions are being read.
    known: HashMap<ByteString, i32>,
    /// Those of them that the catalog does not hold any more.
    suspected: HashSet<ByteString>,
    /// Where it begins.
    begun: Cursor,
    /// Partitions that were there at the call, and whose offsets could not be told yet.
    pending: Vec<Key>,
    /// Questions for them.
    asking: JoinSet<Offsets>,
    /// Topics that some of them belong to, when that lasts.
    troubles: HashMap<ByteString, Option<Trouble>>,
}

impl Follower {
    pub(crate) fn new(
        env: Arc<Env>,
        shared: Arc<Desk>,
        places: Arc<Semaphore>,
        reading: Arc<Reading>,
        call: Call,
    ) -> Self {
        Follower {
            env,
            shared,
            places,
            reading,
            call,
            known: HashMap::new(),
            suspected: HashSet::new(),
            begun: Cursor::default(),
            pending: Vec::new(),
            asking: JoinSet::new(),
            troubles: HashMap::new(),
        }
    }

    pub(crate) async fn run(mut self) {
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
        let (named, rest) = self.named(present).await?;
        self.reading.expect_checks(named.iter().filter(|spot| spot.check.is_some()).count());
        if self.call.start == Start::Live {
            self.reading.move_to(self.shared.clone());
        } else {
            let place = self.places.clone().acquire_owned().await.map_err(|_| SubscribeError::Closed)?;
            reader::alone(&self.env, &self.reading, named, Some(place));
        }
        self.resolve(rest, self.call.point()).await?;
        let cursor = std::mem::take(&mut self.begun);
        let topic = self.call.filter.as_exact(&SYNTAX);
        let sole = topic.is_some_and(|topic| self.env.link.topics().single(&topic));
        self.reading.ready(Ready { cursor, sole });
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

    /// Where the partitions begin that the start names, once it is known that they can; and the others.
    async fn named(&mut self, mut present: Vec<Key>) -> Result<(Vec<Spot>, Vec<Key>), SubscribeError> {
        let Start::After { cursor, .. } = &self.call.start else { return Ok((Vec::new(), present)) };
        let named: HashSet<Key> = cursor.iter().map(|(log, _)| (log.topic.clone(), log.partition)).collect();
        let before = present.len();
        present.retain(|key| !named.contains(key));
        if before - present.len() < named.len() {
            return Err(SubscribeError::PositionGone { first: None, last: None });
        }
        let spots = after::spots(&self.env, cursor).await?;
        self.begun = cursor.clone();
        Ok((spots, present))
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
                point = self.call.late_point();
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
                Ok(offset) => {
                    self.begun.set(log(&key), Seen { n: number(offset), at: None });
                    spots.push(spot(key, offset));
                }
                Err(code) => failed.push((key, code)),
            }
        }
        self.attach(spots);
        failed
    }

    /// Asks, without waiting for the answers, for what could not be begun before.
    fn ask_for_pending(&mut self, catalog: &Catalog) {
        for (leader, keys) in by_leader(catalog, std::mem::take(&mut self.pending)) {
            if leader == NO_LEADER {
                self.pending.extend(keys);
            } else {
                self.asking.spawn(offsets(self.env.clone(), keys, self.call.late_point()));
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

    fn attach(&self, spots: Vec<Spot>) {
        if let Some(home) = self.reading.home()
            && !spots.is_empty()
        {
            home.attach(&self.reading, spots);
        }
    }

    /// Reads what is new, from its beginning.
    fn keep_up(&mut self, catalog: &Catalog) {
        let spots: Vec<Spot> = self.take_new(catalog).into_iter().map(|key| spot(key, 0)).collect();
        self.attach(spots);
        let Some(home) = self.reading.home() else { return };
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
