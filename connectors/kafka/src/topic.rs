//! How Kafka topics are written: tokens between dots, of letters, digits, `_` and `-`; `_xHH` for all else.

use connector::TopicSyntax;

/// The longest topic that a broker takes, in bytes.
const LONGEST: usize = 249;

/// Tokens between dots; `_xHH` for what may not stand in a token.
pub static SYNTAX: TopicSyntax =
    TopicSyntax { separator: b'.', introducer: "_x", literal, check, wildcards: &[("*", "{name}")], rest: false };

fn literal(byte: u8, _first: bool) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// Kafka's own rule, and the one that keeps internal topics from browsers.
fn check(topic: &str) -> Result<(), &'static str> {
    if topic.is_empty() {
        return Err("a topic has a name");
    }
    if topic.len() > LONGEST {
        return Err("a Kafka topic has at most 249 bytes");
    }
    if matches!(topic, "." | "..") {
        return Err("a Kafka topic is not . or ..");
    }
    if internal(topic) {
        return Err("a Kafka topic that begins with __ is internal");
    }
    if !topic.bytes().all(|byte| byte == b'.' || literal(byte, false)) {
        return Err("a Kafka topic holds letters, digits, dots, _ and - only");
    }
    Ok(())
}

/// Whether the topic is the broker's own (`__consumer_offsets` and the like): never read, never written.
pub(crate) fn internal(topic: &str) -> bool {
    topic.starts_with("__")
}

#[cfg(test)]
mod tests {
    use super::SYNTAX;
    use proptest::prelude::*;

    #[test]
    fn kafkas_own_rules_for_names_are_checked() {
        let longest = "a".repeat(249);
        for fine in ["orders", "orders.eu", "a-b_c.D9", ".a", "_x2F", &longest] {
            assert_eq!((SYNTAX.check)(fine), Ok(()), "{fine}");
        }
        let longer = "a".repeat(250);
        for bad in ["", ".", "..", "__consumer_offsets", "a/b", "a b", "a*", "grüße", "a\n", "a\0", &longer] {
            assert!((SYNTAX.check)(bad).is_err(), "{bad:?}");
        }
    }

    fn token(value: &str) -> String {
        let mut token = String::new();
        SYNTAX.encode(value, true, None, &mut token);
        token
    }

    proptest! {
        /// The law that `TopicSyntax` states: one legal token, read back as it was, shared with no other value.
        #[test]
        fn a_value_is_one_legal_token_and_is_read_back(
            value in prop_oneof!["\\PC{1,12}", "[_x0-9A-F.]{1,12}", any::<String>().prop_filter("not empty", |s| !s.is_empty())],
            other in "[_x0-9A-F.]{1,12}",
        ) {
            let written = token(&value);
            prop_assert_eq!(SYNTAX.decode(&written), Some(value.clone()));
            prop_assert!(written.bytes().all(|byte| (SYNTAX.literal)(byte, false)), "{}", written);
            for (wildcard, _) in SYNTAX.wildcards {
                prop_assert!(!written.contains(wildcard));
            }
            prop_assert!(value == other || written != token(&other));
        }

        /// A cut byte never stands in a token, and the value is still read back.
        #[test]
        fn a_byte_to_cut_at_is_escaped(value in "[a-z_x-]{1,12}", cut in prop_oneof![Just(b'-'), Just(b'_'), Just(b'q')]) {
            let mut written = String::new();
            SYNTAX.encode(&value, true, Some(cut), &mut written);
            // The introducer begins with `_`, so a cut there is found by the first `_` that begins no escape.
            if cut != b'_' {
                prop_assert!(!written.as_bytes().contains(&cut));
            }
            prop_assert_eq!(SYNTAX.decode(&written), Some(value));
        }
    }
}
