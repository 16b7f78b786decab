//! Where a record stands in its log, and how far somebody has read: the same for every broker that keeps a log.
//!
//! A *log* is one ordered sequence: a Kafka partition, a JetStream stream, the memory connector's one log. A *place* in it
//! is a number `n` that means "all up to and including this record is read": the stream sequence, or Kafka's offset + 1,
//! so that 0 is the place before the first record. A *cursor* is one place for each log that a filter reads.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use bytestring::ByteString;
use std::collections::BTreeMap;
use std::fmt;
use thiserror::Error;

/// Names one log of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Log {
    /// The topic; for JetStream the stream; empty for the memory connector.
    pub topic: ByteString,
    /// The partition, 0 where there are none.
    pub partition: i32,
}

/// A place in a log: just behind a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which log.
    pub log: Log,
    /// All up to and including this one is read.
    pub n: u64,
    /// The record's time as the broker tells, in milliseconds since 1970 UTC: a log that was deleted and made again has
    /// another record there. `None` where no record is meant.
    pub at: Option<i64>,
    /// The log is the only one of its topic, so that `n` alone says it all.
    pub sole: bool,
}

/// How far a log is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// See [`Place::n`].
    pub n: u64,
    /// See [`Place::at`].
    pub at: Option<i64>,
}

/// How far several logs are read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cursor(BTreeMap<Log, Seen>);

/// A position as clients have it.
///
/// A number where one integer says it all (the only log), else an opaque token that names logs and holds the records' times
/// as well. Tokens are made of letters, digits, `-` and `_`; joined by dots they are again a token, in which the farther
/// place of each log counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Position {
    /// [`Place::n`] of the only log.
    Number(u64),
    /// Anything else.
    Token(ByteString),
}

/// Why a token is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a position that this gateway gave")]
pub struct NotAPosition;

/// The first byte of a token's content: its form.
const FORM: u8 = 1;
/// More bytes than this are no token of ours.
const MAX_TOKEN: usize = 32 * 1024;

impl Place {
    /// The position to tell a client.
    pub fn position(&self) -> Position {
        if self.sole { Position::Number(self.n) } else { Cursor::from(self.clone()).position() }
    }
}

impl From<Place> for Cursor {
    fn from(place: Place) -> Self {
        Cursor(BTreeMap::from([(place.log, Seen { n: place.n, at: place.at })]))
    }
}

impl FromIterator<(Log, Seen)> for Cursor {
    fn from_iter<T: IntoIterator<Item = (Log, Seen)>>(iter: T) -> Self {
        let mut cursor = Cursor::default();
        iter.into_iter().for_each(|(log, seen)| cursor.set(log, seen));
        cursor
    }
}

impl Cursor {
    /// How far that log is read; `None` when the cursor does not know it.
    pub fn get(&self, log: &Log) -> Option<Seen> {
        self.0.get(log).copied()
    }

    /// Sets how far a log is read, also backwards.
    pub fn set(&mut self, log: Log, seen: Seen) {
        self.0.insert(log, seen);
    }

    /// Moves forward to a place: whether it was ahead.
    pub fn advance(&mut self, place: &Place) -> bool {
        match self.0.get_mut(&place.log) {
            Some(seen) if seen.n >= place.n => false,
            Some(seen) => {
                *seen = Seen { n: place.n, at: place.at };
                true
            }
            None => {
                self.0.insert(place.log.clone(), Seen { n: place.n, at: place.at });
                true
            }
        }
    }

    /// Whether this place is read already.
    pub fn covers(&self, place: &Place) -> bool {
        self.0.get(&place.log).is_some_and(|seen| seen.n >= place.n)
    }

    /// Whether all that `other` has read is read. A log that only `other` knows, and has read nothing of, does not count.
    pub fn covers_all(&self, other: &Cursor) -> bool {
        other.0.iter().all(|(log, seen)| seen.n == 0 || self.0.get(log).is_some_and(|mine| mine.n >= seen.n))
    }

