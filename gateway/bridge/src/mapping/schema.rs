//! What the data of a publish must be: a JSON Schema that its mapping names.
//!
//! Compiled once. Patterns run in linear time, nothing is fetched from anywhere, and what a publisher is told is bounded.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;
use thiserror::Error;

/// A compiled pattern may take this much memory: bytes.
const PATTERN_SIZE: usize = 1 << 20;
/// The longest path and the longest reason that a publisher is told: bytes.
const MAX_TOLD: usize = 200;

/// The text of the error string of a publish that violates its schema.
pub const VIOLATION: &str = "schema_violation";

/// A compiled schema.
pub struct Schema {
    text: String,
    validator: Validator,
}

/// Why a text is no schema.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {message}")]
pub struct SchemaError {
    /// The line, from 1.
    pub line: usize,
    /// One sentence.
    pub message: String,
}

/// Why data is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("at {}: {reason}", if path.is_empty() { "the top" } else { path.as_str() })]
pub struct Violation {
    /// A JSON Pointer (RFC 6901) into the data; empty: the whole.
    pub path: String,
    /// What is wrong there, without the data itself.
    pub reason: String,
}

impl Schema {
    /// Reads a schema: JSON Schema of any draft that it names by `$schema`, else of 2020-12. References lead only to places
    /// inside of it.
    ///
    /// # Errors
    /// [`SchemaError`]: what is wrong, and on which line.
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        let schema: Value = serde_json::from_str(text)
            .map_err(|error| SchemaError { line: error.line(), message: format!("it is not JSON: {error}") })?;
        let patterns = PatternOptions::regex().size_limit(PATTERN_SIZE).dfa_size_limit(PATTERN_SIZE);
        let validator = jsonschema::options().with_pattern_options(patterns).build(&schema).map_err(|error| {
            let path = error.instance_path().as_str();
            let place = if path.is_empty() { String::new() } else { format!("`{path}`: ") };
            let message = format!("it is not a JSON Schema: {place}{}", cut(&error.to_string()));
            SchemaError { line: line_of(text, path), message }
        })?;
        Ok(Schema { text: text.to_owned(), validator })
    }

    /// Whether raw JSON is what the schema wants; no data is `null`.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, data: Option<&[u8]>) -> Result<(), Violation> {
        let whole = |reason: String| Violation { path: String::new(), reason };
        let value: Value = serde_json::from_slice(data.unwrap_or(b"null"))
            .map_err(|error| whole(format!("it cannot be read: {error}")))?;
        self.validator.validate(&value).map_err(|error| Violation {
            path: cut(error.instance_path().as_str()),
            reason: cut(&error.masked().to_string()),
        })
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({} bytes)", self.text.len())
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Schema {}

/// Not longer than what one is told.
fn cut(text: &str) -> String {
    match text.char_indices().find(|(at, char)| at + char.len_utf8() > MAX_TOLD) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The line of what a JSON Pointer points to, as far as it leads.
fn line_of(text: &str, pointer: &str) -> usize {
    let mut at = text.trim_start();
    for segment in pointer.split('/').skip(1) {
        let name = segment.replace("~1", "/").replace("~0", "~");
        let child = match serde_json::from_str::<BTreeMap<String, &RawValue>>(at) {
            Ok(object) => object.get(&name).map(|raw| raw.get()),
            Err(_) => match (serde_json::from_str::<Vec<&RawValue>>(at), name.parse::<usize>()) {
                (Ok(list), Ok(index)) => list.get(index).map(|raw| raw.get()),
                _ => None,
            },
        };
        let Some(child) = child else { break };
        at = child;
    }
    // `at` is a part of `text`: a value borrowed from it.
    let offset = (at.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    text.get(..offset).unwrap_or_default().matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &str = r##"{
  "type": "object",
  "required": ["id", "price"],
  "properties": {
    "id": { "type": "string", "pattern": "^[a-z]{1,8}$" },
    "price": { "type": "number", "exclusiveMinimum": 0 },
    "items": { "type": "array", "items": { "$ref": "#/$defs/item" } }
  },
  "$defs": { "item": { "enum": ["tea", "cup"] } }
}"##;

    fn violation(data: &str) -> (String, String) {
        let violation = Schema::parse(ORDER).unwrap().check(Some(data.as_bytes())).unwrap_err();
        (violation.path, violation.reason)
    }

    #[test]
    fn data_that_violates_is_told_where_and_why_without_the_data() {
        let schema = Schema::parse(ORDER).unwrap();
        assert_eq!(schema.check(Some(br#"{"id":"a","price":1.5,"items":["tea"]}"#)), Ok(()));
        let (path, reason) = violation(r#"{"id":"a","price":"secret"}"#);
        assert_eq!((path.as_str(), reason.as_str()), ("/price", "value is not of type \"number\""));
        assert_eq!(violation(r#"{"id":"a","price":1,"items":["tea","oil"]}"#).0, "/items/1");
        assert_eq!(violation(r#"{"price":1}"#).1, "\"id\" is a required property");
        assert_eq!(violation("null").0, "");
        assert!(schema.check(None).is_err(), "no data is null");
        let told = schema.check(Some(b"7")).unwrap_err().to_string();
        assert_eq!(told, "at the top: value is not of type \"object\"");
    }

    #[test]
    fn what_is_told_is_short_and_what_is_nested_too_deeply_is_refused() {
        let schema = Schema::parse(r#"{"additionalProperties": false}"#).unwrap();
        let long = format!("{{\"{}\":1}}", "ü".repeat(5_000));
        assert!(schema.check(Some(long.as_bytes())).unwrap_err().reason.len() < MAX_TOLD + 8);
        let deep = "[".repeat(1_000) + &"]".repeat(1_000);
        assert!(schema.check(Some(deep.as_bytes())).unwrap_err().reason.contains("recursion limit"));
    }

    #[test]
    fn a_broken_schema_is_told_with_its_line() {
        let line = |text: &str| Schema::parse(text).unwrap_err().line;
        assert_eq!(line("{\n  \"type\": \n}"), 3);
        assert_eq!(line("{\n  \"properties\": {\n    \"a\": { \"type\": \"nonsense\" }\n  }\n}"), 3);
        assert_eq!(line("7"), 1);
        assert!(Schema::parse(r##"{"$ref": "https://example.com/order.json"}"##).is_err(), "nothing is fetched");
        assert!(Schema::parse(r##"{"$ref": "#/$defs/nowhere"}"##).is_err());
    }

    #[test]
    fn patterns_are_of_the_kind_that_cannot_run_away() {
        let schema = Schema::parse(r#"{"pattern": "^(a+)+$"}"#).unwrap();
        let evil = format!("\"{}!\"", "a".repeat(60_000));
        assert!(schema.check(Some(evil.as_bytes())).is_err());
        for backtracking in [r#"{"pattern": "(a)\\1"}"#, r#"{"pattern": "^(?=a)b"}"#] {
            assert!(Schema::parse(backtracking).is_err(), "{backtracking}");
        }
        assert!(Schema::parse(r#"{"pattern": "((a{100}){100}){100}"}"#).is_err(), "too large");
    }
}
