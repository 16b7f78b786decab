//! Request handler: HTTP backends.
//!
//! `channel: /service/quote/{symbol}` beside `http: { url: "http://127.0.0.1:3000/quote/{symbol}" }`.
//!
//! # The request
//! The message's data is the body, exactly as the client sent it, as `application/json`; a message without data sends
//! `null`. GET and DELETE carry no body: what they need goes into the URL.
//!
//! `{name}` in `url` and `headers` is what the channel's pattern bound; `{session.user}`, `{claims.NAME}` and
//! `{data:/json/pointer}` can be used as well. In the path each value is (part of) one percent-encoded segment, in the
//! query (part of) one value: it never adds a segment, a parameter or a host. A segment that would become empty, `.` or
//! `..`, a header with a control character and a value that is missing are [`HandlerError::Invalid`]: nothing is sent.
//!
//! Besides the configured headers each request says who asks ([`header`]). A backend should take these only from the
//! gateway: bind it to the loopback or ask for a secret in `headers`.
//!
//! # The answer
//! | backend | caller |
//! |---|---|
//! | 2xx with JSON | the JSON, byte for byte |
//! | 2xx without a body | `null` |
//! | 2xx with `text/*` | a JSON string |
//! | 2xx with anything else, 3xx (never followed), more than `max_response` | failed, 502 |
//! | 4xx | refused with that code; the body as JSON, else as a JSON string |
//! | 5xx | failed with that code; the body likewise |
//! | no connection within `connect_timeout` | unavailable |
//! | no whole answer by the deadline | timeout; the request is given up |
//!
//! # The connection
//! One pool per handler; HTTP/1.1, and HTTP/2 where TLS negotiates it; no proxy, whatever the environment says. The
//! process must have installed a rustls `CryptoProvider` (this workspace: ring) before a handler is made.
//!
//! [`HandlerError::Invalid`]: connector::HandlerError::Invalid

mod answer;
mod config;
mod handler;
pub mod header;
mod target;
mod template;

pub use config::{HttpFactory, HttpPlan, Method, Settings};
