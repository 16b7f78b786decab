//! The processing of one envelope, message by message, the same for every transport.

use crate::hooks::{Accepted, Handshake, Publish, PublishFlow, SubscribeFlow};
use crate::server::Server;
use crate::session::LiveSession;
use bayeux::channel::{ChannelError, ChannelName, Class};
use bayeux::delivery::{Delivery, DeliveryParts};
use bayeux::error;
use bayeux::message::{ClientAdvice, Message, MessageId};
use bayeux::reply::{Advice, Reconnect, Refusal, Reply, TimeSync};
use bayeux::session::{Carrier, EndReason, Session, unknown_session};
use bytes::Bytes;
use bytestring::ByteString;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What a transport knows of whoever sends.
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
    let mut processed = Processed { session, handshaken: false, answers: Vec::with_capacity(messages.len()) };
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
    let session = server.session(message.client_id.as_ref()?)?;
    let fits = context.carrier == Carrier::WebSocket
        || server.settings().http(context.carrier).trust_client_session
        || session.is_of(context.carrier, context.browser.as_ref());
    if !fits {
        tracing::debug!(session = %session.tag(), "client id without its cookie: answered as unknown session");
    }
    fits.then_some(session)
}

async fn one(server: &Server, context: &Context, processed: &mut Processed, message: Message, alone: bool) -> Answer {
    let refused = |message: &Message, text: &str| Answer::Reply(Reply::to(message).refuse(Refusal::new(text)));
    let Some(raw_channel) = &message.channel else {
        return refused(&message, error::CHANNEL_MISSING);
    };
    let Ok(channel) = ChannelName::parse(raw_channel) else {
        return refused(&message, error::CHANNEL_INVALID);
    };
    if matches!(message.id, Some(MessageId::Invalid(_))) {
        return refused(&message, error::MESSAGE_ID_INVALID);
    }
    // Letter by letter: `/meta/connect/` is no connect.
    let meta = raw_channel.clone();
    if meta == "/meta/handshake" {
        return handshake(server, context, processed, &message, alone).await;
    }
    let session = match &processed.session {
        Some(session) if message.client_id.as_ref() == Some(session.client_id()) && !session.ended() => {
            Arc::clone(session)
        }
        _ => {
            let refusal = match &*meta {
                "/meta/connect" => unknown_session(),
                _ => Refusal::new(error::SESSION_UNKNOWN),
            };
            return Answer::Reply(Reply::to(&message).refuse(refusal));
        }
    };
    if meta == "/meta/connect" {
        let ack = message.ext_field("ack").and_then(|raw| serde_json::from_slice(&raw).ok());
        return Answer::Connect { reply: timed(server, &message), advice: message.client_advice(), ack };
    }
    session.touch(Instant::now(), context.carrier);
    match (channel.class(), &*meta) {
        (_, "/meta/subscribe") => Answer::Reply(subscribe(server, &session, &message).await),
        (_, "/meta/unsubscribe") => Answer::Reply(unsubscribe(server, &session, &message)),
        (_, "/meta/disconnect") => {
            let reply = Reply::to(&message);
            server.end_session(&session, EndReason::Disconnected);
            Answer::Reply(reply)
        }
        (Class::Meta, _) => refused(&message, error::META_DENIED),
        (Class::Service, _) => service(server, context, session, channel, message),
        (Class::Broadcast, _) => publish(server, context, session, channel, message),
    }
}

async fn handshake(
    server: &Server,
    context: &Context,
    processed: &mut Processed,
    message: &Message,
    alone: bool,
) -> Answer {
    let mut reply = timed(server, message);
    let none = Advice::new(Reconnect::None, 0);
    if !alone {
        let refusal = Refusal::new(error::HANDSHAKE_NOT_ALONE).with_advice(Advice::new(Reconnect::Handshake, 0));
        return Answer::Reply(reply.refuse(refusal));
    }
    if server.draining() {
        let advice = Advice::new(Reconnect::Handshake, server.drain_interval());
        return Answer::Reply(reply.refuse(Refusal::new(error::DRAINING).with_advice(advice)));
    }
    let verdict = server.policy().handshake(&Handshake { message, headers: &context.headers }).await;
    let identity = match verdict {
        Ok(identity) => identity,
        Err(refusal) => {
            let refusal = if refusal.advice.is_none() { refusal.with_advice(none) } else { refusal };
            return Answer::Reply(reply.refuse(refusal));
        }
    };
    let session = server.new_session(identity, context.carrier, context.browser.clone());
    reply.string_field("clientId", session.client_id());
    reply.string_field("version", "1.0");
    reply.string_field("minimumVersion", "1.0");
    reply.fields.push(("supportedConnectionTypes", connection_types(&server.settings().transports)));
    reply.advice = Some(session.with(Session::handshake_advice));
    if server.settings().extensions.ack && message.ext_field("ack").is_some_and(|asked| asked == "true") {
        session.with(Session::acknowledge);
        reply.ext.push((ByteString::from_static("ack"), Bytes::from_static(b"true")));
    }
    processed.session = Some(session);
    processed.handshaken = true;
    Answer::Reply(reply)
}

