//! Places: a JetStream stream is a log, and a message's sequence its number there.

use connector::{Log, Place, SubscribeError};

/// The log that a stream is.
pub(crate) fn log(stream: &str) -> Log {
    Log { topic: stream.into(), partition: 0 }
}

/// A place in it. A subject belongs to one stream alone, so that the number says it all.
pub(crate) fn place(log: &Log, n: u64, at: Option<i64>) -> Place {
    Place { log: log.clone(), n, at, sole: true }
}

/// Checks that reading strictly after `after` misses nothing: valid from the first kept minus one to the last.
///
/// # Errors
/// [`SubscribeError::PositionGone`] with what is there.
pub(crate) fn check(after: u64, first: u64, last: u64) -> Result<(), SubscribeError> {
    if after <= last && after.saturating_add(1) >= first {
        return Ok(());
    }
    Err(gone(first, last))
}

/// That a place is not in a stream, which holds these.
pub(crate) fn gone(first: u64, last: u64) -> SubscribeError {
    // An empty stream tells first = last + 1: nothing is kept, the newest that ever was is `last`.
    let first = (first <= last && first > 0).then_some(first);
    SubscribeError::PositionGone { first, last: (last > 0).then_some(last) }
}

/// What the reply subject of a delivered JetStream message tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivered {
    /// The message's sequence in its stream.
    pub stream_sequence: u64,
    /// Its place among all that the consumer was given: 1, 2, 3, …
    pub consumer_sequence: u64,
    /// Nanoseconds since 1970 UTC, when it was stored.
    pub time: i64,
    /// How many more waited for the consumer when it was sent, as far as its server knew.
    pub pending: Option<u64>,
}

impl Delivered {
    /// From `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time>.<pending>`, or the longer
    /// form with domain and account after `ACK`.
    pub(crate) fn parse(reply: &str) -> Option<Self> {
        let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
        let skip = match tokens.len() {
            7 => 0,
            9.. => 2,
            _ => return None,
        };
        let number = |i: usize| tokens.get(skip + i).and_then(|t| t.parse::<u64>().ok());
        Some(Delivered {
            stream_sequence: number(3)?,
            consumer_sequence: number(4)?,
            time: i64::try_from(number(5)?).ok()?,
            pending: number(6),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_good_from_the_first_minus_one_to_the_last() {
        for (after, first, last) in [(4, 5, 9), (5, 5, 9), (9, 5, 9), (0, 0, 0), (0, 1, 3), (7, 8, 7)] {
            assert_eq!(check(after, first, last), Ok(()), "{after} in {first}..={last}");
        }
        let gone = |first, last| SubscribeError::PositionGone { first, last };
        assert_eq!(check(3, 5, 9), Err(gone(Some(5), Some(9))));
        assert_eq!(check(10, 5, 9), Err(gone(Some(5), Some(9))));
        assert_eq!(check(1, 0, 0), Err(gone(None, None)));
        assert_eq!(check(6, 8, 7), Err(gone(None, Some(7))));
        assert_eq!(check(u64::MAX, 5, 9), Err(gone(Some(5), Some(9))));
    }

    #[test]
    fn both_forms_of_a_delivery_are_read() {
        let time = 1_700_000_000_000_000_000;
        let expected = Some(Delivered { stream_sequence: 42, consumer_sequence: 7, time, pending: Some(0) });
        assert_eq!(Delivered::parse("$JS.ACK.ORDERS.abc.1.42.7.1700000000000000000.0"), expected);
        assert_eq!(Delivered::parse("$JS.ACK.hub.acc.ORDERS.abc.1.42.7.1700000000000000000.0"), expected);
        assert_eq!(Delivered::parse("$JS.ACK._.acc.ORDERS.abc.1.42.7.1700000000000000000.0.x9"), expected);
        for bad in ["", "$JS.ACK.", "_INBOX.a", "$JS.ACK.a.b.c.d.e.f.g", "$JS.ACK.a.b.1.2.3"] {
            assert_eq!(Delivered::parse(bad), None, "{bad}");
        }
    }
}
