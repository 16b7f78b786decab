//! Subscribing, as the connector is asked for it: each subscription is followed by a task.

use crate::desk::Desk;
use crate::follow::Follower;
use crate::reader::Env;
use crate::reading::Reading;
use connector::{Event, Start, SubscribeError, Subscription, TopicFilter};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How many consumers there may be besides the shared one; further subscriptions that need one wait for a place.
const OWN_READERS: usize = 64;
/// What subscriptions of one connector share.
pub(crate) struct Subscriptions {
    env: Arc<Env>,
    shared: Arc<Desk>,
    places: Arc<Semaphore>,
    closed: CancellationToken,
}

/// The call of `subscribe`.
pub(crate) struct Call {
    pub(crate) filter: TopicFilter,
    pub(crate) start: Start,
    pub(crate) at: Instant,
    /// Milliseconds since 1970.
    pub(crate) time: i64,
    /// The cluster answered at that moment.
    pub(crate) up: bool,
}

impl Subscriptions {
    pub(crate) fn new(env: Arc<Env>, shared: Arc<Desk>) -> Self {
        let (places, closed) = (Arc::new(Semaphore::new(OWN_READERS)), CancellationToken::new());
        Subscriptions { env, shared, places, closed }
    }

    pub(crate) fn subscribe(
        &self,
        filter: TopicFilter,
        start: Start,
        sink: mpsc::Sender<Event>,
    ) -> Result<Subscription, SubscribeError> {
        if self.closed.is_cancelled() {
            return Err(SubscribeError::Closed);
        }
        let (ready_sender, ready) = oneshot::channel();
        let over = self.closed.child_token();
        let reading = Reading::new(sink, ready_sender, over.clone());
        let call = Call { filter, start, at: Instant::now(), time: millis(SystemTime::now()), up: self.env.link.up() };
        let follower = Follower::new(self.env.clone(), self.shared.clone(), self.places.clone(), reading, call);
        self.env.runtime.spawn(follower.run());
        let guard: DropGuard = over.drop_guard();
        Ok(Subscription::new(ready, guard))
    }

    /// Ends all.
    pub(crate) fn close(&self) {
        self.closed.cancel();
        self.shared.stop();
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        self.close();
    }
}

/// Milliseconds since 1970.
pub(crate) fn millis(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
