//! Connector: an append-only log per topic in this process.
//!
//! For the quickstart, for tests and for embedding: it needs no broker, and still has what a log gives: positions,
//! replay, many readers at their own speed. Nothing survives the process.
//!
//! * **Positions** are numbers that grow over all topics of one connector. So one number says how far a reader of a whole
//!   family has come, and a family is read in one order. They begin with the process' start in microseconds since 1970, so
//!   that a position of an earlier process is seen to be gone.
//! * **Retention** is bounded per topic by count, bytes and age, and in bytes over all topics: the oldest go first. Over
//!   all topics it is the largest that give way.
//! * **Subscriptions** are cursors into the logs, not queues: a slow reader costs nothing and holds nobody up. One that is
//!   overtaken by retention goes on with the oldest that is kept; what it missed is counted by
//!   [`Connector::dropped`](connector::Connector::dropped) and logged once a burst.
//! * **Memory** is that of the records: small ones are copied together, so that they do not keep a whole request alive.

mod config;
mod link;
mod publish;
mod reader;
mod store;
mod subscribe;
mod syntax;

pub use config::{MemoryFactory, MemoryPlan, Settings};
pub use link::MemoryConnector;
pub use syntax::SYNTAX;
