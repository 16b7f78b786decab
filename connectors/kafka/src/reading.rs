//! One subscription, as its reader and its follower share it.

use crate::desk::Desk;
use connector::{Event, Ready, SubscribeError};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// A running subscription. Its sink ends when the last of reader, follower and waiter has let go of it.
pub(crate) struct Reading {
    pub(crate) sink: mpsc::Sender<Event>,
    /// Cancelled when the subscription is over, for whatever reason.
    pub(crate) over: CancellationToken,
    start: Mutex<Beginning>,
    home: Mutex<Option<Arc<Desk>>>,
    /// Somebody waits for room in the sink.
    waiting: AtomicBool,
}

/// What is still missing before it is said to be ready.
struct Beginning {
    sender: Option<oneshot::Sender<Result<Ready, SubscribeError>>>,
    /// Where it begins, once that is known.
    ready: Option<Ready>,
    /// Records still to be compared.
    checks: usize,
}

impl Beginning {
    fn tell_if_done(&mut self) {
        if self.checks == 0
            && let Some(ready) = self.ready.take()
            && let Some(sender) = self.sender.take()
        {
            let _ = sender.send(Ok(ready));
        }
    }
}

impl Reading {
    pub(crate) fn new(
        sink: mpsc::Sender<Event>,
        ready: oneshot::Sender<Result<Ready, SubscribeError>>,
        over: CancellationToken,
    ) -> Arc<Self> {
        let start = Mutex::new(Beginning { sender: Some(ready), ready: None, checks: 0 });
        Arc::new(Reading { sink, over, start, home: Mutex::new(None), waiting: AtomicBool::new(false) })
    }

    /// So many records are compared before it is ready.
    pub(crate) fn expect_checks(&self, checks: usize) {
        self.start.lock().checks = checks;
    }

    /// One of them is the right one.
    pub(crate) fn checked(&self) {
        let mut start = self.start.lock();
        start.checks = start.checks.saturating_sub(1);
        start.tell_if_done();
    }

    /// The start is resolved. Said once; later words are dropped.
    pub(crate) fn ready(&self, ready: Ready) {
        let mut start = self.start.lock();
        start.ready = Some(ready);
        start.tell_if_done();
    }

    /// Ends it with a reason, if it was not ready before.
    pub(crate) fn fail(&self, error: SubscribeError) {
        if let Some(sender) = self.start.lock().sender.take() {
            let _ = sender.send(Err(error));
        }
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
