//! The bridge between Bayeux sessions and brokers: everything that knows both, and no broker by name.
//!
//! - [`mapping`]: which topic a channel goes to, and back. Pure.
//! - [`Bridge`]: takes part in the server as its listener. A publish on a mapped channel becomes a record
//!   (`ingest.rs`), a subscription opens a [`feed`] that turns records into messages (`feed.rs`, `egress.rs`), a message
//!   on `/service/**` becomes a request to a handler (`service.rs`).
//! - [`letters`]: where that goes which cannot be brought on, and [`redrive`], which brings it back.
//! - [`observe`]: what it tells whoever exports metrics and traces.

mod bridge;
mod conflate;
mod egress;
mod envelope;
pub mod feed;
mod ingest;
pub mod letters;
mod load;
pub mod mapping;
pub mod observe;
pub mod redrive;
mod replay;
mod service;

pub use bridge::{Bridge, BridgeSettings, UnmappedChannels, UnmappedServices};
pub use load::{InFlightLimit, LoadLimits};
pub use service::{Answering, ServiceSpec};
