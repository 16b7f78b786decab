//! How connectors and handlers are made: a pure `plan`, then `connect`. The app's registry holds one
//! [`ConnectorKind`] or [`HandlerKind`] per kind; that line is all that names a broker.

use crate::{Capabilities, ConnectError, Connector, RequestHandler, SettingsError, TopicSyntax};
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

/// What surrounds a connector.
#[derive(Debug, Clone)]
pub struct Context {
    /// The connector's name in the config: for logs, and for client ids.
    pub name: String,
    /// This gateway's name, stable across restarts (the host name unless configured): MQTT client ids are made of it.
    pub node: String,
}

/// Makes connectors of one kind. Implement this; [`ConnectorKind::of`] makes it fit the registry.
pub trait ConnectorFactory: Send + Sync + 'static {
    /// The key in the config: `orders: { KIND: { settings } }`.
    const KIND: &'static str;
    /// The settings under that key: `deny_unknown_fields`, a doc comment on every field.
    type Settings: DeserializeOwned + JsonSchema;
    /// Settings found good, with files read and values parsed.
    type Plan: Send + Sync + 'static;

    /// Finds every mistake in the settings. Reads files named in them, opens no socket.
    ///
    /// # Errors
    /// The first mistake with its path.
    fn plan(settings: Self::Settings) -> Result<Self::Plan, SettingsError>;

    /// What a connector made from this plan can do.
    fn capabilities(plan: &Self::Plan) -> Capabilities;

    /// How topics are written for this kind.
    fn syntax() -> &'static TopicSyntax;

    /// Starts the connector; it returns without waiting for the broker.
    ///
    /// # Errors
    /// Only what waiting cannot heal.
    fn connect(plan: &Self::Plan, context: Context) -> Result<Arc<dyn Connector>, ConnectError>;
}

/// Settings found good, of any kind.
pub trait Plan: Send + Sync {
    /// What the connector will be able to do.
    fn capabilities(&self) -> Capabilities;
    /// How topics are written.
    fn syntax(&self) -> &'static TopicSyntax;
    /// Starts the connector inside a tokio runtime.
    ///
    /// # Errors
    /// Only what waiting cannot heal.
    fn connect(&self, context: Context) -> Result<Arc<dyn Connector>, ConnectError>;
}

struct Planned<F: ConnectorFactory>(F::Plan);

impl<F: ConnectorFactory> Plan for Planned<F> {
    fn capabilities(&self) -> Capabilities {
        F::capabilities(&self.0)
    }
    fn syntax(&self) -> &'static TopicSyntax {
        F::syntax()
    }
    fn connect(&self, context: Context) -> Result<Arc<dyn Connector>, ConnectError> {
        F::connect(&self.0, context)
    }
}

type PlanFn<P> = fn(serde_json::Value) -> Result<P, SettingsError>;
type HandlerPlanFn = fn(serde_json::Value, &[&str]) -> Result<Box<dyn HandlerPlan>, SettingsError>;

/// One line of the registry of connectors.
#[derive(Clone, Copy)]
pub struct ConnectorKind {
    /// The key in the config.
    pub kind: &'static str,
    schema: fn() -> Schema,
    plan: PlanFn<Box<dyn Plan>>,
}

impl ConnectorKind {
    /// The line for a factory.
    pub const fn of<F: ConnectorFactory>() -> Self {
        ConnectorKind {
            kind: F::KIND,
            schema: || schemars::schema_for!(F::Settings),
            plan: |settings| Ok(Box::new(Planned::<F>(F::plan(read_settings(settings)?)?))),
        }
    }
    /// JSON Schema of the settings.
    pub fn schema(&self) -> Schema {
        (self.schema)()
    }
    /// Reads the settings and finds every mistake in them.
    ///
    /// # Errors
    /// The first mistake with its path.
    pub fn plan(&self, settings: serde_json::Value) -> Result<Box<dyn Plan>, SettingsError> {
        (self.plan)(settings)
    }
}

fn read_settings<T: DeserializeOwned>(settings: serde_json::Value) -> Result<T, SettingsError> {
    serde_path_to_error::deserialize(settings).map_err(|error| {
        let path = error.path().iter().filter_map(segment).collect();
        SettingsError { path, message: error.into_inner().to_string() }
    })
}

fn segment(segment: &serde_path_to_error::Segment) -> Option<String> {
    use serde_path_to_error::Segment::{Enum, Map, Seq, Unknown};
    match segment {
        Seq { index } => Some(index.to_string()),
        Map { key } => Some(key.clone()),
        Enum { variant } => Some(variant.clone()),
        Unknown => None,
    }
}

/// What surrounds a handler: the connectors by their names in the config, for handlers that speak over one.
#[derive(Clone, Default)]
pub struct HandlerContext {
    /// Running connectors by name.
    pub connectors: BTreeMap<String, Arc<dyn Connector>>,
    /// This gateway's name.
    pub node: String,
}

/// Makes handlers of one kind.
pub trait HandlerFactory: Send + Sync + 'static {
    /// The key in the config: `channel: /service/x` beside `KIND: { settings }`.
    const KIND: &'static str;
    /// The settings under that key.
    type Settings: DeserializeOwned + JsonSchema;
    /// Settings found good.
    type Plan: Send + Sync + 'static;

    /// Finds every mistake in the settings. `names` are the `{names}` that the service's channel pattern binds.
    ///
    /// # Errors
    /// The first mistake with its path.
    fn plan(settings: Self::Settings, names: &[&str]) -> Result<Self::Plan, SettingsError>;

    /// Makes the handler; it returns without waiting for the backend.
    ///
    /// # Errors
    /// Only what waiting cannot heal.
    fn connect(plan: &Self::Plan, context: &HandlerContext) -> Result<Arc<dyn RequestHandler>, ConnectError>;
}

/// Handler settings found good, of any kind.
pub trait HandlerPlan: Send + Sync {
    /// Makes the handler inside a tokio runtime.
    ///
    /// # Errors
    /// Only what waiting cannot heal.
    fn connect(&self, context: &HandlerContext) -> Result<Arc<dyn RequestHandler>, ConnectError>;
}

struct PlannedHandler<F: HandlerFactory>(F::Plan, PhantomData<F>);

impl<F: HandlerFactory> HandlerPlan for PlannedHandler<F> {
    fn connect(&self, context: &HandlerContext) -> Result<Arc<dyn RequestHandler>, ConnectError> {
        F::connect(&self.0, context)
    }
}

/// One line of the registry of handlers.
#[derive(Clone, Copy)]
pub struct HandlerKind {
    /// The key in the config.
    pub kind: &'static str,
    schema: fn() -> Schema,
    plan: HandlerPlanFn,
}

impl HandlerKind {
    /// The line for a factory.
    pub const fn of<F: HandlerFactory>() -> Self {
        HandlerKind {
            kind: F::KIND,
            schema: || schemars::schema_for!(F::Settings),
            plan: |settings, names| {
                Ok(Box::new(PlannedHandler::<F>(F::plan(read_settings(settings)?, names)?, PhantomData)))
            },
        }
    }
    /// JSON Schema of the settings.
    pub fn schema(&self) -> Schema {
        (self.schema)()
    }
    /// Reads the settings and finds every mistake in them.
    ///
    /// # Errors
    /// The first mistake with its path.
    pub fn plan(&self, settings: serde_json::Value, names: &[&str]) -> Result<Box<dyn HandlerPlan>, SettingsError> {
        (self.plan)(settings, names)
    }
}
