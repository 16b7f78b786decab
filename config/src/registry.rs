//! Which kinds of connectors and handlers there are.

use connector::{ConnectorKind, HandlerKind};

/// The kinds that this build has: a config can name no other.
#[derive(Clone, Copy)]
pub struct Registry<'a> {
    /// Kinds of connectors, such as `kafka`.
    pub connectors: &'a [ConnectorKind],
    /// Kinds of handlers, such as `http`.
    pub handlers: &'a [HandlerKind],
}

impl Registry<'_> {
    pub(crate) fn connector(&self, kind: &str) -> Option<&ConnectorKind> {
        self.connectors.iter().find(|k| k.kind == kind)
    }

    pub(crate) fn handler(&self, kind: &str) -> Option<&HandlerKind> {
        self.handlers.iter().find(|k| k.kind == kind)
    }

    pub(crate) fn connector_kinds(&self) -> Vec<&str> {
        self.connectors.iter().map(|k| k.kind).collect()
    }

    /// What may answer a service, `builtin` among them.
    pub(crate) fn handler_kinds(&self) -> Vec<&str> {
        self.handlers.iter().map(|k| k.kind).chain(["builtin"]).collect()
    }
}

impl std::fmt::Debug for Registry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("connectors", &self.connector_kinds())
            .field("handlers", &self.handler_kinds())
            .finish()
    }
}
