//! Channels as whoever embeds the server sees them.

use crate::attributes::Attributes;
use crate::hooks::{Authorizer, ChannelListener, Flow, ListenerId, on_message};
use crate::process;
use crate::registry::Channel;
use crate::server::Server;
use crate::session::LiveSession;
use bayeux::channel::{ChannelError, ChannelName, Class};
use bayeux::message::Message;
use bayeux::reply::Refusal;
use bytestring::ByteString;
use serde::Serialize;
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

/// How the server has set a channel or pattern up.
#[derive(Clone)]
pub struct ChannelSetup {
    persistent: bool,
    /// How long messages may wait; zero: for `max_lazy_timeout`.
    pub(crate) lazy: Option<Duration>,
    pub(crate) broadcast_to_publisher: bool,
    pub(crate) listeners: Vec<(ListenerId, Arc<dyn ChannelListener>)>,
    pub(crate) authorizers: Vec<(ListenerId, Arc<dyn Authorizer>)>,
    pub(crate) attributes: Arc<Attributes>,
}

impl Default for ChannelSetup {
    fn default() -> Self {
        ChannelSetup {
            persistent: false,
            lazy: None,
            broadcast_to_publisher: true,
            listeners: Vec::new(),
            authorizers: Vec::new(),
            attributes: Arc::default(),
        }
    }
}

impl std::fmt::Debug for ChannelSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChannelSetup")
            .field("persistent", &self.persistent)
            .field("lazy", &self.lazy)
            .field("broadcast_to_publisher", &self.broadcast_to_publisher)
            .field("listeners", &self.listeners.len())
            .field("authorizers", &self.authorizers.len())
            .field("attributes", &self.attributes)
            .finish()
    }
}

impl ChannelSetup {
    /// The channel stays, whether somebody uses it or not.
    pub fn persistent(&mut self, persistent: bool) -> &mut Self {
        self.persistent = persistent;
        self
    }

    /// Messages on the channel may wait until something more urgent goes to the session (CometD's lazy channels).
    pub fn lazy(&mut self, lazy: bool) -> &mut Self {
        self.lazy = lazy.then_some(Duration::ZERO);
        self
    }

    /// The same, for at most that long (whole milliseconds) rather than `max_lazy_timeout`.
    pub fn lazy_timeout(&mut self, timeout: Duration) -> &mut Self {
        self.lazy = Some(timeout);
        self
    }

    /// Whether a publisher that is subscribed to this channel or pattern gets its own messages; true unless set.
    pub fn broadcast_to_publisher(&mut self, yes: bool) -> &mut Self {
        self.broadcast_to_publisher = yes;
        self
    }

    /// With a listener.
    pub fn listener(&mut self, listener: impl ChannelListener) -> ListenerId {
        let id = ListenerId::next();
        self.listeners.push((id, Arc::new(listener)));
        id
    }

    /// With an authorizer.
    pub fn authorizer(&mut self, authorizer: impl Authorizer) -> ListenerId {
        let id = ListenerId::next();
        self.authorizers.push((id, Arc::new(authorizer)));
        id
    }

    /// With an attribute.
    pub fn attribute<T: Any + Send + Sync>(&mut self, name: &str, value: T) -> &mut Self {
        self.attributes.set(name, value);
        self
    }

    /// Something here keeps the channel from being swept.
    pub(crate) fn keeps(&self) -> bool {
        self.persistent || !self.listeners.is_empty() || !self.authorizers.is_empty()
    }
}

/// Why a server's own publish reached nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Meta channels and patterns are no places to publish to.
    #[error("a message is published on a broadcast or service channel, not on a pattern or meta channel")]
    Channel,
    /// A listener or extension vetoed it.
    #[error("a listener or an extension vetoed the message")]
    Vetoed,
}

/// A channel or pattern of a server: cheap to clone. It names the channel; what is asked of it is made if it is not there
/// (any more), so a channel whose settings are to last has to be [persistent](ServerChannel::set_persistent), or have a
/// listener or authorizer.
///
/// ```
/// use bayeux_server::hooks::Flow;
/// use bayeux_server::{Server, ServerSettings};
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let server = Server::builder(ServerSettings::default()).build();
/// let room = server.channel("/chat/room")?;
/// room.set_persistent(true);
/// room.set_attribute("topic", String::from("all and sundry"));
/// room.on_message(|_from, _channel, message| match message.data_as::<String>() {
///     Some(text) if !text.is_empty() => Flow::Pass,
///     _ => Flow::Veto,
/// });
/// assert_eq!(room.publish("hello").await, Ok(0), "nobody is there");
/// assert_eq!(*room.attribute::<String>("topic").unwrap(), "all and sundry");
/// # Ok::<(), bayeux::channel::ChannelError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct ServerChannel {
    server: Server,
    name: ChannelName,
}

