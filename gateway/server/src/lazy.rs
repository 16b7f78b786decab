//! When lazy messages go: one queue of times and one task for all sessions. A session stands in it while lazy messages
//! wait for it, as a rule once.

use crate::session::LiveSession;
use parking_lot::Mutex;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::{Arc, Weak};
use std::time::Instant;
use tokio::sync::Notify;

/// The times at which sessions are asked for their lazy messages.
#[derive(Debug, Default)]
pub(crate) struct Lazies {
    times: Mutex<BinaryHeap<Reverse<Entry>>>,
    /// An earlier time than all before has come in.
    earlier: Notify,
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    session: Weak<LiveSession>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at)
    }
}

impl Lazies {
    /// The session is to be asked at that time.
    pub(crate) fn ask(&self, session: &Arc<LiveSession>, at: Instant) {
        let mut times = self.times.lock();
        let first = times.peek().is_none_or(|Reverse(entry)| at < entry.at);
        times.push(Reverse(Entry { at, session: Arc::downgrade(session) }));
        if first {
            self.earlier.notify_one();
        }
    }

    /// Waits for the next time, and gives those whose time has come.
    pub(crate) async fn due(&self) -> Vec<Arc<LiveSession>> {
        loop {
            let next = self.times.lock().peek().map(|Reverse(entry)| entry.at);
            let come = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = come => {
                    let now = Instant::now();
                    let mut due = Vec::new();
                    let mut times = self.times.lock();
                    while times.peek().is_some_and(|Reverse(entry)| entry.at <= now) {
                        due.extend(times.pop().and_then(|Reverse(entry)| entry.session.upgrade()));
                    }
                    return due;
                }
                () = self.earlier.notified() => {}
            }
        }
    }
}
