//! A Bayeux client for the terminal and for scripts: the commands `publish`, `subscribe` and `call`.
//!
//! [`Client`] is the library under them. One task (`session.rs`) owns the session with the server: handshake, the connect
//! loop by the server's advice, a new handshake with all subscriptions when the server has forgotten the session. It
//! speaks through a [`link`], a WebSocket or long-polling, of which it sees only channels of texts.

mod commands;
mod error;
mod handle;
mod link;
mod long_polling;
mod options;
mod request;
mod session;
mod subscriptions;
mod websocket;
mod wire;

pub use commands::{CallArgs, PublishArgs, SubscribeArgs, call, publish, subscribe};

use error::Error;
use options::{Options, ServerArgs, TransportKind};

#[cfg(test)]
mod tests;
