//! Logs and traces.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Logs and traces. Metrics are always there, at `/metrics` of the admin listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// Where traces go, by OTLP over gRPC, such as `http://localhost:4317`. Absent: nowhere.
    pub otlp_endpoint: Option<String>,
    /// The log.
    pub log: Log,
}

/// The log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// How a line is written.
    pub format: LogFormat,
    /// The least grave that is written.
    pub level: LogLevel,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// How grave a log line is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Something is lost or refused.
    Error,
    /// Something needs a look.
    Warn,
    /// What a person on call wants to see.
    #[default]
    Info,
    /// What each session does.
    Debug,
    /// Every message.
    Trace,
}

impl LogLevel {
    /// As written in the config.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}
