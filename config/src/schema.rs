//! The JSON Schema of the whole config: the model's own types and the settings of the registry's kinds, put together.

use crate::Registry;
use crate::model::{Admin, Auth, Bayeux, Mapping, Server, ServiceOptions, Telemetry};
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// The JSON Schema (draft 2020-12) of a config, with the settings of all kinds in the registry.
pub fn schema(registry: &Registry<'_>) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let section =
        |generator: &mut SchemaGenerator, schema: fn(&mut SchemaGenerator) -> Schema| schema(generator).to_value();
    let server = section(&mut generator, SchemaGenerator::subschema_for::<Server>);
    let admin = section(&mut generator, SchemaGenerator::subschema_for::<Admin>);
    let bayeux = section(&mut generator, SchemaGenerator::subschema_for::<Bayeux>);
    let mapping = section(&mut generator, SchemaGenerator::subschema_for::<Mapping>);
    let service = section(&mut generator, SchemaGenerator::subschema_for::<ServiceOptions>);
    let auth = section(&mut generator, SchemaGenerator::subschema_for::<Auth>);
    let telemetry = section(&mut generator, SchemaGenerator::subschema_for::<Telemetry>);
    let mut definitions = Definitions(generator.take_definitions(true));

    definitions.0.insert("Connector".to_owned(), connector_entry());
    for kind in registry.connectors {
        let reference = definitions.add_kind("connector", kind.kind, kind.schema());
        definitions.add_choice("Connector", kind.kind, reference);
    }
    for kind in registry.handlers {
        let reference = definitions.add_kind("handler", kind.kind, kind.schema());
        definitions.add_choice("Service", kind.kind, reference);
    }
    definitions.require_one_of("Connector", &registry.connector_kinds());
    definitions.require_one_of("Service", &registry.handler_kinds());

    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "bayeux-gateway",
        "description": "The config of bayeux-gateway.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "server": server,
            "admin": admin,
            "bayeux": bayeux,
            "connectors": {
                "description": "The brokers, by the names that mappings use: `name: { kind: { settings } }`.",
                "type": "object",
                "additionalProperties": { "$ref": "#/$defs/Connector" },
            },
            "mappings": {
                "description": "Which channel is bridged to which topic. Per direction, the first that takes a channel wins.",
                "type": "array",
                "items": mapping,
            },
            "services": {
                "description": "Who answers messages on `/service/**` channels. The first that takes a channel wins.",
                "type": "array",
                "items": service,
            },
            "auth": auth,
            "telemetry": telemetry,
        },
        "$defs": definitions.0,
    })
}

fn connector_entry() -> Value {
    json!({
        "description": "One broker: its kind with its settings, and whether the gateway needs it.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "required": {
                "description": "The gateway is not ready until this broker was reached once.",
                "type": "boolean",
                "default": true,
            },
        },
    })
}

struct Definitions(Map<String, Value>);

impl Definitions {
    /// Adds the schema of a kind's settings, with its own definitions, and gives the reference to it. A definition that
    /// is the same as one already there is shared; else it is renamed.
    fn add_kind(&mut self, role: &str, kind: &str, schema: Schema) -> Value {
        let mut schema = schema.to_value();
        let name = format!("{role}_{kind}");
        let mut own = Map::new();
        if let Some(object) = schema.as_object_mut() {
            object.remove("$schema");
            object.remove("title");
            if let Some(Value::Object(definitions)) = object.remove("$defs") {
                own = definitions;
            }
        }
        let renames: Vec<(String, String)> = own
            .iter()
            .map(|(old, definition)| {
                let same = self.0.get(old).is_some_and(|there| there == definition);
                let free = !self.0.contains_key(old)
                    && matches!(old.as_str(), "Duration" | "ByteSize" | "Secret" | "TlsSettings");
                (old.clone(), if same || free { old.clone() } else { format!("{name}_{old}") })
            })
            .collect();
        for (old, mut definition) in own {
            redirect(&mut definition, &name, &renames);
            let new = renames.iter().find(|(from, _)| *from == old).map_or(old, |(_, to)| to.clone());
            self.0.insert(new, definition);
        }
        redirect(&mut schema, &name, &renames);
        self.0.insert(name.clone(), schema);
        json!({ "$ref": format!("#/$defs/{name}") })
    }

    fn add_choice(&mut self, definition: &str, kind: &str, reference: Value) {
        if let Some(properties) = self.0.get_mut(definition).and_then(|d| d.get_mut("properties")?.as_object_mut()) {
            properties.insert(kind.to_owned(), reference);
        }
    }

    fn require_one_of(&mut self, definition: &str, kinds: &[&str]) {
        let choices: Vec<Value> = kinds.iter().map(|kind| json!({ "required": [kind] })).collect();
        if let (false, Some(object)) = (kinds.is_empty(), self.0.get_mut(definition).and_then(Value::as_object_mut)) {
            object.insert("oneOf".to_owned(), Value::Array(choices));
        }
    }
}

/// Points the references of a kind's schema to where its definitions are now.
fn redirect(schema: &mut Value, root: &str, renames: &[(String, String)]) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get_mut("$ref") {
                if reference == "#" {
                    *reference = format!("#/$defs/{root}");
                } else if let Some(name) = reference.strip_prefix("#/$defs/")
                    && let Some((_, new)) = renames.iter().find(|(old, _)| old == name)
                {
                    *reference = format!("#/$defs/{new}");
                }
            }
            object.values_mut().for_each(|value| redirect(value, root, renames));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| redirect(value, root, renames)),
        _ => {}
    }
}

