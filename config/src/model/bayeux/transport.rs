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
            /// `bayeux.max_lazy_timeout` for this transport alone.
            pub max_lazy_timeout: Option<Duration>,
            /// `bayeux.max_message_size` for this transport alone.
            pub max_message_size: Option<ByteSize>,
            /// `bayeux.handshake_reconnect` for this transport alone.
            pub handshake_reconnect: Option<bool>,
            /// `bayeux.allow_message_delivery_during_handshake` for this transport alone.
            pub allow_message_delivery_during_handshake: Option<bool>,
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
                    max_lazy_timeout: None,
                    max_message_size: None,
                    handshake_reconnect: None,
                    allow_message_delivery_during_handshake: None,
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
                    max_lazy_timeout: self.max_lazy_timeout.unwrap_or(all.max_lazy_timeout),
                    max_message_size: self.max_message_size.unwrap_or(all.max_message_size),
                    handshake_reconnect: self.handshake_reconnect.unwrap_or(all.handshake_reconnect),
                    allow_message_delivery_during_handshake: self
                        .allow_message_delivery_during_handshake
                        .unwrap_or(all.allow_message_delivery_during_handshake),
                    meta_connect_deliver_only: all.meta_connect_deliver_only,
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
    LongPolling {
        /// `bayeux.max_sessions_per_browser` for this transport alone.
        max_sessions_per_browser: Option<i32> = None,
        /// `bayeux.http2_max_sessions_per_browser` for this transport alone.
        http2_max_sessions_per_browser: Option<i32> = None,
        /// `bayeux.multi_session_interval` for this transport alone.
        multi_session_interval: Option<Duration> = None,
        /// `bayeux.trust_client_session` for this transport alone.
        trust_client_session: Option<bool> = None,
        /// `bayeux.duplicate_meta_connect_http_response_code` for this transport alone.
        #[schemars(range(min = 400, max = 599))]
        duplicate_meta_connect_http_response_code: Option<u16> = None,
        /// `bayeux.meta_connect_deliver_only` for this transport alone.
        meta_connect_deliver_only: Option<bool> = None,
    }
}

section! {
    /// What concerns callback-polling only; it delivers with `/meta/connect` only, always.
    CallbackPolling {
        /// The query parameter that names the function to call.
        callback_parameter: String = "jsonp".to_owned(),
        /// The longest name of a function.
        #[schemars(range(min = 1))]
        callback_parameter_max_length: usize = 64,
        /// `bayeux.max_sessions_per_browser` for this transport alone.
        max_sessions_per_browser: Option<i32> = None,
        /// `bayeux.http2_max_sessions_per_browser` for this transport alone.
        http2_max_sessions_per_browser: Option<i32> = None,
        /// `bayeux.multi_session_interval` for this transport alone.
        multi_session_interval: Option<Duration> = None,
        /// `bayeux.trust_client_session` for this transport alone.
        trust_client_session: Option<bool> = None,
        /// `bayeux.duplicate_meta_connect_http_response_code` for this transport alone.
        #[schemars(range(min = 400, max = 599))]
        duplicate_meta_connect_http_response_code: Option<u16> = None,
    }
}

section! {
    /// What concerns WebSockets only.
    WebSocket {
        /// Agree to compress messages of 256 bytes and more (permessage-deflate) with clients that offer it, as browsers do.
        compression: bool = true,
        /// How many messages that wait for one client go into one frame; 0: all. With 1 a message's frame is made once for
        /// all who get it, which is the quickest.
        messages_per_frame: u16 = 1,
        /// Take a session's messages only on the socket of its handshake: who knows a client id cannot take it over from
        /// another socket, and pages cannot go on with theirs when they are loaded again.
        require_handshake_per_connection: bool = false,
        /// Close a socket on which nothing came or went for so long. It should be more than `timeout` and `interval`
        /// together. 0s: never.
        idle_timeout: Duration = Duration::from_secs(300),
        /// The one sub-protocol that is agreed to, such as `bayeux`. Absent: the first that a client offers.
        protocol: Option<String> = None,
        /// `bayeux.meta_connect_deliver_only` for this transport alone.
        meta_connect_deliver_only: Option<bool> = None,
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
    /// See [`Bayeux::max_lazy_timeout`].
    pub max_lazy_timeout: Duration,
    /// See [`Bayeux::meta_connect_deliver_only`].
    pub meta_connect_deliver_only: bool,
    /// See [`Bayeux::max_message_size`].
    pub max_message_size: ByteSize,
    /// See [`Bayeux::handshake_reconnect`].
    pub handshake_reconnect: bool,
    /// See [`Bayeux::allow_message_delivery_during_handshake`].
    pub allow_message_delivery_during_handshake: bool,
    /// See [`Bayeux::queue`].
    pub queue: Queue,
}

impl Bayeux {
    /// The options of a transport: its own, else those for all.
    pub fn options(&self, transport: Transport) -> TransportOptions {
        let (options, deliver_only) = match transport {
            Transport::Websocket => (self.websocket.over(self), self.websocket.meta_connect_deliver_only),
            Transport::LongPolling => (self.long_polling.over(self), self.long_polling.meta_connect_deliver_only),
            Transport::CallbackPolling => (self.callback_polling.over(self), Some(true)),
        };
        let meta_connect_deliver_only = deliver_only.unwrap_or(self.meta_connect_deliver_only);
        TransportOptions { meta_connect_deliver_only, ..options }
    }
}

/// What the two polling transports have besides, resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpOptions {
    /// See [`Bayeux::max_sessions_per_browser`].
    pub max_sessions_per_browser: i32,
    /// See [`Bayeux::http2_max_sessions_per_browser`].
    pub http2_max_sessions_per_browser: i32,
    /// See [`Bayeux::multi_session_interval`].
    pub multi_session_interval: Duration,
    /// See [`Bayeux::trust_client_session`].
    pub trust_client_session: bool,
    /// See [`Bayeux::duplicate_meta_connect_http_response_code`].
    pub duplicate_meta_connect_http_response_code: u16,
}

macro_rules! http_options {
    ($over:expr, $all:expr, $($field:ident),*) => { HttpOptions { $($field: $over.$field.unwrap_or($all.$field)),* } };
    ($over:expr, $all:expr) => {
        http_options!($over, $all, max_sessions_per_browser, http2_max_sessions_per_browser, multi_session_interval,
            trust_client_session, duplicate_meta_connect_http_response_code)
    };
}

impl Bayeux {
    /// What long-polling has besides: its own, else those for all.
    pub fn long_polling_http(&self) -> HttpOptions {
        http_options!(self.long_polling, self)
    }

    /// The same of callback-polling.
    pub fn callback_polling_http(&self) -> HttpOptions {
        http_options!(self.callback_polling, self)
    }
}
