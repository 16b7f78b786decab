//! The security policy: who may do what.

use super::Eventually;
use crate::session::{Identity, LiveSession};
use bayeux::channel::ChannelName;
use bayeux::error::error;
use bayeux::message::Message;
use bayeux::reply::Refusal;
use std::sync::Arc;

/// A handshake, as the policy sees it.
#[derive(Debug)]
pub struct Handshake<'a> {
    /// The message: credentials are in its `ext`.
    pub message: &'a Message,
    /// The headers of the HTTP request that carries it, or that opened the WebSocket. None for a local session.
    pub headers: &'a ::http::HeaderMap,
    /// It is a session of the server's own.
    pub local: bool,
}

/// What a session may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Bring a channel into being, by a subscription or a publish.
    Create,
    /// Subscribe to a channel or pattern.
    Subscribe,
    /// Publish on a broadcast channel, or send to a service channel.
    Publish,
}

/// What a session is about to do.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// Who.
    pub session: &'a Arc<LiveSession>,
    /// What.
    pub operation: Operation,
    /// Where.
    pub channel: &'a ChannelName,
    /// By which message.
    pub message: &'a Message,
    pub(crate) subscribing: bool,
}

impl Attempt<'_> {
    /// A refusal as CometD's security policy words it.
    pub fn denied(&self) -> Refusal {
        self.denied_for("denied_by_security_policy")
    }

    /// A refusal with that reason: `403:<reason>:publish_denied`, or whatever it is that is denied.
    pub fn denied_for(&self, reason: &str) -> Refusal {
        let what = match self.operation {
            Operation::Create if self.subscribing => "create_denied",
            Operation::Create => "channel_create_denied",
            Operation::Subscribe => "subscribe_denied",
            Operation::Publish => "publish_denied",
        };
        Refusal::new(error(403, reason, what))
    }
}

/// Who may do what. Asked for the server's local sessions too. What the policy allows, [authorizers](super::Authorizer)
/// may still deny.
///
/// ```
/// use bayeux::reply::Refusal;
/// use bayeux_server::Identity;
/// use bayeux_server::hooks::{Attempt, Eventually, Handshake, Policy};
///
/// struct House;
///
/// impl Policy for House {
///     fn handshake<'a>(&'a self, handshake: &'a Handshake<'a>) -> Eventually<'a, Result<Identity, Refusal>> {
///         if handshake.local {
///             return Ok(Identity::default()).into();
///         }
///         let Some(name) = handshake.message.ext_string("user") else {
///             return Err(Refusal::new("403::handshake_denied")).into();
///         };
///         // A database may be asked here.
///         Eventually::later(async move { Ok(Identity { user: Some(name.into()), claims: None }) })
///     }
///     fn publish<'a>(&'a self, attempt: &'a Attempt<'a>) -> Eventually<'a, Result<(), Refusal>> {
///         match attempt.channel.as_str().starts_with("/news/") {
///             true => Err(attempt.denied()).into(),
///             false => Ok(()).into(),
///         }
///     }
/// }
/// ```
pub trait Policy: Send + Sync + 'static {
    /// May this client have a session, and as whom? A refusal without advice tells the client to stay away.
    fn handshake<'a>(&'a self, handshake: &'a Handshake<'a>) -> Eventually<'a, Result<Identity, Refusal>> {
        let _ = handshake;
        Ok(Identity::default()).into()
    }
    /// May it bring this channel into being? Asked when there is no such channel yet, before the question what it may do
    /// there.
    fn create<'a>(&'a self, attempt: &'a Attempt<'a>) -> Eventually<'a, Result<(), Refusal>> {
        let _ = attempt;
        Ok(()).into()
    }
    /// May it subscribe there?
    fn subscribe<'a>(&'a self, attempt: &'a Attempt<'a>) -> Eventually<'a, Result<(), Refusal>> {
        let _ = attempt;
        Ok(()).into()
    }
    /// May it publish there? Asked for broadcast and service channels.
    fn publish<'a>(&'a self, attempt: &'a Attempt<'a>) -> Eventually<'a, Result<(), Refusal>> {
        let _ = attempt;
        Ok(()).into()
    }
}

/// Allows everything to everybody that the protocol does.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllowAll;

impl Policy for AllowAll {}
