//! Extensions: they see every message on its way in and out, may change it, and may veto it.

use crate::session::LiveSession;
use bayeux::message::Message;
use bayeux::reply::Reply;
use std::sync::Arc;

/// Whether a message goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// On to the next.
    Pass,
    /// It ends here: its sender is answered `404::message_deleted`.
    Veto,
}

impl Flow {
    /// Whether it ends here.
    pub fn vetoed(self) -> bool {
        self == Flow::Veto
    }
}

/// Extends the server (CometD's `BayeuxServer.Extension`): sees the messages of all sessions, meta messages too. On the
/// way in extensions are called in the order they were added, on the way out in reverse.
///
/// ```
/// use bayeux::message::Message;
/// use bayeux_server::hooks::{Extension, Flow};
/// use bayeux_server::{LiveSession, Server, ServerSettings};
/// use std::sync::Arc;
///
/// /// Says who published what.
/// struct Signed;
///
/// impl Extension for Signed {
///     fn outgoing(&self, from: Option<&Arc<LiveSession>>, _: Option<&LiveSession>, message: &mut Message) -> Flow {
///         if let Some(user) = from.and_then(|session| session.identity().user.as_ref()) {
///             message.set_ext("from", &**user);
///         }
///         Flow::Pass
///     }
/// }
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let server = Server::builder(ServerSettings::default()).extension(Signed).build();
/// # });
/// ```
pub trait Extension: Send + Sync + 'static {
    /// A message has come, from that session if it has one.
    fn incoming(&self, from: Option<&Arc<LiveSession>>, message: &mut Message) -> Flow {
        let _ = (from, message);
        Flow::Pass
    }
    /// A message goes out: to that session alone, or, before it is serialized for all of them, to the subscribers.
    fn outgoing(&self, from: Option<&Arc<LiveSession>>, to: Option<&LiveSession>, message: &mut Message) -> Flow {
        let _ = (from, to, message);
        Flow::Pass
    }
    /// A reply goes out. Vetoed, the client gets none.
    fn reply(&self, to: Option<&LiveSession>, reply: &mut Reply) -> Flow {
        let _ = (to, reply);
        Flow::Pass
    }
}

/// Extends one session (CometD's `ServerSession.Extension`): sees its messages after the server's extensions on the way
/// in and after them on the way out. It is called while a message is fanned out, so it should be quick.
///
/// ```
/// use bayeux::message::Message;
/// use bayeux_server::LiveSession;
/// use bayeux_server::hooks::{Flow, SessionExtension};
/// use std::sync::Arc;
///
/// /// Whose session this is does not want to hear of one topic.
/// struct Without(&'static str);
///
/// impl SessionExtension for Without {
///     fn outgoing(&self, _: Option<&Arc<LiveSession>>, _: &LiveSession, message: &mut Message) -> Flow {
///         match message.data_as::<String>() {
///             Some(text) if text.contains(self.0) => Flow::Veto,
///             _ => Flow::Pass,
///         }
///     }
/// }
///
/// fn spare(session: &LiveSession) {
///     session.add_extension(Without("football"));
/// }
/// ```
pub trait SessionExtension: Send + Sync + 'static {
    /// The session has sent a message.
    fn incoming(&self, session: &Arc<LiveSession>, message: &mut Message) -> Flow {
        let _ = (session, message);
        Flow::Pass
    }
    /// A message goes to the session. When it is changed, this session gets a copy of its own. Vetoed, this session does
    /// not get it, and nobody is told.
    fn outgoing(&self, from: Option<&Arc<LiveSession>>, session: &LiveSession, message: &mut Message) -> Flow {
        let _ = (from, session, message);
        Flow::Pass
    }
    /// A reply goes to the session. Vetoed, it gets none.
    fn reply(&self, session: &LiveSession, reply: &mut Reply) -> Flow {
        let _ = (session, reply);
        Flow::Pass
    }
}
