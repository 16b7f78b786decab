//! Holds a tree against the schema: finds unknown and missing keys and wrong types, all of them, and gives the values
//! the types that their keys want.

use crate::finding::{Finding, show};
use crate::later;
use crate::layer::{Layer, Origin};
use crate::scalar::{given, out_of_bounds, typed, untyped, wanted, written};
use crate::schema::{Rest, Shape, View};
use crate::suggest;
use crate::tree::{Entry, Node, Val};
use serde_json::{Map, Value};
use std::path::Path;

/// Checks `node` (the whole config) and gives it as JSON, without what is wrong.
pub(crate) fn check<'a>(node: &Node, schema: View<'a>, layers: &'a [Layer]) -> (Value, Vec<Finding>) {
    let mut check =
        Check { layers, path: Vec::new(), holders: Vec::new(), misplaced: Vec::new(), findings: Vec::new() };
    let value = check.value(node, schema).unwrap_or_default();
    let Check { misplaced, mut findings, .. } = check;
    findings.retain(|f| !misplaced.iter().any(|(holder, key)| f.path == *holder && f.message.ends_with(&needs(key))));
    (value, findings)
}

struct Check<'a> {
    layers: &'a [Layer],
    path: Vec<String>,
    /// The objects that hold the value at hand, outermost first.
    holders: Vec<View<'a>>,
    /// Keys that stand beside what they belong into, which therefore does not lack them.
    misplaced: Vec<(Vec<String>, String)>,
    findings: Vec<Finding>,
}

impl<'a> Check<'a> {
    /// The value in the type that is wanted; `None` when it is wrong, or taken back by `null`.
    fn value(&mut self, node: &Node, view: View<'a>) -> Option<Value> {
        let shapes = view.shapes();
        if shapes.is_empty() {
            return Some(untyped(node));
        }
        match &node.value {
            Val::Map(entries) => {
                let first = entries.first().map_or("", |e| e.key.as_str());
                let objects = || shapes.iter().filter(|s| matches!(s, Shape::Object { .. }));
                let fits = |s: &&Shape<'_>| matches!(s, Shape::Object { properties, .. } if properties.is_some_and(|p| p.contains_key(first)));
                match objects().find(fits).or_else(|| objects().next()) {
                    Some(Shape::Object { view, properties, required, rest }) => {
                        Some(self.object(node, entries, *view, *properties, required, *rest))
                    }
                    _ => self.wrong_type(node, &shapes),
                }
            }
            Val::List(items) => {
                match shapes.iter().find_map(|s| if let Shape::List(item) = s { Some(item) } else { None }) {
                    Some(item) => Some(self.list(items, *item, view)),
                    None => self.wrong_type(node, &shapes),
                }
            }
            Val::Null { written } => self.nothing(node, *written, &shapes, view),
            Val::Bool(..) | Val::Number(..) | Val::Text(_) | Val::Loose { .. } => self.scalar(node, &shapes),
        }
    }

    fn object(
        &mut self,
        node: &Node,
        entries: &[Entry],
        view: View<'a>,
        properties: Option<&'a Map<String, Value>>,
        required: &[&str],
        rest: Rest<'a>,
    ) -> Value {
        let mut out = Map::new();
        let before = self.findings.len();
        self.holders.push(view);
        for entry in entries {
            self.path.push(entry.key.clone());
            let known = properties.and_then(|p| p.get(&entry.key)).map(|schema| (view.at(schema), true));
            let child = known.or(match rest {
                Rest::Each(view) => Some((view, false)),
                Rest::Any | Rest::None => None,
            });
            let value = match (child, rest) {
                (Some((child, named)), _) => {
                    let value = self.value(&entry.node, child);
                    if named { value.map(|v| self.beside_its_file(&entry.key, &entry.node, v)) } else { value }
                }
                (None, Rest::Any) => Some(untyped(&entry.node)),
                (None, _) => {
                    self.unknown_key(entry, node, view);
                    None
                }
            };
            if let Some(value) = value {
                out.insert(entry.key.clone(), value);
            }
            self.path.pop();
        }
        self.holders.pop();
        for &key in required {
            self.path.push(key.to_owned());
            let known = self.findings[before..].iter().any(|f| f.path.starts_with(&self.path));
            self.path.pop();
            // A key that is wrong is told already, and one that is misspelt as well.
            let misspelt = self.findings[before..].iter().any(|f| {
                f.path.len() == self.path.len() + 1 && f.help.as_deref() == Some(&format!("did you mean `{key}`?"))
            });
            if !out.contains_key(key) && !known && !misspelt {
                let of = if self.path.is_empty() { "the config".to_owned() } else { format!("`{}`", show(&self.path)) };
                let finding = Finding::error(self.path.clone(), format!("{of} {}", needs(key))).on_key();
                self.findings.push(
                    match properties.and_then(|p| p.get(key)).and_then(|p| p.get("description")?.as_str()) {
                        Some(meaning) => finding.with_help(format!("`{key}`: {}", first_sentence(meaning))),
                        None => finding,
                    },
                );
            }
        }
        Value::Object(out)
    }

