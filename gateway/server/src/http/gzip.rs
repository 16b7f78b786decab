//! gzip for responses that are worth it. A held connect's response is built when it ends, and mostly small: it goes out
//! as it is.

use ::http::header::{self, HeaderMap, HeaderValue};
use axum::body::{Body, HttpBody};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt;
use std::io::Write;

/// Below it the response is about one packet anyway.
const MIN_SIZE: u64 = 1024;
/// How much is packed before other tasks have their turn.
const STEP: usize = 64 * 1024;

/// Whether a client takes gzip (RFC 9110, 12.5.3).
pub(super) fn is_taken(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).into_iter().filter_map(|line| line.to_str().ok());
    let (mut gzip, mut any) = (None, None);
    for item in lines.flat_map(|line| line.split(',')) {
        let (coding, parameters) = item.split_once(';').unwrap_or((item, ""));
        match coding.trim() {
            name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
                gzip = Some(weighs(parameters));
            }
            "*" => any = Some(weighs(parameters)),
            _ => {}
        }
    }
    gzip.or(any).unwrap_or(false)
}

/// Whether the weight among the parameters is above 0; without one it is 1.
fn weighs(parameters: &str) -> bool {
    let mut weights = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
    let weight = weights.find(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    weight.is_none_or(|(_, value)| value.trim().parse::<f32>().is_ok_and(|q| q > 0.0))
}

/// Packs a response's body if it is whole and large enough, for a client that takes it (`taken`).
pub(super) async fn pack(response: Response, taken: bool) -> Response {
    let (mut parts, body) = response.into_parts();
    parts.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    let large = body.size_hint().exact().is_some_and(|size| size >= MIN_SIZE);
    if !taken || !large || parts.headers.contains_key(header::CONTENT_ENCODING) {
        return Response::from_parts(parts, body);
    }
    let Ok(collected) = body.collect().await else { return Response::from_parts(parts, Body::empty()) };
    let plain = collected.to_bytes();
    match packed(&plain).await {
        Ok(packed) if packed.len() < plain.len() => {
            parts.headers.remove(header::CONTENT_LENGTH);
            parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            Response::from_parts(parts, Body::from(packed))
        }
        _ => Response::from_parts(parts, Body::from(plain)),
    }
}

async fn packed(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut packer = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::fast());
    for step in plain.chunks(STEP) {
        packer.write_all(step)?;
        tokio::task::yield_now().await;
    }
    packer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_used_only_where_the_client_says_so() {
        let taken = |value: &'static str| {
            is_taken(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]))
        };
        for yes in ["gzip", "deflate, GZIP;q=0.1", "br;q=1.0, gzip;q=0.8, *;q=0.1", "*", "x-gzip", "gzip ; q=1, *;q=0"]
        {
            assert!(taken(yes), "{yes}");
        }
        for no in ["", "br", "gzip;q=0", "gzip; q=0.000, *", "*;q=0", "identity", "gzipped", "gzip;q=much"] {
            assert!(!taken(no), "{no}");
        }
        assert!(!is_taken(&HeaderMap::new()));
    }
}
