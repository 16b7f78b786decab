//! The config reference for people, made from the schema.

use crate::schema::{Rest, Shape, View, schema};
use crate::{Registry, later};
use serde_json::Value;
use std::fmt::Write as _;

const INTRODUCTION: &str = "\
# Config reference

This page is made from the config's own types by `bayeux-gateway schema --markdown`; do not edit it.

The config is YAML: `bayeux-gateway --config gateway.yaml`. Several files can be given (`--config` again, or a comma list
in `BAYEUX_GATEWAY_CONFIG`). Later files win: maps are merged key by key, lists are replaced as a whole, `null` takes a
key back. A key that is unknown, written twice or of the wrong type is an error that names file, line and column;
`bayeux-gateway check` tells all of them at once. `bayeux-gateway schema` prints the JSON Schema for editors.

- **Durations** are written as `500ms`, `20s`, `5m`, `24h` or `7d`; **sizes** as `512B`, `64KiB`, `8MiB` or `1GiB`.
- **Variables**: `${NAME}` in a value is the environment variable of that name, `${NAME:default}` has a default for when
  it is not set, and `$${` is a literal `${`. The value takes the type that its key wants, quoted or not; inside braces
  and brackets YAML wants the quotes: `{ node: \"${NAME}\" }`.
- **Environment**: every key outside a list can be set by a variable that begins with `BAYEUX_GATEWAY__` and joins the
  keys with two underscores, in capitals and with `_` for every other sign: `BAYEUX_GATEWAY__SERVER__LISTEN=0.0.0.0:8080`,
  `BAYEUX_GATEWAY__CONNECTORS__ORDERS__KAFKA__BROKERS='[kafka:9092]'`. It wins over the files. A whole list is written as
  YAML. A variable that sets no known key is an error.
- **Files** named by keys that end in `_file` or `_files` are looked for beside the config file that names them (beside
  the working directory when a variable names them).
";

/// The reference of all keys as Markdown, with the settings of all kinds in the registry.
pub fn reference(registry: &Registry<'_>) -> String {
    let composed = schema(registry);
    let root = View::root(&composed);
    let mut out = INTRODUCTION.to_owned();
    for section in ["server", "admin", "bayeux"] {
        chapter(&mut out, root, section);
    }

    let connectors = root.property("connectors").and_then(|c| first_each(&c));
    heading(&mut out, 2, "connectors", root.property("connectors"));
    if let Some(entry) = connectors {
        out.push_str("\nBeside the kind:\n");
        table(&mut out, &entry, &registry.connector_kinds());
        for kind in registry.connectors {
            let title = format!("connectors.NAME.{}", kind.kind);
            if let Some(settings) = entry.property(kind.kind) {
                heading(&mut out, 3, &title, Some(settings));
                table(&mut out, &settings, &[]);
            }
        }
    }

    let mapping = root.property("mappings").and_then(|m| items(&m));
    heading(&mut out, 2, "mappings", root.property("mappings"));
    if let Some(mapping) = mapping {
        paragraph(&mut out, mapping.text("description"));
        table(&mut out, &mapping, &[]);
    }

    let service = root.property("services").and_then(|s| items(&s));
    heading(&mut out, 2, "services", root.property("services"));
    if let Some(service) = service {
        paragraph(&mut out, service.text("description"));
        let kinds: Vec<&str> = registry.handlers.iter().map(|k| k.kind).collect();
        table(&mut out, &service, &kinds);
        for kind in registry.handlers {
            let title = format!("services[].{}", kind.kind);
            if let Some(settings) = service.property(kind.kind) {
                heading(&mut out, 3, &title, Some(settings));
                table(&mut out, &settings, &[]);
            }
        }
    }
    for section in ["auth", "telemetry"] {
        chapter(&mut out, root, section);
    }

    out.push_str("\n## Not in this version\n\nThese are refused by name, never ignored:\n\n");
    for key in later::all(root) {
        let _ = writeln!(out, "- `{key}`");
    }
    out
}

fn chapter(out: &mut String, root: View<'_>, key: &str) {
    let section = root.property(key);
    heading(out, 2, key, section);
    if let Some(section) = section {
        table(out, &section, &[]);
    }
}

fn heading(out: &mut String, level: usize, title: &str, described: Option<View<'_>>) {
    let _ = writeln!(out, "\n{} `{title}`", "#".repeat(level));
    paragraph(out, described.and_then(|d| d.text("description")));
}

fn paragraph(out: &mut String, text: Option<&str>) {
    if let Some(text) = text {
        let _ = writeln!(out, "\n{}", text.trim());
    }
}

/// A table of an object's keys; keys of objects below it are dotted.
fn table(out: &mut String, view: &View<'_>, without: &[&str]) {
    let mut rows = Vec::new();
    collect(&mut rows, view, "", without, 0);
    if rows.is_empty() {
        return;
    }
    out.push_str("\n| key | value | default | meaning |\n|---|---|---|---|\n");
    for row in rows {
        let _ = writeln!(out, "| {} |", row.map(|cell| cell.replace('|', "\\|").replace('\n', " ")).join(" | "));
    }
}

