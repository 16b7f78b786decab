//! Request handlers: what answers a message on `/service/**`.

use crate::BoxFuture;
use bytes::Bytes;
use bytestring::ByteString;
use std::time::Instant;
use thiserror::Error;

/// Who asks.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The authenticated user, if any.
    pub user: Option<ByteString>,
    /// The user's claims as a JSON object, if any.
    pub claims: Option<Bytes>,
    /// A random tag that stays the same for one session and tells nothing else; it is not the client id.
    pub session_tag: ByteString,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    /// The concrete `/service/…` channel.
    pub channel: ByteString,
    /// What the pattern's `{names}` bound, decoded.
    pub bindings: Vec<(ByteString, ByteString)>,
    /// The message's data: JSON text exactly as sent; `null` when there was none.
    pub data: Bytes,
    /// Who asks.
    pub caller: Caller,
    /// W3C trace context, if any.
    pub traceparent: Option<ByteString>,
    /// By then the answer must be there.
    pub deadline: Instant,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// JSON text. `null` when the backend had nothing to say.
    pub data: Bytes,
}

/// Why there is no answer. Each carries what the caller is shown as failure data (JSON text), if the backend sent any.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HandlerError {
    /// The backend refused the request: the caller's fault, as 4xx.
    #[error("refused by the backend with {code}")]
    Refused {
        /// 400 to 499.
        code: u16,
        /// The backend's words as JSON text.
        data: Option<Bytes>,
    },
    /// The backend failed on it, as 5xx, or its answer could not be understood.
    #[error("{reason}")]
    Failed {
        /// 500 to 599.
        code: u16,
        /// For the log and the caller: one sentence without addresses or secrets.
        reason: String,
        /// The backend's words as JSON text.
        data: Option<Bytes>,
    },
    /// The backend could not be reached.
    #[error("backend is not reachable")]
    Unavailable(String),
    /// No answer by the deadline.
    #[error("no answer in time")]
    Timeout,
    /// Too many requests are waiting for this backend.
    #[error("too many requests are waiting")]
    Overloaded,
    /// The request cannot be expressed to the backend, such as a value that may not stand in a URL.
    #[error("{0}")]
    Invalid(String),
}

/// Answers requests.
pub trait RequestHandler: Send + Sync + 'static {
    /// Answers one request. Dropping the future gives it up.
    ///
    /// # Errors
    /// See [`HandlerError`].
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, HandlerError>>;

    /// Reaches the backend once: for `check --connect`. A line for a person to read.
    ///
    /// # Errors
    /// One sentence: what could not be reached, and what to do.
    fn probe(&self, timeout: std::time::Duration) -> BoxFuture<'_, Result<String, String>>;
}
