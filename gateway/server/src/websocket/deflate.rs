//! Compression of WebSocket messages: permessage-deflate (RFC 7692), as pure code.
//!
//! Neither side takes its context over from one message to the next. So a compressed frame is the same bytes for every
//! receiver, made once and shared like a plain one; and no connection keeps a compressor or a window: their state is
//! lent from a small pool while a message is dealt with.

use super::frame::{self, NOT_UTF8, Opcode, TOO_BIG, Violation, close_code, frame_header};
use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS};
use parking_lot::Mutex;

/// Messages shorter than this, in bytes of JSON, are sent as they are: compressing takes longer than it saves.
pub const MIN_SIZE: usize = 256;

/// How many times its size a compressed message may grow to. JSON shrinks to a tenth or less; the format itself allows
/// a thousand.
pub const MAX_RATIO: usize = 100;

/// Up to this size, in bytes, a message may grow whatever its ratio: a small one that repeats itself is no bomb. It is the
/// default of the largest message, so the ratio counts only where a server takes larger ones.
pub const FREE_SIZE: usize = 64 * 1024;

/// What RFC 7692 takes off the end of each message (7.2.1) and has put back (7.2.2): the length fields of an empty block.
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// The same, then an empty block that is marked as the last: with it a whole message ends as a DEFLATE stream does, and a
/// cut one does not.
const END: [u8; 9] = [0x00, 0x00, 0xFF, 0xFF, 0x01, 0x00, 0x00, 0xFF, 0xFF];

/// A message may consist of so many DEFLATE streams (RFC 7692, 7.2.3.4, lets a sender end one with each flush). Each
/// costs a cleared window.
const MAX_STREAMS: usize = 16;

/// The RSV1 bit of a frame's first byte: the message is compressed.
const RSV1: u8 = 0x40;

/// The fastest level: it is within a fifth of the best one's size on JSON, at a sixteenth of its time for long messages.
const LEVEL: u32 = 1;

/// Of each kind of state as much is kept for the next message; more is made when more threads need it at once, and
/// thrown away. A compressor takes about 300 KiB.
const KEPT: usize = 4;

/// A pooled buffer that has grown above this is not kept.
const KEPT_BUFFER: usize = 64 * 1024;

/// What is cut off at a time.
const CHUNK: usize = 4 * 1024;

const DAMAGED: Violation = Violation { code: close_code::INVALID_DATA, reason: "compressed message is damaged" };
const BOMB: Violation = Violation { code: close_code::TOO_BIG, reason: "message grows too much when inflated" };

/// The answer to a client's offers in `Sec-WebSocket-Extensions`: the first offer that can be taken wins. `None`: there is
/// none, so the connection has no compression.
///
/// An offer is taken if it leaves the server its full window of 15 bits; every parameter must be one of RFC 7692, 7.1,
/// with a legal value, and stand once. A client may always be asked to reset its context (7.1.1.2).
pub fn answer(headers: &HeaderMap) -> Option<HeaderValue> {
    let lines = headers.get_all(SEC_WEBSOCKET_EXTENSIONS).into_iter();
    lines.flat_map(|line| unquoted_split(line.as_bytes(), b',')).find_map(accept)
}

fn accept(offer: &[u8]) -> Option<HeaderValue> {
    let mut parts = unquoted_split(offer, b';').map(<[u8]>::trim_ascii);
    if parts.next() != Some(b"permessage-deflate") {
        return None;
    }
    let mut seen: Vec<&[u8]> = Vec::new();
    for part in parts {
        let (name, value) = match part.iter().position(|&byte| byte == b'=') {
            Some(at) => (part[..at].trim_ascii(), Some(part[at + 1..].trim_ascii())),
            None => (part, None),
        };
        let legal = match (name, value) {
            (b"server_no_context_takeover" | b"client_no_context_takeover" | b"client_max_window_bits", None) => true,
            (b"client_max_window_bits", Some(value)) => window_bits(value).is_some(),
            (b"server_max_window_bits", Some(value)) => window_bits(value) == Some(15),
            _ => false,
        };
        if !legal || seen.contains(&name) {
            return None;
        }
        seen.push(name);
    }
    // An offer that names the server's window is taken by naming it too (7.1.2.1).
    Some(HeaderValue::from_static(match seen.contains(&b"server_max_window_bits".as_slice()) {
        true => "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15",
        false => "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    }))
}

/// The pieces between `at`, but for those within quotes.
fn unquoted_split(text: &[u8], at: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |&byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => return byte == at && !quoted,
        }
        false
    })
}

