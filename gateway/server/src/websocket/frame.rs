//! The server's side of WebSocket framing (RFC 6455), as pure code: bytes in, events out, no socket and no clock.
//!
//! [`Decoder`] cuts a client's byte stream into messages and checks every rule of the RFC's chapters 5, 7.4 and 8.1 that a
//! server has to check. The functions below it make the frames that a server sends. Those are not masked, so that one
//! frame is the same bytes for every receiver: build it once and share it.

use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;

/// The longest payload of a control frame, in bytes (RFC 6455, 5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// Close codes that a server sends (RFC 6455, 7.4.1).
pub mod close_code {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: u16 = 1000;
    /// The server goes down, or drains.
    pub const GOING_AWAY: u16 = 1001;
    /// The peer broke a rule of the framing.
    pub const PROTOCOL: u16 = 1002;
    /// The peer sent a kind of message that is not taken here.
    pub const UNSUPPORTED: u16 = 1003;
    /// The peer sent text that is not UTF-8.
    pub const INVALID_DATA: u16 = 1007;
    /// The peer broke a rule of the server's own.
    pub const POLICY: u16 = 1008;
    /// The peer sent a message that is too long.
    pub const TOO_BIG: u16 = 1009;
    /// The server failed.
    pub const INTERNAL: u16 = 1011;
}

/// What a [`Decoder`] takes from its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest message, in bytes of payload, all its fragments together. A longer one is a violation with code 1009,
    /// said as soon as a frame's header announces it. Compressed messages are measured as they came.
    pub max_message_size: usize,
    /// Whether messages may come with the RSV1 bit, that is whether permessage-deflate (RFC 7692) was negotiated.
    pub rsv1_allowed: bool,
}

/// What came from the peer: a whole message, or a control frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A text message: surely UTF-8.
    Text(ByteString),
    /// A binary message.
    Binary(Bytes),
    /// A message with the RSV1 bit, still compressed. Only with [`Limits::rsv1_allowed`]; whether a text is UTF-8 is for
    /// the one who inflates it to check.
    Compressed {
        /// Whether it was sent as text.
        text: bool,
        /// The compressed payload, without the tail that RFC 7692 7.2.1 takes off.
        payload: Bytes,
    },
    /// A ping. Answer it with [`pong_frame`] of the same payload.
    Ping(Bytes),
    /// A pong.
    Pong(Bytes),
    /// The peer closes: its code and reason, if it gave any. Nothing comes after it.
    Close(Option<(u16, ByteString)>),
}

/// A rule that the peer broke. Send [`close_frame`] with this code and reason, then close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} ({code})")]
pub struct Violation {
    /// One of [`close_code`].
    pub code: u16,
    /// What was wrong, in words for the peer's log. Fits a close frame.
    pub reason: &'static str,
}

const fn protocol(reason: &'static str) -> Violation {
    Violation { code: close_code::PROTOCOL, reason }
}

pub(super) const NOT_UTF8: Violation = Violation { code: close_code::INVALID_DATA, reason: "text is not UTF-8" };
pub(super) const TOO_BIG: Violation = Violation { code: close_code::TOO_BIG, reason: "message is too long" };

/// The kind of a frame (RFC 6455, 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment of a message.
    Continuation = 0x0,
    /// A text message, or its first fragment.
    Text = 0x1,
    /// A binary message, or its first fragment.
    Binary = 0x2,
    /// The peer closes.
    Close = 0x8,
    /// A ping.
    Ping = 0x9,
    /// A pong.
    Pong = 0xA,
}

impl Opcode {
    fn of(first: u8) -> Result<Self, Violation> {
        match first & 0x0F {
            0x0 => Ok(Self::Continuation),
            0x1 => Ok(Self::Text),
            0x2 => Ok(Self::Binary),
            0x8 => Ok(Self::Close),
            0x9 => Ok(Self::Ping),
            0xA => Ok(Self::Pong),
            _ => Err(protocol("reserved opcode")),
        }
    }

    fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// Cuts a client's byte stream into [`Event`]s.
///
/// It keeps no buffer of its own but for a fragmented message under way, so that an idle connection costs its few fields
/// only. A message that came in one frame is a piece of the caller's buffer, unmasked in place: no copy.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    frame: Option<Header>,
    message: Option<Box<Fragments>>,
    ended: bool,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    fin: bool,
    rsv1: bool,
    opcode: Opcode,
    mask: [u8; 4],
    len: usize,
}

