//! Services: who answers messages on `/service/**`.

use connector::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who answers messages on some `/service/**` channels. The settings of its handler are in
/// [`crate::Loaded::handler_plans`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The channels, as in a mapping.
    pub channel: String,
    /// Who answers.
    pub handler: Handler,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Requests that may wait for an answer at once.
    pub max_in_flight: usize,
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handler {
    /// The gateway itself.
    Builtin(Builtin),
    /// A handler of this kind, such as `http`.
    Kind(String),
}

// What of a service is the same for every kind of handler.
/// Answers messages on `/service/**` channels. Beside `channel` stands the kind of handler with its settings, or
/// `builtin`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Service")]
pub(crate) struct ServiceOptions {
    /// The channels: exact, or with `{name}` or `*` for one segment, or ending in `**` for one or more.
    pub(crate) channel: String,
    /// How long an answer may take; after it the caller gets a failure.
    #[serde(default = "timeout")]
    pub(crate) timeout: Duration,
    /// Requests that may wait for an answer at once; more are refused with advice to come back later.
    #[serde(default = "max_in_flight")]
    #[schemars(range(min = 1))]
    pub(crate) max_in_flight: usize,
    /// Answered by the gateway itself.
    #[serde(default)]
    pub(crate) builtin: Option<Builtin>,
}

fn timeout() -> Duration {
    Duration::from_secs(5)
}

fn max_in_flight() -> usize {
    256
}

/// Handlers that are part of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Builtin {
    /// The question's data comes back.
    Echo,
}
