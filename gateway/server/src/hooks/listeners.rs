//! Listeners: they are told what happens, and those of a channel may change or veto its messages.

use super::{Eventually, Flow};
use crate::channel::{ChannelSetup, ServerChannel};
use crate::session::LiveSession;
use bayeux::channel::ChannelName;
use bayeux::delivery::Delivery;
use bayeux::message::Message;
use bayeux::session::EndReason;
use std::sync::Arc;
use std::time::Duration;

/// Is told what happens to sessions, channels and subscriptions anywhere (CometD's `ChannelListener`, `SessionListener`
/// and `SubscriptionListener` of the server).
pub trait ServerListener: Send + Sync + 'static {
    /// A channel is about to be: by the server or by a client. What is set here holds before anybody can use it. Should two
    /// make the same channel at the same time, what the later one was set to is dropped.
    fn configure_channel(&self, channel: &ChannelName, setup: &mut ChannelSetup) {
        let _ = (channel, setup);
    }
    /// A channel is there.
    fn channel_added(&self, channel: &ServerChannel) {
        let _ = channel;
    }
    /// A channel that nobody has used for a while is gone.
    fn channel_removed(&self, channel: &ChannelName) {
        let _ = channel;
    }
    /// A session is there, by that handshake; its client does not know yet. The place to give it extensions, listeners
    /// and attributes.
    fn session_added(&self, session: &Arc<LiveSession>, handshake: &Message) {
        let _ = (session, handshake);
    }
    /// A session has ended; its subscriptions are about to.
    fn session_removed(&self, session: &LiveSession, reason: EndReason) {
        let _ = (session, reason);
    }
    /// A subscription has begun; by that message, or by the server.
    fn subscribed(&self, session: &Arc<LiveSession>, channel: &ChannelName, message: Option<&Message>) {
        let _ = (session, channel, message);
    }
    /// A subscription has ended, by the client, by the server or with its session.
    fn unsubscribed(&self, session: &LiveSession, channel: &ChannelName) {
        let _ = (session, channel);
    }
}

/// Stands at a channel or pattern, and hears of every channel that this reaches (CometD's `ServerChannel.MessageListener`)
/// and of its own subscribers (`SubscriptionListener`). A channel with listeners is not swept.
pub trait ChannelListener: Send + Sync + 'static {
    /// A message is published on `channel`, or sent to a service, or is a meta message (`/**` reaches these too): before
    /// anybody gets it. May change
    /// it, answer it, or veto it. The sender's next messages wait for it; nobody else does.
    fn message<'a>(
        &'a self,
        from: Option<&'a Arc<LiveSession>>,
        channel: &'a ChannelName,
        message: &'a mut Message,
    ) -> Eventually<'a, Flow> {
        let _ = (from, channel, message);
        Flow::Pass.into()
    }
    /// A subscription to the very channel or pattern has begun.
    fn subscribed(&self, session: &Arc<LiveSession>, channel: &ChannelName) {
        let _ = (session, channel);
    }
    /// A subscription to the very channel or pattern has ended.
    fn unsubscribed(&self, session: &LiveSession, channel: &ChannelName) {
        let _ = (session, channel);
    }
}

/// A channel's listener of a function that takes no time.
///
/// ```
/// use bayeux_server::hooks::{Flow, on_message};
/// let shout = on_message(|_from, _channel, message| {
///     if let Some(text) = message.data_as::<String>() {
///         message.set_data(&text.to_uppercase());
///     }
///     Flow::Pass
/// });
/// ```
pub fn on_message(
    f: impl Fn(Option<&Arc<LiveSession>>, &ChannelName, &mut Message) -> Flow + Send + Sync + 'static,
) -> impl ChannelListener {
    struct Function<F>(F);
    impl<F> ChannelListener for Function<F>
    where
        F: Fn(Option<&Arc<LiveSession>>, &ChannelName, &mut Message) -> Flow + Send + Sync + 'static,
    {
        fn message<'a>(
            &'a self,
            from: Option<&'a Arc<LiveSession>>,
            channel: &'a ChannelName,
            message: &'a mut Message,
        ) -> Eventually<'a, Flow> {
            (self.0)(from, channel, message).into()
        }
    }
    Function(f)
}

/// Is told what happens to one session (CometD's `ServerSessionListener`s). Called in the middle of a fan-out: quick, and
/// without calls that publish.
///
/// ```
/// use bayeux::session::EndReason;
/// use bayeux_server::LiveSession;
/// use bayeux_server::hooks::SessionListener;
///
/// struct Farewell;
///
/// impl SessionListener for Farewell {
///     fn removed(&self, session: &LiveSession, reason: EndReason) {
///         println!("{} has gone: {reason:?}", session.tag());
///     }
/// }
///
/// fn watch(session: &LiveSession) {
///     session.add_listener(Farewell);
/// }
/// ```
pub trait SessionListener: Send + Sync + 'static {
    /// The session is there (told to those that [`ServerListener::session_added`] gave it).
    fn added(&self, session: &Arc<LiveSession>, handshake: &Message) {
        let _ = (session, handshake);
    }
    /// The session has ended, and so have its subscriptions.
    fn removed(&self, session: &LiveSession, reason: EndReason) {
        let _ = (session, reason);
    }
    /// A message is about to be queued for the session. Vetoed, it does not get it.
    fn message(&self, from: Option<&Arc<LiveSession>>, session: &LiveSession, delivery: &Delivery) -> Flow {
        let _ = (from, session, delivery);
        Flow::Pass
    }
    /// A message was queued for the session.
    fn queued(&self, from: Option<&Arc<LiveSession>>, session: &LiveSession, delivery: &Delivery) {
        let _ = (from, session, delivery);
    }
    /// The session's queue is full, and its policy is to end the session for it. [`Flow::Veto`] gives the message up
    /// instead.
    fn queue_full(&self, session: &LiveSession, delivery: &Delivery) -> Flow {
        let _ = (session, delivery);
        Flow::Pass
    }
    /// A connect of the session is held from now on, for at most that long.
    fn suspended(&self, session: &LiveSession, timeout: Duration) {
        let _ = (session, timeout);
    }
    /// The connect that was held is answered, or its connection is lost.
    fn resumed(&self, session: &LiveSession) {
        let _ = session;
    }
}
