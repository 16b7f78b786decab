//! The texts of a case, as they go over the wire and as they are compared.

use serde_json::Value;

/// `%name(argument)`, `$client`, `$client.n`, `$me` and `<<what*count>>` replaced; `ids` are the ids that a client has.
pub fn expand<'a>(text: &str, me: &str, websocket: bool, ids: impl Fn(&str) -> &'a [String]) -> String {
    let mut text = text.to_owned();
    while let Some(at) = text.find('%') {
        let rest = &text[at + 1..];
        let name_end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (name, tail) = rest.split_at(name_end);
        let (argument, tail) = match tail.strip_prefix('(') {
            Some(inner) => inner.split_once(')').expect("a closing parenthesis"),
            None => ("", tail),
        };
        text = format!("{}{}{tail}", &text[..at], fields(name, argument, websocket));
    }
    while let Some((before, rest)) = text.split_once("<<") {
        let (repeat, after) = rest.split_once(">>").expect("a closing >>");
        let (what, count) = repeat.rsplit_once('*').expect("a count");
        text = format!("{before}{}{after}", what.repeat(count.parse().expect("a count")));
    }
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(after.len());
        let (name, number) = after[..end].split_once('.').unwrap_or((&after[..end], ""));
        let ids = ids(if name == "me" { me } else { name });
        let id = number.parse::<usize>().map_or_else(|_| ids.last(), |n| ids.get(n - 1));
        out.push_str(id.map_or("", String::as_str));
        rest = &after[end..];
    }
    out.push_str(rest);
    out
}

/// The fields of the usual messages: `%connect`, `%pub(/a)`, `%sub(/a)`…, written within the braces of a message.
fn fields(name: &str, argument: &str, websocket: bool) -> String {
    let transport = if websocket { "websocket" } else { "long-polling" };
    let own = r#""clientId":"$me""#;
    match name {
        "handshake" => r#""channel":"/meta/handshake","version":"1.0","minimumVersion":"1.0","supportedConnectionTypes":["websocket","long-polling","callback-polling"]"#.to_owned(),
        "connect" => format!(r#""channel":"/meta/connect",{own},"connectionType":"{transport}""#),
        "connect0" => {
            format!(r#""channel":"/meta/connect",{own},"connectionType":"{transport}","advice":{{"timeout":0}}"#)
        }
        "disconnect" => format!(r#""channel":"/meta/disconnect",{own}"#),
        "sub" => format!(r#""channel":"/meta/subscribe",{own},"subscription":"{argument}""#),
        "unsub" => format!(r#""channel":"/meta/unsubscribe",{own},"subscription":"{argument}""#),
        "pub" => format!(r#""channel":"{argument}",{own}"#),
        _ => panic!("no such message: %{name}"),
    }
}

/// With the fields of every object in the order of their names.
pub fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            let fields = keys.into_iter().map(|key| (key.clone(), sorted(&map[key])));
            // CometD's extension of acknowledgements leaves an empty `ext` behind, which says nothing.
            Value::Object(fields.filter(|(key, value)| key != "ext" || *value != serde_json::json!({})).collect())
        }
        Value::Array(all) => Value::Array(all.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// As a part of a URL.
pub fn percent(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-._".contains(b) {
                char::from(*b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

/// The bytes that these digits write.
pub fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("hex"))
        .collect()
}
