//! Templates as their author wrote them: text with `{name}`, `{data:/pointer}`, `{claims.x}`, `{session.user}`;
//! `{{` and `}}` stand for single braces.

use super::source::{Pointer, Source};
use thiserror::Error;

/// A piece of a template. Two values never stand side by side, nor do two literals, and no literal is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Literal(String),
    Value(Source),
}

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum TemplateError {
    #[error("`{{` is never closed")]
    Unclosed,
    #[error("`}}` closes nothing")]
    Stray,
    #[error("`{{{0}}}` is not a name of the channel")]
    UnknownName(String),
    #[error("`{{{0}}}` is not known")]
    UnknownSource(String),
    #[error("`{{data:{0}}}`: a JSON pointer is empty or begins with `/`, and holds `~` only as `~0` and `~1`")]
    Pointer(String),
    #[error("`{{{0}}}` and `{{{1}}}` stand side by side, so that nobody could tell where the first ends")]
    Adjacent(String, String),
    #[error("what follows `{{{0}}}` must begin with an ASCII character, because the value is cut there")]
    NotAscii(String),
}

impl TemplateError {
    /// What to write instead. `names` are the channel's.
    pub(super) fn help(&self, names: &[&str]) -> Option<String> {
        match self {
            TemplateError::Unclosed => Some("write `{{` for a brace".to_owned()),
            TemplateError::Stray => Some("write `}}` for a brace".to_owned()),
            TemplateError::UnknownName(_) if names.is_empty() => {
                Some("the channel has no names: write one there as `{name}`".to_owned())
            }
            TemplateError::UnknownName(_) => {
                let names: Vec<String> = names.iter().map(|n| format!("`{{{n}}}`")).collect();
                Some(format!("the channel has {}", names.join(", ")))
            }
            TemplateError::UnknownSource(_) => Some(
                "there are the channel's names, `{data:/json/pointer}`, `{claims.NAME}` and `{session.user}`"
                    .to_owned(),
            ),
            TemplateError::Adjacent(..) => Some("put a character between them, such as `-`".to_owned()),
            TemplateError::Pointer(_) | TemplateError::NotAscii(_) => None,
        }
    }
}

/// Reads a template; `names` are the channel's, in order. All mistakes at once.
pub(super) fn parse(text: &str, names: &[&str]) -> Result<Vec<Part>, Vec<TemplateError>> {
    let mut parts: Vec<Part> = Vec::new();
    let mut errors = Vec::new();
    let mut previous: Option<String> = None; // what stood in the braces just before
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let doubled = rest.starts_with("{{") || rest.starts_with("}}");
        if c == '{' && !doubled {
            let Some((inner, after)) = rest[1..].split_once('}') else {
                errors.push(TemplateError::Unclosed);
                break;
            };
            rest = after;
            if let Some(before) = previous.replace(inner.to_owned()) {
                errors.push(TemplateError::Adjacent(before, inner.to_owned()));
            }
            match source(inner, names) {
                Ok(source) => parts.push(Part::Value(source)),
                Err(error) => errors.push(error),
            }
            continue;
        }
        if c == '}' && !doubled {
            errors.push(TemplateError::Stray);
        }
        rest = &rest[if doubled { 2 } else { c.len_utf8() }..];
        if let Some(before) = previous.take()
            && !c.is_ascii()
        {
            errors.push(TemplateError::NotAscii(before));
        }
        match parts.last_mut() {
            Some(Part::Literal(literal)) => literal.push(c),
            _ => parts.push(Part::Literal(c.to_string())),
        }
    }
    if errors.is_empty() { Ok(parts) } else { Err(errors) }
}

fn source(inner: &str, names: &[&str]) -> Result<Source, TemplateError> {
    if let Some(i) = names.iter().position(|n| *n == inner) {
        return Ok(Source::Name(i));
    }
    if let Some(pointer) = inner.strip_prefix("data:") {
        return Pointer::parse(pointer).map(Source::Data).ok_or_else(|| TemplateError::Pointer(pointer.to_owned()));
    }
    if let Some(claim) = inner.strip_prefix("claims.").filter(|claim| !claim.is_empty()) {
        return Ok(Source::Claim(claim.to_owned()));
    }
    if inner == "session.user" {
        return Ok(Source::User);
    }
    let plain = !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    Err(if plain {
        TemplateError::UnknownName(inner.to_owned())
    } else {
        TemplateError::UnknownSource(inner.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn literal(text: &str) -> Part {
        Part::Literal(text.to_owned())
    }

    #[test]
    fn text_names_and_what_a_publish_brings_make_a_template() {
        let parts = parse("a.{x}-{data:/p/0}{{}}{claims.https://e.x/role}_{session.user}", &["x"]).unwrap();
        assert_eq!(
            parts,
            [
                literal("a."),
                Part::Value(Source::Name(0)),
                literal("-"),
                Part::Value(Source::Data(Pointer::parse("/p/0").unwrap())),
                literal("{}"),
                Part::Value(Source::Claim("https://e.x/role".to_owned())),
                literal("_"),
                Part::Value(Source::User),
            ]
        );
        assert_eq!(parse("", &[]).unwrap(), []);
    }

    #[test]
    fn each_mistake_is_told_with_what_to_write() {
        for (text, error) in [
            ("a{x", TemplateError::Unclosed),
            ("a}x", TemplateError::Stray),
            ("{y}", TemplateError::UnknownName("y".to_owned())),
            ("{}", TemplateError::UnknownSource(String::new())),
            ("{sesion.user}", TemplateError::UnknownSource("sesion.user".to_owned())),
            ("{claims.}", TemplateError::UnknownSource("claims.".to_owned())),
            ("{data:x}", TemplateError::Pointer("x".to_owned())),
            ("{data:/~2}", TemplateError::Pointer("/~2".to_owned())),
            ("{x}{session.user}", TemplateError::Adjacent("x".to_owned(), "session.user".to_owned())),
            ("{x}é", TemplateError::NotAscii("x".to_owned())),
        ] {
            assert_eq!(parse(text, &["x"]).unwrap_err(), [error], "{text}");
        }
        assert_eq!(parse("{y}{z}", &[]).unwrap_err().len(), 3, "all of them at once");
        assert_eq!(
            TemplateError::UnknownName("y".to_owned()).help(&["a", "b"]).unwrap(),
            "the channel has `{a}`, `{b}`"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_a_template_or_a_mistake(text in "[{}a:/.é*-]{0,24}|.{0,24}") {
            let _ = parse(&text, &["a"]);
        }
    }
}
