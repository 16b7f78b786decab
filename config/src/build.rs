//! From checked values to types and plans.

use crate::finding::Finding;
use crate::model::{Builtin, Config, Connector, Handler, Mapping, Service, ServiceOptions};
use crate::registry::Registry;
use crate::suggest;
use connector::{HandlerPlan, Plan, SettingsError};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What could be built.
pub(crate) struct Built {
    pub(crate) config: Config,
    pub(crate) connector_plans: BTreeMap<String, Box<dyn Plan>>,
    pub(crate) handler_plans: Vec<Option<Box<dyn HandlerPlan>>>,
    pub(crate) findings: Vec<Finding>,
}

/// Builds what can be built. `wrong`: paths of errors that are told already; what they are part of is left out.
pub(crate) fn build(value: Value, registry: &Registry<'_>, wrong: &BTreeSet<Vec<String>>) -> Built {
    let Value::Object(root) = value else {
        return Built {
            config: Config::default(),
            connector_plans: BTreeMap::new(),
            handler_plans: Vec::new(),
            findings: Vec::new(),
        };
    };
    let mut builder = Builder { root, registry, wrong, findings: Vec::new() };
    let mut config = Config {
        server: builder.section("server"),
        admin: builder.section("admin"),
        bayeux: builder.section("bayeux"),
        auth: builder.section("auth"),
        telemetry: builder.section("telemetry"),
        ..Config::default()
    };
    let connector_plans = builder.connectors(&mut config);
    builder.mappings(&mut config);
    let handler_plans = builder.services(&mut config);
    Built { config, connector_plans, handler_plans, findings: builder.findings }
}

struct Builder<'a> {
    root: Map<String, Value>,
    registry: &'a Registry<'a>,
    wrong: &'a BTreeSet<Vec<String>>,
    findings: Vec<Finding>,
}