    fn list(&mut self, items: &[Node], item: Option<View<'a>>, view: View<'a>) -> Value {
        let mut out = Vec::with_capacity(items.len());
        for (i, element) in items.iter().enumerate() {
            self.path.push(i.to_string());
            let value = match item {
                Some(item) => self.value(element, item),
                None => Some(untyped(element)),
            };
            out.push(value.unwrap_or_default()); // what is wrong keeps its place, so that indexes stay right
            self.path.pop();
        }
        if let Some(least) = view.number("minItems")
            && (items.len() as f64) < least
        {
            let message = format!("`{}` needs at least {}", show(&self.path), if least > 1.0 { "more" } else { "one" });
            self.findings.push(Finding::error(self.path.clone(), message));
        }
        Value::Array(out)
    }

    /// `null` takes a key back; no value at all is an empty map or list.
    fn nothing(&mut self, node: &Node, written: bool, shapes: &[Shape<'a>], view: View<'a>) -> Option<Value> {
        let in_list = self.path.last().is_some_and(|s| s.bytes().all(|b| b.is_ascii_digit()));
        if written && !in_list {
            return None;
        }
        for shape in shapes {
            match shape {
                Shape::Object { view, properties, required, rest } if !in_list => {
                    return Some(self.object(node, &[], *view, *properties, required, *rest));
                }
                Shape::List(item) if !in_list => return Some(self.list(&[], *item, view)),
                _ => {}
            }
        }
        let wanted = wanted(shapes);
        let finding =
            Finding::error(self.path.clone(), format!("`{}` has no value; it wants {wanted}", show(&self.path)));
        self.findings.push(finding.on_key());
        None
    }

    fn scalar(&mut self, node: &Node, shapes: &[Shape<'_>]) -> Option<Value> {
        for shape in shapes {
            match shape {
                Shape::Names(names) => {
                    let text = written(node);
                    if names.contains(&text) {
                        return Some(text.into());
                    }
                }
                Shape::Scalar { view, text, integer, number, boolean } => {
                    if let Some(value) = typed(node, *text, *integer, *number, *boolean) {
                        return self.in_range(node, value, *view);
                    }
                }
                Shape::Object { .. } | Shape::List(_) => {}
            }
        }
        if let Some(Shape::Names(names)) = shapes.iter().find(|s| matches!(s, Shape::Names(_))) {
            let given = written(node);
            if later::value(&self.path, given) {
                let message = format!("`{given}` is not available in this version");
                let help = suggest::listing("possible here", names).unwrap_or("leave it out".to_owned());
                self.findings.push(Finding::error(self.path.clone(), message).with_help(help));
            } else {
                let message = format!("`{}` cannot be `{given}`", show(&self.path));
                self.findings.push(Finding::error(self.path.clone(), message).suggesting(given, names.iter().copied()));
            }
            return None;
        }
        self.wrong_type(node, shapes)
    }

    /// What the schema's bounds, and the types that all settings share, say about a scalar.
    fn in_range(&mut self, node: &Node, value: Value, view: View<'_>) -> Option<Value> {
        let wrong = match view.name {
            Some("Duration") => serde_json::from_value::<connector::Duration>(value.clone())
                .err()
                .map(|_| "a duration such as 500ms, 20s, 5m, 24h or 7d".to_owned()),
            Some("ByteSize") => serde_json::from_value::<connector::ByteSize>(value.clone())
                .err()
                .map(|_| "a size such as 512B, 64KiB, 8MiB or 1GiB".to_owned()),
            _ => out_of_bounds(&value, view),
        };
        let Some(wrong) = wrong else { return Some(value) };
        let given = written(node);
        let finding =
            Finding::error(self.path.clone(), format!("`{}` must be {wrong}, not `{given}`", show(&self.path)));
        let no_unit = view.name == Some("Duration") && !given.is_empty() && given.bytes().all(|b| b.is_ascii_digit());
        self.findings.push(if no_unit {
            finding.with_help(format!("write the unit: `{given}s` or `{given}ms`"))
        } else {
            finding
        });
        None
    }

    fn wrong_type(&mut self, node: &Node, shapes: &[Shape<'_>]) -> Option<Value> {
        for entry in node.entries() {
            self.path.push(entry.key.clone());
            let known_later = later::key(&self.path);
            if known_later {
                self.findings.push(not_yet(&self.path));
            }
            self.path.pop();
            if known_later {
                return None;
            }
        }
        let at = show(&self.path);
        let wants_text = shapes.iter().any(|s| matches!(s, Shape::Scalar { text: true, .. }));
        let wants_list = shapes.iter().any(|s| matches!(s, Shape::List(_)));
        let whole = if self.path.is_empty() { "the config".to_owned() } else { format!("`{at}`") };
        let message = format!("{whole} must be {}, not {}", wanted(shapes), given(node));
        let finding = Finding::error(self.path.clone(), message);
        let finding = match &node.value {
            Val::Map(entries) if wants_text && self.source_at(node).starts_with('{') => {
                let inner: Vec<&str> = entries.iter().map(|e| e.key.as_str()).collect();
                finding.with_help(format!(
                    "a value that begins with a brace must be quoted: `\"{{{}}}\"`",
                    inner.join(", ")
                ))
            }
            Val::Text(text) | Val::Loose { text, .. } if wants_list => {
                finding.with_help(format!("a list of one: `[{text}]`"))
            }
            Val::Text(text) if matches!(text.as_str(), "yes" | "no" | "on" | "off") => {
                finding.with_help("write `true` or `false`")
            }
            _ => finding,
        };
        self.findings.push(finding);
        None
    }

    fn unknown_key(&mut self, entry: &Entry, parent: &Node, view: View<'a>) {
        let key = entry.key.as_str();
        let (_, above) = self.path.split_last().unwrap_or((&entry.key, &[]));
        let finding = |message: String| Finding::error(self.path.clone(), message).on_key();
        let properties: Vec<&str> = view
            .schema
            .get("properties")
            .and_then(Value::as_object)
            .map(|p| p.keys().map(String::as_str).collect())
            .unwrap_or_default();
        let place = if above.is_empty() { String::new() } else { format!(" in `{}`", show(above)) };

        let kind_by_key = |e: &Entry| matches!(e.key.as_str(), "type" | "kind") && matches!(e.node.value, Val::Text(_));
        let new = if later::key(&self.path) {
            not_yet(&self.path)
        } else if let Some(holder) = below(parent, view, key) {
            self.misplaced.push(([above, &[holder.to_owned()]].concat(), key.to_owned()));
            finding(format!("unknown key `{key}`{place}"))
                .with_help(format!("`{key}` belongs one step deeper, under `{holder}`"))
        } else if self.holders.iter().rev().nth(1).is_some_and(|holder| holder.property(key).is_some()) {
            let holder = above.last().map_or("", String::as_str);
            finding(format!("unknown key `{key}`{place}"))
                .with_help(format!("`{key}` belongs one step higher, beside `{holder}`"))
        } else if above.first().is_some_and(|s| s == "connectors")
            && !kind_by_key(entry)
            && parent.entries().iter().any(kind_by_key)
        {
            return; // the settings of a kind that is written as `type: kind`, which is told
        } else if let [section, _] = above
            && section == "connectors"
        {
            let kinds: Vec<&str> = properties.into_iter().filter(|p| *p != "required").collect();
            kind_finding(finding, "connector", key, &entry.node, &kinds)
        } else if let [section, _] = above
            && section == "services"
            && (key == "type"
                || key == "kind"
                || matches!(entry.node.value, Val::Map(_)) && suggest::nearest(key, &properties).is_none())
        {
            let kinds: Vec<&str> =
                properties.into_iter().filter(|p| !matches!(*p, "channel" | "timeout" | "max_in_flight")).collect();
            kind_finding(finding, "service", key, &entry.node, &kinds)
        } else {
            finding(format!("unknown key `{key}`{place}")).suggesting(key, properties)
        };
        self.findings.push(new);
    }

    /// Files are named relative to the file that names them, so that a config works from any folder: what stands under
    /// a key that ends in `_file`, and each value under one that ends in `_files`.
    fn beside_its_file(&self, key: &str, node: &Node, value: Value) -> Value {
        match (value, &node.value) {
            (Value::String(file), _) if key.ends_with("_file") || key.ends_with("_files") => {
                self.beside(node, &file).map_or(Value::String(file), Value::String)
            }
            (Value::Object(files), Val::Map(_)) if key.ends_with("_files") => files
                .into_iter()
                .map(|(name, value)| {
                    let value = node.entry(&name).map_or(value.clone(), |e| self.beside_its_file(key, &e.node, value));
                    (name, value)
                })
                .collect(),
            (Value::Array(files), Val::List(nodes)) if key.ends_with("_files") => {
                files.into_iter().zip(nodes).map(|(value, node)| self.beside_its_file(key, node, value)).collect()
            }
            (value, _) => value,
        }
    }

    fn beside(&self, node: &Node, file: &str) -> Option<String> {
        match &self.layers.get(node.at.layer)?.origin {
            Origin::File(config) if !file.is_empty() && Path::new(file).is_relative() => {
                config.parent()?.join(file).to_str().map(str::to_owned)
            }
            _ => None,
        }
    }

    fn source_at(&self, node: &Node) -> &str {
        let layer = self.layers.get(node.at.layer);
        layer.and_then(|l| l.text.get(node.at.span?.start..)).unwrap_or_default()
    }
}

fn not_yet(path: &[String]) -> Finding {
    Finding::error(path.iter().cloned(), format!("`{}` is not available in this version", show(path)))
        .with_help("leave it out")
        .on_key()
}

fn needs(key: &str) -> String {
    format!("needs the key `{key}`")
}

/// The sibling under which `key` would be known: `url` beside `http: {…}` belongs inside.
fn below<'a>(parent: &'a Node, view: View<'a>, key: &str) -> Option<&'a str> {
    parent
        .entries()
        .iter()
        .find(|e| view.property(&e.key).is_some_and(|sibling| sibling.property(key).is_some()))
        .map(|e| e.key.as_str())
}

fn kind_finding(finding: impl Fn(String) -> Finding, what: &str, key: &str, node: &Node, kinds: &[&str]) -> Finding {
    if let ("type" | "kind", Val::Text(kind)) = (key, &node.value) {
        return finding(format!("a {what}'s kind is a key, with its settings under it"))
            .with_help(format!("write `{kind}:` instead of `{key}: {kind}`, and indent the settings below it"));
    }
    let finding = finding(format!("unknown {what} kind `{key}`"));
    match suggest::nearest(key, kinds) {
        Some(kind) => finding.with_help(format!("did you mean `{kind}`?")),
        None => {
            finding.with_help(suggest::listing("this build has", kinds).unwrap_or("this build has none".to_owned()))
        }
    }
}

fn first_sentence(text: &str) -> String {
    let text = text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    let end = text.find(". ").unwrap_or(text.len());
    text[..end].trim_end_matches('.').to_owned()
}
