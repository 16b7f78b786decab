//! A session as a state machine: it is told what happened and when, and says what is to be done.
//!
//! A Bayeux session is not a connection: many HTTP requests, and a WebSocket after them, act on one session, also at
//! the same time. So nothing here knows a socket: a held `/meta/connect` is a [`Ticket`] that the driver keeps beside
//! the request or socket that waits, and the queue belongs to the session, whatever carries it.
//!
//! The rules are CometD's (`ServerSessionImpl`, `AbstractServerTransport`, `AbstractHttpTransport`):
//! - The first connect is answered at once; a later one is held until its timeout, or until there is something to say.
//! - A newer connect ends an older one.
//! - A session expires when `interval + max_interval` have passed since its connect or handshake was answered, never
//!   while a connect is held; any other message gives it `max_interval` again.
//! - Advice goes into the handshake's reply, and into a connect's reply when the client advised something itself or
//!   came by another transport.

use crate::channel::ChannelName;
use crate::delivery::Delivery;
use crate::error;
use crate::message::ClientAdvice;
use crate::queue::{Queue, Queued};
use crate::reply::{Advice, Reconnect, Refusal};
use bytestring::ByteString;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

mod ack;
mod options;

pub use options::{Carrier, Options, SessionOptions};

/// Names one held connect of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// A connect as the driver sees it.
#[derive(Debug, Clone, Copy)]
pub struct Connect {
    /// What it came by.
    pub carrier: Carrier,
    /// The only message of its envelope.
    pub alone: bool,
    /// Another session of the same browser holds a connect already: not to be held.
    pub crowded: bool,
    /// The client's advice for this connect.
    pub advice: Option<ClientAdvice>,
    /// The last batch that the client has seen (`ext.ack`).
    pub ack: Option<u64>,
}

/// What to do with a connect.
#[derive(Debug, PartialEq, Eq)]
pub struct ConnectOutcome {
    /// An older connect that this one ended: it gets no Bayeux reply.
    pub superseded: Option<Ticket>,
    /// Advice for the reply, now or later.
    pub advice: Option<Advice>,
    /// To be held under this ticket until then; `None`: answer at once.
    pub hold: Option<(Ticket, Instant)>,
}

/// What became of a message for a session.
#[derive(Debug, PartialEq, Eq)]
pub enum Push {
    /// It waits, and nothing is to be done now.
    Waits,
    /// It waits, and whoever carries the session should be woken: the held connect, or the socket.
    Wake,
    /// The queue is full: the session is to be ended.
    Overflow,
    /// The session has ended.
    Gone,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The client disconnected.
    Disconnected,
    /// No connect came in time.
    Expired,
    /// Its queue was full.
    Overflow,
    /// The server ended it.
    Server,
}

#[derive(Debug)]
struct Hold {
    ticket: Ticket,
    carrier: Carrier,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Handshaken,
    Connected,
    Ended,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    id: ByteString,
    options: Arc<SessionOptions>,
    /// What it handshook by.
    born: Carrier,
    /// What its last message came by.
    by: Carrier,
    state: State,
    queue: Queue,
    dropped: u64,
    untold: u64,
    batches: u32,
    hold: Option<Hold>,
    tickets: u64,
    expires: Option<Instant>,
    interval_override: Option<Duration>,
    advised: Option<Carrier>,
    subscriptions: HashSet<ChannelName>,
    acks: Option<ack::Acks>,
    /// When its client was last heard, if anybody wants to know (`max_processing`).
    heard: Option<Box<Instant>>,
}

impl Session {
    /// A session whose handshake, that came by `carrier`, was just accepted.
    pub fn new(id: ByteString, options: Arc<SessionOptions>, carrier: Carrier, now: Instant) -> Self {
        let of = options.of(carrier);
        let expires = Some(now + of.interval + of.max_interval);
        let heard = of.max_processing.map(|_| Box::new(now));
        Session {
            id,
            options,
            born: carrier,
            by: carrier,
            state: State::Handshaken,
            queue: Queue::default(),
            dropped: 0,
            untold: 0,
            batches: 0,
            hold: None,
            tickets: 0,
            expires,
            interval_override: None,
            advised: None,
            subscriptions: HashSet::new(),
            acks: None,
            heard,
        }
    }

    /// From now on messages are acknowledged (`ext.ack` of the handshake).
    pub fn acknowledge(&mut self) {
        self.acks = Some(ack::Acks::default());
    }

    /// Messages go out with the replies of connects only.
    pub fn connect_only(&self) -> bool {
        self.acks.is_some()
    }

    /// The client id. A secret between client and server: never shown to anybody else.
    pub fn id(&self) -> &ByteString {
        &self.id
    }

