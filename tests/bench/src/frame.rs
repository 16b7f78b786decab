//! WebSocket frames (RFC 6455), as far as the benchmark needs them: whole, unfragmented messages.

use std::ops::Range;

/// Text.
pub const TEXT: u8 = 1;
/// The end of the connection.
pub const CLOSE: u8 = 8;
/// Is anybody there?
pub const PING: u8 = 9;
/// Yes.
pub const PONG: u8 = 10;

/// A frame in a buffer.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// [`TEXT`] and so on.
    pub opcode: u8,
    /// RSV1: compressed.
    pub compressed: bool,
    /// The key that the payload is masked with.
    pub mask: Option<[u8; 4]>,
    /// Where the payload is.
    pub payload: Range<usize>,
}

/// The frame at the beginning of `buffer`, if all of it is there.
pub fn first(buffer: &[u8]) -> Option<Frame> {
    let [head, length, rest @ ..] = buffer else { return None };
    let (size, mut at) = match length & 0x7f {
        126 => (u64::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?)), 4),
        127 => (u64::from_be_bytes(rest.get(..8)?.try_into().ok()?), 10),
        short => (u64::from(short), 2),
    };
    let mut mask = None;
    if length & 0x80 != 0 {
        mask = Some(buffer.get(at..at + 4)?.try_into().ok()?);
        at += 4;
    }
    let end = at.checked_add(usize::try_from(size).ok()?)?;
    (buffer.len() >= end).then_some(Frame { opcode: head & 0x0f, compressed: head & 0x40 != 0, mask, payload: at..end })
}

/// Takes the mask off.
pub fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

fn head(to: &mut Vec<u8>, opcode: u8, mask: u8, length: usize) {
    to.push(0x80 | opcode);
    if length < 126 {
        to.push(mask | length as u8);
    } else if let Ok(length) = u16::try_from(length) {
        to.push(mask | 126);
        to.extend_from_slice(&length.to_be_bytes());
    } else {
        to.push(mask | 127);
        to.extend_from_slice(&(length as u64).to_be_bytes());
    }
}

/// A server's frame.
pub fn server(to: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    head(to, opcode, 0, payload.len());
    to.extend_from_slice(payload);
}

/// A client's frame. Its mask is made of what is in it: cheap, and no server can skip the work of taking it off.
pub fn client(to: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    let mask = (payload.len() as u32).wrapping_mul(0x9E37_79B9).to_be_bytes();
    head(to, opcode, 0x80, payload.len());
    to.extend_from_slice(&mask);
    let at = to.len();
    to.extend_from_slice(payload);
    unmask(&mut to[at..], mask);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_frames_is_read_back() {
        for size in [0, 5, 125, 126, 70_000] {
            let text = vec![b'a'; size];
            let mut buffer = Vec::new();
            client(&mut buffer, TEXT, &text);
            assert_eq!(first(&buffer[..buffer.len() - 1]), None, "a part of a frame is none");
            let frame = first(&buffer).expect("whole");
            unmask(&mut buffer[frame.payload.clone()], frame.mask.expect("masked"));
            assert_eq!(buffer[frame.payload], text);
        }
    }
}
