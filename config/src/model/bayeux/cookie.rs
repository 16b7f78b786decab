//! The cookie of the polling transports.

use connector::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The cookie that binds sessions made over HTTP to the browser that made them: a client id is of no use without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BrowserCookie {
    /// Its name.
    pub name: String,
    /// The domain that gets it, such as `example.com`, with all its hosts. Absent: the host of the request alone.
    pub domain: Option<String>,
    /// The path that gets it, with all below it.
    pub path: String,
    /// How long a browser keeps it, such as `30d`; whole seconds. Absent: until it is closed.
    pub max_age: Option<Duration>,
    /// Have browsers send it by TLS only. Said where the request came by TLS, to the gateway itself or to a proxy in front
    /// that sets `X-Forwarded-Proto`.
    pub secure: bool,
    /// Hide it from scripts.
    pub http_only: bool,
    /// Which requests browsers send it with. Absent: their default, which is `lax`; and `none`, with `Secure`, for pages of
    /// another site that `server.allowed_origins` lets in by TLS, as they would not get it back otherwise.
    pub same_site: Option<SameSite>,
    /// Have browsers keep one for each site whose pages embed this one, which they allow where they block cookies of third
    /// parties. They want `secure` with it.
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

/// Which requests a browser sends a cookie with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SameSite {
    /// Those of the gateway's own site.
    Strict,
    /// Those, and when a link leads to it.
    Lax,
    /// All. Browsers want `secure` with it.
    None,
}
