//! What an application adds to a session: extensions, listeners, attributes. A session without any pays a pointer.

use super::LiveSession;
use crate::attributes::Attributes;
use crate::hooks::{Chain, Flow, ListenerId, SessionExtension, SessionListener};
use bayeux::message::Message;
use bayeux::reply::Reply;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[derive(Default)]
pub(super) struct Extras {
    pub(super) extensions: Chain<dyn SessionExtension>,
    pub(super) listeners: Chain<dyn SessionListener>,
    attributes: Attributes,
}

impl LiveSession {
    pub(super) fn extras(&self) -> Option<Arc<Extras>> {
        self.inner.lock().extras.clone()
    }

    fn extras_or_new(&self) -> Arc<Extras> {
        Arc::clone(self.inner.lock().extras.get_or_insert_default())
    }

    /// It has extensions or listeners of its own.
    pub(crate) fn is_apart(&self) -> bool {
        self.apart.load(Ordering::Relaxed)
    }

    fn changed(&self, extras: &Extras) {
        self.apart.store(extras.extensions.any() || extras.listeners.any(), Ordering::Relaxed);
    }

    /// Adds an extension: to be removed by its id.
    pub fn add_extension(&self, extension: impl SessionExtension) -> ListenerId {
        let extras = self.extras_or_new();
        let id = extras.extensions.add(Arc::new(extension));
        self.changed(&extras);
        id
    }

    /// Adds a listener: to be removed by its id.
    pub fn add_listener(&self, listener: impl SessionListener) -> ListenerId {
        let extras = self.extras_or_new();
        let id = extras.listeners.add(Arc::new(listener));
        self.changed(&extras);
        id
    }

    /// Removes an extension or listener. False when it was not there.
    pub fn remove(&self, id: ListenerId) -> bool {
        let Some(extras) = self.extras() else { return false };
        let removed = extras.extensions.remove(id) || extras.listeners.remove(id);
        self.changed(&extras);
        removed
    }

    /// Keeps a value with the session, under that name.
    ///
    /// ```
    /// # use bayeux_server::{Server, ServerSettings};
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let server = Server::builder(ServerSettings::default()).build();
    /// # let local = server.local_session("docs").await.unwrap();
    /// let session = local.session();
    /// session.set_attribute("visits", 3_u32);
    /// assert_eq!(session.attribute::<u32>("visits").as_deref(), Some(&3));
    /// assert_eq!(session.attribute::<String>("visits"), None, "it is no text");
    /// # });
    /// ```
    pub fn set_attribute<T: Any + Send + Sync>(&self, name: &str, value: T) {
        self.extras_or_new().attributes.set(name, value);
    }

    /// The value kept under that name, if it is one of that type.
    pub fn attribute<T: Any + Send + Sync>(&self, name: &str) -> Option<Arc<T>> {
        self.extras()?.attributes.get(name)
    }

    /// Forgets the value kept under that name. False when there was none.
    pub fn remove_attribute(&self, name: &str) -> bool {
        self.extras().is_some_and(|extras| extras.attributes.remove(name))
    }

    /// The names of what is kept with it.
    pub fn attribute_names(&self) -> Vec<String> {
        self.extras().map(|extras| extras.attributes.names()).unwrap_or_default()
    }

    /// Whether it gets its own messages where it is subscribed; as `broadcast_to_publisher` of the server unless set.
    pub fn set_broadcast_to_publisher(&self, yes: bool) {
        self.quiet.store(!yes, Ordering::Relaxed);
    }

    /// It does not get its own messages.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Relaxed)
    }

    /// Its extensions, for a message of its own.
    pub(crate) fn incoming(self: &Arc<Self>, message: &mut Message) -> Flow {
        let Some(extras) = self.extras() else { return Flow::Pass };
        match extras.extensions.all().iter().any(|(_, extension)| extension.incoming(self, message).vetoed()) {
            true => Flow::Veto,
            false => Flow::Pass,
        }
    }

    /// Its extensions, for a reply to it.
    pub(crate) fn extend_reply(&self, reply: &mut Reply) -> Flow {
        let Some(extras) = self.extras() else { return Flow::Pass };
        match extras.extensions.all().iter().rev().any(|(_, extension)| extension.reply(self, reply).vetoed()) {
            true => Flow::Veto,
            false => Flow::Pass,
        }
    }

    /// Calls its listeners, if there are any.
    pub(crate) fn tell(&self, f: impl FnMut(&dyn SessionListener)) {
        if let Some(extras) = self.extras().filter(|_| self.is_apart()) {
            extras.listeners.each(f);
        }
    }

    /// A connect of the session is held, for at most that long, until this is dropped: its listeners are told, if there
    /// are any. Nothing is locked when it is made or dropped.
    pub(crate) fn suspend(self: &Arc<Self>, timeout: Duration) -> Option<Suspended> {
        self.is_apart().then(|| {
            self.tell(|listener| listener.suspended(self, timeout));
            Suspended(Arc::clone(self))
        })
    }
}

/// A connect that is held, of a session whose listeners were told.
pub(crate) struct Suspended(Arc<LiveSession>);

impl Drop for Suspended {
    fn drop(&mut self) {
        self.0.tell(|listener| listener.resumed(&self.0));
    }
}
