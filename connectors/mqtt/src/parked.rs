//! Messages at QoS 1 for readers whose queue is full: the broker sent more than the receive maximum allows (Mosquitto 2.0
//! does when many publish at once). They are never dropped; here they wait until their reader has room, in order, so that
//! one reader that stands still does not hold up the connection. When a reader's backlog is full too, nothing more is
//! read from the broker until it has room.

use crate::subscribe::Parcel;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// A reader's backlog holds so many times the receive maximum.
pub(crate) const TIMES: usize = 8;

/// A reader that takes nothing for so long, while messages wait for it, is one to report.
pub(crate) const STILL: Duration = Duration::from_secs(5);

/// All backlogs, by the key of the reader; none is empty.
pub(crate) struct Parked {
    backlogs: BTreeMap<u64, Backlog>,
    room: usize,
}

struct Backlog {
    to: mpsc::Sender<Parcel>,
    parcels: VecDeque<Parcel>,
    /// When the reader last took one, or began to keep them waiting.
    since: Instant,
}

impl Parked {
    /// `room`: messages that one backlog holds.
    pub(crate) fn new(room: usize) -> Parked {
        Parked { backlogs: BTreeMap::new(), room }
    }

    /// Messages wait for this reader: what comes now must not overtake them.
    pub(crate) fn holds(&self, key: u64) -> bool {
        self.backlogs.contains_key(&key)
    }

    pub(crate) fn add(&mut self, key: u64, to: &mpsc::Sender<Parcel>, parcel: Parcel) {
        let new = || Backlog { to: to.clone(), parcels: VecDeque::new(), since: Instant::now() };
        self.backlogs.entry(key).or_insert_with(new).parcels.push_back(parcel);
    }

    /// Gives readers what they have room for. What waited for one that has left is dropped.
    pub(crate) fn retry(&mut self, now: Instant) {
        self.backlogs.retain(|_, backlog| {
            while let Some(parcel) = backlog.parcels.pop_front() {
                match backlog.to.try_send(parcel) {
                    Ok(()) => backlog.since = now,
                    Err(mpsc::error::TrySendError::Full(parcel)) => {
                        backlog.parcels.push_front(parcel);
                        return true;
                    }
                    Err(mpsc::error::TrySendError::Closed(_)) => return false,
                }
            }
            false
        });
    }

    /// Nothing more may be read for now.
    pub(crate) fn is_full(&self) -> bool {
        self.backlogs.values().any(|backlog| backlog.parcels.len() >= self.room)
    }

    /// When the reader that has stood still the longest began to.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.backlogs.values().map(|backlog| backlog.since).min()
    }

    /// What to report of it, if it has stood still too long.
    pub(crate) fn complaint(&self, now: Instant) -> Option<String> {
        let longest = self.backlogs.values().min_by_key(|backlog| backlog.since)?;
        if now < longest.since + STILL {
            return None;
        }
        let topic = longest.parcels.front().map_or("", |parcel| &parcel.inbound.topic);
        let so = if self.is_full() { "nothing more is read from the broker" } else { "messages pile up" };
        Some(format!("a reader of {topic} takes no messages: {so}"))
    }

    /// Drops all.
    pub(crate) fn clear(&mut self) {
        self.backlogs.clear();
    }
}