impl Server {
    /// The channel or pattern of that name; it comes into being when something is asked of it.
    ///
    /// # Errors
    /// When the name is none.
    pub fn channel(&self, name: impl Into<ByteString>) -> Result<ServerChannel, ChannelError> {
        Ok(ServerChannel { server: self.clone(), name: ChannelName::parse(&name.into())? })
    }

    /// The channel of that name, and whether it was made by this call. If so, it was set up by `init` before anybody could
    /// use it (CometD's `createChannelIfAbsent`). Should two make it at the same time, the settings of one are dropped.
    ///
    /// # Errors
    /// When the name is none.
    pub fn create_channel(
        &self,
        name: impl Into<ByteString>,
        init: impl FnOnce(&mut ChannelSetup),
    ) -> Result<(ServerChannel, bool), ChannelError> {
        let channel = self.channel(name)?;
        let (_, made) = self.enter_with(&channel.name, Some(init));
        Ok((channel, made))
    }

    /// All channels and patterns that are there at the moment.
    pub fn channels_now(&self) -> Vec<ServerChannel> {
        let handle = |name| ServerChannel { server: self.clone(), name };
        self.channels().names().into_iter().map(handle).collect()
    }

    pub(crate) fn enter(&self, name: &ChannelName) -> Arc<Channel> {
        self.enter_with(name, None::<fn(&mut ChannelSetup)>).0
    }

    fn enter_with(&self, name: &ChannelName, init: Option<impl FnOnce(&mut ChannelSetup)>) -> (Arc<Channel>, bool) {
        let (channel, made) = self.channels().ensure(name, || {
            let mut setup = self.setup_of(name);
            if let Some(init) = init {
                init(setup.get_or_insert_default());
            }
            setup
        });
        if made {
            let handle = || ServerChannel { server: self.clone(), name: name.clone() };
            self.listeners().each(|listener| listener.channel_added(&handle()));
        }
        (channel, made)
    }

    /// How the server's listeners set up a channel that is about to be made.
    pub(crate) fn setup_of(&self, name: &ChannelName) -> Option<ChannelSetup> {
        self.listeners().any().then(|| {
            let mut setup = ChannelSetup::default();
            self.listeners().each(|listener| listener.configure_channel(name, &mut setup));
            setup
        })
    }
}

impl ServerChannel {
    /// Its name.
    pub fn name(&self) -> &ChannelName {
        &self.name
    }

    /// Whether it is there at the moment.
    pub fn exists(&self) -> bool {
        self.server.channels().get(self.name.as_str()).is_some()
    }

    /// The sessions that are subscribed to this very channel or pattern.
    pub fn subscribers(&self) -> Vec<Arc<LiveSession>> {
        self.server.channels().get(self.name.as_str()).map(|channel| channel.subscribers()).unwrap_or_default()
    }

    fn configure<T>(&self, change: impl FnOnce(&mut ChannelSetup) -> T) -> T {
        let channel = self.server.enter(&self.name);
        self.server.channels().configure(&channel, change)
    }

    fn setup(&self) -> Option<Arc<ChannelSetup>> {
        self.server.channels().get(self.name.as_str())?.setup()
    }

    /// Changes several settings at once.
    pub fn update(&self, change: impl FnOnce(&mut ChannelSetup)) {
        self.configure(change);
    }

    /// See [`ChannelSetup::persistent`].
    pub fn set_persistent(&self, persistent: bool) {
        self.configure(|setup| setup.persistent = persistent);
    }

    /// Whether it is persistent.
    pub fn is_persistent(&self) -> bool {
        self.setup().is_some_and(|setup| setup.persistent)
    }

    /// See [`ChannelSetup::lazy`].
    pub fn set_lazy(&self, lazy: bool) {
        self.configure(|setup| setup.lazy = lazy.then_some(Duration::ZERO));
    }

    /// See [`ChannelSetup::lazy_timeout`].
    pub fn set_lazy_timeout(&self, timeout: Duration) {
        self.configure(|setup| setup.lazy = Some(timeout));
    }

