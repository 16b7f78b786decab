//! Which pages may use the server: CORS with credentials, and the check of a WebSocket's origin (a browser asks no
//! leave before it opens one).

use crate::settings::Origins;
use ::http::HeaderMap;
use ::http::header::{self, HeaderValue};

/// The verdict on a request's `Origin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// There is none, or it is the server's own: nothing to say.
    Own,
    /// Another one that is allowed.
    Allowed(HeaderValue),
    /// Another one that is not.
    Refused,
}

impl Origin {
    pub(super) fn of(headers: &HeaderMap, origins: &Origins) -> Self {
        let Some(origin) = headers.get(header::ORIGIN) else { return Origin::Own };
        let Ok(text) = origin.to_str() else { return Origin::Refused };
        let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
        // A proxy in front may speak TLS where we do not, so schemes are not compared.
        let same = text
            .split_once("://")
            .is_some_and(|(_, authority)| host.is_some_and(|h| h.eq_ignore_ascii_case(authority)));
        if same {
            return Origin::Own;
        }
        match origins {
            Origins::Listed(list)
                if list.iter().any(|o| o == "*" || o.trim_end_matches('/').eq_ignore_ascii_case(text)) =>
            {
                Origin::Allowed(origin.clone())
            }
            _ => Origin::Refused,
        }
    }

    /// A page of another site that was loaded by TLS: it gets cookies only with `SameSite=None; Secure`.
    pub(super) fn is_secure_cross_site(&self) -> bool {
        matches!(self, Origin::Allowed(origin) if origin.as_bytes().starts_with(b"https://"))
    }

    /// The headers that tell the browser. `asked`: the headers that a preflight asks to be allowed.
    pub(super) fn answer(self, asked: Option<HeaderValue>, headers: &mut HeaderMap) {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Origin::Allowed(origin) = self {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
            let allowed = asked.unwrap_or(HeaderValue::from_static("content-type"));
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        }
    }
}

/// A proxy in front says that it was asked by TLS (`X-Forwarded-Proto`, or `Forwarded`, RFC 7239). Anybody may say so:
/// it decides nothing but what is told to the one who said it.
pub(super) fn is_forwarded_https(headers: &HeaderMap) -> bool {
    let first = |name| headers.get(name)?.to_str().ok()?.split(',').next().map(str::to_ascii_lowercase);
    first("x-forwarded-proto").is_some_and(|proto| proto.trim() == "https")
        || first("forwarded")
            .is_some_and(|hop| hop.split(';').any(|pair| matches!(pair.trim(), "proto=https" | "proto=\"https\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(origin: &'static str, origins: &Origins) -> Origin {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("gw.example:8080"));
        headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        Origin::of(&headers, origins)
    }

    #[test]
    fn only_the_own_origin_and_listed_ones_come_in() {
        let listed = Origins::Listed(vec!["https://app.example.com".into()]);
        assert_eq!(verdict("http://gw.example:8080", &Origins::Same), Origin::Own);
        assert_eq!(verdict("https://app.example.com", &Origins::Same), Origin::Refused);
        assert!(matches!(verdict("https://app.example.com", &listed), Origin::Allowed(_)));
        assert_eq!(verdict("https://app.example.com.evil.com", &listed), Origin::Refused);
        assert_eq!(verdict("null", &listed), Origin::Refused);
        assert!(matches!(verdict("https://x", &Origins::Listed(vec!["*".into()])), Origin::Allowed(_)));
        assert_eq!(Origin::of(&HeaderMap::new(), &Origins::Same), Origin::Own);
    }

    #[test]
    fn a_proxy_tells_that_it_was_asked_by_tls() {
        let said = |name: &'static str, value: &'static str| {
            is_forwarded_https(&HeaderMap::from_iter([(
                header::HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )]))
        };
        assert!(said("x-forwarded-proto", "HTTPS") && said("x-forwarded-proto", "https, http"));
        assert!(said("forwarded", "for=1.2.3.4;proto=https, for=x;proto=http"));
        assert!(!said("x-forwarded-proto", "http, https") && !said("forwarded", "for=https"));
    }
}
