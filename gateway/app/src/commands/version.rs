//! `version`.

use crate::registry::registry;
use std::process::ExitCode;

/// The command.
pub fn run() -> ExitCode {
    let registry = registry();
    let kinds = |kinds: Vec<&str>| kinds.join(", ");
    println!("bayeux-gateway {}", env!("CARGO_PKG_VERSION"));
    println!("commit         {}", option_env!("BAYEUX_GATEWAY_COMMIT").unwrap_or("unknown"));
    #[cfg(feature = "kafka")]
    println!("librdkafka     {}", connector_kafka::librdkafka_version());
    println!("connectors     {}", kinds(registry.connectors.iter().map(|k| k.kind).collect()));
    println!("handlers       {}", kinds(registry.handlers.iter().map(|k| k.kind).chain(["builtin"]).collect()));
    ExitCode::SUCCESS
}
