//! The way of a message into a session's queue.

use super::LiveSession;
use crate::flush::Flusher;
use crate::server::Server;
use bayeux::channel::Class;
use bayeux::delivery::{Delivery, DeliveryParts};
use bayeux::message::{Message, MessageId};
use bayeux::session::{EndReason, Push};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// What became of a message that a session was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offered {
    /// It is queued, or the session has ended and needs it no more.
    Taken,
    /// The queue is full, and the session is to be ended (said once).
    Full,
    /// An extension or listener of the session would not have it.
    Vetoed,
    /// Not offered yet: the session has extensions or listeners, to be called when nothing is locked.
    Apart,
}

impl LiveSession {
    /// Queues a message for this session alone, past the extensions, and sends it on its way.
    ///
    /// ```
    /// use bayeux::delivery::{Delivery, DeliveryParts};
    /// use bayeux_server::LiveSession;
    /// use std::sync::Arc;
    ///
    /// fn greet(session: &LiveSession) {
    ///     let parts = DeliveryParts { data: br#""welcome""#, ..DeliveryParts::default() };
    ///     session.deliver(Arc::new(Delivery::new("/greetings".into(), &parts)));
    /// }
    /// ```
    pub fn deliver(&self, delivery: Arc<Delivery>) {
        self.deliver_from(None, delivery);
    }

    /// The same, as a message of that session: one that does not get its own gets no message of itself on a broadcast
    /// channel.
    pub fn deliver_from(&self, from: Option<&Arc<LiveSession>>, delivery: Arc<Delivery>) {
        let Some(server) = self.server.upgrade().map(Server::from_shared) else { return };
        let own = from.is_some_and(|from| from.key() == self.key);
        if own && self.is_quiet() && Class::of(delivery.channel()) == Class::Broadcast {
            return;
        }
        let Some(delivery) = server.extended(from, Some(self), delivery) else { return };
        let offered = match self.offer(&delivery, server.flusher()) {
            Offered::Apart => self.offer_apart(from, &delivery, server.flusher()),
            offered => offered,
        };
        if offered == Offered::Full {
            server.end_session(self, EndReason::Overflow);
        }
        server.flusher().kick();
    }

    /// Answers a message that the session has sent to a service, in the form that `remoteCall()` of CometD's clients
    /// understands.
    ///
    /// ```
    /// use bayeux::message::Message;
    /// use bayeux_server::LiveSession;
    ///
    /// fn double(session: &LiveSession, question: &Message) {
    ///     match question.data_as::<i64>() {
    ///         Some(n) => session.answer(question, 2 * n),
    ///         None => session.answer_failure(question, "a number, please"),
    ///     }
    /// }
    /// ```
    pub fn answer(&self, question: &Message, data: impl Serialize) {
        self.deliver_answer(question, true, &data);
    }

    /// The same for what went wrong: `data` says how.
    pub fn answer_failure(&self, question: &Message, data: impl Serialize) {
        self.deliver_answer(question, false, &data);
    }

    fn deliver_answer(&self, question: &Message, successful: bool, data: &impl Serialize) {
        let id = match &question.id {
            Some(MessageId::Valid(id) | MessageId::Invalid(id)) => Some(&**id),
            _ => None,
        };
        let data = serde_json::to_vec(data).unwrap_or_default();
        let parts = DeliveryParts { id, successful: Some(successful), data: &data, ..Default::default() };
        self.deliver(Arc::new(Delivery::new(question.channel.clone().unwrap_or_default(), &parts)));
    }

    /// Queues a message, unless the session has extensions or listeners. The caller kicks the flusher when it has queued all
    /// it has.
    pub(crate) fn offer(&self, delivery: &Arc<Delivery>, flusher: &Flusher) -> Offered {
        if self.is_apart() { Offered::Apart } else { self.enqueue(delivery, flusher) }
    }

    /// Puts a message into the queue and wakes what carries the session.
    fn enqueue(&self, delivery: &Arc<Delivery>, flusher: &Flusher) -> Offered {
        let mut inner = self.inner.lock();
        let push = inner.session.push(Arc::clone(delivery));
        if inner.session.counts_sends() {
            inner.session.active(Instant::now());
        }
        match push {
            Push::Gone | Push::Waits => Offered::Taken,
            Push::Overflow => match self.overflowing.swap(true, Ordering::Relaxed) {
                false => Offered::Full,
                true => Offered::Taken,
            },
            Push::Wake => {
                self.wake(&mut inner, flusher);
                Offered::Taken
            }
            Push::Lazy(delay) => {
                let now = Instant::now();
                if inner.session.lazy_until(now + delay, now) {
                    drop(inner);
                    let session =
                        self.server.upgrade().and_then(|server| Server::from_shared(server).session(&self.id));
                    session.iter().for_each(|session| flusher.lazies().ask(session, now + delay));
                }
                Offered::Taken
            }
        }
    }

    /// Lazy messages may have waited long enough; when to ask again, if they have not.
    pub(crate) fn wake_lazy(&self, now: Instant, flusher: &Flusher) -> Option<Instant> {
        let mut inner = self.inner.lock();
        match inner.session.wake_lazy(now) {
            Ok(false) => None,
            Ok(true) => {
                self.wake(&mut inner, flusher);
                None
            }
            Err(again) => Some(again),
        }
    }

    /// Queues a message, past the session's extensions and listeners: nothing is locked while they are called.
    pub(crate) fn offer_apart(
        &self,
        from: Option<&Arc<LiveSession>>,
        delivery: &Arc<Delivery>,
        flusher: &Flusher,
    ) -> Offered {
        let Some(extras) = self.extras() else { return self.enqueue(delivery, flusher) };
        let mut delivery = Arc::clone(delivery);
        if extras.extensions.any() {
            let mut message = delivery.message().clone();
            for (_, extension) in extras.extensions.all().iter().rev() {
                if extension.outgoing(from, self, &mut message).vetoed() {
                    return Offered::Vetoed;
                }
            }
            if message != *delivery.message() {
                delivery = Arc::new(delivery.changed(&message));
            }
        }
        let listeners = extras.listeners.all();
        if listeners.iter().any(|(_, listener)| listener.message(from, self, &delivery).vetoed()) {
            return Offered::Vetoed;
        }
        let offered = self.enqueue(&delivery, flusher);
        match offered {
            Offered::Full if listeners.iter().any(|(_, l)| l.queue_full(self, &delivery).vetoed()) => {
                self.overflowing.store(false, Ordering::Relaxed);
                return Offered::Vetoed;
            }
            Offered::Taken => listeners.iter().for_each(|(_, listener)| listener.queued(from, self, &delivery)),
            _ => {}
        }
        offered
    }
}
