//! What the broker sent and waits to have acknowledged.
//!
//! A message is acknowledged when the last of its readers has taken it ([`Ticket`] dropped). After a reconnect into the
//! same session the broker sends again what it holds as unacknowledged, with DUP and the old packet id. Such a resend is
//! recognised and not handed out again when it is one of
//!
//! - a message that is still on its way to a reader,
//! - a message whose acknowledgement was written to the old connection and may be lost with it.
//!
//! Acknowledgements arrive in order, so a broker that has answered a later ping has them: those are forgotten, and their
//! packet ids are free for new messages. As a broker may use an id again before we learn that, the content is compared too.

use parking_lot::Mutex;
use rumqttc::v5::mqttbytes::v5::Publish;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};
use std::sync::Arc;
use tokio::sync::Notify;

/// Held by everyone who has not yet taken a message; the last one to drop it lets the message be acknowledged.
pub(crate) struct Ticket {
    key: Key,
    taken: Arc<Taken>,
}

/// A packet id in one use of it.
type Key = (u16, u64);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.taken.keys.lock().push(self.key);
        self.taken.work.notify_one();
    }
}

/// Messages that all readers have taken, for the link to acknowledge. Bounded by the receive maximum.
pub(crate) struct Taken {
    keys: Mutex<Vec<Key>>,
    work: Arc<Notify>,
}

/// What an incoming message is.
pub(crate) enum Arrival {
    /// To be handed out; the ticket goes with it.
    New(Arc<Ticket>),
    /// Already handed out.
    Again,
}

/// The book of it.
pub(crate) struct Inflow {
    taken: Arc<Taken>,
    held: HashMap<u16, Held>,
    /// To be acknowledged now, in order.
    ready: VecDeque<u16>,
    /// Acknowledgements written, oldest first, with what they were for.
    written: VecDeque<(u16, u64)>,
    /// How many have left its front, ever.
    forgotten: u64,
    /// For each ping under way: how many acknowledgements had ever been written before it.
    pings: VecDeque<u64>,
    uses: u64,
    connection: u64,
    remember: usize,
    hasher: RandomState,
}

struct Held {
    use_of_id: u64,
    print: u64,
    taken: bool,
    /// The connection that it was last seen on: an id must not be acknowledged on one that has not yet carried it.
    seen_on: u64,
}

impl Inflow {
    /// `receive_maximum`: how many unacknowledged messages the broker may have under way.
    pub(crate) fn new(receive_maximum: u16, work: Arc<Notify>) -> Inflow {
        Inflow {
            taken: Arc::new(Taken { keys: Mutex::default(), work }),
            held: HashMap::new(),
            ready: VecDeque::new(),
            written: VecDeque::new(),
            forgotten: 0,
            pings: VecDeque::new(),
            uses: 0,
            connection: 0,
            remember: receive_maximum.into(),
            hasher: RandomState::new(),
        }
    }

    /// A new connection; without the old session all old ids are void.
    pub(crate) fn connected(&mut self, session_present: bool) {
        self.connection += 1;
        self.ready.clear();
        self.pings.clear();
        if !session_present {
            self.held.clear();
            self.written.clear();
        }
    }

    /// A message at QoS 1.
    pub(crate) fn arrived(&mut self, publish: &Publish) -> Arrival {
        let print = self.print(publish);
        if publish.dup {
            if let Some(held) = self.held.get_mut(&publish.pkid).filter(|held| held.print == print) {
                held.seen_on = self.connection;
                if held.taken {
                    self.ready.push_back(publish.pkid);
                }
                return Arrival::Again;
            }
            if self.written.contains(&(publish.pkid, print)) {
                self.hold(publish.pkid, print, true);
                self.ready.push_back(publish.pkid);
                return Arrival::Again;
            }
        }
        let use_of_id = self.hold(publish.pkid, print, false);
        Arrival::New(Arc::new(Ticket { key: (publish.pkid, use_of_id), taken: Arc::clone(&self.taken) }))
    }

    fn hold(&mut self, id: u16, print: u64, taken: bool) -> u64 {
        self.uses += 1;
        self.held.insert(id, Held { use_of_id: self.uses, print, taken, seen_on: self.connection });
        self.uses
    }

    /// The next id to acknowledge.
    pub(crate) fn next(&mut self) -> Option<u16> {
        for (id, use_of_id) in self.taken.keys.lock().drain(..) {
            let held = self.held.get_mut(&id).filter(|held| held.use_of_id == use_of_id);
            if let Some(held) = held {
                held.taken = true;
                if held.seen_on == self.connection {
                    self.ready.push_back(id);
                }
            }
        }
        self.ready.pop_front()
    }

    /// An acknowledgement was written to the connection.
    pub(crate) fn written(&mut self, id: u16) {
        if let Some(held) = self.held.remove(&id) {
            self.written.push_back((id, held.print));
        }
        // What can be lost is the tail, and no more than the broker may have under way.
        while self.written.len() > self.remember {
            self.forget();
        }
    }

    /// A ping was written.
    pub(crate) fn pinged(&mut self) {
        self.pings.push_back(self.forgotten + self.written.len() as u64);
    }

    /// The oldest ping was answered: the broker has all that was written before it.
    pub(crate) fn ponged(&mut self) {
        let before = self.pings.pop_front().unwrap_or_default();
        while self.forgotten < before && !self.written.is_empty() {
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.written.pop_front();
        self.forgotten += 1;
    }

    fn print(&self, publish: &Publish) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        publish.topic.hash(&mut hasher);
        publish.payload.hash(&mut hasher);
        if let Some(properties) = &publish.properties {
            properties.user_properties.hash(&mut hasher);
        }
        hasher.finish()
    }
}