/// A reply that answers the client's question about the time, if it asks.
fn timed(server: &Server, message: &Message) -> Reply {
    let mut reply = Reply::to(message);
    if server.settings().extensions.timesync {
        reply.timesync = message.ext_field("timesync").and_then(|raw| TimeSync::read(&raw, now_millis()));
    }
    reply
}

/// Milliseconds since 1970, for people and clients: it may jump.
pub(crate) fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn connection_types(transports: &[Carrier]) -> Bytes {
    let names: Vec<_> = transports.iter().map(|t| format!("\"{}\"", t.as_str())).collect();
    format!("[{}]", names.join(",")).into()
}

/// One subscription or many: in order, up to the first that fails; those before it stay (CometD).
async fn subscribe(server: &Server, session: &Arc<LiveSession>, message: &Message) -> Reply {
    let reply = Reply::to(message);
    if message.subscription.is_none() {
        return reply.refuse(Refusal::new(error::SUBSCRIPTION_MISSING));
    }
    let Some(names) = message.subscriptions() else {
        return reply.refuse(Refusal::new(error::SUBSCRIPTION_INVALID));
    };
    if names.is_empty() {
        return reply.refuse(Refusal::new(error::SUBSCRIPTION_MISSING));
    }
    // All names first: one that is no channel spoils them all.
    let channels = names.iter().map(|name| ChannelName::parse(name).ok().filter(|channel| !is_wild_template(channel)));
    let Some(channels) = channels.collect::<Option<Vec<_>>>() else {
        return reply.refuse(Refusal::new(error::SUBSCRIPTION_INVALID));
    };
    for channel in channels {
        if let Err(refusal) = subscribe_one(server, session, &channel, message).await {
            return reply.refuse(refusal);
        }
    }
    reply
}

/// `/{name}/*`: a template has no wildcard (CometD's `ChannelId`).
fn is_wild_template(channel: &ChannelName) -> bool {
    channel.is_wild() && channel.segments().any(|segment| segment.starts_with('{') && segment.ends_with('}'))
}

/// The meta channels that exist.
const META_CHANNELS: [&str; 5] =
    ["/meta/handshake", "/meta/connect", "/meta/subscribe", "/meta/unsubscribe", "/meta/disconnect"];

async fn subscribe_one(
    server: &Server,
    session: &Arc<LiveSession>,
    channel: &ChannelName,
    message: &Message,
) -> Result<(), Refusal> {
    match channel.class() {
        Class::Meta if META_CHANNELS.contains(&channel.as_str()) => {
            return Err(Refusal::new(error::META_SUBSCRIBE_DENIED));
        }
        Class::Meta => return Err(Refusal::new(error::META_CREATE_DENIED)),
        Class::Service => return Ok(()), // accepted and recorded nowhere
        Class::Broadcast => {}
    }
    server.policy().subscribe(session, channel)?;
    if session.subscribed(channel) {
        return Ok(());
    }
    match server.listener().subscribe(session, channel, message) {
        SubscribeFlow::Accept => {}
        SubscribeFlow::Refuse(refusal) => return Err(refusal),
        SubscribeFlow::Wait(wait) => wait.await?,
    }
    let made = {
        let _one_at_a_time = session.subscribing();
        let made = session.with(|s| s.subscribe(channel));
        if let Ok(true) = made {
            server.channels().subscribe(channel, session);
        }
        made
    };
    match made {
        Ok(true) => server.listener().subscribed(session, channel),
        // A parallel request was first, or the session has ended or has too many.
        Ok(false) | Err(_) => server.listener().unsubscribed(session, channel),
    }
    made.map(|_| ())
}

