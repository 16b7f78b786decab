//! CometD's binary extension: a message marked `ext.binary` whose data is `{"data": "<Z85>", "last": …, "meta": {…}}`.
//!
//! In a `binary` mapping the record's value is the bytes; `last` and `meta` travel in headers. In a `json` mapping the
//! value is the data as it was sent, and a header tells that it is marked.

use super::egress::Poison;
use super::format::{delivery_data, record_payload};
use super::render::RenderError;
use super::spec::{Format, MappingSpec};
use bayeux::z85;
use bytes::Bytes;
use bytestring::ByteString;
use connector::{Headers, Inbound};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt::Write as _;

/// The header of a `binary` mapping's record that tells whether it is the last chunk: `true` or `false`.
pub const LAST_HEADER: &str = "bayeux-binary-last";
/// The header of a `binary` mapping's record that holds the chunk's `meta`: a JSON object in ASCII.
pub const META_HEADER: &str = "bayeux-binary-meta";
/// The header that marks a JSON value as the data of a binary message: `z85`.
pub const FORM_HEADER: &str = "bayeux-binary";

const FORM: &str = "z85";

/// The data of a message of the extension.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    data: Cow<'a, str>,
    last: Option<bool>,
    #[serde(borrow)]
    meta: Option<&'a RawValue>,
}

/// The record's value for a message that is marked `ext.binary`, and the headers to go with it: as
/// [`record_payload`] otherwise.
///
/// # Errors
/// [`RenderError::DataInvalid`] when the data is not what the extension sends, or the format takes none of it.
pub fn chunk_record(spec: &MappingSpec, data: Option<&Bytes>) -> Result<(Option<Bytes>, Headers), RenderError> {
    let plain = |data| record_payload(spec.format, spec.tombstones, data).map(|payload| (payload, Headers::new()));
    let Some(data) = data.filter(|data| data[..] != *b"null") else { return plain(None) };
    let wrong = RenderError::DataInvalid(
        "an object of the binary extension: Z85 in `data`, true or false in `last`, an object in `meta`",
    );
    let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(data) else { return Err(wrong) };
    let Ok(bytes) = z85::decode(chunk.data.as_bytes()) else { return Err(wrong) };
    if chunk.meta.is_some_and(|meta| !is_object(meta)) {
        return Err(wrong);
    }
    match spec.format {
        Format::Text => plain(Some(data)),
        Format::Json => Ok((Some(data.clone()), vec![header(FORM_HEADER, FORM.into())])),
        Format::Binary => {
            let last = if chunk.last.unwrap_or(true) { "true" } else { "false" };
            let mut headers = vec![header(LAST_HEADER, last.into())];
            headers.extend(chunk.meta.map(|meta| header(META_HEADER, in_ascii(meta.get()).into())));
            Ok((Some(bytes.into()), headers))
        }
    }
}

/// A message's data, raw JSON, for a record's value, and whether the message is to be marked `ext.binary`.
///
/// # Errors
/// Those of [`delivery_data`], and [`Poison::Header`] when a header does not hold what the extension has there.
pub fn chunk_data(spec: &MappingSpec, payload: Option<&Bytes>, record: &Inbound) -> Result<(Bytes, bool), Poison> {
    match (spec.format, payload) {
        (Format::Binary, Some(payload)) if spec.binary_extension => Ok((chunk(payload, record)?, true)),
        (format, payload) => {
            let marked = spec.binary_extension
                && format == Format::Json
                && payload.is_some()
                && record.header(FORM_HEADER).is_some_and(|form| form[..] == *FORM.as_bytes());
            Ok((delivery_data(format, payload)?, marked))
        }
    }
}

fn chunk(payload: &Bytes, record: &Inbound) -> Result<Bytes, Poison> {
    let foreign = |name: &str| Poison::Header(name.to_owned());
    let last = match record.header(LAST_HEADER).map(|last| &last[..]) {
        None | Some(b"true") => "true",
        Some(b"false") => "false",
        Some(_) => return Err(foreign(LAST_HEADER)),
    };
    let meta = match record.header(META_HEADER) {
        None => "",
        Some(meta) => match serde_json::from_slice::<&RawValue>(meta) {
            Ok(meta) if is_object(meta) => meta.get(),
            _ => return Err(foreign(META_HEADER)),
        },
    };
    let mut json = String::with_capacity(z85::encoded_len(payload.len()) + meta.len() + 40);
    json.push_str("{\"data\":\"");
    z85::encode_onto(payload, &mut json);
    json.push_str("\",\"last\":");
    json.push_str(last);
    if !meta.is_empty() {
        json.push_str(",\"meta\":");
        json.push_str(meta);
    }
    json.push('}');
    Ok(json.into())
}

fn header(name: &'static str, value: Bytes) -> (ByteString, Bytes) {
    (ByteString::from_static(name), value)
}

fn is_object(json: &RawValue) -> bool {
    json.get().starts_with('{')
}

