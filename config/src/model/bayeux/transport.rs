//! The options that each transport may have of its own, and their resolution: the transport's, else those for all.

use super::{Bayeux, Overflow, Queue, Transport};
use connector::{ByteSize, Duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A section of one transport: its own keys, with their defaults, before the options that all transports have.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $kind,)*
            /// `bayeux.timeout` for this transport alone.
            pub timeout: Option<Duration>,
            /// `bayeux.interval` for this transport alone.
            pub interval: Option<Duration>,
            /// `bayeux.max_interval` for this transport alone.
            pub max_interval: Option<Duration>,
            /// `bayeux.max_processing` for this transport alone.
            pub max_processing: Option<Duration>,
            /// `bayeux.max_message_size` for this transport alone.
            pub max_message_size: Option<ByteSize>,
            /// `bayeux.handshake_reconnect` for this transport alone.
            pub handshake_reconnect: Option<bool>,
            /// `bayeux.queue` for this transport alone, key by key.
            pub queue: TransportQueue,
        }

        impl Default for $name {
            fn default() -> Self {
                $name {
                    $($field: $default,)*
                    timeout: None,
                    interval: None,
                    max_interval: None,
                    max_processing: None,
                    max_message_size: None,
                    handshake_reconnect: None,
                    queue: TransportQueue::default(),
                }
            }
        }

        impl $name {
            fn over(&self, all: &Bayeux) -> TransportOptions {
                TransportOptions {
                    timeout: self.timeout.unwrap_or(all.timeout),
                    interval: self.interval.unwrap_or(all.interval),
                    max_interval: self.max_interval.unwrap_or(all.max_interval),
                    max_processing: self.max_processing.or(all.max_processing),
                    max_message_size: self.max_message_size.unwrap_or(all.max_message_size),
                    handshake_reconnect: self.handshake_reconnect.unwrap_or(all.handshake_reconnect),
                    queue: Queue {
                        max_messages: self.queue.max_messages.unwrap_or(all.queue.max_messages),
                        max_bytes: self.queue.max_bytes.unwrap_or(all.queue.max_bytes),
                        overflow: self.queue.overflow.unwrap_or(all.queue.overflow),
                    },
                }
            }
        }
    };
}

section! {
    /// What concerns long-polling only.
    LongPolling {}
}

section! {
    /// What concerns callback-polling only.
    CallbackPolling {}
}

section! {
    /// What concerns WebSockets only.
    WebSocket {
        /// Agree to compress messages of 256 bytes and more (permessage-deflate) with clients that offer it, as browsers do.
        compression: bool = true,
    }
}

/// The bound of what waits for one session, as far as a transport has its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TransportQueue {
    /// At most so many messages.
    #[schemars(range(min = 1))]
    pub max_messages: Option<usize>,
    /// At most so many bytes.
    pub max_bytes: Option<ByteSize>,
    /// What happens when a bound is reached.
    pub overflow: Option<Overflow>,
}

/// The options of one transport, resolved: its own, else those for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportOptions {
    /// See [`Bayeux::timeout`].
    pub timeout: Duration,
    /// See [`Bayeux::interval`].
    pub interval: Duration,
    /// See [`Bayeux::max_interval`].
    pub max_interval: Duration,
    /// See [`Bayeux::max_processing`].
    pub max_processing: Option<Duration>,
    /// See [`Bayeux::max_message_size`].
    pub max_message_size: ByteSize,
    /// See [`Bayeux::handshake_reconnect`].
    pub handshake_reconnect: bool,
    /// See [`Bayeux::queue`].
    pub queue: Queue,
}

impl Bayeux {
    /// The options of a transport: its own, else those for all.
    pub fn options(&self, transport: Transport) -> TransportOptions {
        match transport {
            Transport::Websocket => self.websocket.over(self),
            Transport::LongPolling => self.long_polling.over(self),
            Transport::CallbackPolling => self.callback_polling.over(self),
        }
    }
}
