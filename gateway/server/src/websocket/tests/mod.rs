//! Tests of the framing: the RFC's own examples, every rule that a client can break, and laws over any input.

use super as frame;

mod corpus;
mod decode;
mod encode;
mod laws;
mod property;

use bytes::BytesMut;
use frame::{Decoder, Event, Limits, Violation};

/// The limits of most tests: room for small messages, no compression.
const LIMITS: Limits = Limits { max_message_size: 1000, rsv1_allowed: false };

/// A client's frame: `first` is the byte with FIN, RSV bits and opcode.
fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    masked_frame(first, payload, [0x37, 0xfa, 0x21, 0x3d])
}

fn masked_frame(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        medium @ 126..=0xFFFF => {
            frame.push(0xFE);
            frame.extend((medium as u16).to_be_bytes());
        }
        long => {
            frame.push(0xFF);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// All events of a stream that came in one read, and how it ended.
fn decode_all(limits: Limits, stream: &[u8]) -> (Vec<Event>, Option<Violation>) {
    property::decode_in_pieces(limits, stream, usize::MAX)
}

/// The one violation of a stream that is not to give any event.
fn violation(stream: &[u8]) -> Violation {
    let (events, violation) = decode_all(LIMITS, stream);
    assert_eq!(events, []);
    violation.expect("this breaks a rule")
}

fn text(text: &str) -> Event {
    Event::Text(text.into())
}
