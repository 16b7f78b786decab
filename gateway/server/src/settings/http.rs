//! What an operator sets for the two polling transports (CometD `AbstractHttpTransport`, `JSONPHttpTransport`).

use http::StatusCode;
use std::time::Duration;

/// The options of one polling transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpOptions {
    /// How many sessions of one browser (one cookie) may hold a poll at the same time; 0: none, negative: no bound.
    pub max_sessions_per_browser: i32,
    /// The same where the browser speaks HTTP/2, which takes all its requests over one connection.
    pub http2_max_sessions_per_browser: i32,
    /// How long a session waits between connects while so many others of its browser hold one; zero: it is refused.
    pub multi_session_interval: Duration,
    /// Takes a client id without its cookie, for clients that keep none.
    pub trust_client_session: bool,
    /// What a held connect is answered with when a newer one takes its place; 400 at least.
    pub duplicate_connect_status: StatusCode,
}

impl Default for HttpOptions {
    fn default() -> Self {
        HttpOptions {
            max_sessions_per_browser: 1,
            http2_max_sessions_per_browser: -1,
            multi_session_interval: Duration::from_secs(2),
            trust_client_session: false,
            duplicate_connect_status: StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// The query parameter of callback-polling that names the function to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackParameter {
    /// The parameter.
    pub name: String,
    /// The longest name of a function, in bytes.
    pub max_length: usize,
}

impl Default for CallbackParameter {
    fn default() -> Self {
        CallbackParameter { name: "jsonp".to_owned(), max_length: 64 }
    }
}

/// The cookie that binds sessions to the browser that made them. Its texts go into a header as they are: whoever takes
/// them from elsewhere checks them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrowserCookie {
    /// A token (RFC 6265, 4.1.1).
    pub name: String,
    /// `Domain`; `None`: the host that sets it, and no other.
    pub domain: Option<String>,
    /// `Path`.
    pub path: String,
    /// `Max-Age` in seconds; `None`: until the browser is closed.
    pub max_age: Option<u64>,
    /// `Secure`, where the request came by TLS.
    pub secure: bool,
    /// `HttpOnly`: no script sees it.
    pub http_only: bool,
    /// `SameSite`; `None`: the browser's default, and for an allowed page of another site that was loaded by TLS
    /// [`SameSite::None`], as it would not get the cookie back otherwise.
    pub same_site: Option<SameSite>,
    /// `Partitioned`: one cookie per page that embeds this site.
    pub partitioned: bool,
}

impl Default for BrowserCookie {
    fn default() -> Self {
        BrowserCookie {
            name: "BAYEUX_BROWSER".to_owned(),
            domain: None,
            path: "/".to_owned(),
            max_age: None,
            secure: false,
            http_only: true,
            same_site: None,
            partitioned: false,
        }
    }
}

/// Which requests a browser sends the cookie with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// Those of this site's own pages.
    Strict,
    /// Those, and when a link leads here.
    Lax,
    /// All; browsers want [`BrowserCookie::secure`] with it.
    None,
}

impl SameSite {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            SameSite::Strict => "Strict",
            SameSite::Lax => "Lax",
            SameSite::None => "None",
        }
    }
}
