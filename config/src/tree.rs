//! A YAML text as a tree that knows where each key and value stands.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::{DuplicateKeyPolicy, Location, Options, Spanned};
use std::fmt;

/// A place in a text: line and column from 1, in characters; start and length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) start: usize,
    pub(crate) len: usize,
}

/// Where something was written: in which layer, and where in its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) layer: usize,
    pub(crate) span: Option<Span>,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) value: Val,
}

/// A value.
#[derive(Debug, Clone)]
pub(crate) enum Val {
    /// Nothing. `written`: as `null` or `~`; else there is just no value after the key.
    Null {
        written: bool,
    },
    /// With the text as written, for keys that want text.
    Bool(bool, String),
    /// With the text as written, for keys that want text.
    Number(Number, String),
    Text(String),
    /// Text from the environment: it takes the type that its key wants. `plain`: written without quotes, so that it
    /// need not be text where any type would do.
    Loose {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_at: At,
    pub(crate) node: Node,
}

/// Why a text is not YAML, and where.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) message: String,
    pub(crate) at: At,
}

impl Node {
    pub(crate) fn empty(layer: usize) -> Self {
        Node { at: At { layer, span: None }, value: Val::Map(Vec::new()) }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        if let Val::Map(entries) = &self.value { entries } else { &[] }
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        // The last of duplicates, which are an error of their own.
        self.entries().iter().rev().find(|e| e.key == key)
    }

    /// One step down by key or index; with the place of the key, if there is one.
    fn step(&self, segment: &str) -> Option<(&Node, Option<At>)> {
        match &self.value {
            Val::Map(_) => self.entry(segment).map(|e| (&e.node, Some(e.key_at))),
            Val::List(items) => segment.parse::<usize>().ok().and_then(|i| items.get(i)).map(|n| (n, None)),
            _ => None,
        }
    }

    /// The place to point at for `path`, or for as much of it as there is: the value if it is a scalar (unless the key
    /// is asked for), else the key.
    pub(crate) fn locate(&self, path: &[String], want_key: bool) -> At {
        let (mut node, mut key) = (self, None);
        let mut whole = true;
        for segment in path {
            match node.step(segment) {
                Some((next, next_key)) => (node, key) = (next, next_key),
                None => {
                    whole = false;
                    break;
                }
            }
        }
        let scalar = !matches!(node.value, Val::Map(_) | Val::List(_) | Val::Null { written: false });
        match key {
            Some(key) if want_key || !whole || !scalar => key,
            // An item of a list that is a map: its first key, as the map itself is a place without letters.
            _ => node.entries().first().map_or(node.at, |e| e.key_at),
        }
    }
}

/// Reads one YAML document. An empty one is an empty map.
pub(crate) fn parse(text: &str, layer: usize) -> Result<Node, Box<SyntaxError>> {
    let budget = serde_saphyr::budget! { max_depth: 64, max_nodes: 100_000 };
    let options = serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::AsString,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        budget: budget,
        with_snippet: false
    };
    let options: Options = options;
    let positions = Positions { text, layer };
    match serde_saphyr::from_str_with_options::<Any>(text, options) {
        Ok(any) => {
            let mut node = positions.node(any);
            if let Val::Null { .. } = node.value {
                node.value = Val::Map(Vec::new());
            }
            Ok(node)
        }
        Err(error) => {
            let error = error.without_snippet();
            let at = match error.location() {
                Some(location) => positions.at(&location),
                None => At { layer, span: None },
            };
            Err(Box::new(SyntaxError { message: plain_message(error), at }))
        }
    }
}

/// The parser's message without the place, which is shown otherwise.
fn plain_message(error: &serde_saphyr::Error) -> String {
    let message = error.to_string();
    let message = message.lines().next().unwrap_or_default();
    let end = message.find(" at line ").unwrap_or(message.len());
    message[..end].trim().to_owned()
}

struct Positions<'a> {
    text: &'a str,
    layer: usize,
}

impl Positions<'_> {
    fn at(&self, location: &Location) -> At {
        let span = location.span();
        let (line, column) = (location.line() as usize, location.column() as usize);
        if line == 0 {
            return At { layer: self.layer, span: None };
        }
        let start = match span.byte_offset() {
            Some(offset) => offset as usize,
            None => byte_of(self.text, line, column),
        };
        let mut start = start.min(self.text.len());
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        let len = span.byte_len().unwrap_or(0) as usize;
        let rest = &self.text[start..];
        let line_end = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let mut len = len.min(line_end);
        while !rest.is_char_boundary(len) {
            len -= 1;
        }
        At { layer: self.layer, span: Some(Span { line, column, start, len: rest[..len].trim_end().len() }) }
    }

    fn written(&self, at: &At) -> &str {
        at.span.and_then(|s| self.text.get(s.start..s.start + s.len)).unwrap_or_default()
    }

    fn node(&self, any: Any) -> Node {
        let at = self.at(&any.0.referenced);
        let value = match any.0.value {
            Raw::Null => {
                let written = matches!(self.written(&at), "~" | "null" | "Null" | "NULL");
                Val::Null { written }
            }
            Raw::Bool(b) => Val::Bool(b, self.scalar_text(&at, &b)),
            Raw::Number(n) => {
                let text = self.scalar_text(&at, &n);
                Val::Number(n, text)
            }
            Raw::Text(text) => Val::Text(text),
            Raw::List(items) => Val::List(items.into_iter().map(|item| self.node(item)).collect()),
            Raw::Map(entries) => Val::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| Entry {
                        key_at: self.at(&key.referenced),
                        key: key.value,
                        node: self.node(value),
                    })
                    .collect(),
            ),
        };
        Node { at, value }
    }

    fn scalar_text(&self, at: &At, value: &dyn fmt::Display) -> String {
        match self.written(at) {
            "" => value.to_string(),
            text if text.starts_with(['*', '!', '&']) => value.to_string(),
            text => text.to_owned(),
        }
    }
}

/// Whether a scalar at this place is written plain, without quotes and not as a block.
pub(crate) fn is_plain(text: &str, at: &At) -> bool {
    at.span.is_some_and(|s| text.get(s.start..).is_some_and(|t| !t.starts_with(['"', '\'', '|', '>'])))
}

fn byte_of(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    text[start..].char_indices().nth(column.saturating_sub(1)).map_or(text.len(), |(i, _)| start + i)
}

struct Any(Spanned<Raw>);

enum Raw {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Any>),
    Map(Vec<(Spanned<String>, Any)>),
}

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::<Raw>::deserialize(deserializer).map(Any)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Raw;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }
            fn visit_none<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }
            fn visit_bool<E>(self, v: bool) -> Result<Raw, E> {
                Ok(Raw::Bool(v))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Raw, E> {
                Ok(Raw::Number(v.into()))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Raw, E> {
                Ok(Raw::Number(v.into()))
            }
            fn visit_i128<E>(self, v: i128) -> Result<Raw, E> {
                Ok(Raw::Text(v.to_string()))
            }
            fn visit_u128<E>(self, v: u128) -> Result<Raw, E> {
                Ok(Raw::Text(v.to_string()))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Raw, E> {
                Ok(Number::from_f64(v).map_or_else(|| Raw::Text(v.to_string()), Raw::Number))
            }
            fn visit_str<E>(self, v: &str) -> Result<Raw, E> {
                Ok(Raw::Text(v.to_owned()))
            }
            fn visit_string<E>(self, v: String) -> Result<Raw, E> {
                Ok(Raw::Text(v))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Raw::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Raw::Map(entries))
            }
        }
        deserializer.deserialize_any(V)
    }
}
