//! What holds for any bytes that a client sends. The fuzz target and the tests over its corpus share this.

use super::frame::{Decoder, Event, Limits, MAX_CONTROL_PAYLOAD, Violation};
use bytes::BytesMut;

/// The longest header of a client's frame.
const MAX_HEADER: usize = 14;

/// Feeds a stream in reads of at most `piece` bytes. Gives all events and the violation that ended it.
pub fn decode_in_pieces(limits: Limits, stream: &[u8], piece: usize) -> (Vec<Event>, Option<Violation>) {
    let mut decoder = Decoder::new(limits);
    let mut buf = BytesMut::new();
    let (mut events, mut violation) = (Vec::new(), None);
    for read in stream.chunks(piece.max(1)) {
        buf.extend_from_slice(read);
        loop {
            match decoder.decode(&mut buf) {
                Ok(Some(event)) => {
                    assert_eq!(violation, None, "nothing comes after a violation");
                    events.push(event);
                }
                Ok(None) => break,
                Err(broken) => {
                    assert_eq!(violation, None, "a violation is told once");
                    violation = Some(broken);
                }
            }
            assert!(decoder.held() <= limits.max_message_size, "an unfinished message is bounded");
        }
        let longest = limits.max_message_size.max(MAX_CONTROL_PAYLOAD) + MAX_HEADER;
        assert!(buf.len() < longest, "what is left is less than one frame");
    }
    (events, violation)
}

/// Checks one input: its first byte chooses the limits, its second the size of reads, the rest is the client's stream.
pub fn check(input: &[u8]) {
    let &[choice, piece, ref stream @ ..] = input else { return };
    let sizes = [0, 10, 125, 126, 1000, 65_536, 1 << 20, usize::MAX >> 1];
    let limits =
        Limits { max_message_size: sizes[usize::from(choice >> 1) % sizes.len()], rsv1_allowed: choice & 1 == 1 };

    let whole = decode_in_pieces(limits, stream, usize::MAX);
    assert_eq!(whole, decode_in_pieces(limits, stream, 1), "byte by byte is the same as at once");
    assert_eq!(whole, decode_in_pieces(limits, stream, usize::from(piece)), "so are reads of any size");

    let (events, violation) = whole;
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::Text(text) => assert!(text.len() <= limits.max_message_size),
            Event::Binary(payload) => assert!(payload.len() <= limits.max_message_size),
            Event::Compressed { payload, .. } => {
                assert!(limits.rsv1_allowed && payload.len() <= limits.max_message_size);
            }
            Event::Ping(payload) | Event::Pong(payload) => assert!(payload.len() <= MAX_CONTROL_PAYLOAD),
            Event::Close(said) => {
                assert_eq!((at + 1, violation), (events.len(), None), "a close is the last of all");
                if let Some((code, reason)) = said {
                    assert!((1000..5000).contains(code) && reason.len() <= MAX_CONTROL_PAYLOAD - 2);
                }
            }
        }
    }
    if let Some(Violation { code, reason }) = violation {
        assert!(matches!(code, 1002 | 1007 | 1009) && reason.len() <= MAX_CONTROL_PAYLOAD - 2);
    }
}
