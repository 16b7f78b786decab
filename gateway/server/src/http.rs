//! The HTTP side: routes, long-polling, callback-polling, and the way into a WebSocket.

mod callback;
mod cookie;
mod gzip;
mod origin;
mod polling;

use crate::listener::{Open, Stream};
use crate::process::Context;
use crate::server::Server;
use crate::websocket::{connection, deflate, upgrade};
use ::http::header::{self, HeaderValue};
use ::http::request::Parts;
use ::http::{Method, StatusCode};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bayeux::error;
use bayeux::message::{self, Message};
use bayeux::reply::{Refusal, Reply};
use bayeux::session::Carrier;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use origin::Origin;
use std::sync::Arc;
use std::time::Duration;

/// The routes of a Bayeux server: `path` and all below it, as clients append `/handshake`, `/connect`, `/disconnect`, or
/// just a slash.
pub fn router(server: Server, path: &str) -> Router {
    let path = path.trim_end_matches('/');
    let below = format!("{path}/{{*rest}}");
    let routes = Router::new().route(&format!("{path}/"), any(handle)).route(&below, any(handle));
    let routes = if path.is_empty() { routes } else { routes.route(path, any(handle)) };
    routes.with_state(server)
}

async fn handle(State(server): State<Server>, request: Request) -> Response {
    let origin = Origin::of(request.headers(), &server.settings().origins);
    let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let gzip = server.settings().gzip.then(|| gzip::is_taken(request.headers()));
    let mut response = if origin == Origin::Refused {
        tracing::debug!(origin = ?request.headers().get(header::ORIGIN), "origin is not allowed");
        (StatusCode::FORBIDDEN, "403: this origin is not allowed (server.allowed_origins)\n").into_response()
    } else {
        dispatch(server, request).await
    };
    origin.answer(asked, response.headers_mut());
    match gzip {
        Some(taken) => gzip::pack(response, taken).await,
        None => response,
    }
}

async fn dispatch(server: Server, request: Request) -> Response {
    let allowed = |carrier| server.settings().transports.contains(&carrier);
    match *request.method() {
        Method::OPTIONS => StatusCode::OK.into_response(),
        Method::POST if allowed(Carrier::LongPolling) => long_polling(server, request).await,
        Method::GET if upgrade::is_asked(request.headers()) && allowed(Carrier::WebSocket) => {
            websocket(server, request)
        }
        Method::GET if allowed(Carrier::CallbackPolling) => callback_polling(server, request).await,
        _ => unknown_transport(),
    }
}

fn unknown_transport() -> Response {
    (StatusCode::BAD_REQUEST, "400: unknown Bayeux transport\n").into_response()
}

