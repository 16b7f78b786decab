//! Text with values in it.

use connector::{HandlerError, Request};
use serde_json::Value;
use std::borrow::Cow;
use std::cell::OnceCell;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// Stands for itself.
    Literal(String),
    /// A value of the request.
    Value(Source),
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// What the channel's pattern bound to this name.
    Name(String),
    /// The authenticated user.
    User,
    /// A claim: the whole name, else a path by its dots.
    Claim(String),
    /// A JSON pointer into the data.
    Data(String),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Name(name) => write!(f, "{{{name}}}"),
            Source::User => f.write_str("{session.user}"),
            Source::Claim(name) => write!(f, "{{claims.{name}}}"),
            Source::Data(pointer) => write!(f, "{{data:{pointer}}}"),
        }
    }
}

/// Reads a template. `names` are those that the service's channel binds.
///
/// # Errors
/// One sentence that says what to do.
pub(crate) fn parse(text: &str, names: &[&str]) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find(['{', '}']) {
        let (literal, tail) = rest.split_at(open);
        let Some((inside, after)) = tail.strip_prefix('{').and_then(|tail| tail.split_once('}')) else {
            return Err(format!("a brace in `{text}` has no partner; a value is written {{name}}"));
        };
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.to_owned()));
        }
        parts.push(Part::Value(source(inside, names)?));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest.to_owned()));
    }
    Ok(parts)
}

fn source(inside: &str, names: &[&str]) -> Result<Source, String> {
    if inside == "session.user" {
        return Ok(Source::User);
    }
    if let Some(claim) = inside.strip_prefix("claims.").filter(|claim| !claim.is_empty()) {
        return Ok(Source::Claim(claim.to_owned()));
    }
    if let Some(pointer) = inside.strip_prefix("data:") {
        if pointer.starts_with('/') {
            return Ok(Source::Data(pointer.to_owned()));
        }
        return Err(format!("`{{{inside}}}` needs a JSON pointer, which begins with a slash: {{data:/name}}"));
    }
    if names.contains(&inside) {
        return Ok(Source::Name(inside.to_owned()));
    }
    let bound = match names {
        [] => "binds no names".to_owned(),
        _ => format!("binds {}", names.iter().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(", ")),
    };
    Err(format!(
        "`{{{inside}}}` is not known: the service's channel {bound}; also {{session.user}}, {{claims.NAME}} and \
         {{data:/pointer}} can be used"
    ))
}

/// The values of one request. Claims and data are parsed when first asked for.
pub(crate) struct Values<'a> {
    request: &'a Request,
    claims: OnceCell<Value>,
    data: OnceCell<Value>,
}

impl<'a> Values<'a> {
    pub(crate) fn of(request: &'a Request) -> Self {
        Values { request, claims: OnceCell::new(), data: OnceCell::new() }
    }

    /// The value as text: strings as they are, numbers and booleans as JSON writes them.
    ///
    /// # Errors
    /// [`HandlerError::Invalid`] when there is none, or it is no single value.
    pub(crate) fn get(&self, source: &Source) -> Result<Cow<'_, str>, HandlerError> {
        let found = match source {
            Source::Name(name) => {
                self.request.bindings.iter().find(|(bound, _)| bound == name).map(|(_, value)| Cow::from(&**value))
            }
            Source::User => self.request.caller.user.as_deref().map(Cow::from),
            Source::Claim(name) => {
                let claims = self.claims.get_or_init(|| {
                    self.request.caller.claims.as_ref().and_then(|c| serde_json::from_slice(c).ok()).unwrap_or_default()
                });
                let nested = || name.split('.').try_fold(claims, |value, key| value.get(key));
                claims.get(name).or_else(nested).and_then(text)
            }
            Source::Data(pointer) => {
                let data = self.data.get_or_init(|| serde_json::from_slice(&self.request.data).unwrap_or_default());
                data.pointer(pointer).and_then(text)
            }
        };
        found.ok_or_else(|| HandlerError::Invalid(format!("the request has no value for {source}")))
    }
}

fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::from(text.as_str())),
        Value::Number(number) => Some(Cow::from(number.to_string())),
        Value::Bool(truth) => Some(Cow::from(if *truth { "true" } else { "false" })),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
