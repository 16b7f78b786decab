//! What a connector or a request handler implements.
//!
//! A *connector* speaks to one broker: it stores records ([`Connector::publish`]) and hands over the records of
//! topics ([`Connector::subscribe`]). It never sees a Bayeux session or channel, and nothing above it names a broker:
//! what differs between brokers is told by [`Capabilities`] and [`TopicSyntax`].
//!
//! A *request handler* answers one request ([`RequestHandler::call`]).
//!
//! Both are built in two steps, so that a config can be checked without a socket: `plan` is pure and finds every
//! mistake in the settings, `connect` does the I/O. A connector heals by itself: once `connect` has returned, the
//! broker may come and go, and [`Connector::health`] tells the truth about it.

mod connector_trait;
mod error;
mod factory;
mod handler;
mod health;
mod position;
mod record;
mod secret;
mod topic;

#[cfg(feature = "conformance")]
pub mod conformance;

pub use connector_trait::{BoxFuture, Capabilities, Confirm, Connector, Ready, Start, Subscription, SubscriptionGuard};
pub use error::{ConnectError, PublishError, SettingsError, SubscribeError};
pub use factory::{
    ConnectorFactory, ConnectorKind, Context, HandlerContext, HandlerFactory, HandlerKind, HandlerPlan, Plan,
};
pub use handler::{Caller, HandlerError, Request, RequestHandler, Response};
pub use health::{Health, HealthCell, State};
pub use position::{Cursor, Log, NotAPosition, Place, Position, Seen};
pub use record::{Event, Headers, Inbound, Outbound};
pub use secret::{ByteSize, Duration, Secret, TlsSettings};
pub use topic::{FilterToken, TopicError, TopicFilter, TopicSyntax};