/// 8 to 15, without leading zeros; may stand in quotes.
fn window_bits(value: &[u8]) -> Option<u8> {
    let value = match value {
        [b'"', inner @ .., b'"'] => inner,
        plain => plain,
    };
    match *value {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// A text message in one frame, compressed if that makes it smaller. `payload` has to be UTF-8.
pub fn text_frame(payload: &[u8]) -> Bytes {
    compressed(&[payload]).unwrap_or_else(|| frame::text_frame(payload))
}

/// A Bayeux envelope of one message in one text frame, `[` `json` `]`, compressed. It is the same bytes for every receiver
/// that has negotiated compression. `None` if compressing does not make it smaller: then [`frame::message_frame`] is what
/// to send.
pub fn message_frame(json: &[u8]) -> Option<Bytes> {
    compressed(&[b"[", json, b"]"])
}

fn compressed(parts: &[&[u8]]) -> Option<Bytes> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    if len < MIN_SIZE {
        return None;
    }
    DEFLATERS.lend(|deflater| {
        let payload = deflater.compress(parts).filter(|payload| payload.len() < len)?;
        let (mut header, used) = frame_header(Opcode::Text, payload.len());
        header[0] |= RSV1;
        let mut frame = BytesMut::with_capacity(used + payload.len());
        frame.put_slice(&header[..used]);
        frame.put_slice(payload);
        Some(frame.freeze())
    })
}

/// The text of a compressed message (`payload`: as it came, without the tail).
///
/// # Errors
/// The violation to close the connection with: the text would have more than `max_message_size` bytes, it grows by more
/// than [`MAX_RATIO`] beyond [`FREE_SIZE`], or the bytes are no whole DEFLATE data or no UTF-8. What is too long is
/// not inflated further than to its bound.
pub fn inflate(payload: &[u8], max_message_size: usize) -> Result<ByteString, Violation> {
    let by_ratio = payload.len().saturating_mul(MAX_RATIO).max(FREE_SIZE);
    let text = INFLATERS.lend(|inflater| match inflater.inflate(payload, max_message_size.min(by_ratio)) {
        Ok(text) => Ok(Bytes::copy_from_slice(text)),
        Err(Broken::TooLong) => Err(if by_ratio < max_message_size { BOMB } else { TOO_BIG }),
        Err(Broken::Damaged) => Err(DAMAGED),
    })?;
    ByteString::try_from(text).map_err(|_| NOT_UTF8)
}

/// Compressor or inflater state that waits for the next message of any connection.
struct Pool<T> {
    kept: Mutex<Vec<T>>,
    make: fn() -> T,
}

static DEFLATERS: Pool<Deflater> = Pool { kept: Mutex::new(Vec::new()), make: Deflater::new };
static INFLATERS: Pool<Inflater> = Pool { kept: Mutex::new(Vec::new()), make: Inflater::new };

impl<T: Buffered> Pool<T> {
    fn lend<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let kept = self.kept.lock().pop();
        let mut state = kept.unwrap_or_else(self.make);
        let result = work(&mut state);
        if state.buffer().capacity() > KEPT_BUFFER {
            *state.buffer() = Vec::new();
        }
        let mut kept = self.kept.lock();
        if kept.len() < KEPT {
            kept.push(state);
        }
        result
    }
}

trait Buffered {
    fn buffer(&mut self) -> &mut Vec<u8>;
}

struct Deflater {
    state: Compress,
    buffer: Vec<u8>,
}

impl Buffered for Deflater {
    fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }
}

impl Deflater {
    fn new() -> Self {
        Deflater { state: Compress::new(Compression::new(LEVEL), false), buffer: Vec::new() }
    }

    /// One message, whole, without its tail. `None`: it cannot be compressed.
    fn compress(&mut self, parts: &[&[u8]]) -> Option<&[u8]> {
        self.state.reset();
        self.buffer.clear();
        for part in parts {
            self.feed(part, FlushCompress::None)?;
        }
        self.feed(&[], FlushCompress::Sync)?;
        self.buffer.strip_suffix(&TAIL)
    }

    fn feed(&mut self, mut input: &[u8], flush: FlushCompress) -> Option<()> {
        let mut chunk = [0; CHUNK];
        loop {
            let (read, written) = (self.state.total_in(), self.state.total_out());
            self.state.compress(input, &mut chunk, flush).ok()?;
            let (read, written) =
                ((self.state.total_in() - read) as usize, (self.state.total_out() - written) as usize);
            input = &input[read..];
            self.buffer.extend_from_slice(&chunk[..written]);
            if input.is_empty() && written < chunk.len() {
                return Some(());
            }
        }
    }
}

struct Inflater {
    state: Decompress,
    buffer: Vec<u8>,
}

impl Buffered for Inflater {
    fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }
}

enum Broken {
    TooLong,
    Damaged,
}

impl Inflater {
    fn new() -> Self {
        Inflater { state: Decompress::new(false), buffer: Vec::new() }
    }

    fn inflate(&mut self, payload: &[u8], max: usize) -> Result<&[u8], Broken> {
        self.buffer.clear();
        let mut rest = payload;
        for _ in 0..MAX_STREAMS {
            // Also clears the window: nothing of another client's message can be referred to.
            self.state.reset(false);
            let mut ended = self.stream(&mut rest, max)?;
            if !ended {
                let mut end = END.as_slice();
                ended = self.stream(&mut end, max)? && end.is_empty();
                return if ended { Ok(&self.buffer) } else { Err(Broken::Damaged) };
            }
            // Its last stream was marked as such: nothing has to follow, one byte of padding may.
            if matches!(rest, [] | [0]) {
                return Ok(&self.buffer);
            }
        }
        Err(Broken::Damaged)
    }

    /// Inflates `input`, to its end or to that of the DEFLATE stream (then true).
    fn stream(&mut self, input: &mut &[u8], max: usize) -> Result<bool, Broken> {
        let mut chunk = [0; CHUNK];
        loop {
            let (read, written) = (self.state.total_in(), self.state.total_out());
            let status = self.state.decompress(input, &mut chunk, FlushDecompress::None);
            let status = status.map_err(|_| Broken::Damaged)?;
            let (read, written) =
                ((self.state.total_in() - read) as usize, (self.state.total_out() - written) as usize);
            *input = &input[read..];
            if self.buffer.len() + written > max {
                return Err(Broken::TooLong);
            }
            self.buffer.extend_from_slice(&chunk[..written]);
            match status {
                Status::StreamEnd => return Ok(true),
                _ if written == chunk.len() => {} // there may be more of it
                _ if input.is_empty() => return Ok(false),
                _ if read == 0 && written == 0 => return Err(Broken::Damaged),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
#[path = "tests/deflate.rs"]
mod tests;
