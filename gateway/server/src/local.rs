//! Sessions of the server's own.

use crate::process::{self, Answer, Context};
use crate::server::Server;
use crate::session::LiveSession;
use ::http::HeaderMap;
use bayeux::delivery::Delivery;
use bayeux::error;
use bayeux::message::{Message, MessageId};
use bayeux::reply::{Refusal, Reply};
use bayeux::session::{Carrier, EndReason, Session};
use bytestring::ByteString;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// A client inside the server (CometD's `LocalSession`): it handshakes, subscribes and publishes as others do, past
/// extensions, policy, authorizers and listeners, but needs no connection and never expires. Its messages wait in its
/// queue, which is as bounded as those of WebSockets: who does not read them is ended. Dropped, it disconnects.
///
/// ```
/// use bayeux_server::{Server, ServerSettings};
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let server = Server::builder(ServerSettings::default()).build();
/// let bot = server.local_session("bot").await?;
/// bot.subscribe("/chat/*").await?;
/// bot.publish("/chat/room", "hello").await?;
/// let heard = bot.next().await.unwrap();
/// assert_eq!(heard.message().data_as::<String>().unwrap(), "hello");
/// # Ok::<(), bayeux::reply::Refusal>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct LocalSession {
    server: Server,
    session: Arc<LiveSession>,
    context: Context,
    reader: Arc<Notify>,
    ids: AtomicU64,
}

impl Server {
    /// A new local session; `hint` begins the name that it is known by in logs.
    ///
    /// # Errors
    /// What the policy says to its handshake.
    pub async fn local_session(&self, hint: &str) -> Result<LocalSession, Refusal> {
        self.local_session_with(hint, Message::default()).await
    }

    /// The same, with a handshake that has credentials in its `ext`.
    ///
    /// # Errors
    /// What the policy says to it.
    pub async fn local_session_with(&self, hint: &str, mut handshake: Message) -> Result<LocalSession, Refusal> {
        handshake.channel = Some(ByteString::from_static("/meta/handshake"));
        handshake.id = Some(MessageId::Valid(ByteString::from_static("0")));
        let context = Context {
            carrier: Carrier::WebSocket,
            headers: Arc::new(HeaderMap::new()),
            browser: None,
            secure: false,
            cross_site: false,
            max_sessions: -1,
            outlet: None,
            local: Some(hint.into()),
        };
        let processed = process::envelope(self, &context, None, vec![handshake]).await;
        let reply = reply(self, processed.session.as_ref(), processed.answers).await;
        let session = processed.session.ok_or_else(|| Refusal::new(error::SESSION_UNKNOWN));
        let session = reply.and(session)?;
        let reader = session.reader().unwrap_or_default();
        Ok(LocalSession { server: self.clone(), session, context, reader, ids: AtomicU64::new(1) })
    }
}

/// The one reply to a local session's message.
async fn reply(server: &Server, session: Option<&Arc<LiveSession>>, answers: Vec<Answer>) -> Result<Reply, Refusal> {
    server.flusher().kick();
    let reply = match answers.into_iter().next() {
        Some(Answer::Reply(reply) | Answer::Connect { reply, .. }) => Some(reply),
        Some(Answer::Wait(wait)) => Some(wait.await),
        None => None,
    };
    let mut replies: Vec<Reply> = reply.into_iter().collect();
    process::finish_replies(server, session.map(|session| &**session), &mut replies);
    let reply = replies.pop().ok_or_else(|| Refusal::new(error::MESSAGE_DELETED))?;
    match &reply.error {
        None => Ok(reply),
        Some(error) => Err(Refusal { error: error.clone(), advice: reply.advice, ext: reply.ext }),
    }
}

impl LocalSession {
    /// The server's side of it.
    pub fn session(&self) -> &Arc<LiveSession> {
        &self.session
    }

    /// Sends a message as a client would, with its `id` if it has one, and waits for the reply.
    ///
    /// # Errors
    /// When the reply is not successful.
    pub async fn send(&self, mut message: Message) -> Result<Reply, Refusal> {
        message.client_id = Some(self.session.client_id().clone());
        message.id.get_or_insert_with(|| MessageId::Valid(self.ids.fetch_add(1, Ordering::Relaxed).to_string().into()));
        let session = Some(Arc::clone(&self.session));
        let processed = process::envelope(&self.server, &self.context, session, vec![message]).await;
        reply(&self.server, Some(&self.session), processed.answers).await
    }

    /// Publishes on a broadcast channel, or sends to a service; the reply.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn publish(&self, channel: &str, data: impl Serialize) -> Result<Reply, Refusal> {
        self.send(Message::new(channel, &data)).await
    }

    /// Subscribes to a channel or pattern.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn subscribe(&self, channel: &str) -> Result<(), Refusal> {
        self.subscription("/meta/subscribe", channel).await
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// When there is no such channel.
    pub async fn unsubscribe(&self, channel: &str) -> Result<(), Refusal> {
        self.subscription("/meta/unsubscribe", channel).await
    }

    async fn subscription(&self, meta: &'static str, channel: &str) -> Result<(), Refusal> {
        let subscription = serde_json::to_vec(channel).unwrap_or_default().into();
        let channel = Some(ByteString::from_static(meta));
        self.send(Message { channel, subscription: Some(subscription), ..Message::default() }).await.map(drop)
    }

    /// The next message for it, when it is there; `None` when the session has ended. For one reader at a time.
    pub async fn next(&self) -> Option<Arc<Delivery>> {
        loop {
            if let Some(delivery) = self.try_next() {
                return Some(delivery);
            }
            if self.session.ended() {
                return None;
            }
            self.reader.notified().await;
        }
    }

    /// The next message for it, if there is one.
    pub fn try_next(&self) -> Option<Arc<Delivery>> {
        self.session.with(Session::pop_unasked)
    }

    /// Ends it.
    pub async fn disconnect(self) {
        let channel = Some(ByteString::from_static("/meta/disconnect"));
        let _ = self.send(Message { channel, ..Message::default() }).await;
    }
}

impl Drop for LocalSession {
    fn drop(&mut self) {
        self.server.end_session(&self.session, EndReason::Disconnected);
    }
}
