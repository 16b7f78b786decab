//! The browser's cookie (CometD `BAYEUX_BROWSER`): it binds sessions made over HTTP to the browser that made them.

use crate::settings::{BrowserCookie, SameSite};
use ::http::HeaderMap;
use ::http::header::{self, HeaderValue};
use bytestring::ByteString;
use std::fmt::Write;

/// The longest value that is looked at: no browser keeps a longer cookie.
const MAX_VALUE: usize = 4096;

/// The cookie's value, if the request has one; it may be empty.
pub(super) fn browser(headers: &HeaderMap, name: &str) -> Option<ByteString> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, value)| *key == name && value.len() <= MAX_VALUE)
        .map(|(_, value)| ByteString::from(value.trim_matches('"')))
}

/// The header that sets it. `secure`: the request came by TLS; `cross_site`: from a page of another site, loaded by TLS,
/// which gets it back only with `SameSite=None; Secure`.
pub(super) fn set(cookie: &BrowserCookie, value: &str, secure: bool, cross_site: bool) -> Option<HeaderValue> {
    let mut header = format!("{}={value}", cookie.name);
    let same_site = cookie.same_site.or(cross_site.then_some(SameSite::None));
    if let Some(domain) = &cookie.domain {
        let _ = write!(header, "; Domain={domain}");
    }
    let _ = write!(header, "; Path={}", cookie.path);
    if let Some(seconds) = cookie.max_age {
        let _ = write!(header, "; Max-Age={seconds}");
    }
    if cookie.http_only {
        header.push_str("; HttpOnly");
    }
    if (secure && cookie.secure) || (cross_site && same_site == Some(SameSite::None)) {
        header.push_str("; Secure");
    }
    if let Some(same_site) = same_site {
        let _ = write!(header, "; SameSite={}", same_site.as_str());
    }
    if cookie.partitioned {
        header.push_str("; Partitioned");
    }
    HeaderValue::try_from(header).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        assert_eq!(browser(&headers, "BAYEUX_BROWSER"), None);
        headers.append(header::COOKIE, HeaderValue::from_static("a=b; c; bayeux_browser=no"));
        headers.append(header::COOKIE, HeaderValue::from_static("x=y; BAYEUX_BROWSER=abc; BAYEUX_BROWSER=second"));
        assert_eq!(browser(&headers, "BAYEUX_BROWSER").unwrap(), "abc");
        assert_eq!(browser(&headers, "x").unwrap(), "y");
    }

    #[test]
    fn a_page_of_another_site_gets_a_cookie_that_it_may_send_back() {
        let said = |cookie: &BrowserCookie, secure, cross| set(cookie, "v", secure, cross).unwrap();
        let plain = BrowserCookie::default();
        assert_eq!(said(&plain, true, false), "BAYEUX_BROWSER=v; Path=/; HttpOnly");
        assert_eq!(said(&plain, true, true), "BAYEUX_BROWSER=v; Path=/; HttpOnly; Secure; SameSite=None");
        let strict = BrowserCookie { same_site: Some(SameSite::Strict), ..plain.clone() };
        assert_eq!(said(&strict, true, true), "BAYEUX_BROWSER=v; Path=/; HttpOnly; SameSite=Strict");
        let secure = BrowserCookie { secure: true, http_only: false, max_age: Some(60), ..plain };
        assert_eq!(said(&secure, false, false), "BAYEUX_BROWSER=v; Path=/; Max-Age=60");
        assert_eq!(said(&secure, true, false), "BAYEUX_BROWSER=v; Path=/; Max-Age=60; Secure");
    }
}