    /// The session has ended.
    pub fn ended(&self) -> bool {
        self.state == State::Ended
    }

    /// The options of the transport that its last message came by.
    fn current(&self) -> &Options {
        self.options.of(self.by)
    }

    /// The advice of a handshake's reply.
    pub fn handshake_advice(&mut self) -> Advice {
        self.advised = Some(self.by);
        self.full_advice()
    }

    fn full_advice(&self) -> Advice {
        let options = self.current();
        Advice {
            timeout: Some(millis(options.timeout)),
            max_interval: options.handshake_reconnect.then(|| millis(options.max_interval)),
            ..Advice::new(Reconnect::Retry, millis(self.interval()))
        }
    }

    fn interval(&self) -> Duration {
        self.interval_override.unwrap_or(self.current().interval)
    }

    fn heard(&mut self, now: Instant, carrier: Carrier) {
        self.by = carrier;
        if let Some(heard) = &mut self.heard {
            **heard = now;
        }
    }

    /// A `/meta/connect` arrived.
    ///
    /// # Errors
    /// `402::session_unknown` with advice to handshake when the session has ended.
    pub fn connect(&mut self, now: Instant, connect: &Connect) -> Result<ConnectOutcome, Refusal> {
        let was_connected = match self.state {
            State::Handshaken => false,
            State::Connected => true,
            State::Ended => return Err(unknown_session()),
        };
        self.state = State::Connected;
        self.heard(now, connect.carrier);
        let superseded = self.hold.take().map(|hold| hold.ticket);
        let advised = connect.advice.unwrap_or_default();
        self.interval_override = advised.interval.map(|millis| Duration::from_millis(millis).min(MAX_INTERVAL));
        let timeout = advised.timeout.map_or(self.current().timeout, Duration::from_millis).min(MAX_HOLD);
        if let (Some(acks), Some(number)) = (&mut self.acks, connect.ack) {
            for _ in 0..acks.seen(number) {
                self.queue.pop();
            }
        }
        // Where there is something to say, or other messages beside it, nothing would be held anyway.
        let crowded = connect.crowded && connect.alone && self.queue.is_empty();
        // CometD takes one that gets the same messages again for one that asked not to be held.
        let again = self.acks.as_ref().is_some_and(|acks| acks.again(self.queue.len()));
        let due = again || connect.advice.is_some() || (!crowded && self.advised != Some(connect.carrier));
        let mut advice = due.then(|| self.full_advice());
        if crowded {
            advice.get_or_insert(Advice::new(Reconnect::Retry, 0)).multiple_clients = true; // what else is the driver's
        }
        // One that was told to keep away is told when it need not any more.
        self.advised = (!crowded).then_some(connect.carrier);
        let polls = connect.carrier != Carrier::WebSocket;
        let held = was_connected
            && !timeout.is_zero()
            && !connect.crowded
            && (!polls || connect.alone)
            && (!(polls || self.connect_only()) || self.queue.is_empty());
        let hold = if held {
            self.tickets += 1;
            let ticket = Ticket(self.tickets);
            self.hold = Some(Hold { ticket, carrier: connect.carrier });
            self.expires = None;
            Some((ticket, now + timeout))
        } else {
            self.arm(now);
            None
        };
        Ok(ConnectOutcome { superseded, advice, hold })
    }

    /// Ends the hold of that ticket, because its time is over or there is something to say. False if it was over
    /// already: then somebody else answers it, or nobody.
    pub fn release(&mut self, ticket: Ticket, now: Instant) -> bool {
        if self.hold.as_ref().is_some_and(|hold| hold.ticket == ticket) {
            self.hold = None;
            self.arm(now);
            true
        } else {
            false
        }
    }

    /// The reply to a connect or handshake was written: the clock of expiry starts.
    pub fn replied(&mut self, now: Instant) {
        if self.hold.is_none() && self.state != State::Ended {
            self.arm(now);
        }
    }

    /// Any message but a connect arrived: it shows that the client lives.
    pub fn touch(&mut self, now: Instant, carrier: Carrier) {
        self.heard(now, carrier);
        if self.hold.is_none() && self.state != State::Ended {
            self.expires = Some(now + self.current().max_interval);
        }
    }

    fn arm(&mut self, now: Instant) {
        self.expires = Some(now + self.interval() + self.current().max_interval);
    }

    /// When it expires, if nothing happens; while a connect is held that is when its client was not heard for
    /// `max_processing`, if there is such a bound. `None`: not before something else happens, or it has ended.
    pub fn expires(&self) -> Option<Instant> {
        let held = self.hold.as_ref().and(self.heard.as_ref());
        self.expires.or_else(|| Some(**held? + self.options.of(self.born).max_processing?))
    }

