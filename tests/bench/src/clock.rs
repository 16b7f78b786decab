//! Time stamps inside of messages: microseconds since 1970, sixteen digits, so that processes agree on them.

use std::time::{SystemTime, UNIX_EPOCH};

/// What stands before a stamp in a message.
pub const STAMP: &[u8] = b"\"stamp\":";
/// Digits of a stamp.
pub const DIGITS: usize = 16;

/// Microseconds since 1970.
pub fn micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64)
}

/// `{"stamp":1234567890123456,"pad":"xxx"}` of `size` bytes (at least 36).
pub fn data(stamp: u64, size: usize) -> Vec<u8> {
    let mut json = format!("{{\"stamp\":{stamp:016},\"pad\":\"").into_bytes();
    json.resize(size.max(json.len() + 2) - 2, b'x');
    json.extend_from_slice(b"\"}");
    json
}

/// Sixteen digits at the beginning of these bytes.
pub fn digits(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes.get(..DIGITS)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_has_the_size_that_was_asked_for() {
        let data = data(1_234_567_890_123_456, 100);
        assert_eq!(data.len(), 100);
        assert_eq!(digits(&data[1 + STAMP.len()..]), Some(1_234_567_890_123_456));
    }
}
