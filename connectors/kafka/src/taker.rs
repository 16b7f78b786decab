//! One subscription of a partition, and how far it is.

use crate::reading::Reading;
use crate::record::Item;
use std::sync::Arc;
use tokio::sync::mpsc::error::TrySendError;

pub(crate) struct Taker {
    pub(crate) reading: Arc<Reading>,
    /// The first offset that it has not got.
    pub(crate) next: i64,
    /// What it was told to have read, if anything: the first offset beyond.
    told: Option<i64>,
}

/// What came of handing something over.
pub(crate) enum Handed {
    /// It has it, or does not want it.
    Over,
    Full,
    /// The subscription is over.
    Ended,
}

impl Taker {
    pub(crate) fn new(reading: Arc<Reading>, next: i64) -> Self {
        Taker { reading, next, told: None }
    }

    /// Begins anew: its log is another.
    pub(crate) fn restart(&mut self, next: i64) {
        (self.next, self.told) = (next, None);
    }

    fn wants(&self, item: &Item) -> bool {
        let new = match item {
            Item::Record(offset, _) => self.next <= *offset,
            Item::End(end, _) => self.next <= *end && self.told.is_none_or(|told| told < *end),
        };
        new && !self.reading.is_over()
    }

    pub(crate) fn hand(&mut self, item: &Item) -> Handed {
        if !self.wants(item) {
            return Handed::Over;
        }
        match self.reading.sink.try_send(item.event()) {
            Ok(()) => {
                (self.next, self.told) = (item.next(), Some(item.next()));
                Handed::Over
            }
            Err(TrySendError::Full(_)) => Handed::Full,
            Err(TrySendError::Closed(_)) => {
                self.reading.end();
                Handed::Ended
            }
        }
    }
}