impl Builder<'_> {
    fn is_wrong(&self, path: &[String]) -> bool {
        self.wrong.range(path.to_vec()..).next().is_some_and(|p| p.starts_with(path))
    }

    fn section<T: DeserializeOwned + Default>(&mut self, key: &str) -> T {
        match self.root.remove(key) {
            Some(value) => self.read(value, &[key.to_owned()]).unwrap_or_default(),
            None => T::default(),
        }
    }

    /// The schema was held against it before, so what fails here is a value that only its type knows to be wrong.
    fn read<T: DeserializeOwned>(&mut self, value: Value, path: &[String]) -> Option<T> {
        match serde_path_to_error::deserialize(value) {
            Ok(value) => Some(value),
            Err(_) if self.is_wrong(path) => None,
            Err(error) => {
                let below = error.path().iter().filter_map(|segment| match segment {
                    serde_path_to_error::Segment::Seq { index } => Some(index.to_string()),
                    serde_path_to_error::Segment::Map { key } => Some(key.clone()),
                    _ => None,
                });
                let path: Vec<String> = path.iter().cloned().chain(below).collect();
                let message = error.into_inner().to_string();
                self.findings.push(settings_finding(path, &message));
                None
            }
        }
    }

    fn connectors(&mut self, config: &mut Config) -> BTreeMap<String, Box<dyn Plan>> {
        let mut plans = BTreeMap::new();
        let Some(Value::Object(connectors)) = self.root.remove("connectors") else { return plans };
        for (name, entry) in connectors {
            let path = vec!["connectors".to_owned(), name.clone()];
            let Value::Object(mut entry) = entry else { continue };
            let required = entry.remove("required").and_then(|v| v.as_bool()).unwrap_or(true);
            let possible = self.registry.connector_kinds();
            let Some((kind, settings)) = self.one_kind(entry, &path, "connector", &possible) else { continue };
            config.connectors.insert(name.clone(), Connector { kind: kind.clone(), required });
            let Some(line) = self.registry.connector(&kind) else { continue };
            if self.is_wrong(&path) {
                continue;
            }
            match line.plan(settings) {
                Ok(plan) => {
                    plans.insert(name, plan);
                }
                Err(error) => self.settings_error(path, kind, error),
            }
        }
        plans
    }

    /// The one key that names a kind, with its settings.
    fn one_kind(
        &mut self,
        entry: Map<String, Value>,
        path: &[String],
        what: &str,
        possible: &[&str],
    ) -> Option<(String, Value)> {
        let mut kinds: Vec<(String, Value)> = entry.into_iter().collect();
        if kinds.len() == 1 {
            return kinds.pop();
        }
        let at_this = |p: &Vec<String>| p.len() == path.len() + 1 && p.starts_with(path);
        if kinds.is_empty() && (self.is_wrong(path) && self.wrong.iter().any(at_this) || self.wrong.contains(path)) {
            return None; // the kind is misspelt, which is told
        }
        let finding = if kinds.is_empty() {
            let message = format!("nothing says what kind of {what} this is");
            let help = match possible {
                [] => "this build has no kinds".to_owned(),
                kinds => format!("add one of {} with its settings under it", suggest::any_of(kinds, "or")),
            };
            Finding::error(path.to_vec(), message).with_help(help)
        } else {
            let names: Vec<&str> = kinds.iter().map(|(kind, _)| kind.as_str()).collect();
            let message = format!("the {what} is of more than one kind: {}", suggest::any_of(&names, "and"));
            Finding::error(path.to_vec(), message).with_help(format!("keep one; make another {what} of the rest"))
        };
        self.findings.push(finding.on_key());
        None
    }

    fn settings_error(&mut self, mut path: Vec<String>, kind: String, error: SettingsError) {
        path.push(kind);
        path.extend(error.path);
        self.findings.push(settings_finding(path, &error.message));
    }

    fn mappings(&mut self, config: &mut Config) {
        let Some(Value::Array(mappings)) = self.root.remove("mappings") else { return };
        for (i, value) in mappings.into_iter().enumerate() {
            let path = vec!["mappings".to_owned(), i.to_string()];
            if let Some(name) = value.get("connector").and_then(Value::as_str) {
                self.connector_exists(config, name, &path);
            }
            if let Some(mapping) = self.read::<Mapping>(value, &path) {
                config.mappings.push(mapping);
            }
        }
    }

    fn connector_exists(&mut self, config: &Config, name: &str, path: &[String]) {
        let misspelt_kind = self.is_wrong(&["connectors".to_owned(), name.to_owned()]);
        if config.connectors.contains_key(name) || misspelt_kind {
            return;
        }
        let mut path = path.to_vec();
        path.push("connector".to_owned());
        let finding = Finding::error(path, format!("there is no connector `{name}`"));
        let names: Vec<&str> = config.connectors.keys().map(String::as_str).collect();
        let help = match (suggest::nearest(name, &names), &names[..]) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, []) => format!("add it: `connectors: {{ {name}: {{ … }} }}`"),
            (None, [only]) => format!("the only connector is `{only}`"),
            (None, names) => format!("there are {}", suggest::any_of(names, "and")),
        };
        self.findings.push(finding.with_help(help));
    }

    fn services(&mut self, config: &mut Config) -> Vec<Option<Box<dyn HandlerPlan>>> {
        let mut plans = Vec::new();
        let Some(Value::Array(services)) = self.root.remove("services") else { return plans };
        for (i, value) in services.into_iter().enumerate() {
            let path = vec!["services".to_owned(), i.to_string()];
            let Value::Object(entry) = value else { continue };
            let (own, kinds): (Map<_, _>, Map<_, _>) =
                entry.into_iter().partition(|(key, _)| matches!(key.as_str(), "channel" | "timeout" | "max_in_flight"));
            let possible = self.registry.handler_kinds();
            let kind = self.one_kind(kinds, &path, "service", &possible);
            let Some(options) = self.read::<ServiceOptions>(Value::Object(own), &path) else { continue };
            let Some((kind, settings)) = kind else { continue };
            let (handler, plan) = match self.registry.handler(&kind) {
                None => match self.read::<Builtin>(settings, &[path[0].clone(), path[1].clone(), kind]) {
                    Some(builtin) => (Handler::Builtin(builtin), None),
                    None => continue,
                },
                Some(_) if self.is_wrong(&path) => continue,
                Some(line) => match line.plan(settings, &names(&options.channel)) {
                    Ok(plan) => (Handler::Kind(kind), Some(plan)),
                    Err(error) => {
                        self.settings_error(path, kind, error);
                        continue;
                    }
                },
            };
            let ServiceOptions { channel, timeout, max_in_flight, builtin: _ } = options;
            config.services.push(Service { channel, handler, timeout, max_in_flight });
            plans.push(plan);
        }
        plans
    }
}

/// The `{names}` that a channel pattern binds.
fn names(channel: &str) -> Vec<&str> {
    channel.split('/').filter_map(|s| s.strip_prefix('{')?.strip_suffix('}')).collect()
}

/// Serde's messages in the words used here.
fn settings_finding(path: Vec<String>, message: &str) -> Finding {
    let at = crate::finding::show(&path);
    if let Some((given, expected)) =
        message.strip_prefix("invalid value: string ").and_then(|m| m.split_once(", expected "))
    {
        let given = given.trim_matches('"');
        return Finding::error(path, format!("`{at}` must be {expected}, not `{given}`"));
    }
    if let Some((field, expected)) = message.strip_prefix("unknown field `").and_then(|m| m.split_once("`, expected "))
    {
        let possible: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        return Finding::error(path, format!("unknown key `{field}`")).on_key().suggesting(field, possible);
    }
    if let Some(field) = message.strip_prefix("missing field `").and_then(|m| m.strip_suffix('`')) {
        return Finding::error(path, format!("`{at}` needs the key `{field}`")).on_key();
    }
    Finding::error(path, message)
}
