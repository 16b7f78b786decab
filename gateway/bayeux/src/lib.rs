//! The Bayeux 1.0 protocol as pure code.
//!
//! Nothing here opens a socket, reads a clock or starts a task: what needs the time is given it, so that the whole
//! protocol is tested in microseconds. `docs/architecture.md` of the project shows who drives it.

pub mod channel;
pub mod delivery;
pub mod error;
pub mod message;
pub mod queue;
pub mod reply;
pub mod session;
pub mod z85;
