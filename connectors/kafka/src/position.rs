//! Where a record stands in Kafka, as text that clients keep and send back.
//!
//! On a topic with exactly one partition it is a number: the record's offset + 1, so that 0 is "from the start". On
//! any other it is a token `partition-offset-timestamp`, all decimal, the timestamp in milliseconds since 1970 UTC
//! and 0 where the record has none. The timestamp is compared with that of the record found at the offset, so that a
//! topic which was deleted and made anew is noticed; a number cannot tell that.

use connector::{Position, SubscribeError};

/// A position read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Strictly after the record before this offset.
    Number(i64),
    /// Strictly after this record.
    Record { partition: i32, offset: i64, timestamp: i64 },
}

/// The position of a record. `single`: its topic has exactly one partition.
pub(crate) fn of(single: bool, partition: i32, offset: i64, timestamp: Option<i64>) -> Position {
    match u64::try_from(offset) {
        Ok(offset) if single => Position::Number(offset + 1),
        _ => Position::Token(format!("{partition}-{offset}-{}", timestamp.unwrap_or(0).max(0)).into()),
    }
}

/// Reads a position back.
pub(crate) fn parse(position: &Position) -> Result<Place, SubscribeError> {
    let invalid = || {
        SubscribeError::PositionInvalid(format!(
            "{} is not a Kafka position: they are numbers, or partition-offset-timestamp",
            position.to_json()
        ))
    };
    match position {
        Position::Number(n) => i64::try_from(*n).map(Place::Number).map_err(|_| invalid()),
        Position::Token(token) => {
            let mut parts = token.split('-').map(decimal);
            let mut part = || parts.next().flatten();
            let place = match (part(), part(), part()) {
                (Some(partition), Some(offset), Some(timestamp)) => {
                    i32::try_from(partition).ok().map(|partition| Place::Record { partition, offset, timestamp })
                }
                _ => None,
            };
            place.filter(|_| parts.next().is_none()).ok_or_else(invalid)
        }
    }
}

/// Digits only: `str::parse` would take a sign as well.
fn decimal(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_topic_of_one_partition_counts_from_one() {
        assert_eq!(of(true, 0, 0, Some(5)), Position::Number(1));
        assert_eq!(parse(&Position::Number(0)), Ok(Place::Number(0)));
    }

    #[test]
    fn what_is_not_a_position_is_refused() {
        for token in ["", "-", "--", "1-2", "1-2-3-4", "1--2", "+1-2-3", "a-b-c", "4294967296-1-1", "7"] {
            let parsed = parse(&Position::Token(token.into()));
            assert!(matches!(parsed, Err(SubscribeError::PositionInvalid(_))), "{token:?}: {parsed:?}");
        }
        assert!(parse(&Position::Number(u64::MAX)).is_err());
    }

    proptest! {
        #[test]
        fn a_token_is_read_back(partition in 0..i32::MAX, offset in 0..i64::MAX, timestamp in 0..i64::MAX) {
            let position = of(false, partition, offset, Some(timestamp));
            prop_assert_eq!(parse(&position), Ok(Place::Record { partition, offset, timestamp }));
        }
    }
}
