//! The one task that owns a session with the server.

use super::handle::{Event, Reply};
use super::link::Link;
use super::long_polling::Jar;
use super::request::{BATCH, Request, Wanted, outgoing, room};
use super::subscriptions::Subscriptions;
use super::wire::{self, Advice, Incoming};
use super::{Error, Options, TransportKind};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

/// Bytes in one envelope, unless one message alone is longer. A server's limit is 64 KiB by custom.
const BATCH_BYTES: usize = 32 * 1024;
/// How much longer than advised a held connect may take: the network's share.
const GRACE: Duration = Duration::from_secs(10);
/// How long a server holds a connect if it does not say.
const USUAL_HOLD: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Why a stretch of serving ended.
enum End {
    /// Nobody uses the client any more, or it said farewell.
    Closed,
    /// The server does not know the session, or wants it anew.
    Handshake,
    /// The way to the server broke.
    Lost(String),
    /// The server refuses for good.
    Refused(Error),
}

/// When the next connect is to be sent, or until when the one that is held has to be answered.
struct Connect {
    when: Instant,
    held: Option<u64>,
    at_once: bool,
}

impl Connect {
    fn due(when: Instant) -> Self {
        Self { when, held: None, at_once: false }
    }
}

pub(super) struct Session {
    options: Options,
    jar: Jar,
    commands: mpsc::Receiver<Request>,
    events: mpsc::Sender<Event>,
    /// Requests not sent yet.
    waiting: VecDeque<Request>,
    /// Requests sent and not answered yet, by id.
    pending: HashMap<u64, Request>,
    subscriptions: Subscriptions,
    client_id: Option<String>,
    next_id: u64,
    advice: Advice,
    /// Failures since the last connect that went well.
    failures: u32,
    /// Whether a connect went well since the last handshake.
    established: bool,
    lost: bool,
    leaving: bool,
}

impl Session {
    /// Opens a way to the server and makes the handshake.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Refused`].
    pub async fn open(
        options: Options,
        commands: mpsc::Receiver<Request>,
        events: mpsc::Sender<Event>,
    ) -> Result<(Self, Link), Error> {
        let mut session = Self {
            options,
            jar: Jar::default(),
            commands,
            events,
            waiting: VecDeque::new(),
            pending: HashMap::new(),
            subscriptions: Subscriptions::default(),
            client_id: None,
            next_id: 0,
            advice: Advice::default(),
            failures: 0,
            established: false,
            lost: false,
            leaving: false,
        };
        let kinds = match session.options.transport {
            Some(kind) => vec![kind],
            None => vec![TransportKind::Websocket, TransportKind::LongPolling],
        };
        let mut reason = String::new();
        for kind in kinds {
            let end = match Link::open(kind, &session.options, &session.jar).await {
                Ok(mut link) => match session.handshake(&mut link).await {
                    Ok(()) => return Ok((session, link)),
                    Err(end) => end,
                },
                Err(reason) => End::Lost(reason),
            };
            match end {
                End::Refused(error) => return Err(error),
                End::Lost(why) => reason = why,
                End::Handshake | End::Closed => "it asks for a new handshake at once".clone_into(&mut reason),
            }
        }
        Err(Error::Unreachable { url: session.options.url.to_string(), reason })
    }

    /// Serves until nobody uses the client any more or the server refuses for good.
    pub async fn run(mut self, mut link: Link) {
        loop {
            let entered = match self.client_id {
                Some(_) => Ok(()),
                None => self.handshake(&mut link).await,
            };
            let end = match entered {
                Ok(()) => self.serve(&mut link).await,
                Err(end) => end,
            };
            let closed = match end {
                End::Lost(_) if self.leaving => true,
                End::Closed => true,
                End::Refused(error) => {
                    self.fail_pending(&error);
                    let _ = self.events.send(Event::Ended(error)).await;
                    true
                }
                End::Handshake => {
                    self.client_id = None;
                    // The server is there: if it had known this session before, a new one is worth trying at once.
                    if std::mem::replace(&mut self.established, false) {
                        self.failures = 0;
                    }
                    self.pause().await
                }
                End::Lost(reason) => {
                    self.keep_subscriptions();
                    self.fail_pending(&Error::Lost(reason.clone()));
                    if !std::mem::replace(&mut self.lost, true) {
                        let _ = self.events.send(Event::Lost(reason)).await;
                    }
                    self.reopen(&mut link).await
                }
            };
            if closed {
                link.close().await;
                return;
            }
        }
    }

    /// Opens a way to the server again, however long it takes. Whether the client was closed meanwhile.
    async fn reopen(&mut self, link: &mut Link) -> bool {
        loop {
            if self.pause().await {
                return true;
            }
            if let Ok(opened) = Link::open(link.kind, &self.options, &self.jar).await {
                *link = opened;
                return false;
            }
        }
    }

