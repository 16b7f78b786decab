//! How much may be on its way to the brokers: bounds on publishes whose outcome is not known, so that one session, or one
//! broker that stands still, takes the memory and the time of nobody else.

use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A bound in messages and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InFlightLimit {
    /// Publishes.
    pub messages: usize,
    /// Bytes of their data.
    pub bytes: usize,
}

/// The bounds on publishes under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadLimits {
    /// Of one session.
    pub session: InFlightLimit,
    /// Of all sessions to one connector.
    pub connector: InFlightLimit,
}

impl Default for LoadLimits {
    fn default() -> Self {
        LoadLimits {
            session: InFlightLimit { messages: 10_000, bytes: 32 << 20 },
            connector: InFlightLimit { messages: 100_000, bytes: 256 << 20 },
        }
    }
}

/// What is on its way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    messages: usize,
    bytes: usize,
}

impl Sum {
    /// Adds a publish if it fits. One alone always does: it is bounded by the size of a message.
    fn add(&mut self, bytes: usize, limit: InFlightLimit) -> bool {
        let fits = self.messages == 0 || (self.messages < limit.messages && self.bytes + bytes <= limit.bytes);
        if fits {
            self.messages += 1;
            self.bytes += bytes;
        }
        fits
    }

    fn take(&mut self, bytes: usize) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

const SHARDS: usize = 16;

/// What is on its way, by session and by connector.
#[derive(Debug)]
pub(crate) struct Load {
    limits: LoadLimits,
    sessions: [Mutex<HashMap<u64, Sum>>; SHARDS],
    connectors: BTreeMap<String, Mutex<Sum>>,
}

/// Whose bound is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TooMuch {
    /// The session's own.
    Session,
    /// The connector's.
    Connector,
}

/// A publish under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct Underway {
    load: Arc<Load>,
    session: u64,
    connector: String,
    bytes: usize,
}

impl Load {
    pub(crate) fn new(limits: LoadLimits, connectors: impl Iterator<Item = String>) -> Arc<Self> {
        Arc::new(Load {
            limits,
            sessions: Default::default(),
            connectors: connectors.map(|name| (name, Mutex::default())).collect(),
        })
    }

    fn session(&self, key: u64) -> &Mutex<HashMap<u64, Sum>> {
        &self.sessions[key as usize % SHARDS]
    }

    /// Counts a publish of that session to that connector.
    ///
    /// # Errors
    /// When a bound is reached: then nothing is counted.
    pub(crate) fn admit(self: &Arc<Self>, session: u64, connector: &str, bytes: usize) -> Result<Underway, TooMuch> {
        if !self.session(session).lock().entry(session).or_default().add(bytes, self.limits.session) {
            return Err(TooMuch::Session);
        }
        if let Some(sum) = self.connectors.get(connector)
            && !sum.lock().add(bytes, self.limits.connector)
        {
            self.leave_session(session, bytes);
            return Err(TooMuch::Connector);
        }
        Ok(Underway { load: Arc::clone(self), session, connector: connector.to_owned(), bytes })
    }

    fn leave_session(&self, session: u64, bytes: usize) {
        let mut sessions = self.session(session).lock();
        if let Some(sum) = sessions.get_mut(&session) {
            sum.take(bytes);
            if sum.messages == 0 {
                sessions.remove(&session);
            }
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.load.leave_session(self.session, self.bytes);
        if let Some(sum) = self.load.connectors.get(&self.connector) {
            sum.lock().take(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn load(session: (usize, usize), connector: (usize, usize)) -> Arc<Load> {
        let limit = |(messages, bytes)| InFlightLimit { messages, bytes };
        let limits = LoadLimits { session: limit(session), connector: limit(connector) };
        Load::new(limits, ["kafka".to_owned(), "nats".to_owned()].into_iter())
    }

    #[test]
    fn a_session_that_sends_too_much_is_refused_and_no_other_is() {
        let load = load((2, 100), (10, 1_000));
        let first = load.admit(1, "kafka", 40).unwrap();
        let _second = load.admit(1, "kafka", 40).unwrap();
        assert_eq!(load.admit(1, "kafka", 1).unwrap_err(), TooMuch::Session);
        assert_eq!(load.admit(1, "nats", 1).unwrap_err(), TooMuch::Session);
        let _other = load.admit(2, "kafka", 90).unwrap();
        assert_eq!(load.admit(2, "kafka", 20).unwrap_err(), TooMuch::Session, "the bytes count too");
        drop(first);
        load.admit(1, "kafka", 60).unwrap();
    }

    #[test]
    fn a_broker_that_stands_still_is_full_and_another_goes_on() {
        let load = load((100, 10_000), (2, 10_000));
        let _slow = [load.admit(1, "kafka", 1).unwrap(), load.admit(2, "kafka", 1).unwrap()];
        assert_eq!(load.admit(3, "kafka", 1).unwrap_err(), TooMuch::Connector);
        load.admit(3, "nats", 1).unwrap();
    }

    #[test]
    fn one_publish_alone_is_taken_whatever_its_size() {
        let load = load((1, 10), (1, 10));
        load.admit(1, "kafka", 1_000).unwrap();
    }

    proptest! {
        #[test]
        fn what_ends_is_given_back(steps in prop::collection::vec((0u64..4, any::<bool>(), 0usize..50, any::<bool>()), 0..200)) {
            let load = load((5, 120), (9, 300));
            let mut underway = Vec::new();
            for (session, kafka, bytes, ends) in steps {
                underway.extend(load.admit(session, if kafka { "kafka" } else { "nats" }, bytes));
                if ends && !underway.is_empty() {
                    underway.remove(0);
                }
                let sums = load.connectors.values().map(|sum| sum.lock().messages).sum::<usize>();
                prop_assert_eq!(sums, underway.len());
            }
            underway.clear();
            prop_assert!(load.connectors.values().all(|sum| *sum.lock() == Sum::default()));
            prop_assert!(load.sessions.iter().all(|shard| shard.lock().is_empty()));
        }
    }
}