    /// The logs, in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&Log, Seen)> {
        self.0.iter().map(|(log, seen)| (log, *seen))
    }

    /// How many logs.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// It knows no log.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The position to tell a client: a token.
    pub fn position(&self) -> Position {
        let mut bytes = vec![FORM];
        for (log, seen) in &self.0 {
            varint(log.topic.len() as u64, &mut bytes);
            bytes.extend_from_slice(log.topic.as_bytes());
            varint(u64::from(log.partition.unsigned_abs()), &mut bytes);
            varint(seen.n, &mut bytes);
            varint(seen.at.map_or(0, |at| u64::try_from(at).map_or(0, |at| at + 1)), &mut bytes);
        }
        Position::Token(BASE64.encode(bytes).into())
    }

    /// Reads a token, or several joined by dots.
    ///
    /// # Errors
    /// When it was not made by [`Cursor::position`].
    pub fn parse(token: &str) -> Result<Cursor, NotAPosition> {
        if token.len() > MAX_TOKEN {
            return Err(NotAPosition);
        }
        let mut cursor = Cursor::default();
        for part in token.split('.') {
            let bytes = BASE64.decode(part).map_err(|_| NotAPosition)?;
            let mut rest = bytes.strip_prefix(&[FORM]).ok_or(NotAPosition)?;
            while !rest.is_empty() {
                let length = usize::try_from(take(&mut rest)?).map_err(|_| NotAPosition)?;
                let topic = rest.get(..length).ok_or(NotAPosition)?;
                let topic = std::str::from_utf8(topic).map_err(|_| NotAPosition)?;
                rest = &rest[length..];
                let partition = i32::try_from(take(&mut rest)?).map_err(|_| NotAPosition)?;
                let n = take(&mut rest)?;
                let at = take(&mut rest)?.checked_sub(1).map(i64::try_from).transpose().map_err(|_| NotAPosition)?;
                let log = Log { topic: topic.into(), partition };
                cursor.advance(&Place { log, n, at, sole: false });
            }
        }
        Ok(cursor)
    }
}

impl Position {
    /// As JSON: an integer or a string.
    pub fn to_json(&self) -> String {
        match self {
            Position::Number(n) => n.to_string(),
            Position::Token(t) => serde_json::Value::from(&t[..]).to_string(),
        }
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn take(bytes: &mut &[u8]) -> Result<u64, NotAPosition> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(NotAPosition)?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7F);
        if bits << shift >> shift != bits {
            return Err(NotAPosition);
        }
        n |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(n);
        }
    }
    Err(NotAPosition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn log(topic: &str, partition: i32) -> Log {
        Log { topic: topic.into(), partition }
    }

    fn cursors() -> impl Strategy<Value = Cursor> {
        let log = ("[a-z.ü_]{0,6}", 0..i32::MAX).prop_map(|(topic, partition)| log(&topic, partition));
        let seen = (any::<u64>(), proptest::option::of(0..i64::MAX - 1)).prop_map(|(n, at)| Seen { n, at });
        proptest::collection::vec((log, seen), 0..5).prop_map(|places| places.into_iter().collect())
    }

    proptest! {
        #[test]
        fn a_token_reads_back(cursor in cursors()) {
            let Position::Token(token) = cursor.position() else { panic!("a cursor is a token") };
            prop_assert_eq!(Cursor::parse(&token).unwrap(), cursor);
        }

        #[test]
        fn tokens_joined_hold_the_farther_place_of_each_log(one in cursors(), two in cursors()) {
            let (Position::Token(a), Position::Token(b)) = (one.position(), two.position()) else { panic!() };
            let both = Cursor::parse(&format!("{a}.{b}")).unwrap();
            prop_assert!(both.covers_all(&one) && both.covers_all(&two));
            for (log, seen) in both.iter() {
                prop_assert!([one.get(log), two.get(log)].contains(&Some(seen)));
            }
        }

        #[test]
        fn any_text_is_read_or_refused_without_panic(token in "[A-Za-z0-9_.=-]{0,60}", bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Cursor::parse(&token);
            let _ = Cursor::parse(&BASE64.encode(bytes));
        }
    }

    #[test]
    fn what_was_not_given_is_no_position() {
        for token in ["", "not-ours", ":", "99999999999999999999999", "AQ.", "AA", "AQID"] {
            assert_eq!(Cursor::parse(token), Err(NotAPosition), "{token}");
        }
        assert!(Cursor::parse("AQ").unwrap().is_empty());
    }

    #[test]
    fn a_cursor_only_moves_forward() {
        let mut cursor = Cursor::default();
        let place = |n| Place { log: log("a", 0), n, at: None, sole: true };
        assert!(cursor.advance(&place(5)) && !cursor.advance(&place(5)) && !cursor.advance(&place(4)));
        assert!(cursor.covers(&place(5)) && !cursor.covers(&place(6)));
        assert!(!cursor.covers(&Place { log: log("a", 1), n: 1, at: None, sole: true }));
        assert_eq!(place(7).position(), Position::Number(7));
    }
}
