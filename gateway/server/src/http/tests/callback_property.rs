//! What holds for any query of callback-polling and for any form that holds messages. The fuzz targets and the tests over
//! their corpora share this.

use super::callback::{Query, form_messages};
use crate::settings::CallbackParameter;
use bayeux::message::{Message, parse};
use bytes::Bytes;
use url::form_urlencoded;

/// Checks one query.
pub fn query(input: &[u8]) {
    let query = String::from_utf8_lossy(input);
    let parameter = CallbackParameter::default();
    let read = Query::parse(&query, &parameter);

    let fields: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let callbacks: Vec<_> = fields.iter().filter(|(key, _)| key == "jsonp").map(|(_, value)| value).collect();
    let harmless = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let good = |callback: &str| (1..=64).contains(&callback.len()) && callback.chars().all(harmless);
    let has_messages = fields.iter().any(|(key, _)| key == "message");
    let expected = matches!(&callbacks[..], [callback] if good(callback)) && has_messages;
    assert_eq!(read.is_some(), expected, "one good callback, and messages");

    let Some(read) = read else { return };
    assert_eq!(read.callback, **callbacks[0]);
    same(read.messages, &fields);
    // What stands around it does not matter.
    let around = Query::parse(&format!("x=%ff&&{query}&y"), &parameter).map(|read| read.callback);
    assert_eq!(around.as_ref(), Some(&read.callback));
}

/// Checks one body of a form.
pub fn form(input: &[u8]) {
    let messages = form_messages(input);
    if std::str::from_utf8(input).is_err() {
        return assert!(messages.is_none(), "a form is text");
    }
    same(messages, &form_urlencoded::parse(input).collect::<Vec<_>>());
}

/// The messages are those of the fields, in their order; one that is not JSON spoils them all.
fn same<T: AsRef<str>>(messages: Option<Vec<Message>>, fields: &[(T, T)]) {
    let values = fields.iter().filter(|(key, _)| key.as_ref() == "message").map(|(_, value)| value.as_ref());
    let full = values.filter(|value| !value.trim_ascii().is_empty());
    let expected: Result<Vec<_>, _> = full.map(|value| parse(&Bytes::copy_from_slice(value.as_bytes()))).collect();
    let expected: Option<Vec<Message>> = expected.ok().map(|all| all.into_iter().flatten().collect());
    assert_eq!(format!("{messages:?}"), format!("{expected:?}"));
}
