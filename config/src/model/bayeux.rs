//! The protocol's options.

use connector::{ByteSize, Duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod cookie;
mod transport;

pub use cookie::{BrowserCookie, SameSite};
pub use transport::{CallbackPolling, HttpOptions, LongPolling, TransportOptions, TransportQueue, WebSocket};

/// The options of the Bayeux protocol: CometD's, in snake_case, with CometD's meaning and defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bayeux {
    /// How long a `/meta/connect` is held while there is nothing to deliver.
    pub timeout: Duration,
    /// How long a client shall wait between two `/meta/connect`.
    pub interval: Duration,
    /// How long a session lives on without a `/meta/connect` before it expires; counted from the end of `interval`.
    pub max_interval: Duration,
    /// End a session that holds a `/meta/connect` when its client sent nothing for so long; it should be more than `timeout`.
    /// Absent: never.
    pub max_processing: Option<Duration>,
    /// How long lazy messages wait for other messages, or a reply, to go out with, where their channel does not say. Zero:
    /// not at all.
    pub max_lazy_timeout: Duration,
    /// Deliver messages with the replies of `/meta/connect` only, as callback-polling always does: then every client gets
    /// them in one order over polls too, where they otherwise ride on any reply.
    pub meta_connect_deliver_only: bool,
    /// The largest message, or batch of messages, that a client may send at once.
    pub max_message_size: ByteSize,
    /// Tell clients, in `advice.maxInterval`, how long their session lives without a `/meta/connect`: one that was cut off
    /// for longer begins with a handshake at once, and does not first ask for a session that is gone. And a handshake that
    /// carries the `clientId` of a session that lives, by a client that could use it and is the same user, takes it back:
    /// with its queue, its subscriptions and, if it asks for acknowledgement again, what it has not acknowledged.
    pub handshake_reconnect: bool,
    /// Deliver what is queued for a session while it handshakes behind the handshake's reply, which says how many messages
    /// follow (`x-messages`). Otherwise they wait for what the client asks next.
    pub allow_message_delivery_during_handshake: bool,
    /// Refuse messages whose id is not made of letters and digits. Channels are always validated.
    pub validate_message_fields: bool,
    /// What is offered to clients, in order of preference.
    #[schemars(length(min = 1))]
    pub transports: Vec<Transport>,
    /// Extensions of the protocol that clients may use.
    pub extensions: Vec<Extension>,
    /// The cookie of the polling transports.
    pub browser_cookie: BrowserCookie,
    /// What the extension `activity` takes for activity, and how long it waits for it.
    pub activity: Activity,
    /// How many sessions of one browser may hold a connection at once when it speaks HTTP/1: a browser opens only six
    /// connections to a host, and would wait for the others. 0: hold none, a negative number: no limit.
    pub max_sessions_per_browser: i32,
    /// The same where the browser speaks HTTP/2, which takes all its requests over one connection.
    pub http2_max_sessions_per_browser: i32,
    /// How long a session above that number waits between two `/meta/connect`, which are not held. 0s: it is refused, and
    /// told to stay away.
    pub multi_session_interval: Duration,
    /// The HTTP status of a held `/meta/connect` whose client sent a newer one: 400 or more.
    #[schemars(range(min = 400, max = 599))]
    pub duplicate_meta_connect_http_response_code: u16,
    /// Compress responses of 1 KiB and more for HTTP clients that take gzip. A proxy in front may do it instead.
    pub gzip: bool,
    /// What concerns long-polling only; the options of all transports go first to what is set here.
    pub long_polling: LongPolling,
    /// The same for callback-polling.
    pub callback_polling: CallbackPolling,
    /// The same for WebSockets.
    pub websocket: WebSocket,
    /// Take an HTTP client's id for proof enough of who it is, without the cookie given at its handshake: for clients
    /// that keep no cookies.
    pub trust_client_session: bool,
    /// Whether a client that is subscribed to a channel gets the messages that it publishes there itself. Of mapped
    /// channels too, as far as the gateway knows the publisher: its own node's, where the broker keeps headers.
    pub broadcast_to_publisher: bool,
    /// How many publishes may wait for the brokers' confirmation.
    pub publish: PublishLimits,
    /// What happens on a channel that no mapping takes.
    pub unmapped_channels: UnmappedChannels,
    /// What happens on a `/service/**` channel that no service takes.
    pub unmapped_services: UnmappedServices,
    /// Messages that wait for one session.
    pub queue: Queue,
}

