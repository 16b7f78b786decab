//! Messages on broadcast and service channels.

use super::{Answer, Context, authorize, deleted, heard};
use crate::hooks::{Accepted, Operation, Publish, PublishFlow};
use crate::registry::Channel;
use crate::server::Server;
use crate::session::LiveSession;
use bayeux::channel::{ChannelName, Class};
use bayeux::delivery::Delivery;
use bayeux::message::Message;
use bayeux::reply::{Refusal, Reply};
use bytestring::ByteString;
use std::sync::Arc;

fn traceparent(context: &Context, message: &Message) -> Option<ByteString> {
    message.ext_string("traceparent").map(ByteString::from).or_else(|| {
        let value = context.headers.get("traceparent")?.to_str().ok()?;
        Some(ByteString::from(value))
    })
}

/// May the session publish there? If so, the channel, which is there from now on.
async fn allowed(
    server: &Server,
    session: &Arc<LiveSession>,
    channel: &ChannelName,
    message: &Message,
) -> Result<Option<Arc<Channel>>, Refusal> {
    let mut there = server.channels().used(channel.as_str());
    if there.is_none() {
        authorize(server, session, Operation::Create, channel, message, false).await?;
        if !server.channels().full() {
            there = Some(server.enter(channel));
        }
    }
    authorize(server, session, Operation::Publish, channel, message, false).await?;
    Ok(there)
}

pub(super) async fn publish(
    server: &Server,
    context: &Context,
    session: Arc<LiveSession>,
    channel: ChannelName,
    mut message: Message,
    reply: Reply,
) -> Answer {
    let there = match allowed(server, &session, &channel, &message).await {
        Ok(there) => there,
        Err(refusal) => return Answer::Reply(reply.refuse(refusal)),
    };
    if heard(server, Some(&session), &channel, &mut message).await.is_none() {
        return deleted(reply);
    }
    let traceparent = traceparent(context, &message);
    let publish = Publish { session, channel, message, traceparent };
    if publish.channel.class() == Class::Service {
        return Answer::Reply(match server.listener().service(&publish) {
            Ok(()) => reply,
            Err(refusal) => reply.refuse(refusal),
        });
    }
    match server.listener().publish(&publish) {
        PublishFlow::Done(outcome) => Answer::Reply(finish(reply, outcome)),
        PublishFlow::Wait(wait) => Answer::Wait(Box::pin(async move { finish(reply, wait.await) })),
        PublishFlow::Broadcast => {
            match broadcast(server, Some(&publish.session), &publish.channel, there, publish.message) {
                Some(_) => Answer::Reply(reply),
                None => deleted(reply),
            }
        }
    }
}

/// Publishes as the server: past listeners and extensions. How many sessions got it; `None` when it was vetoed.
pub(crate) async fn publish_from_here(
    server: &Server,
    from: Option<&Arc<LiveSession>>,
    channel: &ChannelName,
    mut message: Message,
) -> Option<u64> {
    heard(server, from, channel, &mut message).await?;
    match channel.class() {
        Class::Broadcast => broadcast(server, from, channel, None, message),
        _ => server.outgoing(from, None, &mut message).then_some(0), // a service's subscribers are none
    }
}

/// The last step of a plain Bayeux broadcast: the publisher's message as it is by now, without `id` and `clientId`
/// (CometD's `BayeuxServerImpl.publish`), and without `advice`, which clients would take for the server's.
fn broadcast(
    server: &Server,
    from: Option<&Arc<LiveSession>>,
    channel: &ChannelName,
    there: Option<Arc<Channel>>,
    mut message: Message,
) -> Option<u64> {
    (message.id, message.client_id, message.advice) = (None, None, None);
    server.outgoing(from, None, &mut message).then(|| server.fan_out(from, channel, there, Delivery::of(&message)))
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
