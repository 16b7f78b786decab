//! The processing of one envelope, message by message, the same for every transport; [`crate::hooks`] has the order.

mod handshake;
mod publish;
mod replies;
mod subscription;

use crate::hooks::{Attempt, Operation, ask};
use crate::server::Server;
use crate::session::LiveSession;
use crate::websocket::outlet::Outlet;
use bayeux::channel::{ChannelName, Class};
use bayeux::error;
use bayeux::message::{ClientAdvice, Message, MessageId};
use bayeux::reply::{Reconnect, Refusal, Reply, TimeSync};
use bayeux::session::{Carrier, EndReason, unknown_session};
use bytestring::ByteString;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub(crate) use publish::publish_from_here;
pub(crate) use replies::finish_replies;
pub(crate) use subscription::{Joined, join, leave};

/// What a transport knows of whoever sends.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) carrier: Carrier,
    pub(crate) headers: Arc<::http::HeaderMap>,
    /// The browser's cookie: HTTP only.
    pub(crate) browser: Option<ByteString>,
    /// It came by TLS, if only as far as a proxy in front.
    pub(crate) secure: bool,
    /// A page of another site, loaded by TLS.
    pub(crate) cross_site: bool,
    /// How many sessions of the browser may hold a poll at the same time, negative: no bound. HTTP only.
    pub(crate) max_sessions: i32,
    /// The WebSocket that it came by.
    pub(crate) outlet: Option<Arc<Outlet>>,
    /// A session of the server's own, and what its name begins with.
    pub(crate) local: Option<ByteString>,
}

/// The answer to one message.
pub(crate) enum Answer {
    /// Known.
    Reply(Reply),
    /// Will be known; the next messages do not wait for it.
    Wait(Pin<Box<dyn Future<Output = Reply> + Send>>),
    /// A connect of the envelope's session: for the transport to hold or answer.
    Connect { reply: Reply, advice: Option<ClientAdvice>, ack: Option<u64> },
}

/// An envelope, processed.
pub(crate) struct Processed {
    /// The session it belongs to; after a handshake the new one.
    pub(crate) session: Option<Arc<LiveSession>>,
    /// It was a handshake that made a session.
    pub(crate) handshaken: bool,
    /// One per message, in their order.
    pub(crate) answers: Vec<Answer>,
    /// Subscriptions that begin when the replies are on their way: when this is dropped.
    pub(crate) begins: Begins,
}

/// Subscriptions that are made, and begin when their replies are on their way. However that ends, also when the client
/// goes away before its reply, they begin.
pub(crate) struct Begins {
    server: Server,
    made: Vec<(Arc<LiveSession>, ChannelName)>,
}

impl Begins {
    fn new(server: &Server) -> Self {
        Begins { server: server.clone(), made: Vec::new() }
    }

    /// None begins.
    pub(crate) fn is_empty(&self) -> bool {
        self.made.is_empty()
    }
}

impl Drop for Begins {
    fn drop(&mut self) {
        for (session, channel) in &self.made {
            self.server.listener().begins(session, channel);
        }
        if !self.made.is_empty() {
            self.server.flusher().kick();
        }
    }
}

/// Processes the messages of one envelope in order. `session`: the one that its first message belongs to, or its
/// socket.
pub(crate) async fn envelope(
    server: &Server,
    context: &Context,
    session: Option<Arc<LiveSession>>,
    messages: Vec<Message>,
) -> Processed {
    server.stats().messages_in.add(messages.len() as u64);
    let alone = messages.len() == 1;
    let mut processed = Processed {
        session,
        handshaken: false,
        answers: Vec::with_capacity(messages.len()),
        begins: Begins::new(server),
    };
    for message in messages {
        tokio::task::consume_budget().await; // a long envelope lets others have their turn
        let answer = one(server, context, &mut processed, message, alone).await;
        processed.answers.push(answer);
    }
    processed
}

/// The session that the client id names, if this sender may use it: over HTTP the session must have been made
/// by the same transport for the same cookie, unless client ids are trusted. (CometD: each transport has its own sessions.)
pub(crate) fn find_session(server: &Server, context: &Context, message: &Message) -> Option<Arc<LiveSession>> {
    let session = server.session(message.client_id.as_ref()?).filter(|session| !session.is_local())?;
    let fits = context.carrier == Carrier::WebSocket
        || server.settings().http(context.carrier).trust_client_session
        || session.is_of(context.carrier, context.browser.as_ref());
    if !fits {
        tracing::debug!(session = %session.tag(), "client id without its cookie: answered as unknown session");
    }
    fits.then_some(session)
}

/// A channel, and an id if any.
fn validated(server: &Server, message: &Message) -> Result<ChannelName, &'static str> {
    let channel = message.channel.as_ref().ok_or(error::CHANNEL_MISSING)?;
    let channel = ChannelName::parse(channel).map_err(|_| error::CHANNEL_INVALID)?;
    match message.id {
        Some(MessageId::Invalid(_)) if server.settings().validate_message_fields => Err(error::MESSAGE_ID_INVALID),
        _ => Ok(channel),
    }
}

