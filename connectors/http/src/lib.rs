//! Request handler: HTTP backends
