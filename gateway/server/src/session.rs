//! A session that is alive: the pure state machine behind a lock, beside what carries it at the moment.

use crate::flush::Flusher;
use crate::websocket::outlet::Outlet;
use bayeux::channel::ChannelName;
use bayeux::delivery::Delivery;
use bayeux::reply::{Refusal, Reply};
use bayeux::session::{Carrier, Connect, ConnectOutcome, EndReason, Session, Ticket};
use bytes::Bytes;
use bytestring::ByteString;
use parking_lot::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Instant;
use tokio::sync::{Notify, oneshot};

mod behind;
mod carriers;
mod extras;
mod offer;

pub use behind::Handed;
pub(crate) use extras::Suspended;
pub(crate) use offer::Offered;

/// Who is behind a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user's name.
    pub user: Option<ByteString>,
    /// The user's claims: a JSON object.
    pub claims: Option<Bytes>,
}

/// Why a held poll ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PollEnd {
    /// There is something to say.
    Messages,
    /// A newer connect took its place.
    Superseded,
    /// The session has ended.
    Ended(EndReason),
    /// The server drains.
    Draining,
}

/// What carries the session now.
enum Link {
    None,
    Poll(oneshot::Sender<PollEnd>),
    Socket(Arc<Outlet>),
    /// Whoever reads the queue of a local session.
    Local(Arc<Notify>),
}

struct Inner {
    session: Session,
    link: Link,
    extras: Option<Arc<extras::Extras>>,
    /// Somebody waits for room in the queue.
    watch: Option<Arc<Notify>>,
}

/// A live session. Its methods take no time and wait for nothing.
pub struct LiveSession {
    key: u64,
    id: ByteString,
    tag: ByteString,
    identity: Identity,
    browser: Option<ByteString>,
    made_by: Carrier,
    server: Weak<crate::server::Shared>,
    inner: Mutex<Inner>,
    /// Held while the session's own set of subscriptions and the registry change together. Taken before `inner`.
    subscribing: Mutex<()>,
    overflowing: AtomicBool,
    /// It has extensions or listeners of its own.
    apart: AtomicBool,
    /// It does not get its own messages.
    quiet: AtomicBool,
}

impl std::fmt::Debug for LiveSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "session {}", self.tag) // never the client id
    }
}

impl LiveSession {
    pub(crate) fn new(
        key: u64,
        session: Session,
        tag: ByteString,
        identity: Identity,
        (made_by, browser): (Carrier, Option<ByteString>),
        server: &Arc<crate::server::Shared>,
    ) -> Self {
        LiveSession {
            key,
            id: session.id().clone(),
            tag,
            identity,
            browser,
            made_by,
            quiet: AtomicBool::new(!server.broadcasts_to_publisher()),
            server: Arc::downgrade(server),
            inner: Mutex::new(Inner { session, link: Link::None, extras: None, watch: None }),
            subscribing: Mutex::default(),
            overflowing: AtomicBool::new(false),
            apart: AtomicBool::new(false),
        }
    }

    /// Distinguishes it from every other session of this process.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// The client id: a secret between the client and the server.
    pub fn client_id(&self) -> &ByteString {
        &self.id
    }

    /// A random name that may be shown: in logs, to backends.
    pub fn tag(&self) -> &ByteString {
        &self.tag
    }

    /// Who is behind it.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether it was made by this transport, over HTTP, for the browser that has this cookie.
    pub(crate) fn is_of(&self, carrier: Carrier, browser: Option<&ByteString>) -> bool {
        self.made_by == carrier && self.browser.is_some() && self.browser.as_ref() == browser
    }

    /// Whether it has ended.
    pub fn ended(&self) -> bool {
        self.inner.lock().session.ended()
    }

    /// Messages and bytes that wait for it.
    pub fn waiting(&self) -> (usize, usize) {
        self.inner.lock().session.waiting()
    }

    /// It is a session of the server's own, without a client.
    pub fn is_local(&self) -> bool {
        matches!(self.inner.lock().link, Link::Local(_))
    }

    /// It is one of the server's own from now on.
    pub(crate) fn make_local(&self) {
        self.inner.lock().link = Link::Local(Arc::default());
    }

    /// What wakes whoever reads a local session's queue.
    pub(crate) fn reader(&self) -> Option<Arc<Notify>> {
        match &self.inner.lock().link {
            Link::Local(reader) => Some(Arc::clone(reader)),
            _ => None,
        }
    }

    fn wake(&self, inner: &mut Inner, flusher: &Flusher) {
        match &inner.link {
            Link::None => {}
            Link::Local(reader) => reader.notify_one(),
            Link::Socket(outlet) if inner.session.connect_only(Carrier::WebSocket) => {
                if let Some(ticket) = inner.session.take_polling_hold(Instant::now()) {
                    outlet.release(ticket);
                }
            }
            Link::Socket(outlet) => flusher.mark(outlet),
            Link::Poll(_) => {
                if inner.session.take_polling_hold(Instant::now()).is_some()
                    && let Link::Poll(poll) = std::mem::replace(&mut inner.link, Link::None)
                {
                    let _ = poll.send(PollEnd::Messages);
                }
            }
        }
    }

    /// A `/meta/connect` that a poll carries: when it is held, what will end it.
    pub(crate) fn connect_poll(
        &self,
        now: Instant,
        connect: &Connect,
    ) -> Result<(ConnectOutcome, Option<oneshot::Receiver<PollEnd>>), Refusal> {
        self.retire_other_socket(None);
        let mut inner = self.inner.lock();
        let outcome = inner.session.connect(now, connect)?;
        inner.taken(); // what is acknowledged has left the queue
        inner.leave();
        let held = outcome.hold.map(|_| {
            let (sender, receiver) = oneshot::channel();
            inner.link = Link::Poll(sender);
            receiver
        });
        Ok((outcome, held))
    }

