//! Reading and changing a message's parts, each without a look at the others: what nobody touches stays as the client
//! wrote it.

use super::Message;
use crate::reply::{object_field, set};
use bytes::Bytes;
use bytestring::ByteString;
use serde::Serialize;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::fmt;

impl Message {
    /// A message for a channel, to be published or delivered.
    ///
    /// ```
    /// # use bayeux::message::Message;
    /// let message = Message::new("/chat/room", &serde_json::json!({"text": "hello"}));
    /// assert_eq!(message.data.unwrap(), r#"{"text":"hello"}"#);
    /// ```
    pub fn new(channel: impl Into<ByteString>, data: &(impl Serialize + ?Sized)) -> Self {
        let mut message = Message { channel: Some(channel.into()), ..Message::default() };
        message.set_data(data);
        message
    }

    /// `data` as a value of that type; `None` when there is none, or another kind.
    pub fn data_as<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(self.data.as_ref()?).ok()
    }

    /// Sets `data`. A value that is no JSON (a map with keys that are no strings) becomes `null`.
    pub fn set_data(&mut self, data: &(impl Serialize + ?Sized)) {
        self.data = Some(json(data));
    }

    /// A top-level field that the protocol has no name for, raw JSON.
    pub fn field(&self, name: &str) -> Option<&Bytes> {
        self.other.iter().rev().find(|(other, _)| other == name).map(|(_, raw)| raw)
    }

    /// Sets a top-level field that the protocol has no name for.
    pub fn set_field(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        set(&mut self.other, name, json(value));
    }

    /// The same, with raw JSON.
    pub fn set_raw_field(&mut self, name: &str, raw: Bytes) {
        set(&mut self.other, name, raw);
    }

    /// Takes a top-level field away that the protocol has no name for.
    pub fn remove_field(&mut self, name: &str) {
        self.other.retain(|(other, _)| other != name);
    }

    /// Sets a field of `ext`; the others stay as they are.
    ///
    /// ```
    /// # use bayeux::message::Message;
    /// let mut message = Message { ext: Some(r#"{"a": 1.0}"#.into()), ..Message::default() };
    /// message.set_ext("b", &true);
    /// assert_eq!(message.ext.unwrap(), r#"{"a":1.0,"b":true}"#);
    /// ```
    pub fn set_ext(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        let mut fields = self.ext_fields();
        set(&mut fields, name, json(value));
        self.write_ext(&fields);
    }

    /// Takes a field of `ext` away; an `ext` that is empty then goes as well.
    pub fn remove_ext(&mut self, name: &str) {
        let mut fields = self.ext_fields();
        let before = fields.len();
        fields.retain(|(other, _)| other != name);
        if fields.len() < before {
            self.write_ext(&fields);
        }
    }

    fn ext_fields(&self) -> Vec<(ByteString, Bytes)> {
        let Some(ext) = &self.ext else { return Vec::new() };
        serde_json::Deserializer::from_slice(ext).deserialize_map(Fields(ext)).unwrap_or_default()
    }

    fn write_ext(&mut self, fields: &[(ByteString, Bytes)]) {
        let mut out = Vec::new();
        object_field("", fields, &mut out);
        self.ext = out.get(4..).map(Bytes::copy_from_slice); // behind `,"":`
    }
}

fn json(value: &(impl Serialize + ?Sized)) -> Bytes {
    serde_json::to_vec(value).map_or(Bytes::from_static(b"null"), Bytes::from)
}

/// The fields of an object; of one that comes twice the last.
struct Fields<'a>(&'a Bytes);

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Vec<(ByteString, Bytes)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields: Self::Value = Vec::new();
        let mut places = HashMap::new();
        while let Some((name, raw)) = map.next_entry::<String, &RawValue>()? {
            let raw = self.0.slice_ref(raw.get().as_bytes());
            let place = *places.entry(name.clone()).or_insert(fields.len());
            match fields.get_mut(place) {
                Some((_, old)) => *old = raw,
                None => fields.push((name.into(), raw)),
            }
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_ext_is_set_and_taken_away_and_the_others_stay_as_written() {
        let ext = Bytes::from_static(br#"{"x": {"a" : 1.10},"y":1, "y":2}"#);
        let mut message = Message { ext: Some(ext), ..Message::default() };
        message.set_ext("z", "new");
        message.set_ext("y", &3);
        assert_eq!(message.ext.as_ref().unwrap(), r#"{"x":{"a" : 1.10},"y":3,"z":"new"}"#);
        for name in ["x", "y", "nothing", "z"] {
            message.remove_ext(name);
        }
        assert_eq!(message.ext, None);
    }

    #[test]
    fn an_ext_that_is_null_or_no_object_makes_way() {
        for ext in ["null", "7", "[]"] {
            let mut message = Message { ext: Some(ext.into()), ..Message::default() };
            message.remove_ext("a");
            assert_eq!(message.ext.as_ref().unwrap(), ext);
            message.set_ext("a", &1);
            assert_eq!(message.ext.unwrap(), r#"{"a":1}"#);
        }
    }

    #[test]
    fn data_and_unknown_fields_are_read_and_set() {
        let mut message = Message::new("/a", &vec![1, 2]);
        assert_eq!(message.data_as::<Vec<u8>>(), Some(vec![1, 2]));
        assert_eq!(message.data_as::<String>(), None);
        message.set_field("f", &1);
        message.set_field("f", &2);
        assert_eq!(message.field("f").unwrap(), "2");
        message.remove_field("f");
        assert_eq!(message.field("f"), None);
    }
}
