//! The gateway's config: read from YAML files and the environment, held against a schema, linted with positions.
//!
//! [`load`] lays files, environment and overrides over each other, finds all that is wrong with the result, each with
//! file, line, column and what was probably meant, and gives a typed [`Config`] with a plan for each connector and
//! handler. Which kinds of them there are comes from outside, as a [`Registry`]: this crate names no broker.
//!
//! [`schema()`] is the JSON Schema of a config for editors, [`reference()`] the same for people.

mod build;
mod check;
mod expand;
mod finding;
mod later;
mod layer;
mod lint;
mod load;
mod model;
mod overrides;
mod reference;
mod registry;
mod report;
mod scalar;
mod schema;
mod suggest;
mod syntax;
mod tree;

#[cfg(test)]
mod tests;

pub use finding::{Finding, Severity};
pub use layer::Origin;
pub use load::{Loaded, Source, Sources, load};
pub use model::{
    Activity, ActivityKind, Admin, Auth, Bayeux, BrowserCookie, Builtin, CallbackPolling, Config, Connector, Consume,
    DeadLetter, Deliver, Direction, Envelope, Extension, Format, Handler, HttpOptions, Include, Log, LogFormat,
    LogLevel, LongPolling, Mapping, OnError, Overflow, PublishLimits, Queue, Replay, ReplayBounds, SameSite, Server,
    Service, Telemetry, Tls, Transport, TransportOptions, TransportQueue, UnmappedChannels, UnmappedServices,
    WebSocket,
};
pub use reference::reference;
pub use registry::Registry;
pub use report::{Located, Place, Report, Style};
pub use schema::schema;
