//! The session's messages: how they wait, what they wake, and what takes them.

use super::{Carrier, Extra, Push, Session, Ticket, ack};
use crate::delivery::Delivery;
use crate::queue::Queued;
use std::sync::Arc;
use std::time::Instant;

impl Session {
    /// From now on messages are acknowledged (`ext.ack` of the handshake).
    pub fn acknowledge(&mut self) {
        self.acks = Some(ack::Acks::default());
    }

    /// What this carrier takes goes out with the replies of connects only.
    pub fn connect_only(&self, carrier: Carrier) -> bool {
        self.acks.is_some() || carrier == Carrier::CallbackPolling || self.options.of(carrier).meta_connect_deliver_only
    }

    /// A message waits that is to be sent now.
    pub(super) fn presses(&self) -> bool {
        self.batches == 0 && self.queue.presses()
    }

    /// How many messages, from the front, were sent and not acknowledged.
    pub(super) fn unseen(&self) -> usize {
        self.acks.as_ref().map_or(0, ack::Acks::unseen)
    }

    /// Messages are to be sent again, and none has come since that would be sent by itself.
    pub(super) fn again(&self) -> bool {
        let unseen = self.unseen();
        unseen > 0 && self.queue.iter().skip(unseen).all(|delivery| delivery.lazy().is_some())
    }

    /// A message for the client.
    pub fn push(&mut self, delivery: Arc<Delivery>) -> Push {
        if self.ended() {
            return Push::Gone;
        }
        let lazy = delivery.lazy();
        match self.queue.push(delivery, &self.options.of(self.born).queue) {
            Queued::Full => return Push::Overflow,
            Queued::Dropped(n) => {
                self.acks.iter_mut().for_each(|acks| acks.dropped(n));
                self.dropped += n as u64;
                self.untold += n as u64;
            }
            Queued::Kept => {}
        }
        if let Some(channels) = lazy {
            let own = if channels.is_zero() { self.options.of(self.born).max_lazy_timeout } else { channels };
            if !own.is_zero() {
                return Push::Lazy(own);
            }
            self.lazy_too = true;
        }
        if self.batches > 0 { Push::Waits } else { Push::Wake }
    }

    /// A lazy message may wait until then. True when [`Session::wake_lazy`] is to be asked at that time, false when it
    /// will be asked before anyway.
    pub fn lazy_until(&mut self, due: Instant, now: Instant) -> bool {
        let extra = self.extra.get_or_insert_with(|| Extra::new(now));
        let due = extra.lazy_due.map_or(due, |before| before.min(due));
        extra.lazy_due = Some(due);
        let asks = extra.lazy_asks.is_none_or(|asks| asks > due);
        if asks {
            extra.lazy_asks = Some(due);
        }
        asks
    }

    /// The time that lazy messages may wait may be over. `Ok`: whether whoever carries the session should be woken;
    /// `Err`: not yet, and when to ask again.
    ///
    /// # Errors
    /// See above.
    pub fn wake_lazy(&mut self, now: Instant) -> Result<bool, Instant> {
        let Some(extra) = &mut self.extra else { return Ok(false) };
        if extra.lazy_asks.is_some_and(|asks| asks > now) {
            return Ok(false); // asked for at a time that another has replaced
        }
        extra.lazy_asks = extra.lazy_due.filter(|due| *due > now);
        if let Some(asks) = extra.lazy_asks {
            return Err(asks);
        }
        let due = extra.lazy_due.take().is_some() && !self.queue.is_empty();
        self.lazy_too |= due;
        Ok(due && self.batches == 0)
    }

    /// The queue is empty: what comes now waits anew.
    fn emptied(&mut self) {
        self.lazy_too = false;
        if let Some(extra) = &mut self.extra {
            extra.lazy_due = None;
        }
    }

    /// Whether a message to the client is activity: then the driver tells of it by [`Session::active`].
    pub fn counts_sends(&self) -> bool {
        self.extra.is_some() && self.options.activity.is_some_and(|activity| activity.client_server)
    }

