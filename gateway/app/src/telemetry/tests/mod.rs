//! Telemetry of a small gateway: a server, a bridge, and the memory connector.

pub(crate) mod house;
mod metrics;
mod otlp;
mod traces;
