//! What holds for any compressed bytes that a client sends, and for any text that is compressed. The fuzz target and the
//! tests over its corpus share this.

use super::deflate::{FREE_SIZE, MAX_RATIO, MIN_SIZE, answer, inflate, text_frame};
use http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS};

/// The payload of a server's text frame, and whether it is compressed.
pub fn opened(frame: &[u8]) -> (&[u8], bool) {
    assert!(matches!(frame[0], 0x81 | 0xC1), "a final text frame, whose RSV1 says whether it is compressed");
    let (len, payload) = match (frame[1], &frame[2..]) {
        (126, [a, b, rest @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), rest),
        (127, [a, b, c, d, e, f, g, h, rest @ ..]) => {
            (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) as usize, rest)
        }
        (short, rest) => (usize::from(short), rest),
    };
    assert_eq!(len, payload.len(), "one frame and nothing behind it");
    (payload, frame[0] == 0xC1)
}

/// Checks that a text comes out of its frame as it went in.
pub fn check_text(text: &str) {
    let frame = text_frame(text.as_bytes());
    let (payload, compressed) = opened(&frame);
    if compressed {
        assert!(text.len() >= MIN_SIZE && payload.len() < text.len(), "it is worth it");
        if text.len() <= payload.len().saturating_mul(MAX_RATIO).max(FREE_SIZE) {
            assert_eq!(inflate(payload, text.len()).as_deref(), Ok(text));
        }
        assert!(inflate(payload, text.len() - 1).is_err_and(|violation| violation.code == 1009));
    } else {
        assert_eq!(payload, text.as_bytes());
    }
}

/// Checks one input: its first byte chooses the limit, the rest is a compressed message as it came; the same bytes serve as
/// a text, and as an offer.
pub fn check(input: &[u8]) {
    let &[choice, ref payload @ ..] = input else { return };
    let sizes = [0, 1, 255, 1_000, 65_536, 1 << 20, usize::MAX];
    let max = sizes[usize::from(choice) % sizes.len()];

    let outcome = inflate(payload, max);
    match &outcome {
        Ok(text) => {
            assert!(text.len() <= max && text.len() <= (payload.len() * MAX_RATIO).max(FREE_SIZE));
            check_text(text);
        }
        Err(violation) => assert!(matches!(violation.code, 1007 | 1009)),
    }
    check_text(&String::from_utf8_lossy(payload));
    // The state that is lent knows nothing of the messages between.
    assert_eq!(outcome, inflate(payload, max));

    if let Ok(value) = HeaderValue::from_bytes(payload) {
        let answer = answer(&HeaderMap::from_iter([(SEC_WEBSOCKET_EXTENSIONS, value)]));
        assert!(answer.is_none_or(|answer| answer.as_bytes().starts_with(b"permessage-deflate; ")));
    }
}
