//! A subscription: a task that moves a cursor and waits where the sink is full.

use crate::link::{Shared, now};
use connector::{Inbound, Start, SubscribeError, Subscription, TopicFilter};
use std::sync::Arc;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::AbortHandle;

/// How many records are taken from the logs at once: what a waiting reader holds besides its sink.
const BATCH: usize = 64;

/// Begins a subscription; needs a tokio runtime.
pub(crate) fn subscribe(
    shared: &Arc<Shared>,
    filter: TopicFilter,
    start: &Start,
    sink: mpsc::Sender<Inbound>,
) -> Result<Subscription, SubscribeError> {
    let wake = Arc::new(Notify::new());
    let name = filter.native(&crate::SYNTAX, "*", ">");
    let id = shared.store.lock().subscribe(filter, start, wake.clone(), now())?;
    let cursor = Cursor { shared: shared.clone(), id, wake, name };
    let mut closed = shared.closed.subscribe();
    let task = tokio::spawn(async move {
        tokio::select! {
            () = cursor.pump(&sink) => {}
            () = sink.closed() => {}
            _ = closed.wait_for(|closed| *closed) => {}
        }
    });
    let (ready, told) = oneshot::channel();
    let _ = ready.send(Ok(()));
    Ok(Subscription::new(told, Ends(task.abort_handle())))
}

/// Ends the task when the subscription is dropped.
struct Ends(AbortHandle);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A place in the logs, given up when dropped.
struct Cursor {
    shared: Arc<Shared>,
    id: u64,
    wake: Arc<Notify>,
    name: String,
}

impl Cursor {
    /// Hands over records until the receiver is gone.
    async fn pump(&self, sink: &mpsc::Sender<Inbound>) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut behind = false;
        loop {
            let missed = self.shared.store.lock().read(self.id, BATCH, now(), &mut batch);
            if missed > 0 && !behind {
                tracing::warn!(
                    topic = self.name,
                    missed,
                    "a subscription is so slow that records went before it read them"
                );
            }
            behind = missed > 0;
            if batch.is_empty() {
                self.wake.notified().await;
            }
            for record in batch.drain(..) {
                if sink.send(record).await.is_err() {
                    return;
                }
            }
        }
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.shared.store.lock().unsubscribe(self.id);
    }
}