impl Decoder {
    /// A decoder at the start of a connection, just after the upgrade.
    pub fn new(limits: Limits) -> Self {
        Self { limits, frame: None, message: None, ended: false }
    }

    /// Takes the next event out of `buf`, which holds what came from the peer and was not decoded yet. `None`: read more,
    /// append it to `buf`, and come again; `buf` then holds at most one unfinished frame.
    ///
    /// After a close, and after a violation, everything more that comes is dropped (RFC 6455, 5.5.1 and 7.1.7).
    ///
    /// # Errors
    /// The rule that the peer broke. It does not depend on how the bytes were cut into reads.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Event>, Violation> {
        if self.ended {
            buf.clear();
            return Ok(None);
        }
        let outcome = self.advance(buf);
        if matches!(outcome, Err(_) | Ok(Some(Event::Close(_)))) {
            self.ended = true;
            self.frame = None;
            self.message = None;
            buf.clear();
        }
        outcome
    }

    /// How many bytes of an unfinished fragmented message are kept: 0 while idle.
    pub fn held(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.payload.len())
    }

    fn advance(&mut self, buf: &mut BytesMut) -> Result<Option<Event>, Violation> {
        loop {
            let header = match self.frame.take() {
                Some(header) => header,
                None => match self.header(buf)? {
                    Some(header) => header,
                    None => return Ok(None),
                },
            };
            if buf.len() < header.len {
                self.frame = Some(header);
                return Ok(None);
            }
            let mut payload = buf.split_to(header.len);
            unmask(&mut payload, header.mask);
            let event = match header.opcode {
                Opcode::Text | Opcode::Binary | Opcode::Continuation => self.data(header, payload)?,
                Opcode::Ping => Some(Event::Ping(payload.freeze())),
                Opcode::Pong => Some(Event::Pong(payload.freeze())),
                Opcode::Close => Some(Event::Close(close(payload.freeze())?)),
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// Takes a frame's header out of `buf` once it is there in full. Each check looks only at the bytes up to it, in
    /// their order, so that the verdict does not depend on where reads end.
    fn header(&self, buf: &mut BytesMut) -> Result<Option<Header>, Violation> {
        let &[first, second, ref rest @ ..] = &buf[..] else { return Ok(None) };
        let opcode = Opcode::of(first)?;
        let (fin, rsv1) = (first & 0x80 != 0, first & 0x40 != 0);
        if first & 0x30 != 0 || rsv1 && !(self.limits.rsv1_allowed && matches!(opcode, Opcode::Text | Opcode::Binary)) {
            return Err(protocol("reserved bit is set"));
        }
        if opcode.is_control() {
            if !fin {
                return Err(protocol("control frame is fragmented"));
            }
            if second & 0x7F > MAX_CONTROL_PAYLOAD as u8 {
                return Err(protocol("control frame is too long"));
            }
        } else if (opcode == Opcode::Continuation) != self.message.is_some() {
            return Err(protocol(match opcode {
                Opcode::Continuation => "continuation without a message",
                _ => "new message inside a fragmented one",
            }));
        }
        if second & 0x80 == 0 {
            return Err(protocol("frame from a client is not masked"));
        }
        let (len, extra) = match (second & 0x7F, rest) {
            (126, &[a, b, ..]) => (u64::from(u16::from_be_bytes([a, b])), 2),
            (127, &[a, b, c, d, e, f, g, h, ..]) => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), 8),
            (126 | 127, _) => return Ok(None),
            (short, _) => (u64::from(short), 0),
        };
        if len >> 63 != 0 {
            return Err(protocol("frame length has its highest bit set"));
        }
        let room = self.limits.max_message_size - self.held().min(self.limits.max_message_size);
        let len = match usize::try_from(len) {
            Ok(len) if opcode.is_control() || len <= room => len,
            _ => return Err(TOO_BIG),
        };
        let Some(&[a, b, c, d]) = rest.get(extra..extra + 4) else { return Ok(None) };
        let _ = buf.split_to(2 + extra + 4);
        Ok(Some(Header { fin, rsv1, opcode, mask: [a, b, c, d], len }))
    }

    fn data(&mut self, header: Header, payload: BytesMut) -> Result<Option<Event>, Violation> {
        let text = header.opcode == Opcode::Text;
        let mut message = match self.message.take() {
            None if header.fin => return whole(text, header.rsv1, payload.freeze()).map(Some),
            None => Box::new(Fragments { text, rsv1: header.rsv1, payload: BytesMut::new(), checked: 0 }),
            Some(message) => message,
        };
        message.payload.extend_from_slice(&payload);
        if header.fin {
            return whole(message.text, message.rsv1, message.payload.freeze()).map(Some);
        }
        if message.text && !message.rsv1 {
            message.check()?;
        }
        self.message = Some(message);
        Ok(None)
    }
}