    /// A `/meta/connect` that a WebSocket carries.
    pub(crate) fn connect_socket(
        &self,
        now: Instant,
        connect: &Connect,
        outlet: &Arc<Outlet>,
    ) -> Result<ConnectOutcome, Refusal> {
        self.retire_other_socket(Some(outlet));
        let mut inner = self.inner.lock();
        let outcome = inner.session.connect(now, connect)?;
        inner.taken(); // what is acknowledged has left the queue
        inner.attach(outlet);
        Ok(outcome)
    }

    /// The session is carried by this socket from now on.
    pub(crate) fn attach(&self, outlet: &Arc<Outlet>) {
        self.retire_other_socket(Some(outlet));
        self.inner.lock().attach(outlet);
    }

    /// Ends the hold of that ticket: false when somebody else did.
    pub(crate) fn release(&self, ticket: Ticket, now: Instant) -> bool {
        let mut inner = self.inner.lock();
        let released = inner.session.release(ticket, now);
        if released && matches!(inner.link, Link::Poll(_)) {
            inner.link = Link::None;
        }
        released
    }

    /// The messages that go out with a connect's reply, and the batch that it closes.
    pub(crate) fn take_for_connect(&self) -> (Vec<Arc<Delivery>>, Option<u64>) {
        let mut inner = self.inner.lock();
        let taken = inner.session.take_for_connect();
        inner.taken();
        taken
    }

    /// The messages that go out behind a handshake's reply, which is told of them (CometD
    /// `allowMessageDeliveryDuringHandshake`).
    pub(crate) fn welcome(&self, reply: &mut Reply) -> Vec<Arc<Delivery>> {
        let Some((messages, batch)) = self.inner.lock().session.take_for_handshake() else { return Vec::new() };
        reply.announce(messages.len(), batch);
        messages
    }

    /// Takes the waiting messages into `out`: for a poll's response to anything but a connect.
    pub(crate) fn take(&self, carrier: Carrier, mut out: impl FnMut(Arc<Delivery>)) {
        let mut inner = self.inner.lock();
        while let Some(delivery) = inner.session.pop(carrier) {
            out(delivery);
        }
        inner.taken();
    }

    /// Takes up to `max` waiting messages for a socket, if it is the one that carries the session now: after a client
    /// came back by another, the old one gets nothing more.
    pub(crate) fn take_for(&self, outlet: &Outlet, max: usize, mut out: impl FnMut(Arc<Delivery>)) {
        let mut inner = self.inner.lock();
        if !matches!(&inner.link, Link::Socket(current) if std::ptr::eq(Arc::as_ptr(current), outlet)) {
            return;
        }
        for _ in 0..max {
            match inner.session.pop(Carrier::WebSocket) {
                Some(delivery) => out(delivery),
                None => break,
            }
        }
        inner.taken();
    }

    pub(crate) fn take_dropped(&self) -> u64 {
        self.inner.lock().session.take_dropped()
    }

    pub(crate) fn touch(&self, now: Instant, carrier: Carrier) {
        self.inner.lock().session.touch(now, carrier);
    }

    pub(crate) fn replied(&self, now: Instant) {
        self.inner.lock().session.replied(now);
    }

    pub(crate) fn start_batch(&self) {
        self.inner.lock().session.start_batch();
    }

    pub(crate) fn end_batch(&self, flusher: &Flusher) {
        let mut inner = self.inner.lock();
        if inner.session.end_batch() {
            self.wake(&mut inner, flusher);
        }
    }

    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut Session) -> T) -> T {
        f(&mut self.inner.lock().session)
    }

    pub(crate) fn subscribed(&self, channel: &ChannelName) -> bool {
        self.inner.lock().session.is_subscribed(channel)
    }

    /// Until the guard is dropped, subscriptions of this session do not change elsewhere.
    pub(crate) fn subscribing(&self) -> parking_lot::MutexGuard<'_, ()> {
        self.subscribing.lock()
    }

    /// Ends it: its subscriptions, unless it had ended before. Whatever held a connect is told.
    pub(crate) fn end(&self, reason: EndReason) -> Option<Vec<ChannelName>> {
        self.inner.lock().end(self.key, reason)
    }

    /// The same, if its time is over.
    pub(crate) fn end_if_expired(&self, now: Instant) -> Result<Vec<ChannelName>, ()> {
        let mut inner = self.inner.lock();
        match inner.session.expires() {
            Some(at) if at <= now => inner.end(self.key, EndReason::Expired).ok_or(()),
            _ => Err(()),
        }
    }
}

impl Inner {
    fn end(&mut self, key: u64, reason: EndReason) -> Option<Vec<ChannelName>> {
        let subscriptions = self.session.end(reason)?;
        self.taken();
        match std::mem::replace(&mut self.link, Link::None) {
            Link::None => {}
            Link::Local(reader) => reader.notify_one(),
            Link::Poll(poll) => {
                let _ = poll.send(PollEnd::Ended(reason));
            }
            Link::Socket(outlet) => outlet.session_ended(key, reason),
        }
        Some(subscriptions)
    }

    /// A poll that carried the session before does so no more: a newer connect ended it.
    fn leave(&mut self) {
        if let Link::Poll(poll) = std::mem::replace(&mut self.link, Link::None) {
            let _ = poll.send(PollEnd::Superseded);
        }
    }

    fn attach(&mut self, outlet: &Arc<Outlet>) {
        if !matches!(&self.link, Link::Socket(current) if Arc::ptr_eq(current, outlet)) {
            self.leave();
            self.link = Link::Socket(Arc::clone(outlet));
        }
    }
}
