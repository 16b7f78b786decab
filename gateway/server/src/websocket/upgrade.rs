//! The opening handshake of a WebSocket (RFC 6455, 4.2), as pure checks of a request's head.
//!
//! The origin is not looked at here: it is a rule of the server's settings, not of the protocol.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{Method, StatusCode, Version, request::Parts};
use sha1::{Digest, Sha1};

/// The one version of the protocol that there is.
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// What every server appends to a client's key (RFC 6455, 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What the answer `101 Switching Protocols` says, besides `Connection: Upgrade` and `Upgrade: websocket`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The value of `Sec-WebSocket-Accept`.
    pub accept: HeaderValue,
    /// The wanted sub-protocol, if the client offers it; or the first that it offers where none is wanted. A browser that
    /// offered some closes the connection unless the answer's `Sec-WebSocket-Protocol` names one of them.
    pub protocol: Option<HeaderValue>,
}

/// Why a request cannot become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct UpgradeError {
    /// The status of the answer.
    pub status: StatusCode,
    /// What is wrong, in words for the one who wrote the client.
    pub text: &'static str,
}

impl UpgradeError {
    const fn bad(text: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, text }
    }

    /// The header that the answer has to have, if any: a 426 says which version is spoken here (RFC 6455, 4.4).
    pub fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        (self.status == StatusCode::UPGRADE_REQUIRED).then_some((SEC_WEBSOCKET_VERSION, VERSION))
    }
}

/// Whether a request asks for a WebSocket at all, rightly or wrongly. If so, [`check`] it.
pub fn is_asked(headers: &HeaderMap) -> bool {
    has_token(headers, &UPGRADE, "websocket")
}

/// Checks the head of a request that asks for a WebSocket. `wanted`: the sub-protocol that the server speaks, if it
/// matters.
///
/// # Errors
/// The status and text to answer with, and [`UpgradeError::header`].
pub fn check(request: &Parts, wanted: Option<&str>) -> Result<Upgrade, UpgradeError> {
    if request.method != Method::GET {
        return Err(UpgradeError { status: StatusCode::METHOD_NOT_ALLOWED, text: "a WebSocket is opened by GET" });
    }
    if request.version != Version::HTTP_11 {
        return Err(UpgradeError::bad("a WebSocket is opened over HTTP/1.1"));
    }
    let headers = &request.headers;
    if !has_token(headers, &UPGRADE, "websocket") {
        return Err(UpgradeError::bad("the header Upgrade does not say websocket"));
    }
    if !has_token(headers, &CONNECTION, "upgrade") {
        return Err(UpgradeError::bad("the header Connection does not say Upgrade"));
    }
    if only(headers, &SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
        return Err(UpgradeError {
            status: StatusCode::UPGRADE_REQUIRED,
            text: "the header Sec-WebSocket-Version is not 13",
        });
    }
    let key = only(headers, &SEC_WEBSOCKET_KEY).filter(|key| is_key(key));
    let key = key.ok_or(UpgradeError::bad("the header Sec-WebSocket-Key is not 16 bytes in base64"))?;
    Ok(Upgrade { accept: accept_key(key), protocol: protocol(headers, wanted) })
}

/// The value of `Sec-WebSocket-Accept` for a client's `Sec-WebSocket-Key` (RFC 6455, 4.2.2 item 5.4).
pub fn accept_key(key: &HeaderValue) -> HeaderValue {
    let digest = Sha1::new().chain_update(key.as_bytes()).chain_update(GUID).finalize();
    let encoded = STANDARD.encode(digest);
    HeaderValue::from_str(&encoded).unwrap_or_else(|_| unreachable!("base64 is legal in a header"))
}

fn is_key(key: &HeaderValue) -> bool {
    STANDARD.decode(key.as_bytes()).is_ok_and(|nonce| nonce.len() == 16)
}

/// The value of a header that may stand only once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// The items of a comma-separated header, over all its lines.
fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(|item| item.trim_matches([' ', '\t'])).filter(|item| !item.is_empty())
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    items(headers, name).any(|item| item.eq_ignore_ascii_case(token))
}

fn protocol(headers: &HeaderMap, wanted: Option<&str>) -> Option<HeaderValue> {
    // A sub-protocol is a token (RFC 6455, 4.1), which has the grammar of a header's name.
    let token = |item: &&str| HeaderName::from_bytes(item.as_bytes()).is_ok();
    let mut offered = items(headers, &SEC_WEBSOCKET_PROTOCOL).filter(token);
    offered.find(|item| wanted.is_none_or(|wanted| wanted == *item)).and_then(|item| HeaderValue::from_str(item).ok())
}

#[cfg(test)]
#[path = "tests/upgrade.rs"]
mod tests;
