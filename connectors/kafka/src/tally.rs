//! The bound on records that wait for their confirmation, since when they wait, and who has the word on one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How much waits, and how much may.
pub(crate) struct Tally {
    records: AtomicUsize,
    bytes: AtomicUsize,
    max_records: usize,
    max_bytes: usize,
    emptied: Notify,
}

/// A record's share of the tally, given back when dropped.
pub(crate) struct Seat {
    tally: Arc<Tally>,
    bytes: usize,
}

impl Tally {
    pub(crate) fn new(max_records: usize, max_bytes: usize) -> Arc<Self> {
        let (records, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Tally { records, bytes, max_records, max_bytes, emptied: Notify::new() })
    }

    /// One record's share, if there is room.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Option<Seat> {
        let records = self.records.fetch_add(1, Ordering::AcqRel) + 1;
        let all = self.bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        let seat = Seat { tally: self.clone(), bytes };
        // A single record may be larger than the bound on bytes: the broker says whether it is too large.
        (records <= self.max_records && (all <= self.max_bytes || records == 1)).then_some(seat)
    }

    /// Resolves when nothing waits.
    pub(crate) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.records.load(Ordering::Acquire) == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.tally.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        if self.tally.records.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.tally.emptied.notify_waiters();
        }
    }
}

/// Since when records have been with librdkafka, to half a second: each holds the [`Moment`] in which it was handed over.
pub(crate) struct Moments {
    now: Moment,
    past: VecDeque<Weak<Instant>>,
}

pub(crate) type Moment = Arc<Instant>;
const MOMENT: Duration = Duration::from_millis(500);

impl Moments {
    pub(crate) fn new() -> Self {
        Moments { now: Arc::new(Instant::now()), past: VecDeque::new() }
    }

    pub(crate) fn now(&self) -> Moment {
        self.now.clone()
    }

    /// Begins a new moment when this one is over. Returns the oldest that some record still holds.
    pub(crate) fn oldest(&mut self) -> Option<Instant> {
        if self.now.elapsed() >= MOMENT {
            let past = std::mem::replace(&mut self.now, Arc::new(Instant::now()));
            self.past.push_back(Arc::downgrade(&past));
        }
        self.past.retain(|moment| moment.strong_count() > 0);
        self.past.front().and_then(Weak::upgrade).map(|moment| *moment)
    }
}

/// Decides once whether a record is handed over or taken back.
#[derive(Default)]
pub(crate) struct Ticket(AtomicU8);
const HANDED: u8 = 1;
const TAKEN_BACK: u8 = 2;

impl Ticket {
    pub(crate) fn hand(&self) -> bool {
        self.0.compare_exchange(0, HANDED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
    pub(crate) fn take_back(&self) -> bool {
        self.0.compare_exchange(0, TAKEN_BACK, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
    pub(crate) fn taken_back(&self) -> bool {
        self.0.load(Ordering::Acquire) == TAKEN_BACK
    }
}