/// The extensions of the server, then those of the session. False: vetoed.
fn incoming(server: &Server, session: Option<&Arc<LiveSession>>, message: &mut Message) -> bool {
    let all = server.extensions().all();
    !all.iter().any(|(_, extension)| extension.incoming(session, message).vetoed())
        && !session.is_some_and(|session| session.incoming(message).vetoed())
}

fn deleted(reply: Reply) -> Answer {
    Answer::Reply(reply.refuse(Refusal::new(error::MESSAGE_DELETED)))
}

async fn one(
    server: &Server,
    context: &Context,
    processed: &mut Processed,
    mut message: Message,
    alone: bool,
) -> Answer {
    let mut reply = Reply::to(&message);
    let mut channel = match validated(server, &message) {
        Ok(channel) => channel,
        Err(text) => return Answer::Reply(reply.refuse(Refusal::new(text))),
    };
    if server.extensions().any() || processed.session.as_ref().is_some_and(|session| session.is_apart()) {
        if !incoming(server, processed.session.as_ref(), &mut message) {
            return deleted(reply);
        }
        channel = match validated(server, &message) {
            Ok(channel) => channel,
            Err(text) => return Answer::Reply(reply.refuse(Refusal::new(text))),
        };
    }
    if channel.class() == Class::Meta {
        timed(server, &message, &mut reply);
    }
    // Letter by letter: `/meta/connect/` is no connect.
    let meta = message.channel.clone().unwrap_or_default();
    if meta == "/meta/handshake" {
        return handshake::handshake(server, context, processed, &channel, message, reply, alone).await;
    }
    let session = match &processed.session {
        Some(session) if message.client_id.as_ref() == Some(session.client_id()) && !session.ended() => {
            Arc::clone(session)
        }
        _ => {
            let refusal = match &*meta {
                "/meta/connect" => unknown_to(processed.session.as_deref()),
                _ => Refusal::new(error::SESSION_UNKNOWN),
            };
            return Answer::Reply(reply.refuse(refusal));
        }
    };
    if channel.class() != Class::Meta {
        session.touch(Instant::now(), context.carrier);
        return publish::publish(server, context, session, channel, message, reply).await;
    }
    if meta != "/meta/connect" {
        session.touch(Instant::now(), context.carrier);
    }
    if heard(server, Some(&session), &channel, &mut message).await.is_none() {
        return deleted(reply);
    }
    match &*meta {
        "/meta/connect" => {
            if session.with(|s| s.inactive(Instant::now())) {
                server.end_session(&session, EndReason::Server);
                return Answer::Reply(reply.refuse(unknown_to(Some(&session))));
            }
            let ack = message.ext_field("ack").and_then(|raw| serde_json::from_slice(&raw).ok());
            return Answer::Connect { reply, advice: message.client_advice(), ack };
        }
        "/meta/subscribe" => {
            reply = subscription::subscribe(server, &session, &message, reply, &mut processed.begins).await
        }
        "/meta/unsubscribe" => reply = subscription::unsubscribe(server, &session, &message, reply),
        "/meta/disconnect" => server.end_session(&session, EndReason::Disconnected),
        _ => reply = reply.refuse(Refusal::new(error::META_DENIED)),
    }
    Answer::Reply(reply)
}

/// `402::session_unknown` for a connect. Where the session that sends it was disconnected, it is to stay away (CometD).
fn unknown_to(session: Option<&LiveSession>) -> Refusal {
    let mut refusal = unknown_session();
    if let Some(advice) = refusal.advice.as_mut().filter(|_| session.is_some_and(|s| s.with(|s| s.disconnected()))) {
        advice.reconnect = Reconnect::None;
    }
    refusal
}

/// Has a reply answer the client's question about the time, if it asks.
fn timed(server: &Server, message: &Message, reply: &mut Reply) {
    if server.settings().extensions.timesync {
        reply.timesync = message.ext_field("timesync").and_then(|raw| TimeSync::read(&raw, now_millis()));
    }
}

/// Milliseconds since 1970, for people and clients: it may jump.
pub(crate) fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The policy, then the authorizers.
async fn authorize(
    server: &Server,
    session: &Arc<LiveSession>,
    operation: Operation,
    channel: &ChannelName,
    message: &Message,
    subscribing: bool,
) -> Result<(), Refusal> {
    let attempt = Attempt { session, operation, channel, message, subscribing };
    let policy = server.policy();
    match operation {
        Operation::Create => policy.create(&attempt).await?,
        Operation::Subscribe => policy.subscribe(&attempt).await?,
        Operation::Publish => policy.publish(&attempt).await?,
    }
    if server.channels().configured() {
        ask(&server.channels().reaching(channel), &attempt).await?;
    }
    Ok(())
}

/// The listeners of the channels and patterns that reach this one, from the root to the channel itself. `None`: vetoed.
async fn heard(
    server: &Server,
    from: Option<&Arc<LiveSession>>,
    channel: &ChannelName,
    message: &mut Message,
) -> Option<()> {
    if server.channels().configured() {
        for setup in server.channels().reaching(channel) {
            for (_, listener) in &setup.listeners {
                if listener.message(from, channel, message).await.vetoed() {
                    return None;
                }
            }
        }
    }
    Some(())
}
