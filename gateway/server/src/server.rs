//! The server: what it holds, and what its owner can do with it.

mod fanout;

use crate::browsers::Browsers;
use crate::expiry::{TICK, Wheel};
use crate::flush::Flusher;
use crate::hooks::{Chain, Extension, Listener, Policy, ServerListener};
use crate::process::Context;
use crate::registry::{Channels, Sessions};
use crate::session::{Identity, LiveSession};
use crate::settings::ServerSettings;
use crate::stats::Stats;
use crate::timestamp::Timestamp;
use bayeux::channel::ChannelName;
use bayeux::message::Message;
use bayeux::session::{Carrier, EndReason, Options, Session, SessionOptions};
use bytestring::ByteString;
use rand::Rng;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A Bayeux server. Cheap to clone; all clones are the same server.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

pub(crate) struct Shared {
    settings: ServerSettings,
    options: Arc<SessionOptions>,
    policy: Arc<dyn Policy>,
    listener: Arc<dyn Listener>,
    extensions: Chain<dyn Extension>,
    listeners: Chain<dyn ServerListener>,
    channels: Channels,
    sessions: Sessions,
    browsers: Browsers,
    wheel: Wheel,
    flusher: Arc<Flusher>,
    stats: Arc<Stats>,
    keys: AtomicU64,
    lanes: AtomicUsize,
    draining: AtomicBool,
    leaving: AtomicBool,
    tasks: parking_lot::Mutex<Vec<tokio::task::AbortHandle>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({} sessions)", self.session_count())
    }
}

impl Shared {
    pub(crate) fn broadcasts_to_publisher(&self) -> bool {
        self.settings.broadcast_to_publisher
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for task in self.tasks.get_mut() {
            task.abort();
        }
    }
}

impl Server {
    /// A server with its background tasks; inside a tokio runtime. [`Server::builder`] takes more than these.
    pub fn new(settings: ServerSettings, policy: Arc<dyn Policy>, listener: Arc<dyn Listener>) -> Self {
        Server::start(settings, policy, listener, Vec::new(), Vec::new())
    }

    pub(crate) fn start(
        settings: ServerSettings,
        policy: Arc<dyn Policy>,
        listener: Arc<dyn Listener>,
        extensions: Vec<Arc<dyn Extension>>,
        listeners: Vec<Arc<dyn ServerListener>>,
    ) -> Self {
        let lanes = std::thread::available_parallelism().map_or(2, usize::from).min(8);
        let flusher = Arc::new(Flusher::new(lanes));
        let own_extensions =
            settings.extensions.timestamp.then(|| Arc::new(Timestamp) as Arc<dyn Extension>).into_iter();
        let server = Server(Arc::new(Shared {
            options: Arc::new(settings.session.clone()),
            settings,
            policy,
            listener,
            extensions: own_extensions.chain(extensions).collect(),
            listeners: listeners.into_iter().collect(),
            channels: Channels::new(),
            sessions: Sessions::new(),
            browsers: Browsers::default(),
            wheel: Wheel::new(Instant::now()),
            flusher: Arc::clone(&flusher),
            stats: Arc::default(),
            keys: AtomicU64::new(1),
            lanes: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            tasks: parking_lot::Mutex::default(),
        }));
        let mut tasks = Vec::new();
        for lane in 0..flusher.lanes() {
            tasks.push(tokio::spawn(Arc::clone(&flusher).run(lane)).abort_handle());
        }
        tasks.push(tokio::spawn(Arc::clone(&flusher).run_lazies()).abort_handle());
        tasks.push(tokio::spawn(expire(Arc::downgrade(&server.0))).abort_handle());
        *server.0.tasks.lock() = tasks;
        server
    }

    pub(crate) fn from_shared(shared: Arc<Shared>) -> Self {
        Server(shared)
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &ServerSettings {
        &self.0.settings
    }

    /// The options of a transport.
    pub(crate) fn options(&self, carrier: Carrier) -> &Options {
        self.0.options.of(carrier)
    }

    /// What it counts.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.0.stats
    }

    pub(crate) fn policy(&self) -> &dyn Policy {
        &*self.0.policy
    }

    pub(crate) fn listener(&self) -> &dyn Listener {
        &*self.0.listener
    }

    pub(crate) fn extensions(&self) -> &Chain<dyn Extension> {
        &self.0.extensions
    }

    pub(crate) fn listeners(&self) -> &Chain<dyn ServerListener> {
        &self.0.listeners
    }

    pub(crate) fn channels(&self) -> &Channels {
        &self.0.channels
    }

    pub(crate) fn browsers(&self) -> &Browsers {
        &self.0.browsers
    }

    pub(crate) fn flusher(&self) -> &Flusher {
        &self.0.flusher
    }

    pub(crate) fn next_lane(&self) -> usize {
        self.0.lanes.fetch_add(1, Ordering::Relaxed)
    }

    /// How many sessions live.
    pub fn session_count(&self) -> usize {
        self.0.sessions.len()
    }

    /// How many channel names and patterns have subscribers.
    pub fn channel_count(&self) -> usize {
        self.0.channels.len()
    }

    /// The live session of that client id.
    pub fn session(&self, client_id: &ByteString) -> Option<Arc<LiveSession>> {
        self.0.sessions.get(client_id)
    }

    /// All live sessions.
    pub fn sessions(&self) -> Vec<Arc<LiveSession>> {
        self.0.sessions.all()
    }