    /// Waits as long as the server advises, and longer after each further failure. Whether the client was closed meanwhile.
    async fn pause(&mut self) -> bool {
        let end = Instant::now() + self.interval();
        self.failures += 1;
        loop {
            tokio::select! {
                () = sleep_until(end) => return false,
                request = self.commands.recv(), if self.waiting.len() < BATCH => match request {
                    Some(request) => self.waiting.push_back(request),
                    None => return true,
                },
            }
        }
    }

    fn interval(&self) -> Duration {
        let advised = Duration::from_millis(self.advice.interval.unwrap_or(0)).min(Duration::from_secs(3600));
        let growing = match self.failures {
            0 => Duration::ZERO,
            many => Duration::from_millis(100 << (many - 1).min(10)).min(LONGEST_PAUSE),
        };
        // Spread, so that all the clients of a server do not come back at the same moment.
        advised.max(growing.mul_f64(rand::random_range(0.5..1.0)))
    }

    async fn handshake(&mut self, link: &mut Link) -> Result<(), End> {
        let id = self.take_id();
        // If the link is broken, its inbox says why.
        let _ = link.requests.send(wire::handshake(id, link.kind.name())).await;
        let deadline = Instant::now() + self.options.timeout;
        loop {
            let text = match tokio::time::timeout_at(deadline, link.inbox.recv()).await {
                Ok(Some(Ok(text))) => text,
                Ok(Some(Err(reason))) => return Err(End::Lost(reason)),
                Ok(None) => return Err(End::Lost("the connection is closed".to_owned())),
                Err(_) => return Err(End::Lost("the server did not answer the handshake in time".to_owned())),
            };
            let messages = wire::envelope(&text).map_err(End::Lost)?;
            let ours = |message: &&Incoming<'_>| message.channel == "/meta/handshake" && message.request() == Some(id);
            let Some(reply) = messages.iter().find(ours) else { continue };
            self.advice = reply.advice().unwrap_or_default();
            return match (&reply.client_id, reply.successful) {
                (Some(client_id), Some(true)) => {
                    self.client_id = Some(client_id.clone());
                    self.subscriptions.renewed().for_each(|request| self.waiting.push_front(request));
                    Ok(())
                }
                _ if self.lost && self.advice.reconnect.as_deref() == Some("handshake") => Err(End::Handshake),
                _ => Err(End::Refused(Error::Refused { what: "the handshake".to_owned(), error: reply.reason() })),
            };
        }
    }

    async fn serve(&mut self, link: &mut Link) -> End {
        let Link { kind, requests, connects, inbox, .. } = link;
        let mut connect = Connect { at_once: true, ..Connect::due(Instant::now()) };
        loop {
            tokio::select! {
                text = inbox.recv() => {
                    let end = match text {
                        Some(Ok(text)) => self.take(&text, &mut connect).await,
                        Some(Err(reason)) => Some(End::Lost(reason)),
                        None => Some(End::Lost("the connection is closed".to_owned())),
                    };
                    if let Some(end) = end {
                        return end;
                    }
                }
                permit = due(connects, &connect) => match permit {
                    Some(permit) => {
                        let id = self.take_id();
                        permit.send(wire::connect(id, self.client_id(), kind.name(), connect.at_once));
                        let hold = self.advice.timeout.map_or(USUAL_HOLD, Duration::from_millis);
                        connect.held = Some(id);
                        connect.when = Instant::now() + hold.min(Duration::from_secs(3600)) + GRACE;
                    }
                    None => return End::Lost("the server did not answer in time".to_owned()),
                },
                permit = outgoing(requests, &mut self.commands, &mut self.waiting) => match permit {
                    Some(permit) => {
                        if let Some(envelope) = self.pack() {
                            permit.send(envelope);
                        }
                    }
                    None => return End::Closed,
                },
            }
        }
    }

    /// An envelope of what waits, as much as goes into one.
    fn pack(&mut self) -> Option<String> {
        let mut envelope = String::new();
        while let Some(request) = self.waiting.pop_front() {
            if request.reply.as_ref().is_some_and(oneshot::Sender::is_closed) {
                continue; // Its sender has given up.
            }
            if !envelope.is_empty() && envelope.len() + request.rest.len() > BATCH_BYTES {
                self.waiting.push_front(request);
                break;
            }
            let id = self.take_id();
            envelope.push(if envelope.is_empty() { '[' } else { ',' });
            envelope.push_str(&wire::message(id, self.client_id(), &request.rest));
            self.leaving |= request.wanted == Wanted::Farewell;
            self.pending.insert(id, request);
        }
        (!envelope.is_empty()).then(|| envelope + "]")
    }

