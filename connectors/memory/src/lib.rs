//! Connector: an append-only log per topic in this process
