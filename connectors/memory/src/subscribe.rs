//! A subscription: a task that moves a cursor and waits where the sink is full.

use crate::link::{Shared, now};
use connector::{Event, Ready, Start, SubscribeError, Subscription, TopicFilter};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::AbortHandle;

/// How many records are taken from the logs at once: what a waiting reader holds besides its sink.
const BATCH: usize = 64;

/// How often a reader who waits is told how far the log has moved on by records of other topics.
const MOVED_ON: Duration = Duration::from_secs(1);

/// Begins a subscription; needs a tokio runtime.
pub(crate) fn subscribe(
    shared: &Arc<Shared>,
    filter: TopicFilter,
    start: &Start,
    sink: mpsc::Sender<Event>,
) -> Result<Subscription, SubscribeError> {
    let wake = Arc::new(Notify::new());
    let name = filter.native(&crate::SYNTAX, "*", ">");
    let (id, begins) = shared.store.lock().subscribe(filter, start, wake.clone(), now())?;
    let reading = Reading { shared: shared.clone(), id, wake, name };
    let mut closed = shared.closed.subscribe();
    let task = tokio::spawn(async move {
        tokio::select! {
            () = reading.pump(&sink) => {}
            () = sink.closed() => {}
            _ = closed.wait_for(|closed| *closed) => {}
        }
    });
    let (ready, told) = oneshot::channel();
    let _ = ready.send(Ok(Ready { cursor: begins, sole: true }));
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
struct Reading {
    shared: Arc<Shared>,
    id: u64,
    wake: Arc<Notify>,
    name: String,
}

impl Reading {
    /// Hands over records until the receiver is gone.
    async fn pump(&self, sink: &mpsc::Sender<Event>) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut behind = false;
        let mut told = None;
        loop {
            let (missed, end) = {
                let mut store = self.shared.store.lock();
                (store.read(self.id, BATCH, now(), &mut batch), store.end())
            };
            if missed > 0 && !behind {
                tracing::warn!(
                    topic = self.name,
                    missed,
                    "a subscription is so slow that records went before it read them"
                );
            }
            behind = missed > 0;
            if batch.is_empty() {
                if told != Some(end.n) {
                    told = Some(end.n);
                    if sink.send(Event::Reached(end)).await.is_err() {
                        return;
                    }
                }
                let _ = tokio::time::timeout(MOVED_ON, self.wake.notified()).await;
            }
            for record in batch.drain(..) {
                told = record.place.as_ref().map(|place| place.n).max(told);
                if sink.send(Event::Record(record)).await.is_err() {
                    return;
                }
            }
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.shared.store.lock().unsubscribe(self.id);
    }
}
