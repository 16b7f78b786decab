//! Where a reader is told what to do: by followers, by tasks that look at partitions, and by librdkafka.

use crate::part::Check;
use crate::reading::Reading;
use crate::resolve::{Bounds, Key};
use crate::trouble::Trouble;
use bytestring::ByteString;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where a partition is to be read from.
#[derive(Debug)]
pub(crate) struct Spot {
    pub(crate) key: Key,
    /// The first offset to hand over; 0 is the beginning, whatever is kept of it.
    pub(crate) from: i64,
    /// The record before that, to be compared before the subscription is ready.
    pub(crate) check: Option<Check>,
}

/// Where a reader is told what to do.
#[derive(Default)]
pub(crate) struct Desk {
    inbox: Mutex<Inbox>,
    wake: Condvar,
}

#[derive(Default)]
pub(crate) struct Inbox {
    pub(crate) commands: Vec<Command>,
    pub(crate) nonempty: Vec<u64>,
    pub(crate) room: bool,
    pub(crate) sweep: bool,
    pub(crate) stop: bool,
}

pub(crate) enum Command {
    Attach(Arc<Reading>, Vec<Spot>),
    Revive(u64, Bounds, Option<Trouble>),
    Suspect(ByteString),
}

impl Desk {
    fn tell(&self, change: impl FnOnce(&mut Inbox)) {
        change(&mut self.inbox.lock());
        self.wake.notify_one();
    }
    /// Reads these partitions for this subscription too.
    pub(crate) fn attach(&self, reading: &Arc<Reading>, spots: Vec<Spot>) {
        self.tell(|inbox| inbox.commands.push(Command::Attach(reading.clone(), spots)));
    }
    /// The topic seems to be gone.
    pub(crate) fn suspect(&self, topic: ByteString) {
        self.tell(|inbox| inbox.commands.push(Command::Suspect(topic)));
    }
    /// A partition that was given up holds this now. What did not work with it may still not.
    pub(crate) fn revive(&self, slot: u64, bounds: Bounds, trouble: Option<Trouble>) {
        self.tell(|inbox| inbox.commands.push(Command::Revive(slot, bounds, trouble)));
    }
    /// A partition's queue has something.
    pub(crate) fn nonempty(&self, slot: u64) {
        self.tell(|inbox| inbox.nonempty.push(slot));
    }
    /// Some subscription is over.
    pub(crate) fn sweep(&self) {
        self.tell(|inbox| inbox.sweep = true);
    }
    /// Some full sink has room again.
    pub(crate) fn room(&self) {
        self.tell(|inbox| inbox.room = true);
    }
    /// Ends the reader.
    pub(crate) fn stop(&self) {
        self.tell(|inbox| inbox.stop = true);
    }
    /// What has been told, after waiting for something if so wished.
    pub(crate) fn take(&self, wait: Option<Duration>) -> Inbox {
        let mut inbox = self.inbox.lock();
        if let Some(wait) = wait {
            let until = Instant::now() + wait;
            let idle = |inbox: &mut Inbox| {
                inbox.commands.is_empty() && inbox.nonempty.is_empty() && !inbox.room && !inbox.sweep && !inbox.stop
            };
            while idle(&mut inbox) && !self.wake.wait_until(&mut inbox, until).timed_out() {}
        }
        std::mem::take(&mut inbox)
    }
}
