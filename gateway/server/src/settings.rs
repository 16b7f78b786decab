//! What an operator sets for the whole server.

mod http;
mod websocket;

pub use self::http::{BrowserCookie, CallbackParameter, HttpOptions, SameSite};
pub use self::websocket::WebSocketOptions;
use bayeux::session::{Carrier, SessionOptions};
use std::time::Duration;

/// Which web origins may use the server from a browser.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origins {
    /// Only pages served from the same host and port.
    #[default]
    Same,
    /// Same origin, and these (`https://app.example.com`); `*` stands for any.
    Listed(Vec<String>),
}

/// Extensions of the protocol, as CometD has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extensions {
    /// Messages are sent again until the client has acknowledged them.
    pub ack: bool,
    /// Clients may ask for the server's time.
    pub timesync: bool,
    /// Everything that is sent says when, as [`Timestamp`](crate::Timestamp) has it.
    pub timestamp: bool,
}

impl Default for Extensions {
    fn default() -> Self {
        Extensions { ack: true, timesync: true, timestamp: false }
    }
}

/// The server's settings, with CometD's defaults where CometD has the option.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// For every session, for each transport.
    pub session: SessionOptions,
    /// The allowed transports, in the order of `supportedConnectionTypes`.
    pub transports: Vec<Carrier>,
    /// What only long-polling has.
    pub long_polling: HttpOptions,
    /// What only callback-polling has.
    pub callback_polling: HttpOptions,
    /// The query parameter of callback-polling that names the function to call.
    pub callback: CallbackParameter,
    /// What only WebSockets have.
    pub websocket: WebSocketOptions,
    /// The cookie of the polling transports.
    pub browser_cookie: BrowserCookie,
    /// Packs responses of 1 KiB and more for HTTP clients that take gzip.
    pub gzip: bool,
    /// Refuses messages whose id is not made of letters and digits.
    pub validate_message_fields: bool,
    /// Who may come from a browser.
    pub origins: Origins,
    /// The extensions that clients may use.
    pub extensions: Extensions,
    /// Whether a publisher that is subscribed gets its own messages; sessions and channels may be set otherwise.
    pub broadcast_to_publisher: bool,
    /// How many frames with publishes of one WebSocket may wait for their outcome: above it the socket is not read.
    pub max_in_flight: usize,
    /// How long a WebSocket may be without a session.
    pub handshake_timeout: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        ServerSettings {
            session: SessionOptions::default(),
            transports: vec![Carrier::WebSocket, Carrier::LongPolling, Carrier::CallbackPolling],
            long_polling: HttpOptions::default(),
            callback_polling: HttpOptions::default(),
            callback: CallbackParameter::default(),
            websocket: WebSocketOptions::default(),
            browser_cookie: BrowserCookie::default(),
            gzip: false,
            validate_message_fields: true,
            origins: Origins::Same,
            extensions: Extensions::default(),
            broadcast_to_publisher: true,
            max_in_flight: 4_096,
            handshake_timeout: Duration::from_secs(30),
        }
    }
}

impl ServerSettings {
    /// What a polling transport has of its own; a WebSocket's messages look at none of it.
    pub(crate) fn http(&self, carrier: Carrier) -> &HttpOptions {
        match carrier {
            Carrier::CallbackPolling => &self.callback_polling,
            Carrier::LongPolling | Carrier::WebSocket => &self.long_polling,
        }
    }
}
