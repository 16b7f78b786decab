//! The opening handshake: the RFC's example, what clients and proxies make of it, and everything that can be missing.

use super::{Upgrade, UpgradeError, accept_key, is_asked};
use http::{HeaderValue, Request, StatusCode, Version, request::Parts};

/// The request of RFC 6455, 1.3, with some headers replaced (an empty value: taken out) or added.
fn request(changes: &[(&str, &str)]) -> Parts {
    let mut parts = Request::get("/chat").body(()).unwrap().into_parts().0;
    let mut set = |name: &str, value: &str| {
        let name: http::HeaderName = name.parse().unwrap();
        match value {
            "" => drop(parts.headers.remove(name)),
            value => drop(parts.headers.insert(name, value.parse().unwrap())),
        }
    };
    set("host", "server.example.com");
    set("upgrade", "websocket");
    set("connection", "Upgrade");
    set("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    set("origin", "http://example.com");
    set("sec-websocket-version", "13");
    changes.iter().for_each(|(name, value)| set(name, value));
    parts
}

fn check(request: &Parts) -> Result<Upgrade, UpgradeError> {
    super::check(request, None)
}

fn refused(changes: &[(&str, &str)]) -> UpgradeError {
    check(&request(changes)).unwrap_err()
}

#[test]
fn the_key_of_the_rfc_gives_the_accept_of_the_rfc() {
    let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(accept_key(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn the_request_of_the_rfc_is_taken() {
    let upgrade = check(&request(&[])).unwrap();
    assert_eq!(upgrade.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(upgrade.protocol, None);
}

#[test]
fn token_lists_are_read_in_any_case_and_over_several_lines() {
    assert!(check(&request(&[("connection", "keep-alive, UPGRADE"), ("upgrade", "h2c , WebSocket")])).is_ok());
    let mut parts = request(&[("connection", "keep-alive")]);
    parts.headers.append("connection", HeaderValue::from_static("upgrade"));
    assert!(check(&parts).is_ok());
    assert_eq!(refused(&[("connection", "not-upgrade")]).text, "the header Connection does not say Upgrade");
    assert_eq!(refused(&[("upgrade", "websockets")]).text, "the header Upgrade does not say websocket");
}

#[test]
fn an_ordinary_request_does_not_ask_for_a_websocket() {
    assert!(is_asked(&request(&[]).headers));
    assert!(is_asked(&request(&[("sec-websocket-key", "")]).headers), "it asks wrongly, and is to be told so");
    assert!(!is_asked(&request(&[("upgrade", "")]).headers));
}

#[test]
fn another_version_is_told_which_one_is_spoken() {
    for version in ["", "8", "13, 8", "013"] {
        let error = refused(&[("sec-websocket-version", version)]);
        assert_eq!(error.status, StatusCode::UPGRADE_REQUIRED);
        let (name, value) = error.header().unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("sec-websocket-version", "13"));
    }
}

#[test]
fn a_key_is_sixteen_bytes_in_base64_and_stands_once() {
    let eighteen = "AAAAAAAAAAAAAAAAAAAAAAAA";
    for key in
        ["", "short", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25j", eighteen, "dGhlIHNhbXBsZSBub25jZR==", "!"]
    {
        let error = refused(&[("sec-websocket-key", key)]);
        assert_eq!(error.status, StatusCode::BAD_REQUEST, "{key}");
        assert_eq!(error.header(), None);
    }
    let mut twice = request(&[]);
    twice.headers.append("sec-websocket-key", HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
    assert_eq!(check(&twice).unwrap_err().status, StatusCode::BAD_REQUEST);
}

#[test]
fn only_a_get_over_http_1_1_opens_a_websocket() {
    let mut post = request(&[]);
    post.method = http::Method::POST;
    assert_eq!(check(&post).unwrap_err().status, StatusCode::METHOD_NOT_ALLOWED);
    for version in [Version::HTTP_10, Version::HTTP_2] {
        let mut other = request(&[]);
        other.version = version;
        assert_eq!(check(&other).unwrap_err().text, "a WebSocket is opened over HTTP/1.1");
    }
}

#[test]
fn the_first_offered_sub_protocol_is_named() {
    let offered = |list| check(&request(&[("sec-websocket-protocol", list)])).unwrap().protocol;
    assert_eq!(offered("bayeux/x, cometd, other").unwrap(), "cometd", "the first that is legal");
    assert_eq!(offered(" , "), None);
}

#[test]
fn the_wanted_sub_protocol_is_named_if_it_is_offered() {
    let offered = |list| super::check(&request(&[("sec-websocket-protocol", list)]), Some("bayeux")).unwrap().protocol;
    assert_eq!(offered("cometd, bayeux").unwrap(), "bayeux");
    assert_eq!(offered("cometd, Bayeux"), None);
}
