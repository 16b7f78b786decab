//! Sessions that are given messages at their own speed: by whoever has more than fits in a queue.

use super::{Inner, LiveSession, Offered};
use crate::server::Server;
use bayeux::delivery::Delivery;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::Notify;

/// What became of a message that was handed to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handed {
    /// It is queued, or the session needs it no more.
    Taken,
    /// Too much waits already: [`LiveSession::room`] resolves when that has changed.
    Full,
}

impl LiveSession {
    /// Queues a message for this session if less than half of what may wait for it does: the rest is for what others send.
    pub fn hand(&self, delivery: &Arc<Delivery>) -> Handed {
        if self.inner.lock().session.fill() >= 0.5 {
            return Handed::Full;
        }
        let Some(server) = self.server.upgrade().map(Server::from_shared) else { return Handed::Taken };
        let Some(delivery) = server.extended(None, Some(self), Arc::clone(delivery)) else { return Handed::Taken };
        let offered = match self.offer(&delivery, server.flusher()) {
            Offered::Apart => self.offer_apart(None, &delivery, server.flusher()),
            offered => offered,
        };
        server.flusher().kick();
        if offered == Offered::Full {
            self.forget_overflow();
            return Handed::Full;
        }
        Handed::Taken
    }

    /// Resolves when no more than a quarter of what may wait for the session does, or it has ended.
    pub async fn room(&self) {
        loop {
            let watch = {
                let mut inner = self.inner.lock();
                if inner.has_room() {
                    return;
                }
                Arc::clone(inner.watch.get_or_insert_default())
            };
            let notified = watch.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            // It may have become so before we listened.
            if self.inner.lock().has_room() {
                return;
            }
            notified.await;
        }
    }

    /// It is dealt with that the queue was full: the next time it is said again.
    pub(crate) fn forget_overflow(&self) {
        self.overflowing.store(false, Ordering::Relaxed);
    }
}

impl Inner {
    fn has_room(&self) -> bool {
        self.session.ended() || self.session.fill() <= 0.25
    }

    /// Messages have left the queue: whoever waits for room looks again.
    pub(super) fn taken(&mut self) {
        if self.watch.is_some() && self.has_room() {
            self.watch.take().iter().for_each(|watch: &Arc<Notify>| watch.notify_waiters());
        }
    }
}
