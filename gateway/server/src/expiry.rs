//! Expiry of sessions by a wheel: every session stands in exactly one slot and is looked at when that comes round, so
//! there is no scan over sessions and no timer per session.

use crate::session::LiveSession;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How exact expiry is.
pub(crate) const TICK: Duration = Duration::from_millis(250);
const SLOTS: usize = 256;

/// The wheel. What lies further ahead than one turn is looked at once a turn.
#[derive(Debug)]
pub(crate) struct Wheel {
    slots: Mutex<Slots>,
    start: Instant,
}

#[derive(Debug)]
struct Slots {
    slots: Vec<Vec<Weak<LiveSession>>>,
    /// The tick that is worked off next.
    next: u64,
}

impl Wheel {
    pub(crate) fn new(now: Instant) -> Self {
        Wheel { slots: Mutex::new(Slots { slots: vec![Vec::new(); SLOTS], next: 0 }), start: now }
    }

    fn tick_of(&self, at: Instant) -> u64 {
        let ticks = at.saturating_duration_since(self.start).as_millis() / TICK.as_millis();
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// To be looked at when `at` has passed.
    pub(crate) fn insert(&self, session: &Arc<LiveSession>, at: Instant) {
        let mut slots = self.slots.lock();
        let tick = (self.tick_of(at) + 1).clamp(slots.next, slots.next + SLOTS as u64 - 1);
        slots.slots[tick as usize % SLOTS].push(Arc::downgrade(session));
    }

    /// The sessions whose time may have come.
    pub(crate) fn due(&self, now: Instant) -> Vec<Arc<LiveSession>> {
        let mut due = Vec::new();
        let mut slots = self.slots.lock();
        let current = self.tick_of(now);
        while slots.next <= current {
            let at = slots.next as usize % SLOTS;
            due.extend(std::mem::take(&mut slots.slots[at]).iter().filter_map(Weak::upgrade));
            slots.next += 1;
        }
        due
    }
}
