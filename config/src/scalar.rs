//! Single values: which type they take, and how they are called in messages.

use crate::schema::{Shape, View};
use crate::suggest;
use crate::tree::{self, Node, Val};
use serde_json::{Number, Value};

/// A scalar in the first of the wanted types that it can be.
pub(crate) fn typed(node: &Node, text: bool, integer: bool, number: bool, boolean: bool) -> Option<Value> {
    match &node.value {
        Val::Number(n, raw) => {
            let whole = n.is_i64() || n.is_u64();
            if number || integer && whole { Some(Value::Number(n.clone())) } else { text.then(|| raw.as_str().into()) }
        }
        Val::Bool(b, raw) => {
            if boolean {
                Some((*b).into())
            } else {
                text.then(|| raw.as_str().into())
            }
        }
        Val::Text(t) => text.then(|| t.as_str().into()),
        Val::Loose { text: t, .. } => {
            let trimmed = t.trim();
            let whole =
                || trimmed.parse::<i64>().map(Number::from).or_else(|_| trimmed.parse::<u64>().map(Number::from));
            match trimmed {
                _ if text => Some(t.as_str().into()),
                "true" if boolean => Some(true.into()),
                "false" if boolean => Some(false.into()),
                _ if integer || number => match whole() {
                    Ok(n) => Some(Value::Number(n)),
                    Err(_) if number => trimmed.parse().ok().and_then(Number::from_f64).map(Value::Number),
                    Err(_) => None,
                },
                _ => None,
            }
        }
        Val::Null { .. } | Val::List(_) | Val::Map(_) => None,
    }
}

pub(crate) fn out_of_bounds(value: &Value, view: View<'_>) -> Option<String> {
    let (n, least, most) = (value.as_f64()?, view.number("minimum"), view.number("maximum"));
    let most = most.or(match view.text("format") {
        Some("uint8") => Some(f64::from(u8::MAX)),
        Some("uint16") => Some(f64::from(u16::MAX)),
        Some("uint32") => Some(f64::from(u32::MAX)),
        Some("int32") => Some(f64::from(i32::MAX)),
        _ => None,
    });
    if n >= least.unwrap_or(f64::MIN) && n <= most.unwrap_or(f64::MAX) {
        return None;
    }
    Some(match (least, most) {
        (Some(least), None) => format!("{least} or more"),
        (None, Some(most)) => format!("{most} or less"),
        (Some(least), Some(_)) if n < least => format!("{least} or more"),
        (Some(least), Some(most)) => format!("from {least} to {most}"),
        (None, None) => return None,
    })
}

/// A node for a key whose type nobody fixed: as YAML would read it.
pub(crate) fn untyped(node: &Node) -> Value {
    match &node.value {
        Val::Null { .. } => Value::Null,
        Val::Bool(b, _) => (*b).into(),
        Val::Number(n, _) => Value::Number(n.clone()),
        Val::Text(text) => text.as_str().into(),
        Val::Loose { text, plain: false } => text.as_str().into(),
        Val::Loose { text, plain: true } => match tree::parse(text, 0).map(|n| n.value) {
            Ok(Val::Bool(b, _)) => b.into(),
            Ok(Val::Number(n, _)) => Value::Number(n),
            _ => text.as_str().into(),
        },
        Val::List(items) => items.iter().map(untyped).collect(),
        Val::Map(entries) => Value::Object(entries.iter().map(|e| (e.key.clone(), untyped(&e.node))).collect()),
    }
}

pub(crate) fn written(node: &Node) -> &str {
    match &node.value {
        Val::Text(text) | Val::Loose { text, .. } | Val::Bool(_, text) | Val::Number(_, text) => text,
        Val::Null { .. } => "null",
        Val::List(_) => "a list",
        Val::Map(_) => "a map",
    }
}

pub(crate) fn given(node: &Node) -> String {
    match &node.value {
        Val::Map(_) => "a map".to_owned(),
        Val::List(_) => "a list".to_owned(),
        _ => format!("`{}`", written(node)),
    }
}

pub(crate) fn wanted(shapes: &[Shape<'_>]) -> String {
    let mut parts = Vec::new();
    for shape in shapes {
        match shape {
            Shape::Object { .. } => parts.push("a map of keys".to_owned()),
            Shape::List(_) => parts.push("a list".to_owned()),
            Shape::Names(names) => parts.push(suggest::any_of(names, "or")),
            Shape::Scalar { view: View { name: Some("Duration"), .. }, .. } => {
                parts.push("a duration such as 20s".to_owned())
            }
            Shape::Scalar { view: View { name: Some("ByteSize"), .. }, .. } => {
                parts.push("a size such as 64KiB".to_owned())
            }
            Shape::Scalar { text, integer, number, boolean, .. } => {
                let named = [
                    (*text, "text"),
                    (*integer, "a whole number"),
                    (*number, "a number"),
                    (*boolean, "`true` or `false`"),
                ];
                parts.extend(named.iter().filter(|(has, _)| *has).map(|(_, name)| (*name).to_owned()));
            }
        }
    }
    if parts.is_empty() { "left out".to_owned() } else { parts.join(" or ") }
}
