//! What the YAML parser says, in words for somebody who does not think about YAML.

use crate::Finding;
use crate::report::Placed;
use crate::tree::SyntaxError;

/// The parser's words, what to say instead, and what to do.
const WORDS: &[(&str, &str, &str)] = &[
    ("tabs disallowed", "a tab cannot indent YAML", "use spaces"),
    (
        "mapping values are not allowed",
        "a key cannot stand here",
        "indent the line as its neighbours are; a value that holds `: ` must be quoted",
    ),
    (
        "did not find expected key",
        "a key was expected here",
        "indent the line as its neighbours are; close the quotes and brackets above",
    ),
    (
        "alias references unknown anchor",
        "a value that begins with `*` must be quoted",
        "YAML takes it for a reference otherwise: write `\"*…\"`",
    ),
    (
        "while scanning an anchor or alias",
        "a value that begins with `*` or `&` must be quoted",
        "YAML takes it for a reference otherwise: write `\"*…\"`",
    ),
    (
        "multiple YAML documents",
        "a second YAML document begins here",
        "put it into a file of its own: several files can be given, and later ones win",
    ),
    ("expected string scalar", "a key must be text", "a value that begins with a brace must be quoted: `\"{id}\"`"),
    ("cannot deserialize null into string", "a key must be text", "write the key before the colon"),
    ("recursion limit", "nested too deeply", "a config needs no more than ten levels"),
    ("unclosed quote", "the quote is not closed", "add the same quote at the end of the value"),
    ("unclosed bracket", "the bracket is not closed", "add the closing bracket"),
    ("expected ',' or '}'", "the brace above is not closed", "add a comma or the closing `}`"),
    ("expected ',' or ']'", "the bracket above is not closed", "add a comma or the closing `]`"),
    ("unexpected character", "", "a value that begins with such a character must be quoted"),
];

pub(crate) fn explain(error: SyntaxError, text: &str) -> Placed {
    let SyntaxError { message, mut at } = error;
    let known = WORDS.iter().find(|(theirs, ..)| message.contains(theirs));
    let finding = match known {
        Some((_, "", help)) => {
            Finding::error([""; 0], format!("not YAML: {}", message.replace('\'', "`"))).with_help(*help)
        }
        Some((_, ours, help)) => Finding::error([""; 0], *ours).with_help(*help),
        None => Finding::error([""; 0], format!("not YAML: {message}")),
    };
    let line = at.span.map_or("", |span| line_of(text, span.start));
    let finding = if finding.message.ends_with("above is not closed") && line.contains("${") {
        finding.with_help("inside braces and brackets a variable must be quoted: `\"${NAME}\"`")
    } else {
        finding
    };
    // The parser stands behind the tab.
    if let (Some(span), true) = (&mut at.span, message.contains("tabs disallowed"))
        && span.column > 1
        && text[..span.start].ends_with('\t')
    {
        span.start -= 1;
        span.column -= 1;
    }
    Placed { finding, at: Some(at) }
}

fn line_of(text: &str, at: usize) -> &str {
    let start = text[..at].rfind('\n').map_or(0, |i| i + 1);
    text[start..].lines().next().unwrap_or_default()
}
