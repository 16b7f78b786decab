//! What a client asks for with its subscription: `ext.replay` of `/meta/subscribe`, a map from the subscription as sent to a
//! position.
//!
//! The forms with integers are Salesforce's, whose clients send their whole map with every subscription: only the key that is
//! the subscription counts, and the key may lack a slash at the end.

use bytes::Bytes;
use connector::Cursor;
use serde_json::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// From where a client wants to read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Asked {
    /// −1: only what is new.
    New,
    /// −2: all that is kept.
    All,
    /// Strictly after this number; with the record's time, if the client says it (`epoch`).
    After(u64, Option<i64>),
    /// Strictly after these places.
    Cursor(Cursor),
    /// From the first record that is not older.
    At(SystemTime),
}

/// Why a position cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invalid(String);

impl Invalid {
    /// A position, in the words of the client.
    pub(crate) fn position(said: &Value) -> Self {
        Invalid(match said {
            Value::String(text) => text.chars().take(64).collect(),
            other => other.to_string().chars().take(64).collect(),
        })
    }

    /// Salesforce's error, letter by letter: clients look at how it begins, and two spaces follow its first sentence.
    pub(crate) fn error(&self) -> String {
        format!(
            "400::The replayId {{{}}} you provided was invalid.  Please provide a valid ID, -2 to replay all events, or -1 to \
             replay only new events.",
            self.0
        )
    }
}

/// What `ext.replay` asks for this subscription, and how the client said it; `None` when it says nothing of it.
///
/// # Errors
/// When what it says is no position.
pub(crate) fn asked(replay: &Bytes, subscription: &str) -> Result<Option<(Asked, Value)>, Invalid> {
    let map: Value = serde_json::from_slice(replay).map_err(|_| Invalid::position(&Value::Null))?;
    // The handshake's `true` is no map, and neither is anything else.
    let Some(map) = map.as_object() else { return Ok(None) };
    let bare = subscription.strip_suffix('/').unwrap_or(subscription);
    let Some(said) = map.get(subscription).or_else(|| map.get(bare)) else { return Ok(None) };
    match position(said) {
        Some(asked) => Ok(Some((asked, said.clone()))),
        None => Err(Invalid::position(said)),
    }
}

fn position(said: &Value) -> Option<Asked> {
    match said {
        Value::Number(_) => match said.as_i64() {
            Some(-1) => Some(Asked::New),
            Some(-2) => Some(Asked::All),
            _ => Some(Asked::After(said.as_u64()?, None)),
        },
        Value::String(token) => match token.parse::<i64>() {
            // A client that keeps positions as text.
            Ok(n) => position(&Value::from(n)),
            Err(_) => Cursor::parse(token).ok().map(Asked::Cursor),
        },
        Value::Object(fields) => match (fields.get("position"), fields.get("at")) {
            (Some(at), None) => match (position(at)?, fields.get("epoch")) {
                (Asked::After(n, _), Some(epoch)) => Some(Asked::After(n, Some(epoch.as_i64()?))),
                (asked, _) => Some(asked),
            },
            (None, Some(at)) => instant(at).map(Asked::At),
            _ => None,
        },
        _ => None,
    }
}

/// Milliseconds since 1970 or RFC 3339.
fn instant(said: &Value) -> Option<SystemTime> {
    match said {
        Value::Number(_) => UNIX_EPOCH.checked_add(Duration::from_millis(said.as_u64()?)),
        Value::String(text) => OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use connector::{Log, Place, Position};
    use serde_json::json;

    fn asks(map: Value, subscription: &str) -> Result<Option<Asked>, Invalid> {
        asked(&map.to_string().into(), subscription).map(|asked| asked.map(|(asked, _)| asked))
    }

    #[test]
    fn salesforce_clients_ask_with_integers_in_a_map_of_all_their_channels() {
        let map = json!({ "/event/A__e": -1, "/event/B__e": -2, "/event/C__e": 55, "/event/D__e": 0 });
        assert_eq!(asks(map.clone(), "/event/A__e"), Ok(Some(Asked::New)));
        assert_eq!(asks(map.clone(), "/event/B__e"), Ok(Some(Asked::All)));
        assert_eq!(asks(map.clone(), "/event/C__e/"), Ok(Some(Asked::After(55, None))));
        assert_eq!(asks(map.clone(), "/event/D__e"), Ok(Some(Asked::After(0, None))));
        assert_eq!(asks(map, "/event/E__e"), Ok(None));
        assert_eq!(asks(json!(true), "/event/A__e"), Ok(None));
    }

    #[test]
    fn tokens_epochs_and_times_are_positions_too() {
        let cursor =
            Cursor::from(Place { log: Log { topic: "t".into(), partition: 3 }, n: 8, at: Some(9), sole: false });
        let Position::Token(token) = cursor.position() else { panic!("a token") };
        let ask = |said: Value| asks(json!({ "/a": said }), "/a").unwrap().unwrap();
        assert_eq!(ask(json!(&token[..])), Asked::Cursor(cursor.clone()));
        assert_eq!(ask(json!({ "position": &token[..] })), Asked::Cursor(cursor));
        assert_eq!(ask(json!("55")), Asked::After(55, None));
        assert_eq!(
            ask(json!({ "position": 55, "epoch": 1_700_000_000_000i64 })),
            Asked::After(55, Some(1_700_000_000_000))
        );
        assert_eq!(ask(json!({ "at": 1_500 })), Asked::At(UNIX_EPOCH + Duration::from_millis(1_500)));
        assert_eq!(
            ask(json!({ "at": "1970-01-01T00:00:01.5Z" })),
            Asked::At(UNIX_EPOCH + Duration::from_millis(1_500))
        );
    }

    #[test]
    fn what_is_no_position_is_refused_in_salesforce_words() {
        for said in
            [json!(-3), json!(1.5), json!("not-ours"), json!(null), json!([]), json!({}), json!({ "at": "noon" })]
        {
            let invalid = asks(json!({ "/a": said.clone() }), "/a").unwrap_err();
            assert!(invalid.error().starts_with("400::The replayId {"), "{said}");
        }
        assert_eq!(
            Invalid::position(&json!(77)).error(),
            "400::The replayId {77} you provided was invalid.  Please provide a valid ID, -2 to replay all events, or -1 \
             to replay only new events."
        );
    }
}