fn unsubscribe(server: &Server, session: &Arc<LiveSession>, message: &Message) -> Reply {
    let reply = Reply::to(message);
    if message.subscription.is_none() {
        return reply.refuse(Refusal::new(error::SUBSCRIPTION_MISSING));
    }
    let Some(names) = message.subscriptions().filter(|names| !names.is_empty()) else {
        return reply.refuse(Refusal::new(error::SUBSCRIPTION_INVALID));
    };
    for name in names {
        let channel = match ChannelName::parse(&name) {
            Ok(channel) => channel,
            Err(ChannelError::EmptySegment | ChannelError::Wildcard) => {
                return reply.refuse(Refusal::new(error::CHANNEL_MISSING)); // no such channel can exist
            }
            Err(_) => return reply.refuse(Refusal::new(error::SUBSCRIPTION_INVALID)),
        };
        if META_CHANNELS.contains(&channel.as_str()) {
            return reply.refuse(Refusal::new(error::UNSUBSCRIBE_FAILED));
        }
        let was_there = {
            let _one_at_a_time = session.subscribing();
            let was_there = session.with(|s| s.unsubscribe(&channel));
            if was_there {
                server.channels().unsubscribe(&channel, session.key());
            }
            was_there
        };
        if was_there {
            server.listener().unsubscribed(session, &channel);
        } else if channel.class() != Class::Service && !server.channels().exists(channel.as_str()) {
            return reply.refuse(Refusal::new(error::CHANNEL_MISSING));
        }
    }
    reply
}

fn traceparent(context: &Context, message: &Message) -> Option<ByteString> {
    message.ext_string("traceparent").map(ByteString::from).or_else(|| {
        let value = context.headers.get("traceparent")?.to_str().ok()?;
        Some(ByteString::from(value))
    })
}

fn service(
    server: &Server,
    context: &Context,
    session: Arc<LiveSession>,
    channel: ChannelName,
    message: Message,
) -> Answer {
    let reply = Reply::to(&message);
    let traceparent = traceparent(context, &message);
    let verdict = server
        .policy()
        .publish(&session, &channel)
        .and_then(|()| server.listener().service(&Publish { session, channel, message, traceparent }));
    Answer::Reply(match verdict {
        Ok(()) => reply,
        Err(refusal) => reply.refuse(refusal),
    })
}

fn publish(
    server: &Server,
    context: &Context,
    session: Arc<LiveSession>,
    channel: ChannelName,
    message: Message,
) -> Answer {
    let reply = Reply::to(&message);
    if let Err(refusal) = server.policy().publish(&session, &channel) {
        return Answer::Reply(reply.refuse(refusal));
    }
    let traceparent = traceparent(context, &message);
    let publish = Publish { session, channel, message, traceparent };
    match server.listener().publish(&publish) {
        PublishFlow::Done(outcome) => Answer::Reply(finish(reply, outcome)),
        PublishFlow::Wait(wait) => Answer::Wait(Box::pin(async move { finish(reply, wait.await) })),
        PublishFlow::Broadcast => {
            // A wildcard is no place to publish to; CometD says yes to it and nobody hears it.
            if !publish.channel.is_wild() {
                let delivery = broadcast(&publish);
                server.publish(&publish.channel, delivery);
            }
            Answer::Reply(reply)
        }
    }
}

/// The delivery of a plain Bayeux broadcast: the publisher's message as it was, without `id` and `clientId`.
fn broadcast(publish: &Publish) -> Delivery {
    let message = &publish.message;
    let mut other = message.other.clone();
    if let Some(ext) = &message.ext {
        other.push(("ext".into(), ext.clone()));
    }
    let data = message.data.as_deref().unwrap_or_default();
    Delivery::new(publish.channel.as_bytestring().clone(), &DeliveryParts { data, other: &other, ..Default::default() })
}

fn finish(mut reply: Reply, outcome: Result<Accepted, Refusal>) -> Reply {
    match outcome {
        Ok(accepted) => {
            reply.ext.extend(accepted.ext);
            reply
        }
        Err(refusal) => reply.refuse(refusal),
    }
}
