//! A Bayeux server to embed: sessions, channels, fan-out, and the WebSocket, long-polling and callback-polling
//! transports.
//!
//! [`Server::builder`] makes one, [`http::router`] gives the axum routes and [`listener::serve`] an accept loop tuned for
//! many idle connections. What happens to messages beyond plain Bayeux is for [`hooks`]: policy and authorizers decide who
//! may do what, extensions and listeners see messages and may change them, a bridge takes publishes elsewhere.
//! [`ServerChannel`] is the server's hand on a channel, [`LiveSession`] on a client, and a [`LocalSession`] is a client of
//! its own.
//!
//! The protocol itself is the crate `bayeux`: here is what executes it.

mod attributes;
mod browsers;
mod builder;
mod channel;
mod expiry;
mod flush;
pub mod hooks;
pub mod http;
mod lazy;
pub mod listener;
mod local;
mod process;
mod registry;
mod server;
mod session;
mod settings;
pub mod stats;
mod timestamp;
pub mod tls;
pub mod websocket;

pub use builder::ServerBuilder;
pub use channel::{ChannelSetup, PublishError, ServerChannel};
pub use local::LocalSession;
pub use server::Server;
pub use session::{Handed, Identity, LiveSession};
pub use settings::{
    BrowserCookie, CallbackParameter, Extensions, HttpOptions, Origins, SameSite, ServerSettings, WebSocketOptions,
};
pub use timestamp::Timestamp;
