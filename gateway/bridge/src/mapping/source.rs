//! Where a template's values come from.

use super::segment::decode_segment;
use bayeux::channel::Captures;
use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// What one `{…}` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// The channel's name of that number.
    Name(usize),
    /// Something in the message's data.
    Data(Pointer),
    /// A claim of the publisher's identity: the member of that name, else the path that its dots make.
    Claim(String),
    /// The publisher's user.
    User,
}

impl Source {
    /// Whether only a publish has it.
    pub(super) fn is_dynamic(&self) -> bool {
        !matches!(self, Source::Name(_))
    }

    /// As in the template, without braces; `names` are the channel's.
    pub(super) fn describe(&self, names: &[&str]) -> String {
        match self {
            Source::Name(i) => names.get(*i).copied().unwrap_or_default().to_owned(),
            Source::Data(pointer) => format!("data:{}", pointer.text),
            Source::Claim(claim) => format!("claims.{claim}"),
            Source::User => "session.user".to_owned(),
        }
    }
}

/// What a publish brings besides its channel.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sources<'p> {
    /// The message's `data`, raw JSON.
    pub data: Option<&'p [u8]>,
    /// The identity's claims, a JSON object.
    pub claims: Option<&'p [u8]>,
    /// The identity's user name.
    pub user: Option<&'p str>,
}

/// Why a source gives no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoValue {
    /// It is not there, empty, or neither text nor number nor boolean.
    Missing,
    /// The channel's segment is another spelling of a value that has its own.
    NotCanonical,
}

impl Sources<'_> {
    /// The value of `source`, never empty.
    pub(super) fn value<'v>(&'v self, source: &Source, captures: &Captures<'v>) -> Result<Cow<'v, str>, NoValue> {
        let value = match source {
            Source::Name(i) => {
                let segment: &'v str = captures.names.get(*i).copied().ok_or(NoValue::Missing)?;
                return decode_segment(segment).ok_or(NoValue::NotCanonical);
            }
            Source::Data(pointer) => self.data.and_then(raw).and_then(|data| pointer.find(data)).and_then(scalar),
            Source::Claim(claim) => self.claims.and_then(raw).and_then(|claims| {
                let nested = || claim.split('.').try_fold(claims, member).and_then(scalar);
                member(claims, claim).and_then(scalar).or_else(nested)
            }),
            Source::User => self.user.map(Cow::Borrowed),
        };
        value.filter(|value| !value.is_empty()).ok_or(NoValue::Missing)
    }
}

/// A JSON pointer (RFC 6901), looked up in raw JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pointer {
    text: String,
    steps: Vec<String>,
}

impl Pointer {
    /// `None` when the text is no JSON pointer.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let steps = match text.split_once('/') {
            None if text.is_empty() => Vec::new(),
            Some(("", steps)) => steps.split('/').map(unescape_step).collect::<Option<_>>()?,
            _ => return None,
        };
        Some(Pointer { text: text.to_owned(), steps })
    }

    fn find<'d>(&self, data: &'d RawValue) -> Option<&'d RawValue> {
        self.steps.iter().try_fold(data, |at, step| match at.get().as_bytes().first() {
            Some(b'[') => {
                let no_index = step.len() > 1 && step.starts_with('0') || !step.bytes().all(|b| b.is_ascii_digit());
                let index: usize = if no_index { return None } else { step.parse().ok()? };
                serde_json::Deserializer::from_str(at.get()).deserialize_seq(Element(index)).ok()
            }
            _ => member(at, step),
        })
    }
}

fn unescape_step(step: &str) -> Option<String> {
    let mut out = String::with_capacity(step.len());
    let mut chars = step.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '~' => match chars.next() {
                Some('0') => '~',
                Some('1') => '/',
                _ => return None,
            },
            c => c,
        });
    }
    Some(out)
}

fn raw(json: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice(json).ok()
}

/// A member of an object; the last of that name, as JavaScript sees it.
fn member<'d>(object: &'d RawValue, name: &str) -> Option<&'d RawValue> {
    if !object.get().starts_with('{') {
        return None;
    }
    serde_json::Deserializer::from_str(object.get()).deserialize_map(Member(name)).ok()
}

