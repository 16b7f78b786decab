//! The HTTP side: routes, long-polling, callback-polling, and the way into a WebSocket.

mod body;
mod callback;
mod charset;
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
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bayeux::error;
use bayeux::message::{self, Message};
use bayeux::reply::{Refusal, Reply};
use bayeux::session::Carrier;
use body::NoBody;
use hyper_util::rt::TokioIo;
use origin::Origin;
use std::sync::Arc;

/// The routes of a Bayeux server: `path` and all below it, as clients append `/handshake`, `/connect`, `/disconnect`, or
/// just a slash. WebSockets are opened at `path` only (CometD: `ws.cometdURLMapping`).
pub fn router(server: Server, path: &str) -> Router {
    let path = path.trim_end_matches('/');
    let exact = any(|State(server), request| handle(server, request, true));
    let below = any(|State(server), request| handle(server, request, false));
    let routes = Router::new().route(&format!("{path}/{{*rest}}"), below.clone());
    let routes = match path {
        "" => routes.route("/", exact),
        path => routes.route(path, exact).route(&format!("{path}/"), below),
    };
    routes.with_state(server)
}

/// A file at `path`, for pages that may use the server: beside the [`router`], whose requests that path takes as well. A
/// request for the file has no query, which tells it from callback-polling.
pub fn file(server: Server, path: &str, content_type: &'static str, text: &'static str) -> Router {
    let at_path = any(move |State(server): State<Server>, request: Request| async move {
        if request.method() != Method::GET || request.uri().query().is_some() {
            return handle(server, request, false).await;
        }
        let headers = [
            (header::CONTENT_TYPE, content_type),
            (header::CACHE_CONTROL, "max-age=3600"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        by_origin(&server, request, async |_| (headers, text).into_response()).await
    });
    Router::new().route(path, at_path).with_state(server)
}

async fn handle(server: Server, request: Request, exact: bool) -> Response {
    by_origin(&server, request, async |request| dispatch(server.clone(), request, exact).await).await
}

/// An answer for pages of origins that may have it; of others the request is refused.
async fn by_origin(server: &Server, request: Request, answer: impl AsyncFnOnce(Request) -> Response) -> Response {
    let origin = Origin::of(request.headers(), &server.settings().origins);
    let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let gzip = server.settings().gzip.then(|| gzip::is_taken(request.headers()));
    let mut response = if origin == Origin::Refused {
        tracing::debug!(origin = ?request.headers().get(header::ORIGIN), "origin is not allowed");
        (StatusCode::FORBIDDEN, "403: this origin is not allowed (server.allowed_origins)\n").into_response()
    } else {
        answer(request).await
    };
    origin.answer(asked, response.headers_mut());
    match gzip {
        Some(taken) => gzip::pack(response, taken).await,
        None => response,
    }
}

async fn dispatch(server: Server, request: Request, exact: bool) -> Response {
    let allowed = |carrier| server.settings().transports.contains(&carrier);
    let method = request.method();
    if method == Method::OPTIONS {
        StatusCode::OK.into_response()
    } else if method == Method::POST && allowed(Carrier::LongPolling) {
        long_polling(server, request).await
    } else if method == Method::GET && exact && upgrade::is_asked(request.headers()) && allowed(Carrier::WebSocket) {
        websocket(server, request)
    } else if method == Method::GET && allowed(Carrier::CallbackPolling) {
        callback_polling(server, request).await
    } else {
        unknown_transport()
    }
}

fn unknown_transport() -> Response {
    (StatusCode::BAD_REQUEST, "400: unknown Bayeux transport\n").into_response()
}

fn websocket(server: Server, mut request: Request) -> Response {
    let upgrading = hyper::upgrade::on(&mut request);
    let (parts, _) = request.into_parts();
    let options = &server.settings().websocket;
    let accepted = match upgrade::check(&parts, options.protocol.as_deref()) {
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
    let compression = match options.compression {
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
    let body = match body::read(body, server.options(Carrier::LongPolling).max_message_size).await {
        Ok(body) => body,
        Err(why) => return no_body(&server, why),
    };
    // Any content type may hold JSON, as in CometD; tools such as curl say "form" unless they are told otherwise.
    let kind = parts.headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let form = kind.starts_with(b"application/x-www-form-urlencoded")
        && !body.trim_ascii_start().starts_with(b"[")
        && !body.trim_ascii_start().starts_with(b"{");
    let messages = if form { callback::form_messages(&body) } else { message::parse(&charset::utf8(body, kind)).ok() };
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
    let Some(query) = parts.uri.query().and_then(|query| callback::Query::parse(query, &server.settings().callback))
    else {
        return unknown_transport();
    };
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
    let browser = cookie::browser(&parts.headers, &server.settings().browser_cookie.name);
    let options = server.settings().http(carrier);
    let max_sessions = match parts.version {
        ::http::Version::HTTP_2 => options.http2_max_sessions_per_browser,
        _ => options.max_sessions_per_browser,
    };
    let secure =
        parts.extensions.get::<Open>().is_some_and(Open::is_secure) || origin::is_forwarded_https(&parts.headers);
    let headers = Arc::new(parts.headers);
    Context { carrier, headers, browser, secure, cross_site, max_sessions, outlet: None, local: None }
}

fn no_body(server: &Server, why: NoBody) -> Response {
    let mut response = match why {
        NoBody::TooBig => malformed(server, StatusCode::PAYLOAD_TOO_LARGE, error::MESSAGE_TOO_BIG),
        NoBody::TooSlow => (StatusCode::REQUEST_TIMEOUT, "408: the body did not come in time\n").into_response(),
        NoBody::Broken => StatusCode::BAD_REQUEST.into_response(),
    };
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn malformed(server: &Server, status: StatusCode, text: &'static str) -> Response {
    server.stats().malformed.inc();
    let mut body = vec![b'['];
    Reply::to(&Message::default()).refuse(Refusal::new(text)).write(&mut body);
    body.push(b']');
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
#[path = "http/tests/callback_property.rs"]
mod callback_property;
#[cfg(test)]
#[path = "http/tests/corpus.rs"]
mod corpus;
