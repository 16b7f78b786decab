//! What an operator sets for sessions, for each transport (CometD `AbstractServerTransport`).

use crate::queue::{Overflow, QueueLimits};
use std::time::Duration;

/// What carries a session's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// `websocket`: messages go out whenever they are there.
    WebSocket,
    /// `long-polling`: messages go out in replies.
    LongPolling,
    /// `callback-polling`: messages go out in the replies of connects only.
    CallbackPolling,
}

impl Carrier {
    /// Its name in `supportedConnectionTypes`.
    pub fn as_str(self) -> &'static str {
        match self {
            Carrier::WebSocket => "websocket",
            Carrier::LongPolling => "long-polling",
            Carrier::CallbackPolling => "callback-polling",
        }
    }
}

/// The options of one transport: CometD's of the same names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How long a connect is held.
    pub timeout: Duration,
    /// How long a client waits between connects.
    pub interval: Duration,
    /// How long a session lives without a connect, above `interval`.
    pub max_interval: Duration,
    /// How long a session may hold a connect without another message of its client; `None`: as long as it likes.
    pub max_processing: Option<Duration>,
    /// How long lazy messages wait for company at most, where their channel does not say; zero: not at all. That of the
    /// transport it handshook by.
    pub max_lazy_timeout: Duration,
    /// Messages go out with the replies of connects only; over callback-polling they always do.
    pub meta_connect_deliver_only: bool,
    /// The bound of a session's queue; that of the transport it handshook by.
    pub queue: QueueLimits,
    /// Of an HTTP body, of a WebSocket message; bytes. For the driver.
    pub max_message_size: usize,
    /// Advice says how long a session lives without a connect, so that a client that was away for longer begins with a
    /// handshake; and one that names its session in a handshake keeps it, if the session lives ([`super::Session::resume`]).
    pub handshake_reconnect: bool,
    /// What is queued for a session while it handshakes goes out with the handshake's reply, and not only with what its
    /// client asks next.
    pub allow_message_delivery_during_handshake: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            timeout: Duration::from_secs(20),
            interval: Duration::ZERO,
            max_interval: Duration::from_secs(10),
            max_processing: None,
            max_lazy_timeout: Duration::from_secs(5),
            meta_connect_deliver_only: false,
            queue: QueueLimits { max_messages: 20_000, max_bytes: 8 << 20, overflow: Overflow::Disconnect },
            max_message_size: 64 * 1024,
            handshake_reconnect: false,
            allow_message_delivery_during_handshake: false,
        }
    }
}

/// The options of all transports, and what belongs to none of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOptions {
    /// For what a WebSocket carries.
    pub websocket: Options,
    /// For what long-polling carries.
    pub long_polling: Options,
    /// For what callback-polling carries.
    pub callback_polling: Options,
    /// How many channels one session may subscribe to.
    pub max_subscriptions: usize,
    /// Disconnects those with whom nothing happens but connects; `None`: nobody.
    pub activity: Option<Activity>,
}

/// The activity extension (CometD's `ActivityExtension`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activity {
    /// A session that was inactive for longer is disconnected at its next connect.
    pub max_inactivity: Duration,
    /// Messages to the client are activity too, not only those from it.
    pub client_server: bool,
}

impl SessionOptions {
    /// The same options for every transport.
    pub fn same(options: Options) -> Self {
        SessionOptions {
            websocket: options.clone(),
            long_polling: options.clone(),
            callback_polling: options,
            max_subscriptions: 10_000,
            activity: None,
        }
    }

    /// Those of a transport.
    pub fn of(&self, carrier: Carrier) -> &Options {
        match carrier {
            Carrier::WebSocket => &self.websocket,
            Carrier::LongPolling => &self.long_polling,
            Carrier::CallbackPolling => &self.callback_polling,
        }
    }

    /// The least time that any transport grants between connects.
    pub fn least_max_interval(&self) -> Duration {
        self.websocket.max_interval.min(self.long_polling.max_interval).min(self.callback_polling.max_interval)
    }
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions::same(Options::default())
    }
}
