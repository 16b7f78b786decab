//! The acknowledgement extension of one session (CometD's `AcknowledgedMessagesExtension`): messages leave in the replies
//! of connects only, each reply closes a batch and carries its number, and a message leaves the queue when the client's
//! next connect says that it has seen its batch. What a lost connection swallowed is sent again, in order.

use std::collections::VecDeque;

/// Which of the queue's messages, from its front, belong to which batch.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// The number of the batch closed last.
    last: u64,
    /// Batches that are not acknowledged, with their messages; those without any are left out.
    open: VecDeque<(u64, usize)>,
}

impl Acks {
    /// The client has seen all batches up to `number`: so many messages may go.
    pub(super) fn seen(&mut self, number: u64) -> usize {
        let mut gone = 0;
        while let Some((batch, count)) = self.open.front()
            && *batch <= number
        {
            gone += count;
            self.open.pop_front();
        }
        gone
    }

    /// How many messages, from the queue's front, were sent and not acknowledged.
    pub(super) fn unseen(&self) -> usize {
        self.open.iter().map(|(_, count)| count).sum()
    }

    /// A reply leaves with all `waiting` messages: the number of the batch that it closes.
    pub(super) fn close(&mut self, waiting: usize) -> u64 {
        self.last += 1;
        let before = self.unseen();
        if waiting > before {
            self.open.push_back((self.last, waiting - before));
        }
        self.last
    }

    /// So many messages were dropped from the front.
    pub(super) fn dropped(&mut self, mut count: usize) {
        while count > 0
            && let Some((_, first)) = self.open.front_mut()
        {
            let taken = count.min(*first);
            *first -= taken;
            count -= taken;
            if *first == 0 {
                self.open.pop_front();
            }
        }
    }
}
