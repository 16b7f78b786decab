//! The thread that asks: whether the cluster still answers, for all topics now and then, and for single ones that
//! somebody names.

use super::{Link, State};
use crate::publish::Line;
use bytestring::ByteString;
use rdkafka::error::KafkaResult;
use rdkafka::metadata::Metadata;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a cluster that answers is asked whether it still does.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// The same while it does not answer.
const ASK_AGAIN: Duration = Duration::from_millis(300);
/// How long without an answer means down. With the two timeouts below, an outage shows within four seconds.
const SILENCE: Duration = Duration::from_millis(2500);
const SHORT_ANSWER: Duration = Duration::from_secs(1);
const FULL_ANSWER: Duration = Duration::from_secs(3);
/// The least time between two questions for all topics, also by how long the last one took: a large cluster's answer is
/// megabytes.
const FULL_APART: Duration = Duration::from_secs(1);
const FULL_APART_BY_LENGTH: u32 = 10;
/// How many topics are asked for one by one at a time, and the least time between two times: whoever names ever new
/// topics cannot flood the cluster.
const TOPICS_AT_ONCE: usize = 8;
const TOPICS_APART: Duration = Duration::from_millis(100);
/// How long it is remembered that a topic was asked for.
const REMEMBERED: Duration = Duration::from_secs(10);

impl Link {
    /// Waits until there is something to ask.
    fn wait(&self, next: Instant, full_from: Instant, topics_from: Instant) -> Wish {
        let mut state = self.state.lock();
        loop {
            let now = Instant::now();
            if state.stop {
                return Wish::Stop;
            }
            if state.rebuild.is_some_and(|at| at <= now) {
                state.rebuild = None;
                state.rebuilt = state.rebuilt.map(|(_, pause)| (now, pause));
                return Wish::Rebuild;
            }
            let closings = state.closings;
            let refresh = state.refresh.map(|at| at.max(full_from));
            if refresh.is_some_and(|at| at <= now) {
                state.refresh = None;
                // They are among all.
                state.wanted.retain(|_, at| *at > now);
                return Wish::Ask { full: true, closings };
            }
            let wanted = state.wanted.values().min().map(|at| (*at).max(topics_from));
            if wanted.is_some_and(|at| at <= now) {
                return Wish::Look { topics: state.due(now), closings };
            }
            // A gate that has just closed is worth a question at once: most often nothing is wrong with it.
            if next <= now || (state.up && !state.gate && state.rebuild.is_none()) {
                return Wish::Ask { full: false, closings };
            }
            let first = [refresh, wanted, state.rebuild].into_iter().flatten().fold(next, Instant::min);
            self.wake.wait_until(&mut state, first);
        }
    }
}

impl State {
    /// Takes the topics that have waited longest to be asked for.
    fn due(&mut self, now: Instant) -> Vec<ByteString> {
        let mut due: Vec<_> =
            self.wanted.iter().filter(|(_, at)| **at <= now).map(|(t, at)| (*at, t.clone())).collect();
        due.sort_unstable_by_key(|(at, _)| *at);
        if due.len() > TOPICS_AT_ONCE {
            // One question for all, when it is its time, serves those who would wait for long.
            self.refresh.get_or_insert(now);
        }
        due.truncate(TOPICS_AT_ONCE);
        for (_, topic) in &due {
            self.wanted.remove(topic);
        }
        due.into_iter().map(|(_, topic)| topic).collect()
    }
}

enum Wish {
    Ask { full: bool, closings: u64 },
    Look { topics: Vec<ByteString>, closings: u64 },
    Rebuild,
    Stop,
}

/// The thread that asks. It ends by [`Link::stop`].
pub(crate) fn run(link: &Link, line: &Arc<Line>, discover_every: Duration) {
    let mut heard = Instant::now();
    let mut next = heard;
    let mut full_due = heard;
    let (mut full_from, mut topics_from) = (heard, heard);
    loop {
        let (mut full, topics, closings) = match link.wait(next, full_from, topics_from) {
            Wish::Stop => return,
            Wish::Rebuild => {
                line.rebuild();
                continue;
            }
            Wish::Ask { full, closings } => (full, Vec::new(), closings),
            Wish::Look { topics, closings } => (false, topics, closings),
        };
        if let Some(reason) = line.fatal() {
            link.producer_is_fatal(&reason);
        }
        let asked = Instant::now();
        full |= asked >= full_due || !link.up();
        let known = || link.topics().topics().next().map(|(name, _)| name.clone());
        let some = if topics.is_empty() { known().into_iter().collect() } else { topics.clone() };
        full |= some.is_empty();
        let answer = if full {
            line.metadata(None, FULL_ANSWER).map(|metadata| publish_catalog(link, asked, &metadata))
        } else {
            some.iter().try_for_each(|topic| look(link, line, topic))
        };
        if !topics.is_empty() {
            topics_from = Instant::now() + TOPICS_APART;
        }
        match answer {
            Ok(()) => {
                heard = Instant::now();
                next = heard + ASK_EVERY;
                if full {
                    full_due = asked + discover_every;
                    full_from = heard + FULL_APART.max((heard - asked) * FULL_APART_BY_LENGTH);
                }
                link.answered(closings);
            }
            Err(error) => {
                // What was wished is still wished.
                topics.iter().for_each(|topic| link.look_for(topic, ASK_AGAIN));
                if full && link.up() {
                    link.refresh_after(ASK_AGAIN);
                }
                next = Instant::now() + if link.up() { Duration::ZERO } else { ASK_AGAIN };
                if heard.elapsed() >= SILENCE || !link.open() {
                    link.silent(&error);
                }
            }
        }
        line.pump();
        line.sweep();
        line.watch();
    }
}

/// Asks for one topic.
fn look(link: &Link, line: &Line, topic: &ByteString) -> KafkaResult<()> {
    let asked = Instant::now();
    let metadata = line.metadata(Some(topic), SHORT_ANSWER)?;
    if let Some(catalog) = link.topics().with(topic, &metadata) {
        link.catalog.send_replace(Arc::new(catalog));
    }
    link.looks.send_modify(|looks| {
        looks.retain(|_, at| at.elapsed() < REMEMBERED);
        looks.insert(topic.clone(), asked);
    });
    Ok(())
}

fn publish_catalog(link: &Link, asked: Instant, metadata: &Metadata) {
    let catalog = link.topics().next(asked, metadata);
    if catalog.doubtful() || catalog.leaderless() {
        link.refresh_after(ASK_EVERY);
    }
    link.catalog.send_replace(Arc::new(catalog));
}
