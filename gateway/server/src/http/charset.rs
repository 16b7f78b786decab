//! The charset that a content type names, as Java reads it (CometD `JSONHttpTransport`).

use bytes::Bytes;
use encoding_rs::Encoding;

/// Labels of ISO-8859-1, which web browsers, and so `encoding_rs`, take for windows-1252: other signs in 0x80 to 0x9F.
const LATIN_1: [&str; 4] = ["iso-8859-1", "iso8859-1", "iso_8859-1", "latin1"];

/// The body as UTF-8. What is invalid in its charset becomes U+FFFD; a charset that nobody knows is taken for UTF-8.
pub(super) fn utf8(body: Bytes, content_type: &[u8]) -> Bytes {
    if !content_type.contains(&b'=') {
        return lossy(body);
    }
    let content_type = String::from_utf8_lossy(content_type).to_ascii_lowercase();
    let mut parameters = content_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let charset = parameters.find(|(name, _)| name.trim() == "charset").map(|(_, value)| value);
    match charset.map_or("utf-8", |value| value.trim().trim_matches('"')) {
        "utf-8" | "utf8" => lossy(body),
        latin if LATIN_1.contains(&latin) => match body.is_ascii() {
            true => body,
            false => body.iter().copied().map(char::from).collect::<String>().into(),
        },
        "us-ascii" | "ascii" => match body.is_ascii() {
            true => body,
            false => {
                body.iter().map(|b| if b.is_ascii() { char::from(*b) } else { '\u{FFFD}' }).collect::<String>().into()
            }
        },
        // Java's takes a byte order mark, and big endian without one.
        "utf-16" => match &body[..] {
            [0xFE, 0xFF, rest @ ..] => decoded(encoding_rs::UTF_16BE, rest),
            [0xFF, 0xFE, rest @ ..] => decoded(encoding_rs::UTF_16LE, rest),
            rest => decoded(encoding_rs::UTF_16BE, rest),
        },
        label => match Encoding::for_label_no_replacement(label.as_bytes()) {
            Some(encoding) => decoded(encoding, &body),
            None => lossy(body),
        },
    }
}

fn decoded(encoding: &'static Encoding, bytes: &[u8]) -> Bytes {
    encoding.decode_without_bom_handling(bytes).0.into_owned().into()
}

fn lossy(body: Bytes) -> Bytes {
    match String::from_utf8_lossy(&body) {
        std::borrow::Cow::Borrowed(_) => body,
        std::borrow::Cow::Owned(replaced) => replaced.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_in_the_charset_that_it_names() {
        for (charset, bytes, text) in [
            ("ISO-8859-1", &b"\xA4\x80"[..], "¤\u{80}"),
            ("latin1", b"\xFC", "ü"),
            ("ISO-8859-15", b"\xA4", "€"),
            ("windows-1252", b"\x80", "€"),
            ("US-ASCII", b"a\xFC", "a\u{FFFD}"),
            ("Shift_JIS", b"\x83\x65", "テ"),
            ("GBK", b"\xC4\xE3", "你"),
            ("UTF-16", b"\0a", "a"),
            ("UTF-16", b"\xFF\xFEa\0", "a"),
            ("UTF-16LE", b"a\0", "a"),
            ("utf-8", b"\xFF", "\u{FFFD}"),
            ("nonsense", b"\xC3\xBC", "ü"),
        ] {
            let kind = format!("application/json; charset=\"{charset}\"");
            assert_eq!(utf8(Bytes::copy_from_slice(bytes), kind.as_bytes()), text, "{charset}");
        }
        assert_eq!(utf8(Bytes::from_static(b"x"), b"application/json"), "x");
    }
}
