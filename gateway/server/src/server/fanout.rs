//! What goes out: past the server's extensions, to one session or to all that are subscribed.

use super::Server;
use crate::hooks::ChannelListener;
use crate::registry::Channel;
use crate::session::{LiveSession, Offered};
use bayeux::channel::ChannelName;
use bayeux::delivery::Delivery;
use bayeux::message::Message;
use bayeux::session::EndReason;
use std::sync::Arc;

impl Server {
    /// Sends a message to every session that is subscribed to its channel, once each; how many. What could not be
    /// queued ends its session ([`bayeux::queue::Overflow`]), which is counted.
    ///
    /// It passes the extensions, but no channel's listeners: for what is final, such as a broker's records.
    /// [`crate::ServerChannel::publish`] is the whole way.
    pub fn publish(&self, channel: &ChannelName, delivery: Delivery) -> u64 {
        match self.extended(None, None, Arc::new(self.lazily(channel, delivery))) {
            Some(delivery) => self.fan_out_shared(None, channel, None, &delivery),
            None => 0,
        }
    }

    /// The same for a message that a session once published, which came back some other way: where publishers do not get
    /// their own messages, it gets none. `tag`: the session's, as [`LiveSession::tag`] has it.
    pub fn publish_of(&self, tag: &str, channel: &ChannelName, delivery: Delivery) -> u64 {
        let matters = !self.settings().broadcast_to_publisher || self.channels().configured();
        let from = matters.then(|| self.channels().subscriber(channel, tag)).flatten();
        match self.extended(from.as_ref(), None, Arc::new(self.lazily(channel, delivery))) {
            Some(delivery) => self.fan_out_shared(from.as_ref(), channel, None, &delivery),
            None => 0,
        }
    }

    /// The server's extensions, for a message that goes out. False: vetoed.
    pub(crate) fn outgoing(
        &self,
        from: Option<&Arc<LiveSession>>,
        to: Option<&LiveSession>,
        message: &mut Message,
    ) -> bool {
        if !self.extensions().any() {
            return true;
        }
        let all = self.extensions().all();
        !all.iter().rev().any(|(_, extension)| extension.outgoing(from, to, message).vetoed())
    }

    /// The same for one that is serialized already.
    pub(crate) fn extended(
        &self,
        from: Option<&Arc<LiveSession>>,
        to: Option<&LiveSession>,
        delivery: Arc<Delivery>,
    ) -> Option<Arc<Delivery>> {
        if !self.extensions().any() {
            return Some(delivery);
        }
        let mut message = delivery.message().clone();
        if !self.outgoing(from, to, &mut message) {
            return None;
        }
        Some(if message == *delivery.message() { delivery } else { Arc::new(delivery.changed(&message)) })
    }

    pub(crate) fn fan_out(
        &self,
        from: Option<&Arc<LiveSession>>,
        channel: &ChannelName,
        there: Option<Arc<Channel>>,
        delivery: Delivery,
    ) -> u64 {
        self.fan_out_shared(from, channel, there, &Arc::new(self.lazily(channel, delivery)))
    }

    /// [`Server::publish_of`] for a message that is kept elsewhere too, and is as lazy as it should be ([`Server::lazily`]).
    /// Gives back the sessions whose queue was full, instead of ending them.
    pub fn publish_shared(
        &self,
        tag: Option<&str>,
        channel: &ChannelName,
        delivery: &Arc<Delivery>,
    ) -> Vec<Arc<LiveSession>> {
        let matters = !self.settings().broadcast_to_publisher || self.channels().configured();
        let from = tag.filter(|_| matters).and_then(|tag| self.channels().subscriber(channel, tag));
        match self.extended(from.as_ref(), None, Arc::clone(delivery)) {
            Some(delivery) => self.offer_all(from.as_ref(), channel, None, &delivery).1,
            None => Vec::new(),
        }
    }

    /// From now on what is published on that channel or pattern, to which the session is subscribed, reaches it: for
    /// subscriptions that were accepted with [`crate::hooks::Begin::AfterReply`], or [`Server::unreach`]ed.
    pub fn reach(&self, session: &Arc<LiveSession>, channel: &ChannelName) {
        let _one_at_a_time = session.subscribing();
        if session.subscribed(channel) {
            self.channels().subscribe(channel, session, || self.setup_of(channel));
        }
    }

    /// What is published on that channel or pattern does not reach the session until [`Server::reach`], although it is
    /// subscribed.
    pub fn unreach(&self, session: &LiveSession, channel: &ChannelName) {
        let _one_at_a_time = session.subscribing();
        self.channels().unsubscribe(channel, session.key());
        session.forget_overflow();
    }

    fn fan_out_shared(
        &self,
        from: Option<&Arc<LiveSession>>,
        channel: &ChannelName,
        there: Option<Arc<Channel>>,
        delivery: &Arc<Delivery>,
    ) -> u64 {
        let (queued, full) = self.offer_all(from, channel, there, delivery);
        for session in &full {
            self.end_session(session, EndReason::Overflow);
        }
        queued
    }

    /// How many it was queued for, and whose queue was full.
    fn offer_all(
        &self,
        from: Option<&Arc<LiveSession>>,
        channel: &ChannelName,
        there: Option<Arc<Channel>>,
        delivery: &Arc<Delivery>,
    ) -> (u64, Vec<Arc<LiveSession>>) {
        let mut reached = self.channels().publish(channel, there, from.map(|from| &**from), delivery, self.flusher());
        for session in std::mem::take(&mut reached.apart) {
            match session.offer_apart(from, delivery, self.flusher()) {
                Offered::Full => reached.full.push(session),
                Offered::Vetoed => reached.count -= 1,
                Offered::Taken | Offered::Apart => {}
            }
        }
        self.flusher().kick();
        let queued = reached.count - reached.full.len() as u64;
        self.stats().messages_queued.add(queued);
        (queued, reached.full)
    }

    /// As lazy as the channel: where any channel or pattern that reaches it is lazy, for as long as the channel itself says
    /// (CometD's `ServerSessionImpl.flushLazy`).
    pub fn lazily(&self, channel: &ChannelName, delivery: Delivery) -> Delivery {
        if !self.channels().configured() {
            return delivery;
        }
        let reaching = self.channels().reaching(channel);
        if reaching.iter().all(|setup| setup.lazy.is_none()) || delivery.lazy().is_some() {
            return delivery;
        }
        let own = self.channels().get(channel.as_str()).and_then(|channel| channel.setup()?.lazy);
        delivery.with_lazy(Some(own.unwrap_or_default()))
    }

    /// Calls the listeners of this very channel.
    pub(crate) fn tell_channel(&self, channel: &ChannelName, f: impl Fn(&dyn ChannelListener)) {
        if self.channels().configured()
            && let Some(setup) = self.channels().get(channel.as_str()).and_then(|channel| channel.setup())
        {
            setup.listeners.iter().for_each(|(_, listener)| f(&**listener));
        }
    }

    /// A subscription has ended: whoever wants to know is told.
    pub(crate) fn left(&self, session: &LiveSession, channel: &ChannelName) {
        self.tell_channel(channel, |listener| listener.unsubscribed(session, channel));
        self.listeners().each(|listener| listener.unsubscribed(session, channel));
        self.listener().unsubscribed(session, channel);
    }
}
