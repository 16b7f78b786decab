//! The link to NATS: one client, whether it is connected, and questions over it.
//!
//! The client reconnects by itself and subscribes again by itself. Two things are added. What the client would keep
//! silently for later is not given to it: see [`Link::current`]. And a client that ends (a message that it cannot
//! parse ends its task) is replaced by a new one.

use crate::config::Plan;
use crate::inbox::{Answer, Inbox, Question};
use async_nats::client::traits::Publisher as _;
use async_nats::connection::State;
use async_nats::header::HeaderMap;
use async_nats::message::OutboundMessage;
use async_nats::{Client, ClientError, ConnectOptions, Event, Message, ServerError, StatusCode};
use bytes::Bytes;
use connector::HealthCell;
use futures_util::StreamExt as _;
use rand::Rng as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

/// A server that says nothing is given up after three pings without an answer: four times this.
const PING_EVERY: Duration = Duration::from_millis(1200);
/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// How many messages the client holds per subscription, until the subscription's task has its turn: one turn of the
/// client can bring very many small ones. More than JetStream is asked for at once, and more than publishes wait for an
/// answer, so that only core subscriptions can ever reach it.
const SUBSCRIPTION_CAPACITY: usize = 65_536;

/// The link at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    client: Option<Client>,
    /// Which client: events of one that was replaced do not count.
    generation: u64,
    connected: bool,
    /// Counts connections, of all clients.
    epoch: u64,
    /// Connections that this client has made, as the client counts.
    connects: u64,
    /// Why not connected.
    reason: String,
    /// The server does not let this account subscribe to its inbox.
    inbox_denied: bool,
}

/// What the server refused to this account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    Publish(String),
    Subscribe(String),
}

/// A connected client.
#[derive(Debug, Clone)]
pub(crate) struct Connected {
    pub client: Client,
    epoch: u64,
}

/// The link is not there, or broke meanwhile: the reason.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub(crate) struct Lost(pub String);

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum AskError {
    #[error("{0}")]
    Lost(String),
    #[error("no answer in time")]
    Timeout,
    #[error("nobody answers there")]
    NoResponders,
    #[error("{0}")]
    Denied(String),
    #[error("{0}")]
    Invalid(String),
}

struct Shared {
    moment: watch::Sender<Moment>,
    health: HealthCell,
    inbox: Inbox,
    refused: broadcast::Sender<Refused>,
    dropped: AtomicU64,
    closed: CancellationToken,
    servers: String,
}

/// The link; clones share it. It must be [`Link::close`]d.
#[derive(Clone)]
pub(crate) struct Link(Arc<Shared>);

impl Link {
    /// Begins to connect, for good.
    pub(crate) fn start(plan: &Plan, name: String) -> Self {
        let servers: Vec<String> = plan.servers.iter().map(|s| format!("{}:{}", s.host(), s.port())).collect();
        let link = Link(Arc::new(Shared {
            moment: watch::Sender::new(Moment {
                client: None,
                generation: 0,
                connected: false,
                epoch: 0,
                connects: 0,
                reason: "not reached yet".into(),
                inbox_denied: false,
            }),
            health: HealthCell::default(),
            inbox: Inbox::new(&plan.inbox_prefix),
            refused: broadcast::Sender::new(256),
            dropped: AtomicU64::new(0),
            closed: CancellationToken::new(),
            servers: servers.join(", "),
        }));
        tokio::spawn(supervise(link.clone(), plan.clone(), name));
        link
    }

    /// The client, if it is connected right now.
    ///
    /// The client would take messages while it is not connected and send them whenever it can. So each hand-over asks
    /// here first; what is handed over in the instant in which the connection breaks has an unknown outcome.
    ///
    /// # Errors
    /// Why it is not.
    pub(crate) fn current(&self) -> Result<Connected, Lost> {
        if self.0.closed.is_cancelled() {
            return Err(Lost("the connector is closed".into()));
        }
        let moment = self.0.moment.borrow();
        match &moment.client {
            Some(client) if moment.connected && client.connection_state() == State::Connected => {
                Ok(Connected { client: client.clone(), epoch: moment.epoch })
            }
            _ if moment.connected => Err(Lost(self.away("the connection was lost"))),
            _ => Err(Lost(self.away(&moment.reason))),
        }
    }

