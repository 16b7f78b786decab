//! What callback-polling and form-encoded requests have in common: messages in urlencoded fields.

use crate::settings::CallbackParameter;
use bayeux::message::{self, Message};
use bytes::Bytes;
use percent_encoding::percent_decode_str;

/// A callback-polling request.
#[derive(Debug)]
pub(super) struct Query {
    /// The function to call; surely harmless as script.
    pub(super) callback: String,
    /// `None`: not JSON.
    pub(super) messages: Option<Vec<Message>>,
}

impl Query {
    /// Reads the query string; `None` unless it has exactly one good callback and a `message`.
    pub(super) fn parse(query: &str, parameter: &CallbackParameter) -> Option<Self> {
        let mut callbacks = fields(query, &parameter.name);
        let callback = callbacks.next()?;
        let good = callback.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if !good || callback.is_empty() || callback.len() > parameter.max_length || callbacks.next().is_some() {
            return None;
        }
        fields(query, "message").next()?;
        Some(Query { callback, messages: messages(query) })
    }
}

/// The messages of a form-encoded body: every `message` field holds one or an array.
pub(super) fn form_messages(body: &[u8]) -> Option<Vec<Message>> {
    messages(std::str::from_utf8(body).ok()?)
}

fn messages(encoded: &str) -> Option<Vec<Message>> {
    let mut all = Vec::new();
    // An empty one is passed over, as in CometD.
    for field in fields(encoded, "message").filter(|field| !field.trim_ascii().is_empty()) {
        all.extend(message::parse(&Bytes::from(field)).ok()?);
    }
    Some(all)
}

fn fields<'q>(encoded: &'q str, name: &'q str) -> impl Iterator<Item = String> + 'q {
    encoded.split('&').filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key) == name).then(|| decode(value))
    })
}

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_must_be_a_harmless_name() {
        let parameter = CallbackParameter::default();
        let query = Query::parse("jsonp=a.b_c-1&message=%5B%7B%22channel%22%3A%22%2Fa%22%7D%5D&message={}", &parameter)
            .unwrap();
        assert_eq!((query.callback.as_str(), query.messages.unwrap().len()), ("a.b_c-1", 2));
        for bad in ["jsonp=&message={}", "jsonp=a(b&message={}", "jsonp=a&jsonp=b&message={}", "message={}", "jsonp=a"]
        {
            assert!(Query::parse(bad, &parameter).is_none(), "{bad}");
        }
        let other = CallbackParameter { name: "call".into(), max_length: 3 };
        assert!(Query::parse("jsonp=a&message={}&call=abc", &other).is_some());
        assert!(Query::parse("jsonp=a&message={}&call=abcd", &other).is_none());
        assert!(Query::parse("jsonp=a&message=%7B", &parameter).unwrap().messages.is_none());
    }

    #[test]
    fn a_form_holds_messages() {
        assert_eq!(form_messages(b"message=%5B%7B%7D%2C+%7B%7D%5D&x=1").unwrap().len(), 2);
        assert!(form_messages(b"message=x").is_none());
    }
}