    /// A message to the client was activity.
    pub fn active(&mut self, now: Instant) {
        if let Some(extra) = &mut self.extra {
            extra.active = now;
        }
    }

    /// The hold that a waiting message ends, if no batch is open: any poll's; a WebSocket's only when messages need a
    /// connect's reply to go out.
    pub fn take_polling_hold(&mut self, now: Instant) -> Option<Ticket> {
        if self.batches > 0 || self.queue.is_empty() {
            return None;
        }
        let carrier = self.hold.as_ref()?.carrier;
        if carrier == Carrier::WebSocket && !self.connect_only(carrier) {
            return None;
        }
        let hold = self.hold.take()?;
        self.answered(now);
        Some(hold.ticket)
    }

    /// The oldest waiting message, to be sent unasked or with any reply; none where only a connect's reply may carry it,
    /// or while there are but lazy ones whose time has not come.
    pub fn pop(&mut self, carrier: Carrier) -> Option<Arc<Delivery>> {
        if self.silent || self.connect_only(carrier) { None } else { self.pop_unasked() }
    }

    /// The same for a session that is carried by nothing, as one inside the server is.
    pub fn pop_unasked(&mut self) -> Option<Arc<Delivery>> {
        self.lazy_too |= self.queue.presses();
        let delivery = if self.lazy_too { self.queue.pop() } else { None };
        if self.queue.is_empty() {
            self.emptied();
        }
        delivery
    }

    /// The messages that go out with a connect's reply, and the number of the batch that it closes, if they are to be
    /// acknowledged: then they stay in the queue until they are, and those that were not are among them again.
    pub fn take_for_connect(&mut self) -> (Vec<Arc<Delivery>>, Option<u64>) {
        self.emptied();
        match &mut self.acks {
            Some(acks) => (self.queue.iter().cloned().collect(), Some(acks.close(self.queue.len()))),
            None => (std::iter::from_fn(|| self.queue.pop()).collect(), None),
        }
    }

    /// The same for the handshake's reply; `None` where messages wait for what the client asks next
    /// (`allow_message_delivery_during_handshake`).
    pub fn take_for_handshake(&mut self) -> Option<(Vec<Arc<Delivery>>, Option<u64>)> {
        let allowed = self.options.of(self.born).allow_message_delivery_during_handshake;
        allowed.then(|| self.take_for_connect())
    }

    /// Messages that were taken but did not reach the client: they come first again. Those to be acknowledged never left.
    pub fn put_back(&mut self, deliveries: impl DoubleEndedIterator<Item = Arc<Delivery>>) {
        if !self.ended() && self.acks.is_none() {
            self.queue.put_back(deliveries);
            self.lazy_too |= !self.queue.is_empty();
        }
    }

    /// What waits: messages and bytes.
    pub fn waiting(&self) -> (usize, usize) {
        (self.queue.len(), self.queue.bytes())
    }

    /// How full the queue is: 1 at a bound.
    pub fn fill(&self) -> f64 {
        let limits = &self.options.of(self.born).queue;
        let part = |n: usize, of: usize| n as f64 / of.max(1) as f64;
        part(self.queue.len(), limits.max_messages).max(part(self.queue.bytes(), limits.max_bytes))
    }

    /// Messages dropped by [`crate::queue::Overflow::DropOldest`] that the client does not know of: its next connect
    /// reply says how many, as `ext.dropped`.
    pub fn take_untold(&mut self) -> u64 {
        std::mem::take(&mut self.untold)
    }

    /// Messages dropped by [`crate::queue::Overflow::DropOldest`] since the last call: for counting.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// From now on messages wait without waking anybody. May be nested.
    pub fn start_batch(&mut self) {
        self.batches += 1;
    }

    /// The counterpart of [`Session::start_batch`]; whether somebody is to be woken now.
    pub fn end_batch(&mut self) -> bool {
        self.batches = self.batches.saturating_sub(1);
        self.presses() || (self.batches == 0 && self.lazy_too && !self.queue.is_empty())
    }
}
