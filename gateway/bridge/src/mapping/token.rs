//! One token of a topic, or the whole text of a key or a header: written from values, and read back into them.

use super::source::Source;
use super::template::Part;
use connector::{FilterToken, TopicSyntax};
use std::borrow::Cow;

/// How composite keys and headers are written: as one token in which all may stand but NUL.
pub(super) static TEXT: TopicSyntax =
    TopicSyntax { separator: 0, introducer: "%", literal: |_, _| true, check: |_| Ok(()), wildcards: &[], rest: false };

/// Literals and values in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) parts: Vec<Part>,
}

/// A text that this template and these escapes could not have written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Foreign;

impl Token {
    /// The text, when no value is in it.
    pub(super) fn as_literal(&self) -> Option<&str> {
        match &self.parts[..] {
            [] => Some(""),
            [Part::Literal(literal)] => Some(literal),
            _ => None,
        }
    }

    /// Where its values come from, in order.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.parts.iter().filter_map(|part| match part {
            Part::Value(source) => Some(source),
            Part::Literal(_) => None,
        })
    }

    /// The byte at which the value in part `i` is cut: the first of what follows it.
    fn cut(&self, i: usize) -> Option<u8> {
        match self.parts.get(i + 1) {
            Some(Part::Literal(next)) => next.bytes().next(),
            _ => None,
        }
    }

    /// Writes it.
    pub(super) fn render<'v, E>(
        &self,
        syntax: &TopicSyntax,
        mut value: impl FnMut(&Source) -> Result<Cow<'v, str>, E>,
        out: &mut String,
    ) -> Result<(), E> {
        for (i, part) in self.parts.iter().enumerate() {
            match part {
                Part::Literal(literal) => out.push_str(literal),
                Part::Value(source) => syntax.encode(&value(source)?, i == 0, self.cut(i), out),
            }
        }
        Ok(())
    }

    /// Reads `text` back. `bind` is given each value and says whether it fits.
    pub(super) fn invert<'t>(
        &self,
        syntax: &TopicSyntax,
        text: &'t str,
        mut bind: impl FnMut(&Source, Cow<'t, str>) -> bool,
    ) -> Result<(), Foreign> {
        let mut rest = text;
        for (i, part) in self.parts.iter().enumerate() {
            match part {
                Part::Literal(literal) => rest = rest.strip_prefix(literal.as_str()).ok_or(Foreign)?,
                Part::Value(source) => {
                    let cut = self.cut(i);
                    let end = match cut {
                        Some(cut) => find_cut(syntax, rest.as_bytes(), cut).ok_or(Foreign)?,
                        None => rest.len(),
                    };
                    let (written, after) = rest.split_at_checked(end).ok_or(Foreign)?;
                    if !bind(source, read_value(syntax, written, i == 0, cut)?) {
                        return Err(Foreign);
                    }
                    rest = after;
                }
            }
        }
        if rest.is_empty() { Ok(()) } else { Err(Foreign) }
    }

    /// The filter that takes all that it writes.
    pub(super) fn filter(&self) -> FilterToken {
        let literal = |part: Option<&Part>| match part {
            Some(Part::Literal(literal)) => literal.clone(),
            _ => String::new(),
        };
        match self.as_literal() {
            Some(literal) => FilterToken::Literal(literal.to_owned()),
            None => FilterToken::Wild { prefix: literal(self.parts.first()), suffix: literal(self.parts.last()) },
        }
    }

    /// Whether the end of a value and the literal after it could together read as an escape, so that what is written
    /// must be read back before it is believed.
    pub(super) fn is_delicate(&self, syntax: &TopicSyntax) -> bool {
        (0..self.parts.len()).filter(|&i| matches!(self.parts[i], Part::Value(_))).filter_map(|i| self.cut(i)).any(
            |cut| syntax.introducer.as_bytes().contains(&cut) || cut.is_ascii_digit() || (b'A'..=b'F').contains(&cut),
        )
    }
}

/// Where `cut` first stands outside an escape.
fn find_cut(syntax: &TopicSyntax, bytes: &[u8], cut: u8) -> Option<usize> {
    let mut i = 0;
    while i < bytes.len() {
        match syntax.escape_len(&bytes[i..]) {
            0 if bytes[i] == cut => return Some(i),
            0 => i += 1,
            escape => i += escape,
        }
    }
    None
}

/// Reads what one value was written as; foreign when that value would have been written otherwise, or is empty.
pub(super) fn read_value<'t>(
    syntax: &TopicSyntax,
    written: &'t str,
    first: bool,
    cut: Option<u8>,
) -> Result<Cow<'t, str>, Foreign> {
    if written.is_empty() {
        return Err(Foreign);
    }
    let mut bytes = written.bytes().enumerate();
    let introducer = syntax.introducer.as_bytes().first().copied();
    let itself = bytes.all(|(i, b)| {
        b != syntax.separator && Some(b) != cut && Some(b) != introducer && (syntax.literal)(b, first && i == 0)
    });
    if itself {
        return Ok(Cow::Borrowed(written));
    }
    let value = syntax.decode(written).ok_or(Foreign)?;
    let mut again = String::with_capacity(written.len());
    syntax.encode(&value, first, cut, &mut again);
    if again == written { Ok(Cow::Owned(value)) } else { Err(Foreign) }
}

/// The tokens of a topic: its literals split at the separator.
pub(super) fn split(parts: Vec<Part>, separator: u8) -> Vec<Token> {
    let mut tokens = vec![Token { parts: Vec::new() }];
    for part in parts {
        let pieces: Vec<Part> = match part {
            Part::Value(_) => vec![part],
            Part::Literal(literal) => {
                literal.split(char::from(separator)).map(|piece| Part::Literal(piece.to_owned())).collect()
            }
        };
        for (i, piece) in pieces.into_iter().enumerate() {
            if i > 0 {
                tokens.push(Token { parts: Vec::new() });
            }
            let empty = matches!(&piece, Part::Literal(literal) if literal.is_empty());
            if let Some(token) = tokens.last_mut().filter(|_| !empty) {
                token.parts.push(piece);
            }
        }
    }
    tokens
}

/// The topic with the plainest values, to see whether its literals can stand.
pub(super) fn sample(tokens: &[Token], rest: bool, syntax: &TopicSyntax) -> String {
    let mut topic = String::new();
    for (i, token) in tokens.iter().enumerate() {
        if i > 0 {
            topic.push(char::from(syntax.separator));
        }
        let plain = |_: &Source| Ok::<_, std::convert::Infallible>(Cow::Borrowed("x"));
        let Ok(()) = token.render(syntax, plain, &mut topic);
    }
    if rest {
        if !tokens.is_empty() {
            topic.push(char::from(syntax.separator));
        }
        topic.push('x');
    }
    topic
}
