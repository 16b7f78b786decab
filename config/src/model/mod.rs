//! The config as types: what each key is called, its default, and what it means. The doc comments here are the
//! descriptions in the JSON Schema and in the reference.

mod bayeux;
mod mapping;
mod server;
mod service;
mod telemetry;

pub use bayeux::{
    Activity, ActivityKind, Bayeux, BrowserCookie, CallbackPolling, Extension, HttpOptions, LongPolling, Overflow,
    PublishLimits, Queue, SameSite, Transport, TransportOptions, TransportQueue, UnmappedChannels, UnmappedServices,
    WebSocket,
};
pub use mapping::{
    Consume, DeadLetter, Deliver, Direction, Envelope, Format, Include, Mapping, OnError, Replay, ReplayBounds,
};
pub use server::{Admin, Server, Tls};
pub(crate) use service::ServiceOptions;
pub use service::{Builtin, Handler, Service};
pub use telemetry::{Log, LogFormat, LogLevel, Telemetry};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The whole config. Its default is what the gateway does without any file: it serves on the loopback and speaks plain
/// Bayeux, with CometD's own values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// Where browsers come in.
    pub server: Server,
    /// The listener for probes, metrics and the status page.
    pub admin: Admin,
    /// The protocol's options.
    pub bayeux: Bayeux,
    /// The brokers, by the names that mappings use.
    pub connectors: BTreeMap<String, Connector>,
    /// Which channel is bridged to which topic; per direction, the first that takes a channel wins.
    pub mappings: Vec<Mapping>,
    /// Who answers messages on `/service/**`; the first that takes a channel wins.
    pub services: Vec<Service>,
    /// Who may come in. Absent: everybody.
    pub auth: Option<Auth>,
    /// Logs and traces.
    pub telemetry: Telemetry,
}

/// One broker. Its settings are in [`crate::Loaded::connector_plans`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connector {
    /// The kind, such as `kafka`.
    pub kind: String,
    /// The gateway is not ready until this broker was reached once.
    pub required: bool,
}

/// Who may come in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// Everybody may come in without saying who they are. Writing it down silences the warning that is printed when
    /// the gateway listens on more than the loopback.
    pub anonymous: bool,
}
