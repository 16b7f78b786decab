//! What the server counts. Plain atomics, read by whoever exports metrics.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters; all but the gauges (connections) only grow.
        #[derive(Debug, Default)]
        pub struct Stats { $($(#[$doc])* pub $name: Counter,)* }
    };
}

/// One counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
    /// Takes one off: for the gauges.
    pub fn dec(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

counters! {
    /// Handshakes accepted.
    handshakes,
    /// Sessions that ended because no connect came.
    sessions_expired,
    /// Sessions that ended because their queue was full.
    sessions_overflowed,
    /// Sessions ended because messages that they were to get are gone from the broker's log.
    sessions_with_gaps,
    /// Sessions that their client ended.
    sessions_disconnected,
    /// Messages received, of every kind.
    messages_in,
    /// Messages put into a session's queue.
    messages_queued,
    /// Messages dropped from a full queue (`drop_oldest`).
    messages_dropped,
    /// Envelopes refused as malformed or too big.
    malformed,
    /// Open connections (gauge).
    connections,
    /// Connections refused because there were too many.
    connections_refused,
    /// Open WebSockets (gauge).
    websockets,
    /// Connects held over HTTP (gauge).
    polls_held,
}
