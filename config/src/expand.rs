//! `${VAR}` and `${VAR:default}` in values. Done on scalars after parsing, so that no variable can change the shape of
//! the config or the places in it.

use crate::Finding;
use crate::suggest;
use crate::tree::{Node, Val, is_plain};
use std::collections::BTreeMap;

/// Replaces all variables in `node`. Findings come with the node's path.
pub(crate) fn expand(node: &mut Node, text: &str, env: &BTreeMap<String, String>) -> Vec<Finding> {
    let mut expansion = Expansion { text, env, path: Vec::new(), findings: Vec::new() };
    expansion.node(node);
    expansion.findings
}

struct Expansion<'a> {
    text: &'a str,
    env: &'a BTreeMap<String, String>,
    path: Vec<String>,
    findings: Vec<Finding>,
}

impl Expansion<'_> {
    fn node(&mut self, node: &mut Node) {
        match &mut node.value {
            Val::Map(entries) => {
                for entry in entries {
                    self.path.push(entry.key.clone());
                    self.node(&mut entry.node);
                    self.path.pop();
                }
            }
            Val::List(items) => {
                for (i, item) in items.iter_mut().enumerate() {
                    self.path.push(i.to_string());
                    self.node(item);
                    self.path.pop();
                }
            }
            Val::Text(value) if value.contains("${") => {
                let value = self.scalar(value);
                node.value = Val::Loose { text: value, plain: is_plain(self.text, &node.at) };
            }
            _ => {}
        }
    }

    fn scalar(&mut self, value: &str) -> String {
        let mut out = String::with_capacity(value.len());
        let mut rest = value;
        while let Some(dollar) = rest.find("${") {
            let escaped = rest[..dollar].ends_with('$');
            out.push_str(&rest[..dollar - usize::from(escaped)]);
            rest = &rest[dollar + 2..];
            if escaped {
                out.push_str("${");
                continue;
            }
            let Some(end) = rest.find('}') else {
                let finding = Finding::error(self.path.clone(), "`${` without a closing `}`");
                self.findings.push(finding.with_help("for a dollar sign before a brace write `$${`"));
                return out;
            };
            let (inner, after) = (&rest[..end], &rest[end + 1..]);
            rest = after;
            let (name, default) = match inner.split_once(':') {
                Some((name, default)) => (name, Some(default)),
                None => (inner, None),
            };
            out.push_str(&self.variable(name, default));
        }
        out.push_str(rest);
        out
    }

    fn variable(&mut self, name: &str, default: Option<&str>) -> String {
        let valid = name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric())
            && name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
        if !valid {
            let finding = Finding::error(self.path.clone(), format!("`{name}` cannot be the name of a variable"));
            self.findings
                .push(finding.with_help("write `${NAME}` or `${NAME:default}`; for a literal `${` write `$${`"));
            return String::new();
        }
        if let Some(value) = self.env.get(name) {
            return value.clone();
        }
        let Some(default) = default else {
            let names: Vec<&str> = self.env.keys().map(String::as_str).collect();
            let help = match suggest::nearest(name, &names) {
                Some(near) => format!("did you mean `{near}`? A default is written `${{{name}:default}}`"),
                None => format!("set it, or give it a default: `${{{name}:default}}`"),
            };
            let message = format!("the environment variable `{name}` is not set");
            self.findings.push(Finding::error(self.path.clone(), message).with_help(help));
            return String::new();
        };
        if let Some(meant) = default.strip_prefix('-') {
            let message = format!("the default of `{name}` begins with `-`, as a shell writes it");
            let help = format!("here the default is all that follows the colon: `${{{name}:{meant}}}`");
            self.findings.push(Finding::warning(self.path.clone(), message).with_help(help));
        }
        default.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::parse;

    fn value(yaml: &str) -> (String, Vec<String>) {
        let env = [("HOST", "db"), ("EMPTY", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let mut node = parse(yaml, 0).expect("YAML");
        let findings = expand(&mut node, yaml, &env.into());
        let shown = match &node.entry("a").expect("a").node.value {
            Val::Loose { text, plain: false } => format!("quoted {text}"),
            Val::Loose { text, plain: true } => format!("plain {text}"),
            other => format!("{other:?}"),
        };
        (shown, findings.into_iter().map(|f| f.message).collect())
    }

    #[test]
    fn variables_are_replaced_by_value_or_default_and_a_doubled_dollar_escapes() {
        assert_eq!(value("a: x-${HOST}:${PORT:80}"), ("plain x-db:80".into(), vec![]));
        assert_eq!(value("a: \"${HOST}\""), ("quoted db".into(), vec![]));
        assert_eq!(value("a: ${EMPTY:x}"), ("plain ".into(), vec![]));
        assert_eq!(value("a: ${NONE:}"), ("plain ".into(), vec![]));
        assert_eq!(value("a: ${URL:http://h:1/}"), ("plain http://h:1/".into(), vec![]));
        assert_eq!(value("a: $${HOST} $$ $x"), ("plain ${HOST} $$ $x".into(), vec![]));
        assert_eq!(value("a: {id}").1, Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_replaced_is_told() {
        assert_eq!(value("a: ${HOTS}").1, ["the environment variable `HOTS` is not set"]);
        assert_eq!(value("a: ${HOST").1, ["`${` without a closing `}`"]);
        assert_eq!(value("a: ${a b}").1, ["`a b` cannot be the name of a variable"]);
        assert_eq!(value("a: ${PORT:-80}").1, ["the default of `PORT` begins with `-`, as a shell writes it"]);
    }
}
