//! What the programs of the benchmark share: the clock, latencies, what the kernel says of a process, WebSocket frames.

pub mod bare;
pub mod clock;
pub mod frame;
pub mod latency;
pub mod process;

/// Whatever stops a measurement, as text for people.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// The result of whatever may stop a measurement.
pub type Result<T> = std::result::Result<T, Error>;
