//! From files and environment to a config that is right, or to all that is wrong with it.

use crate::build::{Built, build};
use crate::finding::{Finding, show};
use crate::layer::{self, Layer, Origin};
use crate::model::Config;
use crate::overrides;
use crate::registry::Registry;
use crate::report::{Placed, Report, Sources as Texts};
use crate::schema::{View, schema};
use crate::tree::{self, Node, Val};
use crate::{check, expand, lint, syntax};
use connector::{HandlerPlan, Plan};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Where a config comes from. Later sources win: files in order, then the environment, then overrides.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Files and texts, in order.
    pub files: Vec<Source>,
    /// The environment: `BAYEUX_GATEWAY__…` sets keys, and all of it serves `${VAR}`.
    pub env: BTreeMap<String, String>,
    /// Keys such as `server.listen` with their values, as a command line sets them.
    pub overrides: Vec<(String, String)>,
}

impl Sources {
    /// Files, with the environment of this process. Variables that are not Unicode are left out.
    pub fn files(paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        Sources {
            files: paths.into_iter().map(|p| Source::File(p.into())).collect(),
            env: std::env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
                .collect(),
            overrides: Vec::new(),
        }
    }
}

/// One YAML text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// A text that is at hand, with a name for messages.
    Text {
        /// The name.
        name: String,
        /// YAML.
        text: String,
    },
}

/// A config that is right as far as it can be told without a socket.
pub struct Loaded {
    /// The config.
    pub config: Config,
    /// What each connector was found to be, by name.
    pub connector_plans: BTreeMap<String, Box<dyn Plan>>,
    /// What each service's handler was found to be, in the order of [`Config::services`]; `None` for `builtin`.
    pub handler_plans: Vec<Option<Box<dyn HandlerPlan>>>,
    /// What somebody should look at.
    pub warnings: Report,
    texts: Texts,
    tree: Node,
}

impl Loaded {
    /// Finds the places of findings that others made about this config.
    pub fn report(&self, findings: &[Finding]) -> Report {
        self.texts.report(Some(&self.tree), findings.iter().cloned().map(Placed::from))
    }
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("config", &self.config).field("warnings", &self.warnings).finish_non_exhaustive()
    }
}

/// Reads, checks and plans a config. Files named in it are read, no socket is opened.
///
/// # Errors
/// All that is wrong, with the warnings.
pub fn load(sources: &Sources, registry: &Registry<'_>) -> Result<Loaded, Report> {
    let mut findings: Vec<Placed> = Vec::new();
    let mut layers = read(sources, &mut findings);
    if findings.iter().any(|p| p.finding.is_error()) {
        return Err(Texts::of(&layers).report(None, findings));
    }

    let composed = schema(registry);
    let view = View::root(&composed);
    outside(sources, view, &mut layers, &mut findings);
    let texts = Texts::of(&layers);
    let tree = layer::merge(&layers);
    let (value, shape) = check::check(&tree, view, &layers);
    findings.extend(shape.into_iter().map(Placed::from));

    let wrong: BTreeSet<Vec<String>> =
        findings.iter().filter(|p| p.finding.is_error()).map(|p| p.finding.path.clone()).collect();
    let Built { config, connector_plans, handler_plans, findings: built } = build(value, registry, &wrong);
    findings.extend(built.into_iter().map(Placed::from));
    let broken: BTreeSet<String> =
        findings.iter().filter(|p| p.finding.is_error()).filter_map(|p| p.finding.path.first().cloned()).collect();
    findings.extend(lint::lint(&config, |section| broken.contains(section)).into_iter().map(Placed::from));

    let report = texts.report(Some(&tree), findings);
    if report.has_errors() {
        return Err(report);
    }
    Ok(Loaded { config, connector_plans, handler_plans, warnings: report, texts, tree })
}

/// The files as layers, with variables in them replaced.
fn read(sources: &Sources, findings: &mut Vec<Placed>) -> Vec<Layer> {
    let mut layers = Vec::new();
    for source in &sources.files {
        let (path, text) = match source {
            Source::File(path) => (path.clone(), read_file(path)),
            Source::Text { name, text } => (PathBuf::from(name), Ok(text.clone())),
        };
        let index = layers.len();
        let (text, root) = match text {
            Ok(text) => {
                let root = tree::parse(&text, index);
                (text, root)
            }
            Err(message) => {
                findings.push(Finding::error([""; 0], message).into());
                continue;
            }
        };
        let mut layer = Layer { origin: Origin::File(path), text, root: Node::empty(index) };
        match root {
            Ok(root) => {
                layer.root = root;
                findings.extend(duplicates(&layer.root, &mut Vec::new()));
                for finding in expand::expand(&mut layer.root, &layer.text, &sources.env) {
                    let at = layer.root.locate(&finding.path, finding.at_key);
                    findings.push(Placed { finding, at: Some(at) });
                }
                if !matches!(layer.root.value, Val::Map(_)) {
                    let finding =
                        Finding::error([""; 0], "a config is a map of keys such as `server:` and `mappings:`");
                    findings.push(Placed { finding, at: Some(layer.root.at) });
                }
            }
            Err(error) => findings.push(syntax::explain(*error, &layer.text)),
        }
        layers.push(layer);
    }
    layers
}

fn read_file(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8 text", path.display()))
}

fn duplicates(node: &Node, path: &mut Vec<String>) -> Vec<Placed> {
    let mut out = Vec::new();
    if let Val::List(items) = &node.value {
        for (i, item) in items.iter().enumerate() {
            path.push(i.to_string());
            out.extend(duplicates(item, path));
            path.pop();
        }
    }
    for (i, entry) in node.entries().iter().enumerate() {
        path.push(entry.key.clone());
        if let Some(first) = node.entries()[..i].iter().find(|e| e.key == entry.key) {
            let line = first.key_at.span.map_or(0, |s| s.line);
            let finding = Finding::error(path.clone(), format!("`{}` is written twice", show(path)))
                .with_help(format!("it is on line {line} already: keep one of them"));
            out.push(Placed { finding, at: Some(entry.key_at) });
        }
        out.extend(duplicates(&entry.node, path));
        path.pop();
    }
    out
}

/// Adds a layer for each key that is set from outside the files.
fn outside(sources: &Sources, schema: View<'_>, layers: &mut Vec<Layer>, findings: &mut Vec<Placed>) {
    let files = layer::merge(layers);
    let variables = sources.env.iter().filter(|(name, _)| name.starts_with(overrides::PREFIX));
    let variables = variables.map(|(name, value)| (Origin::Variable(name.clone()), value));
    let set = sources.overrides.iter().map(|(key, value)| (Origin::Override(key.clone()), value));
    for (origin, value) in variables.chain(set) {
        let index = layers.len();
        match overrides::layer(origin.clone(), value, index, schema, &files) {
            Ok(layer) => layers.push(layer),
            Err(finding) => {
                // A layer that sets nothing, so that the finding has a place.
                let empty = overrides::empty(origin, index);
                findings.push(Placed { finding, at: Some(empty.root.at) });
                layers.push(empty);
            }
        }
    }
}
