//! How topics are written: as NATS subjects are, so that a mapping can move to NATS as it is.

use connector::TopicSyntax;

/// The longest topic in bytes.
const LONGEST: usize = 1024;

/// Tokens between dots; `%HH` for what may not stand in a token.
pub static SYNTAX: TopicSyntax = TopicSyntax {
    separator: b'.',
    introducer: "%",
    literal,
    check,
    wildcards: &[("*", "{name}"), (">", "**")],
    rest: true,
};

fn literal(byte: u8, first: bool) -> bool {
    match byte {
        0..=b' ' | 0x7f | b'.' | b'*' | b'>' | b'%' => false,
        b'$' => !first,
        _ => true,
    }
}

fn check(topic: &str) -> Result<(), &'static str> {
    if topic.len() > LONGEST {
        return Err("a topic has at most 1024 bytes");
    }
    if topic.split('.').any(str::is_empty) {
        return Err("a topic has no empty token: no dot at its begin or end, no two dots in a row");
    }
    if topic.bytes().any(|byte| matches!(byte, 0..=b' ' | 0x7f)) {
        return Err("a topic holds no space and no control character");
    }
    if topic.contains(['*', '>']) {
        return Err("a topic holds no wildcard");
    }
    Ok(())
}