    /// Takes what the server sent in one envelope.
    async fn take(&mut self, text: &str, connect: &mut Connect) -> Option<End> {
        let messages = match wire::envelope(text) {
            Ok(messages) => messages,
            Err(reason) => return Some(End::Lost(reason)),
        };
        let mut end = None;
        for message in messages {
            let ended = match &*message.channel {
                "/meta/connect" if message.request() == connect.held && connect.held.is_some() => {
                    self.connected(&message, connect).await
                }
                "/meta/connect" => None,
                _ => self.taken(&message).await,
            };
            end = end.or(ended);
        }
        end
    }

    async fn connected(&mut self, reply: &Incoming<'_>, connect: &mut Connect) -> Option<End> {
        if let Some(advice) = reply.advice() {
            self.advice.reconnect = advice.reconnect.or(self.advice.reconnect.take());
            self.advice.interval = advice.interval.or(self.advice.interval);
            self.advice.timeout = advice.timeout.or(self.advice.timeout);
        }
        self.pending.retain(|_, request| !request.reply.as_ref().is_some_and(oneshot::Sender::is_closed));
        let well = reply.successful == Some(true);
        self.subscriptions.hear(reply);
        if self.leaving {
            return None; // The reply to the disconnect is what is waited for.
        }
        match self.advice.reconnect.as_deref() {
            Some("none") => {
                return Some(End::Refused(Error::Refused { what: "to go on".to_owned(), error: reply.reason() }));
            }
            Some("handshake") => return Some(End::Handshake),
            _ if reply.is_session_unknown() => return Some(End::Handshake),
            _ => {}
        }
        if well {
            self.failures = 0;
            self.established = true;
            if std::mem::replace(&mut self.lost, false) {
                let _ = self.events.send(Event::Back).await;
            }
        } else {
            self.failures += 1;
        }
        *connect = Connect::due(Instant::now() + self.interval());
        None
    }

    async fn taken(&mut self, message: &Incoming<'_>) -> Option<End> {
        let ours = message.request().filter(|id| {
            let ends = |request: &Request| match request.wanted {
                Wanted::Answer => message.data.is_some() || message.successful == Some(false),
                _ => message.data.is_none(),
            };
            self.pending.get(id).is_some_and(ends)
        });
        if let Some(request) = ours.and_then(|id| self.pending.remove(&id)) {
            self.settle(request, message).await;
        } else if message.data.is_some() {
            self.subscriptions.hear(message);
            let (channel, json) = (message.channel.to_string(), wire::one_line(message.text));
            // Without a receiver nobody wants to see it.
            let _ = self.events.send(Event::Message { channel, json }).await;
        } else if message.channel == "/meta/disconnect" && !self.leaving {
            let error = "it ended the session".to_owned();
            return Some(End::Refused(Error::Refused { what: "to go on".to_owned(), error }));
        }
        (message.is_session_unknown() && !self.leaving).then_some(End::Handshake)
    }

    async fn settle(&mut self, request: Request, message: &Incoming<'_>) {
        let successful = message.successful != Some(false);
        if matches!(request.wanted, Wanted::Subscription(_)) && message.is_session_unknown() {
            return self.waiting.push_back(request); // It is asked again after the new handshake.
        }
        if let Wanted::Subscription(subscription) = request.wanted {
            if successful {
                self.subscriptions.made(subscription);
                self.subscriptions.hear(message);
            } else if request.reply.is_none() {
                self.subscriptions.refused(&subscription.channel);
                let what = format!("to go on with {}", subscription.channel);
                let error = Error::Refused { what, error: message.reason() };
                let _ = self.events.send(Event::Unsubscribed(error)).await;
            }
        }
        if let Some(reply) = request.reply {
            let _ = reply.send(Ok(Reply {
                json: wire::one_line(message.text),
                error: (!successful).then(|| message.reason()),
                data: message.data.map(|data| wire::one_line(data.get())),
            }));
        }
    }

    /// Subscriptions that were not answered may be asked for again: twice is once.
    fn keep_subscriptions(&mut self) {
        let open = |request: &Request| matches!(request.wanted, Wanted::Subscription(_));
        self.waiting.extend(self.pending.extract_if(|_, request| open(request)).map(|(_, request)| request));
    }

    fn fail_pending(&mut self, error: &Error) {
        for (_, request) in self.pending.drain() {
            if let Some(reply) = request.reply {
                let _ = reply.send(Err(error.clone()));
            }
        }
    }

    fn client_id(&self) -> &str {
        self.client_id.as_deref().unwrap_or_default()
    }

    fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

/// Waits until a connect is due and can be written; `None` if the one that is held was not answered in time.
async fn due<'a>(connects: &'a mpsc::Sender<String>, connect: &Connect) -> Option<mpsc::Permit<'a, String>> {
    sleep_until(connect.when).await;
    match connect.held {
        Some(_) => None,
        None => Some(room(connects).await),
    }
}
