//! Which topics there are, with how many partitions.

use bytestring::ByteString;
use rdkafka::metadata::Metadata;
use std::collections::HashMap;
use std::time::Instant;

/// The cluster's topics as they were when last asked for. Internal ones are left out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalog {
    /// When the question was sent; `None`: never answered.
    pub(crate) asked: Option<Instant>,
    topics: HashMap<ByteString, Known>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    partitions: i32,
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
            .map(|topic| (topic.name(), i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX)));
        self.merge(asked, answered)
    }

    fn merge<'a>(&self, asked: Instant, answered: impl Iterator<Item = (&'a str, i32)>) -> Catalog {
        let mut topics: HashMap<ByteString, Known> =
            answered.map(|(name, partitions)| (name.into(), Known { partitions, doubtful: false })).collect();
        for (name, known) in &self.topics {
            if !known.doubtful && !topics.contains_key(name) {
                topics.insert(name.clone(), Known { doubtful: true, ..*known });
            }
        }
        Catalog { asked: Some(asked), topics }
    }

    /// How many partitions the topic has, if it is there.
    pub(crate) fn partitions(&self, topic: &str) -> Option<i32> {
        self.topics.get(topic).map(|known| known.partitions)
    }

    /// Whether the topic has exactly one partition.
    pub(crate) fn single(&self, topic: &str) -> bool {
        self.partitions(topic) == Some(1)
    }

    /// All topics with their partitions.
    pub(crate) fn topics(&self) -> impl Iterator<Item = (&ByteString, i32)> {
        self.topics.iter().map(|(name, known)| (name, known.partitions))
    }

    /// Whether some topic was missing once, so that it is worth asking again soon.
    pub(crate) fn doubtful(&self) -> bool {
        self.topics.values().any(|known| known.doubtful)
    }
}

#[cfg(test)]
mod tests {
    use super::Catalog;
    use std::time::Instant;

    #[test]
    fn a_topic_is_gone_only_when_two_answers_in_a_row_lack_it() {
        let now = Instant::now();
        let first = Catalog::default().merge(now, [("a", 1), ("b", 3)].into_iter());
        assert!(first.single("a") && !first.single("b") && !first.doubtful());
        let second = first.merge(now, [("a", 2)].into_iter());
        assert_eq!((second.partitions("a"), second.partitions("b")), (Some(2), Some(3)));
        assert!(second.doubtful());
        assert_eq!(second.merge(now, [("a", 2), ("b", 3)].into_iter()).partitions("b"), Some(3));
        let third = second.merge(now, [("a", 2)].into_iter());
        assert_eq!((third.partitions("b"), third.doubtful()), (None, false));
    }
}
