//! One subscription, as its reader and its follower share it.

use crate::desk::Desk;
use connector::{Inbound, SubscribeError};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// A running subscription. Its sink ends when the last of reader, follower and waiter has let go of it.
pub(crate) struct Reading {
    pub(crate) sink: mpsc::Sender<Inbound>,
    /// Cancelled when the subscription is over, for whatever reason.
    pub(crate) over: CancellationToken,
    ready: Mutex<Option<oneshot::Sender<Result<(), SubscribeError>>>>,
    home: Mutex<Option<Arc<Desk>>>,
    /// Somebody waits for room in the sink.
    waiting: AtomicBool,
}

impl Reading {
    pub(crate) fn new(
        sink: mpsc::Sender<Inbound>,
        ready: oneshot::Sender<Result<(), SubscribeError>>,
        over: CancellationToken,
    ) -> Arc<Self> {
        let (ready, home) = (Mutex::new(Some(ready)), Mutex::new(None));
        Arc::new(Reading { sink, over, ready, home, waiting: AtomicBool::new(false) })
    }

    /// The start is resolved, or can never be. Said once; later words are dropped.
    pub(crate) fn ready(&self, result: Result<(), SubscribeError>) {
        if let Some(ready) = self.ready.lock().take() {
            let _ = ready.send(result);
        }
    }

    /// Ends it with a reason, if it was not ready before.
    pub(crate) fn fail(&self, error: SubscribeError) {
        self.ready(Err(error));
        self.end();
    }

    /// Ends it: its reader lets go of it.
    pub(crate) fn end(&self) {
        self.over.cancel();
        let home = self.home.lock().clone();
        if let Some(desk) = home {
            desk.sweep();
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Where it is read. Later partitions are attached there.
    pub(crate) fn home(&self) -> Option<Arc<Desk>> {
        self.home.lock().clone()
    }

    pub(crate) fn move_to(&self, desk: Arc<Desk>) {
        *self.home.lock() = Some(desk.clone());
        if self.is_over() {
            desk.sweep();
        }
    }

    /// Tells the desk when the full sink has room again, or the subscription is over.
    pub(crate) fn tell_of_room(self: &Arc<Self>, desk: &Arc<Desk>, runtime: &tokio::runtime::Handle) {
        if self.waiting.swap(true, Ordering::AcqRel) {
            return;
        }
        let (reading, desk) = (self.clone(), Arc::downgrade(desk));
        runtime.spawn(async move {
            tokio::select! {
                () = reading.over.cancelled() => {}
                _ = reading.sink.reserve() => {}
            }
            reading.waiting.store(false, Ordering::Release);
            // It may have been moved to another reader meanwhile, and be full there as well.
            let desks = [desk.upgrade(), reading.home()];
            desks.into_iter().flatten().for_each(|desk| desk.room());
        });
    }
}