fn collect(rows: &mut Vec<[String; 4]>, view: &View<'_>, prefix: &str, without: &[&str], depth: usize) {
    let Some(properties) = view.schema.get("properties").and_then(Value::as_object) else { return };
    let required: Vec<&str> =
        view.schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (key, schema) in properties.iter().filter(|(key, _)| !without.contains(&key.as_str())) {
        let child = view.at(schema);
        let name = format!("{prefix}{key}");
        // What is said about the key goes before what is said about its type.
        let description = schema.get("description").and_then(Value::as_str).or(child.text("description"));
        let mut meaning = description.unwrap_or_default().trim().replace("\n\n", " ");
        for (value, says) in choices(&child) {
            let _ = write!(meaning, "<br>`{value}`: {}", says.trim());
        }
        let default = match schema.get("default").filter(|d| !d.is_null()) {
            _ if required.contains(&key.as_str()) => match prefix.strip_suffix('.') {
                Some(holder) => format!("**required** in `{holder}`"),
                None => "**required**".to_owned(),
            },
            Some(Value::Object(map)) if !map.is_empty() => String::new(),
            Some(default) => format!("`{}`", plain(default)),
            None => String::new(),
        };
        rows.push([format!("`{name}`"), kind(&child, key), default, meaning]);
        if depth < 3 {
            for inner in objects(&child) {
                collect(rows, &inner, &format!("{name}."), &[], depth + 1);
            }
        }
    }
}

/// The objects with known keys that a schema takes: itself, or what it allows beside `null`.
fn objects<'a>(view: &View<'a>) -> Vec<View<'a>> {
    if view.schema.get("properties").is_some() {
        return vec![*view];
    }
    let branches = view.schema.get("anyOf").or_else(|| view.schema.get("oneOf")).and_then(Value::as_array);
    branches.into_iter().flatten().map(|b| view.at(b)).filter(|b| b.schema.get("properties").is_some()).collect()
}

/// Values that are described one by one.
fn choices<'a>(view: &View<'a>) -> Vec<(&'a str, &'a str)> {
    let Some(branches) = view.schema.get("oneOf").or_else(|| view.schema.get("anyOf")).and_then(Value::as_array) else {
        return view
            .shapes()
            .iter()
            .find_map(|s| if let Shape::List(Some(item)) = s { Some(choices(item)) } else { None })
            .unwrap_or_default();
    };
    branches
        .iter()
        .map(|b| view.at(b))
        .flat_map(|b| match b.text("const") {
            Some(value) => vec![(value, b.text("description").unwrap_or_default())],
            None => choices(&b),
        })
        .filter(|(_, says)| !says.is_empty())
        .collect()
}

fn kind(view: &View<'_>, key: &str) -> String {
    let parts: Vec<String> = view
        .shapes()
        .iter()
        .flat_map(|shape| match shape {
            Shape::Object { properties: Some(_), .. } => vec!["keys below".to_owned()],
            Shape::Object { rest: Rest::Each(each), .. } => {
                vec![format!("map of {}", kind(each, key.trim_end_matches('s')))]
            }
            Shape::Object { .. } => vec!["map".to_owned()],
            Shape::List(Some(item)) if matches!(item.shapes()[..], [Shape::Names(ref n)] if n.is_empty()) => {
                vec!["empty list".to_owned()]
            }
            Shape::List(Some(item)) => vec![format!("list of {}", kind(item, key.trim_end_matches('s')))],
            Shape::List(None) => vec!["list".to_owned()],
            Shape::Names(names) if names.is_empty() => vec!["nothing".to_owned()],
            Shape::Names(names) => names.iter().map(|n| format!("`{n}`")).collect(),
            Shape::Scalar { view, .. } if view.name == Some("Duration") => vec!["duration".to_owned()],
            Shape::Scalar { view, .. } if view.name == Some("ByteSize") => vec!["size".to_owned()],
            Shape::Scalar { text: true, .. } if key.ends_with("_file") => vec!["file".to_owned()],
            Shape::Scalar { text, integer, number, boolean, .. } => {
                [(*text, "text"), (*integer, "whole number"), (*number, "number"), (*boolean, "`true`, `false`")]
                    .iter()
                    .filter(|(has, _)| *has)
                    .map(|(_, name)| (*name).to_owned())
                    .collect()
            }
        })
        .collect();
    if parts.is_empty() { "anything".to_owned() } else { parts.join(", ") }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

fn items<'a>(list: &View<'a>) -> Option<View<'a>> {
    list.shapes().into_iter().find_map(|s| if let Shape::List(item) = s { item } else { None })
}

fn first_each<'a>(map: &View<'a>) -> Option<View<'a>> {
    map.shapes().into_iter().find_map(|s| match s {
        Shape::Object { rest: Rest::Each(each), .. } => Some(each),
        _ => None,
    })
}
