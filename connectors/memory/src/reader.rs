//! Readers: cursors into the logs, and who is to be woken.

use crate::store::Log;
use crate::syntax::SYNTAX;
use connector::{Inbound, TopicFilter};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use tokio::sync::Notify;

/// All readers of a store.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    by_id: HashMap<u64, Reader>,
    next_id: u64,
    /// How many records were gone before their reader came, over all readers since the beginning.
    pub(crate) missed: u64,
}

/// One reader of one or many logs.
#[derive(Debug)]
pub(crate) struct Reader {
    filter: TopicFilter,
    wake: Arc<Notify>,
    links: HashMap<usize, Link>,
    /// Logs with something to read, by the position of the next record: each log at most once. So many logs are read
    /// in one order.
    unread: BinaryHeap<Reverse<(u64, usize)>>,
}

/// A reader's place in one log.
#[derive(Debug)]
struct Link {
    /// The number of the next record, counted in the log.
    next: u64,
    /// It stands in [`Reader::unread`].
    queued: bool,
}

impl Reader {
    pub(crate) fn new(filter: TopicFilter, wake: Arc<Notify>) -> Reader {
        Reader { filter, wake, links: HashMap::new(), unread: BinaryHeap::new() }
    }

    /// Begins to read a log at the record of number `next`; `position` is that record's, if it is there.
    pub(crate) fn link(&mut self, log: usize, next: u64, position: Option<u64>) {
        self.links.insert(log, Link { next, queued: position.is_some() });
        self.unread.extend(position.map(|position| Reverse((position, log))));
    }
}

impl Readers {
    pub(crate) fn insert(&mut self, reader: Reader) -> u64 {
        self.next_id += 1;
        self.by_id.insert(self.next_id, reader);
        self.next_id
    }

    /// Ends a reader: the logs that it read.
    pub(crate) fn remove(&mut self, id: u64) -> impl Iterator<Item = usize> {
        self.by_id.remove(&id).map(|reader| reader.links).into_iter().flat_map(HashMap::into_keys)
    }

    /// A topic was made: those whose filter it matches read it from its beginning.
    pub(crate) fn link_new_topic(&mut self, log: usize, its_readers: &mut Vec<u64>, topic: &str) {
        for (id, reader) in &mut self.by_id {
            if reader.filter.matches(topic, &SYNTAX) {
                reader.link(log, 0, None);
                its_readers.push(*id);
            }
        }
    }

    /// A record was appended: its readers are told, but for those who know already that there is something.
    pub(crate) fn wake(&mut self, log: usize, its_readers: &[u64], position: u64) {
        for id in its_readers {
            let Some(reader) = self.by_id.get_mut(id) else { continue };
            let Some(link) = reader.links.get_mut(&log) else { continue };
            if !std::mem::replace(&mut link.queued, true) {
                reader.unread.push(Reverse((position, log)));
                reader.wake.notify_one();
            }
        }
    }

    /// The logs in which this reader has something to read.
    pub(crate) fn unread_logs(&self, id: u64) -> Vec<usize> {
        self.by_id
            .get(&id)
            .map(|reader| reader.unread.iter().map(|Reverse((_, log))| *log).collect())
            .unwrap_or_default()
    }

    /// The next records in the order of their positions, at most `max` in all; how many had gone.
    pub(crate) fn read(&mut self, id: u64, logs: &[Log], max: usize, batch: &mut Vec<Inbound>) -> u64 {
        let Some(reader) = self.by_id.get_mut(&id) else { return 0 };
        let mut missed = 0;
        while batch.len() < max {
            let Some(Reverse((position, index))) = reader.unread.pop() else { break };
            let (Some(log), Some(link)) = (logs.get(index), reader.links.get_mut(&index)) else { continue };
            missed += log.evicted.saturating_sub(link.next);
            link.next = link.next.max(log.evicted);
            // Where the record that was expected is gone, the log takes its place in line again by its next one.
            if let Some(record) = log.get(link.next).filter(|record| record.position == position) {
                batch.push(log.inbound(record));
                link.next += 1;
            }
            let next = log.get(link.next).map(|record| Reverse((record.position, index)));
            link.queued = next.is_some();
            reader.unread.extend(next);
        }
        self.missed += missed;
        missed
    }
}
