//! Channel segments and the values they stand for.
//!
//! A value is any text that is not empty; a segment holds only what a channel may. `~HH` (two upper-case hex digits)
//! writes one UTF-8 byte that a segment cannot hold: what no channel may have, `/ * { }`, spaces at either end, and
//! `~` itself where it would read as an escape. Each value has one segment; a segment that is no value's is not
//! canonical.

use bayeux::channel::is_channel_byte;
use std::borrow::Cow;
use std::ops::Range;

/// The segment that stands for `value`.
pub fn encode_segment(value: &str) -> Cow<'_, str> {
    let bytes = value.as_bytes();
    let inner = inner(bytes);
    let Some(first) = (0..bytes.len()).find(|&i| must_escape(bytes, i, &inner)) else {
        return Cow::Borrowed(value);
    };
    let mut out = String::with_capacity(value.len() + 8);
    let mut plain = 0; // start of the run that stands for itself
    for i in first..bytes.len() {
        if must_escape(bytes, i, &inner) {
            out.push_str(value.get(plain..i).unwrap_or_default());
            out.push('~');
            for digit in [bytes[i] >> 4, bytes[i] & 15] {
                out.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
            plain = i + 1;
        }
    }
    out.push_str(value.get(plain..).unwrap_or_default());
    Cow::Owned(out)
}

/// The value that `segment` stands for; `None` when the segment is not canonical, so that its value has another.
pub fn decode_segment(segment: &str) -> Option<Cow<'_, str>> {
    let bytes = segment.as_bytes();
    let inner = inner(bytes);
    if (0..bytes.len()).all(|i| !must_escape(bytes, i, &inner)) {
        return Some(Cow::Borrowed(segment));
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        if let Some(byte) = escape(&bytes[i..]) {
            out.push(byte);
            i += 3;
        } else {
            out.push(bytes[i]);
            i += 1;
        }
    }
    let value = String::from_utf8(out).ok()?;
    (encode_segment(&value) == segment).then_some(Cow::Owned(value))
}

/// What is left without the spaces at either end.
fn inner(bytes: &[u8]) -> Range<usize> {
    let start = bytes.iter().position(|&b| b != b' ').unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|&b| b != b' ').map_or(start, |last| last + 1);
    start..end
}

fn must_escape(bytes: &[u8], i: usize, inner: &Range<usize>) -> bool {
    match bytes[i] {
        b'/' | b'*' | b'{' | b'}' => true,
        b' ' => !inner.contains(&i),
        b'~' => escape(&bytes[i..]).is_some(),
        byte => !is_channel_byte(byte),
    }
}

fn escape(bytes: &[u8]) -> Option<u8> {
    let hex = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    match bytes {
        [b'~', high, low, ..] => Some(hex(*high)? << 4 | hex(*low)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_channel_cannot_hold_is_written_as_bytes() {
        for (value, segment) in [
            ("eu-west.1", "eu-west.1"),
            ("a b", "a b"),
            (" a ", "~20a~20"),
            ("  ", "~20~20"),
            ("a/b", "a~2Fb"),
            ("*", "~2A"),
            ("{x}", "~7Bx~7D"),
            ("Köln", "K~C3~B6ln"),
            ("a%b?", "a~25b~3F"),
            ("~", "~"),
            ("~john", "~john"),
            ("~41", "~7E41"),
            ("~4a", "~4a"),
            ("\u{0}", "~00"),
        ] {
            assert_eq!(encode_segment(value), segment, "{value}");
            assert_eq!(decode_segment(segment).as_deref(), Some(value), "{segment}");
        }
    }

    #[test]
    fn a_segment_that_another_spelling_stands_for_has_no_value() {
        for segment in ["~41", "a*b", "*", "{x}", " a", "a ", "x~20y", "~FF", "~C3", "a/b"] {
            assert_eq!(decode_segment(segment), None, "{segment}");
        }
    }
}