/// Text, a number as it was written, or a boolean.
fn scalar(json: &RawValue) -> Option<Cow<'_, str>> {
    let text = json.get();
    match text.as_bytes().first()? {
        b'"' if !text.contains('\\') => text.get(1..text.len() - 1).map(Cow::Borrowed),
        b'"' => serde_json::from_str(text).ok().map(Cow::Owned),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(text)),
    }
}

struct Member<'n>(&'n str);

impl<'de> Visitor<'de> for Member<'_> {
    type Value = &'de RawValue;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(same) = map.next_key_seed(Key(self.0))? {
            if same {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        found.ok_or_else(|| A::Error::custom("no such member"))
    }
}

/// Whether a member's name is this one, without a copy of it.
struct Key<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }
    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

struct Element(usize);

impl<'de> Visitor<'de> for Element {
    type Value = &'de RawValue;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let mut i = 0;
        while let Some(element) = seq.next_element::<&'de RawValue>()? {
            if i == self.0 {
                found = Some(element);
            }
            i += 1;
        }
        found.ok_or_else(|| A::Error::custom("no such element"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(json: &str, pointer: &str) -> Option<String> {
        let pointer = Pointer::parse(pointer).unwrap();
        let sources = Sources { data: Some(json.as_bytes()), ..Sources::default() };
        let nothing = Captures { names: Vec::new(), rest: None };
        sources.value(&Source::Data(pointer), &nothing).ok().map(Cow::into_owned)
    }

    #[test]
    fn a_pointer_finds_text_numbers_and_booleans_as_they_were_written() {
        let json = r#"{ "a": {"b/c": [1.50, "x\ny", true, null, {}]}, "k~": "v", "e\u0061": 1e400, "": "empty name" }"#;
        for (pointer, value) in [
            ("/a/b~1c/0", Some("1.50")),
            ("/a/b~1c/1", Some("x\ny")),
            ("/a/b~1c/2", Some("true")),
            ("/a/b~1c/3", None),
            ("/a/b~1c/4", None),
            ("/a/b~1c/5", None),
            ("/a/b~1c/00", None),
            ("/a/b~1c/-", None),
            ("/a/b~1c/+1", None),
            ("/a/b~1c/", None),
            ("/a", None),
            ("/a/b~1c/0/x", None),
            ("/k~0", Some("v")),
            ("/ea", Some("1e400")),
            ("/", Some("empty name")),
            ("", None),
        ] {
            assert_eq!(find(json, pointer).as_deref(), value, "{pointer}");
        }
        assert_eq!(find("\"x\"", "").as_deref(), Some("x"));
        assert_eq!(find("\"\"", ""), None, "an empty value is a missing one");
        assert_eq!(find(r#"{"a":1,"a":2}"#, "/a").as_deref(), Some("2"), "as JavaScript reads it");
        assert_eq!(find("not json", "/a"), None);
    }

    #[test]
    fn a_claim_is_a_member_or_a_path_of_members() {
        let claims = br#"{"sub":"ann","realm":{"role":"admin"},"https://x.y/org":"acme"}"#;
        let sources = Sources { claims: Some(claims), user: Some("ann"), ..Sources::default() };
        let nothing = Captures { names: Vec::new(), rest: None };
        let claim = |name: &str| sources.value(&Source::Claim(name.to_owned()), &nothing).ok();
        assert_eq!(claim("sub").as_deref(), Some("ann"));
        assert_eq!(claim("realm.role").as_deref(), Some("admin"));
        assert_eq!(claim("https://x.y/org").as_deref(), Some("acme"));
        assert_eq!(claim("realm"), None);
        assert_eq!(claim("realm.x"), None);
        assert_eq!(sources.value(&Source::User, &nothing).as_deref(), Ok("ann"));
        assert_eq!(Sources::default().value(&Source::User, &nothing), Err(NoValue::Missing));
    }
}
