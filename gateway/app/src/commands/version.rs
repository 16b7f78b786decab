//! `version`.

use crate::output::line;
use crate::registry::registry;
use std::process::ExitCode;

/// The command.
pub fn run() -> ExitCode {
    let registry = registry();
    let kinds = |kinds: Vec<&str>| kinds.join(", ");
    line(format!("bayeux-gateway {}", env!("CARGO_PKG_VERSION")));
    line(format!("commit         {}", option_env!("BAYEUX_GATEWAY_COMMIT").unwrap_or("unknown")));
    #[cfg(feature = "kafka")]
    line(format!("librdkafka     {}", connector_kafka::librdkafka_version()));
    line(format!("connectors     {}", kinds(registry.connectors.iter().map(|k| k.kind).collect())));
    line(format!("handlers       {}", kinds(registry.handlers.iter().map(|k| k.kind).chain(["builtin"]).collect())));
    ExitCode::SUCCESS
}
