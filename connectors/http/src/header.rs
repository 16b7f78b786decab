//! The headers that every request to a backend carries.

/// The concrete channel that the message was sent to: `/service/quote/ABC`.
pub const CHANNEL: &str = "bayeux-channel";
/// The authenticated user, in UTF-8; absent for an anonymous session.
pub const USER: &str = "bayeux-user";
/// A random tag, the same for all requests of one session. Not the client id: it gives no access.
pub const SESSION: &str = "bayeux-session";
/// The user's claims: a JSON object, written in base64url without padding; absent where there are none.
pub const CLAIMS: &str = "bayeux-claims";
/// W3C trace context; absent where the request is not traced.
pub const TRACEPARENT: &str = "traceparent";

/// Whether this name (in lower case) is set by the handler or by HTTP itself, and so cannot be configured.
pub(crate) fn is_reserved(name: &str) -> bool {
    const HTTP: [&str; 9] = [
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    name.starts_with("bayeux-") || name == TRACEPARENT || HTTP.contains(&name)
}
