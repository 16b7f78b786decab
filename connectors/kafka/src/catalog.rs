//! Which topics there are, with the leaders of their partitions.

use bytestring::ByteString;
use rdkafka::metadata::{Metadata, MetadataTopic};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// What stands for the leader of a partition that has none.
pub(crate) const NO_LEADER: i32 = -1;

/// The cluster's topics as they were when last asked for. Internal ones are left out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalog {
    /// When the question was sent; `None`: never answered.
    pub(crate) asked: Option<Instant>,
    topics: HashMap<ByteString, Known>,
}

#[derive(Debug, Clone)]
struct Known {
    /// The broker that leads each partition.
    leaders: Arc<[i32]>,
    /// Missing in the latest answer. A broker that has just started may not know all topics yet, so that only the second
    /// answer in a row without it removes a topic.
    doubtful: bool,
}

impl Catalog {
    /// The next catalog after this one.
    pub(crate) fn next(&self, asked: Instant, metadata: &Metadata) -> Catalog {
        let answered = metadata
            .topics()
            .iter()
            // A topic that is just being made has no partitions yet: it is not there before it has.
            .filter(|topic| !crate::topic::internal(topic.name()) && !topic.partitions().is_empty())
            .map(|topic| (topic.name(), leaders(topic)));
        self.merge(asked, answered)
    }

    /// The same with one topic as an answer about it alone tells; `None`: nothing new.
    pub(crate) fn with(&self, name: &ByteString, metadata: &Metadata) -> Option<Catalog> {
        let found =
            metadata.topics().iter().find(|topic| topic.name() == &name[..] && !topic.partitions().is_empty())?;
        let known = Known { leaders: leaders(found), doubtful: false };
        if self.topics.get(name).is_some_and(|before| before.leaders == known.leaders && !before.doubtful) {
            return None;
        }
        let mut catalog = self.clone();
        catalog.topics.insert(name.clone(), known);
        Some(catalog)
    }

    fn merge<'a>(&self, asked: Instant, answered: impl Iterator<Item = (&'a str, Arc<[i32]>)>) -> Catalog {
        let mut topics: HashMap<ByteString, Known> =
            answered.map(|(name, leaders)| (name.into(), Known { leaders, doubtful: false })).collect();
        for (name, known) in &self.topics {
            if !known.doubtful && !topics.contains_key(name) {
                topics.insert(name.clone(), Known { doubtful: true, leaders: known.leaders.clone() });
            }
        }
        Catalog { asked: Some(asked), topics }
    }

    /// How many partitions the topic has, if it is there.
    pub(crate) fn partitions(&self, topic: &str) -> Option<i32> {
        self.topics.get(topic).map(Known::partitions)
    }

    /// The broker that leads a partition: [`NO_LEADER`] where there is none, or no such partition.
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> i32 {
        let place = usize::try_from(partition).ok();
        let leader = self.topics.get(topic).zip(place).and_then(|(known, place)| known.leaders.get(place));
        leader.copied().unwrap_or(NO_LEADER)
    }

    /// Whether some partition has no leader now, so that it is worth asking again soon.
    pub(crate) fn leaderless(&self) -> bool {
        self.topics.values().any(|known| known.leaders.contains(&NO_LEADER))
    }

    /// Whether the topic has exactly one partition.
    pub(crate) fn single(&self, topic: &str) -> bool {
        self.partitions(topic) == Some(1)
    }

    /// All topics with their partitions.
    pub(crate) fn topics(&self) -> impl Iterator<Item = (&ByteString, i32)> {
        self.topics.iter().map(|(name, known)| (name, known.partitions()))
    }

    /// Whether some topic was missing once, so that it is worth asking again soon.
    pub(crate) fn doubtful(&self) -> bool {
        self.topics.values().any(|known| known.doubtful)
    }
}

impl Known {
    fn partitions(&self) -> i32 {
        i32::try_from(self.leaders.len()).unwrap_or(i32::MAX)
    }
}

fn leaders(topic: &MetadataTopic) -> Arc<[i32]> {
    let mut leaders = vec![NO_LEADER; topic.partitions().len()];
    for partition in topic.partitions() {
        let place = usize::try_from(partition.id()).ok().and_then(|place| leaders.get_mut(place));
        if let Some(leader) = place {
            *leader = partition.leader();
        }
    }
    leaders.into()
}

#[cfg(test)]
mod tests {
    use super::{Catalog, NO_LEADER};
    use std::sync::Arc;
    use std::time::Instant;

    fn leaders(count: usize) -> Arc<[i32]> {
        vec![1; count].into()
    }

    #[test]
    fn a_partition_without_a_leader_is_known_as_such() {
        let answered = [("a", Arc::from([1, NO_LEADER]))].into_iter();
        let catalog = Catalog::default().merge(Instant::now(), answered);
        assert_eq!([0, 1, 2, -1].map(|partition| catalog.leader("a", partition)), [1, NO_LEADER, NO_LEADER, NO_LEADER]);
        assert!(catalog.leaderless() && catalog.leader("b", 0) == NO_LEADER);
    }

    #[test]
    fn a_topic_is_gone_only_when_two_answers_in_a_row_lack_it() {
        let now = Instant::now();
        let first = Catalog::default().merge(now, [("a", leaders(1)), ("b", leaders(3))].into_iter());
        assert!(first.single("a") && !first.single("b") && !first.doubtful());
        let second = first.merge(now, [("a", leaders(2))].into_iter());
        assert_eq!((second.partitions("a"), second.partitions("b")), (Some(2), Some(3)));
        assert!(second.doubtful());
        assert_eq!(second.merge(now, [("a", leaders(2)), ("b", leaders(3))].into_iter()).partitions("b"), Some(3));
        let third = second.merge(now, [("a", leaders(2))].into_iter());
        assert_eq!((third.partitions("b"), third.doubtful()), (None, false));
    }
}