    /// Waits until the client is connected. Never resolves once the link is closed.
    pub(crate) async fn connected(&self) -> Connected {
        let mut moments = self.0.moment.subscribe();
        loop {
            moments.borrow_and_update();
            if let Ok(connected) = self.current() {
                return connected;
            }
            if moments.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Resolves when that connection is over.
    pub(crate) async fn lost(&self, connection: &Connected) {
        let mut moments = self.0.moment.subscribe();
        let over = |m: &Moment| !m.connected || m.epoch != connection.epoch;
        if moments.wait_for(over).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Tells every change of the connection, and of the reason why there is none.
    pub(crate) fn changes(&self) -> watch::Receiver<Moment> {
        self.0.moment.subscribe()
    }

    /// Sends a message whose answer is awaited later. The question is registered before the message is handed over.
    ///
    /// # Errors
    /// When the message was surely not sent.
    pub(crate) async fn send(
        &self,
        connection: &Connected,
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<Question, AskError> {
        let question = self.0.inbox.ask(&subject);
        let reply = Some(question.reply_subject().into());
        let message = OutboundMessage { subject: subject.into(), reply, payload, headers };
        connection.client.publish_message(message).await.map_err(|error| match error.kind() {
            async_nats::PublishErrorKind::Send => AskError::Lost(self.away("the client ended")),
            _ => AskError::Invalid(error.to_string()),
        })?;
        Ok(question)
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// See [`AskError`].
    pub(crate) async fn ask(&self, subject: String, payload: Bytes, timeout: Duration) -> Result<Message, AskError> {
        let connection = self.current().map_err(|lost| AskError::Lost(lost.0))?;
        self.inbox_usable()?;
        let mut question = self.send(&connection, subject.clone(), None, payload).await?;
        let mut moments = self.0.moment.subscribe();
        let inbox_denied = async {
            let _ = moments.wait_for(|m| m.inbox_denied).await;
        };
        tokio::select! {
            answer = question.answer() => match answer {
                Some(Answer::Message(m)) if m.status == Some(StatusCode::NO_RESPONDERS) => Err(AskError::NoResponders),
                Some(Answer::Message(message)) => Ok(message),
                Some(Answer::Denied) => Err(AskError::Denied(format!("this account may not publish to {subject}"))),
                None => Err(AskError::Lost(self.away("the connection was lost"))),
            },
            () = inbox_denied => self.inbox_usable().and(Err(AskError::Timeout)),
            () = tokio::time::sleep(timeout) => Err(AskError::Timeout),
        }
    }

    fn inbox_usable(&self) -> Result<(), AskError> {
        if !self.0.moment.borrow().inbox_denied {
            return Ok(());
        }
        let inbox = self.0.inbox.wildcard();
        Err(AskError::Denied(format!(
            "this account may not subscribe to its inbox {inbox}: allow it, or set `inbox_prefix`"
        )))
    }

    /// Resolves when the server has processed all that was handed to the client before.
    ///
    /// The server works through a connection's lines in order, so an echo from a subject of our own proves it; for an
    /// account that may not use that subject, so does the refusal.
    ///
    /// # Errors
    /// When the connection broke before that.
    pub(crate) async fn round_trip(&self, connection: &Connected) -> Result<(), Lost> {
        let subject = self.0.inbox.aside();
        let mut refused = self.0.refused.subscribe();
        let gone = |_| Lost(self.away("the client ended"));
        let mut echo = connection.client.subscribe(subject.clone()).await.map_err(|_| gone(()))?;
        connection.client.publish(subject.clone(), Bytes::new()).await.map_err(|_| gone(()))?;
        let refusal = async {
            loop {
                match refused.recv().await {
                    Ok(Refused::Publish(s) | Refused::Subscribe(s)) if s == subject => return,
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        tokio::select! {
            echo = echo.next() => echo.map(|_| ()).ok_or_else(|| gone(())),
            () = refusal => Ok(()),
            () = self.lost(connection) => Err(Lost(self.away("the connection was lost"))),
        }
    }

    /// What the server refuses from now on.
    pub(crate) fn refusals(&self) -> broadcast::Receiver<Refused> {
        self.0.refused.subscribe()
    }

    pub(crate) fn health(&self) -> &HealthCell {
        &self.0.health
    }

    /// A subject of our own for one subscription.
    pub(crate) fn own_subject(&self) -> String {
        self.0.inbox.aside()
    }

    /// Records dropped because a reader was slow.
    pub(crate) fn dropped(&self) -> &AtomicU64 {
        &self.0.dropped
    }

    /// Ends all that runs over this link.
    pub(crate) fn closed(&self) -> &CancellationToken {
        &self.0.closed
    }

    /// Ends the link at once: tasks, subscriptions, the client.
    pub(crate) fn close(&self) {
        self.0.closed.cancel();
    }

    /// Corrects the picture from the client's own state: it drops events when there are very many at once.
    pub(crate) fn reconcile(&self) {
        let moment = self.0.moment.borrow().clone();
        let Some(client) = &moment.client else { return };
        let connected = client.connection_state() == State::Connected;
        let connects = client.statistics().connects.load(Ordering::Relaxed);
        if moment.connected && (!connected || connects != moment.connects) {
            self.on_lost(moment.generation, "the connection was lost");
        }
        if connected && (!moment.connected || connects != moment.connects) {
            self.on_connected(moment.generation);
        }
    }

    /// The reason as a sentence for a person.
    fn away(&self, reason: &str) -> String {
        format!("NATS at {} is not connected: {reason}", self.0.servers)
    }

    fn on_event(&self, generation: u64, event: &Event) {
        match event {
            Event::Connected => self.on_connected(generation),
            Event::Disconnected => self.on_lost(generation, "the connection was lost"),
            Event::ClientError(ClientError::Other(reason)) => self.explain(generation, reason),
            Event::ServerError(ServerError::AuthorizationViolation) => {
                self.explain(generation, "authorization violation");
            }
            Event::ServerError(ServerError::Other(text)) => self.on_server_error(generation, text),
            Event::SlowConsumer(_) => {
                self.0.dropped.fetch_add(1, Ordering::Relaxed);
            }
            Event::LameDuckMode => tracing::info!(servers = self.0.servers, "the NATS server is about to stop"),
            _ => {}
        }
    }

    fn on_connected(&self, generation: u64) {
        self.0.moment.send_if_modified(|m| {
            if m.generation != generation {
                return false;
            }
            m.connected = true;
            m.inbox_denied = false;
            m.epoch += 1;
            m.connects += 1;
            true
        });
    }

    fn on_lost(&self, generation: u64, reason: &str) {
        let lost = self.0.moment.send_if_modified(|m| {
            if m.generation != generation {
                return false;
            }
            m.connected = false;
            m.reason = reason.to_owned();
            true
        });
        if lost {
            self.0.inbox.abandon();
        }
    }

    /// Says better why there is no connection.
    fn explain(&self, generation: u64, reason: &str) {
        self.0.moment.send_if_modified(|m| {
            let better = m.generation == generation && !m.connected && m.reason != reason;
            if better {
                m.reason = reason.to_owned();
            }
            better
        });
    }

    fn on_server_error(&self, generation: u64, text: &str) {
        let Some(refused) = refusal(text) else {
            tracing::warn!(servers = self.0.servers, "NATS says: {text}");
            return;
        };
        match &refused {
            Refused::Publish(subject) => self.0.inbox.deny(subject),
            Refused::Subscribe(subject) if *subject == self.0.inbox.wildcard() => {
                self.0.moment.send_if_modified(|m| {
                    let current = m.generation == generation;
                    m.inbox_denied |= current;
                    current
                });
            }
            Refused::Subscribe(_) => {}
        }
        tracing::warn!(servers = self.0.servers, "NATS says: {text}");
        let _ = self.0.refused.send(refused);
    }
}

/// Reads `Permissions Violation for Publish to "subject"` and its like.
fn refusal(text: &str) -> Option<Refused> {
    let rest = text.strip_prefix("Permissions Violation for ")?;
    let subject = rest.split('"').nth(1)?.to_owned();
    if rest.starts_with("Publish") {
        Some(Refused::Publish(subject))
    } else {
        rest.starts_with("Subscription").then_some(Refused::Subscribe(subject))
    }
}

/// Keeps a client alive until the link is closed.
async fn supervise(link: Link, plan: Plan, name: String) {
    let mut generation = 0;
    let closed = link.0.closed.clone();
    while !closed.is_cancelled() {
        generation += 1;
        link.0.moment.send_modify(|m| (m.generation, m.connects) = (generation, 0));
        let end = tokio::select! {
            end = one_client(&link, &plan, &name, generation) => end,
            () = closed.cancelled() => break,
        };
        link.on_lost(generation, &end);
        link.0.moment.send_modify(|m| m.client = None);
        tracing::warn!(servers = link.0.servers, "{end}; making a new client");
        let pause = Duration::from_millis(rand::rng().random_range(100..300));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = closed.cancelled() => break,
        }
    }
    link.on_lost(generation, "the connector is closed");
    link.0.moment.send_modify(|m| m.client = None);
    link.0.health.down("closed");
}

/// Runs one client until it ends; says why.
async fn one_client(link: &Link, plan: &Plan, name: &str, generation: u64) -> String {
    let client = match options(plan, name, link.clone(), generation).connect(&plan.servers[..]).await {
        Ok(client) => client,
        Err(error) => return format!("the NATS client could not be made: {error}"),
    };
    let mut answers = match client.subscribe(link.0.inbox.wildcard()).await {
        Ok(answers) => answers,
        Err(error) => return format!("the NATS client ended: {error}"),
    };
    link.0.moment.send_modify(|m| m.client = Some(client));
    while let Some(answer) = answers.next().await {
        link.0.inbox.take(answer);
    }
    "the NATS client ended, perhaps at a message that it could not read".to_owned()
}

fn options(plan: &Plan, name: &str, link: Link, generation: u64) -> ConnectOptions {
    let login = plan.login.clone();
    let mut options = match login {
        crate::auth::Login::None => ConnectOptions::new(),
        login => ConnectOptions::with_auth_callback(move |nonce| login.clone().answer_server(nonce)),
    };
    options = options
        .name(name)
        .retry_on_initial_connect()
        .max_reconnects(None)
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING_EVERY)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .custom_inbox_prefix(&plan.inbox_prefix)
        .reconnect_delay_callback(pause)
        .event_callback(move |event| {
            link.on_event(generation, &event);
            std::future::ready(())
        });
    if let Some(tls) = &plan.tls {
        options = options.require_tls(true);
        if let Some(path) = &tls.ca_file {
            options = options.add_root_certificates(path.clone());
        }
        if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
            options = options.add_client_certificate(cert.clone(), key.clone());
        }
    }
    if plan.tls_first { options.tls_first() } else { options }
}

/// The pause before an attempt: none to speak of before the first, then growing, spread out so that many gateways do
/// not come at once.
fn pause(attempt: usize) -> Duration {
    let longest = match attempt {
        0 | 1 => Duration::from_millis(50),
        n => MAX_PAUSE.min(Duration::from_millis(50) * 2u32.saturating_pow(u32::try_from(n).unwrap_or(16).min(16))),
    };
    longest.mul_f64(rand::rng().random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_from_the_servers_words() {
        assert_eq!(
            refusal("Permissions Violation for Publish to \"orders.eu\""),
            Some(Refused::Publish("orders.eu".into()))
        );
        assert_eq!(
            refusal("Permissions Violation for Subscription to \"a.>\" using queue \"q\""),
            Some(Refused::Subscribe("a.>".into()))
        );
        assert_eq!(refusal("Stale Connection"), None);
        assert_eq!(refusal("Permissions Violation"), None);
    }

    #[test]
    fn pauses_grow_up_to_a_second() {
        for attempt in 0..70 {
            let pause = pause(attempt);
            assert!(pause <= MAX_PAUSE && (attempt < 8 || pause >= MAX_PAUSE / 2), "{attempt}: {pause:?}");
        }
        assert!(pause(1) <= Duration::from_millis(50));
    }
}
