//! The last who sees a publish or a subscription, and who may take it elsewhere: to a broker.

use super::BoxFuture;
use crate::session::LiveSession;
use bayeux::channel::ChannelName;
use bayeux::message::Message;
use bayeux::reply::Refusal;
use bytes::Bytes;
use bytestring::ByteString;
use std::sync::Arc;

/// A message that a session published on a broadcast or service channel.
#[derive(Debug)]
pub struct Publish {
    /// Who.
    pub session: Arc<LiveSession>,
    /// Where.
    pub channel: ChannelName,
    /// What.
    pub message: Message,
    /// W3C trace context: of the message's `ext`, else of the HTTP request.
    pub traceparent: Option<ByteString>,
}

/// What a publish reply says beyond `successful: true`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Fields of the reply's `ext`, raw JSON.
    pub ext: Vec<(ByteString, Bytes)>,
}

/// Where a publish goes.
pub enum PublishFlow {
    /// On to the subscribers here: plain Bayeux.
    Broadcast,
    /// Nowhere else; the reply is known.
    Done(Result<Accepted, Refusal>),
    /// Nowhere else; the reply will be known. The message has already taken its place in line: the next message of the
    /// session is processed meanwhile.
    Wait(BoxFuture<'static, Result<Accepted, Refusal>>),
}

/// What becomes of a subscription.
pub enum SubscribeFlow {
    /// It is made.
    Accept(Begin),
    /// It is not.
    Refuse(Refusal),
    /// It is made when this says so; the session's later messages wait behind it.
    Wait(BoxFuture<'static, Result<Begin, Refusal>>),
}

/// How a subscription that is made begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Begin {
    /// What is published from now on reaches the session.
    #[default]
    Now,
    /// Nothing reaches it yet. [`Listener::begins`] is called when the reply is on its way, and the listener says when
    /// publishes are to reach the session ([`crate::Server::reach`]).
    AfterReply,
}

/// Takes part in what sessions do: there is one per server, and it has the last word.
pub trait Listener: Send + Sync + 'static {
    /// Fields of `ext` in the reply to every handshake that makes a session: what clients may use.
    fn offers(&self) -> Vec<(ByteString, Bytes)> {
        Vec::new()
    }
    /// A publish on a broadcast channel.
    fn publish(&self, publish: &Publish) -> PublishFlow;
    /// A message on a service channel: `Ok` acknowledges it. An answer is delivered to the session later.
    fn service(&self, publish: &Publish) -> Result<(), Refusal>;
    /// A new subscription to a broadcast channel. Each accepted one is followed by one [`Listener::unsubscribed`].
    fn subscribe(&self, session: &Arc<LiveSession>, channel: &ChannelName, message: &Message) -> SubscribeFlow;
    /// A subscription that was accepted with [`Begin::AfterReply`] is made, and its reply is on its way.
    fn begins(&self, session: &Arc<LiveSession>, channel: &ChannelName) {
        let _ = (session, channel);
    }
    /// How far the session's subscriptions are, for `ext.replay` of a reply: raw JSON. Asked for those channels, or for all
    /// with a connect: before the messages are taken that go out with it, so that all up to there has gone out when the
    /// client reads it.
    fn positions(&self, session: &LiveSession, of: Option<&[ChannelName]>) -> Option<String> {
        let _ = (session, of);
        None
    }
    /// An accepted subscription is made; with [`Begin::Now`] what is published from now on reaches the session.
    fn subscribed(&self, session: &Arc<LiveSession>, channel: &ChannelName) {
        let _ = (session, channel);
    }
    /// A subscription has ended, by the client or with its session.
    fn unsubscribed(&self, session: &LiveSession, channel: &ChannelName);
}

/// Plain Bayeux: broadcasts go to subscribers, service messages are acknowledged and go nowhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainBayeux;

impl Listener for PlainBayeux {
    fn publish(&self, _: &Publish) -> PublishFlow {
        PublishFlow::Broadcast
    }
    fn service(&self, _: &Publish) -> Result<(), Refusal> {
        Ok(())
    }
    fn subscribe(&self, _: &Arc<LiveSession>, _: &ChannelName, _: &Message) -> SubscribeFlow {
        SubscribeFlow::Accept(Begin::Now)
    }
    fn unsubscribed(&self, _: &LiveSession, _: &ChannelName) {}
}