/// The same JSON without a space or line end outside of strings, and in visible ASCII: every broker's headers hold it.
fn in_ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for char in json.chars() {
        match char {
            '"' if !escaped => in_string = !in_string,
            ' ' | '\t' | '\n' | '\r' if !in_string => continue,
            _ => {}
        }
        escaped = char == '\\' && !escaped;
        if matches!(char, ' '..='~') {
            out.push(char);
        } else {
            for unit in char.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}"); // a String takes all
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::inbound;
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn spec(format: Format) -> MappingSpec {
        MappingSpec { format, ..MappingSpec::new("/a", "kafka", "a") }
    }

    fn stored(spec: &MappingSpec, data: &str) -> Result<(Option<Bytes>, Headers), RenderError> {
        chunk_record(spec, Some(&Bytes::copy_from_slice(data.as_bytes())))
    }

    fn record(headers: &[(&'static str, &str)]) -> Inbound {
        let headers = headers.iter().map(|(name, value)| header(name, Bytes::copy_from_slice(value.as_bytes())));
        Inbound { headers: headers.collect(), ..inbound("a", None) }
    }

    fn delivered(spec: &MappingSpec, value: &'static [u8], record: &Inbound) -> Result<(String, bool), Poison> {
        let (data, marked) = chunk_data(spec, Some(&Bytes::from_static(value)), record)?;
        Ok((String::from_utf8(data.to_vec()).unwrap(), marked))
    }

    #[test]
    fn a_chunk_is_bytes_for_the_broker_and_z85_for_clients() {
        let spec = spec(Format::Binary);
        let (value, headers) =
            stored(&spec, r#"{"meta" : {"name": "ü\n\"€", "n": 1.50} ,"data":"HelloWor\u006b","last":false}"#).unwrap();
        assert_eq!(value.unwrap(), &b"\x86\x4f\xd2\x6f\xb5\x59\xf7"[..]);
        let meta = r#"{"name":"\u00fc\n\"\u20ac","n":1.50}"#;
        assert_eq!(headers, [header(LAST_HEADER, "false".into()), header(META_HEADER, meta.into())]);

        let record = record(&[(LAST_HEADER, "false"), (META_HEADER, meta)]);
        let data = format!(r#"{{"data":"HelloWork","last":false,"meta":{meta}}}"#);
        assert_eq!(delivered(&spec, b"\x86\x4f\xd2\x6f\xb5\x59\xf7", &record).unwrap(), (data, true));
    }

    #[test]
    fn what_another_producer_stored_is_one_last_chunk() {
        let spec = spec(Format::Binary);
        assert_eq!(delivered(&spec, b"\xff", &record(&[])).unwrap(), (r#"{"data":"@@","last":true}"#.into(), true));
        assert_eq!(delivered(&spec, b"", &record(&[])).unwrap(), (r#"{"data":"","last":true}"#.into(), true));
        let tombstone = chunk_data(&spec, None, &record(&[])).unwrap();
        assert_eq!(tombstone, ("null".into(), false), "nothing is no binary message");
        for (name, wrong) in [(LAST_HEADER, "yes"), (META_HEADER, "{"), (META_HEADER, "[1]"), (META_HEADER, "\u{fc}")] {
            let poison = Poison::Header(name.to_owned());
            assert_eq!(delivered(&spec, b"", &record(&[(name, wrong)])), Err(poison), "{wrong}");
        }
    }

    #[test]
    fn a_json_mapping_keeps_the_text_and_its_mark() {
        let spec = spec(Format::Json);
        let data = r#"{"data":"HelloWork", "last":true, "mine":1}"#;
        let (value, headers) = stored(&spec, data).unwrap();
        assert_eq!(value.unwrap(), data);
        assert_eq!(headers, [header(FORM_HEADER, "z85".into())]);
        let marked = record(&[(FORM_HEADER, "z85")]);
        assert_eq!(chunk_data(&spec, Some(&data.into()), &marked).unwrap(), (data.into(), true));
        assert_eq!(chunk_data(&spec, Some(&data.into()), &record(&[])).unwrap(), (data.into(), false));
        assert_eq!(chunk_data(&spec, None, &marked).unwrap(), ("null".into(), false));
    }

    #[test]
    fn without_the_extension_a_binary_mapping_speaks_base64() {
        let spec = MappingSpec { binary_extension: false, ..spec(Format::Binary) };
        let record = record(&[(LAST_HEADER, "false"), (META_HEADER, "{}")]);
        assert_eq!(delivered(&spec, b"\x00\xff", &record).unwrap(), (r#""AP8=""#.into(), false));
    }

    #[test]
    fn what_the_extension_does_not_send_is_refused() {
        for format in [Format::Binary, Format::Json] {
            for wrong in [
                "7",
                r#""AP8=""#,
                "{}",
                r#"{"data":7}"#,
                r#"{"data":"Hello\"orl"}"#,
                r#"{"data":"HelloW"}"#,
                r#"{"data":"%nSc1"}"#,
                r#"{"data":"","last":1}"#,
                r#"{"data":"","meta":[]}"#,
            ] {
                let refused = stored(&spec(format), wrong).unwrap_err();
                assert_eq!(refused.text(), "data_invalid", "{wrong}");
            }
        }
        assert_eq!(stored(&spec(Format::Text), r#"{"data":""}"#).unwrap_err().text(), "data_invalid");
        assert_eq!(chunk_record(&spec(Format::Binary), None).unwrap_err().text(), "data_invalid");
        let compacted = MappingSpec { tombstones: true, ..spec(Format::Binary) };
        assert_eq!(chunk_record(&compacted, None), Ok((None, Headers::new())), "nothing is a tombstone");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<i64>().prop_map(Value::from), any::<String>().prop_map(Value::from)];
        leaf.prop_recursive(3, 20, 5, |inner| {
            proptest::collection::btree_map(any::<String>(), inner, 0..5).prop_map(|m| json!(m))
        })
    }

    proptest! {
        #[test]
        fn json_in_ascii_is_the_same_json(value in any_json()) {
            for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                let ascii = in_ascii(&text);
                prop_assert!(ascii.bytes().all(|byte| matches!(byte, b' '..=b'~')));
                prop_assert_eq!(&serde_json::from_str::<Value>(&ascii).unwrap(), &value);
            }
        }
    }
}
