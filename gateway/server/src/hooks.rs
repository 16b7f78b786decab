//! Where others take part in what the server does: everything that somebody who embeds it can plug in.
//!
//! A message that a session sends passes, in CometD's order:
//! 1. validity: is there a good channel, a good id?
//! 2. the server's extensions ([`Extension::incoming`]), then the session's ([`SessionExtension::incoming`]);
//! 3. is the session known?
//! 4. the [`Policy`] and the [`Authorizer`]s of the channel and of the patterns that reach it;
//! 5. the [`ChannelListener`]s, from `/**` to the channel itself: the last point at which it may be changed;
//! 6. the [`Listener`], which may take it elsewhere (the bridge to brokers is one);
//! 7. the server's extensions on its way out ([`Extension::outgoing`]), then it is serialized, once;
//! 8. for each subscriber its session's extensions ([`SessionExtension::outgoing`]) and listeners, then its queue;
//! 9. its reply, through [`Extension::reply`] and [`SessionExtension::reply`].
//!
//! Extensions and listeners may say [`Flow::Veto`]: the sender is answered `404::message_deleted`. What may take its time
//! returns an [`Eventually`]; only the session that asks waits for it. None of it costs anything where nobody plugs in.

mod authorizer;
mod chain;
mod eventually;
mod extension;
mod filter;
mod listeners;
mod policy;
mod takeover;

pub use authorizer::{Authorizer, Grant, Verdict, authorizer};
pub use chain::ListenerId;
pub use eventually::{BoxFuture, Eventually};
pub use extension::{Extension, Flow, SessionExtension};
pub use filter::{Abort, DataFilter, Filters, JsonFilter, NoMarkup, NoScripts, RegexFilter, strings};
pub use listeners::{ChannelListener, ServerListener, SessionListener, on_message};
pub use policy::{AllowAll, Attempt, Handshake, Operation, Policy};
pub use takeover::{Accepted, Listener, PlainBayeux, Publish, PublishFlow, SubscribeFlow};

pub(crate) use authorizer::ask;
pub(crate) use chain::Chain;
