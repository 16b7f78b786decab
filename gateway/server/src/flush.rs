//! Writing to sockets, apart from queueing.
//!
//! A publish queues its message to every subscriber and marks their sockets; a flusher then writes each marked socket
//! once with all that waits for it. What is queued during a pass is written by the next: when little goes on, latency
//! is that of a direct write; as load rises, messages share writes and the cost per delivery falls.

use crate::lazy::Lazies;
use crate::websocket::outlet::Outlet;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;

/// Sockets written between two chances for other tasks to run.
const PASS: usize = 128;

/// The marked sockets, in as many lanes as there are flusher tasks.
#[derive(Debug)]
pub(crate) struct Flusher {
    lanes: Vec<Lane>,
    lazies: Lazies,
}

#[derive(Debug, Default)]
struct Lane {
    marked: Mutex<Vec<Arc<Outlet>>>,
    wake: Notify,
}

impl Flusher {
    pub(crate) fn new(lanes: usize) -> Self {
        Flusher { lanes: (0..lanes.max(1)).map(|_| Lane::default()).collect(), lazies: Lazies::default() }
    }

    /// This socket has something to write. Cheap when it is marked already.
    pub(crate) fn mark(&self, outlet: &Arc<Outlet>) {
        if outlet.mark() {
            let lane = &self.lanes[outlet.lane() % self.lanes.len()];
            lane.marked.lock().push(Arc::clone(outlet));
        }
    }

    /// Whoever marked sockets has marked them all.
    pub(crate) fn kick(&self) {
        for lane in &self.lanes {
            if !lane.marked.lock().is_empty() {
                lane.wake.notify_one();
            }
        }
    }

    /// One lane's task: runs until the server is dropped by whoever aborts it.
    pub(crate) async fn run(self: Arc<Self>, lane: usize) {
        let lane = &self.lanes[lane];
        let mut pass = Vec::new();
        loop {
            lane.wake.notified().await;
            loop {
                std::mem::swap(&mut pass, &mut *lane.marked.lock());
                if pass.is_empty() {
                    break;
                }
                for (n, outlet) in pass.drain(..).enumerate() {
                    outlet.unmark();
                    outlet.flush();
                    if n % PASS == PASS - 1 {
                        tokio::task::yield_now().await;
                    }
                }
            }
            if pass.capacity() > 4_096 {
                pass = Vec::new();
            }
        }
    }

    /// The task of lazy messages, likewise.
    pub(crate) async fn run_lazies(self: Arc<Self>) {
        loop {
            for session in self.lazies.due().await {
                let now = Instant::now();
                if let Some(again) = session.wake_lazy(now, &self) {
                    self.lazies.ask(&session, again);
                }
            }
            self.kick();
        }
    }

    pub(crate) fn lazies(&self) -> &Lazies {
        &self.lazies
    }

    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }
}
