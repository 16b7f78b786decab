//! Whatever an application keeps with a channel or a session.

use parking_lot::RwLock;
use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

/// Values by name, of any type.
#[derive(Default)]
pub(crate) struct Attributes(RwLock<HashMap<String, Arc<dyn Any + Send + Sync>>>);

impl std::fmt::Debug for Attributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.read().keys()).finish()
    }
}

impl Attributes {
    pub(crate) fn set<T: Any + Send + Sync>(&self, name: &str, value: T) {
        self.0.write().insert(name.to_owned(), Arc::new(value));
    }

    pub(crate) fn get<T: Any + Send + Sync>(&self, name: &str) -> Option<Arc<T>> {
        self.0.read().get(name)?.clone().downcast().ok()
    }

    pub(crate) fn remove(&self, name: &str) -> bool {
        self.0.write().remove(name).is_some()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.read().keys().cloned().collect()
    }
}
