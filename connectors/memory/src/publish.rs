//! From a record to be stored to one that costs what it holds.

use bytes::Bytes;
use connector::{Headers, Outbound};

/// Smaller parts are copied. A message comes as a slice of the request that it arrived in, up to 64 KiB by default: kept
/// as it is, a slice of a few bytes would hold all of it, for as long as the log keeps the record. From a quarter of that
/// the slice is shared.
const COPIED_BELOW: usize = 16 * 1024;

/// What is counted for a record besides its bytes: its place in the log and its allocations.
const OVERHEAD: usize = 128;

/// A record's content.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) key: Option<Bytes>,
    pub(crate) payload: Option<Bytes>,
    pub(crate) headers: Headers,
    /// Bytes as retention counts them.
    pub(crate) size: usize,
}

impl Content {
    /// Takes the content of a record; its small parts move into one buffer of their own.
    pub(crate) fn of(record: Outbound) -> Content {
        let Outbound { mut key, mut payload, mut headers, .. } = record;
        let mut size = OVERHEAD;
        let mut copied = 0;
        for part in parts(&mut key, &mut payload, &mut headers) {
            size += part.len();
            copied += if part.len() < COPIED_BELOW { part.len() } else { 0 };
        }
        let mut buffer = Vec::with_capacity(copied);
        for part in parts(&mut key, &mut payload, &mut headers).filter(|part| part.len() < COPIED_BELOW) {
            buffer.extend_from_slice(part);
        }
        let mut buffer = Bytes::from(buffer);
        for part in parts(&mut key, &mut payload, &mut headers).filter(|part| part.len() < COPIED_BELOW) {
            *part = buffer.split_to(part.len());
        }
        // Names come from the config, not from a request: they are shared as they are.
        size += headers.iter().map(|(name, _)| name.len()).sum::<usize>();
        Content { key, payload, headers, size }
    }
}

/// All that may be a slice of something larger.
fn parts<'a>(
    key: &'a mut Option<Bytes>,
    payload: &'a mut Option<Bytes>,
    headers: &'a mut Headers,
) -> impl Iterator<Item = &'a mut Bytes> {
    key.iter_mut().chain(payload).chain(headers.iter_mut().map(|(_, value)| value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_small_record_does_not_keep_its_request_alive_and_a_large_one_is_not_copied() {
        let request = Bytes::from(vec![b'x'; 64 * 1024]);
        let record = |payload: Bytes| Outbound {
            topic: "t".into(),
            key: Some(request.slice(1..4)),
            partition: None,
            payload: Some(payload),
            headers: vec![("h".into(), request.slice(5..9))],
            deadline: Instant::now(),
        };
        let within = |part: &Bytes| request.as_ptr_range().contains(&part.as_ptr());

        let small = Content::of(record(request.slice(100..300)));
        let all = [small.key.as_ref().unwrap(), small.payload.as_ref().unwrap(), &small.headers[0].1];
        assert!(all.iter().all(|part| !within(part)), "a part still belongs to the request");
        assert_eq!(all.map(|part| part.len()), [3, 200, 4]);
        assert_eq!(small.size, 128 + 3 + 200 + 4 + 1);

        let large = Content::of(record(request.slice(100..40_000)));
        assert!(within(large.payload.as_ref().unwrap()), "a large payload was copied");
        assert!(!within(large.key.as_ref().unwrap()));
    }
}