impl Default for Bayeux {
    fn default() -> Self {
        Bayeux {
            timeout: Duration::from_secs(20),
            interval: Duration::from_secs(0),
            max_interval: Duration::from_secs(10),
            max_processing: None,
            max_lazy_timeout: Duration::from_secs(5),
            meta_connect_deliver_only: false,
            max_message_size: ByteSize::from_kib(64),
            handshake_reconnect: false,
            allow_message_delivery_during_handshake: false,
            validate_message_fields: true,
            transports: vec![Transport::Websocket, Transport::LongPolling, Transport::CallbackPolling],
            extensions: vec![Extension::Ack, Extension::Timesync, Extension::Binary, Extension::Replay],
            browser_cookie: BrowserCookie::default(),
            activity: Activity::default(),
            max_sessions_per_browser: 1,
            http2_max_sessions_per_browser: -1,
            multi_session_interval: Duration::from_secs(2),
            duplicate_meta_connect_http_response_code: 500,
            gzip: false,
            long_polling: LongPolling::default(),
            callback_polling: CallbackPolling::default(),
            websocket: WebSocket::default(),
            trust_client_session: false,
            broadcast_to_publisher: true,
            publish: PublishLimits::default(),
            unmapped_channels: UnmappedChannels::Local,
            unmapped_services: UnmappedServices::Acknowledge,
            queue: Queue::default(),
        }
    }
}

/// How many publishes on mapped channels may wait for the brokers' confirmation. Above it they are refused by `503`, with advice
/// to come back later, and nothing of them is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PublishLimits {
    /// Of one session.
    #[schemars(range(min = 1))]
    pub session_max_in_flight: usize,
    /// The data of those of one session.
    pub session_max_bytes: ByteSize,
    /// Of all sessions to one connector.
    #[schemars(range(min = 1))]
    pub connector_max_in_flight: usize,
    /// The data of those to one connector.
    pub connector_max_bytes: ByteSize,
}

impl Default for PublishLimits {
    fn default() -> Self {
        PublishLimits {
            session_max_in_flight: 10_000,
            session_max_bytes: ByteSize::from_mib(32),
            connector_max_in_flight: 100_000,
            connector_max_bytes: ByteSize::from_mib(256),
        }
    }
}

/// How messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// A WebSocket.
    Websocket,
    /// HTTP POST requests, one of them held until there is something to deliver.
    LongPolling,
    /// The same by script tags, for pages that may not use the other two.
    CallbackPolling,
}

/// Extensions of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Extension {
    /// Messages are sent again until the client has acknowledged them, also over a lost connection.
    Ack,
    /// Clients may ask for the gateway's time.
    Timesync,
    /// Every message and reply says when it was sent, as a top-level `timestamp`: `Tue Nov 24 14:33:10 UTC 2026`.
    Timestamp,
    /// Bytes travel as CometD's clients send them by `publishBinary`: mappings with `format: binary` store the bytes and
    /// deliver them in the form that the clients' binary extension decodes. Without it they deliver base64.
    Binary,
    /// Clients may read on from a position in the broker's log, on mappings with `replay`.
    Replay,
    /// Sessions with which nothing happens but `/meta/connect` are disconnected; see `bayeux.activity`.
    Activity,
}

/// The settings of the extension `activity`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Activity {
    /// A session that was inactive for longer is disconnected at its next `/meta/connect`.
    pub max_inactivity: Duration,
    /// Whose messages are activity; `/meta/connect` never is.
    pub kind: ActivityKind,
}

impl Default for Activity {
    fn default() -> Self {
        Activity { max_inactivity: Duration::from_secs(15 * 60), kind: ActivityKind::Client }
    }
}

/// Whose messages are activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActivityKind {
    /// The client's.
    Client,
    /// The client's, and those that it is sent.
    ClientServer,
}

/// What happens on a channel that no mapping takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnmappedChannels {
    /// Plain Bayeux: what one client publishes, this gateway's subscribers get.
    Local,
    /// Publishing and subscribing are refused.
    Deny,
}

/// What happens on a `/service/**` channel that no service takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnmappedServices {
    /// The message is acknowledged and goes nowhere, as CometD does.
    Acknowledge,
    /// The message is refused.
    Refuse,
}

/// The bound of what waits for one session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Queue {
    /// At most so many messages.
    #[schemars(range(min = 1))]
    pub max_messages: usize,
    /// At most so many bytes.
    pub max_bytes: ByteSize,
    /// What happens when a bound is reached.
    pub overflow: Overflow,
}

impl Default for Queue {
    fn default() -> Self {
        Queue { max_messages: 20_000, max_bytes: ByteSize::from_mib(8), overflow: Overflow::Disconnect }
    }
}

/// What happens when a session's queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// The session ends; the client is told to begin a new one.
    Disconnect,
    /// The oldest message makes room.
    DropOldest,
}
