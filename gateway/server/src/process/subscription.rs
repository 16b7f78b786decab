//! Subscriptions: by a client's message, and by the server.

use super::{Begins, authorize};
use crate::hooks::{Begin, Operation, SubscribeFlow};
use crate::server::Server;
use crate::session::LiveSession;
use bayeux::channel::{ChannelError, ChannelName, Class};
use bayeux::error;
use bayeux::message::Message;
use bayeux::reply::{Refusal, Reply};
use bytestring::ByteString;
use std::sync::Arc;

/// One subscription or many: in order, up to the first that fails; those before it stay (CometD). `begins` gets those that
/// begin after the reply.
pub(super) async fn subscribe(
    server: &Server,
    session: &Arc<LiveSession>,
    message: &Message,
    mut reply: Reply,
    begins: &mut Begins,
) -> Reply {
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
    let mut later = Vec::new();
    for channel in channels {
        match subscribe_one(server, session, &channel, message).await {
            Ok(Joined::Later) => {
                begins.made.push((Arc::clone(session), channel.clone()));
                later.push(channel);
            }
            Ok(Joined::Now | Joined::Before) => {}
            Err(refusal) => return reply.refuse(refusal),
        }
    }
    if !later.is_empty()
        && let Some(positions) = server.listener().positions(session, Some(&later))
    {
        reply.ext.push((ByteString::from_static("replay"), positions.into()));
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
) -> Result<Joined, Refusal> {
    if channel.class() == Class::Meta {
        let exists = META_CHANNELS.contains(&channel.as_str());
        return Err(Refusal::new(if exists { error::META_SUBSCRIBE_DENIED } else { error::META_CREATE_DENIED }));
    }
    if server.channels().used(channel.as_str()).is_none() {
        authorize(server, session, Operation::Create, channel, message, true).await?;
        if !server.channels().full() {
            server.enter(channel);
        }
    }
    authorize(server, session, Operation::Subscribe, channel, message, true).await?;
    match channel.class() {
        Class::Broadcast => join(server, session, channel, Some(message)).await,
        _ => Ok(Joined::Before), // a service: accepted and recorded nowhere
    }
}

/// What became of a subscription that is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joined {
    /// It was there.
    Before,
    /// It is made.
    Now,
    /// It is made, and [`crate::hooks::Listener::begins`] is to be called.
    Later,
}

/// Makes a subscription that is allowed.
pub(crate) async fn join(
    server: &Server,
    session: &Arc<LiveSession>,
    channel: &ChannelName,
    message: Option<&Message>,
) -> Result<Joined, Refusal> {
    if channel.class() != Class::Broadcast {
        return Err(Refusal::new(error::META_SUBSCRIBE_DENIED));
    }
    if session.subscribed(channel) {
        return Ok(Joined::Before);
    }
    let unsaid = Message::default();
    let begin = match server.listener().subscribe(session, channel, message.unwrap_or(&unsaid)) {
        SubscribeFlow::Accept(begin) => begin,
        SubscribeFlow::Refuse(refusal) => return Err(refusal),
        SubscribeFlow::Wait(wait) => wait.await?,
    };
    let made = {
        let _one_at_a_time = session.subscribing();
        let made = session.with(|s| s.subscribe(channel));
        if let (Ok(true), Begin::Now) = (&made, begin) {
            server.channels().subscribe(channel, session, || server.setup_of(channel));
        }
        made
    };
    match made {
        Ok(true) => {
            server.tell_channel(channel, |listener| listener.subscribed(session, channel));
            server.listeners().each(|listener| listener.subscribed(session, channel, message));
            server.listener().subscribed(session, channel);
        }
        // A parallel request was first, or the session has ended or has too many.
        Ok(false) | Err(_) => server.listener().unsubscribed(session, channel),
    }
    Ok(match (made?, begin) {
        (false, _) => Joined::Before,
        (true, Begin::Now) => Joined::Now,
        (true, Begin::AfterReply) => Joined::Later,
    })
}

/// Ends a subscription to this very name. False when there was none.
pub(crate) fn leave(server: &Server, session: &LiveSession, channel: &ChannelName) -> bool {
    let was_there = {
        let _one_at_a_time = session.subscribing();
        let was_there = session.with(|s| s.unsubscribe(channel));
        if was_there {
            server.channels().unsubscribe(channel, session.key());
        }
        was_there
    };
    if was_there {
        server.left(session, channel);
    }
    was_there
}

pub(super) fn unsubscribe(server: &Server, session: &Arc<LiveSession>, message: &Message, reply: Reply) -> Reply {
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
        if !leave(server, session, &channel) && server.channels().used(channel.as_str()).is_none() {
            return reply.refuse(Refusal::new(error::CHANNEL_MISSING));
        }
    }
    reply
}