fn websocket(server: Server, mut request: Request) -> Response {
    let upgrading = hyper::upgrade::on(&mut request);
    let (parts, _) = request.into_parts();
    let accepted = match upgrade::check(&parts) {
        Ok(accepted) => accepted,
        Err(error) => {
            let mut response = (error.status, format!("{}: {}\n", error.status.as_u16(), error.text)).into_response();
            if let Some((name, value)) = error.header() {
                response.headers_mut().insert(name, value);
            }
            return response;
        }
    };
    let open = parts.extensions.get::<Open>().cloned();
    let headers = Arc::new(kept_headers(&parts));
    let compression = match server.settings().websocket_compression {
        true => deflate::answer(&parts.headers),
        false => None,
    };
    let compresses = compression.is_some();
    tokio::spawn(async move {
        let _open = open;
        let Ok(upgraded) = upgrading.await else { return };
        // The socket itself, out of hyper's hands: from here on it is driven by our own framing.
        match upgraded.downcast::<TokioIo<Stream>>() {
            Ok(socket) => connection::drive(server, socket.io.into_inner(), socket.read_buf, headers, compresses).await,
            Err(_) => tracing::error!("a WebSocket needs this crate's own accept loop (listener::serve)"),
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accepted.accept);
    if let Some(protocol) = accepted.protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    if let Some(compression) = compression {
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, compression);
    }
    response
}

/// The headers that a socket's messages may need later, and no others: they live as long as the socket.
fn kept_headers(parts: &Parts) -> ::http::HeaderMap {
    let mut kept = ::http::HeaderMap::new();
    for name in [header::AUTHORIZATION, header::COOKIE, header::ORIGIN, header::USER_AGENT] {
        // A copy: a clone would hold on to the whole buffer that the request was read into.
        if let Some(Ok(value)) = parts.headers.get(&name).map(|value| HeaderValue::from_bytes(value.as_bytes())) {
            kept.insert(name, value);
        }
    }
    kept
}

async fn long_polling(server: Server, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = match read_body(body, server.options(Carrier::LongPolling).max_message_size).await {
        Ok(body) => body,
        Err(why) => return why.response(&server),
    };
    // Any content type may hold JSON, as in CometD; tools such as curl say "form" unless they are told otherwise.
    let kind = parts.headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let form = kind.starts_with(b"application/x-www-form-urlencoded")
        && !body.trim_ascii_start().starts_with(b"[")
        && !body.trim_ascii_start().starts_with(b"{");
    let messages = if form { callback::form_messages(&body) } else { message::parse(&utf8(body, kind)).ok() };
    match messages {
        Some(messages) if !messages.is_empty() => {
            let context = context(&server, parts, Carrier::LongPolling);
            polling::exchange(server, context, messages, None).await
        }
        _ => malformed(&server, StatusCode::BAD_REQUEST, error::JSON_INVALID),
    }
}

async fn callback_polling(server: Server, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let Some(query) = parts.uri.query().and_then(callback::Query::parse) else { return unknown_transport() };
    match query.messages {
        Some(messages) if !messages.is_empty() => {
            let context = context(&server, parts, Carrier::CallbackPolling);
            polling::exchange(server, context, messages, Some(query.callback)).await
        }
        _ => malformed(&server, StatusCode::BAD_REQUEST, error::JSON_INVALID),
    }
}

fn context(server: &Server, parts: Parts, carrier: Carrier) -> Context {
    let cross_site = Origin::of(&parts.headers, &server.settings().origins).is_secure_cross_site();
    let browser = cookie::browser(&parts.headers);
    let max_sessions = match parts.version {
        ::http::Version::HTTP_2 => server.settings().http2_max_sessions_per_browser,
        _ => server.settings().max_sessions_per_browser,
    };
    Context { carrier, headers: Arc::new(parts.headers), browser, cross_site, max_sessions }
}

/// How much of a body that is too big is read and thrown away, so that its sender gets to read why: bytes and time.
const DISCARD: (usize, Duration) = (32 << 20, Duration::from_secs(5));

/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no body.
enum NoBody {
    TooBig,
    TooSlow,
    Broken,
}

impl NoBody {
    fn response(self, server: &Server) -> Response {
        let mut response = match self {
            NoBody::TooBig => malformed(server, StatusCode::PAYLOAD_TOO_LARGE, error::MESSAGE_TOO_BIG),
            NoBody::TooSlow => (StatusCode::REQUEST_TIMEOUT, "408: the body did not come in time\n").into_response(),
            NoBody::Broken => StatusCode::BAD_REQUEST.into_response(),
        };
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    }
}

async fn read_body(body: Body, max: usize) -> Result<Bytes, NoBody> {
    tokio::time::timeout(BODY_TIMEOUT, read_whole_body(body, max)).await.unwrap_or(Err(NoBody::TooSlow))
}

async fn read_whole_body(mut body: Body, max: usize) -> Result<Bytes, NoBody> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(NoBody::Broken) };
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > max {
            discard(body).await;
            return Err(NoBody::TooBig);
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}

async fn discard(mut body: Body) {
    let (max, time) = DISCARD;
    let reading = async {
        let mut gone = 0;
        while let Some(Ok(frame)) = body.frame().await {
            gone += frame.data_ref().map_or(0, Bytes::len);
            if gone > max {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(time, reading).await;
}

/// The body as UTF-8. Invalid bytes become U+FFFD, as CometD does over HTTP. Of the other charsets that a content type
/// may name, ISO-8859-1 is known, whose bytes are the first 256 characters.
fn utf8(body: Bytes, content_type: &[u8]) -> Bytes {
    let content_type = String::from_utf8_lossy(content_type).to_ascii_lowercase();
    let mut parameters = content_type.split(';').skip(1).filter_map(|parameter| parameter.trim().split_once('='));
    let charset = parameters.find(|(name, _)| *name == "charset").map(|(_, value)| value.trim_matches('"'));
    if charset == Some("iso-8859-1") && !body.is_ascii() {
        return body.iter().copied().map(char::from).collect::<String>().into();
    }
    match String::from_utf8_lossy(&body) {
        std::borrow::Cow::Borrowed(_) => body,
        std::borrow::Cow::Owned(replaced) => replaced.into(),
    }
}

fn malformed(server: &Server, status: StatusCode, text: &'static str) -> Response {
    server.stats().malformed.inc();
    let mut body = vec![b'['];
    Reply::to(&Message::default()).refuse(Refusal::new(text)).write(&mut body);
    body.push(b']');
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
