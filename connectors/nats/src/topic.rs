//! How NATS subjects are written.

use connector::TopicSyntax;

/// A subject shares one line of the protocol with the reply subject and the sizes; the server takes 4096 bytes by
/// default (`max_control_line`) and cuts the connection at more.
const MAX_SUBJECT: usize = 3900;

/// NATS subjects: tokens between dots, values escaped as `%HH`.
pub static SYNTAX: TopicSyntax = TopicSyntax {
    separator: b'.',
    introducer: "%",
    literal,
    check,
    wildcards: &[("*", "{name}"), (">", "**")],
    rest: true,
};

/// A leading `$` is escaped because NATS keeps such tokens for itself (`$SYS`, `$JS`). `%` needs no mention here: it is
/// escaped where it would read as an escape.
fn literal(byte: u8, first: bool) -> bool {
    match byte {
        0..=b' ' | 0x7f | b'.' | b'*' | b'>' => false,
        b'$' => !first,
        _ => true,
    }
}

fn check(topic: &str) -> Result<(), &'static str> {
    if topic.len() > MAX_SUBJECT {
        return Err("a NATS subject may be at most 3900 bytes long");
    }
    if topic.split('.').any(str::is_empty) {
        return Err("a NATS subject may not hold an empty token (nothing between two dots)");
    }
    if topic.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return Err("a NATS subject may not hold spaces or control characters");
    }
    if topic.contains(['*', '>']) {
        return Err("a NATS subject may not hold the wildcards * and >: write {name} or ** instead");
    }
    Ok(())
}

/// Whether answers to someone's questions travel on this subject. No mapping has business with them, whatever value a
/// browser gave for its first token.
pub(crate) fn inbox(subject: &str, inbox_prefix: &str) -> bool {
    let under = |prefix: &str| subject.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'));
    under("_INBOX") || under(inbox_prefix)
}

/// Whether NATS or a client library keeps this subject for its own talk. A filter that begins with a wildcard does not
/// get them: browsers have no business with inboxes and API calls.
pub(crate) fn reserved(subject: &str, inbox_prefix: &str) -> bool {
    subject.starts_with('$') || inbox(subject, inbox_prefix)
}

/// Why a record must not be published to a subject: it would pass for an answer, or be a command to the server
/// (`$JS.API.STREAM.DELETE.…`, `$SYS.…`). The key-value buckets (`$KV.…`) are data, and a value cannot lead there,
/// since its `$` is escaped.
pub(crate) fn unpublishable(subject: &str, inbox_prefix: &str) -> Option<&'static str> {
    if inbox(subject, inbox_prefix) {
        Some("this subject is for answers: a topic must not lead to inboxes")
    } else if subject.starts_with('$') && !subject.starts_with("$KV.") {
        Some("NATS keeps the subjects that begin with $ for itself")
    } else {
        None
    }
}

/// Whether a stream's subject takes all that a filter does, both as NATS writes them: no other stream can have any of it.
pub(crate) fn covers(subject: &str, filter: &str) -> bool {
    let mut filter = filter.split('.');
    for token in subject.split('.') {
        match (token, filter.next()) {
            (_, None) => return false,
            (">", Some(_)) => return true,
            ("*", Some(wanted)) if wanted != ">" => {}
            (token, Some(wanted)) if token == wanted => {}
            _ => return false,
        }
    }
    filter.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(value: &str) -> String {
        let mut token = String::new();
        SYNTAX.encode(value, true, None, &mut token);
        token
    }

    #[test]
    fn values_are_escaped_only_where_nats_would_read_them_otherwise() {
        assert_eq!(encoded("eu-1_a$/grüße"), "eu-1_a$/grüße");
        assert_eq!(encoded("a.b c*>\u{7f}\n"), "a%2Eb%20c%2A%3E%7F%0A");
        assert_eq!(encoded("$SYS"), "%24SYS");
        assert_eq!(encoded("100%"), "100%");
        assert_eq!(encoded("%41%4a"), "%2541%4a");
    }

    #[test]
    fn subjects_that_nats_refuses_are_named() {
        assert!((SYNTAX.check)("orders.eu.7").is_ok());
        for bad in ["", ".", "a..b", ".a", "a.", "a b", "a.\tb", "a.*", "a.>", "a.b*"] {
            assert!((SYNTAX.check)(bad).is_err(), "{bad:?}");
        }
        assert!((SYNTAX.check)(&"x".repeat(MAX_SUBJECT)).is_ok());
        assert!((SYNTAX.check)(&"x".repeat(MAX_SUBJECT + 1)).is_err());
    }

    #[test]
    fn the_subjects_of_nats_itself_are_known() {
        for subject in ["$JS.API.INFO", "$SYS.x", "_INBOX.abc.1", "_GW.abc"] {
            assert!(reserved(subject, "_GW"), "{subject}");
        }
        for subject in ["orders.$JS", "_INBOXES.a", "_GWEN", "a"] {
            assert!(!reserved(subject, "_GW"), "{subject}");
        }
    }

    #[test]
    fn no_record_passes_for_an_answer_or_a_command() {
        for subject in ["_INBOX.abc.1", "_GW.abc", "$JS.API.STREAM.DELETE.S", "$JS.ACK.S.c.1.1.1.1.0", "$SYS.REQ", "$G"]
        {
            assert!(unpublishable(subject, "_GW").is_some(), "{subject}");
        }
        for subject in ["orders.a", "_INBOXES.a", "orders._INBOX.a", "orders.$JS", "%24SYS.x", "$KV.prices.eu"] {
            assert_eq!(unpublishable(subject, "_GW"), None, "{subject}");
        }
    }

    proptest! {
        #[test]
        fn a_value_is_one_valid_token_and_read_back_as_it_was(value in any::<String>().prop_filter("a segment is not empty", |v| !v.is_empty() && v.len() < 1000)) {
            let token = encoded(&value);
            prop_assert_eq!((SYNTAX.check)(&token), Ok(()));
            prop_assert_eq!(SYNTAX.tokens(&token).count(), 1);
            prop_assert_eq!(SYNTAX.decode(&token), Some(value));
        }

        #[test]
        fn two_values_never_share_a_token(a in "[%$.*> 0-9A-F]{1,6}", b in "[%$.*> 0-9A-F]{1,6}") {
            prop_assert_eq!(encoded(&a) == encoded(&b), a == b);
        }

        #[test]
        fn a_value_holds_no_cut(value in "[a-z%2D.-]{1,12}") {
            let mut part = String::new();
            SYNTAX.encode(&value, false, Some(b'-'), &mut part);
            prop_assert!(!part.contains('-'), "{}", part);
            prop_assert_eq!(SYNTAX.decode(&part), Some(value));
        }
    }

    #[test]
    fn a_subject_covers_what_it_cannot_leave_to_another_stream() {
        for (subject, filter) in
            [("a.b", "a.b"), ("a.*", "a.b"), ("a.*", "a.*"), ("a.>", "a.*.c"), ("a.>", "a.>"), (">", ">")]
        {
            assert!(covers(subject, filter), "{subject} {filter}");
        }
        for (subject, filter) in
            [("a.b", "a.*"), ("a.*", "a.>"), ("a.>", "a"), ("a.>", ">"), ("a.b", "a"), ("a", "a.b"), ("*", "*.b")]
        {
            assert!(!covers(subject, filter), "{subject} {filter}");
        }
    }
}
