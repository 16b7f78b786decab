//! What an operator sets for the whole server.

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
    /// How many sessions of one browser (one cookie) may hold a poll at the same time; negative: no bound.
    pub max_sessions_per_browser: i32,
    /// The same where the browser speaks HTTP/2, which takes all its requests over one connection.
    pub http2_max_sessions_per_browser: i32,
    /// Packs responses of 1 KiB and more for HTTP clients that take gzip.
    pub gzip: bool,
    /// Takes a client id without its cookie, for HTTP clients that keep none.
    pub trust_client_session: bool,
    /// Who may come from a browser.
    pub origins: Origins,
    /// The extensions that clients may use.
    pub extensions: Extensions,
    /// Whether a publisher that is subscribed gets its own messages; sessions and channels may be set otherwise.
    pub broadcast_to_publisher: bool,
    /// How many frames with publishes of one WebSocket may wait for their outcome: above it the socket is not read.
    pub max_in_flight: usize,
    /// Agrees to compress WebSocket messages (permessage-deflate) with clients that offer it.
    pub websocket_compression: bool,
    /// How long a WebSocket may be without a session.
    pub handshake_timeout: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        ServerSettings {
            session: SessionOptions::default(),
            transports: vec![Carrier::WebSocket, Carrier::LongPolling, Carrier::CallbackPolling],
            max_sessions_per_browser: 1,
            http2_max_sessions_per_browser: -1,
            gzip: false,
            trust_client_session: false,
            origins: Origins::Same,
            extensions: Extensions::default(),
            broadcast_to_publisher: true,
            max_in_flight: 4_096,
            websocket_compression: true,
            handshake_timeout: Duration::from_secs(30),
        }
    }
}