    /// A message for the client.
    pub fn push(&mut self, delivery: Arc<Delivery>) -> Push {
        if self.state == State::Ended {
            return Push::Gone;
        }
        match self.queue.push(delivery, &self.options.of(self.born).queue) {
            Queued::Full => return Push::Overflow,
            Queued::Dropped(n) => {
                self.acks.iter_mut().for_each(|acks| acks.dropped(n));
                self.dropped += n as u64;
                self.untold += n as u64;
            }
            Queued::Kept => {}
        }
        if self.batches > 0 { Push::Waits } else { Push::Wake }
    }

    /// The hold that a waiting message ends, if no batch is open: any poll's; a WebSocket's only when messages need a
    /// connect's reply to go out.
    pub fn take_polling_hold(&mut self, now: Instant) -> Option<Ticket> {
        if self.batches > 0 || self.queue.is_empty() {
            return None;
        }
        let connect_only = self.connect_only();
        let hold = self.hold.take_if(|hold| connect_only || hold.carrier != Carrier::WebSocket)?;
        self.arm(now);
        Some(hold.ticket)
    }

    /// The oldest waiting message, to be sent unasked or with any reply; none where only a connect's reply may carry it.
    pub fn pop(&mut self) -> Option<Arc<Delivery>> {
        if self.connect_only() { None } else { self.queue.pop() }
    }

    /// The messages that go out with a connect's reply, and the number of the batch that it closes, if they are to be
    /// acknowledged: then they stay in the queue until they are, and those that were not are among them again.
    pub fn take_for_connect(&mut self) -> (Vec<Arc<Delivery>>, Option<u64>) {
        match &mut self.acks {
            Some(acks) => (self.queue.iter().cloned().collect(), Some(acks.close(self.queue.len()))),
            None => (std::iter::from_fn(|| self.queue.pop()).collect(), None),
        }
    }

    /// Messages that were taken but did not reach the client: they come first again.
    pub fn put_back(&mut self, deliveries: impl DoubleEndedIterator<Item = Arc<Delivery>>) {
        if self.state != State::Ended && !self.connect_only() {
            self.queue.put_back(deliveries);
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
        self.batches == 0 && !self.queue.is_empty()
    }

    /// Records a subscription: whether it is new. The driver keeps the registry of channels.
    ///
    /// # Errors
    /// When the session has too many.
    pub fn subscribe(&mut self, channel: &ChannelName) -> Result<bool, Refusal> {
        if self.state == State::Ended {
            return Err(Refusal::new(error::SESSION_UNKNOWN));
        }
        if self.subscriptions.len() >= self.options.max_subscriptions && !self.subscriptions.contains(channel) {
            return Err(Refusal::new(error::error(403, channel.as_str(), "too_many_subscriptions")));
        }
        Ok(self.subscriptions.insert(channel.clone()))
    }

    /// Forgets a subscription: whether there was one.
    pub fn unsubscribe(&mut self, channel: &ChannelName) -> bool {
        let there = self.subscriptions.remove(channel);
        if self.subscriptions.is_empty() {
            self.subscriptions = HashSet::new();
        }
        there
    }

    /// Whether it is subscribed to exactly this channel or pattern.
    pub fn is_subscribed(&self, channel: &ChannelName) -> bool {
        self.subscriptions.contains(channel)
    }

    /// What it is subscribed to.
    pub fn subscriptions(&self) -> impl Iterator<Item = &ChannelName> {
        self.subscriptions.iter()
    }

    /// Ends the session: its subscriptions, to be taken out of the registry, or `None` if it had ended before. A held
    /// connect's ticket is void from now on; the driver answers it by the reason. What waits for a client that
    /// disconnects may still go out with the reply.
    pub fn end(&mut self, reason: EndReason) -> Option<Vec<ChannelName>> {
        if self.state == State::Ended {
            return None;
        }
        self.state = State::Ended;
        self.expires = None;
        self.hold = None;
        if reason != EndReason::Disconnected {
            self.queue = Queue::default();
        }
        Some(std::mem::take(&mut self.subscriptions).into_iter().collect())
    }
}

/// No client makes its session live longer without a connect than this, whatever it advises.
const MAX_INTERVAL: Duration = Duration::from_secs(300);

/// No client needs its connect held longer than this, whatever it advises.
const MAX_HOLD: Duration = Duration::from_secs(3600);

/// `402::session_unknown` with the advice that connects and handshakes get.
pub fn unknown_session() -> Refusal {
    Refusal::new(error::SESSION_UNKNOWN).with_advice(Advice::new(Reconnect::Handshake, 0))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
