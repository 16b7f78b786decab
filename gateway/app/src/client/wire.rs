//! Messages as they stand on the wire. What a server sends is read with borrowed fields; its `data` stays text.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A message from the server.
#[derive(Debug, Deserialize)]
pub struct Incoming<'a> {
    #[serde(borrow)]
    pub channel: Cow<'a, str>,
    #[serde(default, borrow)]
    id: Option<&'a RawValue>,
    #[serde(default, rename = "clientId")]
    pub client_id: Option<String>,
    #[serde(default)]
    pub successful: Option<bool>,
    #[serde(default)]
    pub error: Option<String>,
    #[serde(default, borrow)]
    advice: Option<&'a RawValue>,
    #[serde(default, borrow)]
    ext: Option<&'a RawValue>,
    /// Present even if it is `null`: an answer may be.
    #[serde(default, borrow, deserialize_with = "present")]
    pub data: Option<&'a RawValue>,
    /// The whole message, as it came.
    #[serde(skip)]
    pub text: &'a str,
}

fn present<'de, D: Deserializer<'de>>(field: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(field).map(Some)
}

impl Incoming<'_> {
    /// The id of the request that this belongs to. Ours are numbers; a server may send them back as text.
    pub fn request(&self) -> Option<u64> {
        self.id?.get().trim_matches('"').parse().ok()
    }

    /// What the server advises, if it is in a form that can be understood.
    pub fn advice(&self) -> Option<Advice> {
        serde_json::from_str(self.advice?.get()).ok()
    }

    /// `ext.replay`: a position, or a map from subscriptions to positions.
    pub fn replay(&self) -> Option<serde_json::Value> {
        let mut ext: serde_json::Map<String, serde_json::Value> = serde_json::from_str(self.ext?.get()).ok()?;
        ext.remove("replay")
    }

    /// The server's reason, in its own words.
    pub fn reason(&self) -> String {
        self.error.clone().unwrap_or_else(|| "it gave no reason".to_owned())
    }

    /// Whether the server does not know the session (any more).
    pub fn is_session_unknown(&self) -> bool {
        self.successful == Some(false) && self.error.as_deref().is_some_and(|error| error.starts_with("402:"))
    }
}

/// What a server advises about the next connect.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Advice {
    /// `retry`, `handshake` or `none`.
    pub reconnect: Option<String>,
    /// Milliseconds to wait before the next connect.
    pub interval: Option<u64>,
    /// Milliseconds for which the server may hold a connect.
    pub timeout: Option<u64>,
}

/// Reads an envelope: an array of messages.
///
/// # Errors
/// In words, what makes this no envelope.
pub fn envelope(text: &str) -> Result<Vec<Incoming<'_>>, String> {
    let no_bayeux = |error: serde_json::Error| format!("it sent what is no Bayeux message ({error})");
    let messages: Vec<&RawValue> = serde_json::from_str(text).map_err(no_bayeux)?;
    messages
        .into_iter()
        .map(|raw| {
            let mut message: Incoming<'_> = serde_json::from_str(raw.get()).map_err(no_bayeux)?;
            message.text = raw.get();
            Ok(message)
        })
        .collect()
}

/// The same JSON on one line. Line breaks stand only between its tokens: inside its texts they are escaped.
pub fn one_line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
}

/// A text as JSON.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The first message of a session, alone in its envelope.
pub fn handshake(id: u64, transport: &str) -> String {
    format!(
        r#"[{{"id":"{id}","channel":"/meta/handshake","version":"1.0","minimumVersion":"1.0","supportedConnectionTypes":["{transport}"]}}]"#
    )
}

/// A connect, in an envelope. `at_once` asks the server not to hold it, so that one learns whether the session still stands.
pub fn connect(id: u64, client_id: &str, transport: &str, at_once: bool) -> String {
    let advice = if at_once { r#","advice":{"timeout":0}"# } else { "" };
    let rest = format!(r#""channel":"/meta/connect","connectionType":"{transport}"{advice}"#);
    format!("[{}]", message(id, client_id, &rest))
}

/// A message of a session; `rest` is its further fields, as JSON without the braces.
pub fn message(id: u64, client_id: &str, rest: &str) -> String {
    format!(r#"{{"id":"{id}","clientId":{},{rest}}}"#, quoted(client_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_null_is_data_and_an_acknowledgement_has_none() {
        let messages = envelope(
            r#"[{"channel":"/service/x","id":"7","successful":true,"data":null},
                {"channel":"/service/x","id":8,"successful":true}]"#,
        )
        .unwrap();
        assert_eq!((messages[0].request(), messages[0].data.map(RawValue::get)), (Some(7), Some("null")));
        assert_eq!((messages[1].request(), messages[1].data.map(RawValue::get)), (Some(8), None));
    }

    #[test]
    fn data_keeps_its_digits_and_its_order() {
        let messages = envelope(r#"[{"channel":"/a","data":{"z":1.00,"a":12345678901234567890123}}]"#).unwrap();
        assert_eq!(messages[0].data.unwrap().get(), r#"{"z":1.00,"a":12345678901234567890123}"#);
        assert_eq!(messages[0].text, r#"{"channel":"/a","data":{"z":1.00,"a":12345678901234567890123}}"#);
    }

    #[test]
    fn a_message_is_printed_on_one_line_and_stays_the_same_json() {
        let json = "{\r\n  \"text\": \"two\\nlines\"\n}";
        let line = one_line(json);
        assert!(!line.contains(['\n', '\r']));
        let value = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
        assert_eq!(value(json), value(&line));
    }

    #[test]
    fn advice_in_a_strange_form_is_no_advice() {
        let advice = |json: &str| envelope(&format!(r#"[{{"channel":"/a","advice":{json}}}]"#)).unwrap()[0].advice();
        let known = Advice { reconnect: Some("retry".to_owned()), interval: Some(5), timeout: None };
        assert_eq!(advice(r#"{"reconnect":"retry","interval":5,"multiple-clients":true}"#), Some(known));
        assert_eq!(advice("[1]"), None);
        assert_eq!(advice("null"), None);
    }

    #[test]
    fn what_is_no_envelope_says_so() {
        for wrong in ["", "<html>", r#"{"channel":"/a"}"#, r#"[{"data":1}]"#, "[1]"] {
            assert!(envelope(wrong).unwrap_err().starts_with("it sent what is no Bayeux message"), "{wrong}");
        }
    }
}