/// A view into a composed schema that follows references.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    root: &'a Value,
    /// The schema, references followed.
    pub(crate) schema: &'a Value,
    /// The last definition that a reference led to.
    pub(crate) name: Option<&'a str>,
}

/// What values a schema takes, as far as it matters here.
#[derive(Clone)]
pub(crate) enum Shape<'a> {
    Object { view: View<'a>, properties: Option<&'a Map<String, Value>>, required: Vec<&'a str>, rest: Rest<'a> },
    List(Option<View<'a>>),
    Names(Vec<&'a str>),
    Scalar { view: View<'a>, text: bool, integer: bool, number: bool, boolean: bool },
}

/// What keys an object takes besides its properties.
#[derive(Clone, Copy)]
pub(crate) enum Rest<'a> {
    None,
    Any,
    Each(View<'a>),
}

impl<'a> View<'a> {
    pub(crate) fn root(root: &'a Value) -> Self {
        View { root, schema: root, name: None }
    }

    pub(crate) fn at(&self, schema: &'a Value) -> View<'a> {
        let (mut schema, mut name) = (schema, None);
        // A chain of references longer than this is a circle.
        for _ in 0..16 {
            let Some(target) = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/$defs/"))
            else {
                break;
            };
            let Some(definition) = self.root.get("$defs").and_then(|d| d.get(target)) else { break };
            (schema, name) = (definition, Some(target));
        }
        View { root: self.root, schema, name }
    }

    pub(crate) fn property(&self, key: &str) -> Option<View<'a>> {
        self.schema.get("properties").and_then(|p| p.get(key)).map(|s| self.at(s))
    }

    /// What may stand one step below: properties, values of a map, items of a list.
    pub(crate) fn children(&self) -> Vec<View<'a>> {
        let mut out: Vec<View<'a>> = Vec::new();
        for shape in self.shapes() {
            match shape {
                Shape::Object { properties, rest, .. } => {
                    out.extend(properties.into_iter().flat_map(|p| p.values()).map(|schema| self.at(schema)));
                    out.extend(if let Rest::Each(each) = rest { Some(each) } else { None });
                }
                Shape::List(item) => out.extend(item),
                Shape::Names(_) | Shape::Scalar { .. } => {}
            }
        }
        out
    }

    pub(crate) fn text(&self, keyword: &str) -> Option<&'a str> {
        self.schema.get(keyword).and_then(Value::as_str)
    }

    pub(crate) fn number(&self, keyword: &str) -> Option<f64> {
        self.schema.get(keyword).and_then(Value::as_f64)
    }

    /// The shapes that this schema takes, `null` aside; empty when anything goes.
    pub(crate) fn shapes(&self) -> Vec<Shape<'a>> {
        let mut shapes = Vec::new();
        self.collect(&mut shapes, 0);
        shapes
    }

    fn collect(&self, out: &mut Vec<Shape<'a>>, depth: usize) {
        let schema = self.schema;
        if let Some(names) = names(schema) {
            out.push(Shape::Names(names));
            return;
        }
        let is_object = schema.get("properties").is_some();
        if let (false, true, Some(branches)) =
            (is_object, depth < 8, schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array))
        {
            let constants: Vec<&str> = branches.iter().filter_map(|b| names(self.at(b).schema)).flatten().collect();
            if !constants.is_empty() {
                out.push(Shape::Names(constants));
            }
            for branch in branches.iter().map(|b| self.at(b)).filter(|b| names(b.schema).is_none()) {
                branch.collect(out, depth + 1);
            }
            return;
        }
        let types: Vec<&str> = match schema.get("type") {
            Some(Value::String(name)) => vec![name.as_str()],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ if is_object => vec!["object"],
            _ => vec![],
        };
        let has = |name: &str| types.contains(&name);
        if has("object") {
            out.push(self.object());
        }
        if has("array") {
            out.push(Shape::List(schema.get("items").map(|items| self.at(items))));
        }
        let (text, integer, number, boolean) = (has("string"), has("integer"), has("number"), has("boolean"));
        if text || integer || number || boolean {
            out.push(Shape::Scalar { view: *self, text, integer, number, boolean });
        }
    }

    fn object(&self) -> Shape<'a> {
        let rest = match self.schema.get("additionalProperties") {
            Some(Value::Bool(false)) => Rest::None,
            Some(schema @ Value::Object(_)) => Rest::Each(self.at(schema)),
            _ => Rest::Any,
        };
        let required = self.schema.get("required").and_then(Value::as_array);
        Shape::Object {
            view: *self,
            properties: self.schema.get("properties").and_then(Value::as_object),
            required: required.into_iter().flatten().filter_map(Value::as_str).collect(),
            rest,
        }
    }
}

fn names(schema: &Value) -> Option<Vec<&str>> {
    if let Some(name) = schema.get("const") {
        return name.as_str().map(|n| vec![n]);
    }
    if schema.get("not").and_then(Value::as_object).is_some_and(Map::is_empty) {
        return Some(Vec::new()); // a type without values
    }
    let values = schema.get("enum")?.as_array()?;
    values.iter().filter(|v| !v.is_null()).map(Value::as_str).collect()
}
