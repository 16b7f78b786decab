//! Keys set from outside the files: `BAYEUX_GATEWAY__SERVER__LISTEN=…` in the environment, `server.listen` from the
//! command line. Every key outside a list can be set so.

use crate::Finding;
use crate::finding::show;
use crate::later;
use crate::layer::{Layer, Origin};
use crate::schema::{Rest, Shape, View};
use crate::suggest;
use crate::tree::{self, At, Entry, Node, Span, Val};

/// What the names of such variables begin with.
pub(crate) const PREFIX: &str = "BAYEUX_GATEWAY__";

/// A layer that sets nothing: the place for what is wrong with a name.
pub(crate) fn empty(origin: Origin, index: usize) -> Layer {
    let text = match &origin {
        Origin::Variable(name) | Origin::Override(name) => name.clone(),
        Origin::File(_) => String::new(),
    };
    Layer { root: Node { at: at(index, &text), value: Val::Map(Vec::new()) }, origin, text }
}

fn at(layer: usize, name: &str) -> At {
    At { layer, span: Some(Span { line: 1, column: 1, start: 0, len: name.len() }) }
}

/// Makes a layer of one key set from outside. `files` is what the files say: names that only they know (of connectors)
/// are found there.
pub(crate) fn layer(
    origin: Origin,
    value: &str,
    index: usize,
    schema: View<'_>,
    files: &Node,
) -> Result<Layer, Finding> {
    let (name, segments): (&str, Vec<&str>) = match &origin {
        Origin::Variable(name) => (name, name.strip_prefix(PREFIX).unwrap_or(name).split("__").collect()),
        Origin::Override(key) => (key, key.split('.').collect()),
        Origin::File(_) => ("", Vec::new()),
    };
    let name = name.to_owned();
    let at = at(index, &name);
    let (path, view) = resolve(&segments, schema, files).map_err(|mut finding| {
        if let Origin::Variable(_) = origin {
            finding.help = finding.help.map(|help| as_variables(&help, &segments));
        }
        finding
    })?;
    let mut node = leaf(value, at, view);
    for key in path.into_iter().rev() {
        node = Node { at, value: Val::Map(vec![Entry { key, key_at: at, node }]) };
    }
    Ok(Layer { origin, text: name, root: node })
}

/// Which key is meant. Variables are in capitals and cannot hold every character, so case and punctuation do not count.
fn resolve<'a>(segments: &[&str], schema: View<'a>, files: &Node) -> Result<(Vec<String>, Option<View<'a>>), Finding> {
    let (mut view, mut node) = (Some(schema), Some(files));
    let mut path: Vec<String> = Vec::new();
    for segment in segments {
        let shapes = view.map(|v| v.shapes()).unwrap_or_default();
        let is_list =
            node.is_some_and(|n| matches!(n.value, Val::List(_))) || shapes.iter().any(|s| matches!(s, Shape::List(_)));
        if is_list {
            let message =
                format!("`{}` is a list, and keys inside a list cannot be set from outside the files", show(&path));
            return Err(
                Finding::error(path, message).with_help("set the whole list, such as `[a, b]`, or change the file")
            );
        }
        let object = shapes.iter().find_map(|s| match s {
            Shape::Object { properties, rest, .. } => Some((*properties, *rest)),
            _ => None,
        });
        let there: Vec<&str> = node.map(|n| n.entries().iter().map(|e| e.key.as_str()).collect()).unwrap_or_default();
        let (properties, rest) =
            object.unwrap_or((None, if view.is_some() && !shapes.is_empty() { Rest::None } else { Rest::Any }));
        let known: Vec<&str> = properties.map(|p| p.keys().map(String::as_str).collect()).unwrap_or_default();
        let key = known.iter().chain(&there).find(|k| same(k, segment)).map(|k| (*k).to_owned());
        let lower = segment.to_lowercase();
        path.push(key.clone().unwrap_or(lower.clone()));
        let key = match (key, rest) {
            (Some(key), _) => key,
            (None, Rest::None) => return Err(unknown(path, &lower, &known)),
            (None, _) if segment.is_empty() => return Err(unknown(path, &lower, &known)),
            (None, Rest::Any | Rest::Each(_)) => lower,
        };
        view = match (properties.and_then(|p| p.get(&key)), rest, view) {
            (Some(schema), _, Some(view)) => Some(view.at(schema)),
            (None, Rest::Each(each), _) => Some(each),
            _ => None,
        };
        node = node.and_then(|n| n.entry(&key)).map(|e| &e.node);
    }
    Ok((path, view))
}

fn unknown(path: Vec<String>, key: &str, known: &[&str]) -> Finding {
    if later::key(&path) {
        let message = format!("`{}` is not available in this version", show(&path));
        return Finding::error(path, message);
    }
    let above = &path[..path.len() - 1];
    let message = match (known.is_empty(), above.is_empty()) {
        (true, _) => format!("`{}` has no keys below it", show(above)),
        (false, true) => format!("there is no key `{key}`"),
        (false, false) => format!("there is no key `{key}` in `{}`", show(above)),
    };
    Finding::error(path.clone(), message).suggesting(key, known.iter().copied())
}

/// A suggestion names a key; for a variable it has to name the variable.
fn as_variables(help: &str, segments: &[&str]) -> String {
    let Some(key) = help.strip_prefix("did you mean `").and_then(|h| h.strip_suffix("`?")) else {
        return help.to_owned();
    };
    let wrong = segments.iter().position(|s| suggest::nearest(s, &[key]).is_some() && !same(key, s));
    let meant: Vec<String> = segments
        .iter()
        .enumerate()
        .map(|(i, s)| if Some(i) == wrong { key.to_uppercase().replace(['-', '.'], "_") } else { (*s).to_owned() })
        .collect();
    format!("did you mean `{PREFIX}{}`?", meant.join("__"))
}

fn same(key: &str, segment: &str) -> bool {
    let plain = |c: char| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    key.chars().map(plain).eq(segment.chars().map(plain))
}

/// Maps and lists are written as YAML (`[a, b]`); all else takes the type that its key wants.
fn leaf(value: &str, at: At, view: Option<View<'_>>) -> Node {
    let shapes = view.map(|v| v.shapes()).unwrap_or_default();
    let structured = shapes.iter().any(|s| matches!(s, Shape::List(_) | Shape::Object { .. }));
    if structured && let Ok(mut node) = tree::parse(value, at.layer) {
        place(&mut node, at);
        if !matches!(node.value, Val::Text(_)) {
            return node;
        }
    }
    Node { at, value: Val::Loose { text: value.to_owned(), plain: true } }
}

fn place(node: &mut Node, at: At) {
    node.at = at;
    match &mut node.value {
        Val::Map(entries) => entries.iter_mut().for_each(|e| {
            e.key_at = at;
            place(&mut e.node, at);
        }),
        Val::List(items) => items.iter_mut().for_each(|item| place(item, at)),
        _ => {}
    }
}
