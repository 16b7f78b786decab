//! Where others take part in the processing of a message.
//!
//! The order is CometD's: validity, then is the session known, then the [`Policy`], then the [`Listener`] (the last
//! that may take a message elsewhere), then the fan-out to subscribers.

use crate::session::{Identity, LiveSession};
use bayeux::channel::ChannelName;
use bayeux::message::Message;
use bayeux::reply::Refusal;
use bytes::Bytes;
use bytestring::ByteString;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// A boxed future that owns all it needs.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// A handshake, as the policy sees it.
#[derive(Debug)]
pub struct Handshake<'a> {
    /// The message: credentials are in its `ext`.
    pub message: &'a Message,
    /// The headers of the HTTP request that carries it, or that opened the WebSocket.
    pub headers: &'a ::http::HeaderMap,
}

/// Who may do what. Every verb may take its time; only the session that asks waits for it.
pub trait Policy: Send + Sync + 'static {
    /// May this client have a session, and as whom?
    fn handshake(&self, handshake: &Handshake<'_>) -> BoxFuture<Result<Identity, Refusal>>;
    /// May it subscribe there? Asked for broadcast channels.
    fn subscribe(&self, session: &LiveSession, channel: &ChannelName) -> Result<(), Refusal>;
    /// May it publish there? Asked for broadcast and service channels.
    fn publish(&self, session: &LiveSession, channel: &ChannelName) -> Result<(), Refusal>;
}

/// Allows everything to everybody.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllowAll;

impl Policy for AllowAll {
    fn handshake(&self, _: &Handshake<'_>) -> BoxFuture<Result<Identity, Refusal>> {
        Box::pin(std::future::ready(Ok(Identity::default())))
    }
    fn subscribe(&self, _: &LiveSession, _: &ChannelName) -> Result<(), Refusal> {
        Ok(())
    }
    fn publish(&self, _: &LiveSession, _: &ChannelName) -> Result<(), Refusal> {
        Ok(())
    }
}

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
    Wait(BoxFuture<Result<Accepted, Refusal>>),
}

/// What becomes of a subscription.
pub enum SubscribeFlow {
    /// It is made.
    Accept,
    /// It is not.
    Refuse(Refusal),
    /// It is made when this says so; the session's later messages wait behind it.
    Wait(BoxFuture<Result<(), Refusal>>),
}

/// Takes part in what sessions do.
pub trait Listener: Send + Sync + 'static {
    /// A publish on a broadcast channel.
    fn publish(&self, publish: &Publish) -> PublishFlow;
    /// A message on a service channel: `Ok` acknowledges it. An answer is delivered to the session later.
    fn service(&self, publish: &Publish) -> Result<(), Refusal>;
    /// A new subscription to a broadcast channel. Each accepted one is followed by one [`Listener::unsubscribed`].
    fn subscribe(&self, session: &Arc<LiveSession>, channel: &ChannelName, message: &Message) -> SubscribeFlow;
    /// An accepted subscription has begun: what is published from now on reaches the session.
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
        SubscribeFlow::Accept
    }
    fn unsubscribed(&self, _: &LiveSession, _: &ChannelName) {}
}
