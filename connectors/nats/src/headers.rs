//! Record headers as NATS headers and back.
//!
//! NATS headers are lines `Name: value` between the subject and the payload. Names are printable ASCII without a
//! colon, values are text on one line. Clients take the spaces around a value for no part of it, so a value that begins
//! or ends with one would come back as another. What does not fit is refused, never changed; that holds for what the
//! gateway adds itself as well: a user whose name differs by a space from another's must not arrive as that one.

use async_nats::header::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use bytestring::ByteString;
use connector::Headers;
use std::str::FromStr;

/// Headers to be sent; `None` when there are none, since NATS then has a shorter form.
///
/// # Errors
/// One sentence that names the header.
pub(crate) fn to_nats(headers: &Headers) -> Result<Option<HeaderMap>, String> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let key = HeaderName::from_str(name).ok().filter(|_| !name.is_empty()).ok_or_else(|| {
            format!("header name {:?} cannot be sent to NATS: use printable ASCII without spaces and colons", &name[..])
        })?;
        let value = std::str::from_utf8(value)
            .ok()
            .filter(|v| !v.contains(|c: char| c.is_ascii_control()))
            .and_then(|v| HeaderValue::from_str(v).ok())
            .ok_or_else(|| {
                format!("the value of header {name} cannot be sent to NATS: it must be text without control characters")
            })?;
        if value.as_str().trim() != value.as_str() {
            return Err(format!(
                "the value of header {name} cannot be sent to NATS: it begins or ends with a space, which NATS drops"
            ));
        }
        map.append(key, value);
    }
    Ok((!map.is_empty()).then_some(map))
}

/// Headers as received: by name, since the client does not keep the order of different names; the values of one name
/// in their order.
pub(crate) fn from_nats(map: Option<&HeaderMap>) -> Headers {
    let Some(map) = map else { return Headers::new() };
    let mut headers = Headers::new();
    for (name, values) in map.iter() {
        let name = ByteString::from(AsRef::<str>::as_ref(name));
        headers.extend(values.iter().map(|v| (name.clone(), Bytes::copy_from_slice(v.as_str().as_bytes()))));
    }
    headers.sort_by(|a, b| a.0.cmp(&b.0)); // stable: values keep their order
    headers
}

/// Headers in the form that NATS stores, as far as they can be read: for messages that the client cannot parse.
pub(crate) fn from_stored(stored: &[u8]) -> Headers {
    let mut headers = Headers::new();
    for line in stored.split(|b| *b == b'\n').skip(1) {
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
        if let Ok(name) = std::str::from_utf8(name) {
            headers.push((name.into(), Bytes::copy_from_slice(value)));
        }
    }
    headers.sort_by(|a, b| a.0.cmp(&b.0));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static [u8])]) -> Headers {
        pairs.iter().map(|(n, v)| (ByteString::from_static(n), Bytes::from_static(v))).collect()
    }

    #[test]
    fn headers_come_back_by_name_with_their_values_in_order() {
        let sent = headers(&[
            ("tag", b"one"),
            ("bayeux-channel", "/grüße".as_bytes()),
            ("tag", b"two"),
            ("Tag", b""),
            ("x", b"a  b"),
        ]);
        let map = to_nats(&sent).unwrap().unwrap();
        let back = from_nats(Some(&map));
        assert_eq!(
            back,
            headers(&[
                ("Tag", b""),
                ("bayeux-channel", "/grüße".as_bytes()),
                ("tag", b"one"),
                ("tag", b"two"),
                ("x", b"a  b"),
            ])
        );
        assert!(to_nats(&Headers::new()).unwrap().is_none());
    }

    #[test]
    fn what_nats_cannot_carry_is_refused_by_name() {
        for (name, value) in [
            ("", b"x" as &[u8]),
            ("a b", b"x"),
            ("a:b", b"x"),
            ("ä", b"x"),
            ("a\r\nb", b"x"),
            ("n", b"line\r\nInjected: 1"),
            ("n", b"\x07"),
            ("n", b"\xff"),
            ("n", b" x"),
            ("n", b"x "),
            ("n", b" "),
            ("n", "\u{a0}x".as_bytes()),
        ] {
            let error = to_nats(&vec![(name.into(), Bytes::copy_from_slice(value))]).unwrap_err();
            assert!(error.contains("cannot be sent to NATS"), "{error}");
        }
    }

    #[test]
    fn stored_headers_are_read_as_far_as_they_go() {
        let stored = b"NATS/1.0\r\nb: 1\r\nno colon\r\nbad: a\rb\r\na: \xff\r\n\r\n";
        assert_eq!(from_stored(stored), headers(&[("a", b"\xff"), ("b", b"1"), ("bad", b"a\rb")]));
    }
}