/// A message whose last fragment has not come yet.
#[derive(Debug)]
struct Fragments {
    text: bool,
    rsv1: bool,
    payload: BytesMut,
    /// How many bytes from the start are known to be whole UTF-8 characters.
    checked: usize,
}

impl Fragments {
    /// Refuses what cannot become UTF-8 any more. A character may be cut by the end of a fragment.
    fn check(&mut self) -> Result<(), Violation> {
        match std::str::from_utf8(&self.payload[self.checked..]) {
            Ok(_) => self.checked = self.payload.len(),
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(NOT_UTF8),
        }
        Ok(())
    }
}

fn whole(text: bool, rsv1: bool, payload: Bytes) -> Result<Event, Violation> {
    match (rsv1, text) {
        (true, _) => Ok(Event::Compressed { text, payload }),
        (false, true) => ByteString::try_from(payload).map(Event::Text).map_err(|_| NOT_UTF8),
        (false, false) => Ok(Event::Binary(payload)),
    }
}

/// The code and reason in a close frame's payload (RFC 6455, 5.5.1). Codes: 7.4, with those registered since (1012 to 1014).
fn close(mut payload: Bytes) -> Result<Option<(u16, ByteString)>, Violation> {
    let code = match payload[..] {
        [] => return Ok(None),
        [_] => return Err(protocol("close code is cut")),
        [a, b, ..] => u16::from_be_bytes([a, b]),
    };
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(protocol("close code is not allowed on the wire"));
    }
    let reason = ByteString::try_from(payload.split_off(2)).map_err(|_| NOT_UTF8)?;
    Ok(Some((code, reason)))
}

/// Takes a client's mask off, eight bytes at a time.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    // A word is two masks long, so the rest begins with the mask's first byte again.
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// The header of a final, unmasked frame with `len` bytes of payload: an array and how many of its bytes count (2, 4 or 10).
pub fn frame_header(opcode: Opcode, len: usize) -> ([u8; 10], usize) {
    let mut header = [0; 10];
    header[0] = 0x80 | opcode as u8;
    let used = match (u8::try_from(len), u16::try_from(len)) {
        (Ok(short @ ..=125), _) => {
            header[1] = short;
            2
        }
        (_, Ok(medium)) => {
            header[1] = 126;
            header[2..4].copy_from_slice(&medium.to_be_bytes());
            4
        }
        _ => {
            header[1] = 127;
            header[2..].copy_from_slice(&(len as u64).to_be_bytes());
            10
        }
    };
    (header, used)
}

fn frame(opcode: Opcode, parts: &[&[u8]]) -> Bytes {
    let len = parts.iter().map(|part| part.len()).sum();
    let (header, used) = frame_header(opcode, len);
    let mut frame = BytesMut::with_capacity(used + len);
    frame.put_slice(&header[..used]);
    for part in parts {
        frame.put_slice(part);
    }
    frame.freeze()
}

/// A text message in one frame. `payload` has to be UTF-8: the client closes the connection otherwise.
pub fn text_frame(payload: &[u8]) -> Bytes {
    frame(Opcode::Text, &[payload])
}

/// A Bayeux envelope of one message in one text frame: `[` `json` `]`. It is the same bytes for every receiver.
pub fn message_frame(json: &[u8]) -> Bytes {
    frame(Opcode::Text, &[b"[", json, b"]"])
}

/// A close frame. `code` is one of [`close_code`]; `reason` is cut to the 123 bytes that fit, between characters.
pub fn close_frame(code: u16, reason: &str) -> Bytes {
    let fits = reason.len().min(MAX_CONTROL_PAYLOAD - 2);
    let end = (0..=fits).rev().find(|&at| reason.is_char_boundary(at)).unwrap_or(0);
    frame(Opcode::Close, &[&code.to_be_bytes(), &reason.as_bytes()[..end]])
}

/// A close frame without a code: the answer to one.
pub fn empty_close_frame() -> Bytes {
    Bytes::from_static(&[0x88, 0])
}

/// The answer to a ping, with the ping's payload (which is at most 125 bytes; more would be cut).
pub fn pong_frame(payload: &[u8]) -> Bytes {
    frame(Opcode::Pong, &[&payload[..payload.len().min(MAX_CONTROL_PAYLOAD)]])
}

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;
