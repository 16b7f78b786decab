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
use crate::queue::Queue;
use crate::reply::{Advice, Reconnect, Refusal};
use bytestring::ByteString;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

mod ack;
mod flow;
mod options;
mod resume;
mod subscriptions;

pub use options::{Activity, Carrier, Options, SessionOptions};

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
    /// It waits, and may wait so long: then [`Session::wake_lazy`] says whether somebody should be woken.
    Lazy(Duration),
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
    /// Messages that it was to get are gone: its client is to begin anew, and to learn of it.
    Gap,
    /// The server disconnected it: its client is told by a message on `/meta/disconnect`.
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
    /// Its client or the server took leave: it is to stay away.
    Disconnected,
    /// It is gone: its client may begin a new one.
    Gone,
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
    /// What is queued stays there: the client has said nothing since its handshake.
    silent: bool,
    /// Lazy messages go too, until the queue is empty.
    lazy_too: bool,
    extra: Option<Box<Extra>>,
}

/// What few sessions need.
#[derive(Debug)]
struct Extra {
    /// When its client was last heard.
    heard: Instant,
    /// When it last was active.
    active: Instant,
    /// When lazy messages that wait now go, if they have to go alone.
    lazy_due: Option<Instant>,
    /// When the driver asks next ([`Session::wake_lazy`]).
    lazy_asks: Option<Instant>,
}

impl Extra {
    fn new(now: Instant) -> Box<Self> {
        Box::new(Extra { heard: now, active: now, lazy_due: None, lazy_asks: None })
    }
}

impl Session {
    /// A session whose handshake, that came by `carrier`, was just accepted.
    pub fn new(id: ByteString, options: Arc<SessionOptions>, carrier: Carrier, now: Instant) -> Self {
        let of = options.of(carrier);
        let expires = Some(now + of.interval + of.max_interval);
        let extra = (of.max_processing.is_some() || options.activity.is_some()).then(|| Extra::new(now));
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
            silent: true,
            lazy_too: false,
            extra,
        }
    }

    /// The client id. A secret between client and server: never shown to anybody else.
    pub fn id(&self) -> &ByteString {
        &self.id
    }

    /// The session has ended.
    pub fn ended(&self) -> bool {
        matches!(self.state, State::Disconnected | State::Gone)
    }

    /// It has ended because its client or the server disconnected it: then its client is to stay away.
    pub fn disconnected(&self) -> bool {
        self.state == State::Disconnected
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
        self.silent = false;
        if let Some(extra) = &mut self.extra {
            extra.heard = now;
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
            State::Disconnected | State::Gone => return Err(unknown_session()),
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
        let quiet = !self.presses() && self.unseen() == 0;
        let crowded = connect.crowded && connect.alone && quiet;
        // CometD takes one that gets the same messages again for one that asked not to be held.
        let due = self.again() || connect.advice.is_some() || self.advised != Some(connect.carrier);
        let mut advice = due.then(|| self.full_advice());
        if crowded {
            advice.get_or_insert(Advice { reconnect: Reconnect::Retry, ..Advice::none() }).multiple_clients = true; // what else is the driver's
        }
        self.advised = Some(connect.carrier);
        let polls = connect.carrier != Carrier::WebSocket;
        let held = was_connected
            && !timeout.is_zero()
            && !connect.crowded
            && (!polls || connect.alone)
            && (quiet || !(polls || self.connect_only(connect.carrier)));
        let hold = if held {
            self.tickets += 1;
            let ticket = Ticket(self.tickets);
            self.hold = Some(Hold { ticket, carrier: connect.carrier });
            self.expires = None;
            Some((ticket, now + timeout))
        } else {
            self.answered(now);
            None
        };
        Ok(ConnectOutcome { superseded, advice, hold })
    }

    /// Ends the hold of that ticket, because its time is over or there is something to say. False if it was over
    /// already: then somebody else answers it, or nobody.
    pub fn release(&mut self, ticket: Ticket, now: Instant) -> bool {
        if self.hold.as_ref().is_some_and(|hold| hold.ticket == ticket) {
            self.hold = None;
            self.answered(now);
            true
        } else {
            false
        }
    }

    /// The reply to a connect or handshake was written: the clock of expiry starts.
    pub fn replied(&mut self, now: Instant) {
        if self.hold.is_none() && !self.ended() {
            self.arm(now);
        }
    }

    /// Any message but a connect arrived: it shows that the client lives.
    pub fn touch(&mut self, now: Instant, carrier: Carrier) {
        self.heard(now, carrier);
        if let Some(extra) = &mut self.extra {
            extra.active = now;
        }
        self.lazy_too |= !self.connect_only(carrier);
        if self.hold.is_none() && !self.ended() {
            self.expires = Some(now + self.current().max_interval);
        }
    }

    /// With whom nothing happened for too long is to be disconnected at a connect (the activity extension).
    pub fn inactive(&self, now: Instant) -> bool {
        let extra = self.extra.as_ref().zip(self.options.activity);
        extra.is_some_and(|(extra, activity)| now.saturating_duration_since(extra.active) > activity.max_inactivity)
    }

    /// A connect is to be answered now: whatever waits goes before it.
    fn answered(&mut self, now: Instant) {
        self.lazy_too |= !self.queue.is_empty();
        self.arm(now);
    }

    fn arm(&mut self, now: Instant) {
        self.expires = Some(now + self.interval() + self.current().max_interval);
    }

    /// When it expires, if nothing happens; while a connect is held that is when its client was not heard for
    /// `max_processing`, if there is such a bound. `None`: not before something else happens, or it has ended.
    pub fn expires(&self) -> Option<Instant> {
        let held = self.hold.as_ref().and(self.extra.as_ref());
        self.expires.or_else(|| Some(held?.heard + self.options.of(self.born).max_processing?))
    }

    /// Ends the session: its subscriptions, to be taken out of the registry, or `None` if it had ended before. A held
    /// connect's ticket is void from now on; the driver answers it by the reason. What waits for a client that is
    /// disconnected may still go out with the reply.
    pub fn end(&mut self, reason: EndReason) -> Option<Vec<ChannelName>> {
        if self.ended() {
            return None;
        }
        self.expires = None;
        self.hold = None;
        self.lazy_too = true;
        self.state = match reason {
            EndReason::Disconnected => State::Disconnected,
            EndReason::Server => {
                let told = Delivery::fixed("/meta/disconnect", r#"{"channel":"/meta/disconnect","successful":true}"#);
                self.queue.put_last(Arc::new(told));
                State::Disconnected
            }
            EndReason::Expired | EndReason::Overflow | EndReason::Gap => {
                self.queue = Queue::default();
                State::Gone
            }
        };
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