    /// Messages and bytes that wait in all queues together. Looks at every session: for metrics, not for hot paths.
    pub fn queue_depth(&self) -> (u64, u64) {
        self.sessions().iter().fold((0, 0), |(messages, bytes), session| {
            let (m, b) = session.waiting();
            (messages + m as u64, bytes + b as u64)
        })
    }

    pub(crate) fn new_session(&self, identity: Identity, context: &Context, handshake: &Message) -> Arc<LiveSession> {
        let now = Instant::now();
        let mut rng = rand::rng();
        let key = self.0.keys.fetch_add(1, Ordering::Relaxed);
        let session = Session::new(random_id(&mut rng, 32), Arc::clone(&self.0.options), context.carrier, now);
        let expires = session.expires().unwrap_or(now);
        let tag = random_id(&mut rng, 10);
        let tag = context.local.as_ref().map_or(tag.clone(), |hint| format!("{hint}_{tag}").into());
        let made_by = (context.carrier, context.browser.clone());
        let session = Arc::new(LiveSession::new(key, session, tag, identity, made_by, &self.0));
        if context.local.is_some() {
            session.make_local();
        }
        self.0.sessions.insert(Arc::clone(&session));
        if context.local.is_none() {
            self.0.wheel.insert(&session, expires);
            self.0.stats.handshakes.inc();
        }
        if self.0.listeners.any() {
            self.0.listeners.each(|listener| listener.session_added(&session, handshake));
            session.tell(|listener| listener.added(&session, handshake));
        }
        session
    }

    /// Ends a session: its held connect is answered, its subscriptions are gone.
    pub fn end_session(&self, session: &LiveSession, reason: EndReason) {
        if let Some(subscriptions) = session.end(reason) {
            self.ended(session, reason, &subscriptions);
        }
    }

    fn ended(&self, session: &LiveSession, reason: EndReason, subscriptions: &[ChannelName]) {
        self.0.sessions.remove(session.client_id());
        self.0.listeners.each(|listener| listener.session_removed(session, reason));
        {
            let _one_at_a_time = session.subscribing();
            subscriptions.iter().for_each(|channel| self.0.channels.unsubscribe(channel, session.key()));
        }
        subscriptions.iter().for_each(|channel| self.left(session, channel));
        session.tell(|listener| listener.removed(session, reason));
        let stats = &self.0.stats;
        match reason {
            EndReason::Overflow => {
                stats.sessions_overflowed.inc();
                tracing::warn!(session = %session.tag(), "queue is full: the session is ended (policy disconnect)");
            }
            EndReason::Expired => {
                stats.sessions_expired.inc();
                tracing::debug!(session = %session.tag(), "expired");
            }
            EndReason::Gap => {
                stats.sessions_with_gaps.inc();
                tracing::warn!(session = %session.tag(), "messages that it was to get are gone: the session is ended");
            }
            EndReason::Disconnected => stats.sessions_disconnected.inc(),
            EndReason::Server => {
                stats.sessions_disconnected.inc();
                tracing::debug!(session = %session.tag(), "disconnected by the server");
            }
        }
    }

    /// Whether handshakes are refused, as the server is to stop.
    pub fn draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn leaving(&self) -> bool {
        self.0.leaving.load(Ordering::Relaxed)
    }

    /// Takes no more handshakes; all else goes on. The first step of a drain.
    pub fn refuse_handshakes(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Answers held connects with advice to come back soon, and closes sockets once their publishes are answered. The
    /// clients find another node, or this one again.
    pub fn drain(&self) {
        self.refuse_handshakes();
        self.0.leaving.store(true, Ordering::Relaxed);
        for session in self.sessions() {
            session.drain();
        }
    }

    /// A moment for a client to come back after a drain: spread, so that they do not come all at once. Milliseconds.
    pub(crate) fn drain_interval(&self) -> u64 {
        rand::rng().random_range(100..2_000)
    }
}

/// 5 bits a letter: 32 letters are 160 random bits; the specification asks for 128.
fn random_id(rng: &mut impl Rng, len: usize) -> ByteString {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let id: String = (0..len).map(|_| char::from(LETTERS[rng.random_range(0..32)])).collect();
    id.into()
}

pub(crate) fn random_cookie() -> ByteString {
    random_id(&mut rand::rng(), 26)
}

async fn expire(shared: std::sync::Weak<Shared>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let Some(server) = shared.upgrade().map(Server) else { return };
        for channel in server.0.channels.sweep() {
            server.0.listeners.each(|listener| listener.channel_removed(&channel));
        }
        let now = Instant::now();
        for session in server.0.wheel.due(now) {
            let dropped = session.take_dropped();
            if dropped > 0 {
                server.0.stats.messages_dropped.add(dropped);
                tracing::warn!(session = %session.tag(), dropped, "queue was full: oldest messages dropped (policy drop_oldest)");
            }
            let (ended, expires) = session.with(|s| (s.ended(), s.expires()));
            match expires {
                _ if ended => {}
                Some(at) if at <= now => match session.end_if_expired(now) {
                    Ok(subscriptions) => server.ended(&session, EndReason::Expired, &subscriptions),
                    // A connect came at the last moment.
                    Err(()) => server.0.wheel.insert(&session, now + TICK),
                },
                Some(at) => server.0.wheel.insert(&session, at),
                // A held connect: it cannot expire before the least time that is granted after it.
                None => {
                    let least = server.0.options.least_max_interval().max(Duration::from_secs(1));
                    server.0.wheel.insert(&session, now + least);
                }
            }
        }
    }
}
