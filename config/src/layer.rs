//! The layers of a config (files, then the environment) and the tree that they make together.

use crate::tree::{At, Entry, Node, Val};
use figment::value::{Dict, Empty, Map, Tag, Value};
use figment::{Figment, Metadata, Profile, Provider};
use std::path::PathBuf;

/// Where a layer comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file, or a text with a name.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// A key set by the command line.
    Override(String),
}

/// One layer.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) origin: Origin,
    /// What to show when something in it is wrong. For the environment that is the variable's name alone, as its value
    /// may be a secret.
    pub(crate) text: String,
    pub(crate) root: Node,
}

/// Lays the layers over each other: later ones win, maps merge key by key, lists are replaced as a whole. A key without
/// a value changes nothing that an earlier layer says; `null` takes it back.
pub(crate) fn merge(layers: &[Layer]) -> Node {
    let mut figment = Figment::new();
    for (index, layer) in layers.iter().enumerate() {
        figment = figment.merge(LayerProvider { index, root: &layer.root });
    }
    let dict = figment.data().ok().and_then(|mut data| data.remove(&Profile::Default)).unwrap_or_default();
    let sources: Vec<(usize, &Node)> = layers.iter().map(|l| &l.root).enumerate().collect();
    let at = layers.first().map_or(At { layer: 0, span: None }, |l| l.root.at);
    Node { at, value: Val::Map(rebuild(&figment, &dict, &sources)) }
}

/// Figment says for each key which layer won; the nodes, which know their places, come from there.
fn rebuild(figment: &Figment, dict: &Dict, sources: &[(usize, &Node)]) -> Vec<Entry> {
    let mut entries = Vec::with_capacity(dict.len());
    for (key, value) in dict {
        let entry = match value {
            Value::Dict(_, inner) => {
                let below: Vec<(usize, &Node)> = sources
                    .iter()
                    .filter_map(|&(i, node)| Some((i, &node.entry(key)?.node)))
                    .filter(|(_, node)| matches!(node.value, Val::Map(_)))
                    .collect();
                let last = sources
                    .iter()
                    .rev()
                    .find_map(|(_, node)| node.entry(key).filter(|e| matches!(e.node.value, Val::Map(_))));
                last.map(|last| Entry {
                    key: key.clone(),
                    key_at: last.key_at,
                    node: Node { at: last.node.at, value: Val::Map(rebuild(figment, inner, &below)) },
                })
            }
            leaf => layer_of(figment, leaf.tag())
                .and_then(|winner| sources.iter().find(|(i, _)| *i == winner))
                .and_then(|(_, node)| node.entry(key))
                .cloned(),
        };
        entries.extend(entry);
    }
    for entry in sources.iter().flat_map(|(_, node)| node.entries()) {
        if matches!(entry.node.value, Val::Null { written: false }) && !entries.iter().any(|e| e.key == entry.key) {
            entries.push(entry.clone());
        }
    }
    entries
}

fn layer_of(figment: &Figment, tag: Tag) -> Option<usize> {
    figment.get_metadata(tag)?.name.parse().ok()
}

struct LayerProvider<'a> {
    index: usize,
    root: &'a Node,
}

impl Provider for LayerProvider<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.index.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(dict(self.root)))
    }
}

fn dict(node: &Node) -> Dict {
    node.entries()
        .iter()
        .filter(|e| !matches!(e.node.value, Val::Null { written: false }))
        .map(|e| (e.key.clone(), value(&e.node)))
        .collect()
}

fn value(node: &Node) -> Value {
    match &node.value {
        Val::Null { .. } => Value::Empty(Tag::Default, Empty::Unit),
        Val::Bool(b, _) => Value::from(*b),
        Val::Number(n, text) => match (n.as_i64(), n.as_f64()) {
            (Some(n), _) => Value::from(n),
            (None, Some(n)) => Value::from(n),
            (None, None) => Value::from(text.as_str()),
        },
        Val::Text(text) | Val::Loose { text, .. } => Value::from(text.as_str()),
        Val::List(items) => Value::Array(Tag::Default, items.iter().map(value).collect()),
        Val::Map(_) => Value::Dict(Tag::Default, dict(node)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::parse;

    fn layer(index: usize, text: &str) -> Layer {
        let root = parse(text, index).expect("YAML");
        Layer { origin: Origin::File(format!("{index}.yaml").into()), text: text.to_owned(), root }
    }

    fn places(node: &Node, path: &mut Vec<String>, out: &mut Vec<String>) {
        let place = |n: &Node| format!("{}:{}", n.at.layer, n.at.span.map_or(0, |s| s.line));
        match &node.value {
            Val::Map(entries) if !entries.is_empty() => {
                for e in entries {
                    path.push(e.key.clone());
                    places(&e.node, path, out);
                    path.pop();
                }
            }
            Val::List(items) => out.push(format!("{} x{} {}", path.join("/"), items.len(), place(node))),
            _ => out.push(format!("{} {}", path.join("/"), place(node))),
        }
    }

    #[test]
    fn later_files_win_key_by_key_and_replace_lists_and_each_value_knows_its_file_and_line() {
        let layers = [
            layer(
                0,
                "server:\n  listen: a\n  path: /x\nlist: [1, 2, 3]\nproperties:\n  security.protocol: p\ntls: {a: 1}\n",
            ),
            layer(1, "server:\n  path: /y\nlist: [9]\ntls: ~\nproperties:\n"),
        ];
        let mut out = Vec::new();
        places(&merge(&layers), &mut Vec::new(), &mut out);
        out.sort();
        assert_eq!(
            out,
            ["list x1 1:3", "properties/security.protocol 0:6", "server/listen 0:2", "server/path 1:2", "tls 1:4"]
        );
    }
}
