//! The bridge between Bayeux sessions and brokers: mapping, ingest, egress, services

pub mod mapping;
