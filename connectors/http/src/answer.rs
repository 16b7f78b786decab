//! From the backend's answer to the caller's.

use bytes::{Bytes, BytesMut};
use connector::{HandlerError, Response};
use reqwest::header::CONTENT_TYPE;
use serde_json::value::RawValue;

/// Reads the answer, at most `max` bytes of body.
///
/// # Errors
/// See the table in the crate's documentation.
pub(crate) async fn read(mut response: reqwest::Response, max: usize) -> Result<Response, HandlerError> {
    let status = response.status();
    let content = Content::of(&response);
    let body = body(&mut response, max).await?;
    match status.as_u16() {
        200..=299 => {
            let Some(body) = body else {
                return Err(not_understood("the backend's answer is larger than `max_response` allows"));
            };
            success(content, &body).map(|data| Response { data })
        }
        code @ 400..=499 => Err(HandlerError::Refused { code, data: body.and_then(|body| words(&body)) }),
        code @ 500..=599 => Err(HandlerError::Failed {
            code,
            reason: format!("the backend answered {code}"),
            data: body.and_then(|body| words(&body)),
        }),
        300..=399 => Err(not_understood("the backend redirects, which is not followed")),
        _ => Err(not_understood("the backend answered with a status that HTTP does not know")),
    }
}

/// The connection broke before the whole answer was there.
pub(crate) fn broken() -> HandlerError {
    not_understood("the backend broke the connection, or does not speak HTTP")
}

fn not_understood(reason: &str) -> HandlerError {
    HandlerError::Failed { code: 502, reason: reason.to_owned(), data: None }
}

/// What a body is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Json,
    Text,
    Untold,
    Other,
}

impl Content {
    fn of(response: &reqwest::Response) -> Content {
        let Some(value) = response.headers().get(CONTENT_TYPE) else { return Content::Untold };
        let value = value.to_str().unwrap_or_default();
        let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if essence.ends_with("/json") || essence.ends_with("+json") {
            Content::Json
        } else if essence.starts_with("text/") {
            Content::Text
        } else {
            Content::Other
        }
    }
}

/// The whole body; `None` when it is larger.
async fn body(response: &mut reqwest::Response, max: usize) -> Result<Option<Bytes>, HandlerError> {
    let max_known = u64::try_from(max).unwrap_or(u64::MAX);
    if response.content_length().is_some_and(|length| length > max_known) {
        return Ok(None);
    }
    let mut whole = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| broken())? {
        if whole.len() + joined.len() + chunk.len() > max {
            return Ok(None);
        }
        if whole.is_empty() && joined.is_empty() {
            whole = chunk; // most answers come in one piece, which is then taken as it is
        } else {
            if joined.is_empty() {
                joined.extend_from_slice(&std::mem::take(&mut whole));
            }
            joined.extend_from_slice(&chunk);
        }
    }
    Ok(Some(if joined.is_empty() { whole } else { joined.freeze() }))
}

fn success(content: Content, body: &Bytes) -> Result<Bytes, HandlerError> {
    if body.trim_ascii().is_empty() && content != Content::Text || body.is_empty() {
        return Ok(Bytes::from_static(b"null"));
    }
    let data = match content {
        Content::Json | Content::Untold => json(body),
        Content::Text => string(body),
        Content::Other => None,
    };
    data.ok_or_else(|| {
        not_understood(match content {
            Content::Json => "the backend's answer says that it is JSON, and is not",
            Content::Text => "the backend's answer is text, but not in UTF-8",
            Content::Untold | Content::Other => "the backend's answer is neither JSON nor text",
        })
    })
}

/// What a backend says with an error: its JSON, else its text.
fn words(body: &Bytes) -> Option<Bytes> {
    if body.trim_ascii().is_empty() { None } else { json(body).or_else(|| string(body)) }
}

/// The body, if it is one JSON value.
fn json(body: &Bytes) -> Option<Bytes> {
    let value: &RawValue = serde_json::from_slice(body).ok()?;
    Some(body.slice_ref(value.get().as_bytes()))
}

/// The body as a JSON string, if it is UTF-8.
fn string(body: &Bytes) -> Option<Bytes> {
    let text = std::str::from_utf8(body).ok()?;
    serde_json::to_vec(text).ok().map(Bytes::from)
}
