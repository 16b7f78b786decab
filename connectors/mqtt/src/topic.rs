//! How MQTT topics are written: levels between `/`, wildcards `+` and `#`.

use connector::TopicSyntax;

/// Levels that a topic may have. The protocol sets no limit, but brokers do, and some end the connection of a client that
/// goes beyond (EMQX 128, Mosquitto 200): one such publish would stop all others.
const MAX_LEVELS: usize = 128;

/// Bytes of a topic, by the protocol's length field.
const MAX_BYTES: usize = 65_535;

/// MQTT's topics. Beside what the protocol forbids in a level, control characters are escaped: brokers end the connection
/// of a client that sends one.
pub static SYNTAX: TopicSyntax = TopicSyntax {
    separator: b'/',
    introducer: "%",
    literal,
    check,
    wildcards: &[("+", "{name}"), ("#", "**")],
    rest: true,
};

fn literal(byte: u8, first: bool) -> bool {
    !(byte.is_ascii_control() || matches!(byte, b'/' | b'+' | b'#') || first && byte == b'$')
}

fn check(topic: &str) -> Result<(), &'static str> {
    if topic.is_empty() {
        return Err("an MQTT topic cannot be empty");
    }
    if topic.len() > MAX_BYTES {
        return Err("an MQTT topic has at most 65535 bytes");
    }
    if topic.contains(['+', '#']) {
        return Err("an MQTT topic cannot hold the wildcards + and #");
    }
    if topic.split('/').any(str::is_empty) {
        return Err("a level of an MQTT topic cannot be empty");
    }
    if topic.split('/').count() > MAX_LEVELS {
        return Err("an MQTT topic has at most 128 levels here, as brokers end the connection over deeper ones");
    }
    if !is_text(topic) {
        return Err("an MQTT topic cannot hold control characters or Unicode noncharacters");
    }
    Ok(())
}

/// Whether a broker takes this as an MQTT string: neither control characters nor Unicode noncharacters (MQTT 5, 1.5.4).
/// Brokers may end the connection over one.
pub(crate) fn is_text(text: &str) -> bool {
    !text.chars().any(|c| {
        let code = u32::from(c);
        c.is_control() || (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
    })
}
