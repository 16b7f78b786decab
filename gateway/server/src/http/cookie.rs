//! The browser's cookie (CometD `BAYEUX_BROWSER`): it binds sessions made over HTTP to the browser that made them.

use ::http::HeaderMap;
use ::http::header::{self, HeaderValue};
use bytestring::ByteString;

const NAME: &str = "BAYEUX_BROWSER";

/// The longest value that is looked at: no browser keeps a longer cookie.
const MAX_VALUE: usize = 4096;

/// The cookie's value, if the request has one.
pub(super) fn browser(headers: &HeaderMap) -> Option<ByteString> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, value)| *name == NAME && value.len() <= MAX_VALUE)
        .map(|(_, value)| ByteString::from(value.trim_matches('"')))
}

/// The header that sets it. `cross_site`: for a page of another site, which gets it back only so.
pub(super) fn set(value: &ByteString, cross_site: bool) -> Option<HeaderValue> {
    let also = if cross_site { "; SameSite=None; Secure" } else { "" };
    HeaderValue::try_from(format!("{NAME}={value}; Path=/; HttpOnly{also}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        assert_eq!(browser(&headers), None);
        headers.append(header::COOKIE, HeaderValue::from_static("a=b; c"));
        headers.append(header::COOKIE, HeaderValue::from_static("x=y; BAYEUX_BROWSER=abc"));
        assert_eq!(browser(&headers).unwrap(), "abc");
    }
}
