//! Whatever is written, the loader answers and does not panic, and its findings point into the text.

use super::kinds::load_text;
use crate::{Origin, Report, Style};
use proptest::prelude::*;

fn is_sound(text: &str, report: &Report) -> Result<(), TestCaseError> {
    for item in &report.items {
        let Some(place) = &item.place else { continue };
        prop_assert!(place.line >= 1 && place.column >= 1);
        if let Origin::File(_) = place.origin {
            let lines = text.split(['\n', '\r']).count();
            prop_assert!(place.line <= lines + 1, "line {} of {lines} in {text:?}", place.line);
        }
    }
    let plain = report.render(Style::Plain);
    prop_assert!(plain.lines().count() > report.items.len(), "{plain}");
    report.render(Style::Graphical { color: true });
    Ok(())
}

fn answers(text: &str, env: &[(&str, &str)]) -> Result<(), TestCaseError> {
    match load_text(text, env) {
        Ok(loaded) => is_sound(text, &loaded.warnings),
        Err(report) => {
            prop_assert!(report.has_errors());
            is_sound(text, &report)
        }
    }
}

/// YAML that is near to a config: the right keys with the wrong things under them.
fn nearly() -> impl Strategy<Value = String> {
    let keys = prop::sample::select(vec![
        "server",
        "admin",
        "bayeux",
        "connectors",
        "mappings",
        "services",
        "auth",
        "telemetry",
        "listen",
        "tls",
        "queue",
        "channel",
        "connector",
        "topic",
        "headers",
        "include",
        "log",
        "ram",
        "web",
        "builtin",
        "type",
        "brokers",
        "on_error",
        "dead_letter",
        "extensions",
        "transports",
        "timeout",
        "<<",
        "x",
        "ä",
        "\"a b\"",
    ]);
    let scalar = prop_oneof![
        Just(String::new()),
        prop::sample::select(vec![
            "1",
            "-1",
            "1.5",
            "true",
            "~",
            "20s",
            "64KiB",
            "${HOME}",
            "${X:-1}",
            "$${",
            "${",
            "/a/{b}",
            "\"{x}\"",
            "{x}",
            "[a, b]",
            "*a",
            "&a 1",
            "!!int x",
            "'",
            "ack",
            "/service/ä",
            "0.0.0.0:1",
            "1e400",
            ".nan",
            "| ",
            "😀",
            "\t",
        ])
        .prop_map(str::to_owned),
    ];
    let line = (0usize..5, any::<bool>(), keys, scalar).prop_map(|(indent, item, key, value)| {
        format!("{}{}{key}: {value}\n", "  ".repeat(indent), if item { "- " } else { "" })
    });
    prop::collection::vec(line, 0..14).prop_map(|lines| lines.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        answers(&text, &[])?;
    }

    #[test]
    fn any_text_of_yaml_signs_is_answered(text in "[-?:,\\[\\]{}#&*!|>'\"%@` \t\r\na0~<${}]{0,60}") {
        answers(&text, &[])?;
    }

    #[test]
    fn anything_near_to_a_config_is_answered(text in nearly(), key in "[A-Z_]{0,30}", value in "[a-z0-9{}\\[\\]:, ]{0,12}") {
        answers(&text, &[(&format!("BAYEUX_GATEWAY__{key}"), &value), ("HOME", "/x")])?;
    }

    #[test]
    fn any_change_of_one_byte_in_a_good_config_is_answered(at in 0usize..400, byte in any::<u8>()) {
        let good = "server: { listen: 127.0.0.1:1 }\nconnectors:\n  a: { log: { brokers: [a:1], properties: { x: 1 } } }\n\
                    mappings:\n  - channel: /a/{id}\n    connector: a\n    topic: \"x.{id}\"\n    include: [key]\n\
                    services:\n  - { channel: /service/a, web: { url: 'http://x' }, timeout: 1s }\n";
        let mut bytes = good.as_bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(text) = String::from_utf8(bytes) {
            answers(&text, &[])?;
        }
    }
}
