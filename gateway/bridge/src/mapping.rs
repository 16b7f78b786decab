//! The mapping table: which broker topic a channel's messages go to, and which channel a record's message goes to.
//!
//! Pure code: it opens nothing, waits for nothing and knows no broker by name. What differs between brokers comes in
//! by [`ConnectorTraits`]. A [`Table`] is made once from the config ([`Table::compile`]) and never changes; a reload
//! makes another.
//!
//! The laws, tested for every way of writing topics in `laws.rs`:
//! * what [`Route::render`] makes of a channel, [`Table::egress`] brings back to the same channel;
//! * two channels of one mapping that can be inverted never share a topic and key;
//! * no text of a config and no record makes it panic.
//!
//! Where the letter of the rules left a choice, this is it:
//! * `*` in a mapping's channel is refused, because a value without a name can be put nowhere: write `{name}`.
//! * A channel segment that is no canonical spelling (`~41` for `A`, a bare `*` or `{` or an outer space) cannot be
//!   told from the canonical one in a topic, so publishing to it where a name binds it is `400:…:channel_invalid`.
//! * `{data:…}`, `{claims.…}` and `{session.user}` in the topic of a `both` mapping match any one value on the way
//!   back.
//! * Composite keys and headers (more than a lone `{name}`) escape as topics do, with `%HH`.
//! * A name that topic binds is not looked for in key and headers; one that topic does not bind is taken from the key,
//!   then from headers. The header `bayeux-channel` decides when it agrees with what they bind.

mod binary;
mod compile;
mod egress;
mod explain;
mod finding;
mod format;
mod pattern;
mod render;
mod schema;
mod segment;
mod settings;
mod source;
mod spec;
mod table;
mod template;
mod token;

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;

pub use binary::{FORM_HEADER, LAST_HEADER, META_HEADER, chunk_data, chunk_record};
pub use compile::Compiled;
pub use egress::{EgressError, Poison};
pub use explain::{Explained, Way};
pub use finding::{Finding, Severity};
pub use format::{delivery_data, record_payload};
pub use render::{RenderError, Rendered, Route};
pub use schema::{Schema, SchemaError, VIOLATION, Violation};
pub use segment::{decode_segment, encode_segment};
pub use source::Sources;
pub use spec::{ConnectorTraits, Consume, Deliver, Direction, Envelope, Format, Include, MappingSpec, OnError, Replay};
pub use table::{IngestMatch, Mapping, SubscribeMatch, Table};

/// The header that carries the full channel with every record that the gateway writes.
pub const CHANNEL_HEADER: &str = "bayeux-channel";