    /// Whether it is lazy.
    pub fn is_lazy(&self) -> bool {
        self.setup().is_some_and(|setup| setup.lazy.is_some())
    }

    /// See [`ChannelSetup::broadcast_to_publisher`].
    pub fn set_broadcast_to_publisher(&self, yes: bool) {
        self.configure(|setup| setup.broadcast_to_publisher = yes);
    }

    /// Adds a listener: to be removed by its id.
    pub fn add_listener(&self, listener: impl ChannelListener) -> ListenerId {
        self.configure(|setup| setup.listener(listener))
    }

    /// Adds a listener of a function: see [`on_message`].
    pub fn on_message(
        &self,
        f: impl Fn(Option<&Arc<LiveSession>>, &ChannelName, &mut Message) -> Flow + Send + Sync + 'static,
    ) -> ListenerId {
        self.add_listener(on_message(f))
    }

    /// Adds an authorizer: to be removed by its id.
    pub fn add_authorizer(&self, authorizer: impl Authorizer) -> ListenerId {
        self.configure(|setup| setup.authorizer(authorizer))
    }

    /// Removes a listener or authorizer. False when it was not there.
    pub fn remove(&self, id: ListenerId) -> bool {
        let Some(channel) = self.server.channels().get(self.name.as_str()) else { return false };
        self.server.channels().configure(&channel, |setup| {
            let before = setup.listeners.len() + setup.authorizers.len();
            setup.listeners.retain(|(other, _)| *other != id);
            setup.authorizers.retain(|(other, _)| *other != id);
            setup.listeners.len() + setup.authorizers.len() < before
        })
    }

    /// Keeps a value with the channel, under that name.
    pub fn set_attribute<T: Any + Send + Sync>(&self, name: &str, value: T) {
        self.configure(|setup| setup.attributes.set(name, value));
    }

    /// The value kept under that name, if it is one of that type.
    pub fn attribute<T: Any + Send + Sync>(&self, name: &str) -> Option<Arc<T>> {
        self.setup()?.attributes.get(name)
    }

    /// Forgets the value kept under that name. False when there was none.
    pub fn remove_attribute(&self, name: &str) -> bool {
        self.setup().is_some_and(|setup| setup.attributes.remove(name))
    }

    /// The names of what is kept with it.
    pub fn attribute_names(&self) -> Vec<String> {
        self.setup().map(|setup| setup.attributes.names()).unwrap_or_default()
    }

    /// Publishes to the subscribers, as nobody in particular. How many sessions got it.
    ///
    /// It passes the listeners of the channel and the extensions, as a client's publish does, but neither the policy nor
    /// the one [`crate::hooks::Listener`] that takes publishes elsewhere: a server that wants its message in a broker
    /// publishes by a [`crate::LocalSession`], or there.
    ///
    /// # Errors
    /// When it was vetoed, or the channel is no place to publish to.
    pub async fn publish(&self, data: impl Serialize) -> Result<u64, PublishError> {
        let message = Message::new(self.name.as_bytestring().clone(), &data);
        self.publish_message(None, message).await
    }

    /// The same, for a whole message (whose `channel` is set), as that session.
    ///
    /// # Errors
    /// As [`ServerChannel::publish`].
    pub async fn publish_message(
        &self,
        from: Option<&Arc<LiveSession>>,
        mut message: Message,
    ) -> Result<u64, PublishError> {
        if self.name.is_wild() || self.name.class() == Class::Meta {
            return Err(PublishError::Channel);
        }
        message.channel = Some(self.name.as_bytestring().clone());
        process::publish_from_here(&self.server, from, &self.name, message).await.ok_or(PublishError::Vetoed)
    }

    /// Subscribes a session, without asking policy or authorizers. False when it was subscribed.
    ///
    /// # Errors
    /// When the session has ended or has too many subscriptions, the channel is no broadcast channel, or its records
    /// cannot be had.
    pub async fn subscribe(&self, session: &Arc<LiveSession>) -> Result<bool, Refusal> {
        let made = process::join(&self.server, session, &self.name, None).await?;
        if made == process::Joined::Later {
            self.server.listener().begins(session, &self.name);
        }
        Ok(made != process::Joined::Before)
    }

    /// Ends a session's subscription to this very channel or pattern. False when there was none.
    pub fn unsubscribe(&self, session: &LiveSession) -> bool {
        process::leave(&self.server, session, &self.name)
    }
}
