//! Handshakes.

use super::{Answer, Context, Processed, deleted, find_session, heard};
use crate::hooks::Handshake;
use crate::server::Server;
use crate::session::{Identity, LiveSession};
use bayeux::channel::ChannelName;
use bayeux::error;
use bayeux::message::Message;
use bayeux::reply::{Advice, Reconnect, Refusal, Reply};
use bayeux::session::{Carrier, Session};
use bytes::Bytes;
use bytestring::ByteString;
use std::sync::Arc;
use std::time::Instant;

pub(super) async fn handshake(
    server: &Server,
    context: &Context,
    processed: &mut Processed,
    channel: &ChannelName,
    mut message: Message,
    mut reply: Reply,
    alone: bool,
) -> Answer {
    let none = Advice::none();
    if !alone {
        let refusal = Refusal::new(error::HANDSHAKE_NOT_ALONE).with_advice(Advice::new(Reconnect::Handshake, 0));
        return Answer::Reply(reply.refuse(refusal));
    }
    if server.draining() && context.local.is_none() {
        let advice = Advice::new(Reconnect::Handshake, server.drain_interval());
        return Answer::Reply(reply.refuse(Refusal::new(error::DRAINING).with_advice(advice)));
    }
    if heard(server, None, channel, &mut message).await.is_none() {
        return deleted(reply);
    }
    let asked = Handshake { message: &message, headers: &context.headers, local: context.local.is_some() };
    let identity = match server.policy().handshake(&asked).await {
        Ok(identity) => identity,
        Err(refusal) => {
            let refusal = if refusal.advice.is_none() { refusal.with_advice(none) } else { refusal };
            return Answer::Reply(reply.refuse(refusal));
        }
    };
    let acks = server.settings().extensions.ack && context.local.is_none();
    let acknowledges = acks && message.ext_field("ack").is_some_and(|asked| asked == "true");
    let session = match kept_session(server, context, &message, &identity, acknowledges) {
        Some(session) => session,
        None => {
            let session = server.new_session(identity, context, &message);
            if acknowledges {
                session.with(Session::acknowledge);
            }
            session
        }
    };
    reply.string_field("clientId", session.client_id());
    reply.string_field("version", "1.0");
    reply.string_field("minimumVersion", "1.0");
    let types = connection_types(&server.settings().transports);
    reply.fields.push((ByteString::from_static("supportedConnectionTypes"), types));
    reply.advice = Some(session.with(Session::handshake_advice));
    if acknowledges {
        reply.ext.push((ByteString::from_static("ack"), Bytes::from_static(b"true")));
    }
    reply.ext.extend(server.listener().offers());
    processed.session = Some(session);
    processed.handshaken = true;
    Answer::Reply(reply)
}

/// The live session that the handshake names, which its client takes back (`handshake_reconnect`): it must be one that this
/// sender may use, and of the same user.
fn kept_session(
    server: &Server,
    context: &Context,
    message: &Message,
    identity: &Identity,
    acknowledges: bool,
) -> Option<Arc<LiveSession>> {
    if !server.options(context.carrier).handshake_reconnect || context.local.is_some() {
        return None;
    }
    let session = find_session(server, context, message).filter(|session| session.identity() == identity)?;
    if !session.resume(Instant::now(), context.carrier, acknowledges, context.outlet.as_ref()) {
        return None;
    }
    tracing::debug!(session = %session.tag(), "taken back by a handshake");
    Some(session)
}

fn connection_types(transports: &[Carrier]) -> Bytes {
    let names: Vec<_> = transports.iter().map(|t| format!("\"{}\"", t.as_str())).collect();
    format!("[{}]", names.join(",")).into()
}
