//! What the gateway tells about itself: logs, metrics, traces.
//!
//! - [`init_logging`]: log lines on stderr, for people or for machines (`logging.rs`).
//! - [`Telemetry`]: the bridge's observer, which counts and traces what it is told (`observer.rs`, `instruments.rs`,
//!   `traces.rs`, `exporter.rs`), and what is looked up at each scrape (`snapshot.rs`, `gauges.rs`).
//!
//! The names of the metrics are documented in `docs/metrics.md`; a test holds that page and the exporter together.
//! A client id is a secret of its session: it is in no log line, label or attribute.

mod exporter;
mod gauges;
mod instruments;
mod labels;
mod life;
mod logging;
mod observer;
mod process;
mod snapshot;
mod traces;

#[cfg(test)]
pub(crate) mod tests;

pub use life::Telemetry;
pub use logging::init_logging;
pub use snapshot::{ConnectorEntry, feed_state};
