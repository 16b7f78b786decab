//! The link to NATS: one client, whether it is connected, and questions over it.
//!
//! The client reconnects by itself and subscribes again by itself. Two things are added. What the client would keep
//! silently for later is not given to it: see [`Link::current`]. And a client that ends (a message that it cannot
//! parse ends its task) is replaced by a new one.

mod client;
mod events;
mod trouble;

pub(crate) use trouble::Trouble;

use crate::config::Plan;
use crate::inbox::{Answer, Inbox, Question};
use async_nats::client::traits::Publisher as _;
use async_nats::connection::State;
use async_nats::header::HeaderMap;
use async_nats::message::OutboundMessage;
use async_nats::{Client, Message, StatusCode};
use bytes::Bytes;
use connector::HealthCell;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use trouble::Troubles;

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
    /// What does not work although NATS is there.
    troubles: watch::Sender<Troubles>,
    inbox: Inbox,
    refused: broadcast::Sender<Refused>,
    dropped: AtomicU64,
    closed: CancellationToken,
    servers: String,
    /// When the server's words were last logged, and how many were not since.
    logged: Mutex<(Option<Instant>, u64)>,
}

/// The link; clones share it. It must be [`Link::close`]d.
#[derive(Clone)]
pub(crate) struct Link(Arc<Shared>);

impl Connected {
    /// Whether nothing was lost between the two: it is one connection.
    pub(crate) fn is(&self, other: &Connected) -> bool {
        self.epoch == other.epoch
    }
}

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
            troubles: watch::Sender::default(),
            inbox: Inbox::new(&plan.inbox_prefix),
            refused: broadcast::Sender::new(256),
            dropped: AtomicU64::new(0),
            closed: CancellationToken::new(),
            servers: servers.join(", "),
            logged: Mutex::default(),
        }));
        tokio::spawn(client::supervise(link.clone(), plan.clone(), name));
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

    /// Where a task says that something does not work although NATS is there.
    pub(crate) fn trouble(&self) -> Trouble {
        Trouble::new(self.clone())
    }

    /// Tells every change of what does not work.
    pub(crate) fn troubles(&self) -> watch::Receiver<Troubles> {
        self.0.troubles.subscribe()
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
        match (moment.connected, client.connection_state() == State::Connected) {
            (true, false) => self.on_lost(moment.generation, "the connection was lost"),
            (_, true) => self.on_connected(moment.generation),
            (false, false) => {}
        }
    }

    /// The reason as a sentence for a person.
    fn away(&self, reason: &str) -> String {
        format!("NATS at {} is not connected: {reason}", self.0.servers)
    }
}
