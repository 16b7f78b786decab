//! A session's queue: bounded in messages and bytes, with a named policy for when it is full.

use crate::delivery::Delivery;
use std::collections::VecDeque;
use std::sync::Arc;

/// What happens when a queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// The session ends; its client comes back by a handshake.
    Disconnect,
    /// The oldest messages make room.
    DropOldest,
}

/// The bound of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// In messages.
    pub max_messages: usize,
    /// In bytes.
    pub max_bytes: usize,
    /// What happens at the bound.
    pub overflow: Overflow,
}

/// What became of a message that was to be queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queued {
    /// It waits.
    Kept,
    /// It waits, and this many older ones are gone.
    Dropped(usize),
    /// The bound is reached and the policy is [`Overflow::Disconnect`].
    Full,
}

/// Messages that wait for one session, in order.
#[derive(Debug, Default)]
pub struct Queue {
    items: VecDeque<Arc<Delivery>>,
    bytes: usize,
    /// How many of them are lazy.
    lazy: usize,
}

impl Queue {
    /// Appends a message within the limits.
    pub fn push(&mut self, delivery: Arc<Delivery>, limits: &QueueLimits) -> Queued {
        let weight = delivery.weight();
        let mut dropped = 0;
        while self.items.len() >= limits.max_messages
            || (self.bytes + weight > limits.max_bytes && !self.items.is_empty())
        {
            match limits.overflow {
                Overflow::Disconnect => return Queued::Full,
                Overflow::DropOldest => {
                    if self.pop().is_none() {
                        break;
                    }
                    dropped += 1;
                }
            }
        }
        self.put_last(delivery);
        if dropped == 0 { Queued::Kept } else { Queued::Dropped(dropped) }
    }

    /// Appends a message whatever the limits.
    pub(crate) fn put_last(&mut self, delivery: Arc<Delivery>) {
        self.bytes += delivery.weight();
        self.lazy += usize::from(delivery.lazy().is_some());
        self.items.push_back(delivery);
    }

    /// Puts messages that were taken but not sent back in front, in their order. They counted before, so no limit is
    /// asked.
    pub fn put_back(&mut self, deliveries: impl DoubleEndedIterator<Item = Arc<Delivery>>) {
        for delivery in deliveries.rev() {
            self.bytes += delivery.weight();
            self.lazy += usize::from(delivery.lazy().is_some());
            self.items.push_front(delivery);
        }
    }

    /// The oldest message.
    pub fn pop(&mut self) -> Option<Arc<Delivery>> {
        let delivery = self.items.pop_front()?;
        self.bytes -= delivery.weight();
        self.lazy -= usize::from(delivery.lazy().is_some());
        if self.items.is_empty() {
            // An idle session keeps a small ring at most.
            if self.items.capacity() > 64 {
                self.items = VecDeque::new();
            }
        }
        Some(delivery)
    }

    /// Those that wait, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Delivery>> {
        self.items.iter()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// None waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// One waits that is not lazy.
    pub fn presses(&self) -> bool {
        self.items.len() > self.lazy
    }

    /// What waits, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::DeliveryParts;
    use proptest::prelude::*;

    fn delivery(n: u32) -> Arc<Delivery> {
        Arc::new(Delivery::new("/a".into(), &DeliveryParts { data: n.to_string().as_bytes(), ..Default::default() }))
    }

    proptest! {
        #[test]
        fn a_queue_keeps_order_and_its_bound(
            ops in proptest::collection::vec(prop_oneof![3 => Just(true), 1 => Just(false)], 0..200), max in 1usize..20, drop: bool
        ) {
            let overflow = if drop { Overflow::DropOldest } else { Overflow::Disconnect };
            let limits = QueueLimits { max_messages: max, max_bytes: 2_000, overflow };
            let mut queue = Queue::default();
            let mut model: VecDeque<u32> = VecDeque::new();
            for (n, push) in (0u32..).zip(ops) {
                if push {
                    match queue.push(delivery(n), &limits) {
                        Queued::Kept => model.push_back(n),
                        Queued::Dropped(k) => { prop_assert!(drop); model.drain(..k); model.push_back(n); }
                        Queued::Full => prop_assert!(!drop),
                    }
                } else {
                    let got = queue.pop().map(|d| d.json().clone());
                    let expected = model.pop_front().map(|n| delivery(n).json().clone());
                    prop_assert_eq!(got, expected);
                }
                prop_assert!(queue.len() <= max && queue.bytes() <= 2_000 && queue.len() == model.len());
            }
        }
    }

    #[test]
    fn a_message_larger_than_the_whole_bound_still_goes_alone() {
        let limits = QueueLimits { max_messages: 10, max_bytes: 10, overflow: Overflow::DropOldest };
        let mut queue = Queue::default();
        assert_eq!(queue.push(delivery(1), &limits), Queued::Kept);
        assert_eq!(queue.push(delivery(2), &limits), Queued::Dropped(1));
    }

    #[test]
    fn what_was_not_sent_comes_first_again() {
        let limits = QueueLimits { max_messages: 10, max_bytes: 10_000, overflow: Overflow::Disconnect };
        let mut queue = Queue::default();
        queue.push(delivery(3), &limits);
        queue.put_back([delivery(1), delivery(2)].into_iter());
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|d| d.json().clone()).collect();
        assert_eq!(order, [1, 2, 3].map(|n| delivery(n).json().clone()));
        assert_eq!(queue.bytes(), 0);
    }
}
