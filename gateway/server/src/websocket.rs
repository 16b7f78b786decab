//! The WebSocket transport: pure framing and compression, the upgrade, and the task that drives a connection.

pub(crate) mod connection;
pub mod deflate;
pub mod frame;
mod io;
pub(crate) mod outlet;
pub mod upgrade;
