//! What an operator sets for WebSockets (CometD `AbstractWebSocketTransport`).

use std::time::Duration;

/// The options of WebSockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocketOptions {
    /// Agrees to compress messages (permessage-deflate) with clients that offer it.
    pub compression: bool,
    /// How many waiting messages go into one frame; 0: all. With 1 a message's frame is made once for all its receivers.
    pub messages_per_frame: u16,
    /// A session is used on the socket of its handshake only.
    pub require_handshake_per_connection: bool,
    /// Closes a socket on which nothing came or went for so long; `None`: never.
    pub idle_timeout: Option<Duration>,
    /// The one sub-protocol that is spoken, with clients that offer it; `None`: the first that a client offers.
    pub protocol: Option<String>,
}

impl Default for WebSocketOptions {
    fn default() -> Self {
        WebSocketOptions {
            compression: true,
            messages_per_frame: 1,
            require_handshake_per_connection: false,
            idle_timeout: Some(Duration::from_secs(300)),
            protocol: None,
        }
    }
}
