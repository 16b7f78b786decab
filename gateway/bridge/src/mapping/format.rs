//! A message's data and a record's value, one made of the other by the mapping's format.

use super::egress::Poison;
use super::render::RenderError;
use super::spec::Format;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::value::RawValue;

const NULL: Bytes = Bytes::from_static(b"null");

/// The record's value for a published message; `None` is a tombstone. `data` is raw JSON without outer whitespace,
/// absent when the message has none, which is the same as `null`.
///
/// # Errors
/// [`RenderError::DataInvalid`] when the data is not what the format takes.
pub fn record_payload(format: Format, tombstones: bool, data: Option<&Bytes>) -> Result<Option<Bytes>, RenderError> {
    let data = data.filter(|data| data[..] != NULL);
    if data.is_none() && tombstones {
        return Ok(None);
    }
    match format {
        Format::Json => Ok(Some(data.cloned().unwrap_or(NULL))),
        Format::Text => data.and_then(string).map(Some).ok_or(RenderError::DataInvalid("a JSON string")),
        Format::Binary => data
            .and_then(string)
            .and_then(|text| STANDARD.decode(&text).ok())
            .map(|bytes| Some(bytes.into()))
            .ok_or(RenderError::DataInvalid("a JSON string of base64")),
    }
}

/// The text of a JSON string, without a copy where nothing in it is escaped.
fn string(json: &Bytes) -> Option<Bytes> {
    match &json[..] {
        [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => Some(json.slice_ref(inner)),
        _ => serde_json::from_slice::<String>(json).ok().map(Bytes::from),
    }
}

/// A message's data, raw JSON, for a record's value; a tombstone (`None`) becomes `null`.
///
/// # Errors
/// [`Poison::NotJson`] and [`Poison::NotText`] when the value is not what the format says.
pub fn delivery_data(format: Format, payload: Option<&Bytes>) -> Result<Bytes, Poison> {
    let Some(payload) = payload else { return Ok(NULL) };
    match format {
        Format::Json => {
            let json: &RawValue =
                serde_json::from_slice(payload).map_err(|error| Poison::NotJson(error.to_string()))?;
            Ok(payload.slice_ref(json.get().as_bytes()))
        }
        Format::Text => {
            let text = std::str::from_utf8(payload).map_err(|_| Poison::NotText)?;
            serde_json::to_vec(text).map(Bytes::from).map_err(|error| Poison::NotJson(error.to_string()))
        }
        Format::Binary => {
            let mut json = String::with_capacity(payload.len().div_ceil(3) * 4 + 2);
            json.push('"');
            STANDARD.encode_string(payload, &mut json);
            json.push('"');
            Ok(json.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(format: Format, data: &'static str) -> Result<Option<Bytes>, RenderError> {
        record_payload(format, false, Some(&Bytes::from_static(data.as_bytes())))
    }

    fn delivered(format: Format, value: &'static [u8]) -> Result<Bytes, Poison> {
        delivery_data(format, Some(&Bytes::from_static(value)))
    }

    #[test]
    fn json_travels_byte_for_byte() {
        let json = r#"{"b": 1.50, "a":12345678901234567890, "b":1e400, "s":"\u00e9\ud800"}"#;
        assert_eq!(stored(Format::Json, json).unwrap().unwrap(), json);
        assert_eq!(delivered(Format::Json, json.as_bytes()).unwrap(), json);
        assert_eq!(delivered(Format::Json, b"\n [1, 2]\r\n").unwrap(), "[1, 2]");
    }

    #[test]
    fn nothing_is_null_and_only_a_tombstone_where_the_mapping_says_so() {
        let null = Bytes::from_static(b"null");
        for data in [None, Some(&null)] {
            assert_eq!(record_payload(Format::Json, false, data).unwrap().unwrap(), "null");
            for format in [Format::Json, Format::Text, Format::Binary] {
                assert_eq!(record_payload(format, true, data), Ok(None));
                assert_eq!(delivery_data(format, None).unwrap(), "null");
            }
        }
        assert_eq!(record_payload(Format::Text, false, None).unwrap_err().text(), "data_invalid");
    }

    #[test]
    fn text_is_a_json_string_for_clients_and_plain_for_the_broker() {
        assert_eq!(stored(Format::Text, r#""a b""#).unwrap().unwrap(), "a b");
        assert_eq!(stored(Format::Text, r#""a\n\u00fc""#).unwrap().unwrap(), "a\nü");
        assert_eq!(stored(Format::Text, "\"\"").unwrap().unwrap(), "");
        for not_text in ["1", "{}", "null", r#""\ud800""#] {
            assert!(matches!(stored(Format::Text, not_text), Err(RenderError::DataInvalid(_))), "{not_text}");
        }
        assert_eq!(delivered(Format::Text, "a\n\"ü\"".as_bytes()).unwrap(), r#""a\n\"ü\"""#);
        assert_eq!(delivered(Format::Text, b"").unwrap(), "\"\"");
        assert_eq!(delivered(Format::Text, b"\xff"), Err(Poison::NotText));
    }

    #[test]
    fn binary_is_base64_for_clients_and_bytes_for_the_broker() {
        assert_eq!(stored(Format::Binary, r#""AP8=""#).unwrap().unwrap(), &b"\x00\xff"[..]);
        assert_eq!(delivered(Format::Binary, b"\x00\xff").unwrap(), r#""AP8=""#);
        assert_eq!(delivered(Format::Binary, b"").unwrap(), "\"\"");
        assert!(matches!(stored(Format::Binary, r#""?""#), Err(RenderError::DataInvalid(_))));
        assert!(matches!(stored(Format::Binary, "7"), Err(RenderError::DataInvalid(_))));
    }

    #[test]
    fn a_value_that_is_no_json_is_poison() {
        for bad in [&b""[..], b"{", b"nul", b"1 2", b"\"\xff\"", b"\xef\xbb\xbf1"] {
            assert!(matches!(delivered(Format::Json, bad), Err(Poison::NotJson(_))), "{bad:?}");
        }
    }
}
