//! The suite that proves a connector: see [`crate::Connector`] for what each promise is.
