//! Putting a server together.

use crate::hooks::{AllowAll, Extension, Listener, ListenerId, PlainBayeux, Policy, ServerListener};
use crate::server::Server;
use crate::settings::ServerSettings;
use std::sync::Arc;

/// A server to be: see [`Server::builder`].
pub struct ServerBuilder {
    settings: ServerSettings,
    policy: Arc<dyn Policy>,
    bridge: Arc<dyn Listener>,
    extensions: Vec<Arc<dyn Extension>>,
    listeners: Vec<Arc<dyn ServerListener>>,
}

impl Server {
    /// A server with these settings, which allows everything and is plain Bayeux unless told otherwise.
    ///
    /// ```
    /// use bayeux_server::hooks::{AllowAll, ServerListener};
    /// use bayeux_server::{LiveSession, Server, ServerSettings};
    /// use bayeux::message::Message;
    /// use std::sync::Arc;
    ///
    /// struct Greeter;
    /// impl ServerListener for Greeter {
    ///     fn session_added(&self, session: &Arc<LiveSession>, _: &Message) {
    ///         println!("welcome, {}", session.tag());
    ///     }
    /// }
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let server = Server::builder(ServerSettings::default()).policy(AllowAll).listener(Greeter).build();
    /// let routes = bayeux_server::http::router(server, "/cometd");
    /// # });
    /// ```
    pub fn builder(settings: ServerSettings) -> ServerBuilder {
        ServerBuilder {
            settings,
            policy: Arc::new(AllowAll),
            bridge: Arc::new(PlainBayeux),
            extensions: Vec::new(),
            listeners: Vec::new(),
        }
    }

    /// Adds an extension, behind the others: to be removed by its id.
    pub fn add_extension(&self, extension: impl Extension) -> ListenerId {
        self.extensions().add(Arc::new(extension))
    }

    /// Adds a listener: to be removed by its id.
    pub fn add_listener(&self, listener: impl ServerListener) -> ListenerId {
        self.listeners().add(Arc::new(listener))
    }

    /// Removes an extension or listener. False when it was not there.
    pub fn remove(&self, id: ListenerId) -> bool {
        self.extensions().remove(id) || self.listeners().remove(id)
    }
}

impl ServerBuilder {
    /// Who may do what.
    pub fn policy(mut self, policy: impl Policy) -> Self {
        self.policy = Arc::new(policy);
        self
    }

    /// Sees every message.
    pub fn extension(mut self, extension: impl Extension) -> Self {
        self.extensions.push(Arc::new(extension));
        self
    }

    /// Is told of sessions, channels and subscriptions.
    pub fn listener(mut self, listener: impl ServerListener) -> Self {
        self.listeners.push(Arc::new(listener));
        self
    }

    /// Has the last word about publishes and subscriptions, and may take them to a broker.
    pub fn bridge(mut self, bridge: impl Listener) -> Self {
        self.bridge = Arc::new(bridge);
        self
    }

    /// The server with its background tasks; inside a tokio runtime.
    pub fn build(self) -> Server {
        Server::start(self.settings, self.policy, self.bridge, self.extensions, self.listeners)
    }
}
