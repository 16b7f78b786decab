//! The server's settings, from the config.

use axum::http::StatusCode;
use bayeux::queue::{Overflow, QueueLimits};
use bayeux::session::{Activity, Carrier, Options, SessionOptions};
use bayeux_server::{
    BrowserCookie, CallbackParameter, Extensions, HttpOptions, Origins, SameSite, ServerSettings, WebSocketOptions,
};
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
            activity: bayeux.extensions.contains(&config::Extension::Activity).then(|| Activity {
                max_inactivity: bayeux.activity.max_inactivity.get(),
                client_server: bayeux.activity.kind == config::ActivityKind::ClientServer,
            }),
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
        long_polling: http_options(bayeux.long_polling_http()),
        callback_polling: http_options(bayeux.callback_polling_http()),
        callback: CallbackParameter {
            name: bayeux.callback_polling.callback_parameter.clone(),
            max_length: bayeux.callback_polling.callback_parameter_max_length,
        },
        websocket: websocket(&bayeux.websocket),
        browser_cookie: browser_cookie(&bayeux.browser_cookie),
        gzip: bayeux.gzip,
        broadcast_to_publisher: bayeux.broadcast_to_publisher,
        validate_message_fields: bayeux.validate_message_fields,
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

fn http_options(options: config::HttpOptions) -> HttpOptions {
    let code = options.duplicate_meta_connect_http_response_code;
    HttpOptions {
        max_sessions_per_browser: options.max_sessions_per_browser,
        http2_max_sessions_per_browser: options.http2_max_sessions_per_browser,
        multi_session_interval: options.multi_session_interval.get(),
        trust_client_session: options.trust_client_session,
        duplicate_connect_status: StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

fn websocket(options: &config::WebSocket) -> WebSocketOptions {
    WebSocketOptions {
        compression: options.compression,
        messages_per_frame: options.messages_per_frame,
        require_handshake_per_connection: options.require_handshake_per_connection,
        idle_timeout: Some(options.idle_timeout.get()).filter(|time| !time.is_zero()),
        protocol: options.protocol.clone(),
    }
}

fn browser_cookie(cookie: &config::BrowserCookie) -> BrowserCookie {
    BrowserCookie {
        name: cookie.name.clone(),
        domain: cookie.domain.clone(),
        path: cookie.path.clone(),
        max_age: cookie.max_age.map(|age| age.get().as_secs()),
        secure: cookie.secure,
        http_only: cookie.http_only,
        same_site: cookie.same_site.map(|same_site| match same_site {
            config::SameSite::Strict => SameSite::Strict,
            config::SameSite::Lax => SameSite::Lax,
            config::SameSite::None => SameSite::None,
        }),
        partitioned: cookie.partitioned,
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
        max_lazy_timeout: options.max_lazy_timeout.get(),
        meta_connect_deliver_only: options.meta_connect_deliver_only,
        max_message_size: bytes(options.max_message_size),
        handshake_reconnect: options.handshake_reconnect,
        allow_message_delivery_during_handshake: options.allow_message_delivery_during_handshake,
    }
}
