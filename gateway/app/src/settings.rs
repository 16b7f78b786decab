//! The server's settings, from the config.

use bayeux::queue::{Overflow, QueueLimits};
use bayeux::session::{Carrier, Options, SessionOptions};
use bayeux_server::{Extensions, Origins, ServerSettings};
use gateway_config as config;
use gateway_config::{Config, Transport};

/// What the config says of the server.
pub(crate) fn server_settings(settings: &Config) -> ServerSettings {
    let bayeux = &settings.bayeux;
    ServerSettings {
        session: SessionOptions {
            websocket: options(bayeux, Transport::Websocket),
            long_polling: options(bayeux, Transport::LongPolling),
            callback_polling: options(bayeux, Transport::CallbackPolling),
            ..SessionOptions::default()
        },
        transports: bayeux
            .transports
            .iter()
            .map(|transport| match transport {
                Transport::Websocket => Carrier::WebSocket,
                Transport::LongPolling => Carrier::LongPolling,
                Transport::CallbackPolling => Carrier::CallbackPolling,
            })
            .collect(),
        max_sessions_per_browser: bayeux.max_sessions_per_browser,
        http2_max_sessions_per_browser: bayeux.http2_max_sessions_per_browser,
        gzip: bayeux.gzip,
        websocket_compression: bayeux.websocket.compression,
        trust_client_session: bayeux.trust_client_session,
        broadcast_to_publisher: bayeux.broadcast_to_publisher,
        extensions: Extensions {
            ack: bayeux.extensions.contains(&config::Extension::Ack),
            timesync: bayeux.extensions.contains(&config::Extension::Timesync),
            timestamp: bayeux.extensions.contains(&config::Extension::Timestamp),
        },
        origins: match settings.server.allowed_origins.is_empty() {
            true => Origins::Same,
            false => Origins::Listed(settings.server.allowed_origins.clone()),
        },
        ..ServerSettings::default()
    }
}

/// The options of one transport.
fn options(bayeux: &config::Bayeux, transport: Transport) -> Options {
    let options = bayeux.options(transport);
    let bytes = |size: connector::ByteSize| usize::try_from(size.get()).unwrap_or(usize::MAX);
    Options {
        timeout: options.timeout.get(),
        interval: options.interval.get(),
        max_interval: options.max_interval.get(),
        max_processing: options.max_processing.map(connector::Duration::get),
        queue: QueueLimits {
            max_messages: options.queue.max_messages,
            max_bytes: bytes(options.queue.max_bytes),
            overflow: match options.queue.overflow {
                config::Overflow::Disconnect => Overflow::Disconnect,
                config::Overflow::DropOldest => Overflow::DropOldest,
            },
        },
        max_message_size: bytes(options.max_message_size),
        handshake_reconnect: options.handshake_reconnect,
    }
}
