//! A Bayeux server to embed: sessions, channels, fan-out, and the WebSocket, long-polling and callback-polling
//! transports.
//!
//! [`Server::new`] makes one, [`http::router`] gives the axum routes and [`listener::serve`] an accept loop tuned for
//! many idle connections. What happens to messages beyond plain Bayeux is for [`hooks`]: the policy decides who may
//! do what, a listener takes publishes and services elsewhere.
//!
//! The protocol itself is the crate `bayeux`: here is what executes it.

mod browsers;
mod expiry;
mod flush;
pub mod hooks;
pub mod http;
pub mod listener;
mod process;
mod registry;
mod server;
mod session;
mod settings;
pub mod stats;
pub mod tls;
pub mod websocket;

pub use server::Server;
pub use session::{Identity, LiveSession};
pub use settings::{
    BrowserCookie, CallbackParameter, Extensions, HttpOptions, Origins, SameSite, ServerSettings, WebSocketOptions,
};
