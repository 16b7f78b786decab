//! The admin listener: probes, metrics, and a page that lists them.
//!
//! Open to whoever reaches the listener, as they tell and change nothing but health and figures: everything that will
//! need a token belongs elsewhere.

mod readiness;
mod router;

#[cfg(test)]
mod tests;

pub use crate::telemetry::ConnectorEntry;
pub use router::{AdminState, router};
